//! Disks, locks, manifests and state files: small synchronous file operations.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cairn_core::codec::Codec;
use cairn_core::disk::{Disk, DiskLock, DiskOptions};
use cairn_core::io::{File as _, Files, Lock, OsFiles};
use cairn_core::manifest::{DiskPaths, Manifest, State};
use cairn_core::map::Fanout;
use cairn_core::newer::{self, Depth};
use cairn_core::retire;
use cairn_core::revision::RevisionId;
use cairn_core::{Error, Result};
use napi_derive::napi;
use serde_json::Value;

use crate::errors::guarded;
use crate::jobs::duplicate;

/// The operating system's files, as every operation here uses them.
pub(crate) fn os_files() -> Arc<dyn Files> {
    Arc::new(OsFiles)
}

pub(crate) fn parse_revision(text: &str) -> Result<RevisionId> {
    RevisionId::parse(text).ok_or_else(|| Error::InvalidArgument(format!("{text:?} is no revision id")))
}

/// Serialises what the core made itself.
pub(crate) fn to_value<T: serde::Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::InvalidArgument(error.to_string()))
}

/// A held lock on a disk. Taking a revision uses it up.
#[napi]
pub struct NativeLock {
    lock: Arc<Mutex<Option<DiskLock>>>,
}

#[napi]
impl NativeLock {
    /// Gives the lock back. Idempotent.
    #[napi]
    pub fn release(&self) {
        drop(self.take());
    }

    pub(crate) fn take(&self) -> Option<DiskLock> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// For work on a thread during which the caller keeps it; giving it back waits for that work.
    pub(crate) fn share(&self) -> Arc<Mutex<Option<DiskLock>>> {
        Arc::clone(&self.lock)
    }

    fn covers(&self, directory: &Path) -> bool {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.as_ref().is_some_and(|lock| lock.covers(directory))
    }
}

/// Takes the lock of a disk without waiting.
#[napi]
pub fn lock_disk(disk_dir: String, holder: String) -> napi::Result<NativeLock> {
    guarded(|| {
        let lock = DiskLock::take(Path::new(&disk_dir), &holder)?;
        Ok(NativeLock { lock: Arc::new(Mutex::new(Some(lock))) })
    })
}

/// Raises FORMAT_TOO_NEW where something in a disk's directory is of a later format: in what is looked at
/// first, or anywhere.
#[napi]
pub fn refuse_newer(disk_dir: String, everything: bool) -> napi::Result<()> {
    let depth = if everything { Depth::Everything } else { Depth::Newest };
    guarded(|| newer::refuse(os_files(), Path::new(&disk_dir), depth))
}

/// Makes the directory of a new disk, durably.
#[napi]
pub fn create_disk(
    disk_dir: String,
    block_size_bytes: Option<u32>,
    codec: Option<String>,
    fanout: Option<u32>,
) -> napi::Result<Value> {
    guarded(|| {
        let defaults = DiskOptions::default();
        let codec = codec.as_deref().map(parse_codec).transpose()?;
        let fanout = fanout.map(|entries| {
            Fanout::new(entries)
                .ok_or_else(|| Error::InvalidArgument("a fan-out is a power of two from 32 to 1024".into()))
        });
        let options = DiskOptions {
            block_size: block_size_bytes.unwrap_or(defaults.block_size),
            codec: codec.unwrap_or(defaults.codec),
            fanout: fanout.transpose()?.unwrap_or(defaults.fanout),
        };
        to_value(Disk::create(os_files(), Path::new(&disk_dir), options)?.file())
    })
}

/// Reads and checks a manifest.
#[napi]
pub fn read_manifest(path: String) -> napi::Result<Value> {
    guarded(|| to_value(&Manifest::read(&OsFiles, Path::new(&path))?))
}

/// Reads and checks a state file; a missing one is a trusted revision without tags.
#[napi]
pub fn read_state(path: String) -> napi::Result<Value> {
    guarded(|| to_value(&State::read(&OsFiles, Path::new(&path))?))
}

/// Replaces a state file, durably. Needs the disk's lock.
#[napi]
pub fn write_state(disk_dir: String, revision: String, state: Value, lock: &NativeLock) -> napi::Result<()> {
    guarded(|| {
        let paths = DiskPaths::new(PathBuf::from(disk_dir));
        if !lock.covers(&paths.directory) {
            return Err(Error::InvalidArgument("writing a state file needs the lock of its disk".into()));
        }
        let revision = parse_revision(&revision)?;
        let state: State =
            serde_json::from_value(state).map_err(|error| Error::InvalidArgument(error.to_string()))?;
        if let Err(error) = std::fs::metadata(paths.manifest(&revision)) {
            return Err(Error::Io { action: "looking for", path: paths.manifest(&revision), source: error });
        }
        state.write(&OsFiles, &paths.state(&revision))
    })
}

/// Removes revisions: durably gone from listings when this returns. Needs the disk's lock.
#[napi]
pub fn retire_revisions(disk_dir: String, revisions: Vec<String>, lock: &NativeLock) -> napi::Result<()> {
    guarded(|| {
        let disk = Disk::open(os_files(), Path::new(&disk_dir))?;
        let revisions: Result<Vec<_>> = revisions.iter().map(|text| parse_revision(text)).collect();
        let lock = lock.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = lock.as_ref();
        let lock = lock.ok_or_else(|| Error::InvalidArgument("the lock was given back already".into()))?;
        retire::retire(&disk, lock, &revisions?)
    })
}

/// A pipe, close-on-exec: the first descriptor is for reading, the second for writing.
#[napi]
pub fn make_pipe() -> napi::Result<Vec<i32>> {
    use std::os::fd::IntoRawFd;
    guarded(|| {
        let (reader, writer) = std::io::pipe().map_err(|source| Error::Io {
            action: "making",
            path: PathBuf::from("a pipe"),
            source,
        })?;
        Ok(vec![
            std::os::fd::OwnedFd::from(reader).into_raw_fd(),
            std::os::fd::OwnedFd::from(writer).into_raw_fd(),
        ])
    })
}

/// Takes a lock on an open file (flock(2)) without waiting: it goes when the last descriptor of this opening
/// is closed, those of other processes included. False where somebody else has it.
#[napi]
pub fn try_flock(fd: i32, exclusive: bool) -> napi::Result<bool> {
    let lock = if exclusive { Lock::Exclusive } else { Lock::Shared };
    guarded(|| {
        let file = std::fs::File::from(duplicate(fd)?);
        file.try_flock(lock).map_err(|source| Error::Io {
            action: "locking",
            path: PathBuf::from(format!("descriptor {fd}")),
            source,
        })
    })
}

/// Marks all descriptors above standard error close-on-exec, so that programs started from here do not
/// hold locks and pipes of whoever started us (close_range(2), Linux 5.11; older kernels keep them).
#[napi]
pub fn keep_descriptors_private() {
    // SAFETY: the call takes plain numbers and changes a flag of descriptors; it closes none.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
}

fn parse_codec(name: &str) -> Result<Codec> {
    match name {
        "zstd" => Ok(Codec::Zstd),
        "lz4" => Ok(Codec::Lz4),
        "plain" => Ok(Codec::Plain),
        _ => Err(Error::InvalidArgument(format!("{name:?} is no codec; there are zstd, lz4 and plain"))),
    }
}
