//! Writing a revision, or a part of it, to where it is needed, straight from the store, with all
//! cores.
//!
//! Zeros are not written where a hole will do: a new file is extended, and a device is asked to
//! zero the range. Nothing is assumed of what stands on a target. Its first block, the head, is
//! taken away before anything else is changed and written last, when all the rest is on stable
//! storage: what is half restored is mistaken by nobody for a whole disk. Done means synced.
//!
//! A differential restore reads the target first, proves by digest what is right already, and
//! writes the rest. It goes on with a restore that was stopped, too.
//!
//! A block that cannot be read stops nothing before copies of it were sought ([`Copies`]); with
//! `keep_going` not even then.

mod copies;
mod pass;
mod plan;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::image::Image;
use crate::job::{Control, Phase, threads};
use crate::window::Window;

use copies::part_of;
use pass::Scratch;
use plan::{Cut, Lost, Plan, Slot, Work};
use turn::Turn;

pub use copies::{Copies, Origin};
pub use table::run_table;
pub use target::{Identity, Target};

/// Bytes of a target that are written last, unless a block is larger: they hold the partition table, and
/// the superblocks of file systems, of which that of btrfs lies farthest, at 64 KiB. ZFS and md may have
/// theirs elsewhere.
const HEAD_LEN: u64 = 128 * 1024;
/// Zeros that are asked for at once, so that a cancel is heard.
const ZERO_LEN: u64 = 1024 * 1024 * 1024;
/// Zeros that are read at once.
const ZERO_LEN_READ: u64 = 16 * 1024 * 1024;
/// Damaged blocks that are remembered before copies of them are sought.
const DAMAGE_MAX: usize = 64 * 1024;
/// Parts that a result lists.
const PARTS_MAX: usize = 64 * 1024;

/// How a restore is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Worker threads; 0 for two a core.
    pub threads: usize,
    /// Reads the target and writes what differs.
    pub differential: bool,
    /// Reads back what was written and compares it with the block map.
    pub verify: bool,
    /// Goes on where a block cannot be read and no copy is found.
    pub keep_going: bool,
    /// The target holds an earlier state of the image, so what is found nowhere is left there as it was;
    /// else it becomes zeros. Only where it is compared.
    pub keeps_lost: bool,
    /// Where intact copies of damaged blocks are sought.
    pub copies: Copies,
    /// Which part is written.
    pub stage: Stage,
}

/// Which part of the target a restore writes. A target that only its program can sync is written in two
/// restores: the head, when the program has confirmed all the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// All of it.
    #[default]
    Whole,
    /// All but the head, which is taken away.
    Body,
    /// Only the head.
    Head,
}

/// What a restore did, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Written.
    pub written_bytes: u64,
    /// Zeros that the target has without being told.
    pub skipped_bytes: u64,
    /// Zeros that the target was asked to make without their being written.
    pub discarded_bytes: u64,
    /// Read from the target and compared, holes included.
    pub compared_bytes: u64,
    /// Read back afterwards and found right.
    pub verified_bytes: u64,
    /// What the target has beyond the end.
    pub tail_bytes: u64,
    /// In that, the backup of a partition table of what stood there before.
    pub has_stale_table: bool,
    /// The kernel could not be made to look at the partitions anew.
    pub kernel_sees_old_table: bool,
    /// Bytes of damaged blocks that were found elsewhere.
    pub recovered: BTreeMap<Origin, u64>,
    /// What could not be read and was found nowhere, in rising order, merged where it touches.
    pub damaged: Vec<DamagedPart>,
    /// Bytes of all damaged parts, also of those that are too many to be listed.
    pub damaged_bytes: u64,
}

/// A part of the target that does not hold what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedPart {
    /// In the image.
    pub image_offset: u64,
    /// In the target.
    pub target_offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether the target has what stood there before, else zeros.
    pub kept: bool,
}

/// Writes what `window` shows of `image` to `target`. Many may run at once; nothing is locked.
///
/// # Errors
/// `Damaged` without `keep_going`, `Io` from the store; `Target`, `TargetTooSmall`,
/// `TargetDiffers` from a verification; `Cancelled`. A file that was made is then removed; a device
/// or a file that was there holds a part of the image, and no head.
pub fn run(
    image: &Image,
    window: &Window,
    mut target: Target,
    options: &Options,
    control: &Control,
) -> Result<Restored> {
    control.set_total(Some(window.size()));
    control.enter(Phase::Writing);
    let tail_bytes = target.prepare(window.size(), options.differential)?;
    let job = Job::new(image, window, &target, options, control);
    let restored = job.run();
    let restored = restored.map(|restored| {
        let has_stale_table = tail_bytes > 0 && target.ends_with_table();
        let kernel_sees_old_table = !target.show_partitions();
        control.enter(Phase::Done);
        Restored { tail_bytes, has_stale_table, kernel_sees_old_table, ..restored }
    });
    drop(job);
    restored.inspect_err(|_| target.discard())
}

/// What several threads share.
struct Job<'a> {
    image: &'a Image,
    window: &'a Window,
    target: &'a Target,
    options: &'a Options,
    control: &'a Control,
    head_len: u64,
    plan: Mutex<Planned<'a>>,
    turn: Turn,
    found: Mutex<Found>,
}

/// The plan, and who may go on with it.
struct Planned<'a> {
    plan: Plan<'a>,
    number: u64,
    is_done: bool,
    has_failed: bool,
}

/// What was found on the way.
#[derive(Default)]
struct Found {
    damage: Damage,
    parts: BTreeMap<u64, DamagedPart>,
    damaged_bytes: u64,
    recovered: BTreeMap<Origin, u64>,
}

/// What could not be read and was not sought elsewhere yet.
#[derive(Default)]
struct Damage {
    slots: Vec<Slot>,
    lost: Vec<Lost>,
    first: Option<(Slot, Error)>,
}

impl Damage {
    fn add(&mut self, slot: Slot, error: Error) {
        self.slots.push(slot);
        self.first.get_or_insert((slot, error));
    }

    /// Another place of a block that was added before.
    fn add_twin(&mut self, slot: Slot) {
        self.slots.push(slot);
    }

    fn add_lost(&mut self, lost: Lost) {
        self.lost.push(lost);
    }

    fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.lost.is_empty()
    }

    fn is_full(&self) -> bool {
        self.slots.len() + self.lost.len() >= DAMAGE_MAX
    }
}

impl<'a> Job<'a> {
    fn new(
        image: &'a Image,
        window: &'a Window,
        target: &'a Target,
        options: &'a Options,
        control: &'a Control,
    ) -> Self {
        let is_stream = target.is_stream();
        let compares = options.differential && !target.is_blank() && target.is_readable();
        let block_size = u64::from(image.geometry().block_size());
        let head_len = if is_stream { 0 } else { HEAD_LEN.max(block_size).min(window.size()) };
        let cut = Cut {
            zero_len: match (is_stream, compares) {
                (true, _) => plan::PIECE_LEN,
                (_, true) => ZERO_LEN_READ,
                _ => ZERO_LEN,
            },
            head_len,
            unites_twins: !is_stream && !compares,
        };
        let plan =
            Planned { plan: Plan::new(image, window, cut), number: 0, is_done: false, has_failed: false };
        Self {
            image,
            window,
            target,
            options,
            control,
            head_len,
            plan: Mutex::new(plan),
            turn: Turn::default(),
            found: Mutex::default(),
        }
    }

    /// Whether what stands on the target is read first.
    fn compares(&self) -> bool {
        self.options.differential && !self.target.is_blank() && self.target.is_readable()
    }

    fn run(&self) -> Result<Restored> {
        self.require_head()?;
        let mut restored = Restored::default();
        let head = match self.options.stage {
            Stage::Whole => {
                self.write_body(&mut restored)?;
                lock(&self.plan).plan.take_head()
            }
            Stage::Body => {
                // There may be nothing else to write.
                self.begin_writing()?;
                self.write_body(&mut restored)?;
                Vec::new()
            }
            Stage::Head => Plan::head_of(self.image, self.window, self.head_len)?,
        };
        if !head.is_empty() {
            self.control.enter(Phase::Syncing);
            self.target.sync_content()?;
            let mut scratch = Scratch::new(self);
            if self.compares() && self.target.earlier_head().is_none() {
                self.take_head_away_if_it_differs(&head, &mut scratch)?;
            }
            for work in head {
                self.deal_with(work, 0, &mut scratch, &mut restored)?;
            }
            self.settle()?;
        }
        if self.options.stage != Stage::Body {
            self.target.head_is_back();
        }
        self.control.enter(Phase::Syncing);
        self.target.sync()?;
        if self.options.verify && self.target.is_readable() {
            restored.verified_bytes = self.verify()?;
        }
        let found = std::mem::take(&mut *lock(&self.found));
        restored.recovered = found.recovered;
        restored.damaged_bytes = found.damaged_bytes;
        restored.damaged = merged(found.parts.into_values());
        Ok(restored)
    }

    fn write_body(&self, restored: &mut Restored) -> Result<()> {
        loop {
            self.add_up(restored, |job| job.work())?;
            self.settle()?;
            if lock(&self.plan).is_done {
                return Ok(());
            }
        }
    }

    /// Where nothing but the head differs it is taken away as a whole, too, so that it is never half of
    /// one and half of the other.
    fn take_head_away_if_it_differs(&self, head: &[Work], scratch: &mut Scratch) -> Result<()> {
        let mut differs = false;
        for work in head {
            self.read_back(work, scratch, &mut |_| differs = true)?;
        }
        if differs { self.begin_writing() } else { Ok(()) }
    }

    /// Looks before anything is changed whether there is a head to write last, where it may not be left
    /// out: else its loss would show when all the rest was overwritten.
    fn require_head(&self) -> Result<()> {
        if self.options.keep_going || self.target.is_stream() {
            return Ok(());
        }
        let geometry = self.image.geometry();
        let mut block = vec![0; geometry.block_size() as usize];
        for work in Plan::head_of(self.image, self.window, self.head_len)? {
            match work {
                Work::Zeros { .. } => {}
                Work::Lost(lost) => self.note(|damage| damage.add_lost(lost)),
                Work::Blocks { slots, .. } => {
                    for slot in slots {
                        let len = geometry.len_of(crate::units::BlockIndex(slot.block)) as usize;
                        let into = block.get_mut(..len).unwrap_or(&mut []);
                        match self.image.records().block_into(&slot.pointer, into) {
                            Err(error) if error.is_unreadable() => {
                                self.note(|damage| damage.add(slot, error));
                            }
                            other => other?,
                        }
                    }
                }
            }
        }
        let damage = std::mem::take(&mut lock(&self.found).damage);
        self.seek(damage, &mut |_, _, _| Ok(())).map(|_| self.control.enter(Phase::Writing))
    }

    /// Runs `work` on all threads. The first error is the cause; those of the others follow from it.
    fn add_up(&self, sum: &mut Restored, work: impl Fn(&Self) -> Result<Restored> + Sync) -> Result<()> {
        let threads = threads(self.options.threads);
        let joined = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(self))).collect();
            let joined = running.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Worker)));
            joined.collect::<Vec<_>>()
        });
        let mut outcome = Ok(());
        for part in joined {
            match (part, &outcome) {
                (Ok(part), _) => sum.add(&part),
                (Err(error), Ok(()) | Err(Error::Cancelled)) => outcome = Err(error),
                (Err(_), Err(_)) => {}
            }
        }
        outcome
    }

    fn work(&self) -> Result<Restored> {
        let _guard = self.turn.guard();
        let done = self.work_on();
        if done.is_err() {
            lock(&self.plan).has_failed = true;
            self.turn.give_up();
        }
        done
    }

    fn work_on(&self) -> Result<Restored> {
        let mut scratch = Scratch::new(self);
        let mut restored = Restored::default();
        while let Some((number, work)) = self.next()? {
            self.control.check()?;
            self.deal_with(work, number, &mut scratch, &mut restored)?;
        }
        Ok(restored)
    }

    fn next(&self) -> Result<Option<(u64, Work)>> {
        let has_to_settle = {
            let found = lock(&self.found);
            found.damage.is_full() || (!self.options.keep_going && !found.damage.is_empty())
        };
        if has_to_settle {
            return Ok(None);
        }
        let mut planned = lock(&self.plan);
        if planned.has_failed {
            return Err(Error::Cancelled);
        }
        let Some(work) = planned.plan.next()? else {
            planned.is_done = true;
            return Ok(None);
        };
        self.target.make_room(&planned.plan.take_stored_ahead())?;
        planned.number += 1;
        Ok(Some((planned.number - 1, work)))
    }

    /// Before anything is changed.
    fn begin_writing(&self) -> Result<()> {
        // The body's restore took it away.
        if self.options.stage == Stage::Head {
            return Ok(());
        }
        self.target.take_head_away(self.head_len)
    }

    fn note(&self, add: impl FnOnce(&mut Damage)) {
        add(&mut lock(&self.found).damage);
    }

    fn note_lost(&self, part: DamagedPart) {
        let found = &mut *lock(&self.found);
        found.damaged_bytes += part.len;
        // Damage comes in rising order, mostly, so parts grow at their ends.
        let has_room = found.parts.len() < PARTS_MAX;
        let before = found.parts.range_mut(..part.target_offset).next_back().map(|(_, before)| before);
        match before.filter(|before| before.touches(&part)) {
            Some(before) => before.len += part.len,
            None if has_room => {
                found.parts.insert(part.target_offset, part);
            }
            None => {}
        }
    }

    fn note_recovered(&self, origin: &Origin, len: usize) {
        *lock(&self.found).recovered.entry(origin.clone()).or_default() += len as u64;
    }

    fn is_damaged(&self, target_offset: u64) -> bool {
        let found = lock(&self.found);
        let part = found.parts.range(..=target_offset).next_back();
        part.is_some_and(|(_, part)| target_offset < part.target_offset + part.len)
    }

    /// Seeks copies of what could not be read; what is found nowhere is zeroed, or kept where the
    /// target holds an earlier state of it.
    fn settle(&self) -> Result<()> {
        let damage = std::mem::take(&mut lock(&self.found).damage);
        if damage.is_empty() {
            return Ok(());
        }
        let left = self.seek(damage, &mut |slot, block, origin| {
            self.note_recovered(origin, slot.len as usize);
            self.begin_writing()?;
            self.target.write(part_of(slot, block)?, slot.target_offset)
        })?;
        self.control.enter(Phase::Writing);
        for part in left {
            let DamagedPart { target_offset, len, kept, .. } = part;
            if kept {
                self.put_head_back(target_offset..target_offset + len)?;
            } else {
                self.begin_writing()?;
                self.target.zero(target_offset..target_offset + len, &mut Restored::default())?;
            }
            self.note_lost(part);
        }
        Ok(())
    }

    /// Hands copies that are found to `put`, and gives what is lost.
    fn seek(&self, damage: Damage, put: &mut copies::Put<'_>) -> Result<Vec<DamagedPart>> {
        let Damage { slots, lost, first } = damage;
        let copies = &self.options.copies;
        let left = copies::seek(copies, self.image, self.target, slots, self.control, put)?;
        let geometry = self.image.geometry();
        if !self.options.keep_going {
            if let (Some(slot), Some((_, error))) = (left.first(), first) {
                let (offset, len) = (slot.image_offset(geometry), slot.len.into());
                return Err(Error::Damaged { offset, len, source: Box::new(error) });
            }
            if let Some(Lost { image_offset, len, error, .. }) = lost.into_iter().next() {
                return Err(Error::Damaged { offset: image_offset, len, source: Box::new(error) });
            }
            return Ok(Vec::new());
        }
        let kept = self.compares() && self.options.keeps_lost;
        let slots =
            left.iter().map(|slot| (slot.image_offset(geometry), slot.target_offset, slot.len.into()));
        let lost = lost.iter().map(|lost| (lost.image_offset, lost.target_offset, lost.len));
        let part =
            |(image_offset, target_offset, len)| DamagedPart { image_offset, target_offset, len, kept };
        let mut parts: Vec<_> = slots.chain(lost).map(part).collect();
        parts.sort_unstable_by_key(|part| part.target_offset);
        Ok(parts)
    }

    /// What of a range stood in the head before it was taken away stands there again.
    fn put_head_back(&self, range: Range<u64>) -> Result<()> {
        let Some(head) = self.target.earlier_head() else { return Ok(()) };
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(head.len());
        let bytes = head.get(index(range.start)..index(range.end)).unwrap_or(&[]);
        if bytes.is_empty() { Ok(()) } else { self.target.write(bytes, range.start) }
    }

    /// A stream cannot be gone back in, so copies are sought at once.
    fn replace_in_stream(&self, slot: &Slot, error: Error, into: &mut [u8]) -> Result<()> {
        let mut put = |slot: &Slot, block: &[u8], origin: &Origin| {
            into.copy_from_slice(part_of(slot, block)?);
            self.note_recovered(origin, slot.len as usize);
            Ok(())
        };
        let copies = &self.options.copies;
        let left = copies::seek(copies, self.image, self.target, vec![*slot], self.control, &mut put)?;
        self.control.enter(Phase::Writing);
        let image_offset = slot.image_offset(self.image.geometry());
        let len = u64::from(slot.len);
        if left.is_empty() {
            return Ok(());
        }
        if !self.options.keep_going {
            return Err(Error::Damaged { offset: image_offset, len, source: Box::new(error) });
        }
        into.fill(0);
        let target_offset = slot.target_offset;
        self.note_lost(DamagedPart { image_offset, target_offset, len, kept: false });
        Ok(())
    }

    /// Reads the target again and compares it with what the map asks for.
    fn verify(&self) -> Result<u64> {
        self.control.enter(Phase::Verifying);
        self.control.set_done(0);
        self.target.forget_cached();
        let cut = Cut { zero_len: ZERO_LEN_READ, head_len: 0, unites_twins: false };
        let plan = Mutex::new(Plan::new(self.image, self.window, cut));
        let differing = Mutex::new((0u64, None::<u64>));
        let mut sum = Restored::default();
        self.add_up(&mut sum, |job| {
            let mut scratch = Scratch::new(job);
            let mut checked = Restored::default();
            loop {
                job.control.check()?;
                let Some(work) = lock(&plan).next()? else { return Ok(checked) };
                checked.verified_bytes += job.read_back(&work, &mut scratch, &mut |range: Range<u64>| {
                    let mut differing = lock(&differing);
                    differing.0 += range.end - range.start;
                    differing.1 = Some(differing.1.map_or(range.start, |first| first.min(range.start)));
                })?;
            }
        })?;
        let (bytes, first) = *lock(&differing);
        let Some(offset) = first else { return Ok(sum.verified_bytes) };
        Err(Error::TargetDiffers { path: self.target.path().to_owned(), offset, bytes })
    }
}

impl Restored {
    fn add(&mut self, other: &Self) {
        self.written_bytes += other.written_bytes;
        self.skipped_bytes += other.skipped_bytes;
        self.discarded_bytes += other.discarded_bytes;
        self.compared_bytes += other.compared_bytes;
        self.verified_bytes += other.verified_bytes;
    }
}

fn merged(parts: impl Iterator<Item = DamagedPart>) -> Vec<DamagedPart> {
    let mut merged: Vec<DamagedPart> = Vec::new();
    for part in parts {
        match merged.last_mut().filter(|last| last.touches(&part)) {
            Some(last) => last.len += part.len,
            None => merged.push(part),
        }
    }
    merged
}

impl DamagedPart {
    /// Whether `next` goes on where it ends.
    fn touches(&self, next: &Self) -> bool {
        self.kept == next.kept
            && self.target_offset + self.len == next.target_offset
            && self.image_offset + self.len == next.image_offset
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
