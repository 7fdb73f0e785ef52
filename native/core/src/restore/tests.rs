//! Restores of real backups to real files: whole, parts, over what stands there, with damage.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::backup::{self, BackupParams, Source, Taken};
use crate::disk::{Disk, DiskLock, DiskOptions};
use crate::io::OsFiles;
use crate::probe::Piece;
use crate::records::{CacheBudget, Caches, Records};
use crate::segment::path_of;
use crate::source::PathSource;

const BLOCK: usize = 4096;
/// Blocks of the head.
const HEAD: usize = 32;

struct Lab {
    directory: tempfile::TempDir,
    disk: Disk,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = make_disk(&directory.path().join("disk"));
        Self { directory, disk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A revision of these bytes.
    fn backup(&self, content: &[u8]) -> Taken {
        backup_to(&self.disk, &self.path("source.img"), content)
    }

    fn image(&self, taken: &Taken) -> Image {
        let records = Records::new(
            Arc::clone(self.disk.files()),
            self.disk.paths().segments(),
            Arc::new(Caches::new(CacheBudget::JOB)),
        );
        Image::open(&self.disk, Arc::new(records), &taken.manifest.revision).unwrap()
    }

    /// Restores all of a revision over what stands at `target.img`.
    fn restore(&self, taken: &Taken, options: &Options) -> Result<Restored> {
        let image = self.image(taken);
        let window = Window::whole(image.geometry().size_bytes());
        let target = Target::file(&self.path("target.img"), true).unwrap();
        run(&image, &window, target, options, &Control::default())
    }

    fn target(&self) -> Vec<u8> {
        std::fs::read(self.path("target.img")).unwrap()
    }

    /// Overwrites the payload of the record of one block.
    fn damage(&self, taken: &Taken, block: u64) {
        let image = self.image(taken);
        let pointer = image.pointers(block..block + 1).unwrap()[0].unwrap();
        let segments = self.disk.paths().segments();
        let (_, entries) =
            crate::segment::SegmentReader::open_with_entries(&OsFiles, &segments, pointer.place.segment)
                .unwrap();
        let entry = entries.iter().find(|entry| entry.ordinal == pointer.place.ordinal).unwrap();
        let path = path_of(&segments, pointer.place.segment);
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        FileExt::write_all_at(&file, &[0xee; 16], u64::from(entry.offset) + 70).unwrap();
    }
}

fn make_disk(directory: &std::path::Path) -> Disk {
    let options = DiskOptions { block_size: BLOCK as u32, ..DiskOptions::default() };
    Disk::create(Arc::new(OsFiles), directory, options).unwrap()
}

fn backup_to(disk: &Disk, source: &std::path::Path, content: &[u8]) -> Taken {
    std::fs::write(source, content).unwrap();
    let params = BackupParams {
        name: "disk".into(),
        source: Source::Block(PathSource::open(source).unwrap().into()),
        description: serde_json::Map::new(),
        consistency: None,
        tags: vec!["manual".into()],
        threads: 2,
        require: None,
        background: backup::Background::default(),
    };
    let lock = DiskLock::take(&disk.paths().directory, "a test").unwrap();
    backup::prepare(disk, lock, params, Arc::default()).unwrap().commit().unwrap()
}

/// Blocks by number: 0 for zeros, else its own noise.
fn content(blocks: &[u8], tail: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = blocks.iter().flat_map(|&kind| block(kind)).collect();
    bytes.truncate(bytes.len().saturating_sub(tail));
    bytes
}

/// As [`content`], behind a head of other blocks.
fn behind_head(head: u8, blocks: &[u8]) -> Vec<u8> {
    content(&[&[head; HEAD], blocks].concat(), 0)
}

fn block(kind: u8) -> Vec<u8> {
    let mut state = u64::from(kind).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..BLOCK)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if kind == 0 { 0 } else { state as u8 }
        })
        .collect()
}

fn differential() -> Options {
    Options { threads: 2, differential: true, verify: true, ..Options::default() }
}

fn plain() -> Options {
    Options { threads: 2, verify: true, ..Options::default() }
}

fn seeking(source: Option<PathBuf>, disks: Vec<PathBuf>) -> Options {
    Options { copies: Copies { source, disks }, ..plain() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever stood on the target, and whichever part of the image is wanted, in one way or the
    /// other: afterwards the target holds it, and a second differential restore writes nothing.
    #[test]
    fn whatever_stood_there_the_target_holds_the_part_that_was_asked_for(
        blocks in proptest::collection::vec(0u8..6, 1..200),
        earlier in proptest::collection::vec(0u8..6, 0..220),
        tail in 0usize..BLOCK,
        pieces in proptest::collection::vec((0u64..800, 1u64..400), 0..4),
        is_differential: bool,
    ) {
        let lab = Lab::new();
        let bytes = content(&blocks, tail);
        prop_assume!(!bytes.is_empty());
        let image = lab.image(&lab.backup(&bytes));
        let unit = 1024;
        let pieces: Vec<Piece> = pieces
            .into_iter()
            .map(|(at, len)| (at * unit, (at + len) * unit))
            .filter(|&(_, end)| end <= bytes.len() as u64)
            .map(|(start, end)| Piece::Linear { offset_bytes: start, size_bytes: end - start })
            .collect();
        let (window, expected) = if pieces.is_empty() {
            (Window::whole(bytes.len() as u64), bytes)
        } else {
            let window = Window::new(&pieces, bytes.len() as u64).unwrap();
            let parts = window.ranges(0, window.size()).flat_map(|range| {
                let start = usize::try_from(range.image_offset).unwrap();
                bytes[start..start + usize::try_from(range.len).unwrap()].to_vec()
            });
            (Window::new(&pieces, bytes.len() as u64).unwrap(), parts.collect())
        };
        std::fs::write(lab.path("target.img"), content(&earlier, 0)).unwrap();
        let target = || Target::file(&lab.path("target.img"), true).unwrap();
        let options = if is_differential { differential() } else { plain() };
        let restored = run(&image, &window, target(), &options, &Control::default()).unwrap();
        prop_assert!(lab.target() == expected);
        prop_assert_eq!(restored.verified_bytes, window.size());
        let again = run(&image, &window, target(), &differential(), &Control::default()).unwrap();
        prop_assert_eq!((again.written_bytes, again.discarded_bytes), (0, 0));
        prop_assert_eq!(again.compared_bytes, window.size());
        prop_assert!(lab.target() == expected);
        // To a stream it goes in order.
        let path = lab.path("stream.img");
        let stream = Target::stream(std::fs::File::create(&path).unwrap().into());
        run(&image, &window, stream, &plain(), &Control::default()).unwrap();
        prop_assert!(std::fs::read(path).unwrap() == expected);
    }
}

#[test]
fn a_differential_restore_writes_what_differs_and_discards_what_should_be_zeros() {
    let lab = Lab::new();
    let mut blocks = vec![1u8; 300];
    blocks.iter_mut().zip(0..).for_each(|(kind, at)| *kind = at as u8 % 200 + 1);
    blocks[100..140].fill(0);
    let taken = lab.backup(&content(&blocks, 0));
    let mut changed = blocks.clone();
    changed[7] = 250;
    changed[8] = 0;
    changed[110] = 251;
    std::fs::write(lab.path("target.img"), content(&changed, 0)).unwrap();
    let restored = lab.restore(&taken, &differential()).unwrap();
    assert_eq!(restored.written_bytes, 2 * BLOCK as u64);
    assert_eq!(restored.discarded_bytes, BLOCK as u64);
    assert_eq!(restored.compared_bytes, 300 * BLOCK as u64);
    assert!(lab.target() == content(&blocks, 0));
}

#[test]
fn a_block_that_occurs_often_is_read_and_decoded_once() {
    let lab = Lab::new();
    let mut blocks = vec![9u8; 2000];
    blocks[1000] = 8;
    let taken = lab.backup(&content(&blocks, 0));
    let control = Control::default();
    let image = lab.image(&taken);
    let target = Target::file(&lab.path("target.img"), true).unwrap();
    let restored =
        run(&image, &Window::whole(2000 * BLOCK as u64), target, &Options::default(), &control).unwrap();
    assert_eq!(restored.written_bytes, 2000 * BLOCK as u64);
    // Those of the head, which comes last, one for all others, and the odd one.
    assert_eq!(control.progress().read_bytes, (HEAD + 2) as u64 * BLOCK as u64);
    assert_eq!(control.progress().done_bytes, 2000 * BLOCK as u64);
    assert!(lab.target() == content(&blocks, 0));
}

/// Files that lie on a target in the middle of a restore, seen by who is asked for the first copy.
#[test]
fn while_a_restore_is_under_way_the_target_has_no_head() {
    let lab = Lab::new();
    let taken = lab.backup(&behind_head(9, &[1, 2, 3, 4]));
    std::fs::write(lab.path("target.img"), behind_head(8, &[5, 5, 5, 5])).unwrap();
    let third = HEAD + 2;
    lab.damage(&taken, third as u64);
    let refused = lab.restore(&taken, &Options { differential: true, ..plain() });
    assert!(matches!(refused, Err(Error::Damaged { offset, .. }) if offset == (third * BLOCK) as u64));
    let left = lab.target();
    let head = &left[..HEAD * BLOCK];
    assert!(head.iter().all(|&byte| byte == 0), "the head came back although the rest is missing");
    assert!(left[third * BLOCK..][..BLOCK] == block(5));
    // What goes on afterwards finishes it.
    let options = Options { keep_going: true, keeps_lost: true, ..differential() };
    let restored = lab.restore(&taken, &options).unwrap();
    assert_eq!(restored.damaged.len(), 1);
    assert!(restored.damaged[0].kept);
    assert!(lab.target() == behind_head(9, &[1, 2, 5, 4]));
    // Over what is no earlier state of the disk, lost blocks become zeros.
    std::fs::write(lab.path("target.img"), behind_head(8, &[5, 5, 5, 5])).unwrap();
    let restored = lab.restore(&taken, &Options { keep_going: true, ..differential() }).unwrap();
    assert!(!restored.damaged[0].kept);
    assert!(lab.target() == behind_head(9, &[1, 2, 0, 4]));
}

#[test]
fn damage_in_the_head_leaves_the_earlier_head_or_stops_before_anything_is_changed() {
    let lab = Lab::new();
    let taken = lab.backup(&behind_head(9, &[1, 2]));
    let earlier = behind_head(8, &[5, 2]);
    std::fs::write(lab.path("target.img"), &earlier).unwrap();
    // All blocks of the head have one record.
    lab.damage(&taken, 0);
    assert!(matches!(lab.restore(&taken, &differential()), Err(Error::Damaged { offset: 0, .. })));
    assert!(lab.target() == earlier);
    let options = Options { keep_going: true, keeps_lost: true, ..differential() };
    let restored = lab.restore(&taken, &options).unwrap();
    assert_eq!(restored.damaged_bytes, (HEAD * BLOCK) as u64);
    assert!(lab.target() == behind_head(8, &[1, 2]));
}

#[test]
fn every_place_of_a_damaged_block_is_told() {
    let lab = Lab::new();
    let taken = lab.backup(&behind_head(9, &[1, 7, 2, 3, 7, 4, 7]));
    let places = [1, 4, 6].map(|at| ((HEAD + at) * BLOCK) as u64);
    lab.damage(&taken, places[0] / BLOCK as u64);
    let restored = lab.restore(&taken, &Options { keep_going: true, ..plain() }).unwrap();
    let told: Vec<_> = restored.damaged.iter().map(|part| (part.image_offset, part.target_offset)).collect();
    assert_eq!(told, places.map(|place| (place, place)));
    assert!(lab.target() == behind_head(9, &[1, 0, 2, 3, 0, 4, 0]));
}

#[test]
fn damage_without_a_copy_is_zeroed_and_told_when_it_shall_go_on() {
    let lab = Lab::new();
    let taken = lab.backup(&content(&[1, 2, 3, 4, 2], 100));
    std::fs::write(lab.path("target.img"), content(&[7; 9], 0)).unwrap();
    lab.damage(&taken, 1);
    let restored = lab.restore(&taken, &Options { keep_going: true, ..plain() }).unwrap();
    let part = DamagedPart {
        image_offset: BLOCK as u64,
        target_offset: BLOCK as u64,
        len: BLOCK as u64,
        kept: false,
    };
    assert_eq!((restored.damaged, restored.damaged_bytes), (vec![part], BLOCK as u64));
    // The last block is shorter, so it has a record of its own.
    assert!(lab.target() == content(&[1, 0, 3, 4, 2], 100));
    std::fs::remove_file(lab.path("target.img")).unwrap();
    assert!(matches!(lab.restore(&taken, &plain()), Err(Error::Damaged { .. })));
    assert!(!lab.path("target.img").exists());
}

#[test]
fn a_copy_is_found_on_the_target_in_the_source_and_in_other_disks() {
    let lab = Lab::new();
    let blocks = [1, 2, 3, 4, 5, 6];
    let taken = lab.backup(&content(&blocks, 0));
    let others = make_disk(&lab.path("other"));
    backup_to(&others, &lab.path("other.img"), &content(&[9, 4], 0));
    std::fs::write(lab.path("source.img"), content(&[0, 0, 3, 0], 0)).unwrap();
    std::fs::write(lab.path("target.img"), content(&[1, 2, 7, 7, 7, 7], 0)).unwrap();
    for block in [0, 1, 2, 3] {
        lab.damage(&taken, block);
    }
    let (source, other) = (lab.path("source.img"), others.paths().directory.clone());
    let disks = vec![lab.disk.paths().directory.clone(), other.clone()];
    let options = Options { differential: true, ..seeking(Some(source.clone()), disks) };
    let restored = lab.restore(&taken, &options).unwrap();
    let from = |count: u64, origin: Origin| (origin, count * BLOCK as u64);
    // The first two stand where they belong, which a differential restore sees by itself.
    let expected = BTreeMap::from([from(1, Origin::Source(source)), from(1, Origin::Disk(other))]);
    assert_eq!(restored.recovered, expected);
    assert_eq!(restored.damaged, []);
    assert!(lab.target() == content(&blocks, 0));
}

#[test]
fn a_copy_for_a_stream_is_found_in_the_source() {
    let lab = Lab::new();
    let taken = lab.backup(&content(&[1, 2, 3], 0));
    lab.damage(&taken, 1);
    let image = lab.image(&taken);
    let stream = || Target::stream(std::fs::File::create(lab.path("stream.img")).unwrap().into());
    let go = |options: &Options| {
        run(&image, &Window::whole(3 * BLOCK as u64), stream(), options, &Control::default())
    };
    assert!(matches!(go(&plain()), Err(Error::Damaged { .. })));
    let restored = go(&Options { keep_going: true, ..plain() }).unwrap();
    assert_eq!(restored.damaged_bytes, BLOCK as u64);
    assert!(std::fs::read(lab.path("stream.img")).unwrap() == content(&[1, 0, 3], 0));
    go(&seeking(Some(lab.path("source.img")), Vec::new())).unwrap();
    assert!(std::fs::read(lab.path("stream.img")).unwrap() == content(&[1, 2, 3], 0));
}

#[test]
fn a_lost_map_page_costs_what_it_names_alone() {
    let lab = Lab::new();
    let blocks: Vec<u8> = (0..200).map(|at| at as u8 + 1).collect();
    let taken = lab.backup(&content(&blocks, 0));
    let image = lab.image(&taken);
    // A page of the lowest level names 64 blocks; that of blocks 64 to 127 shall be lost.
    let first = image.pointers(64..65).unwrap()[0];
    let is_it = |plain: Vec<u8>| {
        let page = crate::map::Page::decode(plain.into(), 1, image.map().fanout);
        page.is_ok_and(|page| page.block(0) == first)
    };
    let segments = lab.disk.paths().segments();
    for id in lab.disk.segments().unwrap() {
        let (reader, entries) =
            crate::segment::SegmentReader::open_with_entries(&OsFiles, &segments, id).unwrap();
        for entry in entries.iter().filter(|entry| entry.kind == crate::record::Kind::Page) {
            if reader.read(entry.ordinal, entry.kind, &entry.digest, None).is_ok_and(is_it) {
                let file = std::fs::OpenOptions::new().write(true).open(path_of(&segments, id)).unwrap();
                FileExt::write_all_at(&file, &[0xee; 16], u64::from(entry.offset) + 70).unwrap();
            }
        }
    }
    let restored = lab.restore(&taken, &Options { keep_going: true, ..plain() }).unwrap();
    let part = DamagedPart {
        image_offset: 64 * BLOCK as u64,
        target_offset: 64 * BLOCK as u64,
        len: 64 * BLOCK as u64,
        kept: false,
    };
    assert_eq!(restored.damaged, [part]);
    let mut expected = blocks;
    expected[64..128].fill(0);
    assert!(lab.target() == content(&expected, 0));
}

#[test]
fn a_target_that_was_exchanged_is_refused_before_it_is_touched() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    std::fs::write(lab.path("target.img"), b"precious").unwrap();
    let metadata = std::fs::metadata(lab.path("target.img")).unwrap();
    let seen = Identity::File { device: target::numbers(metadata.dev()), inode: metadata.ino() };
    assert!(Target::file(&lab.path("target.img"), true).unwrap().require(Some(seen)).is_ok());
    let other = Identity::File { device: target::numbers(metadata.dev()), inode: metadata.ino() + 1 };
    assert!(Target::file(&lab.path("target.img"), true).unwrap().require(Some(other)).is_err());
    assert_eq!(lab.target(), b"precious");
}

/// What `rbd import-diff` makes of a diff: extents in any order, none twice.
fn apply(diff: &[u8], onto: &mut [u8]) {
    let mut rest = diff.strip_prefix(b"rbd diff v1\n").unwrap();
    let mut touched = vec![false; onto.len()];
    loop {
        let (tag, body) = rest.split_first().unwrap();
        if *tag == b'e' {
            assert!(body.is_empty());
            return;
        }
        let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap()) as usize;
        let (range, body) = (number(0)..number(0) + number(8), &body[16..]);
        assert!(touched[range.clone()].iter().all(|touched| !touched), "{range:?} comes twice");
        touched[range.clone()].fill(true);
        rest = match tag {
            b'z' => {
                onto[range].fill(0);
                body
            }
            b'w' => {
                let (bytes, rest) = body.split_at(range.len());
                onto[range].copy_from_slice(bytes);
                rest
            }
            other => panic!("a record {other}"),
        };
    }
}

impl Lab {
    /// Restores one stage as a diff, and applies it.
    fn restore_diff(
        &self,
        taken: &Taken,
        onto: &mut [u8],
        is_blank: bool,
        options: &Options,
    ) -> Result<Restored> {
        let image = self.image(taken);
        let window = Window::whole(image.geometry().size_bytes());
        let path = self.path("diff");
        let target = Target::diff(std::fs::File::create(&path).unwrap().into(), onto.len() as u64, is_blank);
        let restored = run(&image, &window, target, options, &Control::default())?;
        apply(&std::fs::read(path).unwrap(), onto);
        Ok(restored)
    }
}

fn stage(stage: Stage) -> Options {
    Options { stage, ..Options::default() }
}

#[test]
fn a_diff_puts_the_image_over_what_stands_there_with_the_head_on_its_own() {
    let lab = Lab::new();
    let wanted = behind_head(3, &[1, 0, 2, 1, 0, 0, 5, 1]);
    let taken = lab.backup(&wanted);
    let mut there = vec![0xaa; wanted.len() + 1000];
    let body = lab.restore_diff(&taken, &mut there, false, &stage(Stage::Body)).unwrap();
    assert!(there[..HEAD * BLOCK].iter().all(|byte| *byte == 0));
    assert!(there[HEAD * BLOCK..wanted.len()] == wanted[HEAD * BLOCK..]);
    assert_eq!(body.tail_bytes, 1000);
    assert_eq!((body.written_bytes, body.discarded_bytes), (5 * BLOCK as u64, 3 * BLOCK as u64));
    let head = lab.restore_diff(&taken, &mut there, false, &stage(Stage::Head)).unwrap();
    assert!(there[..wanted.len()] == wanted);
    assert!(there[wanted.len()..].iter().all(|byte| *byte == 0xaa));
    assert_eq!(head.written_bytes, (HEAD * BLOCK) as u64);
}

#[test]
fn a_diff_for_a_blank_image_says_nothing_of_zeros() {
    let lab = Lab::new();
    let wanted = behind_head(0, &[0, 4, 0, 0]);
    let taken = lab.backup(&wanted);
    let mut there = vec![0; wanted.len()];
    let body = lab.restore_diff(&taken, &mut there, true, &stage(Stage::Body)).unwrap();
    assert_eq!((body.written_bytes, body.skipped_bytes), (BLOCK as u64, 3 * BLOCK as u64));
    // The header, one extent, the end.
    assert_eq!(std::fs::metadata(lab.path("diff")).unwrap().len(), 12 + 17 + BLOCK as u64 + 1);
    lab.restore_diff(&taken, &mut there, true, &stage(Stage::Head)).unwrap();
    assert!(there == wanted);
}

#[test]
fn an_image_that_is_all_head_is_taken_away_before_it_is_written() {
    let lab = Lab::new();
    let wanted = content(&[7, 0, 8], 100);
    let taken = lab.backup(&wanted);
    let mut there = vec![0xaa; wanted.len()];
    lab.restore_diff(&taken, &mut there, false, &stage(Stage::Body)).unwrap();
    assert!(there.iter().all(|byte| *byte == 0));
    lab.restore_diff(&taken, &mut there, false, &stage(Stage::Head)).unwrap();
    assert!(there == wanted);
}

#[test]
fn a_diff_for_an_image_that_is_too_small_is_not_begun() {
    let lab = Lab::new();
    let taken = lab.backup(&behind_head(1, &[1]));
    let mut there = vec![0; HEAD * BLOCK];
    let refused = lab.restore_diff(&taken, &mut there, true, &stage(Stage::Body)).unwrap_err();
    assert!(matches!(refused, Error::TargetTooSmall { .. }), "{refused}");
    assert_eq!(std::fs::metadata(lab.path("diff")).unwrap().len(), 0);
}

#[test]
fn a_diff_goes_on_over_damage_where_that_was_asked_for_and_has_no_end_else() {
    let lab = Lab::new();
    let mut wanted = behind_head(1, &[2, 3, 0, 4]);
    let taken = lab.backup(&wanted);
    lab.damage(&taken, HEAD as u64 + 1);
    let mut there = vec![0xaa; wanted.len()];
    let refused = lab.restore_diff(&taken, &mut there, false, &stage(Stage::Body)).unwrap_err();
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    assert_ne!(std::fs::read(lab.path("diff")).unwrap().last(), Some(&b'e'));
    let keep_going = Options { keep_going: true, ..stage(Stage::Body) };
    let restored = lab.restore_diff(&taken, &mut there, false, &keep_going).unwrap();
    assert_eq!(restored.damaged_bytes, BLOCK as u64);
    lab.restore_diff(&taken, &mut there, false, &stage(Stage::Head)).unwrap();
    wanted[(HEAD + 1) * BLOCK..(HEAD + 2) * BLOCK].fill(0);
    assert!(there == wanted);
}
