//! Pages of the block map and the pointers in them.
//!
//! Page, plain, little-endian (docs/format.md, "Map page"):
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version: 1, or 2 for a page of level 1 where blocks are encoded against others |
//! | 1 | 1 | level: 1 points at blocks |
//! | 2 | 1 | log2 of the fan-out |
//! | 3 | 1 | reserved, 0 |
//! | 4 | fan-out / 8 | which entries are there, bit `i % 8` of byte `i / 8` |
//! | then, in version 2 | fan-out / 8 | which of these have a base, at least one |
//! | then | 40 each | level 1: digest 32, segment 4, ordinal 3, flags 1 |
//! | last, in version 2 | 8 each | segment 4 and ordinal 4 of the bases, in order |
//! | or, above level 1 | 56 each | above: the same 40, the copy's segment 4 and ordinal 4 (0, 0 for none), allocated blocks 8 |
//!
//! The encoding of a page is unique, so equal pages have equal digests. A page without entries is
//! never stored.

use crate::digest::{Context, Digest};
use crate::units::{Ordinal, Place, SegmentId};

use super::{Fanout, HEIGHT_MAX};

const VERSION: u8 = 1;
const VERSION_WITH_BASES: u8 = 2;
const PREFIX_LEN: usize = 4;
const BLOCK_ENTRY_LEN: usize = 40;
const PAGE_ENTRY_LEN: usize = 56;
const BASE_ENTRY_LEN: usize = 8;

/// What a block must hash to, and where it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPointer {
    /// Digest of the plain block.
    pub digest: Digest,
    /// Its record.
    pub place: Place,
    /// The record that it is encoded against, which must stay as long as this one; none where it is
    /// encoded by itself.
    pub base: Option<Place>,
}

impl BlockPointer {
    /// The records that are needed to read the block.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        std::iter::once(self.place).chain(self.base)
    }
}

/// What a page must hash to, where it is stored, and how much is beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePointer {
    /// Digest of the plain page.
    pub digest: Digest,
    /// Its record.
    pub place: Place,
    /// A second record of it in another segment: for all pages but those of level 1 below a root.
    pub copy: Option<Place>,
    /// Blocks beneath that are stored.
    pub allocated: u64,
}

/// Bytes that are no map page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Of a later version.
    #[error("a map page of an unknown version")]
    Version,
    /// Level, fan-out or length are not what the tree needs here.
    #[error("a map page of the wrong shape")]
    Shape,
    /// An entry with impossible numbers.
    #[error("a map page with an impossible entry")]
    Entry,
}

/// A verified page: its plain bytes, decoded entry by entry on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    level: u8,
    fanout: Fanout,
    allocated: u64,
    has_bases: bool,
    bytes: Box<[u8]>,
}

/// An entry of a page that is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Block(BlockPointer),
    Page(PagePointer),
}

impl Entry {
    pub(crate) fn allocated(&self) -> u64 {
        match self {
            Entry::Block(_) => 1,
            Entry::Page(page) => page.allocated,
        }
    }

    fn base(&self) -> Option<Place> {
        match self {
            Entry::Block(block) => block.base,
            Entry::Page(_) => None,
        }
    }

    pub(crate) fn page(self) -> Option<PagePointer> {
        match self {
            Entry::Page(page) => Some(page),
            Entry::Block(_) => None,
        }
    }
}

impl Page {
    /// Checks plain bytes that were read as a page of `level` in a tree of `fanout`. Total; every
    /// entry is checked here once.
    ///
    /// # Errors
    /// [`PageError`] says what is wrong.
    pub fn decode(bytes: Box<[u8]>, level: u8, fanout: Fanout) -> Result<Self, PageError> {
        let &[version, found_level, found_fanout, reserved] =
            bytes.first_chunk::<PREFIX_LEN>().ok_or(PageError::Shape)?;
        let has_bases = version == VERSION_WITH_BASES;
        if version != VERSION && !has_bases {
            return Err(PageError::Version);
        }
        let shape = found_level == level && found_fanout == fanout.log2() && reserved == 0;
        if !shape || !(1..=HEIGHT_MAX).contains(&level) || (has_bases && level != 1) {
            return Err(PageError::Shape);
        }
        let mut page = Self { level, fanout, allocated: 0, has_bases, bytes };
        let (count, bases) = (ones(page.bitmap()), ones(page.base_bitmap()));
        let is_within = page.base_bitmap().iter().zip(page.bitmap()).all(|(base, there)| base & !there == 0);
        let len = page.entries_at() + count * page.entry_len() + bases * BASE_ENTRY_LEN;
        if count == 0 || has_bases != (bases > 0) || !is_within || page.bytes.len() != len {
            return Err(PageError::Shape);
        }
        if (0..bases).any(|rank| page.base_at_rank(rank).is_none()) {
            return Err(PageError::Entry);
        }
        let mut counts = (0..count).map(|rank| page.entry_at_rank(rank).map(|entry| entry.allocated()));
        let sum = counts.try_fold(0u64, |sum, count| sum.checked_add(count?));
        page.allocated = sum.ok_or(PageError::Entry)?;
        Ok(page)
    }

    /// Encodes entries in order of their slots; `None` when there are none.
    pub(crate) fn encode(level: u8, fanout: Fanout, entries: &[Option<Entry>]) -> Option<Vec<u8>> {
        let mut bitmap = vec![0u8; fanout.entries() as usize / 8];
        let (mut base_bitmap, mut bases) = (bitmap.clone(), Vec::new());
        let mut body = Vec::new();
        for (slot, entry) in entries.iter().enumerate() {
            if let (Some(entry), Some(byte)) = (entry, bitmap.get_mut(slot / 8)) {
                *byte |= 1 << (slot % 8);
                encode_entry(&mut body, entry);
            }
            if let (Some(base), Some(byte)) =
                (entry.as_ref().and_then(Entry::base), base_bitmap.get_mut(slot / 8))
            {
                *byte |= 1 << (slot % 8);
                encode_place(&mut bases, base);
            }
        }
        if body.is_empty() {
            return None;
        }
        if bases.is_empty() {
            base_bitmap.clear();
        }
        let version = if bases.is_empty() { VERSION } else { VERSION_WITH_BASES };
        Some([vec![version, level, fanout.log2(), 0], bitmap, base_bitmap, body, bases].concat())
    }

    /// 1 for pages of block pointers.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Whether this is what `pointer` leads to, at `level` in a tree of `fanout`. That the counts
    /// agree is what keeps every walk in proportion to what it finds, whoever made the pages.
    #[must_use]
    pub fn fits(&self, pointer: &PagePointer, level: u8, fanout: Fanout) -> bool {
        self.level == level && self.fanout == fanout && self.allocated == pointer.allocated
    }

    /// Bytes that it takes in memory.
    #[must_use]
    pub fn memory_len(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    /// The block pointer in `slot` of a level-1 page; `None` for zeros.
    #[must_use]
    pub fn block(&self, slot: u32) -> Option<BlockPointer> {
        match self.entry(slot)? {
            Entry::Block(block) => Some(block),
            Entry::Page(_) => None,
        }
    }

    /// The page pointer in `slot` of a higher page; `None` for zeros.
    #[must_use]
    pub fn child(&self, slot: u32) -> Option<PagePointer> {
        self.entry(slot)?.page()
    }

    /// Whether a block of a level-1 page is encoded against another one.
    #[must_use]
    pub fn has_bases(&self) -> bool {
        self.has_bases
    }

    /// Blocks stored beneath this page.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    pub(crate) fn entry(&self, slot: u32) -> Option<Entry> {
        let entry = self.entry_at_rank(rank(self.bitmap(), slot)?)?;
        match (entry, rank(self.base_bitmap(), slot)) {
            (Entry::Block(block), Some(rank)) => {
                Some(Entry::Block(BlockPointer { base: Some(self.base_at_rank(rank)?), ..block }))
            }
            (entry, _) => Some(entry),
        }
    }

    fn bitmap(&self) -> &[u8] {
        self.bytes.get(PREFIX_LEN..PREFIX_LEN + self.bitmap_len()).unwrap_or(&[])
    }

    /// Empty in a page without bases.
    fn base_bitmap(&self) -> &[u8] {
        self.bytes.get(PREFIX_LEN + self.bitmap_len()..self.entries_at()).unwrap_or(&[])
    }

    fn bitmap_len(&self) -> usize {
        self.fanout.entries() as usize / 8
    }

    fn entries_at(&self) -> usize {
        PREFIX_LEN + self.bitmap_len() * if self.has_bases { 2 } else { 1 }
    }

    fn base_at_rank(&self, rank: usize) -> Option<Place> {
        let at = self.bytes.len().checked_sub((ones(self.base_bitmap()) - rank) * BASE_ENTRY_LEN)?;
        let (segment, rest) = self.bytes.get(at..)?.split_first_chunk::<4>()?;
        let ordinal = rest.first_chunk::<4>()?;
        Place::new(SegmentId(u32::from_le_bytes(*segment)), Ordinal(u32::from_le_bytes(*ordinal)))
    }

    fn entry_len(&self) -> usize {
        if self.level == 1 { BLOCK_ENTRY_LEN } else { PAGE_ENTRY_LEN }
    }

    fn entry_at_rank(&self, rank: usize) -> Option<Entry> {
        let at = self.entries_at() + rank * self.entry_len();
        let bytes = self.bytes.get(at..at + self.entry_len())?;
        let (digest, rest) = bytes.split_first_chunk::<32>()?;
        let (segment, rest) = rest.split_first_chunk::<4>()?;
        let (ordinal_and_flags, rest) = rest.split_first_chunk::<4>()?;
        let digest = Digest(*digest);
        let place = Place::new(
            SegmentId(u32::from_le_bytes(*segment)),
            Ordinal(u32::from_le_bytes(*ordinal_and_flags)),
        )?;
        if self.level == 1 {
            return Some(Entry::Block(BlockPointer { digest, place, base: None }));
        }
        let (copy_segment, rest) = rest.split_first_chunk::<4>()?;
        let (copy_ordinal, rest) = rest.split_first_chunk::<4>()?;
        let copy = (SegmentId(u32::from_le_bytes(*copy_segment)), Ordinal(u32::from_le_bytes(*copy_ordinal)));
        let allocated = u64::from_le_bytes(*rest.first_chunk::<8>()?);
        let copy_is_good = copy.0.0 != 0 || copy.1.0 == 0;
        let allocated_is_good = (1..=self.fanout.span(self.level - 1)).contains(&allocated);
        let copy = if copy.0.0 == 0 { None } else { Some(Place::new(copy.0, copy.1)?) };
        (copy_is_good && allocated_is_good).then_some(Entry::Page(PagePointer {
            digest,
            place,
            copy,
            allocated,
        }))
    }
}

/// How many bits before `slot` are set, where that of `slot` is.
fn rank(bitmap: &[u8], slot: u32) -> Option<usize> {
    let (byte_at, bit) = (slot as usize / 8, slot % 8);
    let byte = *bitmap.get(byte_at)?;
    let below = u32::from(byte) & ((1 << bit) - 1);
    (byte >> bit & 1 == 1).then(|| ones(bitmap.get(..byte_at).unwrap_or(&[])) + below.count_ones() as usize)
}

fn ones(bitmap: &[u8]) -> usize {
    bitmap.iter().map(|byte| byte.count_ones() as usize).sum()
}

/// Digest of a page's plain bytes.
pub(crate) fn page_digest(bytes: &[u8]) -> Digest {
    Digest::of(Context::Page, bytes)
}

fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    let (digest, place) = match entry {
        Entry::Block(block) => (block.digest, block.place),
        Entry::Page(page) => (page.digest, page.place),
    };
    out.extend_from_slice(&digest.0);
    encode_place(out, place);
    if let Entry::Page(page) = entry {
        out.extend_from_slice(&page.copy.map_or(0, |copy| copy.segment.0).to_le_bytes());
        out.extend_from_slice(&page.copy.map_or(0, |copy| copy.ordinal.0).to_le_bytes());
        out.extend_from_slice(&page.allocated.to_le_bytes());
    }
}

fn encode_place(out: &mut Vec<u8>, place: Place) {
    out.extend_from_slice(&place.segment.0.to_le_bytes());
    out.extend_from_slice(&place.ordinal.0.to_le_bytes());
}
