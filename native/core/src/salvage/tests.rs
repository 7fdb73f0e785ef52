//! Disks that lost manifests and more: what is found, and what of it reads back.

mod damage;
mod liars;
mod stopped;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::backup::{self, BackupParams, Source};
use crate::collect::{self, CollectParams};
use crate::digest::Digest;
use crate::disk::{DiskLock, DiskOptions};
use crate::image::Image;
use crate::io::{Files, MemoryFiles, Mode};
use crate::manifest::{State, Trust};
use crate::map::Fanout;
use crate::random::Numbers;
use crate::records::{CacheBudget, Caches, Records};
use crate::retire;
use crate::segment::{IndexEntry, SegmentReader, path_of};
use crate::source::PathSource;

const BLOCK: usize = 4096;
const DISK: &str = "/disks/disk";

/// A disk and its source.
struct Lab {
    source: tempfile::NamedTempFile,
    files: Arc<dyn Files>,
    segment_len: u64,
}

impl Lab {
    fn new() -> Self {
        Self::on(Arc::new(MemoryFiles::default()))
    }

    fn on(files: Arc<dyn Files>) -> Self {
        files.create_directory(Path::new("/disks")).unwrap();
        // Files in memory have no root that could be synced.
        let _ = files.sync_directory(Path::new("/"));
        let fanout = Fanout::new(32).unwrap();
        let options = DiskOptions { block_size: BLOCK as u32, fanout, ..DiskOptions::default() };
        Disk::create(Arc::clone(&files), Path::new(DISK), options).unwrap();
        Self::of(files)
    }

    fn of(files: Arc<dyn Files>) -> Self {
        Self { source: tempfile::NamedTempFile::new().unwrap(), files, segment_len: u64::MAX }
    }

    fn disk(&self) -> Disk {
        let disk = Disk::open(Arc::clone(&self.files), Path::new(DISK)).unwrap();
        disk.sealing_segments_at(self.segment_len)
    }

    fn lock(&self) -> DiskLock {
        DiskLock::take_on(Arc::clone(&self.files), Path::new(DISK), "a test").unwrap()
    }

    fn prepare(&self, image: &[u8]) -> Result<backup::Pending> {
        self.prepare_with(&self.disk(), self.lock(), image)
    }

    fn prepare_with(&self, disk: &Disk, lock: DiskLock, image: &[u8]) -> Result<backup::Pending> {
        std::fs::write(self.source.path(), image).unwrap();
        let params = BackupParams {
            name: "disk".into(),
            source: Source::Block(PathSource::open(self.source.path()).unwrap().into()),
            description: serde_json::Map::new(),
            consistency: None,
            tags: Vec::new(),
            threads: 1,
            require: None,
            background: backup::Background::default(),
        };
        backup::prepare(disk, lock, params, Arc::default())
    }

    fn backup(&self, image: &[u8]) -> Manifest {
        self.prepare(image).unwrap().commit().unwrap().manifest
    }

    /// Unlinks the manifest of a revision, as accidents do.
    fn lose(&self, revision: &RevisionId) {
        let paths = self.disk().paths().clone();
        self.files.unlink(&paths.manifest(revision)).unwrap();
        self.files.unlink(&paths.state(revision)).unwrap();
        self.files.sync_directory(&paths.revisions()).unwrap();
    }

    fn survey(&self) -> Vec<Candidate> {
        survey(&self.disk(), &Control::default()).unwrap()
    }

    /// The only candidate.
    fn candidate(&self) -> Candidate {
        let [candidate] = self.survey().try_into().unwrap_or_else(|all| panic!("{all:?}"));
        candidate
    }

    fn revive(&self, candidate: &Candidate) -> Result<RevisionId> {
        revive(&self.disk(), &self.lock(), candidate, "disk")
    }

    fn records(&self) -> Arc<Records> {
        let caches = Arc::new(Caches::new(CacheBudget::JOB));
        Arc::new(Records::new(Arc::clone(&self.files), self.disk().paths().segments(), caches))
    }

    /// A whole revision, through records that remember nothing.
    fn read(&self, revision: &RevisionId) -> Vec<u8> {
        let image = Image::open(&self.disk(), self.records(), revision).unwrap();
        let mut bytes = vec![9; image.geometry().size_bytes() as usize];
        assert_eq!(image.read(&mut bytes, 0).unwrap(), bytes.len());
        bytes
    }

    /// That a revision reads as `image`, which it may be longer than, with zeros.
    fn check(&self, revision: &RevisionId, image: &[u8]) {
        let read = self.read(revision);
        assert!(read.len() >= image.len() || image[read.len()..].iter().all(|&byte| byte == 0));
        let common = read.len().min(image.len());
        assert!(read[..common] == image[..common] && read[common..].iter().all(|&byte| byte == 0));
    }

    fn state(&self, revision: &RevisionId) -> State {
        State::read(&*self.files, &self.disk().paths().state(revision)).unwrap()
    }

    fn collect(&self) {
        let params = CollectParams { rewrite_percent: 0, ..CollectParams::default() };
        collect::run(&self.disk(), &self.lock(), &params, &Control::default()).unwrap();
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        path_of(&self.disk().paths().segments(), id)
    }

    fn entries(&self, id: SegmentId) -> Vec<IndexEntry> {
        SegmentReader::open_with_entries(&*self.files, &self.disk().paths().segments(), id).unwrap().1
    }

    fn bytes(&self, id: SegmentId) -> Vec<u8> {
        self.files.read(&self.path(id), usize::MAX).unwrap()
    }

    fn put(&self, path: &Path, bytes: &[u8]) {
        let _ = self.files.unlink(path);
        self.files.open(path, Mode::CreateNew).unwrap().write_all_at(bytes, 0).unwrap();
    }

    fn harm(&self, id: SegmentId, harm: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes(id);
        harm(&mut bytes);
        self.put(&self.path(id), &bytes);
    }
}

/// Numbers for indexes and bytes.
struct Random(Numbers);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Numbers::new(seed))
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.0.next_u64() as u8).collect()
}

/// Changes a few blocks, to zeros now and then, and now and then the size, which needs two levels.
fn change(image: &mut Vec<u8>, random: &mut Random) {
    if random.below(3) == 0 {
        image.resize((40 + random.below(100)) * BLOCK - random.below(2) * 100, 0);
    }
    for _ in 0..1 + random.below(10) {
        let start = random.below(image.len().div_ceil(BLOCK)) * BLOCK;
        let end = (start + BLOCK).min(image.len());
        let content = random.below(50) as u64;
        let block = if content == 0 { vec![0; BLOCK] } else { noise(content, BLOCK) };
        image[start..end].copy_from_slice(&block[..end - start]);
    }
}

fn root_of(map: &MapRoot) -> Digest {
    map.root.unwrap().digest
}

/// A root with its two places in one order: which of them is the first is not known.
fn sorted(map: MapRoot) -> MapRoot {
    let sorted = |root: PagePointer| match root.copy {
        Some(copy) if copy.segment < root.place.segment => {
            PagePointer { place: copy, copy: Some(root.place), ..root }
        }
        _ => root,
    };
    MapRoot { root: map.root.map(sorted), ..map }
}

fn seeds() -> std::ops::Range<u64> {
    let setting =
        |name: &str, default| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let first = setting("CAIRN_SEED", 1);
    first..first + setting("CAIRN_SEEDS", 6)
}

#[test]
fn exactly_the_lost_revisions_are_found_and_read_back_whole() {
    for seed in seeds() {
        println!("CAIRN_SEED={seed} CAIRN_SEEDS=1");
        let (lab, mut random) = (Lab::new(), Random::new(seed));
        let mut image = noise(seed, 60 * BLOCK);
        let (mut lost, mut kept) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..8 {
            let manifest = lab.backup(&image);
            let all = if random.below(2) == 0 { &mut lost } else { &mut kept };
            all.insert(manifest.revision.clone(), (manifest, image.clone()));
            change(&mut image, &mut random);
        }
        lost.keys().for_each(|revision| lab.lose(revision));
        let there: BTreeSet<_> = kept.values().map(|(manifest, _)| root_of(&manifest.map)).collect();
        let expected: BTreeMap<_, _> =
            lost.values().map(|(manifest, image)| (root_of(&manifest.map), (manifest, image))).collect();
        let candidates = lab.survey();
        let found: BTreeSet<_> = candidates.iter().map(|candidate| root_of(&candidate.root)).collect();
        assert_eq!(found, expected.keys().copied().filter(|root| !there.contains(root)).collect());
        let mut revived = Vec::new();
        for candidate in candidates.iter().rev() {
            let (manifest, image) = expected[&root_of(&candidate.root)];
            assert_eq!(sorted(candidate.root), sorted(manifest.map));
            assert!(candidate.size_bytes_min <= manifest.size_bytes);
            assert!(candidate.size_bytes_likely.abs_diff(manifest.size_bytes) < 1 << 20);
            assert_eq!((candidate.missing_blocks, candidate.missing_pages), (0, 0));
            assert_eq!((candidate.unindexed_records, candidate.is_condemned), (0, false));
            revived.push((lab.revive(candidate).unwrap(), image));
        }
        assert_eq!(lab.survey(), []);
        lab.backup(&image);
        lab.collect();
        revived.iter().for_each(|(revision, image)| lab.check(revision, image));
        kept.iter().for_each(|(revision, (_, image))| lab.check(revision, image));
        assert!(revived.windows(2).all(|pair| pair[0].0 < pair[1].0), "the oldest went first");
    }
}

#[test]
fn what_is_revived_says_what_it_is() {
    let lab = Lab::new();
    let image = noise(1, 40 * BLOCK - 100);
    let manifest = lab.backup(&image);
    let later = lab.backup(&noise(2, 45 * BLOCK));
    lab.lose(&manifest.revision);
    let candidate = lab.candidate();
    assert_eq!(
        (candidate.size_bytes_min, candidate.size_bytes_likely),
        (image.len() as u64, image.len() as u64)
    );
    assert_eq!((candidate.allocated_blocks, candidate.block_size_bytes), (40, BLOCK as u32));
    let created_at = candidate.segment_created_at.unwrap();
    assert!(manifest.started_at.duration_since(created_at).abs() < jiff::SignedDuration::from_secs(5));
    let revision = lab.revive(&candidate).unwrap();
    let revived = lab.disk().manifest(&revision).unwrap();
    assert_eq!((sorted(revived.map), revived.image_digest), (sorted(manifest.map), manifest.image_digest));
    assert_eq!(revived.sequence, later.sequence + 1);
    assert!(revision > later.revision);
    assert_eq!(revived.highest_segment, later.highest_segment, "of all, not only of its own");
    assert_eq!((revived.started_at, revived.finished_at), (created_at, created_at));
    assert_eq!(serde_json::to_string(&revived.source).unwrap(), r#"{"kind":"salvaged"}"#);
    assert_eq!((revived.consistency, revived.parent), (Consistency::Live, None));
    assert_eq!(revived.counters.allocated_bytes, image.len() as u64);
    assert!(revived.reading.notes[0].contains("all of its blocks were there"), "{:?}", revived.reading);
    let state = lab.state(&revision);
    assert_eq!(
        (state.tags, state.trust, state.protected),
        (vec!["salvaged".to_owned()], Trust::Distrusted, false)
    );
}

#[test]
fn nothing_is_revived_twice_or_without_the_lock_or_in_a_size_that_cannot_be() {
    let lab = Lab::new();
    let manifest = lab.backup(&noise(1, 40 * BLOCK));
    lab.lose(&manifest.revision);
    let candidate = lab.candidate();
    let mut released = lab.lock();
    released.release();
    let refused = |result: Result<RevisionId>| assert!(matches!(result, Err(Error::InvalidArgument(_))));
    refused(revive(&lab.disk(), &released, &candidate, "disk"));
    for size_bytes_likely in [0, 39 * BLOCK as u64, 1024 * BLOCK as u64 + 1] {
        refused(lab.revive(&Candidate { size_bytes_likely, ..candidate.clone() }));
    }
    assert_eq!(lab.disk().revisions().unwrap(), []);
    let larger = Candidate { size_bytes_likely: 50 * BLOCK as u64, ..candidate.clone() };
    let revision = lab.revive(&larger).unwrap();
    lab.check(&revision, &noise(1, 40 * BLOCK));
    refused(lab.revive(&candidate));
}

#[test]
fn numbers_go_on_from_all_that_still_tells_of_any() {
    let lab = Lab::new();
    let manifests: Vec<_> = (1..=3).map(|seed| lab.backup(&noise(seed, 40 * BLOCK))).collect();
    lab.lose(&manifests[0].revision);
    let pin = Image::open(&lab.disk(), lab.records(), &manifests[2].revision).unwrap();
    retire::retire(&lab.disk(), &lab.lock(), &[manifests[2].revision.clone()]).unwrap();
    let candidate = lab.candidate();
    assert_eq!(root_of(&candidate.root), root_of(&manifests[0].map), "what is retired is not lost");
    let revision = lab.revive(&candidate).unwrap();
    let revived = lab.disk().manifest(&revision).unwrap();
    assert!(revision > manifests[2].revision && revived.sequence > manifests[2].sequence);
    drop(pin);
    let next = lab.backup(&noise(4, 40 * BLOCK));
    assert!(next.revision > revision && next.sequence > revived.sequence);
}

#[test]
fn segment_numbers_go_on_from_manifests_whose_segments_are_gone() {
    let lab = Lab::new();
    let lost = lab.backup(&noise(1, 40 * BLOCK));
    let kept = lab.backup(&noise(2, 40 * BLOCK));
    lab.lose(&lost.revision);
    for id in lost.highest_segment + 1..=kept.highest_segment {
        lab.files.unlink(&lab.path(SegmentId(id))).unwrap();
    }
    let revision = lab.revive(&lab.candidate()).unwrap();
    assert_eq!(lab.disk().manifest(&revision).unwrap().highest_segment, kept.highest_segment);
}

#[test]
fn what_was_removed_is_told_from_what_was_lost() {
    let lab = Lab::new();
    let image = noise(1, 60 * BLOCK);
    let old = lab.backup(&image);
    let mut later = image.clone();
    later[..BLOCK].fill(1);
    lab.backup(&later);
    retire::retire(&lab.disk(), &lab.lock(), &[old.revision]).unwrap();
    assert_eq!(lab.survey(), []);
    let keep_all = CollectParams { rewrite_percent: 100, ..CollectParams::default() };
    collect::run(&lab.disk(), &lab.lock(), &keep_all, &Control::default()).unwrap();
    let candidate = lab.candidate();
    assert_eq!((sorted(candidate.root), candidate.is_condemned), (sorted(old.map), true));
    // It may still be had, and is then needed by a revision again.
    let revision = lab.revive(&candidate).unwrap();
    let condemned = Condemned::read(&*lab.files, &lab.disk().paths().condemned()).unwrap();
    assert!(!condemned.contains(old.map.root.unwrap().place));
    lab.collect();
    lab.check(&revision, &image);
    retire::retire(&lab.disk(), &lab.lock(), &[revision]).unwrap();
    lab.collect();
    assert_eq!(lab.survey(), [], "it was freed");
}

#[test]
fn other_candidates_outlive_the_backup_that_follows_a_revival() {
    let lab = Lab::new();
    let images = [1, 2, 3].map(|seed| noise(seed, 60 * BLOCK));
    let manifests = images.each_ref().map(|image| lab.backup(image));
    manifests.iter().for_each(|manifest| lab.lose(&manifest.revision));
    let candidates = lab.survey();
    let roots: Vec<_> = candidates.iter().map(|candidate| root_of(&candidate.root)).collect();
    let newest_first: Vec<_> = manifests.iter().rev().map(|manifest| root_of(&manifest.map)).collect();
    assert_eq!(roots, newest_first);
    lab.revive(&candidates[2]).unwrap();
    lab.backup(&noise(4, 60 * BLOCK));
    assert_eq!(lab.survey(), candidates[..2]);
    for (candidate, image) in candidates[..2].iter().zip(images.iter().rev()) {
        lab.check(&lab.revive(candidate).unwrap(), image);
    }
}

#[test]
fn blocks_tell_their_size_where_disk_json_says_another() {
    let lab = Lab::new();
    let image = noise(1, 60 * BLOCK - 1);
    let manifest = lab.backup(&image);
    let mut file = lab.disk().file().clone();
    (file.block_size_bytes, file.fanout) = (65_536, 64);
    lab.put(&lab.disk().paths().disk_file(), &text::encode(&file).unwrap());
    let later = lab.backup(&image);
    assert_eq!(later.block_size_bytes, 65_536);
    lab.lose(&manifest.revision);
    let candidate = lab.candidate();
    assert_eq!(candidate.block_size_bytes, BLOCK as u32);
    assert_eq!(root_of(&candidate.root), root_of(&manifest.map));
    assert!(lab.read(&lab.revive(&candidate).unwrap()) == image);
}

#[test]
fn images_of_any_height_are_found() {
    for (len, seed) in
        [1, BLOCK, 5 * BLOCK, 32 * BLOCK + 1, 1024 * BLOCK, 1025 * BLOCK - 7].into_iter().zip(1..)
    {
        let lab = Lab::new();
        let mut image = vec![0; len];
        image[0] = 1;
        let end = noise(seed, BLOCK.min(len));
        image[len - end.len()..].copy_from_slice(&end);
        let manifest = lab.backup(&image);
        lab.lose(&manifest.revision);
        let candidate = lab.candidate();
        assert_eq!(sorted(candidate.root), sorted(manifest.map));
        assert_eq!(candidate.size_bytes_min, len as u64, "its last block is stored");
        lab.check(&lab.revive(&candidate).unwrap(), &image);
    }
    let lab = Lab::new();
    let zeros = lab.backup(&[0; 100]);
    lab.lose(&zeros.revision);
    assert_eq!(lab.survey(), [], "zeros alone have no map");
}

#[test]
fn a_clock_that_was_wrong_uses_up_no_ids() {
    let lab = Lab::new();
    let manifest = lab.backup(&noise(1, 40 * BLOCK));
    lab.lose(&manifest.revision);
    let late = "9999-01-01T00:00:00Z".parse().unwrap();
    let revision = lab.revive(&Candidate { segment_created_at: Some(late), ..lab.candidate() }).unwrap();
    assert!(revision.as_str() < "9");
    assert!(lab.disk().manifest(&revision).unwrap().started_at <= Timestamp::now());
}

/// The first sectors of a disk whose GPT ends with sector `last`.
fn gpt(last: u64) -> Vec<u8> {
    let mut entries = vec![0; 128 * 128];
    entries[..32].fill(0x11);
    entries[32..40].copy_from_slice(&64u64.to_le_bytes());
    entries[40..48].copy_from_slice(&127u64.to_le_bytes());
    let mut header = vec![0; 92];
    header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
    for (at, value) in [(24, 1), (32, last), (40, 34), (48, last - 33), (72, 2)] {
        header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    header[80..84].copy_from_slice(&128u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    let mut boot = vec![0; 512];
    boot[446 + 4] = 0xee;
    boot[446 + 8..446 + 16].copy_from_slice(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    header.resize(512, 0);
    [boot, header, entries].concat()
}

#[test]
fn a_partition_table_tells_the_size() {
    let lab = Lab::new();
    let sectors = 4099;
    let mut image = gpt(sectors - 1);
    image.resize(sectors as usize * 512, 0);
    let manifest = lab.backup(&image);
    lab.lose(&manifest.revision);
    let candidate = lab.candidate();
    // Five blocks are stored, and a map of two levels is for 33 at least.
    assert_eq!(candidate.size_bytes_min, 32 * BLOCK as u64 + 1);
    assert_eq!(candidate.size_bytes_likely, image.len() as u64);
    let revision = lab.revive(&candidate).unwrap();
    assert!(lab.read(&revision) == image);
    let revived = lab.disk().manifest(&revision).unwrap();
    assert_eq!((revived.layout, revived.image_digest), (manifest.layout, manifest.image_digest));
}
