//! What the readers of a process keep in memory, whichever disks they read.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::digest::Digest;
use crate::map::Page;
use crate::segment::SegmentReader;

/// Segments that are open at once, each with a descriptor.
const OPEN_SEGMENTS_MAX: u64 = 256;
/// Bytes that the indexes of open segments may take.
const OPEN_SEGMENTS_BYTES: u64 = 16 << 20;
/// Keeps the caches' shards few, so that each has room for several of the largest blocks.
const ITEMS_GUESS: usize = 128;
/// The part of a cache that is for what was asked for again; the rest is for what is new. The
/// crate's own 0.97 would leave blocks that were decoded ahead of their reader 3 MiB of 96, and a
/// few readers would lose theirs before they come to them.
const HOT_PART: f64 = 0.5;

/// Bytes that caches may take.
#[derive(Clone, Copy, Debug)]
pub struct CacheBudget {
    /// Decoded map pages.
    pub pages_bytes: u64,
    /// Decoded blocks.
    pub blocks_bytes: u64,
}

impl CacheBudget {
    /// Of a job that reads one disk once, front to back, beside whatever else runs.
    pub const JOB: CacheBudget = CacheBudget { pages_bytes: 16 << 20, blocks_bytes: 48 << 20 };
}

impl Default for CacheBudget {
    /// Of a process that serves any number of disks within 256 MiB.
    fn default() -> Self {
        Self { pages_bytes: 32 << 20, blocks_bytes: 96 << 20 }
    }
}

/// Open segments, decoded pages and decoded blocks, shared by any number of [`super::Records`].
/// Each kind has its budget, whatever the number of disks.
pub struct Caches {
    pub(super) open: Cache<(u64, u32), Arc<SegmentReader>, ByMemory>,
    pub(super) pages: ByDigest<Arc<Page>>,
    pub(super) blocks: ByDigest<Arc<[u8]>>,
    next_reader: AtomicU64,
}

/// What was verified against its digest is the same for every disk.
pub(super) type ByDigest<T> = Cache<Digest, T, ByMemory, DigestHashers>;

impl Caches {
    /// Empty ones. They fill as they are used.
    #[must_use]
    pub fn new(budget: CacheBudget) -> Self {
        Self {
            open: sized(OPEN_SEGMENTS_BYTES),
            pages: sized(budget.pages_bytes),
            blocks: sized(budget.blocks_bytes),
            next_reader: AtomicU64::new(0),
        }
    }

    /// Segments are told apart by who reads them, since every disk numbers its own from 1.
    pub(super) fn new_reader(&self) -> u64 {
        self.next_reader.fetch_add(1, Ordering::Relaxed)
    }
}

fn sized<K, V, B>(bytes: u64) -> Cache<K, V, ByMemory, B>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    ByMemory: Weighter<K, V>,
    B: BuildHasher + Clone + Default,
{
    let options = OptionsBuilder::new()
        .estimated_items_capacity(ITEMS_GUESS)
        .weight_capacity(bytes)
        .hot_allocation(HOT_PART)
        .build();
    match options {
        Ok(options) => Cache::with_options(options, ByMemory, B::default(), DefaultLifecycle::default()),
        // Only capacities that were not given are refused, and both were.
        Err(_) => Cache::with(ITEMS_GUESS, bytes, ByMemory, B::default(), DefaultLifecycle::default()),
    }
}

#[derive(Clone)]
pub(super) struct ByMemory;

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

impl Weighter<(u64, u32), Arc<SegmentReader>> for ByMemory {
    fn weight(&self, _: &(u64, u32), segment: &Arc<SegmentReader>) -> u64 {
        (segment.memory_len() as u64).max(OPEN_SEGMENTS_BYTES / OPEN_SEGMENTS_MAX)
    }
}

/// Makes [`DigestHasher`]s.
#[derive(Clone, Copy, Default)]
pub(super) struct DigestHashers;

impl BuildHasher for DigestHashers {
    type Hasher = DigestHasher;

    fn build_hasher(&self) -> DigestHasher {
        DigestHasher(0)
    }
}

/// Takes the first bytes of a digest as they are: they are as evenly spread as any hash of them.
/// Who makes blocks whose digests begin alike makes the chains of one cache longer, which its
/// budget bounds.
pub(super) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length that arrays put before their bytes tells nothing.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_hashed_by_their_first_bytes() {
        let digest = Digest([7; 32]);
        assert_eq!(DigestHashers.hash_one(digest), digest.prefix());
    }
}
