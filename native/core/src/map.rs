//! The block map: a radix tree from block index to pointer.
//!
//! A page of level 1 points at blocks, a page of level n at pages of level n − 1. What is all zeros
//! has no pointer, so empty stretches cost nothing. A changed disk gets new pages along the changed
//! paths only and shares the others with its parent, by pointer. Every page is verified by the
//! digest in the pointer that led to it, and the image digest ([`MapRoot::image_digest`]) covers the
//! root: it authenticates every byte of the image.

mod page;
mod update;
mod walk;

pub use crate::units::Place;
pub use page::{BlockPointer, Page, PageError, PagePointer};
pub use update::{PageSink, UnplacedPage, Updater};
pub use walk::{
    Extent, ExtentState, PageSource, Stretch, allocated, blocks, changes, extents, leaf, next, stretch,
};

use serde::{Deserialize, Serialize};

use crate::digest::{Context, Digest};
use crate::units::{Geometry, Ordinal, SegmentId};

/// Levels that a tree can have: the smallest fan-out over the smallest blocks of the largest image.
pub const HEIGHT_MAX: u8 = 9;

/// Entries of a page, as a power of two from 32 to 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fanout {
    log2: u8,
}

impl Fanout {
    /// What new disks get; measured in docs/decisions.
    pub const DEFAULT: Fanout = Fanout { log2: 6 };

    /// `None` outside 32 to 1024 or when it is no power of two.
    #[must_use]
    pub fn new(entries: u32) -> Option<Self> {
        Self::from_log2(u8::try_from(entries.checked_ilog2()?).ok()?)
            .filter(|fanout| fanout.entries() == entries)
    }

    /// By exponent: 5 to 10.
    #[must_use]
    pub fn from_log2(log2: u8) -> Option<Self> {
        (5..=10).contains(&log2).then_some(Self { log2 })
    }

    /// The exponent.
    #[must_use]
    pub fn log2(self) -> u8 {
        self.log2
    }

    /// Entries of a page.
    #[must_use]
    pub fn entries(self) -> u32 {
        1 << self.log2
    }

    /// Blocks beneath a page of `level`; saturates. Level 0 is a single block.
    #[must_use]
    pub fn span(self, level: u8) -> u64 {
        1u64.checked_shl(u32::from(self.log2) * u32::from(level)).unwrap_or(u64::MAX)
    }

    /// Levels that `blocks` blocks need; at least 1.
    #[must_use]
    pub fn height_for(self, blocks: u64) -> u8 {
        (1..HEIGHT_MAX).find(|&level| self.span(level) >= blocks).unwrap_or(HEIGHT_MAX)
    }

    /// Which entry of a page of `level` leads to `block`.
    #[must_use]
    pub fn slot(self, level: u8, block: u64) -> u32 {
        let within = (block / self.span(level - 1)) % u64::from(self.entries());
        u32::try_from(within).unwrap_or(0)
    }
}

/// The root of a revision's block map, as the manifest has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRoot {
    /// Entries of every page.
    pub fanout: Fanout,
    /// Levels.
    pub height: u8,
    /// The top page; none when every block is zero.
    pub root: Option<PagePointer>,
}

impl MapRoot {
    /// The root of an image of zeros.
    #[must_use]
    pub fn empty(fanout: Fanout, geometry: Geometry) -> Self {
        Self { fanout, height: fanout.height_for(geometry.block_count()), root: None }
    }

    /// Blocks that are stored, zeros not counted.
    #[must_use]
    pub fn allocated_blocks(&self) -> u64 {
        self.root.map_or(0, |root| root.allocated)
    }

    /// Authenticates the image: its shape and, through the root's digest, every block of it.
    #[must_use]
    pub fn image_digest(&self, geometry: Geometry) -> Digest {
        let root = self.root.map_or([0; 32], |root| root.digest.0);
        Digest::of_parts(
            Context::Image,
            &[
                &geometry.size_bytes().to_le_bytes(),
                &geometry.block_size().to_le_bytes(),
                &[self.fanout.log2(), self.height],
                &root,
            ],
        )
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RootText {
    digest: Digest,
    segment: u32,
    ordinal: u32,
    copy_segment: u32,
    copy_ordinal: u32,
    allocated_blocks: u64,
}

#[derive(Serialize, Deserialize)]
struct MapText {
    fanout: u32,
    height: u8,
    root: Option<RootText>,
}

impl Serialize for MapRoot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let root = self.root.map(|root| RootText {
            digest: root.digest,
            segment: root.place.segment.0,
            ordinal: root.place.ordinal.0,
            copy_segment: root.copy.map_or(0, |copy| copy.segment.0),
            copy_ordinal: root.copy.map_or(0, |copy| copy.ordinal.0),
            allocated_blocks: root.allocated,
        });
        MapText { fanout: self.fanout.entries(), height: self.height, root }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MapRoot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = MapText::deserialize(deserializer)?;
        let fanout =
            Fanout::new(text.fanout).ok_or_else(|| D::Error::custom("map.fanout is out of range"))?;
        if !(1..=HEIGHT_MAX).contains(&text.height) {
            return Err(D::Error::custom("map.height is out of range"));
        }
        let root = text.root.map(|root| {
            let place = Place::new(SegmentId(root.segment), Ordinal(root.ordinal));
            let copy = Place::new(SegmentId(root.copy_segment), Ordinal(root.copy_ordinal));
            let place = place.ok_or_else(|| D::Error::custom("map.root names no record"))?;
            if root.allocated_blocks == 0 || root.allocated_blocks > fanout.span(text.height) {
                return Err(D::Error::custom("map.root.allocatedBlocks is out of range"));
            }
            Ok(PagePointer { digest: root.digest, place, copy, allocated: root.allocated_blocks })
        });
        Ok(Self { fanout, height: text.height, root: root.transpose()? })
    }
}

#[cfg(test)]
pub(crate) mod tests;
