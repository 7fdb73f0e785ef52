//! That the model loses what it may lose, and nothing else.

use super::*;
use crate::io::{Staged, replace, stage};

const SEEDS: std::ops::Range<u64> = 0..1000;
const SEED: u64 = 5;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

/// A durable directory.
fn files() -> SimulatedFiles {
    let files = SimulatedFiles::new(1);
    files.create_directory(Path::new("/d")).unwrap();
    files.sync_directory(Path::new("/")).unwrap();
    files
}

fn durable(files: &SimulatedFiles, name: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = files.open(&path(name), Mode::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync().unwrap();
    files.sync_directory(Path::new("/d")).unwrap();
    file
}

fn content(files: &SimulatedFiles, name: &str) -> Option<Vec<u8>> {
    files.read(&path(name), 1 << 20).ok()
}

/// What is found after power cuts with all seeds, without repetitions.
fn outcomes<T: Ord>(files: &SimulatedFiles, look: impl Fn(&SimulatedFiles) -> T) -> Vec<T> {
    let mut all: Vec<_> = SEEDS.map(|seed| look(&files.after_power_cut(seed))).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn it_behaves_as_files_do() {
    let files = SimulatedFiles::new(1);
    files.create_directory(Path::new("/r")).unwrap();
    crate::io::memory::tests::behaves(&files, Path::new("/r"));
}

#[test]
fn what_was_synced_is_never_lost() {
    let files = files();
    durable(&files, "f", b"synced");
    assert_eq!(outcomes(&files, |files| content(files, "f")), [Some(b"synced".to_vec())]);
    assert_eq!(files.stored(&path("f")), Some(b"synced".to_vec()));
}

#[test]
fn what_was_not_synced_may_be_lost_or_not() {
    let files = files();
    let file = files.open(&path("f"), Mode::CreateNew).unwrap();
    file.write_all_at(b"bytes", 0).unwrap();
    let found = outcomes(&files, |files| content(files, "f"));
    assert!(found.contains(&None), "the name");
    assert!(found.contains(&Some(Vec::new())), "the bytes");
    assert!(found.contains(&Some(b"bytes".to_vec())));
    assert!(found.contains(&Some(vec![0; 5])), "the length, but not the bytes");
    // A name is not its bytes, and bytes are not their name.
    file.sync().unwrap();
    assert_eq!(outcomes(&files, |files| content(files, "f")), [None, Some(b"bytes".to_vec())]);
}

#[test]
fn writes_are_torn_by_sectors_and_come_in_any_order() {
    let files = files();
    let file = durable(&files, "f", &[0; 2048]);
    file.write_all_at(&[1; 1024], 0).unwrap();
    file.write_all_at(&[2; 1024], 1024).unwrap();
    let found = outcomes(&files, |files| {
        let bytes = content(files, "f").unwrap();
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|&byte| byte == sector[0])));
        sectors
    });
    assert_eq!(found.len(), 16, "every subset of the four sectors: {found:?}");
}

#[test]
fn an_old_file_that_was_replaced_is_there_or_the_new_one() {
    let files = files();
    durable(&files, "f", b"old");
    let staged: Staged = stage(&files, &path("f"), b"new").unwrap();
    staged.publish(&files).unwrap();
    let found = outcomes(&files, |files| content(files, "f"));
    assert_eq!(found, [Some(b"new".to_vec()), Some(b"old".to_vec())]);
    replace(&files, &path("f"), b"newest").unwrap();
    assert_eq!(outcomes(&files, |files| content(files, "f")), [Some(b"newest".to_vec())]);
}

#[test]
fn names_are_lost_out_of_order() {
    let files = files();
    for name in ["a", "b"] {
        files.open(&path(name), Mode::CreateNew).unwrap();
    }
    let found = outcomes(&files, |files| files.list(Path::new("/d")).unwrap());
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn a_file_that_goes_to_another_directory_is_in_one_of_them_at_least() {
    let files = files();
    durable(&files, "f", b"bytes");
    files.create_directory(Path::new("/e")).unwrap();
    files.sync_directory(Path::new("/")).unwrap();
    files.rename(&path("f"), Path::new("/e/f")).unwrap();
    let look = |files: &SimulatedFiles| {
        let found = (files.identity(&path("f")).is_ok(), files.identity(Path::new("/e/f")).is_ok());
        assert!(found.0 || found.1);
        found
    };
    assert_eq!(outcomes(&files, look), [(false, true), (true, false)]);
    files.sync_directory(Path::new("/e")).unwrap();
    assert_eq!(outcomes(&files, look), [(false, true), (true, true)]);
    files.sync_directory(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&files, look), [(false, true)]);
}

#[test]
fn a_directory_that_is_lost_takes_along_what_is_in_it() {
    let files = SimulatedFiles::new(1);
    files.create_directory(Path::new("/d")).unwrap();
    durable(&files, "f", b"bytes");
    let found =
        outcomes(&files, |files| (files.list(Path::new("/d")).is_ok(), content(files, "f").is_some()));
    assert_eq!(found, [(false, false), (true, true)]);
}

#[test]
fn a_failed_sync_loses_what_a_later_one_does_not_bring_back() {
    let mut was_seen_in_memory = false;
    let mut was_lost = false;
    for seed in SEEDS {
        let files = SimulatedFiles::new(seed);
        files.create_directory(Path::new("/d")).unwrap();
        files.sync_directory(Path::new("/")).unwrap();
        let file = durable(&files, "f", b"old");
        files.plan(&[Fault::Fail { at: 1, errno: libc::EIO }], seed);
        file.write_all_at(b"new", 0).unwrap();
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(libc::EIO));
        let in_memory = content(&files, "f").unwrap();
        file.sync().unwrap();
        let again = files.after_kill();
        again.open(&path("f"), Mode::Update).unwrap().sync().unwrap();
        assert_eq!(content(&again, "f").unwrap(), in_memory);
        let stored = content(&again.after_power_cut(seed), "f").unwrap();
        was_lost |= stored == b"old";
        was_seen_in_memory |= in_memory == b"new" && stored == b"old";
        // What is written anew is there after the next sync.
        file.write_all_at(b"newer", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(content(&files.after_power_cut(seed), "f").unwrap(), b"newer");
    }
    assert!(was_lost && was_seen_in_memory);
}

#[test]
fn a_failed_sync_of_a_directory_loses_names() {
    let lost = SEEDS.filter(|&seed| {
        let files = SimulatedFiles::new(seed);
        files.plan(&[Fault::Fail { at: 1, errno: libc::EIO }], seed);
        files.open(Path::new("/f"), Mode::CreateNew).unwrap();
        files.sync_directory(Path::new("/")).unwrap_err();
        files.sync_directory(Path::new("/")).unwrap();
        assert!(files.identity(Path::new("/f")).is_ok());
        files.after_power_cut(seed).identity(Path::new("/f")).is_err()
    });
    assert!((300..700).contains(&lost.count()));
}

#[test]
fn faults_come_at_their_operation() {
    let files = files();
    let file = durable(&files, "f", &[0; 4096]);
    files.plan(&[Fault::Fail { at: 1, errno: libc::ENOSPC }], SEED);
    file.write_all_at(b"x", 0).unwrap();
    assert_eq!(file.write_all_at(b"x", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_all_at(b"x", 0).unwrap();
    assert_eq!(files.calls().len(), 3);

    files.plan(&[Fault::Full { at: 0 }], SEED);
    assert_eq!(file.write_all_at(b"x", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(files.open(&path("g"), Mode::CreateNew).is_err());
    assert!(content(&files, "f").is_some());
    files.unlink(&path("f")).unwrap();

    files.plan(&[Fault::Stop { at: 1 }], SEED);
    file.write_all_at(&[1; 4096], 0).unwrap();
    assert!(file.write_all_at(&[2; 4096], 0).is_err());
    assert!(file.len().is_err() && files.list(Path::new("/d")).is_err());
    assert!(files.after_kill().list(Path::new("/d")).unwrap().is_empty());
}

#[test]
fn an_operation_that_is_torn_is_done_in_part() {
    let mut lens: Vec<_> = SEEDS
        .map(|seed| {
            let files = SimulatedFiles::new(seed);
            let file = files.open(Path::new("/f"), Mode::CreateNew).unwrap();
            files.plan(&[Fault::Tear { at: 0 }], seed);
            assert!(file.write_all_at(&[1; 20], 0).is_err());
            files.after_kill().read(Path::new("/f"), 100).unwrap().len()
        })
        .collect();
    lens.sort_unstable();
    lens.dedup();
    assert!(lens.len() > 15, "{lens:?}");
}

#[test]
fn locks_die_with_their_holders() {
    let files = files();
    let file = durable(&files, "f", b"");
    assert!(file.try_flock(Lock::Exclusive).unwrap());
    for files in [files.after_kill(), files.after_power_cut(1)] {
        assert!(files.open(&path("f"), Mode::Read).unwrap().try_flock(Lock::Exclusive).unwrap());
    }
}
