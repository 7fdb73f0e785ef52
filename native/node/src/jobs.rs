//! Long operations: a thread each, progress to be polled, a cancel that is heard within a piece.

use std::num::NonZeroU64;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cairn_core::backup::{self, Background, BackupParams, DiffFrom, Pending, Source, Taken};
use cairn_core::collect::{self, CollectParams};
use cairn_core::compare::{self, Coverage};
use cairn_core::disk::Disk;
use cairn_core::doctor;
use cairn_core::image::Image;
use cairn_core::job::{Control, Phase};
use cairn_core::manifest::Consistency;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::scrub::{self, ScrubParams, Suspicion};
use cairn_core::source::{BlockSource, PathSource, StreamSource};
use cairn_core::trace::DamagedExtent;
use cairn_core::{Error, Result};
use napi::Env;
use napi::bindgen_prelude::{AsyncTask, Either, Either3, Object, ToNapiValue};
use napi_derive::napi;
use serde_json::{Value, json};

use crate::disks::{NativeLock, os_files, parse_revision};
use crate::errors::{failure, guarded};
use crate::exports::{self, NativeNbd};
use crate::pool::{Json, Pooled, pooled};

/// Counters of a job at one moment, in bytes; `total_bytes` is absent where it is not known.
#[napi(object)]
pub struct NativeProgress {
    /// reading, sealing, writing, syncing, marking, sweeping, comparing, scrubbing, recovering,
    /// verifying or done
    pub phase: String,
    /// Of the image, holes included.
    pub done_bytes: f64,
    /// Of the image.
    pub total_bytes: Option<f64>,
    /// From the source or the store.
    pub read_bytes: f64,
    /// To the store or the target.
    pub stored_bytes: f64,
}

/// What to read: `source_path`, or `source_nbd`, or `source_fd` with `source_size_bytes` where it is known.
#[napi(object)]
pub struct NativeBackupParams {
    /// `disks/<disk>`
    pub disk_dir: String,
    /// Its name.
    pub disk: String,
    /// A file or block device.
    pub source_path: Option<String>,
    /// An export.
    pub source_nbd: Option<NativeNbd>,
    /// A stream; it is duplicated, so the caller keeps and closes its own.
    pub source_fd: Option<i32>,
    /// Bytes that the stream must have.
    pub source_size_bytes: Option<f64>,
    /// The stream is a diff of rbd that leads to this snapshot.
    pub diff_to: Option<String>,
    /// The snapshot that it leads from, of the revision `changes_from`; absent for a diff from nothing.
    pub diff_from: Option<String>,
    /// The snapshot that it leads to, to compare with.
    pub diff_sample: Option<NativeNbd>,
    /// The revision that `changes`, `changes_bitmap` or `diff_from` lead from.
    pub changes_from: Option<String>,
    /// Offset and length, in turn, of all that may have changed; absent reads everything.
    pub changes: Option<Vec<f64>>,
    /// The bitmap of an export that tells instead what may have changed.
    pub changes_bitmap: Option<String>,
    /// For the manifest.
    pub description: Value,
    /// frozen, snapshot, live; absent finds out.
    pub consistency: Option<String>,
    /// Tags of the revision.
    pub tags: Vec<String>,
    /// Worker threads; 0 for as many as are good.
    pub threads: Option<u32>,
    /// frozen or snapshot; absent takes what comes.
    pub require: Option<String>,
    /// Bytes of the source a second, at most.
    pub read_rate: Option<f64>,
    /// What each of the last backups found changed.
    pub changed_bytes: Vec<f64>,
    /// Where the source is mounted so that it can be written.
    pub mounted_on: Vec<String>,
}

pub(crate) type Work<T> = Box<dyn FnOnce(&Arc<Control>) -> Result<T> + Send>;

/// What a job ends with: something that waits for its second half, or counters.
pub(crate) type Outcome = Either3<NativePending, NativeSuspicion, Json>;

/// The part that all kinds of job share.
struct Job<T> {
    control: Arc<Control>,
    work: Mutex<Option<Work<T>>>,
}

impl<T: ToNapiValue + Send + 'static> Job<T> {
    fn new(work: Work<T>) -> Self {
        Self { control: Arc::default(), work: Mutex::new(Some(work)) }
    }

    fn progress(&self) -> NativeProgress {
        let progress = self.control.progress();
        let phase = match progress.phase {
            Phase::Reading => "reading",
            Phase::Sealing => "sealing",
            Phase::Writing => "writing",
            Phase::Syncing => "syncing",
            Phase::Marking => "marking",
            Phase::Sweeping => "sweeping",
            Phase::Comparing => "comparing",
            Phase::Scrubbing => "scrubbing",
            Phase::Recovering => "recovering",
            Phase::Verifying => "verifying",
            Phase::Done => "done",
        };
        NativeProgress {
            phase: phase.to_owned(),
            done_bytes: to_number(progress.done_bytes),
            total_bytes: progress.total_bytes.map(to_number),
            read_bytes: to_number(progress.read_bytes),
            stored_bytes: to_number(progress.stored_bytes),
        }
    }

    /// Starts the work on a thread of its own; once.
    fn start<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let work =
            work.ok_or_else(|| failure(&Error::InvalidArgument("the job was started before".into())))?;
        let (deferred, promise) = env.create_deferred()?;
        let control = Arc::clone(&self.control);
        std::thread::spawn(move || match guarded(|| work(&control)) {
            Ok(value) => deferred.resolve(move |_| Ok(value)),
            Err(error) => deferred.reject(error),
        });
        Ok(promise)
    }
}

/// A backup up to the point where only its manifest is missing, the reading half of a scrub, a
/// restore, a collect, or a comparison.
#[napi]
pub struct NativeJob {
    job: Job<Outcome>,
}

impl NativeJob {
    pub(crate) fn of(work: Work<Outcome>) -> Self {
        Self { job: Job::new(work) }
    }
}

#[napi]
impl NativeJob {
    /// Counters now.
    #[napi]
    pub fn progress(&self) -> NativeProgress {
        self.job.progress()
    }

    /// Asks it to stop.
    #[napi]
    pub fn cancel(&self) {
        self.job.control.cancel();
    }

    /// Asks it to leave the machine to others, or to go on at full pace; only backups know how.
    #[napi]
    pub fn set_yielding(&self, yielding: bool) {
        self.job.control.set_yielding(yielding);
    }

    /// Starts it, once. A backup gives a `NativePending`, a scrub a `NativeSuspicion`, the others their
    /// counters.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn start<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.job.start(env)
    }
}

/// Prepares a backup; the lock is used up. Opens the source, so that its errors come at once, but for an
/// export, whose server may need its time: that is opened when the job has started.
#[napi]
pub fn backup_job(mut params: NativeBackupParams, lock: &NativeLock) -> napi::Result<NativeJob> {
    guarded(|| {
        let disk = Disk::open(os_files(), Path::new(&params.disk_dir))?;
        let open: exports::Opening = match params.source_nbd.take() {
            Some(export) => open_export(export, &mut params)?,
            None => {
                let sample = params.diff_sample.take();
                exports::sampled(open_source(&params)?, sample)
            }
        };
        let read_rate = params.read_rate.map(to_rate).transpose()?;
        let Value::Object(description) = params.description else {
            return Err(Error::InvalidArgument("the description of a source is an object".into()));
        };
        let consistency = params.consistency.as_deref().map(parse_consistency).transpose()?;
        let require = params.require.as_deref().map(parse_consistency).transpose()?;
        let background = Background {
            changed_bytes: params.changed_bytes.into_iter().map(to_size).collect::<Result<_>>()?,
            mounted_on: params.mounted_on,
        };
        let lock =
            lock.take().ok_or_else(|| Error::InvalidArgument("the lock was given back already".into()))?;
        let work: Work<Outcome> = Box::new(move |control| {
            if let Some(read_rate) = read_rate {
                control.limit_rate(read_rate);
            }
            let params = BackupParams {
                name: params.disk,
                source: open(control)?,
                description,
                consistency,
                tags: params.tags,
                threads: params.threads.unwrap_or(0) as usize,
                require,
                background,
            };
            let pending = backup::prepare(&disk, lock, params, Arc::clone(control))?;
            Ok(Either3::A(NativePending { pending: Mutex::new(Some(pending)) }))
        });
        Ok(NativeJob { job: Job::new(work) })
    })
}

/// A revision that is stored and not committed.
#[napi]
pub struct NativePending {
    pending: Mutex<Option<Pending>>,
}

#[napi]
impl NativePending {
    /// Makes it visible and durable; once.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn commit(&self) -> AsyncTask<Pooled<Json>> {
        let pending = self.take();
        pooled(move || {
            let pending =
                pending.ok_or_else(|| Error::InvalidArgument("the backup was ended already".into()))?;
            Ok(Json(describe(&pending.commit()?)))
        })
    }

    /// Gives it up. Idempotent.
    #[napi]
    pub fn abort(&self) {
        if let Some(pending) = self.take() {
            pending.abort();
        }
    }

    fn take(&self) -> Option<Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Prepares a collect; the lock is used up. Nothing is touched before it starts. With `dry_run`
/// nothing is at all, and revisions named by `without` count as removed.
#[napi]
pub fn collect_job(
    disk_dir: String,
    dry_run: bool,
    without: Vec<String>,
    lock: &NativeLock,
) -> napi::Result<NativeJob> {
    guarded(|| {
        let without = without.iter().map(|text| parse_revision(text)).collect::<Result<Vec<_>>>()?;
        let disk = Disk::open(os_files(), Path::new(&disk_dir))?;
        let lock =
            lock.take().ok_or_else(|| Error::InvalidArgument("the lock was given back already".into()))?;
        let work: Work<Outcome> = Box::new(move |control| {
            let begun = std::time::Instant::now();
            let params = CollectParams { dry_run, without, ..CollectParams::default() };
            let collected = collect::run(&disk, &lock, &params, control)?;
            let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            Ok(Either3::C(Json(json!({
                "revisionsDisposed": collected.revisions_disposed,
                "revisionsPinned": collected.revisions_pinned,
                "recordsLive": collected.records_live,
                "recordsCondemned": collected.records_condemned,
                "segmentsUnlinked": collected.segments_unlinked,
                "segmentsRewritten": collected.segments_rewritten,
                "segmentsSkipped": collected.segments_skipped,
                "bytesBefore": collected.bytes_before,
                "bytesAfter": collected.bytes_after,
                "bytesDead": collected.bytes_dead,
                "durationMs": duration_ms,
                "warnings": collected.warnings,
            }))))
        });
        Ok(NativeJob { job: Job::new(work) })
    })
}

/// Prepares the reading half of a scrub: of one revision or of all that a disk stores, `share` of it.
#[napi]
pub fn scrub_job(disk_dir: String, revision: Option<String>, share: f64) -> napi::Result<NativeJob> {
    guarded(|| {
        let revision = revision.as_deref().map(parse_revision).transpose()?;
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::InvalidArgument(format!("{share} is no share of a disk")));
        }
        let disk = Disk::open(os_files(), Path::new(&disk_dir))?;
        let work: Work<Outcome> = Box::new(move |control| {
            let params = ScrubParams { revision, share, threads: 0 };
            let suspicion = scrub::read(&disk, &params, control)?;
            let found = (disk, suspicion, Arc::clone(control));
            Ok(Either3::B(NativeSuspicion { found: Mutex::new(Some(found)) }))
        });
        Ok(NativeJob { job: Job::new(work) })
    })
}

/// What a scrub read, before it is known what that means for revisions.
#[napi]
pub struct NativeSuspicion {
    found: Mutex<Option<(Disk, Suspicion, Arc<Control>)>>,
}

#[napi]
impl NativeSuspicion {
    /// The other half, once. With a lock, which stays the caller's until this has resolved, what is
    /// damaged is noted for the next backup.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn settle(&self, lock: Option<&NativeLock>) -> AsyncTask<Pooled<Json>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lock = lock.map(NativeLock::share);
        pooled(move || {
            let (disk, suspicion, control) =
                found.ok_or_else(|| Error::InvalidArgument("the scrub was ended already".into()))?;
            let held = lock.as_ref().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
            let lock = held.as_ref().and_then(|held| held.as_ref());
            let scrubbed = scrub::settle(&disk, lock, suspicion, &control)?;
            Ok(Json(json!({
                "checkedBytes": scrubbed.checked_bytes,
                "checkedRecords": scrubbed.checked_records,
                "recordsDamaged": scrubbed.records_damaged,
                "recordsMended": scrubbed.records_mended,
                "damaged": extents(&scrubbed.damaged),
                "warnings": scrubbed.warnings,
            })))
        })
    }
}

/// Prepares a comparison of a revision with what is read at offsets: a file, a block device or an export.
/// Absent `share` compares all.
#[napi]
pub fn compare_job(
    disk_dir: String,
    revision: String,
    source: Either<String, NativeNbd>,
    share: Option<f64>,
) -> napi::Result<NativeJob> {
    guarded(|| {
        let coverage = match share {
            None => Coverage::All,
            Some(share) if share > 0.0 && share <= 1.0 => Coverage::Share(share),
            Some(share) => return Err(Error::InvalidArgument(format!("{share} is no share of a disk"))),
        };
        let revision = parse_revision(&revision)?;
        let disk = Disk::open_to_read(os_files(), Path::new(&disk_dir))?;
        let open: Box<dyn FnOnce() -> Result<BlockSource> + Send> = match source {
            Either::A(path) => {
                let source = PathSource::open(Path::new(&path))?;
                Box::new(move || Ok(source.into()))
            }
            Either::B(export) => Box::new(move || export.open(None).map(BlockSource::from)),
        };
        let work: Work<Outcome> = Box::new(move |control| {
            let source = open()?;
            let records =
                Records::new(os_files(), disk.paths().segments(), Arc::new(Caches::new(CacheBudget::JOB)));
            let image = Image::open(&disk, Arc::new(records), &revision)?;
            let witness = source.witness();
            let compared = compare::run(&image, &source, coverage, 0, control)?;
            let mismatches = compared
                .mismatches
                .iter()
                .map(|range| json!({ "offset": range.start, "length": range.end - range.start }));
            Ok(Either3::C(Json(json!({
                "checkedBytes": compared.checked_bytes,
                "differingBytes": compared.differing_bytes,
                "mismatches": mismatches.collect::<Vec<_>>(),
                "isCut": compared.is_cut,
                "nothingWrote": source.nothing_wrote(witness.as_ref(), false),
            }))))
        });
        Ok(NativeJob { job: Job::new(work) })
    })
}

/// Prepares the examination of a disk. With its lock, which stays the caller's, leftovers are told, too.
#[napi]
pub fn examine_job(disk_dir: String, lock: Option<&NativeLock>) -> NativeJob {
    let lock = lock.map(NativeLock::share);
    let work: Work<Outcome> = Box::new(move |control| {
        let examined = doctor::examine(&os_files(), Path::new(&disk_dir), lock.is_some(), control)?;
        Ok(Either3::C(Json(json!({
            "findings": examined.findings,
            "damaged": extents(&examined.damaged),
            "revisions": examined.revisions,
        }))))
    });
    NativeJob { job: Job::new(work) }
}

/// Prepares the repair of a disk, whose lock stays the caller's.
#[napi]
pub fn repair_job(disk_dir: String, lock: &NativeLock) -> NativeJob {
    let lock = lock.share();
    let work: Work<Outcome> = Box::new(move |control| {
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = held.as_ref();
        let lock = lock.ok_or_else(|| Error::InvalidArgument("the lock was given back already".into()))?;
        let done = doctor::repair(&os_files(), Path::new(&disk_dir), lock, control)?;
        Ok(Either3::C(Json(json!({ "done": done }))))
    });
    NativeJob { job: Job::new(work) }
}

fn extents(all: &[DamagedExtent]) -> Vec<Value> {
    let extent = |extent: &DamagedExtent| json!({ "offset": extent.offset, "length": extent.len, "revisions": extent.revisions });
    all.iter().map(extent).collect()
}

fn describe(taken: &Taken) -> Value {
    let (manifest, counters) = (&taken.manifest, &taken.manifest.counters);
    json!({
        "revision": manifest.revision,
        "sequence": manifest.sequence,
        "method": manifest.reading.method,
        "sizeBytes": manifest.size_bytes,
        "readBytes": counters.read_bytes,
        "changedBytes": counters.changed_bytes,
        "zeroBytes": counters.zero_bytes,
        "storedBytes": counters.stored_bytes,
        "durationMs": counters.duration_ms,
        "consistency": manifest.consistency,
        "unchanged": taken.unchanged,
        "parent": manifest.parent,
        "comparison": manifest.comparison,
        "healedRecords": taken.healed_records,
        "earlyWarnings": manifest.early_warnings,
        "warnings": taken.warnings,
    })
}

fn open_source(params: &NativeBackupParams) -> Result<Source> {
    match (&params.source_path, params.source_fd) {
        (Some(path), None) => {
            let source = PathSource::open(&PathBuf::from(path))?.into();
            match (&params.changes_from, &params.changes) {
                (Some(from), Some(changes)) => {
                    let from = parse_revision(from)?;
                    Ok(Source::Changes { source, extents: parse_extents(changes)?, from })
                }
                _ => Ok(Source::Block(source)),
            }
        }
        (None, Some(fd)) => {
            let size_bytes = params.source_size_bytes.map(to_size).transpose()?;
            let stream = StreamSource::new(duplicate(fd)?, size_bytes);
            let Some(to) = params.diff_to.clone() else { return Ok(Source::Stream(stream)) };
            let from = match (&params.changes_from, &params.diff_from) {
                (Some(revision), Some(snapshot)) => {
                    DiffFrom::Revision { revision: parse_revision(revision)?, snapshot: snapshot.clone() }
                }
                _ => DiffFrom::Nothing,
            };
            let sample = Err("nothing reads the snapshot at offsets".into());
            Ok(Source::Diff { stream, from, to, sample })
        }
        _ => Err(Error::InvalidArgument("a source has either a path, an export or a descriptor".into())),
    }
}

fn open_export(export: NativeNbd, params: &mut NativeBackupParams) -> Result<exports::Opening> {
    let from = params.changes_from.as_deref().map(parse_revision).transpose()?;
    let extents = params.changes.as_deref().map(parse_extents).transpose()?;
    let told = match (from, extents, params.changes_bitmap.take()) {
        (None, None, None) => exports::Told::Nothing,
        (Some(from), Some(extents), None) => exports::Told::Extents { from, extents },
        (Some(from), None, Some(bitmap)) => exports::Told::Bitmap { from, bitmap },
        _ => {
            return Err(Error::InvalidArgument(
                "changes lead from a revision, by extents or a bitmap".into(),
            ));
        }
    };
    Ok(exports::opening(export, told))
}

fn parse_extents(numbers: &[f64]) -> Result<Vec<std::ops::Range<u64>>> {
    let extent = |pair: &[f64]| match pair {
        &[offset, len] => {
            let (offset, len) = (to_size(offset)?, to_size(len)?);
            Ok(offset..offset.saturating_add(len))
        }
        _ => Err(Error::InvalidArgument("extents are pairs of numbers".into())),
    };
    numbers.chunks(2).map(extent).collect()
}

pub(crate) fn duplicate(fd: i32) -> Result<OwnedFd> {
    let failed =
        |source| Error::Io { action: "duplicating", path: PathBuf::from(format!("descriptor {fd}")), source };
    if fd < 0 {
        return Err(failed(std::io::ErrorKind::InvalidInput.into()));
    }
    // SAFETY: the number is not negative; it is borrowed for the duplication alone, which fails with
    // EBADF where it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned().map_err(failed)
}

fn parse_consistency(name: &str) -> Result<Consistency> {
    match name {
        "frozen" => Ok(Consistency::Frozen),
        "snapshot" => Ok(Consistency::Snapshot),
        "live" => Ok(Consistency::Live),
        _ => Err(Error::InvalidArgument(format!("{name:?} is no consistency"))),
    }
}

fn to_rate(number: f64) -> Result<NonZeroU64> {
    NonZeroU64::new(to_size(number)?)
        .ok_or_else(|| Error::InvalidArgument("nothing is read at 0 bytes a second".into()))
}

/// Bytes for JavaScript; exact below 8 PiB, which is what an image may have.
#[expect(clippy::cast_precision_loss, reason = "byte counts of images are below 2^53")]
pub(crate) fn to_number(bytes: u64) -> f64 {
    bytes as f64
}

/// Bytes from JavaScript, where the control plane has asserted a safe integer.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a safe integer")]
pub(crate) fn to_size(number: f64) -> Result<u64> {
    let is_safe = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    if is_safe {
        Ok(number as u64)
    } else {
        Err(Error::InvalidArgument(format!("{number} is no number of bytes")))
    }
}
