//! What has to be put where, in the order of the target, a piece at a time.
//!
//! The map is walked some way ahead of the writing, so that blocks that occur more than once are
//! known as such and are read and decoded once ([`Work::Blocks`]' twins). What is beyond a map page
//! that cannot be read is a piece of its own and stops nothing.
//!
//! The first bytes of the target are its head, and are given out last: a target whose head is
//! missing is taken by nobody for a whole one.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::image::Image;
use crate::map::{self, BlockPointer, Stretch};
use crate::units::{BlockIndex, Geometry};
use crate::window::Window;

/// Bytes that a thread deals with at once. Pieces of four mebibytes were written to a file in two thirds
/// of the time that pieces of one took; larger ones gained nothing.
pub(super) const PIECE_LEN: u64 = 4 * 1024 * 1024;
/// Stored blocks that are looked ahead: 40 MiB of them in memory, 32 GiB of a disk at the default
/// block size. Copies that are farther apart are decoded more than once.
const SLOTS_AHEAD: usize = 512 * 1024;
/// Stretches of zeros between them at most, which a disk without stored blocks has few of.
const RUNS_AHEAD: usize = 512 * 1024;

/// A part of a stored block, and where it goes. Nearly always the whole block: partitions need not
/// begin where blocks do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) pointer: BlockPointer,
    pub(super) block: u64,
    pub(super) target_offset: u64,
    /// First byte of the block that is wanted, and how many.
    pub(super) within: u32,
    pub(super) len: u32,
    /// The same record is wanted somewhere else, too.
    pub(super) repeats: bool,
}

impl Slot {
    pub(super) fn is_whole(&self, geometry: Geometry) -> bool {
        self.within == 0 && self.len == geometry.len_of(BlockIndex(self.block))
    }

    /// Of its first byte.
    pub(super) fn image_offset(&self, geometry: Geometry) -> u64 {
        geometry.offset_of(BlockIndex(self.block)).saturating_add(u64::from(self.within))
    }

    pub(super) fn end(&self) -> u64 {
        self.target_offset + u64::from(self.len)
    }
}

/// Bytes whose map page is lost.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) image_offset: u64,
    pub(super) target_offset: u64,
    pub(super) len: u64,
    pub(super) error: Error,
}

/// What one thread deals with at a time.
#[derive(Debug)]
pub(super) enum Work {
    /// Stored blocks in the order of the target, no farther apart than a piece is long. `twins` are
    /// other places of blocks that are among the slots, by the slot's offset in the target.
    Blocks { slots: Vec<Slot>, twins: Vec<(u64, Slot)> },
    /// Zeros.
    Zeros { offset: u64, len: u64 },
    /// See [`Lost`].
    Lost(Lost),
}

impl Work {
    /// First byte in the target.
    pub(super) fn offset(&self) -> u64 {
        match self {
            Work::Blocks { slots, .. } => slots.first().map_or(0, |slot| slot.target_offset),
            Work::Zeros { offset, .. } => *offset,
            Work::Lost(lost) => lost.target_offset,
        }
    }
}

/// How a plan cuts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Zeros that are dealt with at once, so that a cancel is heard.
    pub(super) zero_len: u64,
    /// Bytes that are given out last.
    pub(super) head_len: u64,
    /// Whether blocks that occur again are left out and told as twins of the first.
    pub(super) unites_twins: bool,
}

/// See the module.
pub(super) struct Plan<'a> {
    image: &'a Image,
    window: &'a Window,
    cut: Cut,
    piece_len: u64,
    /// Up to where the map was walked.
    at: u64,
    slots: Vec<Slot>,
    runs: VecDeque<Run>,
    /// By the offset of the first, all others.
    twins: HashMap<u64, Vec<Slot>>,
    head: Vec<Work>,
    /// What the last look ahead found stored, until somebody asks.
    stored_ahead: Vec<Range<u64>>,
}

enum Run {
    /// Indexes into `slots`.
    Blocks(Range<usize>),
    Zeros(Range<u64>),
    Lost(Lost),
}

impl<'a> Plan<'a> {
    pub(super) fn new(image: &'a Image, window: &'a Window, cut: Cut) -> Self {
        Self {
            image,
            window,
            cut,
            piece_len: PIECE_LEN.max(u64::from(image.geometry().block_size())),
            at: 0,
            slots: Vec::new(),
            runs: VecDeque::new(),
            twins: HashMap::new(),
            head: Vec::new(),
            stored_ahead: Vec::new(),
        }
    }

    /// Bytes that a piece spans at most: its last block may begin just before its end.
    pub(super) fn span_max(image: &Image) -> u64 {
        let block_size = u64::from(image.geometry().block_size());
        PIECE_LEN.max(block_size) + block_size
    }

    /// The next piece that does not belong to the head; none at the end.
    ///
    /// # Errors
    /// Of the map, where trying again may help.
    pub(super) fn next(&mut self) -> Result<Option<Work>> {
        loop {
            let Some(work) = self.carve() else {
                if self.at >= self.window.size() {
                    return Ok(None);
                }
                self.look_ahead()?;
                continue;
            };
            match work {
                // All of it are twins of earlier blocks.
                Work::Blocks { slots, .. } if slots.is_empty() => {}
                work if work.offset() < self.cut.head_len => self.head.push(work),
                work => return Ok(Some(work)),
            }
        }
    }

    /// The pieces of the head alone, before all others.
    ///
    /// # Errors
    /// As [`Plan::next`].
    pub(super) fn head_of(image: &'a Image, window: &'a Window, head_len: u64) -> Result<Vec<Work>> {
        let cut = Cut { zero_len: head_len, head_len, unites_twins: false };
        let mut plan = Self::new(image, window, cut);
        let _ = plan.next()?;
        Ok(plan.take_head())
    }

    /// Stretches of the target in which stored blocks were found since this was asked last.
    pub(super) fn take_stored_ahead(&mut self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.stored_ahead)
    }

    /// The pieces of the head, once [`Plan::next`] gave none.
    pub(super) fn take_head(&mut self) -> Vec<Work> {
        std::mem::take(&mut self.head)
    }

    /// Cuts a piece off what is known.
    fn carve(&mut self) -> Option<Work> {
        let (head_len, piece_len) = (self.cut.head_len, self.piece_len);
        let end_of = |offset: u64, len: u64| if offset < head_len { head_len } else { offset + len };
        match self.runs.pop_front()? {
            Run::Lost(lost) => Some(Work::Lost(lost)),
            Run::Zeros(range) => {
                let end = end_of(range.start, self.cut.zero_len).min(range.end);
                if end < range.end {
                    self.runs.push_front(Run::Zeros(end..range.end));
                }
                Some(Work::Zeros { offset: range.start, len: end - range.start })
            }
            Run::Blocks(range) => {
                let all = self.slots.get(range.clone()).unwrap_or(&[]);
                let start = all.first().map_or(0, |slot| slot.target_offset);
                let end = end_of(start, piece_len - start % piece_len);
                let count = all.partition_point(|slot| slot.target_offset < end);
                let (taken, rest) = (range.start..range.start + count, range.start + count..range.end);
                if !rest.is_empty() {
                    self.runs.push_front(Run::Blocks(rest));
                }
                Some(self.blocks(taken))
            }
        }
    }

    fn blocks(&self, range: Range<usize>) -> Work {
        let all = self.slots.get(range).unwrap_or(&[]);
        if !self.cut.unites_twins {
            return Work::Blocks { slots: all.to_vec(), twins: Vec::new() };
        }
        let mut twins = Vec::new();
        let mut slots = Vec::with_capacity(all.len());
        for slot in all {
            let Some(others) = self.twins.get(&slot.target_offset).filter(|_| slot.repeats) else {
                // One that repeats and leads nobody was written with its leader.
                if !slot.repeats {
                    slots.push(*slot);
                }
                continue;
            };
            slots.push(*slot);
            twins.extend(others.iter().map(|&twin| (slot.target_offset, twin)));
        }
        Work::Blocks { slots, twins }
    }

    fn look_ahead(&mut self) -> Result<()> {
        self.slots.clear();
        self.twins.clear();
        while self.at < self.window.size() && self.slots.len() < SLOTS_AHEAD && self.runs.len() < RUNS_AHEAD {
            let left = self.window.size() - self.at;
            let Some(range) = self.window.ranges(self.at, left).next() else { break };
            let geometry = self.image.geometry();
            let block_size = u64::from(geometry.block_size());
            let first = geometry.block_at(range.image_offset).0;
            let clip = |end: u64| {
                let end = end.saturating_mul(block_size).min(range.image_offset + range.len);
                end - range.image_offset
            };
            let taken = match map::stretch(self.image.records(), self.image.map(), first)? {
                Stretch::Zeros(end) => {
                    let len = clip(end);
                    self.push_zeros(self.at, len);
                    len
                }
                Stretch::Lost(error, end) => {
                    let len = clip(end);
                    let lost = Lost { image_offset: range.image_offset, target_offset: self.at, len, error };
                    self.runs.push_back(Run::Lost(lost));
                    len
                }
                Stretch::Leaf(page, end) => {
                    let len = clip(end);
                    let last = geometry.block_at(range.image_offset + len - 1).0;
                    for block in first..=last {
                        let start = geometry.offset_of(BlockIndex(block)).max(range.image_offset);
                        let end = geometry.offset_of(BlockIndex(block + 1)).min(range.image_offset + len);
                        let target_offset = self.at + (start - range.image_offset);
                        match page.block(self.image.map().fanout.slot(1, block)) {
                            None => self.push_zeros(target_offset, end - start),
                            Some(pointer) => self.push_slot(Slot {
                                pointer,
                                block,
                                target_offset,
                                within: u32::try_from(start - geometry.offset_of(BlockIndex(block)))
                                    .unwrap_or(0),
                                len: u32::try_from(end - start).unwrap_or(0),
                                repeats: false,
                            }),
                        }
                    }
                    len
                }
            };
            self.at += taken;
        }
        self.stored_ahead = self.runs.iter().filter_map(|run| self.stored_in(run)).collect();
        self.find_twins();
        Ok(())
    }

    fn stored_in(&self, run: &Run) -> Option<Range<u64>> {
        let Run::Blocks(range) = run else { return None };
        let slots = self.slots.get(range.clone())?;
        Some(slots.first()?.target_offset..slots.last()?.end())
    }

    fn push_zeros(&mut self, offset: u64, len: u64) {
        match self.runs.back_mut() {
            Some(Run::Zeros(range)) if range.end == offset => range.end += len,
            _ => self.runs.push_back(Run::Zeros(offset..offset + len)),
        }
    }

    fn push_slot(&mut self, slot: Slot) {
        let index = self.slots.len();
        self.slots.push(slot);
        match self.runs.back_mut() {
            Some(Run::Blocks(range)) if range.end == index => range.end += 1,
            _ => self.runs.push_back(Run::Blocks(index..index + 1)),
        }
    }

    /// Marks blocks whose record is wanted more than once; parts of blocks and the head are left
    /// alone.
    fn find_twins(&mut self) {
        let geometry = self.image.geometry();
        let mut order: Vec<(u64, usize)> = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.is_whole(geometry) && slot.target_offset >= self.cut.head_len)
            .map(|(index, slot)| {
                let place = slot.pointer.place;
                (u64::from(place.segment.0) << 32 | u64::from(place.ordinal.0), index)
            })
            .collect();
        order.sort_unstable();
        // A damaged map may give one place several digests or lengths; those are no twins.
        let wanted = |index: usize| self.slots.get(index).map(|slot| (slot.pointer.digest, slot.len));
        let groups: Vec<Vec<usize>> = order
            .chunk_by(|a, b| a.0 == b.0 && wanted(a.1) == wanted(b.1))
            .filter(|group| group.len() > 1)
            .map(|group| group.iter().map(|&(_, index)| index).collect())
            .collect();
        for group in groups {
            let mut members = Vec::with_capacity(group.len());
            for index in group {
                if let Some(slot) = self.slots.get_mut(index) {
                    slot.repeats = true;
                    members.push(*slot);
                }
            }
            let leader = members.remove(0);
            self.twins.insert(leader.target_offset, members);
        }
    }
}
