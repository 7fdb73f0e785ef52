//! Collects of real disks, by themselves and against a model.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::backup::{self, BackupParams, Source, Taken};
use crate::disk::DiskOptions;
use crate::image::Image;
use crate::io::{File, FileIdentity, Files, Lock, MemoryFiles, Mode, ReadAt};
use crate::map::{Fanout, PagePointer, PageSource, Place};
use crate::random::Numbers;
use crate::segment::{self, SegmentReader};
use crate::source::PathSource;

const BLOCK: usize = 4096;
/// Header and trailer of a segment.
const OVERHEAD: u64 = 128;
const DISK: &str = "/disks/disk";

/// Files of which only so many operations succeed.
#[derive(Clone)]
struct Stopping(MemoryFiles, Arc<AtomicI64>);

impl Stopping {
    fn after(files: &MemoryFiles, operations: i64) -> Self {
        Self(files.clone(), Arc::new(AtomicI64::new(operations)))
    }

    fn has_stopped(&self) -> bool {
        self.1.load(Ordering::SeqCst) <= 0
    }

    fn step(&self) -> std::io::Result<()> {
        let left = self.1.fetch_sub(1, Ordering::SeqCst);
        if left > 0 { Ok(()) } else { Err(std::io::Error::other("the world has stopped")) }
    }
}

struct StoppingFile(Box<dyn File>, Stopping);

impl ReadAt for StoppingFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.1.step()?;
        self.0.read_at(into, offset)
    }
}

impl File for StoppingFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        if let Err(stopped) = self.1.step() {
            // The write that was under way gets half through.
            let _ = self.0.write_all_at(&bytes[..bytes.len() / 2], offset);
            return Err(stopped);
        }
        self.0.write_all_at(bytes, offset)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.1.step()?;
        self.0.set_len(len)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.1.step()
    }
    fn len(&self) -> std::io::Result<u64> {
        self.1.step()?;
        self.0.len()
    }
    fn try_flock(&self, lock: Lock) -> std::io::Result<bool> {
        self.1.step()?;
        self.0.try_flock(lock)
    }
    fn identity(&self) -> std::io::Result<FileIdentity> {
        self.1.step()?;
        self.0.identity()
    }
    fn start_writeback(&self, offset: u64, len: u64) {
        self.0.start_writeback(offset, len);
    }
}

impl Files for Stopping {
    fn open(&self, path: &Path, mode: Mode) -> std::io::Result<Box<dyn File>> {
        self.step()?;
        Ok(Box::new(StoppingFile(self.0.open(path, mode)?, self.clone())))
    }
    fn read(&self, path: &Path, len_max: usize) -> std::io::Result<Vec<u8>> {
        self.step()?;
        self.0.read(path, len_max)
    }
    fn identity(&self, path: &Path) -> std::io::Result<FileIdentity> {
        self.step()?;
        self.0.identity(path)
    }
    fn list(&self, directory: &Path) -> std::io::Result<Vec<String>> {
        self.step()?;
        self.0.list(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.step()?;
        self.0.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> std::io::Result<()> {
        self.step()?;
        self.0.unlink(path)
    }
    fn create_directory(&self, path: &Path) -> std::io::Result<()> {
        self.step()?;
        self.0.create_directory(path)
    }
    fn sync_directory(&self, _: &Path) -> std::io::Result<()> {
        self.step()
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

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A disk, and what each of its revisions must read as.
struct Lab {
    /// Of the source.
    directory: tempfile::TempDir,
    files: MemoryFiles,
    image: Vec<u8>,
    revisions: BTreeMap<RevisionId, Vec<u8>>,
    pins: Vec<(Image, Vec<u8>)>,
}

impl Lab {
    fn new() -> Self {
        let (directory, files) = (tempfile::tempdir().unwrap(), MemoryFiles::default());
        files.create_directory(Path::new("/disks")).unwrap();
        let fanout = Fanout::new(32).unwrap();
        let options = DiskOptions { block_size: BLOCK as u32, fanout, ..DiskOptions::default() };
        Disk::create(Arc::new(files.clone()), Path::new(DISK), options).unwrap();
        Self { directory, files, image: vec![0; BLOCK * 40], revisions: BTreeMap::new(), pins: Vec::new() }
    }

    fn shared(&self) -> Arc<dyn Files> {
        Arc::new(self.files.clone())
    }

    fn disk(&self) -> Disk {
        Disk::open(self.shared(), Path::new(DISK)).unwrap()
    }

    fn lock(&self) -> DiskLock {
        DiskLock::take_on(self.shared(), Path::new(DISK), "a test").unwrap()
    }

    fn prepare(&self) -> backup::Pending {
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
        backup::prepare(&self.disk(), self.lock(), params, Arc::default()).unwrap()
    }

    fn backup(&mut self) -> Taken {
        let taken = self.prepare().commit().unwrap();
        let is_expected = |warning: &String| warning.starts_with("the disk has ");
        assert!(taken.warnings.iter().all(is_expected), "{:?}", taken.warnings);
        let last = self.revisions.insert(taken.manifest.revision.clone(), self.image.clone());
        assert!(last.is_none(), "an id was given out twice");
        taken
    }

    fn remove(&mut self, ids: &[RevisionId]) {
        retire::retire(&self.disk(), &self.lock(), ids).unwrap();
        ids.iter().for_each(|id| drop(self.revisions.remove(id).unwrap()));
        assert_eq!(self.disk().revisions().unwrap(), self.revisions.keys().cloned().collect::<Vec<_>>());
    }

    fn collect_over(&self, files: Arc<dyn Files>, params: &CollectParams) -> Result<Collected> {
        let disk = Disk::open(files, Path::new(DISK))?;
        run(&disk, &self.lock(), params, &Control::default())
    }

    fn collect(&self, rewrite_percent: u8) -> Collected {
        let params = CollectParams { rewrite_percent, ..CollectParams::default() };
        let dry = CollectParams { dry_run: true, ..params.clone() };
        let told = self.collect_over(self.shared(), &dry).unwrap();
        let before = self.stored_bytes();
        let done = self.collect_over(self.shared(), &params).unwrap();
        assert_eq!(told, done, "a dry run tells what the run does");
        assert_eq!((done.bytes_before, done.bytes_after), (before, self.stored_bytes()));
        done
    }

    fn records(&self) -> Arc<Records> {
        let caches = Arc::new(Caches::new(CacheBudget::JOB));
        Arc::new(Records::new(self.shared(), self.disk().paths().segments(), caches))
    }

    fn open(&self, id: &RevisionId) -> Image {
        Image::open(&self.disk(), self.records(), id).unwrap()
    }

    /// Through records that remember nothing, so that what is gone is missed.
    fn check(&self) {
        for (id, bytes) in &self.revisions {
            assert!(read(&self.open(id)) == *bytes, "{id} reads as it was");
        }
        for (image, bytes) in &self.pins {
            assert!(read(image) == *bytes, "an open image reads as it was");
            let again = Image::of(&self.manifest_of(image), self.records()).unwrap();
            assert!(read(&again) == *bytes, "and all of it is still there");
        }
    }

    fn manifest_of(&self, image: &Image) -> Manifest {
        let disk = self.disk();
        let retired = retire::retired(&disk).unwrap();
        let paths = retired.iter().map(|id| disk.paths().retired_manifest(id));
        let paths = paths.chain(self.revisions.keys().map(|id| disk.paths().manifest(id)));
        let mut all = paths.map(|path| Manifest::read(&self.files, &path).unwrap());
        all.find(|manifest| {
            manifest.map == *image.map() && manifest.size_bytes == image.geometry().size_bytes()
        })
        .expect("its manifest is kept")
    }

    fn stored_bytes(&self) -> u64 {
        let segments = self.disk().paths().segments();
        let names = self.files.list(&segments).unwrap();
        names.iter().map(|name| self.bytes_of(&segments.join(name)).len() as u64).sum()
    }

    fn bytes_of(&self, path: &Path) -> Vec<u8> {
        self.files.read(path, usize::MAX).unwrap()
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        let _ = self.files.unlink(path);
        self.files.open(path, Mode::CreateNew).unwrap().write_all_at(bytes, 0).unwrap();
    }

    fn is_there(&self, path: &Path) -> bool {
        self.files.identity(path).is_ok()
    }

    /// What segments would hold that have the records of all revisions and nothing else: found
    /// without the walk that is being tested.
    fn needed_bytes(&self) -> u64 {
        let records = self.records();
        let mut places = HashSet::new();
        for id in self.revisions.keys() {
            let image = self.open(id);
            let blocks = image.pointers(0..image.geometry().block_count()).unwrap();
            places.extend(blocks.iter().flatten().flat_map(|pointer| pointer.places()));
            let map = image.map();
            pages(&records, map.root, map.height, map.fanout, &mut places);
        }
        let mut bytes = 0;
        let segments: HashSet<_> = places.iter().map(|place| place.segment).collect();
        for id in segments {
            let opened = SegmentReader::open_with_entries(&self.files, &self.disk().paths().segments(), id);
            let needed = opened
                .unwrap()
                .1
                .into_iter()
                .filter(|entry| places.contains(&Place { segment: id, ordinal: entry.ordinal }));
            bytes += OVERHEAD + needed.map(|entry| entry.stored_len()).sum::<u64>();
        }
        bytes
    }

    fn change(&mut self, random: &mut Random) {
        if random.one_in(6) {
            let blocks = 1 + random.below(150);
            self.image.resize(blocks * BLOCK - random.below(2) * 100, 0);
        }
        for _ in 0..random.below(20) {
            let blocks = self.image.len().div_ceil(BLOCK);
            let block = random.below(blocks);
            let end = (block * BLOCK + BLOCK).min(self.image.len());
            // Few contents, so that what was dropped comes back, and is found or condemned.
            let content = random.below(60) as u64;
            let bytes = &mut self.image[block * BLOCK..end];
            if random.one_in(3) {
                // So little that it is encoded against what was there.
                bytes[bytes.len() / 2] = content as u8;
                continue;
            }
            let mut fill = Random::new(content);
            bytes.fill_with(|| if content == 0 { 0 } else { fill.0.next_u64() as u8 });
        }
    }

    fn some_of(&self, random: &mut Random) -> Vec<RevisionId> {
        let one_in = 1 + random.below(4);
        self.revisions.keys().filter(|_| random.one_in(one_in)).cloned().collect()
    }

    fn step(&mut self, random: &mut Random) {
        match random.below(12) {
            0..=3 => {
                self.change(random);
                self.backup();
            }
            4 => {
                self.change(random);
                self.prepare().abort();
            }
            5..=6 => self.remove(&self.some_of(random)),
            7 => {
                let ids: Vec<_> = self.revisions.keys().cloned().collect();
                if let Some(id) = ids.get(random.below(ids.len().max(1))) {
                    self.pins.push((self.open(id), self.revisions[id].clone()));
                }
            }
            8 if !self.pins.is_empty() => drop(self.pins.swap_remove(random.below(self.pins.len()))),
            9 => drop(self.files.unlink(&self.disk().paths().dedup())),
            10 => {
                let params =
                    CollectParams { rewrite_percent: random.below(60) as u8, ..CollectParams::default() };
                let stop = random.below(400) as i64;
                let _ = self.collect_over(Arc::new(Stopping::after(&self.files, stop)), &params);
            }
            _ => drop(self.collect([0, 20, 50, 100][random.below(4)])),
        }
    }
}

fn read(image: &Image) -> Vec<u8> {
    let mut bytes = vec![9; image.geometry().size_bytes() as usize];
    assert_eq!(image.read(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

fn pages(
    records: &Records,
    pointer: Option<PagePointer>,
    level: u8,
    fanout: Fanout,
    places: &mut HashSet<Place>,
) {
    let Some(pointer) = pointer else { return };
    places.extend([Some(pointer.place), pointer.copy].into_iter().flatten());
    let page = records.page(&pointer, level, fanout).unwrap();
    if level > 1 {
        for slot in 0..fanout.entries() {
            pages(records, page.child(slot), level - 1, fanout, places);
        }
    }
}

/// Of a test, from the environment: for long runs, and to see a failure again.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Promise 24: what a revision or a reader needs is never freed, and what nobody needs not kept.
#[test]
fn whatever_is_done_all_that_is_needed_stays_and_nothing_else() {
    let first = setting("CAIRN_SEED", 1);
    for seed in first..first + setting("CAIRN_SEEDS", 8) {
        println!("CAIRN_SEED={seed} CAIRN_SEEDS=1");
        let (mut lab, mut random) = (Lab::new(), Random::new(seed));
        for _ in 0..setting("CAIRN_STEPS", 40) {
            lab.step(&mut random);
            lab.check();
        }
        lab.pins.clear();
        // It adopts what an aborted one left.
        lab.backup();
        let within = lab.collect(20);
        let needed = lab.needed_bytes();
        assert!(within.bytes_after >= needed && within.bytes_after * 80 <= needed * 100 + 80 * OVERHEAD);
        lab.collect(0);
        assert_eq!(lab.stored_bytes(), needed, "no dead record stays");
        assert!(!lab.is_there(&lab.disk().paths().condemned()));
        assert!(retire::retired(&lab.disk()).unwrap().is_empty());
        lab.check();
        let again = lab.collect(0);
        assert_eq!((again.records_condemned, again.segments_unlinked), (0, 0));
    }
}

/// A disk of two revisions that have nothing in common, the older one removed.
fn two_revisions() -> (Lab, RevisionId) {
    let mut lab = Lab::new();
    let mut random = Random::new(7);
    lab.image.fill_with(|| random.0.next_u64() as u8);
    let old = lab.backup().manifest.revision;
    lab.image.fill_with(|| random.0.next_u64() as u8);
    lab.backup();
    (lab, old)
}

#[test]
fn a_collect_stopped_at_any_operation_is_made_good_by_the_next() {
    for stop in 0.. {
        let (mut lab, old) = two_revisions();
        // A part of the old one stays needed, so that segments are unlinked and written anew.
        lab.image[..BLOCK * 10].copy_from_slice(&lab.revisions[&old][..BLOCK * 10]);
        lab.backup();
        let ids: Vec<_> = lab.revisions.keys().take(2).cloned().collect();
        lab.remove(&ids);
        let files = Stopping::after(&lab.files, stop);
        let done = lab.collect_over(Arc::new(files.clone()), &CollectParams::default());
        lab.check();
        lab.image[..BLOCK].fill(3);
        lab.backup();
        lab.check();
        lab.collect(0);
        lab.check();
        assert_eq!(lab.stored_bytes(), lab.needed_bytes(), "stopped after {stop}");
        if !files.has_stopped() {
            assert!(done.unwrap().segments_rewritten > 0 && stop > 50);
            break;
        }
    }
}

#[test]
fn a_dry_run_tells_what_removing_revisions_would_give_back() {
    let (mut lab, old) = two_revisions();
    let without = CollectParams { dry_run: true, without: vec![old.clone()], ..CollectParams::default() };
    let told = lab.collect_over(lab.shared(), &without).unwrap();
    let pin = lab.open(&old);
    let pinned = lab.collect_over(lab.shared(), &without).unwrap();
    assert_eq!((pinned.revisions_pinned, pinned.bytes_after), (1, pinned.bytes_before));
    drop(pin);
    lab.remove(&[old]);
    assert_eq!(lab.collect(20), told);
}

#[test]
fn what_a_reader_holds_stays_until_it_is_closed() {
    let (mut lab, old) = two_revisions();
    lab.pins.push((lab.open(&old), lab.revisions[&old].clone()));
    lab.remove(&[old]);
    let held = lab.collect(20);
    assert_eq!((held.revisions_pinned, held.revisions_disposed, held.records_condemned), (1, 0, 0));
    lab.check();
    lab.pins.clear();
    let freed = lab.collect(20);
    assert_eq!((freed.revisions_pinned, freed.revisions_disposed), (0, 1));
    assert!(freed.bytes_after < freed.bytes_before * 6 / 10, "{freed:?}");
    lab.check();
}

#[test]
fn who_has_an_old_segment_open_goes_on_reading_it() {
    let (mut lab, old) = two_revisions();
    lab.image[..BLOCK * 20].fill(1);
    let newest = lab.backup().manifest.revision;
    let middle = lab.revisions.keys().nth(1).unwrap().clone();
    lab.remove(&[old, middle]);
    let newest_open = lab.open(&newest);
    let mut first = vec![0; BLOCK];
    newest_open.read(&mut first, (BLOCK * 30) as u64).unwrap();
    assert!(lab.collect(0).segments_rewritten > 0);
    assert_eq!(read(&newest_open), lab.image);
    let segment = |id| newest_open.records().segment(id).unwrap();
    let ids = lab.disk().segments().unwrap();
    let before: Vec<_> = ids.iter().map(|&id| segment(id)).collect();
    newest_open.records().close_replaced();
    let is_anew = |(&id, before): (&SegmentId, &Arc<_>)| !Arc::ptr_eq(&segment(id), before);
    assert!(ids.iter().zip(&before).any(is_anew), "one is opened anew");
    assert_eq!(read(&newest_open), lab.image);
}

#[test]
fn one_damaged_manifest_or_page_and_nothing_is_swept() {
    let (mut lab, old) = two_revisions();
    lab.remove(&[old]);
    let before = lab.stored_bytes();
    let newest = lab.revisions.keys().last().unwrap().clone();
    let path = lab.disk().paths().manifest(&newest);
    let good = lab.bytes_of(&path);
    lab.write(&path, &good[..good.len() / 2]);
    let failed = lab.collect_over(lab.shared(), &CollectParams::default());
    assert!(matches!(failed, Err(Error::Unmarked(_))), "{failed:?}");
    lab.write(&path, &good);
    let pages = lab.disk().segments().unwrap();
    for id in pages {
        let path = segment::path_of(&lab.disk().paths().segments(), id);
        let (_, entries) =
            SegmentReader::open_with_entries(&lab.files, &lab.disk().paths().segments(), id).unwrap();
        let mut bytes = lab.bytes_of(&path);
        for entry in entries.iter().filter(|entry| entry.kind == crate::record::Kind::Page) {
            bytes[entry.offset as usize + 70] ^= 1;
        }
        lab.write(&path, &bytes);
    }
    let failed = lab.collect_over(lab.shared(), &CollectParams::default());
    assert!(matches!(failed, Err(Error::Unmarked(_))), "{failed:?}");
    assert_eq!(lab.stored_bytes(), before);
}

#[test]
fn a_missing_segment_of_pages_is_told_as_damage() {
    let (mut lab, old) = two_revisions();
    lab.remove(&[old]);
    let directory = lab.disk().paths().segments();
    for name in lab.files.list(&directory).unwrap() {
        lab.files.unlink(&directory.join(name)).unwrap();
    }
    let failed = lab.collect_over(lab.shared(), &CollectParams::default());
    assert!(matches!(failed, Err(Error::Unmarked(_))), "{failed:?}");
}

#[test]
fn numbers_are_not_given_out_again_when_the_newest_is_removed() {
    let (mut lab, _) = two_revisions();
    let newest = lab.disk().manifest(lab.revisions.keys().last().unwrap()).unwrap();
    lab.remove(&lab.revisions.keys().cloned().collect::<Vec<_>>());
    lab.collect(20);
    assert!(lab.disk().segments().unwrap().is_empty());
    let next = lab.backup().manifest;
    assert!(next.revision > newest.revision && next.sequence > newest.sequence);
    assert!(lab.disk().segments().unwrap().iter().all(|id| id.0 > newest.highest_segment));
    lab.check();
}

#[test]
fn condemned_blocks_are_stored_afresh_and_a_lost_list_only_costs_space() {
    let (mut lab, old) = two_revisions();
    let old_bytes = lab.revisions[&old].clone();
    lab.image[..BLOCK * 35].copy_from_slice(&old_bytes[..BLOCK * 35]);
    let ids: Vec<_> = lab.revisions.keys().cloned().collect();
    lab.backup();
    lab.remove(&ids);
    // Too little is dead in the first segment for it to be written anew.
    lab.collect(60);
    let condemned = Condemned::read(&lab.files, &lab.disk().paths().condemned()).unwrap();
    assert_ne!(condemned, Condemned::default());
    lab.image.copy_from_slice(&old_bytes);
    let taken = lab.backup();
    assert!(taken.manifest.counters.stored_bytes > 5 * BLOCK as u64, "condemned blocks are not found");
    lab.collect(0);
    lab.check();
    lab.write(&lab.disk().paths().condemned(), b"CAIRNCND\x01\0 and then nothing good");
    lab.image[..BLOCK].fill(7);
    let taken = lab.prepare().commit().unwrap();
    assert_eq!(taken.warnings.len(), 1, "{:?}", taken.warnings);
    lab.revisions.insert(taken.manifest.revision, lab.image.clone());
    lab.collect(0);
    lab.check();
    assert!(!lab.is_there(&lab.disk().paths().condemned()));
}

#[test]
fn what_an_interrupted_backup_has_sealed_is_left_to_the_next_one() {
    let (mut lab, old) = two_revisions();
    let mut random = Random::new(8);
    lab.image.fill_with(|| random.0.next_u64() as u8);
    lab.prepare().abort();
    let segments = lab.disk().segments().unwrap();
    lab.remove(&[old]);
    let done = lab.collect(0);
    assert!(lab.disk().segments().unwrap().ends_with(&segments[4..]) && done.segments_unlinked > 0);
    assert!(lab.backup().manifest.counters.stored_bytes < 10 * BLOCK as u64, "it was adopted");
}

#[test]
fn a_cancelled_collect_stops_and_harms_nothing() {
    let (mut lab, old) = two_revisions();
    lab.remove(&[old]);
    let control = Control::default();
    control.cancel();
    let cancelled = run(&lab.disk(), &lab.lock(), &CollectParams::default(), &control);
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    lab.check();
}
