//! Reading the records of one disk: open segments, decoded pages and decoded blocks come from
//! [`Caches`], which the readers of all disks and all threads of a process share.
//!
//! Decoded things are kept by digest, which was checked when they were decoded: so a segment may be
//! rewritten meanwhile, and no pointer can lead to other bytes than it asks for. No lock is held
//! while anything is read or decoded; where two threads want the same thing, it is decoded once and
//! the second waits for the first. What could not be decoded is not kept: who waited for it tries
//! for itself.

mod caches;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use caches::{CacheBudget, Caches};

use crate::digest::Digest;
use crate::error::{Damage, Error, Result, corrupt};
use crate::io::Files;
use crate::map::{BlockPointer, Fanout, Page, PagePointer, PageSource, Place};
use crate::record::Kind;
use crate::segment::{Record, SegmentReader};
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

    /// Whether the place holds a sealed record of this kind and digest.
    #[must_use]
    pub fn holds(&self, place: Place, kind: Kind, digest: &Digest) -> bool {
        self.segment(place.segment).is_ok_and(|segment| segment.holds(place.ordinal, kind, digest))
    }

    /// Decodes a block into `plain`, whose length is what the block must have. Past the cache.
    ///
    /// # Errors
    /// `Corrupt`, `NotFound` for its segment, `Io`.
    pub fn block_into(&self, pointer: &BlockPointer, plain: &mut [u8]) -> Result<()> {
        let segment = self.segment(pointer.place.segment)?;
        let record = segment.record(pointer.place.ordinal, Kind::Block, &pointer.digest)?;
        decode(&record, plain, segment.path())
    }

    /// A decoded block of `len` bytes, cached.
    ///
    /// # Errors
    /// As [`Records::block_into`].
    pub fn block(&self, pointer: &BlockPointer, len: usize) -> Result<Arc<[u8]>> {
        let block = self.caches.blocks.get_or_insert_with(&pointer.digest, || {
            let mut block: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
            self.block_into(pointer, Arc::get_mut(&mut block).ok_or(Error::Worker)?)?;
            Ok::<_, Error>(block)
        })?;
        self.with_len(block, pointer, len)
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
        let record = segment.record(place.ordinal, Kind::Page, &pointer.digest)?;
        let mut plain = vec![0; record.header.plain_len as usize];
        decode(&record, &mut plain, segment.path())?;
        let page =
            Page::decode(plain.into(), level, fanout).map_err(|error| corrupt(segment.path(), error))?;
        Ok(Arc::new(page))
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

fn decode(record: &Record, plain: &mut [u8], path: &Path) -> Result<()> {
    if record.header.plain_len as usize != plain.len() {
        return Err(corrupt(path, Damage::Missing { ordinal: record.header.ordinal.0 }));
    }
    record.decode_into(plain).map_err(|damage| corrupt(path, damage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Context;
    use crate::io::MemoryFiles;
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
        writer.seal().unwrap();
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

    #[test]
    fn the_largest_blocks_are_cached() {
        let files = files();
        let plain = vec![1; BLOCK_LEN];
        let digest = Digest::of(Context::Block, &plain);
        let mut writer =
            SegmentWriter::create(&files, Path::new(SEGMENTS), SegmentId(1), [0; 16], 0).unwrap();
        let len = u32::try_from(BLOCK_LEN).unwrap();
        writer.append(Kind::Block, crate::codec::Codec::Plain, digest, len, &plain).unwrap();
        writer.seal().unwrap();
        let records = records(&files);
        assert!(records.caches.blocks.shard_capacity() > BLOCK_LEN as u64);
        let pointer = BlockPointer { digest, place: Place::new(SegmentId(1), Ordinal(0)).unwrap() };
        records.block(&pointer, BLOCK_LEN).unwrap();
        assert!(records.cached_block(&pointer, BLOCK_LEN).is_some());
    }
}
