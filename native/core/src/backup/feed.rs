//! Hands out work to the threads of a backup: which blocks to read next, which are a hole.
//!
//! Pieces are numbered in the order of the disk. No more than a window of them is under way beyond
//! what the writer has dealt with, so memory is bounded however fast or slow a thread is.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::job::Control;
use crate::source::{Ahead, AlignedBuffer, CacheGuard, PathSource, StreamSource};

use super::Source;

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
}

struct State<'a> {
    source: Reader<'a>,
    at: u64,
    next_number: u64,
    holes_skipped: bool,
}

enum Reader<'a> {
    Path { source: &'a PathSource, data: Option<Range<u64>>, dense: bool },
    Stream { source: &'a mut StreamSource, ended: bool },
}

impl<'a> Feed<'a> {
    pub(super) fn new(source: &'a mut Source, block_size: u32, window: u64, control: &'a Control) -> Self {
        let source = match source {
            Source::Path(source) => Reader::Path { source, data: None, dense: false },
            Source::Stream(source) => Reader::Stream { source, ended: false },
        };
        let state = State { source, at: 0, next_number: 0, holes_skipped: false };
        let block_size = u64::from(block_size);
        Self {
            state: Mutex::new(state),
            written: Mutex::new(0),
            room: Condvar::new(),
            stopped: AtomicBool::new(false),
            read_micros: AtomicU64::new(0),
            window,
            cache: CacheGuard::default(),
            control,
            block_size,
        }
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
        let first_block = state.at / self.block_size;
        let begun = Instant::now();
        let (content, to_read) = match state.plan(self, buffer)? {
            Some(plan) => plan,
            None => return Ok(None),
        };
        if to_read.is_none() {
            self.note_read_time(begun);
        }
        let number = state.next_number;
        state.next_number += 1;
        if self.control.is_yielding() && matches!(content, Content::Bytes(_)) {
            // Under the lock, so that it is one pace for all threads, however many there are.
            std::thread::sleep(self.pause());
        }
        if let Content::Bytes(len) = content {
            // A stream's bytes are there already; what waits for them is then the next read. Under the lock, too.
            self.control.keep_pace(len as u64, &|| self.check())?;
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
type Plan<'a> = (Content, Option<(&'a PathSource, u64)>);

impl<'a> State<'a> {
    fn plan(&mut self, feed: &Feed<'a>, buffer: &mut AlignedBuffer) -> Result<Option<Plan<'a>>> {
        let (block_size, piece_len) = (feed.block_size, feed.piece_len() as u64);
        match &mut self.source {
            Reader::Stream { ended: true, .. } => Ok(None),
            // A stream is read in order by nature, so the lock is what makes threads take turns.
            Reader::Stream { source, ended } => {
                let len = source.read(buffer.as_mut_slice(), &|| feed.check())?;
                *ended = len < buffer.as_slice().len();
                self.at += len as u64;
                Ok((len > 0).then_some((Content::Bytes(len), None)))
            }
            Reader::Path { source, data, dense } => {
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
                    return Ok(Some((Content::Hole { blocks, len: end - at }, None)));
                }
                let data_end = range.end.next_multiple_of(block_size).min(size);
                let end = data_end.min((at / piece_len + 1) * piece_len);
                self.at = end;
                let len = usize::try_from(end - at).unwrap_or(0);
                Ok(Some((Content::Bytes(len), Some((source, at)))))
            }
        }
    }
}

/// The stretch of data at or after `at`; begins at the size where only a hole is left.
fn next_data(source: &PathSource, data: &mut Option<Range<u64>>, dense: &mut bool, at: u64) -> Range<u64> {
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
