//! A revision as an image: verified reads at any offset, extents, and the difference between two.

mod leaves;

use std::ops::Range;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::io::{Pin, ReadAt};
use crate::manifest::Manifest;
use crate::map::{self, BlockPointer, ExtentState, MapRoot};
use crate::records::Records;
use crate::revision::RevisionId;
use crate::units::{BlockIndex, Geometry};

/// An open revision. Cheap to clone; safe from many threads. While a clone of it lives, its blocks
/// stay, whatever is pruned meanwhile.
#[derive(Clone)]
pub struct Image {
    records: Arc<Records>,
    geometry: Geometry,
    map: MapRoot,
    _pin: Option<Pin>,
}

/// What one piece of an image consists of, where that can be told without copying.
#[derive(Clone, Debug)]
pub enum Covering {
    /// Holes alone.
    Zeros,
    /// A part of one decoded block, which is the cache's own.
    Block {
        /// The whole block.
        bytes: Arc<[u8]>,
        /// Where the piece begins in it.
        start: usize,
    },
}

/// Contiguous bytes in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteExtent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether they are stored or zeros.
    pub state: ExtentState,
}

/// A part of a stored block that a read asks for.
struct Wanted {
    pointer: BlockPointer,
    block_len: usize,
    within: usize,
}

impl Wanted {
    fn copy_from(&self, block: &[u8], part: &mut [u8]) {
        part.copy_from_slice(block.get(self.within..self.within + part.len()).unwrap_or(&[]));
    }
}

impl Image {
    /// Opens a revision of `disk`, reading through `records`, which are the disk's. Pins it: holds a
    /// shared flock(2) on the manifest until the last clone is dropped. Needs no right to write;
    /// on a file system without locks it reads all the same, but what is pruned there and collected
    /// may be gone before it was read.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `NotFound`, `Locked`, `Io`, all of the manifest; nothing else is read
    /// yet.
    pub fn open(disk: &Disk, records: Arc<Records>, revision: &RevisionId) -> Result<Self> {
        let (manifest, pin) = disk.pinned(revision)?;
        Ok(Self { _pin: Some(pin), ..Self::of(&manifest, records)? })
    }

    /// The image that a manifest describes, not pinned: for whoever holds the disk's lock.
    ///
    /// # Errors
    /// `InvalidArgument` for a manifest that was not checked.
    pub fn of(manifest: &Manifest, records: Arc<Records>) -> Result<Self> {
        Ok(Self { records, geometry: manifest.geometry()?, map: manifest.map, _pin: None })
    }

    /// Size and blocks.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Root of the block map.
    #[must_use]
    pub fn map(&self) -> &MapRoot {
        &self.map
    }

    /// The records that it reads from.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Bytes in blocks that are stored; the rest is zeros.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        let blocks = self.map.allocated_blocks().saturating_mul(u64::from(self.geometry.block_size()));
        blocks.min(self.geometry.size_bytes())
    }

    /// Fills `into` from `offset` (bytes, any alignment); holes read as zeros. Returns the bytes
    /// copied, short only at the end of the image.
    ///
    /// # Errors
    /// `Corrupt` where stored bytes do not have the digest that their pointer asks for; `NotFound`
    /// for a missing segment; `Io`.
    pub fn read(&self, into: &mut [u8], offset: u64) -> Result<usize> {
        // Who asks for several blocks reads on, or is the kernel, which keeps what it asked for.
        // Decoding them into place saves a copy and leaves the cache to others: a fifth faster for
        // blocks that do not shrink, with two threads three quarters.
        let block_size = u64::from(self.geometry.block_size());
        let reads_on = into.len() as u64 > block_size;
        self.read_with(into, offset, |wanted, part| {
            if reads_on && part.len() == wanted.block_len {
                return self.records.whole_block(&wanted.pointer, part);
            }
            let block = self.records.block(&wanted.pointer, wanted.block_len)?;
            wanted.copy_from(&block, part);
            Ok(())
        })
    }

    /// Like [`Image::read`] when every block wanted is decoded already; else `None` at once, but
    /// for map pages that have to be read.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn read_cached(&self, into: &mut [u8], offset: u64) -> Result<Option<usize>> {
        let found = self.read_with(into, offset, |wanted, part| {
            let block = self.records.cached_block(&wanted.pointer, wanted.block_len);
            wanted.copy_from(&block.ok_or(Error::Cancelled)?, part);
            Ok(())
        });
        match found {
            Ok(count) => Ok(Some(count)),
            Err(Error::Cancelled) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The `len` bytes from `offset` on without a copy, where they are all holes or all in one
    /// block, which is then decoded and cached; `None` for all else, whose bytes [`Image::read`]
    /// gives. The range lies within the image.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn covering(&self, offset: u64, len: usize) -> Result<Option<Covering>> {
        let (_, blocks) = self.range(offset, len as u64);
        if blocks.end.saturating_sub(blocks.start) != 1 {
            let allocated = map::allocated(&*self.records, &self.map, blocks)?;
            return Ok((allocated == 0).then_some(Covering::Zeros));
        }
        let Some(pointer) = self.pointer(blocks.start)? else {
            return Ok(Some(Covering::Zeros));
        };
        let block = BlockIndex(blocks.start);
        let bytes = self.records.block(&pointer, self.geometry.len_of(block) as usize)?;
        let start = usize::try_from(offset - self.geometry.offset_of(block)).unwrap_or(usize::MAX);
        let is_inside = start.checked_add(len).is_some_and(|end| end <= bytes.len());
        Ok(is_inside.then_some(Covering::Block { bytes, start }))
    }

    /// Decodes a block into the cache unless it is there. Nothing for holes and beyond the end.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn warm(&self, block: u64) -> Result<()> {
        match self.cold(block)? {
            Some(pointer) => {
                let len = self.geometry.len_of(BlockIndex(block)) as usize;
                self.records.block(&pointer, len).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Whether [`Image::warm`] has nothing to do: the block is decoded already, a hole, or beyond
    /// the end.
    ///
    /// # Errors
    /// Of the map.
    pub fn is_warm(&self, block: u64) -> Result<bool> {
        Ok(self.cold(block)?.is_none())
    }

    fn cold(&self, block: u64) -> Result<Option<BlockPointer>> {
        let pointer = self.pointer(block)?;
        let is_inside = block < self.geometry.block_count();
        Ok(pointer.filter(|pointer| is_inside && !self.records.is_cached(pointer)))
    }

    /// The first byte at or after `offset` in `state`; `None` where there is none before the end of
    /// the image. Passes over what is all data or all zeros by the counters in the map.
    ///
    /// # Errors
    /// Of the map.
    pub fn next(&self, offset: u64, state: ExtentState) -> Result<Option<u64>> {
        let (range, blocks) = self.range(offset, u64::MAX);
        if range.is_empty() {
            return Ok(None);
        }
        let found = map::next(&*self.records, &self.map, blocks, state)?;
        Ok(found.map(|block| self.geometry.offset_of(BlockIndex(block)).max(range.start)))
    }

    /// Pointers of a range of blocks, `None` for zeros.
    ///
    /// # Errors
    /// Of the map.
    pub fn pointers(&self, blocks: Range<u64>) -> Result<Vec<Option<BlockPointer>>> {
        map::blocks(&*self.records, &self.map, blocks)
    }

    /// States from `offset` on for `len` bytes, merged where equal, at most `limit` extents.
    ///
    /// # Errors
    /// Of the map.
    pub fn extents(&self, offset: u64, len: u64, limit: usize) -> Result<Vec<ByteExtent>> {
        let (range, blocks) = self.range(offset, len);
        let found = map::extents(&*self.records, &self.map, blocks, limit)?;
        Ok(self.to_bytes(&found, range))
    }

    /// Bytes in the stored blocks that a range touches, counted without walking the map.
    ///
    /// # Errors
    /// Of the map.
    pub fn allocated_in(&self, offset: u64, len: u64) -> Result<u64> {
        let (range, blocks) = self.range(offset, len);
        let blocks = map::allocated(&*self.records, &self.map, blocks)?;
        Ok(blocks.saturating_mul(u64::from(self.geometry.block_size())).min(range.end - range.start))
    }

    /// What changed from `self` to `later`, of the same disk, from `offset` on; at most `limit`
    /// extents, with the state they have in `later`. Where sizes differ, all that `later` has
    /// beyond the end of `self` counts as changed.
    ///
    /// # Errors
    /// Of the maps; `InvalidArgument` when block size or fan-out differ.
    pub fn changes_to(&self, later: &Image, offset: u64, limit: usize) -> Result<Vec<ByteExtent>> {
        if self.geometry.block_size() != later.geometry.block_size() || self.map.fanout != later.map.fanout {
            return Err(Error::InvalidArgument(
                "the two revisions have different block sizes, so their blocks cannot be compared".into(),
            ));
        }
        let common = self.geometry.size_bytes().min(later.geometry.size_bytes());
        let mut found = Vec::new();
        if offset < common {
            let (range, blocks) = later.range(offset, common - offset);
            let changes = map::changes(&*later.records, &self.map, &later.map, blocks, limit)?;
            found = later.to_bytes(&changes, range);
        }
        if found.len() < limit && common < later.geometry.size_bytes() {
            let start = offset.max(common);
            let left = later.geometry.size_bytes().saturating_sub(start);
            found.extend(later.extents(start, left, limit - found.len())?);
        }
        Ok(found)
    }

    fn pointer(&self, block: u64) -> Result<Option<BlockPointer>> {
        leaves::pointer(&*self.records, &self.map, block)
    }

    fn read_with(
        &self,
        into: &mut [u8],
        offset: u64,
        fill: impl Fn(&Wanted, &mut [u8]) -> Result<()>,
    ) -> Result<usize> {
        let left = self.geometry.size_bytes().saturating_sub(offset);
        let len = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        let into = into.get_mut(..len).unwrap_or(&mut []);
        let (_, blocks) = self.range(offset, len as u64);
        let mut rest = into;
        let mut at = offset;
        for index in blocks {
            let block = BlockIndex(index);
            let within = usize::try_from(at - self.geometry.offset_of(block)).unwrap_or(0);
            let block_len = self.geometry.len_of(block) as usize;
            let (part, after) = rest.split_at_mut((block_len - within).min(rest.len()));
            match self.pointer(index)? {
                None => part.fill(0),
                Some(pointer) => fill(&Wanted { pointer, block_len, within }, part)?,
            }
            at += part.len() as u64;
            rest = after;
        }
        Ok(len)
    }

    /// Clips a byte range to the image and gives the blocks that it touches.
    fn range(&self, offset: u64, len: u64) -> (Range<u64>, Range<u64>) {
        let size = self.geometry.size_bytes();
        let range = offset.min(size)..offset.saturating_add(len).min(size);
        let end = range.end.div_ceil(u64::from(self.geometry.block_size()));
        let first = self.geometry.block_at(range.start).0.min(end);
        (range, first..end)
    }

    fn to_bytes(&self, extents: &[map::Extent], range: Range<u64>) -> Vec<ByteExtent> {
        let clip = |extent: &map::Extent| {
            let start = self.geometry.offset_of(BlockIndex(extent.blocks.start)).max(range.start);
            let end = self.geometry.offset_of(BlockIndex(extent.blocks.end)).min(range.end);
            ByteExtent { offset: start, len: end.saturating_sub(start), state: extent.state }
        };
        extents.iter().map(clip).filter(|extent| extent.len > 0).collect()
    }
}

impl ReadAt for Image {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.read(into, offset).map_err(std::io::Error::other)
    }
}

#[cfg(test)]
mod tests;
