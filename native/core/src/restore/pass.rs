//! The work of one thread: takes a piece of the plan, decodes what it needs, and writes it.

use std::ops::Range;

use crate::bits::is_zero;
use crate::error::{Error, Result};
use crate::source::AlignedBuffer;

use super::copies::{has_digest, part_of};
use super::plan::{PIECE_LEN, Plan, Slot, Work};
use super::{Job, Restored};

/// What a thread works with.
pub(super) struct Scratch {
    ours: AlignedBuffer,
    /// As the target has it; only where it is compared.
    theirs: AlignedBuffer,
}

impl Scratch {
    pub(super) fn new(job: &Job<'_>) -> Self {
        let len = usize::try_from(Plan::span_max(job.image)).unwrap_or(0);
        let theirs_len = if job.compares() || job.options.verify { len } else { 0 };
        Self { ours: AlignedBuffer::new(len), theirs: AlignedBuffer::new(theirs_len) }
    }
}

impl Job<'_> {
    /// Deals with one piece; `number` is its place in the order of the plan.
    pub(super) fn deal_with(
        &self,
        work: Work,
        number: u64,
        scratch: &mut Scratch,
        sum: &mut Restored,
    ) -> Result<()> {
        match work {
            Work::Lost(lost) if self.target.is_stream() => {
                let error = lost.error;
                self.note_lost(super::DamagedPart {
                    image_offset: lost.image_offset,
                    target_offset: lost.target_offset,
                    len: lost.len,
                    kept: false,
                });
                if !self.options.keep_going {
                    return Err(error);
                }
                self.in_turn(number, || {
                    let end = lost.target_offset + lost.len;
                    self.target.zero(lost.target_offset..end, &mut Restored::default())
                })
            }
            Work::Lost(lost) => {
                self.control.add_done(lost.len);
                self.note(|damage| damage.add_lost(lost));
                Ok(())
            }
            Work::Zeros { offset, len } => {
                let range = offset..offset + len;
                if self.compares() {
                    self.zero_what_is_not(range, scratch, sum)?;
                } else {
                    self.begin_writing()?;
                    self.in_turn(number, || self.target.zero(range, sum))?;
                }
                self.control.add_done(len);
                Ok(())
            }
            Work::Blocks { slots, .. } if self.compares() => self.write_what_differs(&slots, scratch, sum),
            Work::Blocks { slots, twins } => self.write_all(&slots, &twins, number, scratch, sum),
        }
    }

    fn in_turn(&self, number: u64, write: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.target.is_stream() {
            return write();
        }
        self.turn.wait_for(number)?;
        write()?;
        self.turn.pass_on();
        Ok(())
    }

    /// Decodes the wanted part of a block straight into place, unless others want it, too, or only a
    /// part of it is wanted.
    fn decode(&self, slot: &Slot, into: &mut [u8]) -> Result<()> {
        let (records, geometry) = (self.image.records(), self.image.geometry());
        let is_whole = slot.is_whole(geometry);
        self.control.add_read(u64::from(slot.len));
        if is_whole && !(slot.repeats && self.compares()) {
            return records.block_into(&slot.pointer, into);
        }
        let len = geometry.len_of(crate::units::BlockIndex(slot.block)) as usize;
        let block = records.block(&slot.pointer, len)?;
        into.copy_from_slice(part_of(slot, &block)?);
        Ok(())
    }

    fn write_all(
        &self,
        slots: &[Slot],
        twins: &[(u64, Slot)],
        number: u64,
        scratch: &mut Scratch,
        sum: &mut Restored,
    ) -> Result<()> {
        let start = slots.first().map_or(0, |slot| slot.target_offset);
        let buffer = scratch.ours.as_mut_slice();
        let mut runs = Runs::default();
        for slot in slots {
            let into = part_mut(buffer, start, slot);
            let twins_of = || twins.iter().filter(|twin| twin.0 == slot.target_offset).map(|twin| twin.1);
            match self.decode(slot, into) {
                Ok(()) => {
                    runs.add(slot.target_offset..slot.end());
                    for twin in twins_of() {
                        self.control.check()?;
                        self.begin_writing()?;
                        self.target.write(into, twin.target_offset)?;
                        sum.written_bytes += into.len() as u64;
                        self.control.add_done(into.len() as u64);
                        self.control.add_stored(into.len() as u64);
                    }
                }
                Err(error) if error.is_unreadable() && self.target.is_stream() => {
                    self.replace_in_stream(slot, error, into)?;
                    runs.add(slot.target_offset..slot.end());
                }
                Err(error) if error.is_unreadable() => {
                    let others: Vec<_> = twins_of().collect();
                    self.note(|damage| {
                        damage.add(*slot, error);
                        others.into_iter().for_each(|twin| damage.add_twin(twin));
                    });
                }
                Err(error) => return Err(error),
            }
        }
        self.in_turn(number, || self.write_runs(&runs, buffer, start, sum))?;
        self.control.add_done(slots.iter().map(|slot| u64::from(slot.len)).sum());
        Ok(())
    }

    fn write_what_differs(&self, slots: &[Slot], scratch: &mut Scratch, sum: &mut Restored) -> Result<()> {
        let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return Ok(()) };
        let (start, len) = (first.target_offset, last.end() - first.target_offset);
        let Scratch { ours, theirs } = scratch;
        let theirs = theirs.as_mut_slice().get_mut(..usize::try_from(len).unwrap_or(0)).unwrap_or(&mut []);
        let is_readable = self.read_target(theirs, start)?;
        let ours = ours.as_mut_slice();
        let mut runs = Runs::default();
        let mut put_back = 0;
        for slot in slots {
            let there = part_mut(theirs, start, slot);
            sum.compared_bytes += u64::from(slot.len);
            let is_whole = slot.is_whole(self.image.geometry());
            let into = part_mut(ours, start, slot);
            if is_whole && is_readable && has_digest(there, &slot.pointer.digest) {
                if self.is_away(slot) {
                    into.copy_from_slice(there);
                    runs.add(slot.target_offset..slot.end());
                    put_back += u64::from(slot.len);
                }
                continue;
            }
            match self.decode(slot, into) {
                Ok(()) if into == there && is_readable && !self.is_away(slot) => {}
                Ok(()) => runs.add(slot.target_offset..slot.end()),
                Err(error) if error.is_unreadable() => self.note(|damage| damage.add(*slot, error)),
                Err(error) => return Err(error),
            }
        }
        self.write_runs(&runs, ours, start, sum)?;
        // What only was away for a while is no change.
        sum.written_bytes -= put_back;
        self.control.add_done(len);
        Ok(())
    }

    fn write_runs(&self, runs: &Runs, buffer: &[u8], start: u64, sum: &mut Restored) -> Result<()> {
        for run in &runs.0 {
            self.begin_writing()?;
            let bytes = within(start, run).and_then(|range| buffer.get(range)).ok_or(Error::Worker)?;
            self.target.write(bytes, run.start)?;
            sum.written_bytes += bytes.len() as u64;
            self.control.add_stored(bytes.len() as u64);
        }
        Ok(())
    }

    /// Reads what should be zeros, and makes zeros of what is not.
    fn zero_what_is_not(&self, range: Range<u64>, scratch: &mut Scratch, sum: &mut Restored) -> Result<()> {
        sum.compared_bytes += range.end - range.start;
        self.each_not_zero(range, scratch, &mut |dirty| {
            self.begin_writing()?;
            self.target.zero(dirty, sum)
        })
    }

    /// The parts of a range, in blocks, that are not all zeros on the target.
    fn each_not_zero(
        &self,
        range: Range<u64>,
        scratch: &mut Scratch,
        then: &mut dyn FnMut(Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let block_size = u64::from(self.image.geometry().block_size());
        let mut at = range.start;
        while let Some(data) = self.target.data_after(at, range.end) {
            at = data.start;
            while at < data.end {
                self.control.check()?;
                let end = (at / PIECE_LEN + 1).saturating_mul(PIECE_LEN).min(data.end);
                let len = usize::try_from(end - at).unwrap_or(0);
                let bytes = scratch.theirs.as_mut_slice().get_mut(..len).unwrap_or(&mut []);
                let is_readable = self.read_target(bytes, at)?;
                let mut runs = Runs::default();
                let mut start = at;
                while start < end {
                    let stop = (start / block_size + 1).saturating_mul(block_size).min(end);
                    let part = within(at, &(start..stop)).and_then(|part| bytes.get(part)).unwrap_or(&[]);
                    if !is_readable || !is_zero(part) {
                        runs.add(start..stop);
                    }
                    start = stop;
                }
                runs.0.into_iter().try_for_each(&mut *then)?;
                at = end;
            }
        }
        Ok(())
    }

    /// Whether a slot belongs to the head, which was taken away.
    fn is_away(&self, slot: &Slot) -> bool {
        slot.target_offset < self.head_len && self.target.earlier_head().is_some()
    }

    /// What is on the target, with the head as it was before it was taken away. False where its medium
    /// does not give it, which writing may mend.
    fn read_target(&self, into: &mut [u8], offset: u64) -> Result<bool> {
        match self.target.read_as_before(into, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.is_unreadable() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads back what one piece should have put there. Gives the parts that are otherwise.
    pub(super) fn read_back(
        &self,
        work: &Work,
        scratch: &mut Scratch,
        otherwise: &mut dyn FnMut(Range<u64>),
    ) -> Result<u64> {
        match work {
            Work::Lost(lost) => {
                self.control.add_done(lost.len);
                Ok(0)
            }
            Work::Zeros { offset, len } => {
                self.each_not_zero(*offset..offset + len, scratch, &mut |range| {
                    otherwise(range);
                    Ok(())
                })?;
                self.control.add_done(*len);
                Ok(*len)
            }
            Work::Blocks { slots, .. } => {
                let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return Ok(0) };
                let (start, len) = (first.target_offset, last.end() - first.target_offset);
                let Scratch { ours, theirs } = scratch;
                let len = usize::try_from(len).unwrap_or(0);
                let theirs = theirs.as_mut_slice().get_mut(..len).unwrap_or(&mut []);
                self.target.read(theirs, start)?;
                let mut checked = 0;
                for slot in slots.iter().filter(|slot| !self.is_damaged(slot.target_offset)) {
                    let there = part_mut(theirs, start, slot);
                    let is_right = if slot.is_whole(self.image.geometry()) {
                        has_digest(there, &slot.pointer.digest)
                    } else {
                        let into = part_mut(ours.as_mut_slice(), start, slot);
                        match self.decode(slot, into) {
                            Ok(()) => into == there,
                            // It was found elsewhere, and only by a digest of all of it.
                            Err(error) if error.is_unreadable() => continue,
                            Err(error) => return Err(error),
                        }
                    };
                    if !is_right {
                        otherwise(slot.target_offset..slot.end());
                    }
                    checked += u64::from(slot.len);
                }
                self.control.add_done(len as u64);
                Ok(checked)
            }
        }
    }
}

/// Stretches of the target that are written at once.
#[derive(Default)]
struct Runs(Vec<Range<u64>>);

impl Runs {
    fn add(&mut self, range: Range<u64>) {
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }
}

/// A stretch of the target as indexes into a buffer that begins at `start` of it.
fn within(start: u64, range: &Range<u64>) -> Option<Range<usize>> {
    let index = |offset: u64| usize::try_from(offset.checked_sub(start)?).ok();
    Some(index(range.start)?..index(range.end)?)
}

fn part_mut<'a>(buffer: &'a mut [u8], start: u64, slot: &Slot) -> &'a mut [u8] {
    within(start, &(slot.target_offset..slot.end()))
        .and_then(|range| buffer.get_mut(range))
        .unwrap_or(&mut [])
}
