//! A backup that stops, or meets a fault, at each of its operations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn_core::io::{Call, Fault, Files, SimulatedFiles};

use super::lab::{self, Bytes, Lab, blocks, check_error};

/// Power cuts after each fault; more are asked for by CAIRN_CRASH_SEEDS.
fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("CAIRN_CRASH_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(2)
}

/// Where a backup starts from, and what it reads.
struct Scene {
    name: &'static str,
    before: Lab,
    image: Bytes,
}

fn first_image() -> Bytes {
    blocks(&(1..=40).map(|number| if number % 9 == 0 { 0 } else { number }).collect::<Vec<_>>())
}

/// Blocks that changed, came back, went to zero, and an end that has moved.
fn second_image() -> Bytes {
    let changed = |number: u64| match number % 8 {
        0 => 0,
        1 => 1000 + number,
        2 => 3,
        _ => number,
    };
    blocks(&(1..=44).map(changed).collect::<Vec<_>>())
}

fn third_image() -> Bytes {
    blocks(&(1..=44).map(|number| if number % 2 == 0 { 2000 + number } else { number }).collect::<Vec<_>>())
}

fn scenes() -> Vec<Scene> {
    let new = Lab::new();
    let mut second = new.fork();
    second.backup(&first_image()).unwrap();
    let mut third = second.fork();
    third.backup(&second_image()).unwrap();
    // All but the commit of a backup is done when it is killed, and a segment is half written.
    let calls = calls_of(&third, &third_image());
    let commits = |path: &Path| path.parent().is_some_and(|parent| parent.ends_with("revisions"));
    let commit = calls.iter().position(|(call, path)| *call == Call::Create && commits(path));
    third.files.plan(&[Fault::Stop { at: commit.unwrap() as u64 }], 0);
    assert!(third.backup(&third_image()).is_err());
    let third = third.fork();
    assert!(third.adoptable().1.len() > 15, "{}", third.adoptable().1.len());
    vec![
        Scene { name: "the first backup", before: new, image: first_image() },
        Scene { name: "a backup with changes", before: second, image: second_image() },
        Scene { name: "a backup that adopts", before: third, image: third_image() },
    ]
}

/// The operations of a backup in which nothing goes wrong.
fn calls_of(before: &Lab, image: &Bytes) -> Vec<(Call, PathBuf)> {
    let mut lab = before.fork();
    lab.files.plan(&[], 0);
    lab.backup(image).unwrap();
    lab.files.calls()
}

/// Runs the backup with these faults; gives the world as the fault left it.
fn run(scene: &Scene, faults: &[Fault], seed: u64) -> Lab {
    let mut lab = scene.before.fork();
    lab.files.plan(faults, seed);
    if let Err(error) = lab.backup(&scene.image) {
        check_error(&error);
    }
    lab
}

/// What must hold of whatever was left, now, after the next backup, and after a power cut then.
/// Returns how many blocks the next backup found in segments of the interrupted one.
fn check(scene: &Scene, mut lab: Lab, seed: u64) -> usize {
    lab.check_revisions(&scene.image);
    let (above, adopted) = lab.adoptable();
    lab.backup(&scene.image).unwrap();
    assert_eq!(lab.stored_again(above, &adopted), 0, "adopted blocks were stored again");
    lab.check_nothing_leaks();
    lab.on(lab.files.after_power_cut(seed)).check_revisions(&scene.image);
    adopted.len()
}

/// What came of a fault at each operation of a scene.
#[derive(Default)]
struct Tally {
    operations: usize,
    crashes: usize,
    adopted: usize,
}

/// Puts faults at each operation of each scene and ends the process in each way.
fn at_each_operation(
    faults_at: impl Fn(u64, Call) -> Vec<Vec<Fault>> + Sync,
    ends: impl Fn(u64) -> Vec<End> + Sync,
) -> Vec<(&'static str, Tally)> {
    let tally = |scene: &Scene| {
        let calls = calls_of(&scene.before, &scene.image);
        let mut tally = Tally { operations: calls.len(), ..Tally::default() };
        for (at, (call, path)) in (0..).zip(&calls) {
            for (seed, faults) in (0..).zip(faults_at(at, *call)) {
                let lab = run(scene, &faults, at + seed * 1_000_003);
                for end in ends(at) {
                    let after = lab.on(end.of(&lab.files));
                    let checked = std::panic::catch_unwind(|| check(scene, after, at));
                    let path = path.display();
                    let name = scene.name;
                    tally.adopted += checked
                        .unwrap_or_else(|_| panic!("{name}: {faults:?}, {call:?} of {path}; then {end:?}"));
                    tally.crashes += 1;
                }
            }
        }
        (scene.name, tally)
    };
    let scenes = scenes();
    std::thread::scope(|scope| {
        let running: Vec<_> = scenes.iter().map(|scene| scope.spawn(|| tally(scene))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// How the process that met the fault ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    PowerCut(u64),
}

impl End {
    fn of(self, files: &SimulatedFiles) -> SimulatedFiles {
        match self {
            End::Kill => files.after_kill(),
            End::PowerCut(seed) => files.after_power_cut(seed),
        }
    }

    /// Each of them, with other seeds at each operation.
    fn all(at: u64) -> Vec<End> {
        let cuts = seeds().map(|seed| End::PowerCut(at + seed * 1_000_003));
        std::iter::once(End::Kill).chain(cuts).collect()
    }
}

/// Promises 6, 7 and 8 of docs/semantics.md.
#[test]
fn a_backup_that_is_stopped_at_any_operation_loses_nothing_and_shows_no_half() {
    let faults = |at, _| vec![vec![Fault::Stop { at }], vec![Fault::Tear { at }]];
    for (scene, tally) in at_each_operation(faults, End::all) {
        let Tally { operations, crashes, adopted } = tally;
        println!("{scene}: {operations} stop points, {crashes} crashes, {adopted} blocks adopted");
        assert!(adopted > 0);
    }
}

/// Promises 6, 7 and 8 of docs/semantics.md.
#[test]
fn a_backup_that_meets_a_fault_at_any_operation_says_so_or_is_whole() {
    let faults = |at, call: Call| {
        let mut faults = vec![vec![Fault::Fail { at, errno: libc::EIO }]];
        if call.takes_space() {
            faults.push(vec![Fault::Fail { at, errno: libc::ENOSPC }]);
            faults.push(vec![Fault::Full { at }]);
        }
        faults
    };
    let ends = |at| End::all(at).into_iter().take(1 + seeds().count() / 2).collect();
    for (scene, Tally { operations, crashes, .. }) in at_each_operation(faults, ends) {
        println!("{scene}: faults at {operations} operations, {crashes} crashes after them");
    }
}

/// Promise 6 of docs/semantics.md: after a failed sync, what is in memory may be nowhere else, and
/// no later sync says so.
#[test]
fn what_a_killed_backup_could_not_sync_is_never_adopted() {
    let faults = |at, call| match call {
        Call::Sync | Call::SyncDirectory => {
            vec![vec![Fault::Fail { at, errno: libc::EIO }, Fault::Stop { at: at + 1 }]; 8]
        }
        _ => Vec::new(),
    };
    at_each_operation(faults, |_| vec![End::Kill]);
}

/// Promise 6 of docs/semantics.md.
#[test]
fn a_disk_that_was_made_stays() {
    let files = lab::empty();
    files.plan(&[], 0);
    lab::create(&files).unwrap();
    let count = files.calls().len() as u64;
    for at in 0..=count {
        for fault in [Fault::Stop { at }, Fault::Tear { at }, Fault::Fail { at, errno: libc::EIO }] {
            let files = lab::empty();
            files.plan(&[fault], at);
            let made = lab::create(&files);
            for seed in seeds() {
                let lab = Lab { files: files.after_power_cut(seed), done: BTreeMap::new() };
                match &made {
                    Ok(_) => check(&Scene { name: "", before: lab.fork(), image: first_image() }, lab, seed),
                    Err(error) => {
                        check_error(error);
                        0
                    }
                };
            }
        }
    }
    assert!(files.list(&lab::directory()).unwrap().len() > 3);
    println!("making a disk: {count} stop points");
}
