//! Reading the records of one disk: open segments, decoded pages and decoded blocks come from
//! [`Caches`], which the readers of all disks and all threads of a process share.
//!
//! Decoded things are kept by digest, which was checked when they were decoded: so a segment may be
//! rewritten meanwhile, and no pointer can lead to other bytes than it asks for. No lock is held
//! while anything is read or decoded; where two threads want the same thing, it is decoded once and
//! the second waits for the first. What could not be decoded is not kept: who waited for it tries
//! for itself.

mod caches;
mod spares;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::GuardResult;

pub use caches::{CacheBudget, Caches};

use crate::codec::Codec;
use crate::digest::Digest;
use crate::error::{Damage, Error, Result, corrupt};
use crate::io::Files;
use crate::map::{BlockPointer, Fanout, Page, PagePointer, PageSource, Place};
use crate::record::{Base, Kind};
use crate::segment::{Bases, SegmentReader};
use crate::units::SegmentId;

/// See the module.
pub struct Records {
    files: Arc<dyn Files>,
    segments: PathBuf,
    caches: Arc<Caches>,
    /// Of all that share the caches.
    reader: u64,
}

impl Drop for Records {
    /// Gives the descriptors back. Pages and blocks stay: they are true for whoever asks next.
    fn drop(&mut self) {
        self.caches.open.retain(|key, _| key.0 != self.reader);
    }
}

impl Records {
    /// For the segments in a directory. Opens nothing yet.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, segments: PathBuf, caches: Arc<Caches>) -> Self {
        let reader = caches.new_reader();
        Self { files, segments, caches, reader }
    }

    /// An open segment.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub fn segment(&self, id: SegmentId) -> Result<Arc<SegmentReader>> {
        self.caches.open.get_or_insert_with(&(self.reader, id.0), || {
            SegmentReader::open(&*self.files, &self.segments, id).map(Arc::new)
        })
    }

    /// Closes segments that were written anew or unlinked since they were opened, since their space
    /// comes back only then. To be called now and then by who keeps records for long. Reads that
    /// are under way end first; later ones open what is there now, which holds all that anybody
    /// may read.
    pub fn close_replaced(&self) {
        self.caches.open.retain(|key, segment| key.0 != self.reader || !segment.is_replaced(&*self.files));
    }

    /// Whether the place holds a sealed record of this kind and digest.
    #[must_use]
    pub fn holds(&self, place: Place, kind: Kind, digest: &Digest) -> bool {
        self.segment(place.segment).is_ok_and(|segment| segment.holds(place.ordinal, kind, digest))
    }

    /// The pointer to a sealed block of this digest, where the place holds one: with its base, which
    /// is there, too, where it has one.
    #[must_use]
    pub fn pointer_to(&self, place: Place, digest: &Digest) -> Option<BlockPointer> {
        let segment = self.segment(place.segment).ok()?;
        let header = segment.header(place.ordinal)?;
        if header.kind != Kind::Block || header.digest != *digest {
            return None;
        }
        let pointer = BlockPointer { digest: *digest, place, base: None };
        if header.codec != Codec::ZstdPrefix {
            return Some(pointer);
        }
        let base = segment.base_of(place.ordinal, digest).ok()??;
        let is_there = self.holds(base.place, Kind::Block, &base.digest);
        is_there.then_some(BlockPointer { base: Some(base.place), ..pointer })
    }

    /// What a block may be encoded against that comes in the place of another one: that one, or what
    /// it is encoded against itself. Gives its plain bytes as well, and how many its payload has.
    ///
    /// # Errors
    /// As [`Records::block_into`].
    pub fn base_for(&self, before: &BlockPointer) -> Result<(Base, Vec<u8>, u32)> {
        let place = before.base.unwrap_or(before.place);
        let segment = self.segment(place.segment)?;
        let missing = || corrupt(segment.path(), Damage::Missing { ordinal: place.ordinal.0 });
        let header = segment.header(place.ordinal).ok_or_else(missing)?;
        let digest = if before.base.is_some() { header.digest } else { before.digest };
        let plain = segment.read(place.ordinal, Kind::Block, &digest, None)?;
        Ok((Base { place, digest }, plain, header.payload_len))
    }

    /// The plain bytes of a record that is known by its place alone: no pointer tells how long it is,
    /// or what it is encoded against.
    ///
    /// # Errors
    /// As [`Records::block_into`].
    pub fn record(&self, place: Place, kind: Kind, digest: &Digest) -> Result<Vec<u8>> {
        self.segment(place.segment)?.read(place.ordinal, kind, digest, Some(self))
    }

    /// Decodes a block into `plain`, whose length is what the block must have. Past the cache. One
    /// that is encoded against another block than its pointer says is damaged: nothing would keep that
    /// one.
    ///
    /// # Errors
    /// `Corrupt`, `NotFound` for its segment or that of its base, `Io`.
    pub fn block_into(&self, pointer: &BlockPointer, plain: &mut [u8]) -> Result<()> {
        let segment = self.segment(pointer.place.segment)?;
        let bases = BaseOf { records: self, pointer };
        segment.read_into(pointer.place.ordinal, Kind::Block, &pointer.digest, Some(&bases), plain)
    }

    /// As [`Records::block_into`], where it is not known how long the block is.
    ///
    /// # Errors
    /// As there.
    pub fn block_of_any_len(&self, pointer: &BlockPointer) -> Result<Vec<u8>> {
        let segment = self.segment(pointer.place.segment)?;
        let bases = BaseOf { records: self, pointer };
        segment.read(pointer.place.ordinal, Kind::Block, &pointer.digest, Some(&bases))
    }

    /// A decoded block of `len` bytes, cached.
    ///
    /// # Errors
    /// As [`Records::block_into`].
    pub fn block(&self, pointer: &BlockPointer, len: usize) -> Result<Arc<[u8]>> {
        let block = self.caches.blocks.get_or_insert_with(&pointer.digest, || {
            let mut block = self.caches.spares.buffer(len);
            self.block_into(pointer, Arc::get_mut(&mut block).ok_or(Error::Worker)?)?;
            Ok::<_, Error>(block)
        })?;
        self.with_len(block, pointer, len)
    }

    /// Fills `plain` with a block, all of which is wanted, for a reader that goes on and does not
    /// come back: from the cache where it is decoded or being decoded, else straight into place and
    /// not kept. So two that ask at the same time may both decode it.
    ///
    /// # Errors
    /// As [`Records::block_into`].
    pub fn whole_block(&self, pointer: &BlockPointer, plain: &mut [u8]) -> Result<()> {
        // Looking at it does not count as use, or what was decoded ahead of a reader would outlive
        // its one reading and push out what is read often.
        if let Some(block) = self.caches.blocks.peek(&pointer.digest) {
            plain.copy_from_slice(&self.with_len(block, pointer, plain.len())?);
            return Ok(());
        }
        let block = match self.caches.blocks.get_value_or_guard(&pointer.digest, Some(Duration::ZERO)) {
            GuardResult::Value(block) => self.with_len(block, pointer, plain.len())?,
            GuardResult::Timeout => self.block(pointer, plain.len())?,
            GuardResult::Guard(guard) => {
                // Given up before decoding: nobody shall wait for what is not kept.
                drop(guard);
                return self.block_into(pointer, plain);
            }
        };
        plain.copy_from_slice(&block);
        Ok(())
    }

    /// A block if it is decoded already.
    #[must_use]
    pub fn cached_block(&self, pointer: &BlockPointer, len: usize) -> Option<Arc<[u8]>> {
        self.caches.blocks.get(&pointer.digest).filter(|block| block.len() == len)
    }

    /// Whether a block is decoded already. Asking does not count as use.
    #[must_use]
    pub fn is_cached(&self, pointer: &BlockPointer) -> bool {
        self.caches.blocks.contains_key(&pointer.digest)
    }

    fn with_len(&self, block: Arc<[u8]>, pointer: &BlockPointer, len: usize) -> Result<Arc<[u8]>> {
        if block.len() == len {
            return Ok(block);
        }
        let path = crate::segment::path_of(&self.segments, pointer.place.segment);
        Err(corrupt(&path, Damage::Missing { ordinal: pointer.place.ordinal.0 }))
    }

    fn load_page(&self, place: Place, pointer: &PagePointer, level: u8, fanout: Fanout) -> Result<Arc<Page>> {
        let segment = self.segment(place.segment)?;
        let plain = segment.read(place.ordinal, Kind::Page, &pointer.digest, None)?;
        let page =
            Page::decode(plain.into(), level, fanout).map_err(|error| corrupt(segment.path(), error))?;
        Ok(Arc::new(page))
    }
}

impl Bases for Records {
    fn base(&self, base: &Base) -> Result<Arc<[u8]>> {
        // What is read by the way is not kept: the block that it was read for is.
        if let Some(block) = self.caches.blocks.peek(&base.digest) {
            return Ok(block);
        }
        let segment = self.segment(base.place.segment)?;
        Ok(segment.read(base.place.ordinal, Kind::Block, &base.digest, None)?.into())
    }
}

/// The one base that a pointer names.
struct BaseOf<'a> {
    records: &'a Records,
    pointer: &'a BlockPointer,
}

impl Bases for BaseOf<'_> {
    fn base(&self, base: &Base) -> Result<Arc<[u8]>> {
        if self.pointer.base == Some(base.place) {
            return self.records.base(base);
        }
        let place = self.pointer.place;
        let path = crate::segment::path_of(&self.records.segments, place.segment);
        Err(corrupt(&path, Damage::Missing { ordinal: place.ordinal.0 }))
    }
}

impl PageSource for Records {
    fn page(&self, pointer: &PagePointer, level: u8, fanout: Fanout) -> Result<Arc<Page>> {
        let page = self.caches.pages.get_or_insert_with(&pointer.digest, || {
            let first = self.load_page(pointer.place, pointer, level, fanout);
            match (first, pointer.copy) {
                (Ok(page), _) => Ok(page),
                (Err(error), None) => Err(error),
                (Err(error), Some(copy)) => self.load_page(copy, pointer, level, fanout).map_err(|_| error),
            }
        })?;
        if page.fits(pointer, level, fanout) {
            return Ok(page);
        }
        let path = crate::segment::path_of(&self.segments, pointer.place.segment);
        Err(corrupt(&path, crate::map::PageError::Shape))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::digest::Context;
    use crate::io::{File, FileIdentity, Lock, MemoryFiles, Mode, ReadAt};
    use crate::map::{self, MapRoot};
    use crate::segment::SegmentWriter;
    use crate::units::Ordinal;

    const SEGMENTS: &str = "/segments";
    const BLOCK_LEN: usize = 4 << 20;

    /// A segment of pages made by a liar: each level is one page whose 32 entries are all the page
    /// below, so a few records make a tree of billions of blocks. `tell` gives the count that an
    /// entry tells, for the true one.
    fn hostile_tree(files: &MemoryFiles, height: u8, tell: impl Fn(u64) -> u64) -> MapRoot {
        hostile_tree_in(files, 1, [7; 32], height, tell)
    }

    fn hostile_tree_in(
        files: &MemoryFiles,
        segment: u8,
        block: [u8; 32],
        height: u8,
        tell: impl Fn(u64) -> u64,
    ) -> MapRoot {
        let fanout = Fanout::new(32).unwrap();
        let id = SegmentId(u32::from(segment));
        let mut writer = SegmentWriter::create(files, Path::new(SEGMENTS), id, [0; 16], 0).unwrap();
        let mut entry = [&block[..], &[segment, 0, 0, 0], &[0; 4]].concat();
        let mut root = None;
        for level in 1..=height {
            let page = [vec![1, level, 5, 0], vec![0xff; 4], entry.repeat(32)].concat();
            let digest = Digest::of(Context::Page, &page);
            let len = u32::try_from(page.len()).unwrap();
            let ordinal = writer.append(Kind::Page, crate::codec::Codec::Plain, digest, len, &page).unwrap();
            let place = Place::new(id, ordinal).unwrap();
            let allocated = tell(fanout.span(level));
            entry = [
                &digest.0[..],
                &[segment, 0, 0, 0],
                &ordinal.0.to_le_bytes(),
                &[0; 8],
                &allocated.to_le_bytes(),
            ]
            .concat();
            root = Some(PagePointer { digest, place, copy: None, allocated });
        }
        writer.seal(files).unwrap();
        MapRoot { fanout, height, root }
    }

    fn records(files: &MemoryFiles) -> Records {
        Records::new(Arc::new(files.clone()), SEGMENTS.into(), Arc::new(Caches::new(CacheBudget::default())))
    }

    fn files() -> MemoryFiles {
        let files = MemoryFiles::default();
        files.create_directory(Path::new(SEGMENTS)).unwrap();
        files
    }

    #[test]
    fn a_page_that_holds_another_count_than_its_pointer_tells_is_refused() {
        let files = files();
        let map = hostile_tree(&files, 8, |allocated| allocated - 1);
        let found = map::extents(&records(&files), &map, 0..1 << 40, usize::MAX);
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{found:?}");
    }

    #[test]
    fn a_full_tree_is_one_extent_and_one_change_without_a_walk() {
        let files = files();
        let map = hostile_tree(&files, 8, |allocated| allocated);
        let records = records(&files);
        assert_eq!(map::extents(&records, &map, 0..1 << 40, usize::MAX).unwrap().len(), 1);
        let empty = MapRoot { root: None, ..map };
        assert_eq!(map::changes(&records, &empty, &map, 0..1 << 40, usize::MAX).unwrap().len(), 1);
        assert_eq!(map::changes(&records, &map, &empty, 0..1 << 40, usize::MAX).unwrap().len(), 1);
    }

    #[test]
    fn trees_that_name_their_pages_over_and_over_are_compared_without_walking_them() {
        let files = files();
        let map = hostile_tree(&files, 8, |allocated| allocated);
        let same_blocks = hostile_tree_in(&files, 2, [7; 32], 8, |allocated| allocated);
        let other_blocks = hostile_tree_in(&files, 3, [8; 32], 8, |allocated| allocated);
        let records = records(&files);
        assert_eq!(map::changes(&records, &map, &same_blocks, 0..1 << 40, usize::MAX).unwrap(), []);
        assert_eq!(map::changes(&records, &map, &other_blocks, 0..1 << 40, usize::MAX).unwrap().len(), 1);
    }

    #[test]
    fn a_page_serves_no_tree_of_another_fanout() {
        let files = files();
        let map = hostile_tree(&files, 1, |allocated| allocated);
        let records = records(&files);
        assert!(map::blocks(&records, &map, 0..1).is_ok());
        let other = MapRoot { fanout: Fanout::new(64).unwrap(), ..map };
        assert!(matches!(map::blocks(&records, &other, 0..1), Err(Error::Corrupt { .. })));
    }

    const SMALL: usize = 64 << 10;

    /// A segment of `count` blocks, each of its own content.
    fn blocks(files: &MemoryFiles, count: u32) -> Vec<BlockPointer> {
        let id = SegmentId(1);
        let mut writer = SegmentWriter::create(files, Path::new(SEGMENTS), id, [0; 16], 0).unwrap();
        let pointers = (0..count).map(|number| {
            let plain = number.to_le_bytes().repeat(SMALL / 4);
            let digest = Digest::of(Context::Block, &plain);
            let (codec, payload) = crate::codec::encode(crate::codec::Codec::Zstd, &plain);
            let ordinal = writer.append(Kind::Block, codec, digest, SMALL as u32, &payload).unwrap();
            BlockPointer { digest, place: Place::new(id, ordinal).unwrap(), base: None }
        });
        let pointers = pointers.collect();
        writer.seal(files).unwrap();
        pointers
    }

    /// Files that count how often records are read, which takes them a moment, and which can break.
    #[derive(Clone, Default)]
    struct Slow {
        files: MemoryFiles,
        state: Arc<SlowState>,
    }

    #[derive(Default)]
    struct SlowState {
        reads: AtomicUsize,
        broken: AtomicBool,
        open: AtomicUsize,
    }

    struct SlowFile(Box<dyn File>, Arc<SlowState>);

    impl Drop for SlowFile {
        fn drop(&mut self) {
            self.1.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl ReadAt for SlowFile {
        fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
            self.1.reads.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            if self.1.broken.load(Ordering::SeqCst) {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            self.0.read_at(into, offset)
        }
    }

    impl File for SlowFile {
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

    impl Files for Slow {
        fn open(&self, path: &Path, mode: Mode) -> std::io::Result<Box<dyn File>> {
            let file = self.files.open(path, mode)?;
            self.state.open.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(SlowFile(file, Arc::clone(&self.state))))
        }
        fn read(&self, path: &Path, len_max: usize) -> std::io::Result<Vec<u8>> {
            self.files.read(path, len_max)
        }
        fn identity(&self, path: &Path) -> std::io::Result<FileIdentity> {
            self.files.identity(path)
        }
        fn list(&self, directory: &Path) -> std::io::Result<Vec<String>> {
            self.files.list(directory)
        }
        fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
            self.files.rename(from, to)
        }
        fn unlink(&self, path: &Path) -> std::io::Result<()> {
            self.files.unlink(path)
        }
        fn create_directory(&self, path: &Path) -> std::io::Result<()> {
            self.files.create_directory(path)
        }
        fn sync_directory(&self, path: &Path) -> std::io::Result<()> {
            self.files.sync_directory(path)
        }
    }

    fn slow(count: u32) -> (Slow, Vec<BlockPointer>) {
        let slow = Slow { files: files(), ..Slow::default() };
        let pointers = blocks(&slow.files, count);
        (slow, pointers)
    }

    fn slow_records(slow: &Slow, caches: &Arc<Caches>) -> Records {
        Records::new(Arc::new(slow.clone()), SEGMENTS.into(), Arc::clone(caches))
    }

    #[test]
    fn a_block_is_decoded_once_however_many_wait() {
        let (slow, pointers) = slow(1);
        let caches = Arc::new(Caches::new(CacheBudget::default()));
        let all = [slow_records(&slow, &caches), slow_records(&slow, &caches)];
        all.iter().for_each(|records| drop(records.segment(SegmentId(1)).unwrap()));
        slow.state.reads.store(0, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (records, pointer) = (&all[thread % 2], &pointers[0]);
                scope.spawn(move || assert_eq!(records.block(pointer, SMALL).unwrap()[..], [0; SMALL]));
            }
        });
        assert_eq!(slow.state.reads.load(Ordering::SeqCst), 1, "by both disks' readers together");
    }

    #[test]
    fn what_could_not_be_decoded_fails_for_each_and_is_tried_again() {
        let (slow, pointers) = slow(1);
        let records = slow_records(&slow, &Arc::new(Caches::new(CacheBudget::default())));
        records.segment(SegmentId(1)).unwrap();
        slow.state.broken.store(true, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (records, pointer) = (&records, &pointers[0]);
                scope.spawn(move || {
                    let mut plain = [9; SMALL];
                    let failed = if thread % 2 == 0 {
                        records.block(pointer, SMALL).is_err()
                    } else {
                        records.whole_block(pointer, &mut plain).is_err()
                    };
                    assert!(failed);
                });
            }
        });
        slow.state.broken.store(false, Ordering::SeqCst);
        assert!(records.cached_block(&pointers[0], SMALL).is_none());
        records.block(&pointers[0], SMALL).unwrap();
        assert!(records.cached_block(&pointers[0], SMALL).is_some());
    }

    #[test]
    fn a_whole_block_is_taken_from_who_decodes_it_and_else_not_kept() {
        let (slow, pointers) = slow(2);
        let records = slow_records(&slow, &Arc::new(Caches::new(CacheBudget::default())));
        records.segment(SegmentId(1)).unwrap();
        let mut plain = vec![9; SMALL];
        records.whole_block(&pointers[1], &mut plain).unwrap();
        assert_eq!(plain, 1u32.to_le_bytes().repeat(SMALL / 4));
        assert!(!records.is_cached(&pointers[1]));
        slow.state.reads.store(0, Ordering::SeqCst);
        std::thread::scope(|scope| {
            scope.spawn(|| records.block(&pointers[0], SMALL).unwrap());
            while slow.state.reads.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            records.whole_block(&pointers[0], &mut plain).unwrap();
        });
        assert_eq!(slow.state.reads.load(Ordering::SeqCst), 1);
        assert_eq!(plain, [0; SMALL]);
        records.whole_block(&pointers[0], &mut plain).unwrap();
        assert_eq!(slow.state.reads.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn blocks_decoded_ahead_keep_half_the_cache_from_what_is_read_often() {
        let files = files();
        let pointers = blocks(&files, 2400);
        let records = records(&files);
        let (often, ahead) = pointers.split_at(1800);
        for _ in 0..3 {
            often.iter().for_each(|pointer| drop(records.block(pointer, SMALL).unwrap()));
        }
        let ahead = &ahead[..500];
        ahead.iter().for_each(|pointer| drop(records.block(pointer, SMALL).unwrap()));
        let kept = ahead.iter().filter(|pointer| records.is_cached(pointer)).count();
        assert!(kept > 450, "{kept} of 500, which take a third of the cache");
        let budget = CacheBudget::default();
        assert!(records.caches.blocks.weight() <= budget.blocks_bytes);
        assert!(records.caches.blocks.weight() > budget.blocks_bytes * 9 / 10);
    }

    #[test]
    fn the_readers_of_many_disks_keep_few_segments_open_and_close_theirs() {
        let (slow, _) = slow(1);
        let caches = Arc::new(Caches::new(CacheBudget::default()));
        let all: Vec<_> = (0..400).map(|_| slow_records(&slow, &caches)).collect();
        let open =
            |all: &[Records]| all.iter().for_each(|records| drop(records.segment(SegmentId(1)).unwrap()));
        std::thread::scope(|scope| all.chunks(50).for_each(|some| drop(scope.spawn(move || open(some)))));
        let count = slow.state.open.load(Ordering::SeqCst);
        assert!((100..=256).contains(&count), "{count}");
        drop(all);
        assert_eq!(slow.state.open.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_largest_blocks_are_cached() {
        let files = files();
        let plain = vec![1; BLOCK_LEN];
        let digest = Digest::of(Context::Block, &plain);
        let mut writer =
            SegmentWriter::create(&files, Path::new(SEGMENTS), SegmentId(1), [0; 16], 0).unwrap();
        let len = u32::try_from(BLOCK_LEN).unwrap();
        writer.append(Kind::Block, crate::codec::Codec::Plain, digest, len, &plain).unwrap();
        writer.seal(&files).unwrap();
        let records = records(&files);
        let pointer =
            BlockPointer { digest, place: Place::new(SegmentId(1), Ordinal(0)).unwrap(), base: None };
        records.block(&pointer, BLOCK_LEN).unwrap();
        assert!(records.cached_block(&pointer, BLOCK_LEN).is_some());
    }
}
