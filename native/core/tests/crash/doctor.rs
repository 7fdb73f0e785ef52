//! What a doctor finds on a damaged disk, and that a repair harms nothing wherever it stops.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_core::disk::DiskLock;
use cairn_core::doctor::{self, Examined, Kind};
use cairn_core::io::{Call, Fault, Files, Mode};
use cairn_core::job::Control;
use cairn_core::manifest::{State, Trust};
use cairn_core::segment::path_of;
use cairn_core::units::SegmentId;
use cairn_core::{Error, Result};

use super::lab::{Lab, blocks, check_error, directory};

fn files(lab: &Lab) -> Arc<dyn Files> {
    Arc::new(lab.files.clone())
}

fn examine(lab: &Lab) -> Examined {
    doctor::examine(&files(lab), &directory(), true, &Control::default()).unwrap()
}

fn repair(lab: &Lab) -> Result<Vec<String>> {
    let lock = DiskLock::take_on(files(lab), &directory(), "a test")?;
    doctor::repair(&files(lab), &directory(), &lock, &Control::default())
}

fn kinds(examined: &Examined) -> Vec<Kind> {
    examined.findings.iter().map(|finding| finding.kind).collect()
}

/// Two revisions of which one was removed, so that all of the disk's files are there.
fn sound() -> Lab {
    let mut lab = Lab::new();
    for number in 0..3u64 {
        let content = |block| if block % 3 == 0 { number * 100 + block } else { block };
        lab.backup(&blocks(&(1..=36).map(content).collect::<Vec<_>>())).unwrap();
    }
    lab
}

fn overwrite(lab: &Lab, path: &Path, bytes: &[u8]) {
    let file = lab.files.open(path, Mode::Update).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync().unwrap();
    lab.files.sync_directory(path.parent().unwrap()).unwrap();
}

/// Damages of everything that a repair can bring back whole.
fn damaged() -> Lab {
    let lab = sound();
    let disk = lab.disk().unwrap();
    let paths = disk.paths().clone();
    overwrite(&lab, &paths.disk_file(), b"{}");
    overwrite(&lab, &paths.marks(), b"nothing");
    overwrite(&lab, &paths.condemned(), b"nothing");
    overwrite(&lab, &paths.damaged(), b"nothing");
    overwrite(&lab, &paths.segments().join("00000077.seg.tmp"), b"half a segment");
    let first = path_of(&paths.segments(), SegmentId(1));
    let file = lab.files.open(&first, Mode::Update).unwrap();
    let len = file.len().unwrap();
    file.write_all_at(&[0; 40], len - 60).unwrap();
    file.sync().unwrap();
    lab
}

#[test]
fn a_sound_disk_has_no_findings() {
    let examined = examine(&sound());
    assert_eq!((kinds(&examined), examined.damaged.len(), examined.revisions), (vec![], 0, 3));
}

#[test]
fn what_a_repair_can_mend_is_found_and_mended() {
    let mut lab = damaged();
    let before = examine(&lab);
    let found = kinds(&before);
    let expected = [Kind::DiskFile, Kind::List, Kind::List, Kind::List, Kind::SegmentIndex, Kind::Leftover];
    assert_eq!(found, expected, "{:?}", before.findings);
    assert!(!before.damaged.is_empty());
    let done = repair(&lab).unwrap();
    assert!(done.len() >= 5, "{done:?}");
    assert_eq!(kinds(&examine(&lab)), []);
    lab.check_revisions(&[]);
    lab.backup(&blocks(&[1, 2, 3])).unwrap();
    lab.on(lab.files.after_power_cut(3)).check_revisions(&[]);
}

/// Stops a repair at each of its operations; `check` is asked after the next one went through.
fn at_each_operation(scene: &Lab, check: impl Fn(&Lab)) -> (usize, usize) {
    let calls: Vec<(Call, PathBuf)> = {
        let lab = scene.fork();
        lab.files.plan(&[], 0);
        repair(&lab).unwrap();
        lab.files.calls()
    };
    let mut crashes = 0;
    for (at, (call, path)) in (0..).zip(&calls) {
        let mut faults = vec![Fault::Tear { at }, Fault::Fail { at, errno: libc::EIO }];
        if call.takes_space() {
            faults.push(Fault::Full { at });
        }
        for fault in faults {
            let lab = scene.fork();
            lab.files.plan(&[fault], at);
            match repair(&lab) {
                Err(Error::InvalidArgument(text)) if text.contains("lock") => {}
                Err(error) => check_error(&error),
                Ok(_) => {}
            }
            for files in [lab.files.after_kill(), lab.files.after_power_cut(at)] {
                crashes += 1;
                let after = lab.on(files);
                repair(&after).unwrap();
                let found = examine(&after).findings;
                assert_eq!(found, [], "{fault:?} at {call:?} of {}", path.display());
                check(&after);
            }
        }
    }
    (calls.len(), crashes)
}

/// Promise 30 of docs/semantics.md.
#[test]
fn a_repair_that_is_stopped_at_any_operation_is_made_good_by_the_next() {
    let (stops, crashes) = at_each_operation(&damaged(), |lab| lab.check_revisions(&[]));
    println!("repairing: {stops} stop points, {crashes} crashes");
}

/// A revision whose manifest was cut short comes back, under another id and distrusted.
#[test]
fn a_revision_without_its_manifest_is_made_again_wherever_the_repair_stops() {
    let mut scene = sound();
    let revision = scene.done.keys().nth(1).unwrap().clone();
    let bytes = scene.done.remove(&revision).unwrap();
    let path = scene.disk().unwrap().paths().manifest(&revision);
    let text = scene.files.read(&path, 1 << 20).unwrap();
    overwrite(&scene, &path, text.get(..text.len() / 2).unwrap());
    assert_eq!(kinds(&examine(&scene)), [Kind::Manifest, Kind::Salvage]);
    let (stops, crashes) = at_each_operation(&scene, |lab| {
        let disk = lab.disk().unwrap();
        let all = disk.revisions().unwrap();
        assert_eq!(all.len(), 3, "it is there once");
        let salvaged = all.last().unwrap();
        // The map does not say how long the image was.
        let read = lab.read(salvaged).unwrap();
        let (image, rest) = read.split_at(bytes.len());
        assert!(*image == *bytes && rest.iter().all(|&byte| byte == 0));
        let state = State::read(&lab.files, &disk.paths().state(salvaged)).unwrap();
        assert_eq!((state.tags, state.trust), (vec!["salvaged".to_owned()], Trust::Distrusted));
        for (revision, bytes) in &lab.done {
            assert!(lab.read(revision).unwrap()[..] == bytes[..]);
        }
    });
    println!("reviving: {stops} stop points, {crashes} crashes");
}

#[test]
fn what_a_later_version_made_is_left_alone() {
    let lab = sound();
    let disk = lab.disk().unwrap();
    overwrite(&lab, &disk.paths().condemned(), b"nothing");
    let revision = lab.done.keys().next().unwrap();
    let state = disk.paths().state(revision);
    let text = String::from_utf8(lab.files.read(&state, 1 << 20).unwrap()).unwrap();
    overwrite(&lab, &state, text.replace("\"format\": 1", "\"format\": 2").as_bytes());
    assert_eq!(kinds(&examine(&lab)), [Kind::TooNew, Kind::List]);
    assert!(matches!(repair(&lab), Err(Error::TooNew { .. })));
    assert_eq!(lab.files.read(&disk.paths().condemned(), 100).unwrap(), b"nothing");
}
