//! Comparing a revision with its source, byte by byte: all of it, or a random part.
//!
//! The source is read again, the revision is read from the store, decoded and verified. A random part
//! is made of pieces of a mebibyte, so that a disk that seeks spends its time reading; pieces that the
//! revision has as zeros are among them, and are read from the source like any other, since a hole
//! that is none is what nobody would notice.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::image::Image;
use crate::job::{Control, Phase};
use crate::map::ExtentState;
use crate::random::{Numbers, Selection, share_of};
use crate::source::{Ahead, AlignedBuffer, BlockSource, CacheGuard};

/// Bytes that are compared at a time.
const PIECE_LEN: u64 = 1024 * 1024;
/// Pieces of a sample at least, where there are so many.
const PIECES_MIN: u64 = 4;
/// Pieces of zeros of a sample at most: an empty disk of petabytes shall not take an hour.
const ZERO_PIECES_MAX: u64 = 64;
/// Places that are tried for each piece that is wanted.
const TRIES_PER_PIECE: u64 = 16;
/// Mismatches that are told.
const MISMATCHES_MAX: usize = 1 << 16;

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coverage {
    /// Everything, but for what is a hole in both.
    All,
    /// A random part.
    Share(f64),
    /// So many random pieces of data and as many of holes, at a cost that does not follow the size.
    Pieces(u64),
}

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Bytes that were, holes included.
    pub checked_bytes: u64,
    /// Of these, bytes in blocks that differ.
    pub differing_bytes: u64,
    /// Bytes that differ, rounded to blocks, in rising order.
    pub mismatches: Vec<Range<u64>>,
    /// There are more than are told.
    pub is_cut: bool,
}

/// Compares `image` with `source`. Where their sizes differ, all that only one of them has differs.
///
/// # Errors
/// `Corrupt` and `NotFound` where the revision cannot be read; `Source`, `SourceShort`; `Cancelled`;
/// `Io`. Then nothing is known of the rest.
pub fn run(
    image: &Image,
    source: &BlockSource,
    coverage: Coverage,
    threads: usize,
    control: &Control,
) -> Result<Compared> {
    control.enter(Phase::Comparing);
    control.set_done(0);
    let size = image.geometry().size_bytes().min(source.size_bytes());
    let plan = match coverage {
        Coverage::All => Plan::all(image, source, size)?,
        Coverage::Share(share) => Plan::sample(image, size, share, Numbers::unpredictable()?)?,
        Coverage::Pieces(count) => Plan::pieces(image, size, count, &mut Numbers::unpredictable()?)?,
    };
    control.set_total(Some(plan.total_bytes));
    let pass = Pass { image, source, plan, next: AtomicUsize::new(0), found: Mutex::default(), control };
    if threads == 1 {
        pass.work()?;
    } else {
        let threads = crate::job::threads(threads);
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| pass.work())).collect();
            let joined = running.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Worker)));
            joined.fold(Ok(()), Result::and)
        })?;
    }
    let holes = pass.plan.skipped_bytes;
    let found = pass.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(found.told(holes, size..image.geometry().size_bytes().max(source.size_bytes())))
}

/// Ranges to compare, in rising order, none longer than a piece where they are a sample.
struct Plan {
    ranges: Vec<Range<u64>>,
    /// Of the ranges.
    total_bytes: u64,
    /// Holes in both.
    skipped_bytes: u64,
}

impl Plan {
    /// All that is data in one of the two, rounded to pieces.
    fn all(image: &Image, source: &BlockSource, size: u64) -> Result<Self> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while at < size {
            let stored = image.next(at, ExtentState::Data)?.unwrap_or(size).min(size);
            let there = match source.data_after(at) {
                Ahead::Data(range) => range.start.max(at).min(size),
                Ahead::Hole => size,
                Ahead::Unknown => at,
            };
            let start = stored.min(there) / PIECE_LEN * PIECE_LEN;
            let start = start.max(at);
            if start >= size {
                break;
            }
            at = (start / PIECE_LEN + 1).saturating_mul(PIECE_LEN).min(size);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = at,
                _ => ranges.push(start..at),
            }
        }
        Ok(Self::of(ranges, |total| size - total))
    }

    /// A part of the pieces that hold data, and of those that do not.
    fn sample(image: &Image, size: u64, share: f64, mut numbers: Numbers) -> Result<Self> {
        let pieces = size.div_ceil(PIECE_LEN);
        let with_data = count_data_pieces(image, size)?;
        let wanted = share_of(with_data, share).max(PIECES_MIN.min(with_data));
        let mut selection = Selection::new(wanted, with_data, Numbers::new(numbers.next_u64()));
        let mut chosen = Vec::new();
        each_data_piece(image, size, |piece| {
            if selection.takes_next() {
                chosen.push(piece);
            }
        })?;
        let zeros = pieces - with_data;
        let wanted = share_of(zeros, share).clamp(PIECES_MIN.min(zeros), ZERO_PIECES_MAX);
        chosen.extend(zero_pieces(image, pieces, wanted.min(zeros), &mut numbers)?);
        chosen.sort_unstable();
        let range = |piece: u64| piece * PIECE_LEN..((piece + 1) * PIECE_LEN).min(size);
        Ok(Self::of(chosen.into_iter().map(range).collect(), |_| 0))
    }

    /// Up to `count` pieces with a stored block and as many without, found by trying.
    fn pieces(image: &Image, size: u64, count: u64, numbers: &mut Numbers) -> Result<Self> {
        let pieces = size.div_ceil(PIECE_LEN);
        let (mut data, mut zeros) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..if pieces == 0 { 0 } else { count * TRIES_PER_PIECE } {
            if data.len() as u64 >= count && zeros.len() as u64 >= count {
                break;
            }
            let piece = numbers.below(pieces);
            if image.allocated_in(piece * PIECE_LEN, PIECE_LEN)? == 0 {
                if (zeros.len() as u64) < count {
                    zeros.insert(piece);
                }
                // On a disk of holes nearly every try ends here: the data after it count as well.
                let next = image.next(piece * PIECE_LEN, ExtentState::Data)?;
                data.extend(
                    next.filter(|&at| at < size && (data.len() as u64) < count).map(|at| at / PIECE_LEN),
                );
            } else if (data.len() as u64) < count {
                data.insert(piece);
            }
        }
        data.append(&mut zeros);
        let range = |piece: u64| piece * PIECE_LEN..((piece + 1) * PIECE_LEN).min(size);
        Ok(Self::of(data.into_iter().map(range).collect(), |_| 0))
    }

    fn of(ranges: Vec<Range<u64>>, skipped: impl FnOnce(u64) -> u64) -> Self {
        let total_bytes = ranges.iter().map(|range| range.end - range.start).sum();
        Self { ranges, total_bytes, skipped_bytes: skipped(total_bytes) }
    }
}

fn count_data_pieces(image: &Image, size: u64) -> Result<u64> {
    let mut count = 0;
    each_data_piece(image, size, |_| count += 1)?;
    Ok(count)
}

/// In rising order, the numbers of the pieces that a stored block touches.
fn each_data_piece(image: &Image, size: u64, mut then: impl FnMut(u64)) -> Result<()> {
    let mut at = 0;
    while at < size {
        let Some(start) = image.next(at, ExtentState::Data)?.filter(|&start| start < size) else { break };
        let end = image.next(start, ExtentState::Zero)?.unwrap_or(size).min(size);
        let pieces = start / PIECE_LEN..end.div_ceil(PIECE_LEN);
        at = pieces.end * PIECE_LEN;
        pieces.for_each(&mut then);
    }
    Ok(())
}

/// Up to `wanted` pieces without a stored block, found by trying.
fn zero_pieces(image: &Image, pieces: u64, wanted: u64, numbers: &mut Numbers) -> Result<Vec<u64>> {
    let mut chosen = BTreeSet::new();
    for _ in 0..wanted * 16 {
        if chosen.len() as u64 >= wanted {
            break;
        }
        let piece = numbers.below(pieces);
        if image.allocated_in(piece * PIECE_LEN, PIECE_LEN)? == 0 {
            chosen.insert(piece);
        }
    }
    Ok(chosen.into_iter().collect())
}

#[derive(Default)]
struct Found {
    checked_bytes: u64,
    differing_bytes: u64,
    mismatches: Vec<Range<u64>>,
    is_cut: bool,
}

impl Found {
    fn add(&mut self, checked_bytes: u64, differing: Vec<Range<u64>>) {
        self.checked_bytes += checked_bytes;
        self.differing_bytes += differing.iter().map(|range| range.end - range.start).sum::<u64>();
        let room = MISMATCHES_MAX.saturating_sub(self.mismatches.len());
        self.is_cut |= differing.len() > room;
        self.mismatches.extend(differing.into_iter().take(room));
    }

    /// `skipped` bytes are equal without having been read; `only_one` is beyond the end of one.
    fn told(mut self, skipped: u64, only_one: Range<u64>) -> Compared {
        if !only_one.is_empty() {
            self.add(only_one.end - only_one.start, vec![only_one]);
        }
        self.mismatches.sort_unstable_by_key(|range| range.start);
        let mut mismatches: Vec<Range<u64>> = Vec::new();
        for range in self.mismatches {
            match mismatches.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => mismatches.push(range),
            }
        }
        Compared {
            checked_bytes: self.checked_bytes + skipped,
            differing_bytes: self.differing_bytes,
            mismatches,
            is_cut: self.is_cut,
        }
    }
}

struct Pass<'a> {
    image: &'a Image,
    source: &'a BlockSource,
    plan: Plan,
    next: AtomicUsize,
    found: Mutex<Found>,
    control: &'a Control,
}

impl Pass<'_> {
    fn work(&self) -> Result<()> {
        let done = self.work_on();
        if done.is_err() {
            self.next.store(usize::MAX / 2, Ordering::Relaxed);
        }
        done
    }

    /// Ranges of all lengths, so threads take single pieces of one in turn.
    fn work_on(&self) -> Result<()> {
        let len = usize::try_from(PIECE_LEN).unwrap_or(0);
        let (mut ours, mut theirs) = (AlignedBuffer::new(len), AlignedBuffer::new(len));
        let cache = CacheGuard::default();
        let mut number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut before = 0;
        for range in &self.plan.ranges {
            let count = usize::try_from((range.end - range.start).div_ceil(PIECE_LEN)).unwrap_or(0);
            while number < before + count {
                self.control.check()?;
                let start = range.start + (number - before) as u64 * PIECE_LEN;
                let piece = start..(start + PIECE_LEN).min(range.end);
                self.compare(piece, &mut ours, &mut theirs, &cache)?;
                number = self.next.fetch_add(1, Ordering::Relaxed);
            }
            before += count;
        }
        Ok(())
    }

    fn compare(
        &self,
        piece: Range<u64>,
        ours: &mut AlignedBuffer,
        theirs: &mut AlignedBuffer,
        cache: &CacheGuard,
    ) -> Result<()> {
        let len = usize::try_from(piece.end - piece.start).unwrap_or(0);
        let theirs = theirs.as_mut_slice().get_mut(..len).unwrap_or(&mut []);
        let ours = ours.as_mut_slice().get_mut(..len).unwrap_or(&mut []);
        self.control.keep_pace(len as u64, &|| self.control.check())?;
        self.source.read(theirs, piece.start, cache)?;
        self.image.read(ours, piece.start)?;
        self.control.add_done(len as u64);
        self.control.add_read(len as u64);
        let differing =
            if ours == theirs { Vec::new() } else { self.differing_blocks(piece.start, ours, theirs) };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).add(len as u64, differing);
        Ok(())
    }

    fn differing_blocks(&self, start: u64, ours: &[u8], theirs: &[u8]) -> Vec<Range<u64>> {
        let block = (self.image.geometry().block_size() as usize).min(ours.len());
        let blocks = ours.chunks(block).zip(theirs.chunks(block));
        let starts = (start..).step_by(block);
        let differing = starts.zip(blocks).filter(|(_, (ours, theirs))| ours != theirs);
        differing.map(|(start, (ours, _))| start..start + ours.len() as u64).collect()
    }
}
