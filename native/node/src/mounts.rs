//! Mounts: served by threads of their own. What a directory holds comes from JavaScript as JSON, when
//! the kernel first looks into it; bytes of images never come this way.

use std::path::PathBuf;
use std::sync::Arc;

use cairn_core::image::Image;
use cairn_core::{Error, Result};
use cairn_fuse::{Answer, Damage, Directory, Host, MountOptions, Mounted, Totals};
use napi::Status;
use napi::bindgen_prelude::AsyncTask;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi_derive::napi;

use crate::errors::{guarded, mount_failure};
use crate::images;
use crate::jobs::{to_number, to_size};
use crate::pool::{Pooled, pooled_as_is};

/// A function of JavaScript that any thread may call without waiting. Weak, or a mount would keep
/// Node from ending.
type Callback<T> = ThreadsafeFunction<T, UnknownReturnValue, T, Status, false, true>;

/// How to mount.
#[napi(object)]
pub struct NativeMountOptions {
    /// Absolute; an existing directory.
    pub mountpoint: String,
    /// Lets other users in.
    pub allow_other: bool,
    /// Owner of all nodes.
    pub uid: u32,
    /// Group of all nodes.
    pub gid: u32,
    /// Whether the group may read.
    pub group_reads: bool,
    /// Where writes go; absent for a read-only mount.
    pub scratch_dir: Option<String>,
}

/// What `statfs` tells.
#[napi(object)]
pub struct NativeTotals {
    /// How many revisions are shown.
    pub revisions: f64,
    /// Bytes that they take in the repository.
    pub stored_bytes: f64,
}

/// A range of an image that could not be read.
#[napi(object)]
pub struct NativeDamage {
    /// The disk's name.
    pub disk: String,
    /// Which revision.
    pub revision: String,
    /// First byte in the image.
    pub offset_bytes: f64,
    /// Bytes.
    pub length_bytes: f64,
    /// Why.
    pub message: String,
}

/// JavaScript as the owner of a mount. A call that comes while Node ends is lost, and so is the mount.
struct Owner {
    ask: Callback<String>,
    damaged: Callback<NativeDamage>,
}

impl Host for Owner {
    fn ask(&self, path: &str) {
        self.ask.call(path.to_owned(), ThreadsafeFunctionCallMode::NonBlocking);
    }

    fn damaged(&self, damage: Damage) {
        let damage = NativeDamage {
            disk: damage.disk,
            revision: damage.revision,
            offset_bytes: to_number(damage.offset),
            length_bytes: to_number(damage.len),
            message: damage.message,
        };
        self.damaged.call(damage, ThreadsafeFunctionCallMode::NonBlocking);
    }

    fn open_image(&self, disk_dir: &str, revision: &str) -> Result<Image> {
        images::open_now(disk_dir, revision)
    }
}

/// A mount that is being served, until it is unmounted or the process ends.
#[napi]
pub struct NativeMount {
    mounted: Mounted,
}

/// Mounts; resolves when the kernel has been answered. `ask` is called with the path of a directory
/// whose entries are wanted, `damaged` with what cannot be read.
#[napi(ts_return_type = "Promise<NativeMount>")]
pub fn mount_tree(
    options: NativeMountOptions,
    totals: NativeTotals,
    #[napi(ts_arg_type = "(path: string) => void")] ask: Callback<String>,
    #[napi(ts_arg_type = "(damage: NativeDamage) => void")] damaged: Callback<NativeDamage>,
) -> napi::Result<AsyncTask<Pooled<NativeMount>>> {
    let totals = guarded(|| to_totals(&totals))?;
    let options = MountOptions {
        mountpoint: PathBuf::from(options.mountpoint),
        allow_other: options.allow_other,
        uid: options.uid,
        gid: options.gid,
        group_reads: options.group_reads,
        scratch_dir: options.scratch_dir.map(PathBuf::from),
    };
    Ok(pooled_as_is(move || {
        let mounted = Mounted::mount(options, totals, Arc::new(Owner { ask, damaged }))
            .map_err(|error| mount_failure(&error))?;
        Ok(NativeMount { mounted })
    }))
}

#[napi]
impl NativeMount {
    /// Answers `ask`: `directory` is JSON, see `cairn_fuse::Directory`.
    #[napi]
    pub fn found(&self, path: String, directory: String) -> napi::Result<()> {
        guarded(|| {
            let directory: Directory = serde_json::from_str(&directory)
                .map_err(|error| Error::InvalidArgument(error.to_string()))?;
            self.mounted.answer(&path, Answer::Found(directory));
            Ok(())
        })
    }

    /// Answers `ask`: there is no such directory any more.
    #[napi]
    pub fn missing(&self, path: String) -> napi::Result<()> {
        guarded(|| {
            self.mounted.answer(&path, Answer::Missing);
            Ok(())
        })
    }

    /// Answers `ask`: it could not be found out what the directory holds.
    #[napi]
    pub fn failed(&self, path: String) -> napi::Result<()> {
        guarded(|| {
            self.mounted.answer(&path, Answer::Failed);
            Ok(())
        })
    }

    /// Paths of the directories whose entries are remembered, here or in the kernel.
    #[napi]
    pub fn directories(&self) -> napi::Result<Vec<String>> {
        guarded(|| Ok(self.mounted.directories()))
    }

    /// These directories may hold something else now.
    #[napi]
    pub fn changed(&self, paths: Vec<String>, totals: NativeTotals) -> napi::Result<()> {
        guarded(|| {
            self.mounted.changed(&paths, to_totals(&totals)?);
            Ok(())
        })
    }

    /// False once the kernel has let go.
    #[napi]
    pub fn connected(&self) -> napi::Result<bool> {
        guarded(|| Ok(self.mounted.is_connected()))
    }
}

fn to_totals(totals: &NativeTotals) -> Result<Totals> {
    Ok(Totals { revisions: to_size(totals.revisions)?, stored_bytes: to_size(totals.stored_bytes)? })
}
