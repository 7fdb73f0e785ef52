//! Backups and revivals that stop at any operation.

use super::*;
use crate::io::{Fault, SimulatedFiles};

/// A disk on simulated files, with segments of ten blocks.
fn simulated(files: &SimulatedFiles) -> Lab {
    Lab { segment_len: 10 * BLOCK as u64, ..Lab::of(Arc::new(files.clone())) }
}

/// Backs up with a fault; gives what a process finds afterwards, and how many operations there were.
fn stopped(before: &SimulatedFiles, image: &[u8], faults: &[Fault]) -> (SimulatedFiles, u64) {
    let files = before.after_kill();
    let lab = simulated(&files);
    let (disk, lock) = (lab.disk(), lab.lock());
    files.plan(faults, 0);
    let taken = lab.prepare_with(&disk, lock, image).and_then(backup::Pending::commit);
    assert!(taken.is_ok() || !faults.is_empty());
    (files.after_kill(), files.calls().len() as u64)
}

/// Also of one that seals many segments: a piece of its map is no candidate.
#[test]
fn of_an_interrupted_backup_only_its_root_is_a_candidate() {
    let image = noise(1, 200 * BLOCK);
    let before = SimulatedFiles::new(1);
    Lab::on(Arc::new(before.clone()));
    let (committed, operations) = stopped(&before, &image, &[]);
    let lab = simulated(&committed);
    let manifest = lab.disk().manifest(&lab.disk().revisions().unwrap()[0]).unwrap();
    let (mut in_part, mut whole, mut none) = (0, 0, 0);
    for at in (0..operations).step_by(29).chain(operations - 40..operations) {
        let lab = simulated(&stopped(&before, &image, &[Fault::Stop { at }]).0);
        let candidates = lab.survey();
        none += u32::from(candidates.is_empty());
        for candidate in candidates {
            assert_eq!(root_of(&candidate.root), root_of(&manifest.map), "stopped at {at}");
            if (candidate.missing_blocks, candidate.missing_pages) == (0, 0) {
                whole += 1;
                lab.check(&lab.revive(&candidate).unwrap(), &image);
            } else {
                in_part += 1;
            }
        }
    }
    assert!(whole > 5 && none > 20, "{whole} whole, {in_part} in part, {none} none");
}

/// Stopped at any operation, or where that fails alone: the whole revision or none, now and after a
/// power cut, and other revisions as they were.
#[test]
fn a_revival_that_is_stopped_at_any_operation_leaves_the_whole_revision_or_none() {
    let before = SimulatedFiles::new(1);
    let lab = Lab::on(Arc::new(before.clone()));
    // They share a page, so that none of their segments is dead as a whole.
    let images = [1, 2, 3].map(|seed| [noise(seed, BLOCK), noise(9, 50 * BLOCK)].concat());
    let [removed, lost, kept] = images.each_ref().map(|image| lab.backup(image).revision);
    retire::retire(&lab.disk(), &lab.lock(), &[removed]).unwrap();
    let keep_all = CollectParams { rewrite_percent: 100, ..CollectParams::default() };
    collect::run(&lab.disk(), &lab.lock(), &keep_all, &Control::default()).unwrap();
    lab.lose(&lost);
    let candidates = lab.survey();
    assert_eq!(candidates.iter().map(|candidate| candidate.is_condemned).collect::<Vec<_>>(), [false, true]);
    for (candidate, image) in candidates.iter().zip([&images[1], &images[0]]) {
        let revive_on = |files: &SimulatedFiles, faults: &[Fault]| {
            let lab = Lab::of(Arc::new(files.clone()));
            let (disk, lock) = (lab.disk(), lab.lock());
            files.plan(faults, 7);
            revive(&disk, &lock, candidate, "disk")
        };
        let whole = before.after_kill();
        revive_on(&whole, &[]).unwrap();
        for (at, (call, _)) in (0..).zip(whole.calls()) {
            // What only reads leaves nothing, so few of these are enough.
            if !call.takes_space() && at % 10 != 0 {
                continue;
            }
            for fault in [Fault::Stop { at }, Fault::Tear { at }, Fault::Fail { at, errno: libc::ENOSPC }] {
                let files = before.after_kill();
                let done = revive_on(&files, &[fault]);
                for (after, is_told) in
                    [(files.after_kill(), false), (files.after_power_cut(at), done.is_ok())]
                {
                    let lab = Lab::of(Arc::new(after));
                    let revisions = lab.disk().revisions().unwrap();
                    assert!(revisions.len() > usize::from(is_told), "{fault:?}");
                    lab.check(&kept, &images[2]);
                    for revived in revisions.iter().filter(|id| **id != kept) {
                        lab.check(revived, image);
                        assert_eq!(lab.state(revived).trust, Trust::Distrusted, "{fault:?}");
                    }
                    if revisions.len() == 1 {
                        lab.check(&lab.revive(candidate).unwrap(), image);
                    }
                }
            }
        }
    }
}
