//! Making a revision of a candidate again.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::condemned::Condemned;
use crate::disk::{Disk, DiskLock, now};
use crate::error::{AtPath, Error, Result};
use crate::image::Image;
use crate::io;
use crate::job::Control;
use crate::manifest::{Manifest, State, Trust};
use crate::map::{MapRoot, PageSource, Place};
use crate::probe;
use crate::records::Records;
use crate::retire::{self, Marks};
use crate::revision::RevisionId;
use crate::text;
use crate::units::{Geometry, SegmentId};

use super::stock::Stock;
use super::weigh::{Scales, Weight};
use super::{Candidate, provisional, roots, shape};

/// The tag of a revision that was made again.
const TAG: &str = "salvaged";

/// Makes a revision of a candidate: distrusted, tagged `salvaged`, with the image size
/// `size_bytes_likely`, which the caller may have set to any that the map allows. It is the newest of
/// the disk, by id and sequence, whenever its blocks were read; so where several are revived, the
/// oldest goes first. Durable when this returns, in the order in which backups commit; stopped
/// anywhere, it leaves the whole revision or none.
///
/// What is missing stays missing: the revision is made all the same, says so in its notes, and reads
/// everywhere else. All segments that are there are taken for its own or older ones', so that no
/// later backup takes what other candidates need for rests of an interrupted one.
///
/// # Errors
/// `InvalidArgument` without the disk's lock, for a size that cannot be, and for what is a revision
/// already; `Corrupt` or `NotFound` where the root cannot be read, among it for want of its segment's
/// index; `Io`.
pub fn revive(disk: &Disk, lock: &DiskLock, candidate: &Candidate, name: &str) -> Result<RevisionId> {
    if !lock.look_whether_covers(&disk.paths().directory)? {
        return Err(Error::InvalidArgument("reviving a revision needs the lock of its disk".into()));
    }
    let root =
        candidate.root.root.ok_or_else(|| Error::InvalidArgument("an empty map needs no reviving".into()))?;
    if roots::named(disk)?.contains(&root.digest) {
        return Err(Error::InvalidArgument("this image is a revision already".into()));
    }
    let control = Control::default();
    let mut stock = Stock::new(disk);
    stock.fill(&control, &mut |_, _| Ok(()))?;
    stock.records().page(&root, candidate.root.height, candidate.root.fanout)?;
    let weight = Scales::new(&stock, &control).weigh(&root, candidate.root.height, candidate.root.fanout)?;
    let manifest = describe(disk, &stock, candidate, &weight, name)?;
    let manifest = Manifest { layout: survey_of(&manifest, stock.records())?, ..manifest };
    spare(disk, stock.records(), &candidate.root)?;
    publish(disk, &manifest)?;
    Ok(manifest.revision)
}

fn survey_of(manifest: &Manifest, records: &Arc<Records>) -> Result<probe::Survey> {
    Ok(probe::survey(&Image::of(manifest, Arc::clone(records))?, manifest.size_bytes))
}

fn describe(
    disk: &Disk,
    stock: &Stock<'_>,
    candidate: &Candidate,
    weight: &Weight,
    name: &str,
) -> Result<Manifest> {
    let size = candidate.size_bytes_likely;
    let possible = shape::possible_sizes(&candidate.root, candidate.block_size_bytes);
    let geometry = Geometry::new(size, candidate.block_size_bytes)
        .filter(|geometry| {
            possible.is_some_and(|possible| possible.contains(&size))
                && weight.blocks_end <= geometry.block_count()
        })
        .ok_or_else(|| Error::InvalidArgument(format!("the image cannot have {size} bytes")))?;
    let numbers = Numbers::find(disk, stock)?;
    // A clock that was wrong must not use up the ids of a time to come.
    let created_at = candidate.segment_created_at.unwrap_or_else(now).min(now());
    let allocated = candidate.root.allocated_blocks().saturating_mul(candidate.block_size_bytes.into());
    let mut manifest = provisional(disk, &candidate.root, geometry)?;
    if weight.has_bases {
        manifest.format = Manifest::FORMAT_WITH_BASES;
    }
    manifest.disk = name.to_owned();
    manifest.revision = numbers.next_id(disk, created_at)?;
    manifest.sequence = numbers.sequence + 1;
    (manifest.started_at, manifest.finished_at) = (created_at, created_at);
    manifest.source.insert("kind".into(), TAG.into());
    manifest.reading.notes = vec![note(candidate, weight)];
    manifest.highest_segment = numbers.highest.0;
    manifest.counters.allocated_bytes = allocated.min(size);
    manifest.counters.zero_bytes = size - allocated.min(size);
    Ok(manifest)
}

fn note(candidate: &Candidate, weight: &Weight) -> String {
    let segment = candidate.root.root.map_or(SegmentId(0), |root| root.place.segment);
    let blocks = match (weight.missing_blocks, weight.missing_pages) {
        (0, 0) => "all of its blocks were there".to_owned(),
        (blocks, pages) => format!("{blocks} of its blocks and {pages} pages of the map were missing"),
    };
    let size = if candidate.size_bytes_min == candidate.size_bytes_likely {
        "its size is where its last stored block ends".to_owned()
    } else {
        format!("its size is a guess, {} bytes at least", candidate.size_bytes_min)
    };
    format!(
        "the manifest of this revision was lost and made again from its block map: {blocks}; \
         its time is that of segment {segment}, and {size}"
    )
}

/// The highest numbers that were ever given out, as far as anything still tells them.
struct Numbers {
    sequence: u64,
    last_id: Option<RevisionId>,
    highest: SegmentId,
}

impl Numbers {
    fn find(disk: &Disk, stock: &Stock<'_>) -> Result<Self> {
        let marks = match Marks::read(disk) {
            Err(Error::Corrupt { .. }) => Marks::default(),
            other => other?,
        };
        let ids = [disk.revisions()?, retire::retired(disk)?, retire::unfinished(disk)?].concat();
        let (mut sequence, mut unread) = (marks.sequence, 0);
        let mut highest = stock.highest().max(SegmentId(marks.highest_segment));
        roots::each_manifest(disk, &mut |manifest| match manifest {
            Some(manifest) => {
                sequence = sequence.max(manifest.sequence);
                highest = highest.max(SegmentId(manifest.highest_segment));
            }
            None => unread += 1,
        })?;
        Ok(Self {
            sequence: sequence + unread,
            last_id: ids.into_iter().max().max(marks.last_revision),
            highest,
        })
    }

    fn next_id(&self, disk: &Disk, created_at: Timestamp) -> Result<RevisionId> {
        let mut random = [0; 4];
        let filled = getrandom::fill(&mut random).map_err(std::io::Error::other);
        filled.at("making an id in", &disk.paths().directory)?;
        let used_up = || Error::InvalidArgument("the disk has used up the revision ids of a second".into());
        RevisionId::next(created_at, self.last_id.as_ref(), u32::from_le_bytes(random)).ok_or_else(used_up)
    }
}

/// Takes segments that a map needs off the condemned list, durably. Nobody frees what is on it but a
/// collect, which needs the lock and first makes a list of its own.
fn spare(disk: &Disk, records: &Records, map: &MapRoot) -> Result<()> {
    let path = disk.paths().condemned();
    let mut condemned = match Condemned::read(&**disk.files(), &path) {
        // It condemns whatever every revision needs, and is replaced by the next collect.
        Err(Error::Corrupt { .. }) => return Ok(()),
        other => other?,
    };
    if condemned == Condemned::default() {
        return Ok(());
    }
    let mut segments = BTreeSet::new();
    each_place(records, map, &mut |place| {
        if condemned.contains(place) {
            segments.insert(place.segment);
        }
    })?;
    if segments.is_empty() {
        return Ok(());
    }
    segments.into_iter().for_each(|id| condemned.remove(id));
    condemned.write(&**disk.files(), &path)
}

/// Hands out the places of all pages and blocks that can be found, each page's once.
fn each_place(records: &Records, map: &MapRoot, take: &mut dyn FnMut(Place)) -> Result<()> {
    let mut seen = HashSet::new();
    let mut open: Vec<_> = map.root.map(|root| (root, map.height)).into_iter().collect();
    while let Some((pointer, level)) = open.pop() {
        take(pointer.place);
        pointer.copy.into_iter().for_each(&mut *take);
        if !seen.insert(pointer.digest) {
            continue;
        }
        let page = match records.page(&pointer, level, map.fanout) {
            Err(error) if error.is_unreadable() => continue,
            other => other?,
        };
        let slots = 0..map.fanout.entries();
        if level == 1 {
            slots.filter_map(|slot| page.block(slot)).for_each(|block| block.places().for_each(&mut *take));
        } else {
            open.extend(slots.filter_map(|slot| Some((page.child(slot)?, level - 1))));
        }
    }
    Ok(())
}

/// State and manifest, in the order in which backups commit theirs. But the state is made durable
/// first: no power cut must leave a revision that lacks it and so counts as trusted.
fn publish(disk: &Disk, manifest: &Manifest) -> Result<()> {
    let (files, paths) = (&**disk.files(), disk.paths());
    let state =
        State { format: text::FORMAT, tags: vec![TAG.into()], trust: Trust::Distrusted, ..State::default() };
    let (state_path, manifest_path) = (paths.state(&manifest.revision), paths.manifest(&manifest.revision));
    let (state_bytes, manifest_bytes) = (text::encode(&state)?, text::encode(manifest)?);
    // A manifest that readers would refuse must not come to stand there.
    Manifest::decode(&manifest_bytes, &manifest_path)?;
    io::replace(files, &state_path, &state_bytes).at("writing", &state_path)?;
    let published = io::stage(files, &manifest_path, &manifest_bytes)
        .and_then(|staged| staged.publish(files))
        .at("writing", &manifest_path);
    published.inspect_err(|_| {
        // Without its manifest a state file means nothing; the next backup sweeps it otherwise.
        let _ = files.unlink(&state_path);
    })?;
    files.sync_directory(&paths.revisions()).at("syncing", &paths.revisions())
}
