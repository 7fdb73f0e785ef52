//! What a long job tells while it runs, and how it is asked to stop.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading the source.
    Reading,
    /// Making what was read durable.
    Sealing,
    /// Writing the target.
    Writing,
    /// Making what was written durable.
    Syncing,
    /// Finding out which records are still needed.
    Marking,
    /// Freeing those that are not.
    Sweeping,
    /// Comparing what is stored with the source.
    Comparing,
    /// Verifying what is stored.
    Scrubbing,
    /// Seeking copies of what is damaged.
    Recovering,
    /// Reading back what was written.
    Verifying,
    /// Nothing more.
    Done,
}

const PHASES: [Phase; 11] = [
    Phase::Reading,
    Phase::Sealing,
    Phase::Writing,
    Phase::Syncing,
    Phase::Marking,
    Phase::Sweeping,
    Phase::Comparing,
    Phase::Scrubbing,
    Phase::Recovering,
    Phase::Verifying,
    Phase::Done,
];
const UNKNOWN: u64 = u64::MAX;
/// What was not read in time may be read faster later, but not more than this much of it: a job that waited
/// for its store or passed over holes must not strain the source afterwards.
const CREDIT: Duration = Duration::from_millis(250);
/// So soon a job that waits for its turn hears that it is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// Counters that one thread reads while others work. All relaxed: they inform, nothing more.
#[derive(Debug, Default)]
pub struct Control {
    cancelled: AtomicBool,
    yielding: AtomicBool,
    pace: Mutex<Option<Pace>>,
    phase: AtomicU8,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    read_bytes: AtomicU64,
    stored_bytes: AtomicU64,
}

/// How fast the source may be read.
#[derive(Debug)]
struct Pace {
    bytes_a_second: NonZeroU64,
    /// When all that was asked for may have been read.
    due: Instant,
}

/// A look at a [`Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of the image that are dealt with, holes included; of a collect, of map pages and then
    /// of segments; of a scrub, of segments.
    pub done_bytes: u64,
    /// Bytes of all there is to do, where that is known.
    pub total_bytes: Option<u64>,
    /// Bytes read from the source or the store.
    pub read_bytes: u64,
    /// Bytes written to the store or the target.
    pub stored_bytes: u64,
}

impl Control {
    /// Asks the job to stop soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// To be asked between steps.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Whether the job should leave the machine to others: a backup reads at a walking pace while this is
    /// set. It goes on in any case.
    pub fn set_yielding(&self, yielding: bool) {
        self.yielding.store(yielding, Ordering::Relaxed);
    }

    pub(crate) fn is_yielding(&self) -> bool {
        self.yielding.load(Ordering::Relaxed)
    }

    /// From now on the source is read at so many bytes a second at most, by all threads together. Only
    /// backups know how.
    pub fn limit_rate(&self, bytes_a_second: NonZeroU64) {
        let pace = Pace { bytes_a_second, due: Instant::now() };
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = Some(pace);
    }

    /// Waits until `bytes` more may have been read, however many threads ask: so many seconds as all bytes
    /// that were asked for take at the limit. Without a limit it does not wait.
    ///
    /// # Errors
    /// What `check` says, which is asked again and again.
    pub(crate) fn keep_pace(&self, bytes: u64, check: &dyn Fn() -> Result<()>) -> Result<()> {
        let Some(due) = self.due_after(bytes) else { return Ok(()) };
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            check()?;
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// When `bytes` more may have been read; `None` without a limit.
    fn due_after(&self, bytes: u64) -> Option<Instant> {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = pace.as_mut()?;
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(pace.bytes_a_second.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let earliest = Instant::now().checked_sub(CREDIT).map_or(pace.due, |credit| pace.due.max(credit));
        pace.due = earliest.checked_add(takes).unwrap_or(earliest);
        Some(pace.due)
    }

    /// The counters now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let total = self.total_bytes.load(Ordering::Relaxed);
        Progress {
            phase: PHASES
                .get(usize::from(self.phase.load(Ordering::Relaxed)))
                .copied()
                .unwrap_or(Phase::Done),
            done_bytes: self.done_bytes.load(Ordering::Relaxed),
            total_bytes: (total != UNKNOWN).then_some(total),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        let code = PHASES.iter().position(|&known| known == phase).unwrap_or(0);
        self.phase.store(u8::try_from(code).unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn set_total(&self, total_bytes: Option<u64>) {
        self.total_bytes.store(total_bytes.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    pub(crate) fn set_done(&self, done_bytes: u64) {
        self.done_bytes.store(done_bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_done(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_stored(&self, bytes: u64) {
        self.stored_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_stored(&self, bytes: u64) {
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Worker threads of a job; `asked` is 0 where nobody asked for a number. Then it is two a core: while
/// one waits for a device, another computes. Each has buffers of its own, so no more than 12 wait, and
/// no more than 16 compute.
#[must_use]
pub fn threads(asked: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(16);
    if asked > 0 { asked } else { (2 * cores).min(cores.max(12)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_takes_its_time_and_a_wait_earns_little() {
        let control = Control::default();
        control.keep_pace(u64::MAX, &|| Ok(())).unwrap();
        let begun = Instant::now();
        control.limit_rate(NonZeroU64::new(1_000_000).unwrap());
        for _ in 0..10 {
            control.keep_pace(10_000, &|| Ok(())).unwrap();
        }
        assert!(begun.elapsed() >= Duration::from_millis(100));
        std::thread::sleep(CREDIT * 2);
        let before = Instant::now();
        let due = control.due_after(1_000_000).unwrap();
        assert!(due >= before + Duration::from_secs(1) - CREDIT, "a second's worth, less the credit");
    }

    #[test]
    fn a_wait_without_an_end_hears_a_cancel() {
        let control = Control::default();
        control.limit_rate(NonZeroU64::MIN);
        control.cancel();
        let waited = control.keep_pace(u64::MAX, &|| control.check());
        assert!(matches!(waited, Err(Error::Cancelled)));
    }
}
