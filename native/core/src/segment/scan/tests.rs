//! Scans of whole, damaged and hostile segments.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::io::{File, FileIdentity, Lock, MemoryFiles, ReadAt};
use crate::record::Kind;
use crate::segment::{SealedSegment, SegmentReader, SegmentWriter, index};

const ID: SegmentId = SegmentId(7);
const SEGMENTS: &str = "/segments";
const HEADER: FileHeader = FileHeader { disk_id: [7; 16], created_unix_s: 1234 };

/// A segment in memory, and its bytes before anything is done to them.
struct Lab {
    files: MemoryFiles,
    sealed: SealedSegment,
    bytes: Vec<u8>,
}

impl Lab {
    fn new(codec: Codec, plains: &[Vec<u8>]) -> Self {
        let files = MemoryFiles::default();
        files.create_directory(Path::new(SEGMENTS)).unwrap();
        let mut writer = SegmentWriter::create(&files, Path::new(SEGMENTS), ID, [7; 16], 1234).unwrap();
        for plain in plains {
            let (used, payload) = codec::encode(codec, plain);
            let digest = Digest::of(Context::Block, plain);
            writer.append(Kind::Block, used, digest, plain.len() as u32, &payload).unwrap();
        }
        let sealed = writer.seal(&files).unwrap();
        let bytes = files.read(&path(), usize::MAX).unwrap();
        Self { files, sealed, bytes }
    }

    fn scan_of(&self, bytes: &[u8]) -> Scanned {
        self.files.unlink(&path()).unwrap();
        self.files.open(&path(), Mode::CreateNew).unwrap().write_all_at(bytes, 0).unwrap();
        scan(&self.files, Path::new(SEGMENTS), ID).unwrap()
    }

    fn scan_with(&self, damage: impl FnOnce(&mut Vec<u8>)) -> Scanned {
        let mut bytes = self.bytes.clone();
        damage(&mut bytes);
        self.scan_of(&bytes)
    }

    fn entry(&self, ordinal: usize) -> IndexEntry {
        self.sealed.entries[ordinal]
    }

    /// Where a record's header and payload lie.
    fn place(&self, ordinal: usize) -> Range<usize> {
        self.entry(ordinal).offset as usize..end_of(&self.entry(ordinal)) as usize
    }

    fn index_at(&self) -> usize {
        self.bytes.len() - index::len_of(self.sealed.entries.len())
    }

    /// Entries without those of some ordinals.
    fn without(&self, ordinals: &[u32]) -> Vec<IndexEntry> {
        let entries = self.sealed.entries.iter().copied();
        entries.filter(|entry| !ordinals.contains(&entry.ordinal.0)).collect()
    }
}

fn path() -> std::path::PathBuf {
    path_of(Path::new(SEGMENTS), ID)
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let words = 0..len.div_ceil(32) as u64;
    let mut bytes: Vec<_> = words
        .flat_map(|at| Digest::of(Context::Block, &[seed, at].map(u64::to_le_bytes).concat()).0)
        .collect();
    bytes.truncate(len);
    bytes
}

fn plains() -> Vec<Vec<u8>> {
    (0..20).map(|number| noise(number, 1000 + number as usize * 300)).collect()
}

fn ordinals(numbers: &[u32]) -> Vec<Ordinal> {
    numbers.iter().copied().map(Ordinal).collect()
}

/// A record as a guest would make it up.
fn record(ordinal: u32, codec: Codec, plain: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = Header {
        kind: Kind::Block,
        codec,
        segment: ID,
        ordinal: Ordinal(ordinal),
        plain_len: plain.len() as u32,
        payload_len: payload.len() as u32,
        digest: Digest::of(Context::Block, plain),
    };
    [&header.encode()[..], payload].concat()
}

fn plain_record(ordinal: u32, plain: &[u8]) -> Vec<u8> {
    record(ordinal, Codec::Plain, plain, plain)
}

/// A block of `len` bytes with records of this very segment in it, of these ordinals.
fn forged_block(seed: u64, ordinals: Range<u32>, len: usize) -> Vec<u8> {
    let mut block = noise(seed, 100);
    for ordinal in ordinals {
        block.extend(plain_record(ordinal, &noise(seed + u64::from(ordinal), 200)));
    }
    assert!(block.len() <= len);
    let rest = noise(seed, len - block.len());
    block.extend(rest);
    block
}

/// Twenty blocks, of which 4 and 12 are full of records that claim numbers of real ones.
fn forged() -> Lab {
    let mut plains = plains();
    plains[4] = forged_block(1000, 0..20, 8192);
    plains[12] = forged_block(2000, 0..20, 8192);
    Lab::new(Codec::Plain, &plains)
}

#[test]
fn a_whole_segment_is_found_as_its_index_tells() {
    for codec in [Codec::Plain, Codec::Zstd, Codec::Lz4] {
        let lab = Lab::new(codec, &[plains(), vec![vec![], vec![1; 3 << 20], vec![5; 99]]].concat());
        let expected = Scanned {
            entries: lab.sealed.entries.clone(),
            damaged: Vec::new(),
            uncertain: Vec::new(),
            skipped_bytes: 0,
            has_index: true,
            header: Some(HEADER),
        };
        assert_eq!(lab.scan_with(|_| {}), expected);
        let index_at = lab.index_at();
        let broken = lab.scan_with(|bytes| bytes[index_at + 20] ^= 1);
        assert_eq!(broken, Scanned { has_index: false, ..expected });
        assert!(SegmentReader::open(&lab.files, Path::new(SEGMENTS), ID).is_err());
        for (entry, plain) in broken.entries.iter().zip(plains()) {
            assert_eq!(read_found(&lab.files, Path::new(SEGMENTS), ID, entry).unwrap(), plain);
        }
    }
}

#[test]
fn without_trailer_or_index_all_records_are_sure() {
    let lab = forged();
    for len in [lab.bytes.len() - 1, lab.bytes.len() - TRAILER_LEN, lab.index_at() + 10, lab.index_at()] {
        let scanned = lab.scan_with(|bytes| bytes.truncate(len));
        assert_eq!(scanned.entries, lab.sealed.entries);
        assert_eq!((scanned.damaged, scanned.uncertain), (vec![], vec![]));
        assert_eq!(scanned.skipped_bytes as usize, len - lab.index_at());
    }
}

#[test]
fn a_record_that_is_cut_off_is_told_and_not_listed() {
    let lab = forged();
    for at in [lab.place(12).start + HEADER_LEN, lab.place(12).start + 3000, lab.place(12).end - 1] {
        let scanned = lab.scan_with(|bytes| bytes.truncate(at));
        assert_eq!(scanned.entries, lab.sealed.entries[..12]);
        assert_eq!((scanned.damaged, scanned.uncertain), (ordinals(&[12]), vec![]));
        assert_eq!(scanned.skipped_bytes as usize, at - lab.place(12).start);
    }
}

#[test]
fn a_payload_that_is_damaged_costs_itself() {
    let lab = forged();
    for cut_index in [false, true] {
        let scanned = lab.scan_with(|bytes| {
            bytes[lab.place(4).start + HEADER_LEN + 50] ^= 1;
            bytes[lab.place(7).end - 1] ^= 1;
            bytes.truncate(if cut_index { lab.index_at() } else { bytes.len() });
        });
        assert_eq!(scanned.entries, lab.sealed.entries);
        assert_eq!((scanned.damaged, scanned.uncertain), (ordinals(&[4, 7]), vec![]));
        let read = |ordinal| read_found(&lab.files, Path::new(SEGMENTS), ID, &lab.entry(ordinal));
        assert!(read(4).is_err() && read(5).is_ok());
    }
}

#[test]
fn while_the_index_is_whole_nothing_is_made_up() {
    let lab = forged();
    let scanned = lab.scan_with(|bytes| bytes[lab.place(4).start + 30] ^= 1);
    assert_eq!(scanned.entries, lab.without(&[4]));
    assert_eq!((scanned.damaged, scanned.uncertain), (vec![], vec![]));
    assert_eq!(scanned.skipped_bytes as usize, lab.place(4).len());
}

#[test]
fn what_a_damaged_index_still_tells_is_sure() {
    let mut plains = plains();
    plains[4] = forged_block(1000, 0..24, 16384);
    let lab = Lab::new(Codec::Plain, &plains);
    let entry_at = |ordinal: usize| lab.index_at() + ordinal * ENTRY_LEN;
    for told in [true, false] {
        let scanned = lab.scan_with(|bytes| {
            bytes[lab.place(4).start + 30] ^= 1;
            bytes[entry_at(if told { 9 } else { 4 }) + 20] ^= 1;
        });
        assert!(!scanned.has_index);
        let is_sure = |entry: &IndexEntry| !scanned.uncertain.contains(&entry.ordinal);
        let sure: Vec<_> = scanned.entries.iter().copied().filter(is_sure).collect();
        assert_eq!(sure, lab.without(&[4]));
        assert_eq!(scanned.uncertain, ordinals(&[4, 20, 21, 22, 23]), "numbers that nobody else has");
        assert_eq!(scanned.damaged, []);
    }
}

#[test]
fn without_an_index_what_follows_damage_is_found_and_beats_what_was_made_up() {
    let lab = forged();
    let scanned = lab.scan_with(|bytes| {
        bytes[lab.place(4).start + 30] ^= 1;
        bytes.truncate(lab.index_at());
    });
    let real: Vec<_> = scanned.entries.iter().copied().filter(|entry| entry.ordinal.0 != 4).collect();
    assert_eq!(real, lab.without(&[4]));
    assert_ne!(scanned.entries[4], lab.entry(4), "this number was free");
    assert_eq!(scanned.uncertain, ordinals(&(4..20).collect::<Vec<_>>()));
    assert_eq!(scanned.damaged, []);
}

#[test]
fn a_made_up_record_hides_none_that_follows() {
    let zeros = vec![0; 300_000];
    let frame = zstd::bulk::compress(&zeros, 1).unwrap();
    // Valid by the letter of its decoder: a frame, and one to be skipped that reaches far.
    let skipped = 60_000u32;
    let hiding = [&frame[..], &[0x50, 0x2a, 0x4d, 0x18], &skipped.to_le_bytes()].concat();
    let whole_len = hiding.len() + skipped as usize;
    let header = record(19, Codec::Zstd, &zeros, &vec![0; whole_len])[..HEADER_LEN].to_vec();
    let unfounded = record(18, Codec::Plain, &zeros, &zeros)[..HEADER_LEN].to_vec();
    let mut plains = plains();
    plains[4] = [&noise(1, 300)[..], &header, &hiding, &unfounded, &noise(2, 900)].concat();
    let lab = Lab::new(Codec::Plain, &plains);
    let reaches = lab.place(4).start + 364 + HEADER_LEN + whole_len;
    assert!(reaches > lab.place(15).start && reaches < lab.index_at());
    for with_trailer in [false, true] {
        let scanned = lab.scan_with(|bytes| {
            bytes[lab.place(4).start + 30] ^= 1;
            bytes[lab.index_at() + 4 * ENTRY_LEN..][..ENTRY_LEN].fill(0);
            bytes.truncate(if with_trailer { bytes.len() } else { lab.index_at() });
        });
        assert_eq!(scanned.entries, lab.without(&[4]));
        assert_eq!(scanned.damaged, []);
    }
}

/// What the module does not promise, and where it ends.
#[test]
fn who_foretells_his_neighbour_hides_it_only_where_no_index_tells_of_it() {
    let mut plains = plains();
    let neighbour = plain_record(5, &plains[5]);
    let hiding = record(30, Codec::Plain, &neighbour, &neighbour)[..HEADER_LEN].to_vec();
    plains[4].extend(hiding);
    let lab = Lab::new(Codec::Plain, &plains);
    for (with_trailer, hidden) in [(true, &[4][..]), (false, &[4, 5])] {
        let scanned = lab.scan_with(|bytes| {
            bytes[lab.place(4).start + 30] ^= 1;
            bytes[lab.index_at() + 4 * ENTRY_LEN..][..ENTRY_LEN].fill(0);
            bytes.truncate(if with_trailer { bytes.len() } else { lab.index_at() });
        });
        let real: Vec<_> = scanned.entries.into_iter().filter(|entry| entry.ordinal.0 < 30).collect();
        assert_eq!(real, lab.without(hidden));
    }
}

#[test]
fn damage_at_the_beginning_costs_what_it_covers() {
    let lab = Lab::new(Codec::Zstd, &plains());
    let scanned = lab.scan_with(|bytes| bytes[..lab.place(2).start + 1].fill(0xa5));
    assert_eq!((scanned.header, scanned.has_index), (None, false));
    assert_eq!(scanned.entries, lab.without(&[0, 1, 2]));
    assert_eq!(scanned.uncertain, []);
    let scanned = lab.scan_with(|bytes| {
        bytes[..lab.place(2).start + 1].fill(0xa5);
        bytes.truncate(lab.index_at());
    });
    assert_eq!(scanned.entries, lab.without(&[0, 1, 2]));
    assert_eq!(scanned.uncertain.len(), 17);
}

#[test]
fn another_copy_of_a_damaged_record_is_taken() {
    let lab = Lab::new(Codec::Plain, &plains());
    let copy = lab.bytes[lab.place(3)].to_vec();
    let scanned = lab.scan_with(|bytes| {
        bytes[lab.place(3).end - 5] ^= 1;
        bytes.truncate(lab.index_at());
        bytes.extend(copy);
    });
    assert_eq!(scanned.entries[3], IndexEntry { offset: lab.index_at() as u32, ..lab.entry(3) });
    assert_eq!(scanned.damaged, []);
    assert_eq!(scanned.skipped_bytes as usize, lab.place(3).len());
}

#[test]
fn records_of_other_segments_are_not_taken() {
    let lab = Lab::new(Codec::Plain, &plains());
    let other = path_of(Path::new(SEGMENTS), SegmentId(8));
    lab.files.open(&other, Mode::CreateNew).unwrap().write_all_at(&lab.bytes, 0).unwrap();
    let scanned = scan(&lab.files, Path::new(SEGMENTS), SegmentId(8)).unwrap();
    assert_eq!((scanned.entries, scanned.header, scanned.has_index), (vec![], None, false));
}

#[test]
fn a_segment_of_a_later_format_is_refused() {
    let lab = Lab::new(Codec::Plain, &plains());
    let mut bytes = lab.bytes.clone();
    bytes[8] = 3;
    let check = Digest::of(Context::Header, &bytes[..56]).prefix();
    bytes[56..64].copy_from_slice(&check.to_le_bytes());
    lab.files.open(&path(), Mode::Update).unwrap().write_all_at(&bytes, 0).unwrap();
    let refused = scan(&lab.files, Path::new(SEGMENTS), ID);
    assert!(matches!(refused, Err(Error::TooNew { found: 3, .. })), "{refused:?}");
}

/// As many headers as there is room for, each of which claims half a megabyte.
#[test]
fn a_flood_of_headers_ends_and_hides_nothing() {
    let claimed = vec![0; 1 << 19];
    let header = |ordinal| record(ordinal, Codec::Plain, &claimed, &claimed)[..HEADER_LEN].to_vec();
    let mut plains = plains();
    plains[4] = (0..60).flat_map(|number| header(1000 + number)).collect();
    plains.extend((0..20).map(|seed| noise(seed, 100_000)));
    let lab = Lab::new(Codec::Plain, &plains);
    let mut bytes = lab.bytes[..lab.index_at()].to_vec();
    bytes[lab.place(4).start + 30] ^= 1;
    let real = |ordinal: &&Ordinal| ordinal.0 < 1000;
    let scanned = lab.scan_of(&bytes);
    assert_eq!(scanned.entries[..39], lab.without(&[4]));
    assert_eq!(scanned.damaged.iter().filter(real).count(), 0);
    // Who may not decode so much finds the same, and cannot say that it is good.
    let impatient = scan_within(&lab.files, Path::new(SEGMENTS), ID, 10 << 19).unwrap();
    assert_eq!(impatient.entries, scanned.entries);
    assert_eq!(impatient.damaged.iter().filter(real).count(), 35);
}

/// Files of which a stretch cannot be read.
struct Failing(MemoryFiles, Range<u64>, i32);

struct FailingFile(Box<dyn File>, Range<u64>, i32);

impl ReadAt for FailingFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        if offset < self.1.end && offset + into.len() as u64 > self.1.start {
            return Err(std::io::Error::from_raw_os_error(self.2));
        }
        self.0.read_at(into, offset)
    }
}

impl File for FailingFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.0.sync()
    }
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn try_flock(&self, lock: Lock) -> std::io::Result<bool> {
        self.0.try_flock(lock)
    }
    fn identity(&self) -> std::io::Result<FileIdentity> {
        self.0.identity()
    }
    fn start_writeback(&self, offset: u64, len: u64) {
        self.0.start_writeback(offset, len);
    }
}

impl Files for Failing {
    fn open(&self, path: &Path, mode: Mode) -> std::io::Result<Box<dyn File>> {
        Ok(Box::new(FailingFile(self.0.open(path, mode)?, self.1.clone(), self.2)))
    }
    fn read(&self, path: &Path, len_max: usize) -> std::io::Result<Vec<u8>> {
        self.0.read(path, len_max)
    }
    fn identity(&self, path: &Path) -> std::io::Result<FileIdentity> {
        self.0.identity(path)
    }
    fn list(&self, directory: &Path) -> std::io::Result<Vec<String>> {
        self.0.list(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> std::io::Result<()> {
        self.0.unlink(path)
    }
    fn create_directory(&self, path: &Path) -> std::io::Result<()> {
        self.0.create_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> std::io::Result<()> {
        self.0.sync_directory(path)
    }
}

#[test]
fn what_the_medium_fails_to_give_is_damage_and_other_errors_are_errors() {
    let plains: Vec<_> = (0..40).map(|seed| noise(seed, 60_000)).collect();
    let lab = Lab::new(Codec::Plain, &plains);
    let bad = lab.place(20).start as u64 - 100..lab.place(20).start as u64 + 100;
    let scanned = scan(&Failing(lab.files.clone(), bad.clone(), libc::EIO), Path::new(SEGMENTS), ID).unwrap();
    assert!(scanned.has_index);
    assert_eq!(scanned.entries, lab.without(&[20]));
    assert_eq!((scanned.damaged, scanned.uncertain), (ordinals(&[19]), vec![]));
    let refused = scan(&Failing(lab.files.clone(), bad, libc::EACCES), Path::new(SEGMENTS), ID);
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
}

#[derive(Clone, Debug)]
enum Harm {
    Cut(prop::sample::Index),
    Fill(prop::sample::Index, usize, u8),
    Flip(prop::sample::Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Harm::Cut),
        (any::<prop::sample::Index>(), 1usize..9000, any::<u8>())
            .prop_map(|(at, len, byte)| Harm::Fill(at, len, byte)),
        any::<prop::sample::Index>().prop_map(Harm::Flip),
    ]
}

fn do_harm(bytes: &mut Vec<u8>, harm: &Harm) {
    match harm {
        Harm::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
        Harm::Fill(at, len, byte) if !bytes.is_empty() => {
            let start = at.index(bytes.len());
            let end = (start + len).min(bytes.len());
            bytes[start..end].fill(*byte);
        }
        Harm::Flip(at) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= 0x10;
        }
        Harm::Fill(..) | Harm::Flip(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done to a segment: what is untouched is found, and what is said of it is true.
    #[test]
    fn all_that_is_untouched_is_found(harms in proptest::collection::vec(harm(), 0..4)) {
        let lab = forged();
        let mut bytes = lab.bytes.clone();
        harms.iter().for_each(|harm| do_harm(&mut bytes, harm));
        let scanned = lab.scan_of(&bytes);
        let is_untouched = |place: Range<usize>| bytes.get(place.clone()) == Some(&lab.bytes[place]);
        let is_in_order = |numbers: &[Ordinal]| numbers.windows(2).all(|pair| pair[0] < pair[1]);
        prop_assert!(is_in_order(&scanned.damaged) && is_in_order(&scanned.uncertain));
        prop_assert!(scanned.entries.windows(2).all(|pair| pair[0].ordinal < pair[1].ordinal));
        for (ordinal, entry) in lab.sealed.entries.iter().enumerate() {
            let found = scanned.entries.iter().find(|found| found.ordinal == entry.ordinal);
            let is_uncertain = scanned.uncertain.contains(&entry.ordinal);
            let is_damaged = scanned.damaged.contains(&entry.ordinal);
            if is_untouched(lab.place(ordinal)) {
                prop_assert!(found.is_some() && !is_damaged, "{entry:?}");
                prop_assert!(found == Some(entry) || is_uncertain);
            }
            if let Some(found) = found.filter(|_| !is_uncertain) {
                prop_assert_eq!(found, entry, "nothing is made up");
            }
        }
        for found in &scanned.entries {
            let read = read_found(&lab.files, Path::new(SEGMENTS), ID, found);
            prop_assert_eq!(read.is_ok(), !scanned.damaged.contains(&found.ordinal));
        }
    }

    #[test]
    fn any_bytes_are_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..500), at in 0usize..200) {
        let lab = Lab::new(Codec::Zstd, &[]);
        let at = at.min(bytes.len());
        let mut all = bytes;
        all.splice(at.., plain_record(3, b"x"));
        let scanned = lab.scan_of(&all);
        prop_assert!(scanned.entries.len() <= 1 && !scanned.has_index);
        prop_assert!(scanned.entries.len() == 1 || at < FILE_HEADER_LEN);
    }
}
