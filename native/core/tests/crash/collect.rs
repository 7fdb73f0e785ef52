//! Removing revisions and collecting that stop, or meet a fault, at each of their operations.

use std::path::PathBuf;
use std::sync::Arc;

use cairn_core::collect::{self, CollectParams, Collected};
use cairn_core::disk::DiskLock;
use cairn_core::io::{Call, Fault, Files};
use cairn_core::job::Control;
use cairn_core::retire;
use cairn_core::revision::RevisionId;
use cairn_core::{Error, Result};

use super::lab::{self, Bytes, Lab, blocks};

/// Power cuts after each fault; more are asked for by CAIRN_CRASH_SEEDS.
fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("CAIRN_CRASH_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(2)
}

/// What is done, stopped at each operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Remove,
    Collect,
}

/// A disk some of whose revisions are to go.
struct Scene {
    before: Lab,
    going: Vec<(RevisionId, Bytes)>,
    next: Bytes,
}

fn image(generation: u64) -> Bytes {
    let number = |block: u64| match block % 6 {
        0 => 0,
        1 | 2 => generation * 1000 + block,
        3 => generation % 2 * 500 + block,
        _ => block,
    };
    blocks(&(1..=40).map(number).collect::<Vec<_>>())
}

/// Four revisions; the newest goes, too, so that the marks count, and segments are dead whole and in
/// part.
fn scene(work: Work) -> Scene {
    let mut before = Lab::new();
    let mut going = Vec::new();
    for generation in 1..=4 {
        let taken = before.backup(&image(generation)).unwrap();
        if generation != 3 {
            going.push((taken.manifest.revision, image(generation)));
        }
    }
    let next = image(2);
    if work == Work::Collect {
        remove(&before, &going).unwrap();
        going.iter().for_each(|(id, _)| drop(before.done.remove(id)));
    }
    Scene { before, going, next }
}

fn lock(lab: &Lab) -> Result<DiskLock> {
    DiskLock::take_on(Arc::new(lab.files.clone()), &lab::directory(), "a test")
}

fn remove(lab: &Lab, going: &[(RevisionId, Bytes)]) -> Result<()> {
    let ids: Vec<_> = going.iter().map(|(id, _)| id.clone()).collect();
    retire::retire(&lab.disk()?, &lock(lab)?, &ids)
}

fn collect(lab: &Lab, params: &CollectParams) -> Result<Collected> {
    collect::run(&lab.disk()?, &lock(lab)?, params, &Control::default())
}

/// Does it; whether it was reported as done.
fn run(scene: &Scene, work: Work, faults: &[Fault], seed: u64) -> (Lab, bool) {
    let lab = scene.before.fork();
    lab.files.plan(faults, seed);
    let done = match work {
        Work::Remove => remove(&lab, &scene.going),
        Work::Collect => collect(&lab, &CollectParams::default()).map(drop),
    };
    match &done {
        Err(Error::Unmarked(cause)) => lab::check_error(cause),
        // What says that the lock file cannot be looked at.
        Err(Error::InvalidArgument(text)) if text.contains("lock") => {}
        Err(error) => lab::check_error(error),
        Ok(()) => {}
    }
    (lab, done.is_ok())
}

fn calls_of(scene: &Scene, work: Work) -> Vec<(Call, PathBuf)> {
    let (lab, is_done) = run(scene, work, &[], 0);
    assert!(is_done);
    lab.files.calls()
}

/// What must hold of whatever was left: what stays is whole, what goes is gone or whole, and the
/// next backup and the next collect go through and leave nothing that nobody needs.
fn check(scene: &Scene, mut lab: Lab, work: Work, is_done: bool, seed: u64) {
    if work == Work::Remove {
        let listed = lab.disk().unwrap().revisions().unwrap();
        for (id, bytes) in &scene.going {
            if listed.contains(id) {
                assert!(!is_done, "{id} is back");
                assert!(lab.read(id).unwrap()[..] == bytes[..], "{id} is there and not whole");
            }
            lab.done.remove(id);
        }
        let left: Vec<_> = scene.going.iter().filter(|(id, _)| listed.contains(id)).cloned().collect();
        remove(&lab, &left).unwrap();
    }
    lab.check_revisions(&[]);
    let last = scene.going.last().unwrap().0.clone();
    let taken = lab.backup(&scene.next).unwrap();
    assert!(taken.manifest.revision > last && taken.manifest.sequence > 4, "numbers go on");
    lab.check_revisions(&[]);
    let thorough = CollectParams { rewrite_percent: 0, ..CollectParams::default() };
    collect(&lab, &thorough).unwrap();
    lab.check_revisions(&[]);
    let again = collect(&lab, &thorough).unwrap();
    assert_eq!((again.records_condemned, again.revisions_disposed, again.bytes_dead), (0, 0, 0));
    for (directory, expected) in [
        (
            lab::directory(),
            &["dedup", "disk.json", "lock", "marks.json", "retired", "revisions", "segments"][..],
        ),
        (lab::directory().join("retired"), &[]),
    ] {
        let mut names = lab.files.list(&directory).unwrap();
        names.sort();
        assert_eq!(names, expected);
    }
    let after = lab.on(lab.files.after_power_cut(seed));
    after.check_revisions(&[]);
}

/// Puts faults at each operation of `work` and ends the process in each way; how many there were.
fn at_each_operation(work: Work, faults_at: impl Fn(u64, Call) -> Vec<Vec<Fault>>) -> (usize, usize) {
    let scene = scene(work);
    let calls = calls_of(&scene, work);
    let mut crashes = 0;
    for (at, (call, path)) in (0..).zip(&calls) {
        for (number, faults) in (0..).zip(faults_at(at, *call)) {
            let (lab, is_done) = run(&scene, work, &faults, at + number * 1_000_003);
            let killed = std::iter::once(lab.files.after_kill());
            let cut = seeds().map(|seed| lab.files.after_power_cut(seed * 7919 + at));
            for files in killed.chain(cut) {
                let after = lab.on(files);
                let checked = std::panic::catch_unwind(|| check(&scene, after, work, is_done, at));
                assert!(checked.is_ok(), "{work:?}: {faults:?}, {call:?} of {}", path.display());
                crashes += 1;
            }
        }
    }
    (calls.len(), crashes)
}

fn stops(at: u64, call: Call) -> Vec<Vec<Fault>> {
    let torn = matches!(call, Call::Write | Call::Rename | Call::Sync | Call::SyncDirectory);
    let tear = torn.then(|| vec![Fault::Tear { at }]);
    std::iter::once(vec![Fault::Stop { at }]).chain(tear).collect()
}

fn faults(at: u64, call: Call) -> Vec<Vec<Fault>> {
    let full = call.takes_space().then(|| vec![Fault::Full { at }]);
    std::iter::once(vec![Fault::Fail { at, errno: libc::EIO }]).chain(full).collect()
}

/// Promises 2 and 23.
#[test]
fn removing_that_is_stopped_at_any_operation_removes_whole_revisions_or_none() {
    let (operations, crashes) = at_each_operation(Work::Remove, stops);
    println!("removing: {operations} operations, {crashes} crashes");
}

/// Promises 2, 24 and 25.
#[test]
fn a_collect_that_is_stopped_at_any_operation_frees_nothing_that_is_needed() {
    let (operations, crashes) = at_each_operation(Work::Collect, stops);
    println!("collecting: {operations} operations, {crashes} crashes");
}

/// Promises 2 and 24.
#[test]
fn faults_at_any_operation_of_removing_and_collecting_harm_nothing() {
    for work in [Work::Remove, Work::Collect] {
        let (operations, crashes) = at_each_operation(work, faults);
        println!("{work:?}: {operations} operations, {crashes} faults");
    }
}
