//! The bounded index by digest: which record of this disk already holds a block's bytes.
//!
//! A file of buckets of 4096 bytes, each 256 slots of 16 bytes: the digest's first eight bytes,
//! segment 4, ordinal 4, all little-endian; zeros are a free slot. A digest belongs to one bucket;
//! a full bucket forgets one entry for each new one. So the file has a fixed size, a look-up is one
//! read, and nothing is ever rebuilt as a whole.
//!
//! The index only hints. Whoever uses an answer compares the record's full digest first, so a torn,
//! stale, foreign or lost index costs space and never data; it needs no sync and no checksum.

use std::path::Path;

use crate::digest::Digest;
use crate::error::{AtPath, Result};
use crate::io::{File, Files, Mode};
use crate::map::Place;
use crate::units::{Ordinal, SegmentId};

const SLOT_LEN: usize = 16;
const BUCKET_LEN: usize = 4096;
const SLOT_COUNT: u64 = (BUCKET_LEN / SLOT_LEN) as u64;
/// 64 MiB hold four million blocks, 256 GiB of unique data at the default block size.
const BUCKET_COUNT_MAX: u64 = 16 * 1024;
const BUCKET_COUNT_MIN: u64 = 16;

/// See the module. For one thread at a time, which holds the disk's lock.
pub struct DedupIndex {
    file: Box<dyn File>,
    buckets: u64,
}

impl DedupIndex {
    /// Opens or makes the index for a disk of `blocks` blocks. An index that is there keeps its
    /// size until the disk has outgrown it fourfold; then it starts afresh.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(files: &dyn Files, path: &Path, blocks: u64) -> Result<Self> {
        let wanted = (blocks.saturating_mul(2) / SLOT_COUNT)
            .clamp(BUCKET_COUNT_MIN, BUCKET_COUNT_MAX)
            .next_power_of_two();
        let file = files.open(path, Mode::Update).at("opening", path)?;
        let found = file.len().at("reading", path)? / BUCKET_LEN as u64;
        let keeps = found.is_power_of_two() && (wanted / 4..=BUCKET_COUNT_MAX).contains(&found);
        if keeps {
            return Ok(Self { file, buckets: found });
        }
        if found != 0 {
            files.unlink(path).at("removing", path)?;
            return Self::open(files, path, blocks);
        }
        let last = wanted * BUCKET_LEN as u64 - 1;
        file.write_all_at(&[0], last).at("writing", path)?;
        Ok(Self { file, buckets: wanted })
    }

    /// A place that may hold `digest`; the caller must check. Read errors are misses.
    #[must_use]
    pub fn find(&self, digest: &Digest) -> Option<Place> {
        let mut bucket = [0; BUCKET_LEN];
        let read = self.file.read_at(&mut bucket, self.bucket_offset(digest)).ok()?;
        let prefix = digest.prefix().to_le_bytes();
        let slots = bucket.get(..read)?.chunks_exact(SLOT_LEN);
        slots.filter(|slot| slot.starts_with(&prefix)).find_map(place_of)
    }

    /// Enters a record. Write errors are dropped: a miss later costs space only.
    pub fn insert(&self, digest: &Digest, place: Place) {
        let mut bucket = [0; BUCKET_LEN];
        let offset = self.bucket_offset(digest);
        if self.file.read_at(&mut bucket, offset).is_err() {
            return;
        }
        let prefix = digest.prefix();
        let prefix_bytes = prefix.to_le_bytes();
        let slots = || bucket.chunks_exact(SLOT_LEN);
        let slot = slots()
            .position(|slot| slot.starts_with(&prefix_bytes))
            .or_else(|| slots().position(|slot| slot.iter().all(|&byte| byte == 0)))
            .unwrap_or((prefix >> 32) as usize % SLOT_COUNT as usize);
        let mut bytes = [0; SLOT_LEN];
        let parts = [&prefix_bytes[..], &place.segment.0.to_le_bytes(), &place.ordinal.0.to_le_bytes()];
        for (to, from) in bytes.iter_mut().zip(parts.concat()) {
            *to = from;
        }
        let _ = self.file.write_all_at(&bytes, offset + (slot * SLOT_LEN) as u64);
    }

    fn bucket_offset(&self, digest: &Digest) -> u64 {
        (digest.prefix() % self.buckets) * BUCKET_LEN as u64
    }
}

fn place_of(slot: &[u8]) -> Option<Place> {
    let (_, rest) = slot.split_first_chunk::<8>()?;
    let (segment, rest) = rest.split_first_chunk::<4>()?;
    let ordinal = rest.first_chunk::<4>()?;
    Place::new(SegmentId(u32::from_le_bytes(*segment)), Ordinal(u32::from_le_bytes(*ordinal)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Context;
    use crate::io::OsFiles;

    fn digest(n: u32) -> Digest {
        Digest::of(Context::Block, &n.to_le_bytes())
    }

    fn place(n: u32) -> Place {
        Place::new(SegmentId(n + 1), Ordinal(n)).unwrap()
    }

    #[test]
    fn finds_what_was_entered_and_survives_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dedup");
        let index = DedupIndex::open(&OsFiles, &path, 10_000).unwrap();
        for n in 0..5000 {
            index.insert(&digest(n), place(n));
        }
        let index = DedupIndex::open(&OsFiles, &path, 10_000).unwrap();
        let found = (0..5000).filter(|&n| index.find(&digest(n)) == Some(place(n))).count();
        assert_eq!(found, 5000);
        assert_eq!(index.find(&digest(5001)), None);
    }

    #[test]
    fn never_grows_however_much_is_entered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dedup");
        let index = DedupIndex::open(&OsFiles, &path, 1).unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        for n in 0..20_000 {
            index.insert(&digest(n), place(n));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), before);
        assert_eq!(index.find(&digest(19_999)), Some(place(19_999)));
    }

    #[test]
    fn an_index_of_an_odd_size_starts_afresh() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dedup");
        std::fs::write(&path, vec![0xff; 5 * BUCKET_LEN + 1]).unwrap();
        let index = DedupIndex::open(&OsFiles, &path, 1).unwrap();
        assert_eq!(index.find(&digest(1)), None);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), BUCKET_COUNT_MIN * BUCKET_LEN as u64);
    }
}
