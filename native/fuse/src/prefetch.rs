//! Reading ahead: which readers go through a file from front to back, and threads that decode what
//! they will want next.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cairn_core::image::Image;
use crossbeam_channel::{Sender, TrySendError, bounded};

/// Blocks that may wait to be decoded. More would push out of the cache what nobody has read yet.
const QUEUE_LEN: usize = 128;

/// How far from the end of a run a read may lie and still belong to it: the kernel sends the requests
/// of one reader side by side and in any order.
const SLACK_BYTES: u64 = 1 << 20;

/// A run counts as sequential from this length on.
const RUN_BYTES_MIN: u64 = 256 << 10;

/// How far ahead of a reader blocks are decoded, at most; less at the beginning of a run.
const AHEAD_BYTES_MAX: u64 = 4 << 20;

/// Less than this is not worth another look.
const STEP_BYTES: u64 = 256 << 10;

/// A block to decode ahead of a reader.
pub(crate) struct Task {
    pub(crate) image: Arc<Image>,
    pub(crate) block: u64,
    /// Where in the reader's file the block ends.
    pub(crate) end: u64,
    /// Where the reader is, see [`Stream::reached`].
    pub(crate) reached: Arc<AtomicU64>,
}

impl Task {
    /// What cannot be decoded shows when it is read; so does a fault of the decoder. A reader that is
    /// here already decodes for himself: doing it twice was seen to cost two fifths of the time of all
    /// processors when they are busy.
    fn run(&self) {
        if self.reached.load(Ordering::Relaxed) < self.end {
            let _ = catch_unwind(AssertUnwindSafe(|| self.image.warm(self.block)));
        }
    }
}

/// Threads that decode blocks into the shared cache. They end when it is dropped.
pub(crate) struct Pool {
    queue: Sender<Task>,
}

impl Pool {
    /// # Errors
    /// Of the system, where it gives no thread.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let (queue, tasks) = bounded::<Task>(QUEUE_LEN);
        for index in 0..threads {
            let tasks = tasks.clone();
            let work = move || tasks.iter().for_each(|task| task.run());
            thread::Builder::new().name(format!("ahead-{index}")).spawn(work)?;
        }
        Ok(Self { queue })
    }

    /// Decodes a block soon; false where too much waits already.
    pub(crate) fn warm(&self, task: Task) -> bool {
        !matches!(self.queue.try_send(task), Err(TrySendError::Full(_)))
    }
}

/// What one open file was asked for so far.
#[derive(Default)]
pub(crate) struct Stream {
    run: Mutex<Run>,
    /// The end of the read that began last.
    reached: Arc<AtomicU64>,
}

#[derive(Default)]
struct Run {
    /// The furthest byte read.
    end: u64,
    /// Bytes read that moved the end on without a jump.
    len: u64,
    /// Up to where was read ahead.
    ahead: u64,
}

impl Stream {
    /// Follows the reader for as long as the file is open.
    pub(crate) fn reached(&self) -> Arc<AtomicU64> {
        self.reached.clone()
    }

    /// Notes that a read begins: what is to be decoded before its end comes too late.
    pub(crate) fn begin(&self, offset: u64, len: u64) {
        self.reached.store(offset.saturating_add(len), Ordering::Relaxed);
    }

    /// Notes a read of a file of `size` bytes that was answered; gives what is worth reading ahead now.
    pub(crate) fn note(&self, offset: u64, len: u64, size: u64) -> Option<Range<u64>> {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset.saturating_add(len);
        if offset > run.end.saturating_add(SLACK_BYTES) || end.saturating_add(SLACK_BYTES) < run.end {
            *run = Run { end, ..Run::default() };
            return None;
        }
        run.len += end.saturating_sub(run.end).min(len);
        run.end = run.end.max(end);
        if run.len < RUN_BYTES_MIN {
            return None;
        }
        let goal = run.end.saturating_add(run.len.min(AHEAD_BYTES_MAX)).min(size);
        let from = run.ahead.max(run.end);
        if goal < from.saturating_add(STEP_BYTES) && (goal < size || goal <= from) {
            return None;
        }
        run.ahead = goal;
        Some(from..goal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 30;
    const REQUEST: u64 = 128 << 10;

    #[test]
    fn a_reader_from_front_to_back_is_led_and_no_byte_is_asked_for_twice() {
        let stream = Stream::default();
        let mut covered = 0;
        for request in 0..SIZE / REQUEST {
            if let Some(ahead) = stream.note(request * REQUEST, REQUEST, SIZE) {
                assert!(ahead.start >= covered && ahead.start >= (request + 1) * REQUEST);
                assert!(ahead.end <= SIZE && ahead.end - (request + 1) * REQUEST <= AHEAD_BYTES_MAX);
                covered = ahead.end;
            }
        }
        assert_eq!(covered, SIZE);
    }

    #[test]
    fn requests_side_by_side_and_out_of_order_are_one_run() {
        let stream = Stream::default();
        let order = [1, 0, 3, 2, 5, 4, 7, 6];
        let found = order.iter().filter(|&&at| stream.note(at * REQUEST, REQUEST, SIZE).is_some()).count();
        assert!(found > 1);
    }

    #[test]
    fn a_reader_that_jumps_is_left_alone() {
        let stream = Stream::default();
        let mut at = 12_345u64;
        for _ in 0..1000 {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let offset = at % SIZE / 4096 * 4096;
            assert_eq!(stream.note(offset, 4096, SIZE), None);
        }
    }

    #[test]
    fn a_jump_ends_a_run() {
        let stream = Stream::default();
        for request in 0..16 {
            let _ = stream.note(request * REQUEST, REQUEST, SIZE);
        }
        assert_eq!(stream.note(SIZE / 2, REQUEST, SIZE), None);
        assert_eq!(stream.note(SIZE / 2 + REQUEST, REQUEST, SIZE), None);
    }
}
