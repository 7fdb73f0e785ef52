//! Backups of real files into real directories: what a revision holds is what the source held.

use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::disk::DiskOptions;
use crate::io::{Files, OsFiles};
use crate::map::ExtentState;
use crate::restore::{self, Options, Restored, Target};
use crate::segment::{SEGMENT_LEN_TARGET, path_of};
use crate::source::PathSource;
use crate::window::Window;

mod comparison;
mod differences;
mod streams;
mod terms;
mod warnings;

const BLOCK: u64 = 4096;

struct Lab {
    directory: tempfile::TempDir,
    disk: Disk,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = DiskOptions { block_size: BLOCK as u32, ..DiskOptions::default() };
        let disk = Disk::create(Arc::new(OsFiles), &directory.path().join("disk"), options).unwrap();
        Self { directory, disk }
    }

    fn source(&self) -> std::path::PathBuf {
        self.directory.path().join("source.img")
    }

    fn params(&self, source: Source) -> BackupParams {
        BackupParams {
            name: "disk".into(),
            source,
            description: serde_json::Map::new(),
            consistency: None,
            tags: vec!["manual".into()],
            threads: 3,
            require: None,
            background: Background::default(),
        }
    }

    fn prepare(&self, source: Source, control: &Arc<Control>) -> Result<Pending> {
        self.prepare_as(self.params(source), control)
    }

    fn prepare_as(&self, params: BackupParams, control: &Arc<Control>) -> Result<Pending> {
        let lock = DiskLock::take(&self.disk.paths().directory, "a test").unwrap();
        prepare(&self.disk, lock, params, Arc::clone(control))
    }

    fn backup(&self) -> Taken {
        let source = Source::Block(PathSource::open(&self.source()).unwrap().into());
        self.prepare(source, &Arc::default()).unwrap().commit().unwrap()
    }

    fn image(&self, taken: &Taken) -> Image {
        let records = Records::new(
            Arc::clone(self.disk.files()),
            self.disk.paths().segments(),
            Arc::new(Caches::new(CacheBudget::JOB)),
        );
        Image::open(&self.disk, Arc::new(records), &taken.manifest.revision).unwrap()
    }

    fn restored(&self, taken: &Taken) -> Vec<u8> {
        let path = self.directory.path().join("restored.img");
        let target = Target::file(&path, true).unwrap();
        restore(&self.image(taken), target, 2).unwrap();
        std::fs::read(path).unwrap()
    }

    fn segment_count(&self) -> usize {
        self.disk.segments().unwrap().len()
    }
}

fn restore(image: &Image, target: Target, threads: usize) -> Result<Restored> {
    let window = Window::whole(image.geometry().size_bytes());
    let options = Options { threads, ..Options::default() };
    restore::run(image, &window, target, &options, &Control::default())
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn a_backup_that_yields_takes_the_same_revision() {
    let lab = Lab::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(lab.source(), &bytes).unwrap();
    let control = Arc::new(Control::default());
    control.set_yielding(true);
    let source = Source::Block(PathSource::open(&lab.source()).unwrap().into());
    let taken = lab.prepare(source, &control).unwrap().commit().unwrap();
    assert_eq!(lab.restored(&taken), bytes);
}

#[test]
fn a_short_block_in_place_of_a_whole_one_reads_back_whatever_its_length() {
    let lab = Lab::new();
    for len in 64..=200u64 {
        std::fs::write(lab.source(), noise(len, BLOCK as usize)).unwrap();
        lab.backup();
        std::fs::OpenOptions::new().write(true).open(lab.source()).unwrap().set_len(len).unwrap();
        let taken = lab.backup();
        assert_eq!(lab.restored(&taken), noise(len, BLOCK as usize)[..len as usize]);
    }
}

#[test]
fn an_unchanged_disk_adds_no_segment_and_keeps_its_root() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(1, 100_000)).unwrap();
    let first = lab.backup();
    let segments = lab.segment_count();
    let second = lab.backup();
    assert!(!first.unchanged && second.unchanged);
    assert_eq!(second.manifest.image_digest, first.manifest.image_digest);
    assert_eq!(second.manifest.counters.stored_bytes, 0);
    assert_eq!(lab.segment_count(), segments);
    assert_eq!(second.manifest.sequence, first.manifest.sequence + 1);
}

#[test]
fn a_restore_to_a_pipe_that_does_not_block_waits_for_its_reader() {
    use std::io::Read;
    let lab = Lab::new();
    let bytes = noise(3, 1_500_000);
    std::fs::write(lab.source(), &bytes).unwrap();
    let image = lab.image(&lab.backup());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let restoring = std::thread::spawn(move || restore(&image, Target::stream(writer.into()), 3).unwrap());
    let mut found = Vec::new();
    reader.read_to_end(&mut found).unwrap();
    assert_eq!(restoring.join().unwrap().written_bytes, 1_500_000);
    assert!(found == bytes);
}

#[test]
fn equal_blocks_are_stored_once() {
    let lab = Lab::new();
    let block = noise(9, BLOCK as usize);
    std::fs::write(lab.source(), block.repeat(1000)).unwrap();
    let taken = lab.backup();
    assert!(taken.manifest.counters.stored_bytes < 300_000, "{:?}", taken.manifest.counters);
    // A disk that gets the same content elsewhere later finds it by the index.
    let mut moved = vec![1; BLOCK as usize];
    moved.extend(block.repeat(3));
    std::fs::write(lab.source(), moved).unwrap();
    let before = taken.manifest.counters.stored_bytes;
    assert!(lab.backup().manifest.counters.stored_bytes < before);
}

#[test]
fn holes_cost_nothing_however_many_there_are() {
    let lab = Lab::new();
    let file = std::fs::File::create(lab.source()).unwrap();
    file.set_len(1 << 43).unwrap();
    file.write_all_at(b"far away", 1 << 42).unwrap();
    let taken = lab.backup();
    assert_eq!(taken.manifest.counters.changed_bytes, BLOCK);
    assert_eq!(taken.manifest.reading.holes, Holes::Seek);
    let image = lab.image(&taken);
    let extents = image.extents(0, u64::MAX, 10).unwrap();
    let states: Vec<_> = extents.iter().map(|extent| extent.state).collect();
    assert_eq!(states, [ExtentState::Zero, ExtentState::Data, ExtentState::Zero]);
    assert_eq!(extents[1].offset, 1 << 42);
    let mut found = [9; 12];
    assert_eq!(image.read(&mut found, (1 << 42) - 2).unwrap(), 12);
    assert_eq!(&found, b"\0\0far away\0\0");
}

fn is_tmpfs(path: &Path) -> bool {
    rustix::fs::statfs(path).unwrap().f_type == 0x0102_1994
}

#[test]
fn a_file_that_nobody_wrote_to_is_a_snapshot() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(4, 100_000)).unwrap();
    let expected = if is_tmpfs(&lab.source()) { Consistency::Live } else { Consistency::Snapshot };
    assert_eq!(lab.backup().manifest.consistency, expected);
    let source = PathSource::open(&lab.source()).unwrap();
    let witness = source.witness();
    std::fs::OpenOptions::new().write(true).open(lab.source()).unwrap().write_all_at(b"x", 50_000).unwrap();
    assert!(!witness.nothing_wrote(&source));
}

#[test]
fn a_cancelled_backup_leaves_no_revision_and_the_next_one_goes_through() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(5, 3_000_000)).unwrap();
    let control = Arc::<Control>::default();
    control.cancel();
    let source = Source::Block(PathSource::open(&lab.source()).unwrap().into());
    assert!(matches!(lab.prepare(source, &control), Err(Error::Cancelled)));
    assert!(lab.disk.revisions().unwrap().is_empty());
    assert_eq!(lab.segment_count(), 0);
    let taken = lab.backup();
    assert_eq!(lab.restored(&taken), std::fs::read(lab.source()).unwrap());
}

#[test]
fn an_aborted_backup_shows_nothing_and_its_segments_are_adopted() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(6, 3_000_000)).unwrap();
    let source = Source::Block(PathSource::open(&lab.source()).unwrap().into());
    lab.prepare(source, &Arc::default()).unwrap().abort();
    assert!(lab.disk.revisions().unwrap().is_empty());
    // What a crash would have left besides: an unsealed segment and a temporary file.
    std::fs::write(path_of(&lab.disk.paths().segments(), SegmentId(40)), b"CAIRNSEG half").unwrap();
    std::fs::write(lab.disk.paths().revisions().join("x.json.tmp"), b"{").unwrap();
    std::fs::remove_file(lab.disk.paths().dedup()).unwrap();
    let taken = lab.backup();
    assert!(
        taken.manifest.counters.stored_bytes < 100_000,
        "blocks were adopted: {:?}",
        taken.manifest.counters
    );
    assert_eq!(lab.restored(&taken), std::fs::read(lab.source()).unwrap());
    assert!(!path_of(&lab.disk.paths().segments(), SegmentId(40)).exists());
    assert!(!lab.disk.paths().revisions().join("x.json.tmp").exists());
}

#[test]
fn a_damaged_map_page_of_the_parent_costs_its_sharing_and_nothing_else() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(7, 3_000_000)).unwrap();
    lab.backup();
    for id in lab.disk.segments().unwrap() {
        let path = path_of(&lab.disk.paths().segments(), id);
        let reader =
            crate::segment::SegmentReader::open_with_entries(&OsFiles, &lab.disk.paths().segments(), id);
        let mut bytes = std::fs::read(&path).unwrap();
        for entry in reader.unwrap().1.iter().filter(|entry| entry.kind == crate::record::Kind::Page) {
            bytes[entry.offset as usize + 70] ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    let second = lab.backup();
    assert_eq!(second.warnings.len(), 1, "{:?}", second.warnings);
    assert_eq!(lab.restored(&second), std::fs::read(lab.source()).unwrap());
    assert!(
        second.manifest.counters.stored_bytes < 200_000,
        "only the map is new: {:?}",
        second.manifest.counters
    );
}

/// A block that was stored before the damage was met must not be taken for stored by the second pass.
#[test]
fn a_damaged_parent_map_loses_no_block_that_changed_before_the_damage() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(7, 32 << 20)).unwrap();
    lab.backup();
    // Leaves are written in the order of the disk, so this one comes long after the change.
    let segments = lab.disk.paths().segments();
    for id in lab.disk.segments().unwrap() {
        let (_, entries) = crate::segment::SegmentReader::open_with_entries(&OsFiles, &segments, id).unwrap();
        let leaf = entries.iter().filter(|entry| entry.kind == crate::record::Kind::Page).nth(120);
        if let Some(leaf) = leaf {
            let path = path_of(&segments, id);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[leaf.offset as usize + 70] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let source = std::fs::OpenOptions::new().write(true).open(lab.source()).unwrap();
    source.write_all_at(&noise(70, 20_000), 0).unwrap();
    let second = lab.backup();
    assert_eq!(second.warnings.len(), 1, "{:?}", second.warnings);
    assert!(lab.restored(&second) == std::fs::read(lab.source()).unwrap());
}

/// What the first pass had sealed keeps its number, and the second pass goes on above it.
#[test]
fn a_damaged_parent_map_is_no_matter_after_a_segment_was_sealed() {
    let lab = Lab::new();
    let len = SEGMENT_LEN_TARGET as usize + (8 << 20);
    std::fs::File::create(lab.source()).unwrap().set_len(len as u64).unwrap();
    let source = std::fs::OpenOptions::new().write(true).open(lab.source()).unwrap();
    source.write_all_at(b"x", len as u64 - 1).unwrap();
    lab.backup();
    let segments = lab.disk.paths().segments();
    let path = path_of(&segments, SegmentId(2));
    let (_, entries) =
        crate::segment::SegmentReader::open_with_entries(&OsFiles, &segments, SegmentId(2)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[entries[0].offset as usize + 70] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    source.write_all_at(&noise(71, len - 4096), 0).unwrap();
    let second = lab.backup();
    assert_eq!(second.warnings.len(), 1, "{:?}", second.warnings);
    let image = lab.image(&second);
    let mut found = vec![0; len];
    image.read(&mut found, 0).unwrap();
    assert!(found == std::fs::read(lab.source()).unwrap());
}

#[test]
fn reading_beyond_the_end_of_an_odd_image_gives_nothing() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(1, 10_001)).unwrap();
    let image = lab.image(&lab.backup());
    for offset in [10_001, 10_002, 12_287, 12_288, 1 << 40, u64::MAX] {
        assert_eq!(image.read(&mut [0; 10], offset).unwrap(), 0, "at {offset}");
    }
    assert_eq!(image.read(&mut [0; 10], 9_999).unwrap(), 2);
}

/// What a damaged manifest names may be all that its copy needs.
#[test]
fn segments_of_a_damaged_manifest_are_not_swept() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(1, 50_000)).unwrap();
    lab.backup();
    std::fs::write(lab.source(), noise(2, 50_000)).unwrap();
    let damaged = lab.backup();
    let manifest = lab.disk.paths().manifest(&damaged.manifest.revision);
    let whole = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &whole[1..]).unwrap();
    let last = path_of(&lab.disk.paths().segments(), SegmentId(damaged.manifest.highest_segment));
    let mut bytes = std::fs::read(&last).unwrap();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    std::fs::write(&last, &bytes).unwrap();
    let third = lab.backup();
    assert_eq!(std::fs::read(&last).unwrap(), bytes);
    assert!(third.manifest.highest_segment >= damaged.manifest.highest_segment);
}

#[test]
fn numbers_of_a_hostile_manifest_do_not_overflow() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(1, 50_000)).unwrap();
    let taken = lab.backup();
    let path = lab.disk.paths().manifest(&taken.manifest.revision);
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = taken.manifest.clone();
        change(&mut manifest);
        std::fs::write(&path, text::encode(&manifest).unwrap()).unwrap();
        std::fs::write(lab.source(), noise(2, 50_000)).unwrap();
        let source = Source::Block(PathSource::open(&lab.source()).unwrap().into());
        lab.prepare(source, &Arc::default()).map(Pending::abort)
    };
    let error = with(&|manifest| manifest.highest_segment = u32::MAX).unwrap_err();
    assert!(error.to_string().contains("segment numbers"), "{error}");
    with(&|manifest| manifest.sequence = u64::MAX).unwrap();
    assert!(matches!(lab.disk.manifest(&taken.manifest.revision), Err(Error::Corrupt { .. })));
}

#[test]
fn a_disk_that_was_moved_away_during_its_backup_gets_no_revision() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(1, 50_000)).unwrap();
    let source = Source::Block(PathSource::open(&lab.source()).unwrap().into());
    let pending = lab.prepare(source, &Arc::default()).unwrap();
    std::fs::rename(&lab.disk.paths().directory, lab.directory.path().join("moved")).unwrap();
    Disk::create(Arc::new(OsFiles), &lab.disk.paths().directory, DiskOptions::default()).unwrap();
    let error = pending.commit().unwrap_err();
    assert!(error.to_string().contains("was moved"), "{error}");
    assert!(lab.disk.revisions().unwrap().is_empty());
}

#[test]
fn a_lock_file_that_is_a_link_is_not_written_to() {
    let lab = Lab::new();
    let (lock, outside) = (lab.disk.paths().lock(), lab.directory.path().join("outside"));
    std::fs::write(&outside, b"precious").unwrap();
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&outside, &lock).unwrap();
    assert!(DiskLock::take(&lab.disk.paths().directory, "a test").is_err());
    assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
}

#[test]
fn a_second_lock_names_the_holder() {
    let lab = Lab::new();
    let directory = &lab.disk.paths().directory;
    let mut first = DiskLock::take(directory, "cairn backup (pid 1)").unwrap();
    let second = DiskLock::take(directory, "another").unwrap_err();
    assert!(second.to_string().ends_with("is locked by cairn backup (pid 1)"), "{second}");
    first.release();
    DiskLock::take(directory, "another").unwrap();
}

#[test]
fn of_two_that_take_a_lock_at_the_same_instant_one_has_it_and_the_other_says_who() {
    let lab = Lab::new();
    let directory = &lab.disk.paths().directory;
    let (start, end) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let race = |holder| {
        start.wait();
        let taken = DiskLock::take(directory, holder);
        end.wait();
        taken
    };
    for _ in 0..100 {
        let results = std::thread::scope(|scope| {
            let rival = scope.spawn(|| race("cairn backup (pid 1)"));
            [race("cairn collect (pid 2)"), rival.join().unwrap()]
        });
        let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].to_string().contains("(pid "), "{}", refused[0]);
    }
}

#[test]
fn flipped_bits_in_segments_give_errors_and_never_wrong_bytes() {
    let lab = Lab::new();
    let bytes = noise(8, 400_000);
    std::fs::write(lab.source(), &bytes).unwrap();
    let taken = lab.backup();
    let segments = lab.disk.paths().segments();
    let path = path_of(&segments, SegmentId(1));
    let whole = OsFiles.read(&path, 1 << 30).unwrap();
    let mut damaged_reads = 0;
    for at in (100..whole.len()).step_by(whole.len() / 61) {
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, bad).unwrap();
        let image = lab.image(&taken);
        for offset in (0..bytes.len()).step_by(BLOCK as usize) {
            let mut found = vec![0; (bytes.len() - offset).min(BLOCK as usize)];
            match image.read(&mut found, offset as u64) {
                Ok(_) => assert_eq!(found, bytes[offset..offset + found.len()]),
                Err(Error::Corrupt { .. }) => damaged_reads += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(damaged_reads > 0);
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, len: usize, seed: u64 },
    Zero { at: usize, len: usize },
    Resize(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0usize..300_000;
    prop_oneof![
        3 => (at.clone(), 1usize..20_000, any::<u64>()).prop_map(|(at, len, seed)| Change::Write { at, len, seed }),
        1 => (at.clone(), 1usize..50_000).prop_map(|(at, len)| Change::Zero { at, len }),
        1 => at.prop_map(Change::Resize),
    ]
}

fn write_file(path: &Path, bytes: &[u8], punch: bool) {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (index, block) in bytes.chunks(BLOCK as usize).enumerate() {
        if !punch || block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, index as u64 * BLOCK).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Writes, zeros, growth and shrinking: every revision, also after later ones, is the source
    /// as it was, and the difference of two is a cover of what differs.
    #[test]
    fn every_revision_stays_what_its_source_was(rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..6), 1..5), punch: bool) {
        let lab = Lab::new();
        let mut content = Vec::new();
        let mut history = Vec::new();
        for changes in rounds {
            for change in changes {
                match change {
                    Change::Write { at, len, seed } => {
                        content.resize(content.len().max(at + len), 0);
                        content[at..at + len].copy_from_slice(&noise(seed, len));
                    }
                    Change::Zero { at, len } => {
                        let end = (at + len).min(content.len());
                        if at < end { content[at..end].fill(0) }
                    }
                    Change::Resize(len) => content.resize(len, 0),
                }
            }
            write_file(&lab.source(), &content, punch);
            history.push((lab.backup(), content.clone()));
        }
        for (taken, content) in &history {
            prop_assert_eq!(&lab.restored(taken), content);
        }
        for pair in history.windows(2) {
            let [(old, before), (new, after)] = pair else { unreachable!() };
            let (old, new) = (lab.image(old), lab.image(new));
            let changes = old.changes_to(&new, 0, usize::MAX).unwrap();
            let covered = |at: usize| changes.iter().any(|extent| (extent.offset..extent.offset + extent.len).contains(&(at as u64)));
            for at in 0..after.len() {
                prop_assert!(before.get(at) == after.get(at) || covered(at), "byte {} changed", at);
            }
        }
    }
}
