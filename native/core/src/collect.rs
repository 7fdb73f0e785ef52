//! Giving the space of unreachable records back.
//!
//! Under the disk's lock, in this order, each step durable before the next:
//!
//! 1. Retired manifests that nobody reads are unlinked.
//! 2. The block maps of all other manifests, retired ones too, are walked, each page once; a bit for
//!    each record that one of them needs ([`mark`]). Where one manifest or page cannot be read,
//!    nothing is freed.
//! 3. All sealed records that were not met are listed as condemned.
//! 4. Segments without live records are unlinked; those of which a good part is dead are written
//!    anew without it ([`sweep`]).
//! 5. The list is cut down to what still lies there.
//!
//! Stopped anywhere, it leaves a disk that reads as before; the next collect begins anew and ends
//! where this one would have. Segments that no manifest can know, an interrupted backup's, are left
//! to the next backup. Memory is bounded by a bit for each record.

pub(crate) mod mark;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use crate::condemned::Condemned;
use crate::disk::{Disk, DiskLock};
use crate::error::{AtPath, Error, Result};
use crate::job::{Control, Phase};
use crate::manifest::Manifest;
use crate::map::MapRoot;
use crate::records::{CacheBudget, Caches, Records};
use crate::retire::{self, Marks};
use crate::revision::RevisionId;
use crate::units::SegmentId;

/// What a collect is to do.
#[derive(Clone, Debug)]
pub struct CollectParams {
    /// Count, and change nothing.
    pub dry_run: bool,
    /// Count as if these revisions were retired already, unless somebody reads them. For dry runs.
    pub without: Vec<RevisionId>,
    /// A segment is written anew when at least so much of it is dead; measured in docs/decisions.
    pub rewrite_percent: u8,
}

impl Default for CollectParams {
    fn default() -> Self {
        Self { dry_run: false, without: Vec::new(), rewrite_percent: 20 }
    }
}

/// What a collect did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Retired revisions that are gone for good.
    pub revisions_disposed: u64,
    /// Retired revisions that somebody reads.
    pub revisions_pinned: u64,
    /// Records that a revision needs.
    pub records_live: u64,
    /// Sealed records that none needs.
    pub records_condemned: u64,
    /// Segments without live records.
    pub segments_unlinked: u64,
    /// Segments that were written anew.
    pub segments_rewritten: u64,
    /// Segments that should have been, and could not be.
    pub segments_skipped: u64,
    /// Of all segment files, before.
    pub bytes_before: u64,
    /// Of all segment files, afterwards.
    pub bytes_after: u64,
    /// Of condemned records, their entries in indexes included.
    pub bytes_dead: u64,
    /// Sentences that a person should read.
    pub warnings: Vec<String>,
}

/// See the module. The caller holds the lock of the disk throughout.
///
/// # Errors
/// `Unmarked` where a manifest or map page cannot be read: nothing was freed then but retired
/// manifests. `Cancelled`; `Io`. After an error another collect may be begun at once, but for a
/// failed sync, whose disk should be looked at first.
pub fn run(disk: &Disk, lock: &DiskLock, params: &CollectParams, control: &Control) -> Result<Collected> {
    if !lock.covers(&disk.paths().directory) {
        return Err(Error::InvalidArgument("collecting needs the lock of the disk".into()));
    }
    let mut collected = Collected::default();
    control.enter(Phase::Marking);
    let before = condemned_before(disk)?;
    let pinned = dispose(disk, params, &mut collected)?;
    let mut needed = Needed::of_retired(disk, &pinned).map_err(unmarked)?;
    for revision in disk.revisions()? {
        if !would_go(disk, params, &revision, &mut collected)? {
            needed.add(&disk.manifest(&revision).map_err(unmarked)?);
        }
    }
    let records = Records::new(
        Arc::clone(disk.files()),
        disk.paths().segments(),
        Arc::new(Caches::new(CacheBudget { blocks_bytes: 0, ..CacheBudget::JOB })),
    );
    let segments = disk.segments()?;
    let live = mark::live(&records, &needed.maps, &segments, control).map_err(unmarked)?;
    collected.records_live = live.count();
    let plan = sweep::plan(disk, params, live, &segments, needed.highest, control, &mut collected)?;
    // An older list is replaced as a whole: what it condemned is dead still, and so in the new one.
    if !params.dry_run {
        sweep::run(disk, lock, plan, before.as_ref(), control, &mut collected)?;
    }
    control.enter(Phase::Done);
    Ok(collected)
}

/// Unlinks retired manifests that nobody reads, and gives the paths of the others.
fn dispose(disk: &Disk, params: &CollectParams, collected: &mut Collected) -> Result<Vec<PathBuf>> {
    let mut retired = Vec::new();
    if params.dry_run {
        retired.extend(retire::unfinished(disk)?.iter().map(|revision| retire::aside_of(disk, revision)));
    } else {
        retire::settle(disk)?;
    }
    retired.extend(retire::retired(disk)?.iter().map(|revision| disk.paths().retired_manifest(revision)));
    let mut pinned = Vec::new();
    for path in retired {
        let is_free = if params.dry_run {
            retire::unless_read(disk, &path, || Ok(()))?
        } else {
            retire::dispose_one(disk, &path)?
        };
        if is_free {
            collected.revisions_disposed += 1;
        } else {
            pinned.push(path);
        }
    }
    collected.revisions_pinned = pinned.len() as u64;
    if collected.revisions_disposed > 0 && !params.dry_run {
        let directory = disk.paths().retired();
        disk.files().sync_directory(&directory).at("syncing", &directory)?;
    }
    Ok(pinned)
}

/// Whether a revision is to be counted as gone.
fn would_go(
    disk: &Disk,
    params: &CollectParams,
    revision: &RevisionId,
    collected: &mut Collected,
) -> Result<bool> {
    if !params.dry_run || !params.without.contains(revision) {
        return Ok(false);
    }
    let is_free = retire::unless_read(disk, &disk.paths().manifest(revision), || Ok(()))?;
    collected.revisions_disposed += u64::from(is_free);
    collected.revisions_pinned += u64::from(!is_free);
    Ok(is_free)
}

/// What must stay.
struct Needed {
    maps: Vec<MapRoot>,
    /// Segments above it may belong to a backup that was interrupted.
    highest: SegmentId,
}

impl Needed {
    fn of_retired(disk: &Disk, pinned: &[PathBuf]) -> Result<Self> {
        let marks = match Marks::read(disk) {
            // Then fewer segments are known to be nobody else's.
            Err(Error::Corrupt { .. }) => Marks::default(),
            other => other?,
        };
        let mut needed = Self { maps: Vec::new(), highest: SegmentId(marks.highest_segment) };
        for path in pinned {
            needed.add(&Manifest::read(&**disk.files(), path)?);
        }
        Ok(needed)
    }

    fn add(&mut self, manifest: &Manifest) {
        self.maps.push(manifest.map);
        self.highest = self.highest.max(SegmentId(manifest.highest_segment));
    }
}

fn unmarked(error: Error) -> Error {
    match error {
        Error::Cancelled | Error::Worker => error,
        other => Error::Unmarked(Box::new(other)),
    }
}

/// What the list says now; `None` where it is damaged, which only means that it is written anew.
fn condemned_before(disk: &Disk) -> Result<Option<Condemned>> {
    match Condemned::read(&**disk.files(), &disk.paths().condemned()) {
        Err(Error::Corrupt { .. }) => Ok(None),
        other => other.map(Some),
    }
}
