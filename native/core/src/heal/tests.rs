//! Damage of records, above all of those that others are encoded against: told of exactly the blocks
//! that cannot be read, and mended where the content is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;
use crate::backup::{self, BackupParams, Source, Taken};
use crate::codec::Codec;
use crate::collect::{self, CollectParams};
use crate::disk::DiskOptions;
use crate::image::Image;
use crate::io::{Files, MemoryFiles};
use crate::map::{BlockPointer, Fanout};
use crate::random::Numbers;
use crate::retire;
use crate::revision::RevisionId;
use crate::salvage;
use crate::scrub::{self, ScrubParams, Scrubbed};
use crate::source::PathSource;

const BLOCK: usize = 4096;
const BLOCKS: usize = 70;
const DISK: &str = "/disks/disk";

/// Numbers for indexes and bytes.
struct Random(Numbers);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Numbers::new(seed))
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.next_u64() as u8);
    }
}

/// Blocks of revisions that cannot be read.
type Lost = BTreeSet<(RevisionId, usize)>;

struct Lab {
    directory: tempfile::TempDir,
    files: MemoryFiles,
    image: Vec<u8>,
    revisions: BTreeMap<RevisionId, Vec<u8>>,
}

impl Lab {
    fn new(random: &mut Random) -> Self {
        let (directory, files) = (tempfile::tempdir().unwrap(), MemoryFiles::default());
        files.create_directory(Path::new("/disks")).unwrap();
        let options = DiskOptions {
            block_size: BLOCK as u32,
            fanout: Fanout::new(32).unwrap(),
            ..DiskOptions::default()
        };
        Disk::create(Arc::new(files.clone()), Path::new(DISK), options).unwrap();
        let mut image = vec![0; BLOCK * BLOCKS];
        random.fill(&mut image);
        Self { directory, files, image, revisions: BTreeMap::new() }
    }

    fn disk(&self) -> Disk {
        Disk::open(Arc::new(self.files.clone()), Path::new(DISK)).unwrap()
    }

    fn lock(&self) -> DiskLock {
        DiskLock::take_on(Arc::new(self.files.clone()), Path::new(DISK), "a test").unwrap()
    }

    fn backup(&mut self) -> Taken {
        let source = self.directory.path().join("source.img");
        std::fs::write(&source, &self.image).unwrap();
        let params = BackupParams {
            name: "disk".into(),
            source: Source::Block(PathSource::open(&source).unwrap().into()),
            description: serde_json::Map::new(),
            consistency: None,
            tags: Vec::new(),
            threads: 1,
            require: None,
            background: backup::Background::default(),
        };
        let pending = backup::prepare(&self.disk(), self.lock(), params, Arc::default()).unwrap();
        let taken = pending.commit().unwrap();
        self.revisions.insert(taken.manifest.revision.clone(), self.image.clone());
        taken
    }

    fn edit(&mut self, block: usize, random: &mut Random) {
        let at = block * BLOCK + random.below(BLOCK - 8);
        random.fill(&mut self.image[at..at + 8]);
    }

    /// Small edits for the most part; now and then a new block, or one that was elsewhere or earlier.
    fn change(&mut self, random: &mut Random) {
        for _ in 0..random.below(12) {
            let block = random.below(BLOCKS);
            let range = block * BLOCK..(block + 1) * BLOCK;
            let number = random.below(self.revisions.len().max(1));
            match (random.below(10), self.revisions.values().nth(number).cloned()) {
                (0, _) => random.fill(&mut self.image[range]),
                (1, _) => self.image[range].fill(0),
                (2, Some(earlier)) => {
                    let from = random.below(BLOCKS) * BLOCK;
                    self.image[range].copy_from_slice(&earlier[from..from + BLOCK]);
                }
                (3, Some(earlier)) => self.image[range.clone()].copy_from_slice(&earlier[range]),
                _ => self.edit(block, random),
            }
        }
    }

    fn remove_and_collect(&self, going: &[RevisionId]) {
        retire::retire(&self.disk(), &self.lock(), going).unwrap();
        let params = CollectParams { rewrite_percent: 0, ..CollectParams::default() };
        collect::run(&self.disk(), &self.lock(), &params, &Control::default()).unwrap();
    }

    fn open(&self, revision: &RevisionId) -> Image {
        Image::open(&self.disk(), Arc::new(records_of(&self.disk())), revision).unwrap()
    }

    fn pointer(&self, revision: &RevisionId, block: usize) -> BlockPointer {
        self.open(revision).pointers(block as u64..block as u64 + 1).unwrap()[0].unwrap()
    }

    fn bases(&self) -> Vec<Place> {
        let all = self.revisions.keys().map(|id| self.open(id).pointers(0..BLOCKS as u64).unwrap());
        let mut bases: Vec<_> = all.flatten().flatten().filter_map(|pointer| pointer.base).collect();
        bases.sort_unstable_by_key(|base| (base.segment, base.ordinal.0));
        bases.dedup();
        bases
    }

    /// Reads everything, in blocks and through the cache of blocks; what can be read must be right.
    fn lost(&self) -> Lost {
        let mut lost = Lost::new();
        for (id, bytes) in &self.revisions {
            let image = self.open(id);
            for (block, expected) in bytes.chunks(BLOCK).enumerate() {
                let mut found = vec![9; BLOCK];
                let read = image.read(&mut found, (block * BLOCK) as u64);
                assert!(read.is_err() || found == expected, "block {block} of {id} has wrong bytes");
                let mut part = [9; 16];
                let in_part = self.open(id).read(&mut part, (block * BLOCK) as u64);
                assert_eq!(in_part.is_ok(), read.is_ok(), "block {block} of {id}");
                if read.is_err() {
                    lost.insert((id.clone(), block));
                }
            }
        }
        lost
    }

    fn scrub(&self, lock: Option<&DiskLock>) -> Scrubbed {
        let params = ScrubParams { revision: None, share: 1.0, threads: 1 };
        let control = Control::default();
        let suspicion = scrub::read(&self.disk(), &params, &control).unwrap();
        scrub::settle(&self.disk(), lock, suspicion, &control).unwrap()
    }

    /// Flips a bit in the payload of the record at a place.
    fn damage(&self, place: Place, random: &mut Random) {
        let directory = self.disk().paths().segments();
        let path = segment::path_of(&directory, place.segment);
        let (_, entries) = SegmentReader::open_with_entries(&self.files, &directory, place.segment).unwrap();
        let entry = entries.iter().find(|entry| entry.ordinal == place.ordinal).unwrap();
        let at = u64::from(entry.offset) + 64 + random.below(entry.payload_len as usize) as u64;
        let mut byte = self.files.read(&path, usize::MAX).unwrap()[at as usize];
        byte ^= 1 << random.below(8);
        self.files.open(&path, Mode::Update).unwrap().write_all_at(&[byte], at).unwrap();
    }

    fn entries(&self) -> Vec<(Place, IndexEntry)> {
        let directory = self.disk().paths().segments();
        let all = self.disk().segments().unwrap().into_iter().flat_map(|id| {
            let opened = SegmentReader::open_with_entries(&self.files, &directory, id).unwrap();
            opened.1.into_iter().map(move |entry| (Place::new(id, entry.ordinal).unwrap(), entry))
        });
        all.filter(|(_, entry)| entry.kind == Kind::Block).collect()
    }
}

fn told(scrubbed: &Scrubbed) -> Lost {
    assert!(scrubbed.warnings.is_empty(), "{:?}", scrubbed.warnings);
    let blocks = scrubbed.damaged.iter().flat_map(|extent| {
        let range = extent.offset as usize / BLOCK..(extent.offset + extent.len) as usize / BLOCK;
        range.flat_map(|block| extent.revisions.iter().map(move |id| (id.clone(), block)))
    });
    blocks.collect()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[test]
fn whatever_record_is_damaged_its_blocks_are_told_and_what_comes_by_again_mends_them() {
    let first = setting("CAIRN_SEED", 1);
    let (mut based, mut lost_by_base, mut mended) = (0, 0, 0);
    for seed in first..first + setting("CAIRN_SEEDS", 12) {
        println!("CAIRN_SEED={seed} CAIRN_SEEDS=1");
        let mut random = Random::new(seed);
        let mut lab = Lab::new(&mut random);
        lab.backup();
        for _ in 0..3 + random.below(10) {
            lab.change(&mut random);
            lab.backup();
            if random.below(4) == 0 {
                let going: Vec<_> = lab.revisions.keys().filter(|_| random.below(3) == 0).cloned().collect();
                lab.remove_and_collect(&going);
                going.iter().for_each(|id| drop(lab.revisions.remove(id)));
            }
            assert_eq!(lab.lost(), Lost::new());
        }
        based += lab.bases().len();
        let (entries, bases) = (lab.entries(), lab.bases());
        for number in 0..1 + random.below(6) {
            let any = entries[random.below(entries.len())].0;
            let base = bases.get(random.below(bases.len().max(1))).filter(|_| number % 2 == 0);
            lab.damage(base.copied().unwrap_or(any), &mut random);
        }
        let lost = lab.lost();
        let sound = |place: Place| {
            let entry = entries.iter().find(|(at, _)| *at == place).map(|(_, entry)| *entry).unwrap();
            reads(&records_of(&lab.disk()), place, Kind::Block, &entry.digest).unwrap()
        };
        lost_by_base += lost
            .iter()
            .filter(|(id, block)| lab.pointer(id, *block).base.is_some_and(|base| !sound(base)))
            .count();
        assert_eq!(told(&lab.scrub(None)), lost, "without the lock nothing is mended");
        let scrubbed = lab.scrub(Some(&lab.lock()));
        let left = lab.lost();
        assert_eq!(told(&scrubbed), left);
        assert!(left.is_subset(&lost));
        // The source still has it, or it comes back there.
        let images: Vec<_> = lab.revisions.values().cloned().collect();
        for image in images {
            lab.image = image;
            let taken = lab.backup();
            assert!(lab.lost().iter().all(|(id, _)| *id != taken.manifest.revision));
        }
        lab.scrub(Some(&lab.lock()));
        assert_eq!(lab.lost(), Lost::new(), "all of it came by again");
        mended += lost.len();
    }
    println!("{based} bases, {lost_by_base} of {mended} lost with theirs");
    assert!(first > 1 || based > 100 && lost_by_base > 20 && mended > lost_by_base);
}

/// Two revisions that differ in eight bytes of two blocks, one of which changed once more.
fn three_revisions() -> (Lab, Random, [RevisionId; 3]) {
    let mut random = Random::new(5);
    let mut lab = Lab::new(&mut random);
    let one = lab.backup().manifest.revision;
    lab.edit(3, &mut random);
    lab.edit(40, &mut random);
    let two = lab.backup();
    assert_eq!(two.manifest.format, crate::manifest::Manifest::FORMAT_WITH_BASES);
    lab.edit(3, &mut random);
    let three = lab.backup().manifest.revision;
    (lab, random, [one, two.manifest.revision, three])
}

#[test]
fn what_changed_a_little_is_stored_as_the_change_and_bases_are_one_deep() {
    let (lab, _, [one, two, three]) = three_revisions();
    let base = lab.pointer(&one, 3);
    assert_eq!(base.base, None);
    for id in [&two, &three] {
        assert_eq!(lab.pointer(id, 3).base, Some(base.place));
    }
    assert_eq!(lab.pointer(&three, 40), lab.pointer(&two, 40), "what is unchanged keeps its base");
    let small = |(_, entry): &&(Place, IndexEntry)| entry.codec == Codec::ZstdPrefix;
    let entries = lab.entries();
    assert_eq!(entries.iter().filter(small).count(), 3);
    assert!(entries.iter().filter(small).all(|(_, entry)| entry.payload_len < 120));
    assert_eq!(lab.lost(), Lost::new());
}

#[test]
fn a_base_stays_as_long_as_a_revision_needs_it_and_no_longer() {
    let (mut lab, mut random, [one, two, three]) = three_revisions();
    let base = lab.pointer(&one, 3);
    for id in [one, two] {
        lab.revisions.remove(&id);
        lab.remove_and_collect(&[id]);
        assert_eq!(lab.lost(), Lost::new());
    }
    assert!(lab.entries().iter().any(|(place, _)| *place == base.place));
    random.fill(&mut lab.image[3 * BLOCK..4 * BLOCK]);
    lab.backup();
    lab.revisions.remove(&three);
    lab.remove_and_collect(&[three]);
    assert!(lab.entries().iter().all(|(place, _)| *place != base.place));
    assert_eq!(lab.lost(), Lost::new());
}

#[test]
fn a_lost_base_is_damage_of_all_that_need_it_and_either_content_mends() {
    let (mut lab, mut random, [one, two, three]) = three_revisions();
    let before = lab.image.clone();
    let base = lab.pointer(&one, 3).place;
    lab.damage(base, &mut random);
    let all = Lost::from([(one.clone(), 3), (two.clone(), 3), (three.clone(), 3)]);
    assert_eq!(lab.lost(), all);
    assert_eq!(told(&lab.scrub(Some(&lab.lock()))), all);
    // The newest content is there again: stored by itself, and put back in its own place.
    let taken = lab.backup();
    assert!(taken.healed_records > 0);
    assert_eq!(lab.pointer(&taken.manifest.revision, 3).base, None);
    assert_eq!(lab.lost(), Lost::from([(one.clone(), 3), (two.clone(), 3)]));
    // The base's content is there again: all that was encoded against it reads.
    lab.image.copy_from_slice(&lab.revisions[&one].clone());
    assert!(lab.backup().healed_records > 0);
    assert_eq!(lab.lost(), Lost::new());
    assert_eq!(told(&lab.scrub(Some(&lab.lock()))), Lost::new());
    lab.image = before;
    lab.backup();
    assert_eq!(lab.lost(), Lost::new());
}

#[test]
fn a_segment_of_bases_that_is_gone_is_told_and_comes_back() {
    let (mut lab, _, [one, two, three]) = three_revisions();
    let base = lab.pointer(&one, 3).place;
    lab.files.unlink(&segment::path_of(&lab.disk().paths().segments(), base.segment)).unwrap();
    let lost = lab.lost();
    assert!(lost.contains(&(three.clone(), 3)) && lost.contains(&(two, 40)));
    assert_eq!(told(&lab.scrub(Some(&lab.lock()))), lost);
    lab.image.copy_from_slice(&lab.revisions[&one].clone());
    lab.backup();
    lab.scrub(Some(&lab.lock()));
    assert_eq!(lab.lost(), Lost::new());
}

#[test]
fn a_revision_with_bases_whose_manifest_is_lost_is_made_again() {
    let (mut lab, _, [one, two, three]) = three_revisions();
    lab.files.unlink(&lab.disk().paths().manifest(&three)).unwrap();
    let candidates = salvage::survey(&lab.disk(), &Control::default()).unwrap();
    let [candidate] = candidates.as_slice() else { panic!("{candidates:?}") };
    assert_eq!((candidate.missing_blocks, candidate.missing_pages, candidate.is_condemned), (0, 0, false));
    let revived = salvage::revive(&lab.disk(), &lab.lock(), candidate, "disk").unwrap();
    let manifest = lab.disk().manifest(&revived).unwrap();
    assert_eq!(manifest.format, crate::manifest::Manifest::FORMAT_WITH_BASES);
    let bytes = lab.revisions.remove(&three).unwrap();
    lab.revisions.insert(revived, bytes);
    for id in [one, two] {
        lab.revisions.remove(&id);
        lab.remove_and_collect(&[id]);
        assert_eq!(lab.lost(), Lost::new());
    }
}

#[test]
fn a_record_against_another_base_than_its_pointer_tells_counts_as_damaged() {
    let (lab, _, [one, two, _]) = three_revisions();
    let records = records_of(&lab.disk());
    let good = lab.pointer(&two, 3);
    let mut plain = vec![0; BLOCK];
    records.block_into(&good, &mut plain).unwrap();
    for base in [None, Some(lab.pointer(&one, 4).place), Some(good.place)] {
        let error = records.block_into(&BlockPointer { base, ..good }, &mut plain).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
    // What stands by itself may be told to have a base: it was put back, perhaps.
    let itself = lab.pointer(&one, 3);
    records.block_into(&BlockPointer { base: Some(good.place), ..itself }, &mut plain).unwrap();
}
