//! What the readers of a process keep in memory, whichever disks they read.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::spares::Spares;
use crate::digest::Digest;
use crate::map::Page;
use crate::segment::{RECORD_COUNT_MAX, SegmentReader};
use crate::units::BLOCK_SIZE_MAX;

/// Segments that are open at once, each with a descriptor.
const OPEN_SEGMENTS_MAX: u64 = 256;
/// Bytes that the indexes of open segments may take.
const OPEN_SEGMENTS_BYTES: u64 = 16 << 20;
/// What each counts for at least, so that there are never more of them.
const SEGMENT_LEN_MIN: u64 = OPEN_SEGMENTS_BYTES / OPEN_SEGMENTS_MAX;
/// The largest index in memory, and some.
const SEGMENT_LEN_MAX: u64 = RECORD_COUNT_MAX as u64 * 13;
/// The largest page in memory, and some.
const PAGE_LEN_MAX: u64 = 64 << 10;
/// Threads that read at the same time should seldom meet at the lock of a shard.
const SHARDS_MAX: u64 = 64;
/// With fewer to a shard the cache makes its shards fewer.
const SHARD_ITEMS: usize = 32;
/// The part of a cache that is for what was asked for again; the rest is for what is new. The
/// crate's own 0.97 would leave blocks that were decoded ahead of their reader 3 MiB of 96, and a
/// few readers would lose theirs before they come to them.
const HOT_PART: f64 = 0.5;
/// What was let go of is not remembered: coming back, it would be taken for hot at once and push the
/// hot part over its share, until nothing new could stay.
const GHOST_PART: f64 = 0.0;

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
    pub(super) pages: ByDigest<Arc<Page>, DefaultLifecycle<Digest, Arc<Page>>>,
    pub(super) blocks: ByDigest<Arc<[u8]>, Spares>,
    pub(super) spares: Spares,
    next_reader: AtomicU64,
}

/// What was verified against its digest is the same for every disk.
type ByDigest<T, L> = Cache<Digest, T, ByMemory, DigestHashers, L>;

impl Caches {
    /// Empty ones. They fill as they are used.
    #[must_use]
    pub fn new(budget: CacheBudget) -> Self {
        let spares = Spares::default();
        Self {
            open: sized(OPEN_SEGMENTS_BYTES, SEGMENT_LEN_MAX, DefaultLifecycle::default()),
            pages: sized(budget.pages_bytes, PAGE_LEN_MAX, DefaultLifecycle::default()),
            blocks: sized(budget.blocks_bytes, BLOCK_SIZE_MAX.into(), spares.clone()),
            spares,
            next_reader: AtomicU64::new(0),
        }
    }

    /// Segments are told apart by who reads them, since every disk numbers its own from 1.
    pub(super) fn new_reader(&self) -> u64 {
        self.next_reader.fetch_add(1, Ordering::Relaxed)
    }
}

fn sized<K, V, B, L>(bytes: u64, len_max: u64, lifecycle: L) -> Cache<K, V, ByMemory, B, L>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    ByMemory: Weighter<K, V>,
    B: BuildHasher + Clone + Default,
    L: Lifecycle<K, V> + Clone,
{
    // What is larger than the hot part of a shard is never kept.
    let fitting = (bytes / (len_max * 5 / 2)).clamp(1, SHARDS_MAX);
    let shards = 1 << fitting.ilog2();
    let items = shards * SHARD_ITEMS;
    let options = OptionsBuilder::new()
        .shards(shards)
        .estimated_items_capacity(items)
        .weight_capacity(bytes)
        .hot_allocation(HOT_PART)
        .ghost_allocation(GHOST_PART)
        .build();
    match options {
        Ok(options) => Cache::with_options(options, ByMemory, B::default(), lifecycle),
        // Only capacities that were not given are refused, and both were.
        Err(_) => Cache::with(items, bytes, ByMemory, B::default(), lifecycle),
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
        (segment.memory_len() as u64).max(SEGMENT_LEN_MIN)
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
