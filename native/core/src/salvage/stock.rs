//! What the segments of a disk hold: by their indexes, and by a scan where those are broken.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::bits::Bits;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::{Damage, Error, Result, corrupt};
use crate::job::Control;
use crate::map::{Fanout, Page, PagePointer, Place};
use crate::record::Kind;
use crate::records::{CacheBudget, Caches, Records};
use crate::segment::{self, IndexEntry, Scanned, SegmentReader};
use crate::units::{Ordinal, SegmentId};

/// A bit for each record, and the entries of pages where there is no index to find them again.
pub(super) struct Stock<'a> {
    disk: &'a Disk,
    records: Arc<Records>,
    segments: BTreeMap<SegmentId, Holding>,
}

/// What one segment holds.
struct Holding {
    is_indexed: bool,
    blocks: Bits,
    /// Of a segment without an index, by ordinal.
    pages: Vec<IndexEntry>,
    uncertain: Bits,
    /// The record that was written last, where it is known which that was.
    last: Option<Ordinal>,
    created_at: Option<Timestamp>,
}

/// A map page in a segment.
#[derive(Clone, Copy)]
pub(super) struct PageRecord {
    pub(super) place: Place,
    pub(super) digest: Digest,
    /// No guest can have made it up.
    pub(super) is_sure: bool,
    /// No record is known to have been written after it.
    pub(super) may_be_last: bool,
}

/// Whether a record is there; the greater, the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    Indexed,
    /// In a segment that cannot be read before it has an index again.
    Unindexed,
    Missing,
}

impl<'a> Stock<'a> {
    /// Of a disk, with nothing in it yet.
    pub(super) fn new(disk: &'a Disk) -> Self {
        let caches = Arc::new(Caches::new(CacheBudget { blocks_bytes: 4 << 20, ..CacheBudget::JOB }));
        let records = Records::new(Arc::clone(disk.files()), disk.paths().segments(), caches);
        Self { disk, records: Arc::new(records), segments: BTreeMap::new() }
    }

    /// Takes all segments in, and hands each with its pages to `look`.
    pub(super) fn fill(
        &mut self,
        control: &Control,
        look: &mut dyn FnMut(&Self, &[PageRecord]) -> Result<()>,
    ) -> Result<()> {
        for id in self.disk.segments()? {
            control.check()?;
            let pages = match self.take_in(id) {
                // Swept meanwhile.
                Err(Error::NotFound { .. }) => continue,
                other => other?,
            };
            look(self, &pages)?;
        }
        Ok(())
    }

    fn take_in(&mut self, id: SegmentId) -> Result<Vec<PageRecord>> {
        let (files, segments) = (&**self.disk.files(), self.disk.paths().segments());
        let (holding, entries) = match SegmentReader::open_with_entries(files, &segments, id) {
            Ok((_, entries)) => (Holding::indexed(&entries, segment::ends(files, &segments, id)?), entries),
            Err(error @ Error::NotFound { .. }) => return Err(error),
            Err(error) if error.is_unreadable() => {
                let scanned = segment::scan(files, &segments, id)?;
                (Holding::scanned(&scanned), scanned.entries)
            }
            Err(error) => return Err(error),
        };
        let record = |entry: &IndexEntry| {
            Some(PageRecord {
                place: Place::new(id, entry.ordinal)?,
                digest: entry.digest,
                is_sure: !holding.uncertain.contains(entry.ordinal.0),
                may_be_last: holding.last.is_none_or(|last| last == entry.ordinal),
            })
        };
        let pages = entries.iter().filter(|entry| entry.kind == Kind::Page).filter_map(record).collect();
        self.segments.insert(id, holding);
        Ok(pages)
    }

    /// Readers of what has an index.
    pub(super) fn records(&self) -> &Arc<Records> {
        &self.records
    }

    pub(super) fn is_indexed(&self, id: SegmentId) -> bool {
        self.segments.get(&id).is_some_and(|holding| holding.is_indexed)
    }

    /// When a segment was begun.
    pub(super) fn created_at(&self, id: SegmentId) -> Option<Timestamp> {
        self.segments.get(&id)?.created_at
    }

    pub(super) fn highest(&self) -> SegmentId {
        self.segments.last_key_value().map_or(SegmentId(0), |(&id, _)| id)
    }

    /// Whether the block at a place is there, by its number alone.
    pub(super) fn block(&self, place: Place) -> Presence {
        match self.segments.get(&place.segment) {
            Some(holding) if !holding.blocks.contains(place.ordinal.0) => Presence::Missing,
            Some(holding) if holding.is_indexed => Presence::Indexed,
            Some(_) => Presence::Unindexed,
            None => Presence::Missing,
        }
    }

    /// The plain bytes of a page, verified.
    pub(super) fn page_bytes(&self, place: Place, digest: &Digest) -> Result<Vec<u8>> {
        if self.is_indexed(place.segment) {
            return self.records.segment(place.segment)?.read(place.ordinal, Kind::Page, digest, None);
        }
        let (files, segments) = (self.disk.files(), self.disk.paths().segments());
        let pages = self.segments.get(&place.segment).map_or(&[][..], |holding| &holding.pages);
        let at = pages.binary_search_by_key(&place.ordinal, |entry| entry.ordinal).ok();
        let entry = at.and_then(|at| pages.get(at)).filter(|entry| entry.digest == *digest);
        let missing = Damage::Missing { ordinal: place.ordinal.0 };
        let entry = entry.ok_or_else(|| corrupt(&segment::path_of(&segments, place.segment), missing))?;
        segment::read_found(&**files, &segments, place.segment, entry)
    }

    /// The page that a pointer leads to, as a reader would find it, and whether its segment has an
    /// index. `None` where neither of its records is good.
    pub(super) fn page(
        &self,
        pointer: &PagePointer,
        level: u8,
        fanout: Fanout,
    ) -> Result<Option<(Page, bool)>> {
        let mut places = vec![pointer.place];
        places.extend(pointer.copy);
        places.sort_by_key(|place| !self.is_indexed(place.segment));
        for place in places {
            let bytes = match self.page_bytes(place, &pointer.digest) {
                Err(error) if error.is_unreadable() => continue,
                other => other?,
            };
            let page = Page::decode(bytes.into(), level, fanout).ok();
            if let Some(page) = page.filter(|page| page.fits(pointer, level, fanout)) {
                return Ok(Some((page, self.is_indexed(place.segment))));
            }
        }
        Ok(None)
    }
}

impl Holding {
    fn indexed(entries: &[IndexEntry], ends: segment::Ends) -> Self {
        let last = ends.ordinals_given.and_then(|given| given.checked_sub(1));
        Self {
            is_indexed: true,
            blocks: blocks_of(entries),
            pages: Vec::new(),
            uncertain: Bits::default(),
            last: last.map(Ordinal),
            created_at: time_of(ends.header),
        }
    }

    fn scanned(scanned: &Scanned) -> Self {
        let is_sound = |entry: &&IndexEntry| scanned.damaged.binary_search(&entry.ordinal).is_err();
        let sound: Vec<_> = scanned.entries.iter().filter(is_sound).copied().collect();
        let mut uncertain = Bits::default();
        for ordinal in &scanned.uncertain {
            uncertain.insert(ordinal.0);
        }
        let is_whole = scanned.skipped_bytes == 0;
        Self {
            is_indexed: false,
            blocks: blocks_of(&sound),
            last: scanned.entries.last().map(|entry| entry.ordinal).filter(|_| is_whole),
            pages: sound.into_iter().filter(|entry| entry.kind == Kind::Page).collect(),
            uncertain,
            created_at: time_of(scanned.header),
        }
    }
}

fn blocks_of(entries: &[IndexEntry]) -> Bits {
    let mut bits = Bits::default();
    for entry in entries.iter().filter(|entry| entry.kind == Kind::Block) {
        bits.insert(entry.ordinal.0);
    }
    bits
}

fn time_of(header: Option<segment::FileHeader>) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(header?.created_unix_s).ok()?).ok()
}
