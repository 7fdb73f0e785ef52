//! Hands out work to the threads of a backup: which blocks to read next, which are a hole.
//!
//! Pieces are numbered in the order of the disk. No more than a window of them is under way beyond
//! what the writer has dealt with, so memory is bounded however fast or slow a thread is.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::job::Control;
use crate::source::rbd_diff::{Input, RbdDiff};
use crate::source::{Ahead, AlignedBuffer, BlockSource, CacheGuard, StreamSource};

use super::patch::{Patch, Patches};
use super::{DiffFrom, Source, changes};

/// Bytes that one piece has at most, unless a block is larger.
const PIECE_LEN: u64 = 1024 * 1024;
/// Between two pieces of a job that yields: so many times what reading the last one took, but in these
/// bounds, so that neither a fast source is read fast nor a slow one hardly at all.
const YIELD_FACTOR: u32 = 3;
const YIELD_MIN: Duration = Duration::from_millis(20);
const YIELD_MAX: Duration = Duration::from_secs(1);

/// What to look at next.
pub(super) struct Piece {
    /// Rises by one with each piece.
    pub(super) number: u64,
    /// The first block.
    pub(super) first_block: u64,
    /// What is there.
    pub(super) content: Content,
}

pub(super) enum Content {
    /// This many bytes, which are in the buffer.
    Bytes(usize),
    /// A hole over these blocks, and its bytes.
    Hole { blocks: Range<u64>, len: u64 },
    /// Parts of blocks, which are in the buffer where `covered` says so; see [`Patch::Bytes`].
    Patch { covered: Vec<Range<usize>>, also: Option<u64> },
}

impl Content {
    /// Bytes that were read for it.
    fn read_bytes(&self) -> u64 {
        match self {
            Content::Bytes(len) => *len as u64,
            Content::Hole { .. } => 0,
            Content::Patch { covered, .. } => covered.iter().map(|range| range.len() as u64).sum(),
        }
    }
}

/// See the module.
pub(super) struct Feed<'a> {
    /// Held while a stream is waited for, so it is the threads' alone: the writer never takes it before
    /// they are done.
    state: Mutex<State<'a>>,
    /// All pieces below this number are dealt with.
    written: Mutex<u64>,
    room: Condvar,
    stopped: AtomicBool,
    /// How long it took to read the last piece.
    read_micros: AtomicU64,
    window: u64,
    cache: CacheGuard,
    control: &'a Control,
    block_size: u64,
    size_after: u64,
}

struct State<'a> {
    source: Reader<'a>,
    at: u64,
    next_number: u64,
    holes_skipped: bool,
}

enum Reader<'a> {
    Block {
        source: &'a BlockSource,
        data: Option<Range<u64>>,
        dense: bool,
    },
    /// Extents of whole blocks, rising; the next one is the first.
    Changes {
        source: &'a BlockSource,
        extents: VecDeque<Range<u64>>,
    },
    Stream {
        source: &'a mut StreamSource,
        ended: bool,
    },
    Diff {
        source: &'a mut StreamSource,
        patches: Patches,
    },
}

impl<'a> Feed<'a> {
    /// `size_before` is that of the parent.
    ///
    /// # Errors
    /// Where a diff does not begin as one; `Cancelled` while it is waited for.
    pub(super) fn new(
        source: &'a mut Source,
        block_size: u32,
        size_before: u64,
        window: u64,
        control: &'a Control,
    ) -> Result<Self> {
        let block_size = u64::from(block_size);
        let source = match source {
            Source::Block(source) => Reader::Block { source, data: None, dense: false },
            Source::Stream(source) => Reader::Stream { source, ended: false },
            Source::Changes { source, extents, .. } => {
                let extents = changes::rounded(extents, block_size, size_before, source.size_bytes());
                Reader::Changes { source, extents: extents.into() }
            }
            Source::Diff { stream, from, to, .. } => {
                let check = || control.check();
                let diff = RbdDiff::open(&mut Incoming { stream, check: &check })?;
                let snapshot = match from {
                    DiffFrom::Nothing => None,
                    DiffFrom::Revision { snapshot, .. } => Some(snapshot.as_str()),
                };
                diff.head().require(snapshot, to)?;
                let piece_len = PIECE_LEN.max(block_size);
                let patches = Patches::new(diff, size_before, block_size, piece_len, snapshot.is_none());
                Reader::Diff { source: stream, patches }
            }
        };
        let size_after = match &source {
            Reader::Block { source, .. } | Reader::Changes { source, .. } => source.size_bytes(),
            Reader::Diff { patches, .. } => patches.size_bytes(),
            Reader::Stream { .. } => 0,
        };
        let state = State { source, at: 0, next_number: 0, holes_skipped: false };
        Ok(Self {
            state: Mutex::new(state),
            written: Mutex::new(0),
            room: Condvar::new(),
            stopped: AtomicBool::new(false),
            read_micros: AtomicU64::new(0),
            window,
            cache: CacheGuard::default(),
            control,
            block_size,
            size_after,
        })
    }

    /// Bytes that a buffer for [`Feed::next`] must have.
    pub(super) fn piece_len(&self) -> usize {
        usize::try_from(PIECE_LEN.max(self.block_size)).unwrap_or(usize::MAX)
    }

    /// The next piece, its bytes in `buffer`; `None` at the end. Waits while the window is full.
    pub(super) fn next(&self, buffer: &mut AlignedBuffer) -> Result<Option<Piece>> {
        let mut state = lock(&self.state);
        self.wait_for_room(state.next_number);
        self.check()?;
        let begun = Instant::now();
        let Some(Plan { first_block, content, to_read }) = state.plan(self, buffer)? else {
            return Ok(None);
        };
        if to_read.is_none() {
            self.note_read_time(begun);
        }
        let number = state.next_number;
        state.next_number += 1;
        let read_bytes = content.read_bytes();
        if self.control.is_yielding() && read_bytes > 0 {
            // Under the lock, so that it is one pace for all threads, however many there are.
            std::thread::sleep(self.pause());
        }
        if read_bytes > 0 {
            // A stream's bytes are there already; what waits for them is then the next read. Under the lock, too.
            self.control.keep_pace(read_bytes, &|| self.check())?;
        }
        drop(state);
        if let (Content::Bytes(len), Some((source, offset))) = (&content, to_read) {
            let begun = Instant::now();
            let into = buffer.as_mut_slice().get_mut(..*len).unwrap_or(&mut []);
            source.read(into, offset, &self.cache)?;
            self.note_read_time(begun);
        }
        Ok(Some(Piece { number, first_block, content }))
    }

    /// Whether a diff says all that there is, so that what is done of it is a share of the image.
    pub(super) fn is_whole_diff(&self) -> bool {
        matches!(&lock(&self.state).source, Reader::Diff { patches, .. } if patches.is_whole())
    }

    /// Bytes of the image afterwards; 0 for a stream, which does not tell.
    pub(super) fn size_after(&self) -> u64 {
        self.size_after
    }

    /// Called by the writer: all pieces below this number are dealt with.
    pub(super) fn written(&self, below: u64) {
        *lock(&self.written) = below;
        self.room.notify_all();
    }

    /// Makes every thread's next call fail.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Whoever saw the flag unset under the lock waits by now and is woken.
        drop(lock(&self.written));
        self.room.notify_all();
    }

    /// Bytes of the source and whether holes were skipped, once everything was handed out.
    pub(super) fn totals(&self) -> (u64, bool) {
        let state = lock(&self.state);
        (state.at, state.holes_skipped)
    }

    fn pause(&self) -> Duration {
        let last = Duration::from_micros(self.read_micros.load(Ordering::Relaxed));
        (last * YIELD_FACTOR).clamp(YIELD_MIN, YIELD_MAX)
    }

    fn note_read_time(&self, begun: Instant) {
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.read_micros.store(micros, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Cancelled) } else { self.control.check() }
    }

    fn wait_for_room(&self, number: u64) {
        let mut written = lock(&self.written);
        while !self.is_stopped() && number >= *written + self.window {
            written = self.room.wait(written).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A piece, and where to read it from if that is still to be done.
struct Plan<'a> {
    first_block: u64,
    content: Content,
    to_read: Option<(&'a BlockSource, u64)>,
}

impl<'a> State<'a> {
    fn plan(&mut self, feed: &Feed<'a>, buffer: &mut AlignedBuffer) -> Result<Option<Plan<'a>>> {
        let (block_size, piece_len) = (feed.block_size, feed.piece_len() as u64);
        let first_block = self.at / block_size;
        match &mut self.source {
            Reader::Stream { ended: true, .. } => Ok(None),
            // A stream is read in order by nature, so the lock is what makes threads take turns.
            Reader::Stream { source, ended } => {
                let len = source.read(buffer.as_mut_slice(), &|| feed.check())?;
                *ended = len < buffer.as_slice().len();
                self.at += len as u64;
                Ok((len > 0).then_some(Plan { first_block, content: Content::Bytes(len), to_read: None }))
            }
            Reader::Block { source, data, dense } => {
                let source = *source;
                let (at, size) = (self.at, source.size_bytes());
                if at >= size {
                    return Ok(None);
                }
                let range = next_data(source, data, dense, at);
                self.holes_skipped |= !*dense;
                let data_start = range.start / block_size * block_size;
                if data_start > at {
                    let end = if range.start >= size { size } else { data_start };
                    self.at = end;
                    let blocks = at / block_size..end.div_ceil(block_size);
                    let content = Content::Hole { blocks, len: end - at };
                    return Ok(Some(Plan { first_block, content, to_read: None }));
                }
                let data_end = range.end.next_multiple_of(block_size).min(size);
                let end = data_end.min((at / piece_len + 1) * piece_len);
                self.at = end;
                let len = usize::try_from(end - at).unwrap_or(0);
                Ok(Some(Plan { first_block, content: Content::Bytes(len), to_read: Some((source, at)) }))
            }
            Reader::Changes { source, extents } => {
                let source = *source;
                let Some(extent) = extents.front_mut() else {
                    self.at = source.size_bytes();
                    return Ok(None);
                };
                let at = extent.start;
                let end = extent.end.min((at / piece_len + 1) * piece_len);
                extent.start = end;
                if extent.is_empty() {
                    extents.pop_front();
                }
                let content = Content::Bytes(usize::try_from(end - at).unwrap_or(0));
                Ok(Some(Plan { first_block: at / block_size, content, to_read: Some((source, at)) }))
            }
            Reader::Diff { source, patches } => {
                let check = || feed.check();
                let mut incoming = Incoming { stream: source, check: &check };
                let (first_block, content) = match patches.next(&mut incoming, buffer.as_mut_slice())? {
                    Some(Patch::Hole(blocks)) => {
                        let end = (blocks.end * block_size).min(patches.size_bytes());
                        let len = end - blocks.start * block_size;
                        (blocks.start, Content::Hole { blocks, len })
                    }
                    Some(Patch::Bytes { first_block, covered, also, .. }) => {
                        (first_block, Content::Patch { covered, also })
                    }
                    None => {
                        self.at = patches.size_bytes();
                        return Ok(None);
                    }
                };
                Ok(Some(Plan { first_block, content, to_read: None }))
            }
        }
    }
}

/// A diff as it comes in.
struct Incoming<'a, 'b> {
    stream: &'a mut StreamSource,
    check: &'b dyn Fn() -> Result<()>,
}

impl Input for Incoming<'_, '_> {
    type Error = Error;

    fn fill(&mut self, into: &mut [u8]) -> Result<usize> {
        self.stream.read(into, self.check)
    }
}

/// The stretch of data at or after `at`; begins at the size where only a hole is left.
fn next_data(source: &BlockSource, data: &mut Option<Range<u64>>, dense: &mut bool, at: u64) -> Range<u64> {
    let size = source.size_bytes();
    if let Some(known) = data.as_ref().filter(|known| at < known.end) {
        return known.clone();
    }
    let found = match source.data_after(at) {
        _ if *dense => at..size,
        Ahead::Data(range) => range,
        // The end rounded up, so that a hole in a short last block is one of whole blocks, too.
        Ahead::Hole => size.next_multiple_of(1 << 22)..u64::MAX / 2,
        Ahead::Unknown => {
            *dense = true;
            at..size
        }
    };
    *data = Some(found.clone());
    found
}
