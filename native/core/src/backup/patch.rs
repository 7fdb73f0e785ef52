//! Turns a diff that arrives into pieces of whole blocks, in rising order, no block in two pieces.
//!
//! Extents of a diff begin and end anywhere. What falls into one window of the disk, a piece long, is
//! gathered into one piece that says which of its bytes are there; whoever stores it takes the rest of a
//! block from the parent. Whole blocks of zeros are never written down: they are a hole.

use std::ops::Range;

use crate::source::rbd_diff::{DiffRecord, Input, RbdDiff};

/// A part of a diff that can be dealt with by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    /// These blocks are zeros.
    Hole(Range<u64>),
    /// The window from `first_block` on: its bytes are in the buffer where `covered` says so. The blocks
    /// that `covered` touches change, and `also` does where it is a block of its own, whose length is
    /// another than it was.
    Bytes {
        /// The first block of the window.
        first_block: u64,
        /// Bytes of the window, up to the last one that is covered.
        len: usize,
        /// Within the window, rising, none touching another.
        covered: Vec<Range<usize>>,
        /// A block that changes its length.
        also: Option<u64>,
    },
}

/// See the module.
pub(super) struct Patches {
    diff: RbdDiff,
    block_size: u64,
    piece_len: u64,
    /// What is left of an extent that was begun.
    pending: Option<Extent>,
    /// The block that holds the shorter of both ends of the image, where it is cut or filled up by that.
    boundary: Option<u64>,
    /// Where the diff says all that the image holds: the end of its last extent, beyond which a gap is zeros.
    told: Option<u64>,
    /// What comes after such a gap.
    after_gap: Option<Extent>,
    ended: bool,
}

#[derive(Clone, Debug)]
struct Extent {
    range: Range<u64>,
    is_zero: bool,
}

impl Patches {
    /// `size_before` is that of the parent's image. `piece_len` is a multiple of `block_size`. With `is_whole` the diff
    /// leads from nothing: what it leaves out is zeros, whatever the parent has there.
    pub(super) fn new(
        diff: RbdDiff,
        size_before: u64,
        block_size: u64,
        piece_len: u64,
        is_whole: bool,
    ) -> Self {
        let size_after = diff.head().size_bytes;
        let shorter = size_before.min(size_after);
        let is_cut = size_before != size_after && !shorter.is_multiple_of(block_size);
        let boundary = is_cut.then_some(shorter / block_size);
        let told = is_whole.then_some(0);
        Self { diff, block_size, piece_len, pending: None, boundary, told, after_gap: None, ended: false }
    }

    /// Whether the diff leads from nothing.
    pub(super) fn is_whole(&self) -> bool {
        self.told.is_some()
    }

    /// Bytes of the image afterwards.
    pub(super) fn size_bytes(&self) -> u64 {
        self.diff.head().size_bytes
    }

    /// The next part, its bytes in `buffer`, which is a piece long; `None` at the end, when it is proven
    /// that the diff is whole.
    ///
    /// # Errors
    /// Of the diff and of the input.
    pub(super) fn next<I: Input + ?Sized>(
        &mut self,
        input: &mut I,
        buffer: &mut [u8],
    ) -> Result<Option<Patch>, I::Error> {
        let Some(extent) = self.extent(input)? else {
            return Ok(self.boundary.take().map(|block| self.resized(block)));
        };
        if let Some(block) =
            self.boundary.filter(|&block| (block + 1) * self.block_size <= extent.range.start)
        {
            self.boundary = None;
            self.pending = Some(extent);
            return Ok(Some(self.resized(block)));
        }
        let whole = self.whole_blocks(&extent);
        if extent.is_zero && whole.start < whole.end && whole.start * self.block_size == extent.range.start {
            self.passed(&whole);
            let rest = self.end_of(whole.end)..extent.range.end;
            self.pending = (!rest.is_empty()).then_some(Extent { range: rest, is_zero: true });
            return Ok(Some(Patch::Hole(whole)));
        }
        self.gather(input, buffer, extent).map(Some)
    }

    /// All that falls into the window in which `extent` begins.
    fn gather<I: Input + ?Sized>(
        &mut self,
        input: &mut I,
        buffer: &mut [u8],
        first: Extent,
    ) -> Result<Patch, I::Error> {
        let start = first.range.start / self.piece_len * self.piece_len;
        let end = (start + self.piece_len).min(self.size_bytes());
        let mut covered: Vec<Range<usize>> = Vec::new();
        let mut next = Some(first);
        while let Some(extent) = next {
            let whole = self.whole_blocks(&extent);
            let is_hole = extent.is_zero
                && whole.start < whole.end
                && whole.start * self.block_size == extent.range.start;
            if extent.range.start >= end || is_hole {
                self.pending = Some(extent);
                break;
            }
            // Zeros up to the next block only: what follows may be a hole.
            let block_end = self.end_of(extent.range.start / self.block_size + 1);
            let part_end = extent.range.end.min(end).min(if extent.is_zero { block_end } else { u64::MAX });
            let part = offset(extent.range.start, start)..offset(part_end, start);
            let into = buffer.get_mut(part.clone()).unwrap_or(&mut []);
            if extent.is_zero {
                into.fill(0);
            } else {
                let taken = self.diff.data(input, into)?;
                debug_assert_eq!(taken, part.len());
            }
            match covered.last_mut() {
                Some(last) if last.end == part.start => last.end = part.end,
                _ if part.is_empty() => {}
                _ => covered.push(part),
            }
            let rest = part_end..extent.range.end;
            next = if rest.is_empty() {
                self.extent(input)?
            } else {
                Some(Extent { range: rest, is_zero: extent.is_zero })
            };
        }
        let first_block = start / self.block_size;
        let len = covered.last().map_or(0, |last| last.end);
        let blocks = first_block..(start + len as u64).div_ceil(self.block_size);
        let also = self.boundary.filter(|block| blocks.contains(block));
        if also.is_some() {
            self.boundary = None;
        }
        Ok(Patch::Bytes { first_block, len, covered, also })
    }

    /// The extent that is under way, or the next one that is not empty; `None` at the end.
    fn extent<I: Input + ?Sized>(&mut self, input: &mut I) -> Result<Option<Extent>, I::Error> {
        if let Some(extent) = self.pending.take().or_else(|| self.after_gap.take()) {
            return Ok(Some(extent));
        }
        while !self.ended {
            let extent = match self.diff.next(input)? {
                DiffRecord::Data(range) => Extent { range, is_zero: false },
                DiffRecord::Zero(range) => Extent { range, is_zero: true },
                DiffRecord::End => {
                    self.ended = true;
                    let size = self.size_bytes();
                    Extent { range: size..size, is_zero: true }
                }
            };
            let gap = self.told.map(|told| told..extent.range.start).filter(|gap| !gap.is_empty());
            self.told = self.told.map(|_| extent.range.end);
            if let Some(range) = gap {
                self.after_gap = (!extent.range.is_empty()).then_some(extent);
                return Ok(Some(Extent { range, is_zero: true }));
            }
            if !extent.range.is_empty() {
                return Ok(Some(extent));
            }
        }
        Ok(None)
    }

    /// Blocks that lie in an extent altogether; the last one of the image may be short.
    fn whole_blocks(&self, extent: &Extent) -> Range<u64> {
        let first = extent.range.start.div_ceil(self.block_size);
        let end = if extent.range.end == self.size_bytes() {
            extent.range.end.div_ceil(self.block_size)
        } else {
            extent.range.end / self.block_size
        };
        first..end.max(first)
    }

    /// Where the blocks below this one end.
    fn end_of(&self, blocks: u64) -> u64 {
        blocks.saturating_mul(self.block_size).min(self.size_bytes())
    }

    fn passed(&mut self, blocks: &Range<u64>) {
        self.boundary = self.boundary.filter(|block| !blocks.contains(block));
    }

    fn resized(&self, block: u64) -> Patch {
        let per_piece = self.piece_len / self.block_size;
        let first_block = block / per_piece * per_piece;
        Patch::Bytes { first_block, len: 0, covered: Vec::new(), also: Some(block) }
    }
}

fn offset(at: u64, start: u64) -> usize {
    usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX)
}

#[cfg(test)]
// One extent is a list of one range.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Numbers;

    const BLOCK: u64 = 64;
    const PIECE: u64 = 4 * BLOCK;

    #[derive(Debug)]
    struct Change {
        offset: u64,
        bytes: Vec<u8>,
        is_zero: bool,
    }

    fn written(size: u64, changes: &[Change]) -> Vec<u8> {
        let mut bytes = b"rbd diff v1\ns".to_vec();
        bytes.extend(size.to_le_bytes());
        for Change { offset, bytes: data, is_zero } in changes {
            bytes.push(if *is_zero { b'z' } else { b'w' });
            bytes.extend(offset.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            if !is_zero {
                bytes.extend(data);
            }
        }
        bytes.push(b'e');
        bytes
    }

    /// Applies a diff to `before` by its patches, and checks what they promise of themselves.
    fn patched(before: &[u8], size: u64, changes: &[Change], is_whole: bool) -> Vec<u8> {
        let written = written(size, changes);
        let mut input = &written[..];
        let diff = RbdDiff::open(&mut input).unwrap();
        let mut patches = Patches::new(diff, before.len() as u64, BLOCK, PIECE, is_whole);
        let mut image = before.to_vec();
        image.resize(size as usize, 0);
        let mut seen = BTreeSet::new();
        let mut see = |block: u64| {
            assert!(seen.last().is_none_or(|&last| last < block), "block {block} comes twice or late");
            seen.insert(block);
        };
        let mut buffer = vec![0xee; PIECE as usize];
        while let Some(patch) = patches.next(&mut input, &mut buffer).unwrap() {
            match patch {
                Patch::Hole(blocks) => {
                    blocks.clone().for_each(&mut see);
                    let end = (blocks.end * BLOCK).min(size) as usize;
                    image[(blocks.start * BLOCK) as usize..end].fill(0);
                }
                Patch::Bytes { first_block, len, covered, also } => {
                    let start = (first_block * BLOCK) as usize;
                    assert_eq!(start as u64 % PIECE, 0);
                    assert_eq!(len, covered.last().map_or(0, |last| last.end));
                    let mut blocks: BTreeSet<u64> = also.into_iter().collect();
                    for range in covered {
                        image[start + range.start..start + range.end].copy_from_slice(&buffer[range.clone()]);
                        blocks.extend(
                            (start + range.start) as u64 / BLOCK..=(start + range.end - 1) as u64 / BLOCK,
                        );
                    }
                    assert!(blocks.iter().all(|block| block / 4 == first_block / 4));
                    blocks.into_iter().for_each(&mut see);
                }
            }
        }
        assert!(input.is_empty(), "all of it is read");
        let shorter = (before.len() as u64).min(size);
        if before.len() as u64 != size && !shorter.is_multiple_of(BLOCK) {
            assert!(seen.contains(&(shorter / BLOCK)), "the block at the shorter end changes its length");
        }
        image
    }

    fn change(offset: u64, len: usize, is_zero: bool, value: u8) -> Change {
        Change { offset, bytes: vec![if is_zero { 0 } else { value }; len], is_zero }
    }

    #[test]
    fn whole_blocks_of_zeros_are_holes_and_the_rest_is_gathered() {
        let changes = [
            change(10, 5, false, 1),
            change(15, 200, true, 0),
            change(215, 3, false, 2),
            change(900, 1, false, 3),
        ];
        let written = written(1000, &changes);
        let mut input = &written[..];
        let diff = RbdDiff::open(&mut input).unwrap();
        let mut patches = Patches::new(diff, 1000, BLOCK, PIECE, false);
        let mut buffer = vec![0; PIECE as usize];
        let mut all = Vec::new();
        while let Some(patch) = patches.next(&mut input, &mut buffer).unwrap() {
            all.push(patch);
        }
        let bytes = |first_block, len, covered: &[Range<usize>]| Patch::Bytes {
            first_block,
            len,
            covered: covered.to_vec(),
            also: None,
        };
        let expected = [
            bytes(0, 64, &[10..64]),
            Patch::Hole(1..3),
            bytes(0, 218, &[192..218]),
            bytes(12, 133, &[132..133]),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn any_diff_makes_of_any_image_what_it_says() {
        let seed =
            std::env::var("CAIRN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_126);
        let mut numbers = Numbers::new(seed);
        for round in 0..3000 {
            let before: Vec<u8> = vec![0x55; numbers.below(2000) as usize];
            let size = if numbers.below(2) == 0 { before.len() as u64 } else { numbers.below(2000) };
            let mut changes = Vec::new();
            let mut at = 0;
            while at < size && numbers.below(12) > 0 {
                let offset = at + numbers.below(200) * numbers.below(3);
                let len = (numbers.below(300) + 1).min(size.saturating_sub(offset));
                if len == 0 {
                    break;
                }
                changes.push(change(
                    offset,
                    len as usize,
                    numbers.below(2) == 0,
                    numbers.below(200) as u8 + 1,
                ));
                at = offset + len;
            }
            let is_whole = numbers.below(4) == 0;
            let mut expected = if is_whole { Vec::new() } else { before.clone() };
            expected.resize(size as usize, 0);
            for Change { offset, bytes, .. } in &changes {
                expected[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
            }
            let image = patched(&before, size, &changes, is_whole);
            assert_eq!(image, expected, "seed {seed}, round {round}, whole {is_whole}: {changes:?}");
        }
    }
}
