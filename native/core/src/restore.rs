//! Writing a revision to where it is needed, straight from the store, with all cores.
//!
//! Zeros are not written where a hole will do: a new file is extended, and a device is asked to
//! zero the range (fallocate(2) PUNCH_HOLE, which on a block device either reads back as zeros or
//! fails). Done means synced.

mod target;

use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::image::{ByteExtent, Image};
use crate::job::{Control, Phase, default_threads};
use crate::map::ExtentState;
use crate::source::AlignedBuffer;
use crate::units::BlockIndex;

pub use target::Target;

/// Bytes that a thread writes at once, unless a block is larger.
const PIECE_LEN: u64 = 1024 * 1024;
/// Bytes of zeros that are asked for at once, so that a cancel is heard.
const ZERO_LEN: u64 = 1024 * 1024 * 1024;
/// Extents that are looked up at once.
const EXTENTS_MAX: usize = 256;

/// What a restore did, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Written.
    pub written_bytes: u64,
    /// Zeros that the target has without being told.
    pub skipped_bytes: u64,
    /// Zeros that the target was asked to make without their being written.
    pub discarded_bytes: u64,
}

/// Writes `image` to `target`. Many may run at once; nothing is locked.
///
/// # Errors
/// `Corrupt`, `NotFound`, `Io` from the store; `Target`, `TargetTooSmall`; `Cancelled`. A file that
/// was made is then removed; a device or a file that was there holds a part of the image.
pub fn run(image: &Image, mut target: Target, threads: usize, control: &Control) -> Result<Restored> {
    let size_bytes = image.geometry().size_bytes();
    control.set_total(Some(size_bytes));
    control.enter(Phase::Writing);
    target.prepare(size_bytes)?;
    let threads = if threads == 0 { default_threads() } else { threads };
    let job =
        Job { image, target: &target, control, plan: Mutex::new(Plan::default()), turn: Turn::default() };
    let result = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(|| job.work())).collect();
        let joined = handles.into_iter().map(|handle| handle.join().unwrap_or(Err(Error::Worker)));
        // The first error is the cause; those of the other threads follow from it.
        joined.fold(Ok(Restored::default()), add)
    });
    let result = result.and_then(|restored| {
        control.enter(Phase::Syncing);
        target.sync()?;
        control.enter(Phase::Done);
        Ok(restored)
    });
    result.inspect_err(|_| target.discard())
}

fn add(sum: Result<Restored>, part: Result<Restored>) -> Result<Restored> {
    match (sum, part) {
        (Ok(sum), Ok(part)) => Ok(Restored {
            written_bytes: sum.written_bytes + part.written_bytes,
            skipped_bytes: sum.skipped_bytes + part.skipped_bytes,
            discarded_bytes: sum.discarded_bytes + part.discarded_bytes,
        }),
        (Err(Error::Cancelled), Err(other)) => Err(other),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

struct Job<'a> {
    image: &'a Image,
    target: &'a Target,
    control: &'a Control,
    plan: Mutex<Plan>,
    turn: Turn,
}

/// Where the next piece begins, and the extents known from there on.
#[derive(Default)]
struct Plan {
    number: u64,
    extents: std::collections::VecDeque<ByteExtent>,
    next_offset: u64,
    failed: bool,
}

impl Job<'_> {
    fn work(&self) -> Result<Restored> {
        let done = self.work_on();
        if done.is_err() {
            self.plan.lock().unwrap_or_else(PoisonError::into_inner).failed = true;
            self.turn.give_up();
        }
        done
    }

    fn work_on(&self) -> Result<Restored> {
        let _guard = self.turn.guard();
        let piece_len = PIECE_LEN.max(u64::from(self.image.geometry().block_size()));
        let mut buffer = AlignedBuffer::new(usize::try_from(piece_len).unwrap_or(0));
        let mut restored = Restored::default();
        while let Some((number, piece)) = self.next(piece_len)? {
            self.control.check()?;
            let len = usize::try_from(piece.len).unwrap_or(usize::MAX);
            match piece.state {
                ExtentState::Zero if !self.target.is_stream() => self.target.zero(piece, &mut restored)?,
                state => {
                    let into = buffer.as_mut_slice().get_mut(..len).unwrap_or(&mut []);
                    if state == ExtentState::Data {
                        self.fill(into, piece.offset)?
                    } else {
                        into.fill(0)
                    }
                    self.write(into, piece.offset, number)?;
                    restored.written_bytes += piece.len;
                }
            }
            self.control.add_done(piece.len);
        }
        Ok(restored)
    }

    fn write(&self, bytes: &[u8], offset: u64, number: u64) -> Result<()> {
        if !self.target.is_stream() {
            return self
                .target
                .write(bytes, offset)
                .inspect(|()| self.control.add_stored(bytes.len() as u64));
        }
        self.turn.wait_for(number)?;
        self.target.write(bytes, offset)?;
        self.turn.pass_on();
        self.control.add_stored(bytes.len() as u64);
        Ok(())
    }

    /// Decodes the blocks from `offset` on straight into place.
    fn fill(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let geometry = self.image.geometry();
        let first = geometry.block_at(offset).0;
        let count = (into.len() as u64).div_ceil(u64::from(geometry.block_size()));
        let pointers = self.image.pointers(first..first + count)?;
        let blocks = into.chunks_mut(geometry.block_size() as usize);
        for ((index, block), pointer) in (first..).zip(blocks).zip(pointers) {
            debug_assert_eq!(block.len(), geometry.len_of(BlockIndex(index)) as usize);
            match pointer {
                Some(pointer) => self.image.records().block_into(&pointer, block)?,
                None => block.fill(0),
            }
        }
        self.control.add_read(into.len() as u64);
        Ok(())
    }

    fn next(&self, piece_len: u64) -> Result<Option<(u64, ByteExtent)>> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if plan.failed {
            return Err(Error::Cancelled);
        }
        if plan.extents.is_empty() {
            let left = self.image.geometry().size_bytes() - plan.next_offset;
            let found = self.image.extents(plan.next_offset, left, EXTENTS_MAX)?;
            plan.next_offset = found.last().map_or(plan.next_offset, |last| last.offset + last.len);
            plan.extents.extend(found);
        }
        let Some(extent) = plan.extents.front_mut() else { return Ok(None) };
        let in_one_go = extent.state == ExtentState::Zero && !self.target.is_stream();
        let len = extent.len.min(if in_one_go { ZERO_LEN } else { piece_len - extent.offset % piece_len });
        let piece = ByteExtent { len, ..*extent };
        extent.offset += len;
        extent.len -= len;
        if extent.len == 0 {
            plan.extents.pop_front();
        }
        plan.number += 1;
        Ok(Some((plan.number - 1, piece)))
    }
}

/// Lets threads write to a stream in the order of their pieces.
#[derive(Default)]
struct Turn {
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

struct TurnGuard<'a>(&'a Turn);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

impl Turn {
    fn guard(&self) -> TurnGuard<'_> {
        TurnGuard(self)
    }

    fn wait_for(&self, number: u64) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 != number && !state.1 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.1 { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn pass_on(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        self.changed.notify_all();
    }

    fn give_up(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }
}
