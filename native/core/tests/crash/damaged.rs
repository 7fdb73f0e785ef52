//! Blocks of the last revision that are known to be damaged, or whose segment is gone.

use std::path::PathBuf;

use cairn_core::backup::{self, Source};
use cairn_core::damaged::Damaged;
use cairn_core::io::{Call, Fault, Files, Mode};
use cairn_core::map;
use cairn_core::record::Kind;
use cairn_core::segment::{SegmentReader, path_of};
use cairn_core::source::PathSource;
use cairn_core::units::Ordinal;

use super::lab::{Lab, blocks, directory, stream};

fn image() -> super::lab::Bytes {
    blocks(&(1..=40).collect::<Vec<_>>())
}

#[test]
fn a_damaged_block_that_did_not_change_is_stored_again() {
    let mut lab = Lab::new();
    let first = lab.backup(&image()).unwrap();
    let (disk, records) = (lab.disk().unwrap(), lab.records());
    let pointers = map::blocks(&*records, &first.manifest.map, 0..40).unwrap();
    let places = [3, 17].map(|index: usize| pointers[index].unwrap().place);
    let mut list = Damaged::default();
    for place in places {
        let (reader, entries) =
            SegmentReader::open_with_entries(&lab.files, &disk.paths().segments(), place.segment).unwrap();
        let entry = entries.iter().find(|entry| entry.ordinal == place.ordinal).unwrap();
        let file = lab.files.open(reader.path(), Mode::Update).unwrap();
        file.write_all_at(b"damage", u64::from(entry.offset) + 100).unwrap();
        list.insert(place.segment, place.ordinal);
    }
    // Of nothing that is there, and no matter.
    list.insert(places[0].segment, Ordinal(1000));
    list.write(&lab.files, &disk.paths().damaged()).unwrap();

    let second = lab.backup(&image()).unwrap();
    assert_eq!(second.warnings.len(), 1, "{:?}", second.warnings);
    assert!(second.warnings[0].starts_with("2 unchanged blocks are damaged"), "{}", second.warnings[0]);
    assert_eq!(second.manifest.counters.changed_bytes, 0);
    assert_eq!(second.healed_records, 2);
    lab.check_revisions(&[]);
    let list = Damaged::read(&lab.files, &disk.paths().damaged()).unwrap();
    assert!(places.iter().all(|&place| !list.contains(place)));

    let third = lab.backup(&image()).unwrap();
    assert!(third.unchanged && third.warnings.is_empty(), "{:?}", third.warnings);
}

#[test]
fn blocks_of_a_segment_that_is_gone_are_stored_again() {
    let mut lab = Lab::new();
    let first = lab.backup(&image()).unwrap();
    let segments = directory().join("segments");
    let pointers = map::blocks(&*lab.records(), &first.manifest.map, 0..40).unwrap();
    lab.files.unlink(&path_of(&segments, pointers[9].unwrap().place.segment)).unwrap();
    let second = lab.backup(&image()).unwrap();
    assert_eq!(second.warnings.len(), 1, "{:?}", second.warnings);
    assert!(lab.read(&second.manifest.revision).unwrap() == *image());
    lab.check_revisions(&[]);
}

/// Nobody has scrubbed: that it is cut short is seen by its end.
#[test]
fn blocks_of_a_segment_that_was_cut_short_are_stored_again() {
    let mut lab = Lab::new();
    let first = lab.backup(&image()).unwrap();
    let segments = directory().join("segments");
    let pointers = map::blocks(&*lab.records(), &first.manifest.map, 0..40).unwrap();
    let file = lab.files.open(&path_of(&segments, pointers[9].unwrap().place.segment), Mode::Update).unwrap();
    file.set_len(file.len().unwrap() - 100).unwrap();
    drop(file);
    let second = lab.backup(&image()).unwrap();
    assert_eq!(second.warnings.len(), 1, "{:?}", second.warnings);
    assert!(second.healed_records > 0);
    lab.check_revisions(&[]);
}

/// The records of a segment whose medium fails, or which was overwritten, when it held the map.
#[test]
fn a_map_that_cannot_be_read_is_written_anew_from_a_file_as_from_a_stream() {
    let mut lab = Lab::new();
    lab.backup(&image()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &*image()).unwrap();
    let from_file = || Source::Block(PathSource::open(file.path()).unwrap().into());
    // Whatever read of a segment fails once, the backup of a file goes through.
    let calls = {
        let lab = lab.fork();
        lab.files.plan(&[], 0);
        lab.prepare_from(from_file()).unwrap().commit().unwrap();
        lab.files.calls()
    };
    let is_read = |(call, path): &(Call, PathBuf)| {
        *call == Call::ReadAt && path.extension().is_some_and(|extension| extension == "seg")
    };
    let reads: Vec<_> = (0..).zip(&calls).filter(|(_, call)| is_read(call)).map(|(at, _)| at).collect();
    assert!(reads.len() > 5);
    for at in reads {
        let lab = lab.fork();
        lab.files.plan(&[Fault::Fail { at, errno: libc::EIO }], 0);
        let taken = lab.prepare_from(from_file()).and_then(backup::Pending::commit);
        let taken = taken.unwrap_or_else(|error| panic!("read {at}: {error}"));
        assert!(lab.read(&taken.manifest.revision).unwrap() == *image());
    }
    // Every page, in both of its places.
    for id in lab.disk().unwrap().segments().unwrap() {
        let segments = directory().join("segments");
        let (reader, entries) = SegmentReader::open_with_entries(&lab.files, &segments, id).unwrap();
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Page) {
            let file = lab.files.open(reader.path(), Mode::Update).unwrap();
            file.write_all_at(b"damage", u64::from(entry.offset) + 70).unwrap();
        }
    }
    for source in [from_file(), stream(&image())] {
        let lab = lab.fork();
        let taken = lab.prepare_from(source).unwrap().commit().unwrap();
        assert_eq!(taken.warnings.len(), 1, "{:?}", taken.warnings);
        assert!(lab.read(&taken.manifest.revision).unwrap() == *image());
    }
}

/// The same blocks in the same places make the same pages.
#[test]
fn lowest_map_pages_that_are_written_anew_serve_earlier_revisions_again() {
    let mut lab = Lab::new();
    lab.backup(&image()).unwrap();
    let segments = directory().join("segments");
    let mut pages = Vec::new();
    for id in lab.disk().unwrap().segments().unwrap() {
        let (_, entries) = SegmentReader::open_with_entries(&lab.files, &segments, id).unwrap();
        pages.extend(entries.into_iter().filter(|entry| entry.kind == Kind::Page).map(|entry| (id, entry)));
    }
    let copies = |digest| pages.iter().filter(|(_, entry)| entry.digest == digest).count();
    let lowest: Vec<_> = pages.iter().filter(|(_, entry)| copies(entry.digest) == 1).collect();
    // The other one began as the root, and roots are stored twice.
    assert_eq!(lowest.len(), 1);
    for (id, entry) in lowest {
        let file = lab.files.open(&path_of(&segments, *id), Mode::Update).unwrap();
        file.write_all_at(b"damage", u64::from(entry.offset) + 70).unwrap();
    }
    let taken = lab.backup(&image()).unwrap();
    assert_eq!(taken.healed_records, 1, "{:?}", taken.warnings);
    lab.check_revisions(&[]);
}

#[test]
fn a_list_that_is_damaged_itself_is_no_reason_to_fail() {
    let mut lab = Lab::new();
    lab.backup(&image()).unwrap();
    let path = lab.disk().unwrap().paths().damaged();
    lab.files.open(&path, Mode::CreateNew).unwrap().write_all_at(b"{}", 0).unwrap();
    let taken = lab.backup(&image()).unwrap();
    assert_eq!(taken.warnings.len(), 1, "{:?}", taken.warnings);
    lab.check_revisions(&[]);
}

#[test]
fn a_lock_file_that_is_missing_is_made_again() {
    let mut lab = Lab::new();
    lab.backup(&image()).unwrap();
    lab.files.unlink(&directory().join("lock")).unwrap();
    lab.backup(&image()).unwrap();
    lab.check_revisions(&[]);
    lab.files.unlink(&directory().join("lock")).unwrap();
    lab.files.unlink(&directory().join("disk.json")).unwrap();
    let error = lab.prepare(&image()).err().unwrap();
    assert!(matches!(error, cairn_core::Error::NotFound { .. }), "{error}");
    assert!(lab.files.open(&directory().join("lock"), Mode::Read).is_err(), "this is no disk");
}

/// Nobody may write where another holds the lock file that was there before.
#[test]
fn a_backup_whose_lock_file_was_removed_is_not_committed() {
    let mut lab = Lab::new();
    lab.backup(&image()).unwrap();
    let pending = lab.prepare(&image()).unwrap();
    lab.files.unlink(&directory().join("lock")).unwrap();
    lab.backup(&image()).unwrap();
    assert!(pending.commit().is_err());
    lab.check_revisions(&[]);
}
