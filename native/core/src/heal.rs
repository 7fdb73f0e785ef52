//! Putting records back that were lost, where the disk still has their content.
//!
//! Whatever a revision needs and cannot read is sought by its digest in all other segments: the
//! second copy of a map page, a block that the source still held and that a backup has stored again.
//! Its segment is then written anew with the record in its place ([`segment::mend`]), so every
//! revision that points there reads again. A segment without an index gets one, of what a scan finds.
//! What has no copy is left as it is, and so is a segment whose medium fails to give its index: what
//! is in it may be read another time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::damaged::Damaged;
use crate::digest::Digest;
use crate::disk::{Disk, DiskLock};
use crate::error::{AtPath, Error, Result};
use crate::io::Mode;
use crate::job::Control;
use crate::map::Place;
use crate::record::Kind;
use crate::records::{CacheBudget, Caches, Records};
use crate::segment::{self, IndexEntry, Parts, Replacement, SegmentReader};
use crate::trace::{self, Broken, Traced};
use crate::units::SegmentId;

/// Bytes that are read at once where only it matters whether they can be read.
const PIECE_LEN: usize = 1024 * 1024;

/// What was mended.
#[derive(Debug, Default)]
pub struct Healed {
    /// Records that can be read again.
    pub records: u64,
    /// Segments that were written anew for it.
    pub segments: u64,
    /// Records that a revision needs and of which there is no copy.
    pub left: Vec<Broken>,
    /// Sentences that a person should read.
    pub warnings: Vec<String>,
}

/// Looks for what is damaged or missing, and mends it. The caller holds the lock throughout.
///
/// # Errors
/// As [`trace::run`] and [`mend`].
pub fn run(disk: &Disk, lock: &DiskLock, control: &Control) -> Result<Healed> {
    let suspects = match Damaged::read(&**disk.files(), &disk.paths().damaged()) {
        Err(Error::Corrupt { .. }) => Damaged::default(),
        other => other?,
    };
    mend(disk, lock, &trace::run(disk, &suspects, control)?, control)
}

/// Mends what `traced`, which was found under the same lock, says is broken.
///
/// # Errors
/// `Cancelled`; `Io`, a full file system among it. A segment is mended or as it was.
pub fn mend(disk: &Disk, lock: &DiskLock, traced: &Traced, control: &Control) -> Result<Healed> {
    let mut healed = Healed::default();
    let mut by_segment: BTreeMap<SegmentId, Vec<Broken>> = BTreeMap::new();
    for broken in &traced.broken {
        by_segment.entry(broken.place.segment).or_default().push(*broken);
    }
    for &id in &traced.lost_segments {
        by_segment.entry(id).or_default();
    }
    if by_segment.is_empty() {
        return Ok(healed);
    }
    let copies = Copies::find(disk, &traced.broken, control)?;
    let mut list = Damaged::read(&**disk.files(), &disk.paths().damaged()).unwrap_or_default();
    for (id, broken) in by_segment {
        control.check()?;
        if !lock.covers(&disk.paths().directory) {
            return Err(Error::InvalidArgument("mending segments needs the lock of their disk".into()));
        }
        if traced.failing_segments.contains(&id) {
            healed.left.extend(broken);
            continue;
        }
        let is_lost = traced.lost_segments.contains(&id);
        mend_one(disk, id, is_lost, &broken, &copies, &mut list, &mut healed)?;
    }
    let segments = disk.paths().segments();
    if healed.segments > 0 {
        disk.files().sync_directory(&segments).at("syncing", &segments)?;
    }
    settle_what_waited(disk, &mut list, &mut healed)?;
    // What is on the list and sound costs a little; what is damaged and not on it would be built upon.
    list.write(&**disk.files(), &disk.paths().damaged())?;
    Ok(healed)
}

/// Blocks that have no copy may read all the same, now that their bases were put back.
fn settle_what_waited(disk: &Disk, list: &mut Damaged, healed: &mut Healed) -> Result<()> {
    if healed.records == 0 {
        return Ok(());
    }
    let records = records_of(disk);
    let mut left = Vec::new();
    for broken in std::mem::take(&mut healed.left) {
        if broken.waits_for_base && reads(&records, broken.place, broken.kind, &broken.digest)? {
            list.remove(broken.place);
            healed.records += 1;
        } else {
            left.push(broken);
        }
    }
    healed.left = left;
    Ok(())
}

/// Sound records by what they hold.
struct Copies {
    found: HashMap<(Kind, Digest), (SegmentId, IndexEntry)>,
    records: Records,
}

impl Copies {
    /// Looks through the indexes of all segments, the newest first, until everything is found.
    fn find(disk: &Disk, broken: &[Broken], control: &Control) -> Result<Self> {
        let mut wanted: HashSet<_> = broken.iter().map(|broken| (broken.kind, broken.digest)).collect();
        let places: HashSet<Place> = broken.iter().map(|broken| broken.place).collect();
        let mut copies = Self { found: HashMap::new(), records: records_of(disk) };
        for id in disk.segments()?.into_iter().rev() {
            if wanted.is_empty() {
                break;
            }
            control.check()?;
            let opened = SegmentReader::open_with_entries(&**disk.files(), &disk.paths().segments(), id);
            let entries = match opened {
                Err(error) if error.is_unreadable() => continue,
                other => other?.1,
            };
            for entry in entries {
                let key = (entry.kind, entry.digest);
                let place = Place::new(id, entry.ordinal).filter(|place| !places.contains(place));
                let Some(place) = place.filter(|_| wanted.contains(&key)) else { continue };
                if reads(&copies.records, place, entry.kind, &entry.digest)? {
                    wanted.remove(&key);
                    copies.found.insert(key, (id, entry));
                }
            }
        }
        Ok(copies)
    }
}

fn records_of(disk: &Disk) -> Records {
    let caches = Caches::new(CacheBudget { blocks_bytes: 0, ..CacheBudget::JOB });
    Records::new(Arc::clone(disk.files()), disk.paths().segments(), Arc::new(caches))
}

fn reads(records: &Records, place: Place, kind: Kind, digest: &Digest) -> Result<bool> {
    match records.record(place, kind, digest) {
        Ok(_) => Ok(true),
        Err(error) if error.is_unreadable() => Ok(false),
        Err(error) => Err(error),
    }
}

fn mend_one(
    disk: &Disk,
    id: SegmentId,
    is_lost: bool,
    broken: &[Broken],
    copies: &Copies,
    list: &mut Damaged,
    healed: &mut Healed,
) -> Result<()> {
    let (files, segments) = (&**disk.files(), disk.paths().segments());
    let copy_of = |broken: &Broken| copies.found.get(&(broken.kind, broken.digest));
    let (found, missing): (Vec<Broken>, Vec<Broken>) =
        broken.iter().copied().partition(|broken| copy_of(broken).is_some());
    let mut parts = Parts::default();
    if is_lost {
        let Some(found) = scanned_of(disk, id, broken)? else {
            healed.left.extend(broken);
            return Ok(());
        };
        parts.own = found;
    } else {
        parts.own = SegmentReader::open_with_entries(files, &segments, id)?.1;
    }
    // What a scan found in a file without an index is sound.
    let scanned: BTreeSet<_> = match is_lost {
        true => parts.own.iter().map(|entry| (entry.ordinal, entry.digest.0)).collect(),
        false => BTreeSet::new(),
    };
    let was_scanned = |broken: &Broken| scanned.contains(&(broken.place.ordinal, broken.digest.0));
    if found.is_empty() && scanned.is_empty() {
        healed.left.extend(missing);
        return Ok(());
    }
    for broken in &found {
        // Of records that hold the same, pointers of one place, one is enough.
        let is_new = parts.replacements.iter().all(|part| part.ordinal != broken.place.ordinal);
        if let Some(&(source, entry)) = copy_of(broken).filter(|_| is_new && !was_scanned(broken)) {
            parts.replacements.push(Replacement { ordinal: broken.place.ordinal, source, entry });
        }
    }
    let replaced: BTreeSet<_> = parts.replacements.iter().map(|part| part.ordinal).collect();
    parts.own.retain(|entry| !replaced.contains(&entry.ordinal));
    parts.hopeless = missing.iter().map(|broken| broken.place.ordinal).collect();
    let disk_id = disk.file().id_bytes().unwrap_or_default();
    segment::mend(files, &segments, id, disk_id, parts, &copies.records)?;
    healed.segments += 1;
    if is_lost {
        list.remove_segment(id);
    }
    for broken in broken {
        if replaced.contains(&broken.place.ordinal) || was_scanned(broken) {
            list.remove(broken.place);
            healed.records += 1;
        } else {
            list.insert(id, broken.place.ordinal);
            healed.left.push(*broken);
        }
    }
    Ok(())
}

/// Sound records of a segment whose index is lost, found by a scan; none of one that is gone. `None`
/// where its medium fails somewhere: what is there may be read another time. Map pages that a guest
/// may have made up are left out, unless a pointer asks for them by their digest.
fn scanned_of(disk: &Disk, id: SegmentId, wanted: &[Broken]) -> Result<Option<Vec<IndexEntry>>> {
    let (files, segments) = (&**disk.files(), disk.paths().segments());
    let path = segment::path_of(&segments, id);
    let file = match files.open(&path, Mode::Read).at("opening", &path) {
        Err(Error::NotFound { .. }) => return Ok(Some(Vec::new())),
        Err(error) if error.is_unreadable() => return Ok(None),
        other => other?,
    };
    let mut piece = vec![0; PIECE_LEN];
    let mut at = 0;
    loop {
        match file.read_at(&mut piece, at).at("reading", &path) {
            Ok(0) => break,
            Ok(count) => at += count as u64,
            Err(error) if error.is_unreadable() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let scanned = segment::scan(files, &segments, id)?;
    let wanted: HashSet<_> = wanted.iter().map(|broken| (broken.place.ordinal, broken.digest)).collect();
    let is_believed = |entry: &IndexEntry| {
        let is_sound = scanned.damaged.binary_search(&entry.ordinal).is_err();
        let is_certain = scanned.uncertain.binary_search(&entry.ordinal).is_err();
        is_sound
            && (is_certain || entry.kind == Kind::Block || wanted.contains(&(entry.ordinal, entry.digest)))
    };
    Ok(Some(scanned.entries.iter().copied().filter(is_believed).collect()))
}

#[cfg(test)]
mod tests;
