//! The pass over the source: threads read, look for zeros, hash, compare and encode; the calling
//! thread puts their results in order, stores them and builds the map. Where one thread is asked
//! for, it is the calling one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::bits::is_zero;
use crate::codec::{self, Codec};
use crate::digest::{Context, Digest};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::job::{Control, Phase, threads};
use crate::manifest::{Consistency, Counters, Manifest};
use crate::map::{self, BlockPointer, MapRoot, Updater};
use crate::records::Records;
use crate::source::{AlignedBuffer, BlockSource, Witness};
use crate::units::SegmentId;
use crate::write::{EncodedBlock, Known, RecordWriter};

use super::feed::{Content, Feed, Piece};
use super::prefix::Prefixes;
use super::{Source, parent_map};

/// Pieces under way for each thread.
const WINDOW_PER_THREAD: u64 = 4;

/// What stays the same for every pass.
pub(super) struct Job<'a> {
    pub(super) disk: &'a Disk,
    pub(super) records: &'a Arc<Records>,
    pub(super) known: &'a Arc<Known>,
    pub(super) control: &'a Control,
    pub(super) threads: usize,
    /// Compare the bytes of what is stored already, not only its digests.
    pub(super) reads_back: bool,
}

/// What a pass gave: all of it sealed.
pub(super) struct Scanned {
    pub(super) size_bytes: u64,
    pub(super) map: MapRoot,
    pub(super) highest: SegmentId,
    pub(super) counters: Counters,
    /// A block that is new in the map is encoded against another one.
    pub(super) has_bases: bool,
    pub(super) consistency: Consistency,
    /// Sees writers to the source that can be read again.
    pub(super) witness: Option<Witness>,
    pub(super) holes_skipped: bool,
    pub(super) notes: Vec<String>,
}

/// What a thread found in a piece.
struct Findings {
    number: u64,
    len: u64,
    read_bytes: u64,
    zero_bytes: u64,
    changed_bytes: u64,
    hole: Option<Range<u64>>,
    changes: Vec<(u64, Change)>,
}

enum Change {
    Zero,
    Known(BlockPointer),
    New(EncodedBlock),
}

/// Reads all of the source, compares it with `parent`, stores what is new, and seals. After an error
/// the writer has given up what was not sealed and may be used for another pass.
pub(super) fn run(
    job: &Job<'_>,
    source: &mut Source,
    parent: Option<&Manifest>,
    writer: &mut RecordWriter,
) -> Result<Scanned> {
    pass(job, source, parent, writer).inspect_err(|_| writer.give_up())
}

fn pass(
    job: &Job<'_>,
    source: &mut Source,
    parent: Option<&Manifest>,
    writer: &mut RecordWriter,
) -> Result<Scanned> {
    let start = parent_map(job.disk, parent)?;
    let block_size = job.disk.file().block_size_bytes;
    let threads = threads(job.threads);
    job.control.set_total(source.size_bytes());
    job.control.set_done(0);
    job.control.enter(Phase::Reading);
    let witness = source.block().and_then(BlockSource::witness);
    let window = threads as u64 * WINDOW_PER_THREAD;
    let size_before = parent.map_or(0, |parent| parent.size_bytes);
    let feed = Feed::new(source, block_size, size_before, window, job.control)?;
    if feed.is_whole_diff() {
        job.control.set_total(Some(feed.size_after()));
    }
    let before = parent.map(|parent| Image::of(parent, Arc::clone(job.records))).transpose()?;
    let has_bases = AtomicBool::new(false);
    let worker = Worker {
        job,
        start: &start,
        before: before.as_ref(),
        feed: &feed,
        block_size,
        codec: job.disk.file().codec,
        prefixes: Prefixes::default(),
        has_bases: &has_bases,
    };
    let (mut counters, map, size_bytes) = in_order(&worker, threads, writer, start)?;
    let (_, holes_skipped) = feed.totals();
    job.control.enter(Phase::Sealing);
    let (consistency, notes) = look_back(source, witness.as_ref())?;
    writer.seal()?;
    counters.stored_bytes = writer.stored_bytes();
    job.control.set_stored(counters.stored_bytes);
    let highest = writer.highest();
    let has_bases = has_bases.into_inner();
    Ok(Scanned { size_bytes, map, highest, counters, has_bases, consistency, witness, holes_skipped, notes })
}

/// What can be said of the source after it was read.
fn look_back(source: &Source, witness: Option<&Witness>) -> Result<(Consistency, Vec<String>)> {
    let Some(block) = source.block() else { return Ok((Consistency::Live, Vec::new())) };
    let mut notes = block.notes().to_vec();
    if block.has_grown()? {
        notes.push(format!(
            "{} grew while it was read; the revision ends where it ended at the start",
            block.name().display()
        ));
    }
    let quiet = block.nothing_wrote(witness, false);
    Ok((if quiet { Consistency::Snapshot } else { Consistency::Live }, notes))
}

/// Runs the threads and takes their findings in the order of the disk.
fn in_order(
    worker: &Worker<'_, '_>,
    threads: usize,
    writer: &mut RecordWriter,
    start: MapRoot,
) -> Result<(Counters, MapRoot, u64)> {
    let mut updater = Updater::new(start, &**worker.job.records, writer)?;
    let counters = if worker.job.threads == 1 {
        take_alone(worker, &mut updater)?
    } else {
        take_from_threads(worker, threads, &mut updater)?
    };
    let (size_bytes, _) = worker.feed.totals();
    let map = updater.finish(size_bytes.div_ceil(u64::from(worker.block_size)))?;
    Ok((counters, map, size_bytes))
}

/// Does it all on this thread, in one order.
fn take_alone(worker: &Worker<'_, '_>, updater: &mut Updater<'_, Records, RecordWriter>) -> Result<Counters> {
    let mut counters = Counters::default();
    let mut buffer = AlignedBuffer::new(worker.feed.piece_len());
    while let Some(piece) = worker.feed.next(&mut buffer)? {
        let findings = worker.look_at(&piece, buffer.as_slice())?;
        settle(worker, updater, &findings, &mut counters)?;
        worker.feed.written(findings.number + 1);
    }
    worker.job.control.check()?;
    Ok(counters)
}

fn take_from_threads(
    worker: &Worker<'_, '_>,
    threads: usize,
    updater: &mut Updater<'_, Records, RecordWriter>,
) -> Result<Counters> {
    let (sender, receiver) = crossbeam_channel::bounded(threads * 2);
    std::thread::scope(|scope| {
        // A thread that waits in the feed would outlive a panic here, and the scope waits for it.
        let _guard = StopOnPanic(worker.feed);
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                let sender = sender.clone();
                scope.spawn(move || worker.run(&sender))
            })
            .collect();
        drop(sender);
        let taken = take(worker, &receiver, updater);
        worker.feed.stop();
        drop(receiver);
        let mut all_joined = true;
        for handle in handles {
            all_joined &= handle.join().is_ok();
        }
        // A thread that panics stops the feed, which the others tell as a cancel.
        if all_joined { taken } else { Err(Error::Worker) }
    })
}

fn take(
    worker: &Worker<'_, '_>,
    receiver: &Receiver<Result<Findings>>,
    updater: &mut Updater<'_, Records, RecordWriter>,
) -> Result<Counters> {
    let mut counters = Counters::default();
    let mut early = BTreeMap::new();
    let mut next = 0;
    for findings in receiver {
        let findings = findings?;
        early.insert(findings.number, findings);
        while let Some(findings) = early.remove(&next) {
            next += 1;
            settle(worker, updater, &findings, &mut counters)?;
        }
        worker.feed.written(next);
    }
    worker.job.control.check()?;
    if early.is_empty() { Ok(counters) } else { Err(Error::Worker) }
}

/// Enters what was found in a piece and counts it.
fn settle(
    worker: &Worker<'_, '_>,
    updater: &mut Updater<'_, Records, RecordWriter>,
    findings: &Findings,
    counters: &mut Counters,
) -> Result<()> {
    let cleared = enter(worker, updater, findings)?;
    counters.read_bytes += findings.read_bytes;
    counters.zero_bytes += findings.zero_bytes;
    counters.changed_bytes += findings.changed_bytes + cleared * u64::from(worker.block_size);
    let control = worker.job.control;
    control.add_done(findings.len);
    control.add_read(findings.read_bytes);
    control.set_stored(updater.sink().stored_bytes());
    Ok(())
}

/// Stores what is new in a piece and puts it in the map. Returns the blocks that a hole cleared.
fn enter(
    worker: &Worker<'_, '_>,
    updater: &mut Updater<'_, Records, RecordWriter>,
    findings: &Findings,
) -> Result<u64> {
    for (block, change) in &findings.changes {
        let pointer = match change {
            Change::Zero => None,
            Change::Known(pointer) => Some(*pointer),
            Change::New(new) => Some(updater.sink().write_block(new)?),
        };
        if pointer.is_some_and(|pointer| pointer.base.is_some()) {
            worker.has_bases.store(true, Ordering::Relaxed);
        }
        updater.set(*block, pointer)?;
    }
    findings.hole.clone().map_or(Ok(0), |blocks| updater.clear(blocks))
}

struct Worker<'a, 'b> {
    job: &'a Job<'a>,
    start: &'a MapRoot,
    /// The parent's image, which completes blocks of which only a part came.
    before: Option<&'a Image>,
    feed: &'a Feed<'b>,
    block_size: u32,
    codec: Codec,
    prefixes: Prefixes,
    has_bases: &'a AtomicBool,
}

/// Stops the feed when a thread panics, so that no other waits for its piece for ever.
struct StopOnPanic<'a, 'b>(&'a Feed<'b>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

impl Worker<'_, '_> {
    fn run(&self, sender: &Sender<Result<Findings>>) {
        let _guard = StopOnPanic(self.feed);
        let mut buffer = AlignedBuffer::new(self.feed.piece_len());
        loop {
            let findings = match self.feed.next(&mut buffer) {
                Ok(None) => return,
                Ok(Some(piece)) => self.look_at(&piece, buffer.as_slice()),
                Err(error) => Err(error),
            };
            let failed = findings.is_err();
            if sender.send(findings).is_err() || failed {
                return;
            }
        }
    }

    fn look_at(&self, piece: &Piece, buffer: &[u8]) -> Result<Findings> {
        let mut findings = Findings {
            number: piece.number,
            len: 0,
            read_bytes: 0,
            zero_bytes: 0,
            changed_bytes: 0,
            hole: None,
            changes: Vec::new(),
        };
        match &piece.content {
            Content::Hole { blocks, len } => {
                findings.len = *len;
                findings.zero_bytes = *len;
                findings.hole = self.start.root.map(|_| blocks.clone());
            }
            Content::Bytes(len) => {
                let bytes = buffer.get(..*len).unwrap_or(&[]);
                findings.len = bytes.len() as u64;
                findings.read_bytes = bytes.len() as u64;
                self.compare(piece.first_block, bytes, &mut findings)?;
            }
            Content::Patch { covered, also } => {
                findings.read_bytes = covered.iter().map(|range| range.len() as u64).sum();
                findings.len = findings.read_bytes;
                self.merge(piece.first_block, buffer, covered, *also, &mut findings)?;
            }
        }
        Ok(findings)
    }

    /// Looks at each block that a patch touches, what it leaves out taken from the parent.
    fn merge(
        &self,
        first_block: u64,
        buffer: &[u8],
        covered: &[Range<usize>],
        also: Option<u64>,
        findings: &mut Findings,
    ) -> Result<()> {
        let block_size = self.block_size as usize;
        let (size, start) = (self.feed.size_after(), first_block * u64::from(self.block_size));
        let mut blocks: Vec<usize> = covered
            .iter()
            .flat_map(|range| range.start / block_size..range.end.div_ceil(block_size))
            .chain(also.and_then(|block| usize::try_from(block - first_block).ok()))
            .collect();
        blocks.sort_unstable();
        blocks.dedup();
        let mut whole = Vec::new();
        for block in blocks {
            let within = block * block_size;
            let at = start + within as u64;
            let len = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX).min(block_size);
            whole.clear();
            whole.resize(len, 0);
            let parts = || {
                covered.iter().filter_map(|range| {
                    let part = range.start.max(within)..range.end.min(within + len);
                    (part.start < part.end).then_some(part)
                })
            };
            let is_whole = parts().map(|part| part.len()).sum::<usize>() == len;
            if let Some(before) = self.before.filter(|_| !is_whole) {
                before.read(&mut whole, at)?;
            }
            for part in parts() {
                let into = whole.get_mut(part.start - within..part.end - within);
                if let (Some(into), Some(bytes)) = (into, buffer.get(part)) {
                    into.copy_from_slice(bytes);
                }
            }
            self.compare(first_block + block as u64, &whole, findings)?;
        }
        Ok(())
    }

    fn compare(&self, first_block: u64, bytes: &[u8], findings: &mut Findings) -> Result<()> {
        let blocks = bytes.chunks(self.block_size as usize);
        let range = first_block..first_block + blocks.len() as u64;
        let parents = map::blocks(&**self.job.records, self.start, range.clone())?;
        for ((index, block), parent) in range.zip(blocks).zip(parents) {
            if is_zero(block) {
                findings.zero_bytes += block.len() as u64;
                if parent.is_some() {
                    findings.changed_bytes += block.len() as u64;
                    findings.changes.push((index, Change::Zero));
                }
                continue;
            }
            let digest = Digest::of(Context::Block, block);
            let is_changed = parent.is_none_or(|parent| parent.digest != digest);
            if is_changed {
                findings.changed_bytes += block.len() as u64;
            }
            let is_sound = match parent.filter(|_| !is_changed) {
                Some(parent) => self.job.known.is_sound(&parent) && self.reads_back(&parent, block)?,
                None => false,
            };
            if !is_sound {
                let before = parent.filter(|_| is_changed);
                findings.changes.push((index, self.change(digest, block, before.as_ref())?));
            }
        }
        Ok(())
    }

    /// How a block comes into the store that is not what the parent has there, or has no more.
    fn change(&self, digest: Digest, block: &[u8], before: Option<&BlockPointer>) -> Result<Change> {
        if let Some(pointer) = self.job.known.find(&digest)
            && self.reads_back(&pointer, block)?
        {
            return Ok(Change::Known(pointer));
        }
        let plain_len = u32::try_from(block.len()).unwrap_or(u32::MAX);
        let against = match before.filter(|_| self.codec == Codec::Zstd) {
            Some(before) => self.prefixes.encode(self.job.known, before, block)?,
            None => None,
        };
        let (codec, payload, base) = match against {
            Some((base, payload)) => (Codec::ZstdPrefix, payload, Some(base)),
            None => {
                let (codec, payload) = codec::encode(self.codec, block);
                (codec, payload, None)
            }
        };
        Ok(Change::New(EncodedBlock { digest, plain_len, codec, payload, base }))
    }

    /// Whether a record that is stored holds these bytes: taken for granted unless it was asked for.
    fn reads_back(&self, pointer: &BlockPointer, block: &[u8]) -> Result<bool> {
        thread_local! {
            static DECODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        if !self.job.reads_back {
            return Ok(true);
        }
        DECODED.with_borrow_mut(|buffer| self.job.known.reads_back(pointer, block, buffer))
    }
}
