//! Restores as jobs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_core::disk::Disk;
use cairn_core::image::Image;
use cairn_core::probe::Piece;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::restore::{self, Copies, Identity, Options, Origin, Restored, Stage, Target};
use cairn_core::window::Window;
use cairn_core::{Error, Result};
use napi::bindgen_prelude::Either3;
use napi_derive::napi;
use serde_json::{Value, json};

use crate::disks::{os_files, parse_revision};
use crate::errors::guarded;
use crate::jobs::{NativeJob, Outcome, Work, duplicate};
use crate::pool::Json;

/// A target that a diff is applied to by whoever reads it from the descriptor.
#[napi(object)]
pub struct NativeDiffTarget {
    /// Of what it is applied to.
    pub size_bytes: i64,
    /// It has zeros wherever nothing is written.
    pub is_blank: bool,
    /// `body`, or when all of that is on stable storage `head`.
    pub stage: String,
}

/// What to restore, where to, and how. Either `target_path` or `target_fd`.
#[napi(object)]
pub struct NativeRestoreParams {
    /// `disks/<disk>`
    pub disk_dir: String,
    /// Which revision.
    pub revision: String,
    /// Pieces of the image, as the survey names them; absent means all of it.
    pub pieces: Option<Value>,
    /// A file or device.
    pub target_path: Option<String>,
    /// Whether the path is a block device.
    pub is_device: Option<bool>,
    /// A stream; it is duplicated.
    pub target_fd: Option<i32>,
    /// What the stream is, where it is a diff.
    pub target_diff: Option<NativeDiffTarget>,
    /// A file that exists is taken instead of refused.
    pub existing: Option<bool>,
    /// What the target was when it was looked at: `<major>:<minor>:<inode>` of a file,
    /// `<major>:<minor>` of a device.
    pub identity: Option<String>,
    /// Only the partition table.
    pub table_only: Option<bool>,
    /// Reads the target and writes what differs.
    pub differential: Option<bool>,
    /// Reads back what was written.
    pub verify: Option<bool>,
    /// Goes on where a block cannot be read.
    pub keep_going: Option<bool>,
    /// Where copies of damaged blocks may be.
    pub copies_source: Option<String>,
    /// What is found nowhere is left on the target as it was.
    pub keeps_lost: Option<bool>,
    /// Directories of disks in which copies may be.
    pub copies_disks: Option<Vec<String>>,
    /// Worker threads; 0 for as many as are good.
    pub threads: Option<u32>,
}

/// Prepares a restore; nothing is touched before it starts.
#[napi]
pub fn restore_job(params: NativeRestoreParams) -> napi::Result<NativeJob> {
    guarded(|| {
        let stream = params.target_fd.map(duplicate).transpose()?;
        let work: Work<Outcome> = Box::new(move |control| {
            let begun = std::time::Instant::now();
            let image = open(&params)?;
            let window = window(&params, &image)?;
            let target = match (&params.target_path, stream) {
                (Some(path), None) if params.is_device == Some(true) => Target::device(Path::new(path))?,
                (Some(path), None) => Target::file(Path::new(path), params.existing == Some(true))?,
                (None, Some(fd)) => match &params.target_diff {
                    None => Target::stream(fd),
                    Some(diff) => Target::diff(fd, diff_size(diff)?, diff.is_blank),
                },
                _ => {
                    return Err(Error::InvalidArgument("a restore has either a path or a descriptor".into()));
                }
            };
            let target = target.require(params.identity.as_deref().map(parse_identity).transpose()?)?;
            if params.table_only == Some(true) {
                let restored = restore::run_table(&image, &target, control)?;
                return Ok(Either3::C(Json(told(&restored, begun.elapsed()))));
            }
            let options = Options {
                threads: params.threads.unwrap_or(0) as usize,
                differential: params.differential == Some(true),
                verify: params.verify == Some(true),
                keep_going: params.keep_going == Some(true),
                keeps_lost: params.keeps_lost == Some(true),
                stage: params.target_diff.as_ref().map_or(Ok(Stage::Whole), parse_stage)?,
                copies: Copies {
                    source: params.copies_source.map(PathBuf::from),
                    disks: params.copies_disks.unwrap_or_default().into_iter().map(PathBuf::from).collect(),
                },
            };
            let restored = restore::run(&image, &window, target, &options, control)?;
            Ok(Either3::C(Json(told(&restored, begun.elapsed()))))
        });
        Ok(NativeJob::of(work))
    })
}

fn open(params: &NativeRestoreParams) -> Result<Image> {
    let disk = Disk::open_to_read(os_files(), Path::new(&params.disk_dir))?;
    let revision = parse_revision(&params.revision)?;
    let records = Records::new(os_files(), disk.paths().segments(), Arc::new(Caches::new(CacheBudget::JOB)));
    Image::open(&disk, Arc::new(records), &revision)
}

fn window(params: &NativeRestoreParams, image: &Image) -> Result<Window> {
    let size_bytes = image.geometry().size_bytes();
    let Some(pieces) = &params.pieces else { return Ok(Window::whole(size_bytes)) };
    let pieces: Vec<Piece> = serde_json::from_value(pieces.clone())
        .map_err(|error| Error::InvalidArgument(format!("the pieces of a restore: {error}")))?;
    Window::new(&pieces, size_bytes)
}

fn diff_size(diff: &NativeDiffTarget) -> Result<u64> {
    u64::try_from(diff.size_bytes).map_err(|_| Error::InvalidArgument("the size of an image".into()))
}

fn parse_stage(diff: &NativeDiffTarget) -> Result<Stage> {
    match diff.stage.as_str() {
        "body" => Ok(Stage::Body),
        "head" => Ok(Stage::Head),
        other => Err(Error::InvalidArgument(format!("{other} is no stage of a restore"))),
    }
}

fn parse_identity(text: &str) -> Result<Identity> {
    let numbers: Option<Vec<u64>> = text.split(':').map(|number| number.parse().ok()).collect();
    let device = |major: u64, minor: u64| Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?));
    let parsed = match numbers.as_deref() {
        Some(&[major, minor]) => device(major, minor).map(Identity::Device),
        Some(&[major, minor, inode]) => device(major, minor).map(|device| Identity::File { device, inode }),
        _ => None,
    };
    parsed.ok_or_else(|| Error::InvalidArgument(format!("{text} identifies no target")))
}

fn told(restored: &Restored, took: std::time::Duration) -> Value {
    let recovered = restored.recovered.iter().map(|(origin, bytes)| {
        let (from, path) = match origin {
            Origin::Target => ("target", None),
            Origin::Source(path) => ("source", Some(path.display().to_string())),
            Origin::Disk(path) => ("disk", Some(path.display().to_string())),
        };
        json!({ "from": from, "path": path, "bytes": bytes })
    });
    let damaged = restored.damaged.iter().map(|part| {
        json!({
            "offset": part.image_offset,
            "targetOffset": part.target_offset,
            "length": part.len,
            "left": if part.kept { "as-it-was" } else { "zeroed" },
        })
    });
    json!({
        "writtenBytes": restored.written_bytes,
        "skippedBytes": restored.skipped_bytes,
        "discardedBytes": restored.discarded_bytes,
        "comparedBytes": restored.compared_bytes,
        "verifiedBytes": restored.verified_bytes,
        "tailBytes": restored.tail_bytes,
        "hasStaleTable": restored.has_stale_table,
        "kernelSeesOldTable": restored.kernel_sees_old_table,
        "recovered": recovered.collect::<Vec<_>>(),
        "damaged": damaged.collect::<Vec<_>>(),
        "damagedBytes": restored.damaged_bytes,
        "durationMs": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    })
}
