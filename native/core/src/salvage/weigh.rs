//! What of an image is still there, counted by its map.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::error::Result;
use crate::job::Control;
use crate::map::{Fanout, Page, PagePointer, Place};
use crate::units::SegmentId;

use super::stock::{Presence, Stock};

/// Of a page and all beneath it. Sums saturate: liars' pages can name each other over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    /// Where the last stored block ends, in blocks from the page's first; at least so much where a
    /// page is missing.
    pub(super) blocks_end: u64,
    /// Stored blocks of which there is no record, or no page that leads to it.
    pub(super) missing_blocks: u64,
    pub(super) missing_pages: u64,
    /// Blocks and pages that are there, in segments without an index.
    pub(super) unindexed_records: u64,
    /// That any pointer names.
    pub(super) highest_segment: SegmentId,
    /// A block is encoded against another one.
    pub(super) has_bases: bool,
}

/// Weighs pages, each once, however many images share it.
pub(super) struct Scales<'a> {
    stock: &'a Stock<'a>,
    control: &'a Control,
    weighed: HashMap<Digest, Weighed>,
}

struct Weighed {
    allocated: u64,
    level: u8,
    fanout: Fanout,
    weight: Weight,
}

impl<'a> Scales<'a> {
    pub(super) fn new(stock: &'a Stock<'a>, control: &'a Control) -> Self {
        Self { stock, control, weighed: HashMap::new() }
    }

    /// Weighs the page of `level` that a pointer leads to.
    ///
    /// # Errors
    /// `Cancelled`; `Io` of anything but a medium that fails.
    pub(super) fn weigh(&mut self, pointer: &PagePointer, level: u8, fanout: Fanout) -> Result<Weight> {
        let known = self.weighed.get(&pointer.digest);
        let fits = |known: &&Weighed| {
            (known.allocated, known.level, known.fanout) == (pointer.allocated, level, fanout)
        };
        if let Some(known) = known.filter(fits) {
            return Ok(known.weight.naming(pointer));
        }
        self.control.check()?;
        let Some((page, is_indexed)) = self.stock.page(pointer, level, fanout)? else {
            return Ok(Weight::missing(pointer));
        };
        let mut weight = Weight::none();
        weight.unindexed_records += u64::from(!is_indexed);
        if level == 1 {
            self.add_blocks(&page, fanout, &mut weight);
        } else {
            self.add_children(&page, level, fanout, &mut weight)?;
        }
        let weighed = Weighed { allocated: pointer.allocated, level, fanout, weight };
        self.weighed.insert(pointer.digest, weighed);
        Ok(weight.naming(pointer))
    }

    fn add_blocks(&self, page: &Page, fanout: Fanout, weight: &mut Weight) {
        weight.has_bases |= page.has_bases();
        let blocks = (0..fanout.entries()).filter_map(|slot| Some((slot, page.block(slot)?)));
        for (slot, block) in blocks {
            let presences = block.places().map(|place| self.stock.block(place));
            let presence = presences.max().unwrap_or(Presence::Missing);
            weight.missing_blocks += u64::from(presence == Presence::Missing);
            weight.unindexed_records += u64::from(presence == Presence::Unindexed);
            weight.blocks_end = u64::from(slot) + 1;
            block.places().for_each(|place| weight.name(place));
        }
    }

    fn add_children(&mut self, page: &Page, level: u8, fanout: Fanout, weight: &mut Weight) -> Result<()> {
        let children = (0..fanout.entries()).filter_map(|slot| Some((slot, page.child(slot)?)));
        for (slot, child) in children {
            let beneath = self.weigh(&child, level - 1, fanout)?;
            let first = fanout.span(level - 1).saturating_mul(u64::from(slot));
            weight.blocks_end = first.saturating_add(beneath.blocks_end);
            weight.missing_blocks = weight.missing_blocks.saturating_add(beneath.missing_blocks);
            weight.missing_pages = weight.missing_pages.saturating_add(beneath.missing_pages);
            weight.unindexed_records = weight.unindexed_records.saturating_add(beneath.unindexed_records);
            weight.highest_segment = weight.highest_segment.max(beneath.highest_segment);
            weight.has_bases |= beneath.has_bases;
        }
        Ok(())
    }
}

impl Weight {
    fn none() -> Self {
        Self {
            blocks_end: 0,
            missing_blocks: 0,
            missing_pages: 0,
            unindexed_records: 0,
            highest_segment: SegmentId(0),
            has_bases: false,
        }
    }

    fn missing(pointer: &PagePointer) -> Self {
        // Nothing is known of its blocks but how many there are.
        let allocated = pointer.allocated;
        let weight =
            Self { blocks_end: allocated, missing_blocks: allocated, missing_pages: 1, ..Self::none() };
        weight.naming(pointer)
    }

    fn naming(mut self, pointer: &PagePointer) -> Self {
        self.name(pointer.place);
        pointer.copy.into_iter().for_each(|copy| self.name(copy));
        self
    }

    fn name(&mut self, place: Place) {
        self.highest_segment = self.highest_segment.max(place.segment);
    }
}
