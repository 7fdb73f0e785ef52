//! Re-reading what is stored and checking every record against its digest.
//!
//! In two steps. [`read`] reads segments front to back, from the medium, without any lock, and gives
//! the records that it found damaged. [`settle`] then walks the block maps of all revisions
//! ([`trace`](crate::trace)), under the disk's lock where it can be had: it finds what is missing
//! altogether, reads suspects once more, mends what the disk has a copy of ([`heal`](crate::heal)),
//! says which bytes of which revisions stay damaged, and notes damaged records in the disk's list, so
//! that the next backup that sees their content stores it again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::collect::mark;
use crate::damaged::Damaged;
use crate::disk::{Disk, DiskLock};
use crate::error::{Error, Result};
use crate::heal;
use crate::image::Image;
use crate::job::{Control, Phase, threads};
use crate::random::{Numbers, Selection, share_of};
use crate::records::{CacheBudget, Caches, Records};
use crate::revision::RevisionId;
use crate::segment::{self, IndexEntry};
use crate::trace::{self, DamagedExtent};
use crate::units::SegmentId;

/// What is read.
#[derive(Clone, Debug)]
pub struct ScrubParams {
    /// Only what this revision needs; else all that the disk stores.
    pub revision: Option<RevisionId>,
    /// The part of each segment's records, above 0 and up to 1.
    pub share: f64,
    /// Worker threads; 0 for as many as are good.
    pub threads: usize,
}

/// What [`read`] found.
#[derive(Clone, Debug)]
pub struct Suspicion {
    revision: Option<RevisionId>,
    is_complete: bool,
    suspects: Damaged,
    checked_bytes: u64,
    checked_records: u64,
}

/// What a scrub says.
#[derive(Clone, Debug, Default)]
pub struct Scrubbed {
    /// Bytes of stored records that were read.
    pub checked_bytes: u64,
    /// How many records that were.
    pub checked_records: u64,
    /// What revisions have lost.
    pub damaged: Vec<DamagedExtent>,
    /// Records that a revision needs and that are damaged or missing. Without the lock second copies
    /// of map pages are among them, which harm no extent.
    pub records_damaged: u64,
    /// Records that were, and are not any more.
    pub records_mended: u64,
    /// Sentences that a person should read.
    pub warnings: Vec<String>,
}

/// The first step. Changes nothing and holds nothing.
///
/// # Errors
/// `NotFound` for a revision that is not there; `Corrupt` for its manifest; `Cancelled`; `Io` for all
/// but damage.
pub fn read(disk: &Disk, params: &ScrubParams, control: &Control) -> Result<Suspicion> {
    control.enter(Phase::Scrubbing);
    let segments = disk.segments()?;
    let (_pin, chosen) = chosen_records(disk, params, &segments, control)?;
    let mut work = Vec::new();
    let mut total = 0;
    for id in segments {
        let live = chosen.as_ref().map(|live| live.get(id));
        if live.as_ref().is_some_and(|bits| bits.is_none_or(crate::bits::Bits::is_empty)) {
            continue;
        }
        match segment::outline(&**disk.files(), &disk.paths().segments(), id) {
            // Collected meanwhile.
            Err(Error::NotFound { .. }) => continue,
            outline => total += outline?.file_len,
        }
        work.push(id);
    }
    control.set_done(0);
    control.set_total(Some(share_of(total, params.share)));
    let pass = Pass {
        disk,
        params,
        chosen,
        control,
        work,
        next: AtomicUsize::new(0),
        found: Mutex::default(),
        numbers: Mutex::new(Numbers::unpredictable()?),
        bases: Records::new(
            Arc::clone(disk.files()),
            disk.paths().segments(),
            Arc::new(Caches::new(CacheBudget { pages_bytes: 0, blocks_bytes: 0 })),
        ),
    };
    let threads = threads(params.threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| pass.work())).collect();
        let joined = running.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Worker)));
        joined.fold(Ok(()), Result::and)
    })?;
    let Found { suspects, bytes, records } = pass.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Suspicion {
        revision: params.revision.clone(),
        is_complete: params.revision.is_none() && params.share >= 1.0,
        suspects,
        checked_bytes: bytes,
        checked_records: records,
    })
}

/// The second step. With the lock of the disk the list of damaged records is brought up to date, and
/// what can be mended is.
///
/// # Errors
/// `Cancelled`; `Io` for all but damage, and for a list or segment that cannot be written.
pub fn settle(
    disk: &Disk,
    lock: Option<&DiskLock>,
    suspicion: Suspicion,
    control: &Control,
) -> Result<Scrubbed> {
    control.enter(Phase::Marking);
    let mut traced = trace::run(disk, &suspicion.suspects, control)?;
    let mut records_mended = 0;
    if let Some(lock) = lock {
        if !lock.covers(&disk.paths().directory) {
            return Err(Error::InvalidArgument("noting damage needs the lock of the disk".into()));
        }
        note(disk, &suspicion, &traced)?;
        records_mended = heal::mend(disk, lock, &traced, control)?.records;
        if records_mended > 0 {
            traced = trace::run(disk, &suspicion.suspects, control)?;
        }
    }
    let mut scrubbed = Scrubbed {
        records_mended,
        checked_bytes: suspicion.checked_bytes,
        checked_records: suspicion.checked_records,
        records_damaged: traced.broken.len() as u64,
        damaged: traced.extents,
        warnings: Vec::new(),
    };
    if let Some(revision) = &suspicion.revision {
        scrubbed.damaged.retain(|extent| extent.revisions.contains(revision));
    }
    let unread = traced.unreadable.iter().map(|(_, error)| {
        format!("{error}; what its revision needs is not known, so damage of it is not told")
    });
    scrubbed.warnings.extend(unread);
    if traced.is_cut {
        scrubbed.warnings.push("there is more damage than is listed here".to_owned());
    }
    control.enter(Phase::Done);
    Ok(scrubbed)
}

/// Puts what is damaged on the disk's list, and takes off what a complete scrub found to be sound.
fn note(disk: &Disk, suspicion: &Suspicion, traced: &trace::Traced) -> Result<()> {
    let (files, path) = (&**disk.files(), disk.paths().damaged());
    let before = match Damaged::read(files, &path) {
        Err(Error::Corrupt { .. }) => None,
        other => Some(other?),
    };
    let mut list = match &before {
        Some(list) if !suspicion.is_complete => list.clone(),
        _ => Damaged::default(),
    };
    list.merge(&suspicion.suspects);
    traced.broken.iter().for_each(|broken| list.insert(broken.place.segment, broken.place.ordinal));
    traced.lost_segments.iter().for_each(|&id| list.insert_whole(id));
    traced.cleared.iter().for_each(|&place| list.remove(place));
    if before.as_ref() == Some(&list) { Ok(()) } else { list.write(files, &path) }
}

/// Which records are to be read, where not all are; the revision is pinned while they are.
fn chosen_records(
    disk: &Disk,
    params: &ScrubParams,
    segments: &[SegmentId],
    control: &Control,
) -> Result<(Option<Image>, Option<mark::Live>)> {
    let Some(revision) = &params.revision else { return Ok((None, None)) };
    let caches = Arc::new(Caches::new(CacheBudget { blocks_bytes: 0, ..CacheBudget::JOB }));
    let records = Arc::new(Records::new(disk.files().clone(), disk.paths().segments(), caches));
    let image = Image::open(disk, Arc::clone(&records), revision)?;
    match mark::live(&records, &[*image.map()], segments, control) {
        Ok(live) => Ok((Some(image), Some(live))),
        // What lies beneath a page that is lost is not known, so all is read.
        Err(error) if error.is_unreadable() => Ok((Some(image), None)),
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Found {
    suspects: Damaged,
    bytes: u64,
    records: u64,
}

struct Pass<'a> {
    disk: &'a Disk,
    params: &'a ScrubParams,
    chosen: Option<mark::Live>,
    control: &'a Control,
    work: Vec<SegmentId>,
    next: AtomicUsize,
    found: Mutex<Found>,
    numbers: Mutex<Numbers>,
    /// Gives the blocks that others are encoded against.
    bases: Records,
}

impl Pass<'_> {
    fn work(&self) -> Result<()> {
        while let Some(&id) = self.work.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            self.look_at(id).inspect_err(|_| self.next.store(self.work.len(), Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn look_at(&self, id: SegmentId) -> Result<()> {
        let (files, segments) = (&**self.disk.files(), self.disk.paths().segments());
        let is_wanted = |entry: &IndexEntry| {
            let live = self.chosen.as_ref().and_then(|live| live.get(id));
            self.chosen.is_none() || live.is_some_and(|bits| bits.contains(entry.ordinal.0))
        };
        let outline = match segment::outline(files, &segments, id) {
            Err(Error::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        let total = self
            .chosen
            .as_ref()
            .and_then(|live| live.get(id))
            .map_or_else(|| u64::from(outline.count.unwrap_or(0)), |bits| u64::from(bits.count()));
        let seed = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        let mut selection = Selection::new(share_of(total, self.params.share), total, Numbers::new(seed));
        let mut choose = |entry: &IndexEntry| is_wanted(entry) && selection.takes_next();
        let mut progress = |bytes| {
            self.control.add_done(bytes);
            self.control.add_read(bytes);
            self.control.check()
        };
        let verified = segment::verify(files, &segments, id, &self.bases, &mut choose, &mut progress);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match verified {
            Ok(verified) => {
                found.bytes += verified.bytes;
                found.records += verified.records;
                verified.damaged.into_iter().for_each(|ordinal| found.suspects.insert(id, ordinal));
                Ok(())
            }
            // Collected meanwhile; what is missing is found by way of the maps.
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) if error.is_unreadable() => {
                found.suspects.insert_whole(id);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
