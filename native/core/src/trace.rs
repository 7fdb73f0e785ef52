//! Which revisions need records that cannot be read, and where in their images.
//!
//! Walks the block maps of all manifests. For each pointer it is known from the index of its segment
//! whether a record of that digest is there; records that are not, or that somebody suspects, are
//! read and decoded before they are called broken. A page is walked once, however many revisions
//! share it, and what is broken beneath it is remembered, relative to its first block.
//!
//! Memory: four bytes for each record of as many segments as fit in 64 MiB; where there are more, the
//! maps are walked again for the others. Ranges are bounded, too ([`RANGES_MAX`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::bits::Bits;
use crate::damaged::Damaged;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::job::Control;
use crate::manifest::Manifest;
use crate::map::{BlockPointer, Fanout, Page, PagePointer, PageSource, Place};
use crate::record::Kind;
use crate::records::{CacheBudget, Caches, Records};
use crate::revision::RevisionId;
use crate::segment::{Bases, RECORD_COUNT_MAX, SegmentReader};
use crate::units::{BlockIndex, SegmentId};

/// Records whose digests are held in memory at once.
const TAGS_MAX: usize = 16 << 20;
/// Ranges of blocks that are told of one subtree, and extents of all; more are left out, and that is
/// said.
const RANGES_MAX: usize = 1 << 18;

/// A record that a revision needs and that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where it should be.
    pub place: Place,
    /// What it holds.
    pub kind: Kind,
    /// What its plain bytes hash to.
    pub digest: Digest,
    /// It is sound itself: the block that it is encoded against is not.
    pub waits_for_base: bool,
}

impl Broken {
    fn of(place: Place, kind: Kind, digest: &Digest) -> Self {
        Self { place, kind, digest: *digest, waits_for_base: false }
    }
}

/// Bytes of images that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedExtent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// The revisions that have the damage there, oldest first.
    pub revisions: Vec<RevisionId>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Traced {
    /// By offset.
    pub extents: Vec<DamagedExtent>,
    /// Each once. Pages of which another copy is sound are among them, and harm no extent.
    pub broken: Vec<Broken>,
    /// Suspects that are sound after all.
    pub cleared: Vec<Place>,
    /// Segments that a revision needs and that are missing or have no index.
    pub lost_segments: Vec<SegmentId>,
    /// Of these, those whose medium fails: what is in them may be read another time.
    pub failing_segments: Vec<SegmentId>,
    /// Manifests that cannot be read: what they need is not known.
    pub unreadable: Vec<(RevisionId, Error)>,
    /// Revisions whose maps were walked.
    pub revisions: usize,
    /// There was more damage than is told.
    pub is_cut: bool,
}

/// See the module. Changes nothing. Exact under the disk's lock; without it, what is removed
/// meanwhile may show as broken.
///
/// # Errors
/// `Cancelled`; `Io` for all but damage.
pub fn run(disk: &Disk, suspects: &Damaged, control: &Control) -> Result<Traced> {
    let mut traced = Traced::default();
    let mut manifests = Vec::new();
    for revision in disk.revisions()? {
        match disk.manifest(&revision) {
            Ok(manifest) => manifests.push(manifest),
            Err(error) => traced.unreadable.push((revision, error)),
        }
    }
    traced.revisions = manifests.len();
    let mut found: Vec<Vec<Range<u64>>> = vec![Vec::new(); manifests.len()];
    let all = disk.segments()?;
    let mut left = all.as_slice();
    let present: HashSet<_> = all.iter().copied().collect();
    loop {
        let tags = Tags::load(disk, &mut left, control)?;
        let mut walk = Walk::new(disk, suspects, &present, tags, control);
        for (manifest, ranges) in manifests.iter().zip(&mut found) {
            if let Some(root) = manifest.map.root {
                let more = walk.subtree(&root, manifest.map.height, manifest.map.fanout)?;
                ranges.extend(more.iter().cloned());
            }
        }
        walk.tell(&mut traced);
        if left.is_empty() {
            break;
        }
    }
    traced.lost_segments.sort_unstable();
    traced.lost_segments.dedup();
    traced.extents = extents_of(&manifests, found, &mut traced.is_cut)?;
    Ok(traced)
}

/// Ranges of blocks of each image as extents in bytes, those of several revisions as one.
fn extents_of(
    manifests: &[Manifest],
    found: Vec<Vec<Range<u64>>>,
    is_cut: &mut bool,
) -> Result<Vec<DamagedExtent>> {
    let mut by_place: BTreeMap<(u64, u64), Vec<RevisionId>> = BTreeMap::new();
    for (manifest, mut ranges) in manifests.iter().zip(found) {
        let geometry = manifest.geometry()?;
        ranges.sort_unstable_by_key(|range| range.start);
        for range in merged(ranges) {
            let end = range.end.min(geometry.block_count());
            if range.start >= end {
                continue;
            }
            let start = geometry.offset_of(BlockIndex(range.start));
            let end = geometry.offset_of(BlockIndex(end)).min(geometry.size_bytes());
            if by_place.len() >= RANGES_MAX && !by_place.contains_key(&(start, end)) {
                *is_cut = true;
                continue;
            }
            by_place.entry((start, end)).or_default().push(manifest.revision.clone());
        }
    }
    let extent = |((start, end), revisions)| DamagedExtent { offset: start, len: end - start, revisions };
    Ok(by_place.into_iter().map(extent).collect())
}

/// Neighbours as one; `ranges` rise.
fn merged(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// Digests, four bytes of each, of the records in some segments.
#[derive(Default)]
struct Tags {
    by_segment: HashMap<SegmentId, Vec<u32>>,
    /// Of these segments, those whose index cannot be read.
    without_index: HashSet<SegmentId>,
    /// Of those, the ones whose medium fails.
    failing: HashSet<SegmentId>,
    /// Whether these are all segments of the disk.
    is_last: bool,
}

impl Tags {
    /// Of as many of the segments in `left` as fit, which are taken off it.
    fn load(disk: &Disk, left: &mut &[SegmentId], control: &Control) -> Result<Self> {
        let (mut tags, mut held) = (Tags::default(), 0);
        while let Some((&id, rest)) = left.split_first() {
            if held >= TAGS_MAX {
                return Ok(tags);
            }
            control.check()?;
            *left = rest;
            match SegmentReader::open_with_entries(&**disk.files(), &disk.paths().segments(), id) {
                Ok((_, entries)) => {
                    let len = entries.last().map_or(0, |last| last.ordinal.0.min(RECORD_COUNT_MAX) + 1);
                    let mut of_records = vec![0; len as usize];
                    for entry in entries {
                        if let Some(tag) = of_records.get_mut(entry.ordinal.0 as usize) {
                            *tag = tag_of(&entry.digest);
                        }
                    }
                    held += of_records.len();
                    tags.by_segment.insert(id, of_records);
                }
                Err(error) if error.is_unreadable() => {
                    tags.without_index.insert(id);
                    if matches!(error, Error::Io { .. }) {
                        tags.failing.insert(id);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        tags.is_last = true;
        Ok(tags)
    }
}

/// Never 0, which stands for no record.
fn tag_of(digest: &Digest) -> u32 {
    let [first, second, third, fourth, ..] = digest.0;
    u32::from_le_bytes([first, second, third, fourth]).max(1)
}

struct Walk<'a> {
    records: Records,
    suspects: &'a Damaged,
    present: &'a HashSet<SegmentId>,
    tags: Tags,
    control: &'a Control,
    /// Pages with nothing broken beneath them.
    clean: HashMap<SegmentId, Bits>,
    /// Ranges of blocks that are broken beneath other pages, from their first block on.
    broken_beneath: HashMap<Place, Rc<[Range<u64>]>>,
    verdicts: HashMap<(Place, u64), bool>,
    broken: Vec<Broken>,
    lost: HashSet<SegmentId>,
    is_cut: bool,
}

impl<'a> Walk<'a> {
    fn new(
        disk: &Disk,
        suspects: &'a Damaged,
        present: &'a HashSet<SegmentId>,
        tags: Tags,
        control: &'a Control,
    ) -> Self {
        let budget = CacheBudget { blocks_bytes: 0, ..CacheBudget::JOB };
        let caches = Arc::new(Caches::new(budget));
        let records = Records::new(Arc::clone(disk.files()), disk.paths().segments(), caches);
        Self {
            records,
            suspects,
            present,
            tags,
            control,
            clean: HashMap::new(),
            broken_beneath: HashMap::new(),
            verdicts: HashMap::new(),
            broken: Vec::new(),
            lost: HashSet::new(),
            is_cut: false,
        }
    }

    fn tell(self, traced: &mut Traced) {
        let cleared = self.verdicts.iter().filter(|&(_, &is_sound)| is_sound).map(|(&(place, _), _)| place);
        traced.cleared.extend(cleared);
        traced.broken.extend(self.broken);
        traced.failing_segments.extend(self.tags.failing.intersection(&self.lost));
        traced.lost_segments.extend(self.lost);
        traced.is_cut |= self.is_cut;
    }

    /// Blocks that cannot be read beneath a page, from its first one on.
    fn subtree(&mut self, pointer: &PagePointer, level: u8, fanout: Fanout) -> Result<Rc<[Range<u64>]>> {
        let place = pointer.place;
        if self.clean.get(&place.segment).is_some_and(|bits| bits.contains(place.ordinal.0)) {
            return Ok(Rc::default());
        }
        if let Some(known) = self.broken_beneath.get(&place) {
            return Ok(Rc::clone(known));
        }
        self.control.check()?;
        let mut is_clean = self.is_sound(place, Kind::Page, &pointer.digest)?;
        if let Some(copy) = pointer.copy {
            is_clean &= self.is_sound(copy, Kind::Page, &pointer.digest)?;
        }
        let ranges: Rc<[_]> = match self.records.page(pointer, level, fanout) {
            Ok(page) => self.children(&page, level, fanout)?.into(),
            Err(error) if error.is_unreadable() => {
                is_clean = false;
                for place in std::iter::once(place).chain(pointer.copy) {
                    self.note(place, Kind::Page, &pointer.digest);
                }
                std::iter::once(0..fanout.span(level)).collect()
            }
            Err(error) => return Err(error),
        };
        if !ranges.is_empty() || place.ordinal.0 >= RECORD_COUNT_MAX {
            self.broken_beneath.insert(place, Rc::clone(&ranges));
        } else if is_clean {
            self.clean.entry(place.segment).or_default().insert(place.ordinal.0);
        }
        Ok(ranges)
    }

    fn children(&mut self, page: &Page, level: u8, fanout: Fanout) -> Result<Vec<Range<u64>>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for slot in 0..fanout.entries() {
            let first = u64::from(slot).saturating_mul(fanout.span(level - 1));
            if level == 1 {
                let Some(block) = page.block(slot) else { continue };
                if !self.is_block_sound(&block)? {
                    self.push(&mut ranges, first..first + 1);
                }
            } else if let Some(child) = page.child(slot) {
                for range in self.subtree(&child, level - 1, fanout)?.iter() {
                    let shifted = range.start.saturating_add(first)..range.end.saturating_add(first);
                    self.push(&mut ranges, shifted);
                }
            }
        }
        Ok(ranges)
    }

    fn push(&mut self, ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
        let has_room = ranges.len() < RANGES_MAX;
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if has_room => ranges.push(range),
            _ => self.is_cut = true,
        }
    }

    /// Whether a block can be read: its record and what that is encoded against. Where only the latter
    /// is lost, both are broken, since a copy of either mends the block.
    fn is_block_sound(&mut self, block: &BlockPointer) -> Result<bool> {
        let is_sound = self.is_sound(block.place, Kind::Block, &block.digest)?;
        let Some(base) = block.base.filter(|_| is_sound) else { return Ok(is_sound) };
        let of_records = self.tags.by_segment.get(&base.segment);
        let is_there = of_records.map(|tags| tags.get(base.ordinal.0 as usize).is_some_and(|&tag| tag != 0));
        let comes_later = !self.tags.is_last || self.present.contains(&base.segment);
        let is_fine = match is_there {
            Some(is_there) => is_there && !self.suspects.contains(base),
            None => comes_later && !self.tags.without_index.contains(&base.segment),
        };
        if is_fine {
            return Ok(true);
        }
        let key = (block.place, block.digest.prefix());
        if self.verdicts.get(&key) == Some(&false) {
            return Ok(false);
        }
        let segment = self.records.segment(block.place.segment);
        let told = match segment.and_then(|segment| segment.base_of(block.place.ordinal, &block.digest)) {
            Err(error) if !error.is_unreadable() => return Err(error),
            // The record was put back by itself, and needs no base any more.
            Ok(None) => return Ok(true),
            told => told.ok().flatten().filter(|told| told.place == base),
        };
        let is_sound = match told {
            Some(told) => self.is_sound(base, Kind::Block, &told.digest)?,
            None => false,
        };
        if !is_sound {
            self.verdicts.insert(key, false);
            let broken = Broken::of(block.place, Kind::Block, &block.digest);
            self.broken.push(Broken { waits_for_base: told.is_some(), ..broken });
        }
        Ok(is_sound)
    }

    /// Whether the record that a pointer asks for is there; read where that is not certain.
    fn is_sound(&mut self, place: Place, kind: Kind, digest: &Digest) -> Result<bool> {
        if let Some(of_records) = self.tags.by_segment.get(&place.segment) {
            let is_there = of_records.get(place.ordinal.0 as usize) == Some(&tag_of(digest));
            if is_there && !self.suspects.contains(place) {
                return Ok(true);
            }
            let key = (place, digest.prefix());
            if let Some(&known) = self.verdicts.get(&key) {
                return Ok(known);
            }
            let is_sound = self.reads(place, kind, digest)?;
            self.verdicts.insert(key, is_sound);
            if !is_sound {
                self.broken.push(Broken::of(place, kind, digest));
            }
            return Ok(is_sound);
        }
        if self.present.contains(&place.segment) && !self.tags.without_index.contains(&place.segment) {
            // Its turn comes, or has been, with the tags of other segments.
            return Ok(true);
        }
        if self.tags.is_last || self.tags.without_index.contains(&place.segment) {
            self.lost.insert(place.segment);
            self.note(place, kind, digest);
            return Ok(false);
        }
        Ok(true)
    }

    fn note(&mut self, place: Place, kind: Kind, digest: &Digest) {
        if self.verdicts.insert((place, digest.prefix()), false).is_none() {
            self.broken.push(Broken::of(place, kind, digest));
        }
    }

    fn reads(&self, place: Place, kind: Kind, digest: &Digest) -> Result<bool> {
        let read = self.records.segment(place.segment).and_then(|segment| {
            let base = if kind == Kind::Block { segment.base_of(place.ordinal, digest)? } else { None };
            match base.map(|base| self.records.base(&base)) {
                // That one is looked at by itself.
                Some(Err(error)) if error.is_unreadable() => Ok(()),
                // The decoded bytes are not wanted.
                _ => segment.read(place.ordinal, kind, digest, Some(&self.records)).map(drop),
            }
        });
        match read {
            Ok(()) => Ok(true),
            Err(error) if error.is_unreadable() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
