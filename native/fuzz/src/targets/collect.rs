//! Removing and collecting on a disk directory that a liar wrote: what could be read is read as before.

use std::sync::Arc;

use crate::liar::{Lab, Plan, directory};
use crate::reading;
use cairn_core::collect::{self, CollectParams};
use cairn_core::disk::DiskLock;
use cairn_core::job::Control;
use cairn_core::retire;
use cairn_core::revision::RevisionId;

type Blocks = Vec<Option<Vec<u8>>>;

pub fn run(input: (Plan, u8, u8)) {
    let (plan, removed, percent) = input;
    let Some(lab) = Lab::of(&plan) else { return };
    let before = read_all(&lab);
    let lock = DiskLock::take_on(Arc::new(lab.files.clone()), &directory(), "fuzzing");
    let lock = lock.expect("nobody else has the lock");
    let (going, staying): (Vec<_>, Vec<_>) =
        (0..8).zip(before).partition(|(number, _)| removed >> number & 1 == 1);
    let going: Vec<_> = going.into_iter().map(|(_, (revision, _))| revision).collect();
    if retire::retire(&lab.disk, &lock, &going).is_err() {
        return;
    }
    let params = CollectParams { rewrite_percent: percent % 101, ..CollectParams::default() };
    let dry = CollectParams { dry_run: true, ..params.clone() };
    let _ = collect::run(&lab.disk, &lock, &dry, &Control::default());
    for _ in 0..2 {
        let _ = collect::run(&lab.disk, &lock, &params, &Control::default());
        check_unharmed(&lab, &staying);
    }
}

fn read_all(lab: &Lab) -> Vec<(RevisionId, Blocks)> {
    let images = lab.images();
    images.into_iter().filter_map(|(id, image)| Some((id, reading::blocks(&image)?))).collect()
}

fn check_unharmed(lab: &Lab, staying: &[(u32, (RevisionId, Blocks))]) {
    for (_, (revision, before)) in staying {
        let after = lab.image(revision).and_then(|image| reading::blocks(&image)).unwrap_or_default();
        for (number, block) in before.iter().enumerate().filter(|(_, block)| block.is_some()) {
            assert!(after.get(number) == Some(block), "block {number} of {revision} is gone");
        }
    }
}
