//! Finding damage, and mending it from what the disk or its source still holds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_core::Result;
use cairn_core::damaged::Damaged;
use cairn_core::disk::DiskLock;
use cairn_core::image::Image;
use cairn_core::io::{Call, Fault, Files, Mode};
use cairn_core::job::Control;
use cairn_core::manifest::{State, Trust};
use cairn_core::random::Numbers;
use cairn_core::revision::RevisionId;
use cairn_core::scrub::{self, ScrubParams, Scrubbed};
use cairn_core::segment::{SegmentReader, path_of};
use cairn_core::units::SegmentId;

use super::lab::{BLOCK, Bytes, Lab, blocks, check_error, directory};

/// Blocks of a revision whose bytes cannot be read.
type Unreadable = BTreeMap<(RevisionId, u64), ()>;

fn lock(lab: &Lab) -> Result<DiskLock> {
    DiskLock::take_on(Arc::new(lab.files.clone()), &directory(), "a test")
}

fn scrub(lab: &Lab, share: f64) -> Result<Scrubbed> {
    let disk = lab.disk()?;
    let params = ScrubParams { revision: None, share, threads: 1 };
    let suspicion = scrub::read(&disk, &params, &Control::default())?;
    scrub::settle(&disk, Some(&lock(lab)?), suspicion, &Control::default())
}

/// As a scrub without the right to change anything.
fn look(lab: &Lab) -> Scrubbed {
    let disk = lab.disk().unwrap();
    let params = ScrubParams { revision: None, share: 1.0, threads: 2 };
    let suspicion = scrub::read(&disk, &params, &Control::default()).unwrap();
    scrub::settle(&disk, None, suspicion, &Control::default()).unwrap()
}

fn generation(number: u64) -> Bytes {
    let content = |block: u64| match block % 5 {
        0 => 0,
        1 => number * 100 + block,
        2 => number % 2 * 50 + block,
        _ => block,
    };
    blocks(&(1..=36).map(content).collect::<Vec<_>>())
}

/// A disk with four revisions.
fn with_revisions() -> Lab {
    let mut lab = Lab::new();
    for number in 1..=4 {
        lab.backup(&generation(number)).unwrap();
    }
    lab
}

/// What a reader can and cannot read, block by block; what it reads is right. On a thread of its own,
/// since threads remember map pages.
fn unreadable(lab: &Lab) -> Unreadable {
    std::thread::scope(|scope| scope.spawn(|| read_all(lab)).join().unwrap())
}

fn read_all(lab: &Lab) -> Unreadable {
    let disk = lab.disk().unwrap();
    let mut found = Unreadable::new();
    for (revision, expected) in &lab.done {
        let image = Image::open(&disk, lab.records(), revision).unwrap();
        for (block, expected) in (0u64..).zip(expected.chunks(BLOCK)) {
            let mut bytes = vec![0; expected.len()];
            match image.read(&mut bytes, block * BLOCK as u64) {
                Ok(_) => assert!(bytes == expected, "{revision} has wrong bytes in block {block}"),
                Err(_) => drop(found.insert((revision.clone(), block), ())),
            }
        }
    }
    found
}

/// The same, as a scrub tells it.
fn told(scrubbed: &Scrubbed) -> Unreadable {
    let mut found = Unreadable::new();
    for extent in &scrubbed.damaged {
        let first = extent.offset / BLOCK as u64;
        for block in first..(extent.offset + extent.len).div_ceil(BLOCK as u64) {
            for revision in &extent.revisions {
                found.insert((revision.clone(), block), ());
            }
        }
    }
    found
}

/// Does something bad to a segment.
fn damage(lab: &Lab, numbers: &mut Numbers) -> String {
    let segments = directory().join("segments");
    let all = lab.disk().unwrap().segments().unwrap();
    let id = *all.get(numbers.below(all.len() as u64) as usize).unwrap();
    let path = path_of(&segments, id);
    let open = || lab.files.open(&path, Mode::Update).unwrap();
    let len = open().len().unwrap();
    match numbers.below(8) {
        0 => lab.files.unlink(&path).unwrap(),
        1 => open().set_len(numbers.below(len)).unwrap(),
        2 => open().write_all_at(&[numbers.next_u64() as u8 | 1; 9], len - 1 - numbers.below(200)).unwrap(),
        _ => {
            let at = 64 + numbers.below(len - 64);
            let mut byte = [0];
            open().read_at(&mut byte, at).unwrap();
            open().write_all_at(&[byte[0] ^ (1 << numbers.below(8))], at).unwrap();
        }
    }
    format!("segment {id}")
}

#[test]
fn a_scrub_tells_exactly_what_cannot_be_read_and_mending_makes_nothing_worse() {
    let first: u64 = std::env::var("CAIRN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (mut damages, mut mended) = (0, 0);
    for seed in first..first + 40 {
        println!("seed {seed}");
        let mut numbers = Numbers::new(seed);
        let mut lab = with_revisions();
        for _ in 0..=numbers.below(4) {
            damage(&lab, &mut numbers);
        }
        let before = unreadable(&lab);
        damages += before.len();
        assert_eq!(told(&look(&lab)), before, "seed {seed}: what is told is what cannot be read");
        // What is stored twice is mended at once, and nothing is harmed.
        let scrubbed = scrub(&lab, 1.0).unwrap();
        let after = unreadable(&lab);
        mended += scrubbed.records_mended;
        assert_eq!(told(&scrubbed), after, "seed {seed}");
        assert!(after.keys().all(|key| before.contains_key(key)), "seed {seed}: mending harmed");
        // The source still has what generations 3 and 4 hold.
        for number in [3, 4] {
            mended += lab.backup(&generation(number)).unwrap().healed_records;
        }
        let left = unreadable(&lab);
        let held = |(revision, block): &(RevisionId, u64)| {
            let bytes = &lab.done[revision][*block as usize * BLOCK..][..BLOCK];
            [3, 4].iter().any(|&number| generation(number).chunks(BLOCK).any(|other| other == bytes))
        };
        // A map page that is lost in both of its places takes the way to its blocks with it.
        let is_reached = |key: &(RevisionId, u64)| {
            let pointer = || lab.pointer(&key.0, key.1).is_ok();
            std::thread::scope(|scope| scope.spawn(pointer).join().unwrap())
        };
        let wrong: Vec<_> = left.keys().filter(|key| held(key) && is_reached(key)).collect();
        assert!(wrong.is_empty(), "seed {seed}: the disk holds what these miss: {wrong:?}");
        let last = scrub(&lab, 1.0).unwrap();
        mended += last.records_mended;
        assert_eq!(told(&last), unreadable(&lab), "seed {seed}: the end");
    }
    println!("{damages} blocks damaged, {mended} records mended");
    assert!(damages > 100 && mended > 10);
}

#[test]
fn damage_is_mended_by_the_next_backup_for_every_revision_that_holds_it() {
    let mut lab = with_revisions();
    let (third, old) = (generation(3), lab.done.keys().next().unwrap().clone());
    // A block that all revisions share.
    let pointer = lab.pointer(&old, 2).unwrap().unwrap();
    let segments = directory().join("segments");
    let (reader, entries) =
        SegmentReader::open_with_entries(&lab.files, &segments, pointer.place.segment).unwrap();
    let entry = entries.iter().find(|entry| entry.ordinal == pointer.place.ordinal).unwrap();
    let file = lab.files.open(reader.path(), Mode::Update).unwrap();
    file.write_all_at(b"damage", u64::from(entry.offset) + 100).unwrap();
    drop(file);
    let scrubbed = scrub(&lab, 1.0).unwrap();
    assert_eq!(scrubbed.damaged.len(), 1);
    assert_eq!(scrubbed.damaged[0].revisions.len(), 4, "all of them are told of");
    assert_eq!((scrubbed.damaged[0].offset, scrubbed.damaged[0].len), (2 * BLOCK as u64, BLOCK as u64));
    assert_eq!(scrubbed.records_damaged, 1);
    let taken = lab.backup(&third).unwrap();
    assert_eq!(taken.healed_records, 1, "{:?}", taken.warnings);
    lab.check_revisions(&[]);
    assert!(Damaged::read(&lab.files, &lab.disk().unwrap().paths().damaged()).unwrap().is_empty());
    assert_eq!(scrub(&lab, 1.0).unwrap().damaged, []);
    lab.on(lab.files.after_power_cut(5)).check_revisions(&[]);
}

#[test]
fn a_sample_reads_its_share_and_keeps_what_is_on_the_list() {
    let lab = with_revisions();
    let all = scrub(&lab, 1.0).unwrap();
    let some = scrub(&lab, 0.1).unwrap();
    assert!(some.checked_records < all.checked_records / 2 && some.checked_records > 0);
    let mut list = Damaged::default();
    list.insert(SegmentId(1), cairn_core::units::Ordinal(1));
    let path = lab.disk().unwrap().paths().damaged();
    list.write(&lab.files, &path).unwrap();
    scrub(&lab, 0.1).unwrap();
    assert_eq!(Damaged::read(&lab.files, &path).unwrap(), list, "a sample says nothing of what it left out");
    scrub(&lab, 1.0).unwrap();
    assert!(Damaged::read(&lab.files, &path).unwrap().is_empty());
}

#[test]
fn one_revision_is_scrubbed_by_what_it_needs() {
    let lab = with_revisions();
    let revision = lab.done.keys().next().unwrap().clone();
    let disk = lab.disk().unwrap();
    let params = ScrubParams { revision: Some(revision), share: 1.0, threads: 2 };
    let suspicion = scrub::read(&disk, &params, &Control::default()).unwrap();
    let scrubbed = scrub::settle(&disk, None, suspicion, &Control::default()).unwrap();
    let all = scrub(&lab, 1.0).unwrap();
    assert!(scrubbed.checked_records > 20 && scrubbed.checked_records < all.checked_records);
    assert_eq!(scrubbed.damaged, []);
}

/// The newest revision is not believed: what is stored is read and compared, byte by byte.
#[test]
fn after_distrust_the_next_backup_compares_bytes() {
    let mut lab = with_revisions();
    let newest = lab.done.keys().last().unwrap().clone();
    let state = lab.disk().unwrap().paths().state(&newest);
    let distrusted = State { trust: Trust::Distrusted, ..State::read(&lab.files, &state).unwrap() };
    distrusted.write(&lab.files, &state).unwrap();
    let pointer = lab.pointer(&newest, 2).unwrap().unwrap();
    let segments = directory().join("segments");
    let (reader, entries) =
        SegmentReader::open_with_entries(&lab.files, &segments, pointer.place.segment).unwrap();
    let entry = entries.iter().find(|entry| entry.ordinal == pointer.place.ordinal).unwrap();
    let file = lab.files.open(reader.path(), Mode::Update).unwrap();
    file.write_all_at(b"damage", u64::from(entry.offset) + 100).unwrap();
    drop(file);
    // Nobody has scrubbed, so only reading it tells.
    let taken = lab.backup(&generation(4)).unwrap();
    assert_eq!(taken.healed_records, 1, "{:?}", taken.warnings);
    assert!(taken.manifest.parent.is_some_and(|parent| parent < newest));
    let trusted = State { trust: Trust::Trusted, ..distrusted };
    trusted.write(&lab.files, &state).unwrap();
    lab.check_revisions(&[]);
}

/// A disk whose damage is noted, and on the medium.
fn damaged_scene(seed: u64) -> Lab {
    let mut numbers = Numbers::new(seed);
    let lab = with_revisions();
    for _ in 0..3 {
        damage(&lab, &mut numbers);
    }
    let segments = directory().join("segments");
    for name in lab.files.list(&segments).unwrap() {
        lab.files.open(&segments.join(name), Mode::Update).unwrap().sync().unwrap();
    }
    lab.files.sync_directory(&segments).unwrap();
    scrub(&lab, 1.0).unwrap();
    lab
}

/// Promises 4 and 6 of docs/semantics.md: a backup that mends earlier revisions, and a scrub after it.
#[test]
fn mending_that_is_stopped_at_any_operation_harms_nothing() {
    let (mut stops, mut crashes) = (0, 0);
    for seed in [3, 8] {
        let scene = damaged_scene(seed);
        let before = unreadable(&scene);
        let of_before = |lab: &Lab| -> Vec<_> {
            unreadable(lab).into_keys().filter(|(revision, _)| scene.done.contains_key(revision)).collect()
        };
        let mut whole = scene.fork();
        whole.files.plan(&[], 0);
        assert!(whole.backup(&generation(4)).unwrap().healed_records > 0, "seed {seed} mends something");
        let calls: Vec<(Call, PathBuf)> = whole.files.calls();
        scrub(&whole, 1.0).unwrap();
        let best = of_before(&whole);
        for (at, (call, _)) in (0..).zip(&calls) {
            stops += 1;
            let mut faults = vec![Fault::Tear { at }, Fault::Fail { at, errno: libc::EIO }];
            if call.takes_space() {
                faults.push(Fault::Full { at });
            }
            for fault in faults {
                let mut lab = scene.fork();
                lab.files.plan(&[fault], at);
                if let Err(error) = lab.backup(&generation(4)) {
                    check_error(&error);
                }
                for files in [lab.files.after_kill(), lab.files.after_power_cut(at)] {
                    crashes += 1;
                    let mut after = lab.on(files);
                    let found = of_before(&after);
                    let is_new = |key: &&(RevisionId, u64)| !before.contains_key(key);
                    assert_eq!(found.iter().find(is_new), None, "seed {seed}, {fault:?} at {call:?}");
                    after.backup(&generation(4)).unwrap();
                    scrub(&after, 1.0).unwrap();
                    assert_eq!(of_before(&after), best, "seed {seed}, {fault:?} at {call:?}");
                }
            }
        }
    }
    println!("mending: {stops} stop points, {crashes} crashes");
}
