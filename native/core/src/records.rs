//! Reading the records of one disk: open segments, decoded pages and decoded blocks, each in a
//! cache with a budget, shared by all revisions and all threads.
//!
//! Decoded things are kept by digest, which was checked when they were decoded: so a segment may be
//! rewritten meanwhile, and no pointer can lead to other bytes than it asks for. No lock is held
//! while anything is read or decoded; where two threads want the same thing, it is decoded once and
//! the second waits for the first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{UnitWeighter, Weighter};

use crate::digest::Digest;
use crate::error::{Damage, Error, Result, corrupt};
use crate::io::Files;
use crate::map::{BlockPointer, Fanout, Page, PagePointer, PageSource, Place};
use crate::record::Kind;
use crate::segment::{Record, SegmentReader};
use crate::units::SegmentId;

const OPEN_SEGMENTS_MAX: usize = 128;

/// Bytes that the caches of one disk may take.
#[derive(Clone, Copy, Debug)]
pub struct CacheBudget {
    /// Decoded map pages.
    pub pages_bytes: u64,
    /// Decoded blocks.
    pub blocks_bytes: u64,
}

impl Default for CacheBudget {
    fn default() -> Self {
        Self { pages_bytes: 16 << 20, blocks_bytes: 48 << 20 }
    }
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<Digest, Arc<Page>> for ByMemory {
    fn weight(&self, _: &Digest, page: &Arc<Page>) -> u64 {
        page.memory_len() as u64
    }
}

impl Weighter<Digest, Arc<[u8]>> for ByMemory {
    fn weight(&self, _: &Digest, block: &Arc<[u8]>) -> u64 {
        block.len() as u64 + 64
    }
}

/// See the module.
pub struct Records {
    files: Arc<dyn Files>,
    segments: PathBuf,
    open: Cache<u32, Arc<SegmentReader>, UnitWeighter>,
    pages: Cache<Digest, Arc<Page>, ByMemory>,
    blocks: Cache<Digest, Arc<[u8]>, ByMemory>,
}

impl Records {
    /// For the segments in a directory. Opens nothing yet.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, segments: PathBuf, budget: CacheBudget) -> Self {
        Self {
            files,
            segments,
            open: Cache::new(OPEN_SEGMENTS_MAX),
            pages: Cache::with_weighter(4096, budget.pages_bytes, ByMemory),
            blocks: Cache::with_weighter(1024, budget.blocks_bytes, ByMemory),
        }
    }

    /// An open segment.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub fn segment(&self, id: SegmentId) -> Result<Arc<SegmentReader>> {
        self.open
            .get_or_insert_with(&id.0, || SegmentReader::open(&*self.files, &self.segments, id).map(Arc::new))
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
        let block = self.blocks.get_or_insert_with(&pointer.digest, || {
            let mut plain = vec![0; len];
            self.block_into(pointer, &mut plain)?;
            Ok::<_, Error>(Arc::from(plain))
        })?;
        self.with_len(block, pointer, len)
    }

    /// A block if it is decoded already.
    #[must_use]
    pub fn cached_block(&self, pointer: &BlockPointer, len: usize) -> Option<Arc<[u8]>> {
        self.blocks.get(&pointer.digest).filter(|block| block.len() == len)
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
        let page = self.pages.get_or_insert_with(&pointer.digest, || {
            let first = self.load_page(pointer.place, pointer, level, fanout);
            match (first, pointer.copy) {
                (Ok(page), _) => Ok(page),
                (Err(error), None) => Err(error),
                (Err(error), Some(copy)) => self.load_page(copy, pointer, level, fanout).map_err(|_| error),
            }
        })?;
        if page.level() == level {
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
