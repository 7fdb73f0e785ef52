//! Freeing what no revision needs: first by unlinking, then by writing segments anew.

use crate::bits::Bits;
use crate::condemned::Condemned;
use crate::disk::{Disk, DiskLock};
use crate::error::{AtPath, Error, Result};
use crate::io::TEMPORARY_SUFFIX;
use crate::job::{Control, Phase};
use crate::retire::with_room;
use crate::segment::{self, SegmentReader};
use crate::units::SegmentId;

use super::mark::Live;
use super::{CollectParams, Collected};

/// What is to be freed.
pub(super) struct Plan {
    condemned: Condemned,
    unlink: Vec<(SegmentId, u64)>,
    rewrite: Vec<Rewrite>,
}

struct Rewrite {
    id: SegmentId,
    before: u64,
    after: u64,
}

/// Compares what is live with what is there. Counts as if all of it were done.
///
/// # Errors
/// `Cancelled`, `Io`.
pub(super) fn plan(
    disk: &Disk,
    params: &CollectParams,
    mut live: Live,
    segments: &[SegmentId],
    highest: SegmentId,
    control: &Control,
    collected: &mut Collected,
) -> Result<Plan> {
    let mut plan = Plan { condemned: Condemned::default(), unlink: Vec::new(), rewrite: Vec::new() };
    for &id in segments {
        control.check()?;
        let outline = segment::outline(&**disk.files(), &disk.paths().segments(), id)?;
        collected.bytes_before += outline.file_len;
        let live = live.take(id);
        if id > highest || outline.count.is_some_and(|count| live.count() >= count) {
            continue;
        }
        if live.is_empty() {
            collected.records_condemned += u64::from(outline.count.unwrap_or(0));
            collected.bytes_dead += outline.file_len;
            plan.condemned.insert_whole(id);
            plan.unlink.push((id, outline.file_len));
        } else {
            plan.consider(disk, params, id, &live, outline.file_len, collected)?;
        }
    }
    // What needs least room first: each makes room for the next.
    plan.rewrite.sort_by_key(|rewrite| rewrite.after);
    let freed = plan.unlink.iter().map(|&(_, len)| len).sum::<u64>()
        + plan.rewrite.iter().map(|rewrite| rewrite.before - rewrite.after).sum::<u64>();
    collected.bytes_after = collected.bytes_before - freed;
    collected.segments_unlinked = plan.unlink.len() as u64;
    collected.segments_rewritten = plan.rewrite.len() as u64;
    Ok(plan)
}

impl Plan {
    /// A segment that is dead in part.
    fn consider(
        &mut self,
        disk: &Disk,
        params: &CollectParams,
        id: SegmentId,
        live: &Bits,
        file_len: u64,
        collected: &mut Collected,
    ) -> Result<()> {
        let opened = SegmentReader::open_with_entries(&**disk.files(), &disk.paths().segments(), id);
        let entries = match opened {
            Ok((_, entries)) => entries,
            Err(error @ Error::Corrupt { .. }) => {
                collected.warnings.push(format!("{error}; it was left as it is"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let (mut dead, mut dead_len) = (Bits::default(), 0);
        for entry in entries.iter().filter(|entry| !live.contains(entry.ordinal.0)) {
            dead.insert(entry.ordinal.0);
            dead_len += entry.stored_len();
        }
        collected.records_condemned += u64::from(dead.count());
        collected.bytes_dead += dead_len;
        let is_worth_it = dead_len * 100 >= file_len * u64::from(params.rewrite_percent);
        if is_worth_it && dead_len > 0 && dead_len < file_len {
            self.rewrite.push(Rewrite { id, before: file_len, after: file_len - dead_len });
        }
        self.condemned.insert(id, dead);
        Ok(())
    }
}

/// Does what was planned.
///
/// # Errors
/// `Cancelled`, `Io`; a part of it is then done.
pub(super) fn run(
    disk: &Disk,
    lock: &DiskLock,
    plan: Plan,
    before: Option<&Condemned>,
    control: &Control,
    collected: &mut Collected,
) -> Result<()> {
    let Plan { mut condemned, unlink, rewrite } = plan;
    control.enter(Phase::Sweeping);
    control.set_done(0);
    let lens = unlink.iter().map(|&(_, len)| len).chain(rewrite.iter().map(|rewrite| rewrite.after));
    control.set_total(Some(lens.sum()));
    clear_temporaries(disk)?;
    if before != Some(&condemned) {
        with_room(disk, || condemned.write(&**disk.files(), &disk.paths().condemned()))?;
    }
    if unlink.is_empty() && rewrite.is_empty() {
        return Ok(());
    }
    unlink_all(disk, lock, &unlink, control)?;
    unlink.iter().for_each(|&(id, _)| condemned.remove(id));
    rewrite_all(disk, lock, &rewrite, control, &mut condemned, collected)?;
    with_room(disk, || condemned.write(&**disk.files(), &disk.paths().condemned()))
}

fn unlink_all(disk: &Disk, lock: &DiskLock, all: &[(SegmentId, u64)], control: &Control) -> Result<()> {
    let (files, segments) = (disk.files(), disk.paths().segments());
    for &(id, len) in all {
        control.check()?;
        require_lock(disk, lock)?;
        let path = segment::path_of(&segments, id);
        match files.unlink(&path).at("removing", &path) {
            Err(Error::NotFound { .. }) => {}
            other => other?,
        }
        control.add_done(len);
    }
    // The names are synced before space is asked for: some file systems free it only then.
    if all.is_empty() { Ok(()) } else { files.sync_directory(&segments).at("syncing", &segments) }
}

fn rewrite_all(
    disk: &Disk,
    lock: &DiskLock,
    all: &[Rewrite],
    control: &Control,
    condemned: &mut Condemned,
    collected: &mut Collected,
) -> Result<()> {
    let (files, segments) = (disk.files(), disk.paths().segments());
    let mut done = 0;
    for (at, Rewrite { id, before, after }) in all.iter().enumerate() {
        control.check()?;
        require_lock(disk, lock)?;
        let keep = |ordinal: crate::units::Ordinal| {
            crate::map::Place::new(*id, ordinal).is_some_and(|place| !condemned.contains(place))
        };
        let result = segment::rewrite(&**files, &segments, *id, &keep, &mut |bytes| {
            control.add_done(bytes);
            control.add_stored(bytes);
            control.check()
        });
        match result {
            Ok(rewritten) => {
                collected.bytes_after = collected.bytes_after - after + rewritten.file_len;
                condemned.remove(*id);
                done += 1;
            }
            Err(error) if error.is_no_space() => {
                skip_for_want_of_room(all.get(at..).unwrap_or(&[]), collected);
                break;
            }
            Err(error @ (Error::Corrupt { .. } | Error::Io { action: "reading", .. })) => {
                collected.warnings.push(format!("{error}; the segment was left as it is"));
                collected.segments_rewritten -= 1;
                collected.segments_skipped += 1;
                collected.bytes_after += before - after;
            }
            Err(error) => return Err(error),
        }
    }
    if done == 0 { Ok(()) } else { files.sync_directory(&segments).at("syncing", &segments) }
}

/// They are in order of the room that they need, so no later one fits either.
fn skip_for_want_of_room(left: &[Rewrite], collected: &mut Collected) {
    let kept: u64 = left.iter().map(|rewrite| rewrite.before - rewrite.after).sum();
    collected.segments_rewritten -= left.len() as u64;
    collected.segments_skipped += left.len() as u64;
    collected.bytes_after += kept;
    collected.warnings.push(format!(
        "no space is left to write {} segments anew, so {kept} bytes of dead records stay in them; make room and collect again",
        left.len()
    ));
}

/// Removes what an interrupted collect was writing.
fn clear_temporaries(disk: &Disk) -> Result<()> {
    let (files, segments) = (disk.files(), disk.paths().segments());
    for name in files.list(&segments).at("listing", &segments)? {
        if name.ends_with(TEMPORARY_SUFFIX) {
            let path = segments.join(name);
            files.unlink(&path).at("removing", &path)?;
        }
    }
    Ok(())
}

/// A directory that was moved away takes its lock along; another disk may stand in its place.
fn require_lock(disk: &Disk, lock: &DiskLock) -> Result<()> {
    if lock.covers(&disk.paths().directory) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "{} was moved, replaced or lost its lock file, so collecting stopped",
        disk.paths().directory.display()
    )))
}
