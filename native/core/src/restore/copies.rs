//! Other places that may hold a block whose record is damaged: the target itself, the live source,
//! other records of the disk, other disks, other repositories. What is found counts only when it has
//! the digest that the block map asks for, so where it comes from does not matter.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{Context, Digest};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::io::{OsFiles, ReadAt};
use crate::job::{Control, Phase};
use crate::record::Kind;
use crate::records::{CacheBudget, Caches, Records};
use crate::segment::SegmentReader;
use crate::source::{AlignedBuffer, PathSource};
use crate::units::{BlockIndex, Geometry};

use super::plan::Slot;
use super::target::Target;

/// Where intact copies are sought. All of it is optional, and what cannot be read is passed over.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    /// What the disk is backed up from.
    pub source: Option<PathBuf>,
    /// Directories of disks, of this repository or another; the first is the restored disk's own.
    pub disks: Vec<PathBuf>,
}

/// Where a copy was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// It stood where it belongs.
    Target,
    /// The live source still has it.
    Source(PathBuf),
    /// In the directory of a disk.
    Disk(PathBuf),
}

/// Gets a found block: the slot, all of its block's bytes, and where they are from.
pub(super) type Put<'a> = dyn FnMut(&Slot, &[u8], &Origin) -> Result<()> + 'a;

/// Gives a block to all that want it.
fn put_all(slots: &[Slot], block: &[u8], origin: &Origin, put: &mut Put<'_>) -> Result<()> {
    slots.iter().try_for_each(|slot| put(slot, block, origin))
}

/// Those that want the same block, in the order of the target.
fn by_block(slots: Vec<Slot>) -> Vec<Vec<Slot>> {
    let mut slots = slots;
    slots.sort_by_key(|slot| (slot.pointer.digest, slot.target_offset));
    slots.chunk_by(|a, b| a.pointer.digest == b.pointer.digest).map(<[Slot]>::to_vec).collect()
}

/// Seeks the blocks of `slots`, hands those found to `put`, and returns the others.
///
/// # Errors
/// `Cancelled`, and of `put`.
pub(super) fn seek(
    copies: &Copies,
    image: &Image,
    target: &Target,
    slots: Vec<Slot>,
    control: &Control,
    put: &mut Put<'_>,
) -> Result<Vec<Slot>> {
    if slots.is_empty() {
        return Ok(slots);
    }
    control.enter(Phase::Recovering);
    let geometry = image.geometry();
    let left = seek_on_target(target, geometry, slots, control, put)?;
    let left = match &copies.source {
        Some(path) => seek_in_source(path, geometry, left, control, put)?,
        None => left,
    };
    let mut left = left;
    for directory in &copies.disks {
        left = seek_in_disk(directory, geometry, left, control, put)?;
    }
    Ok(left)
}

fn seek_on_target(
    target: &Target,
    geometry: Geometry,
    slots: Vec<Slot>,
    control: &Control,
    put: &mut Put<'_>,
) -> Result<Vec<Slot>> {
    if target.is_blank() || !target.is_readable() {
        return Ok(slots);
    }
    let mut buffer = AlignedBuffer::new(geometry.block_size() as usize);
    seek_each(slots, &Origin::Target, control, put, |slot| {
        let bytes = buffer.as_mut_slice().get_mut(..slot.len as usize)?;
        let is_there = slot.is_whole(geometry) && target.read_as_before(bytes, slot.target_offset).is_ok();
        is_there.then(|| bytes.to_vec())
    })
}

/// Asks `read` for the block at the place of each slot, until one that wants the same block has it.
fn seek_each(
    slots: Vec<Slot>,
    origin: &Origin,
    control: &Control,
    put: &mut Put<'_>,
    mut read: impl FnMut(&Slot) -> Option<Vec<u8>>,
) -> Result<Vec<Slot>> {
    let mut left = Vec::new();
    for group in by_block(slots) {
        control.check()?;
        let found =
            group.iter().find_map(|slot| read(slot).filter(|block| has_digest(block, &slot.pointer.digest)));
        match found {
            Some(block) => put_all(&group, &block, origin, put)?,
            None => left.extend(group),
        }
    }
    Ok(left)
}

fn seek_in_source(
    path: &std::path::Path,
    geometry: Geometry,
    slots: Vec<Slot>,
    control: &Control,
    put: &mut Put<'_>,
) -> Result<Vec<Slot>> {
    if slots.is_empty() {
        return Ok(slots);
    }
    // A source that is gone or cannot be read is no place to find anything, and no error.
    let Ok(source) = PathSource::open(path) else { return Ok(slots) };
    let origin = Origin::Source(path.to_owned());
    let mut buffer = vec![0; geometry.block_size() as usize];
    seek_each(slots, &origin, control, put, |slot| {
        let block = BlockIndex(slot.block);
        let bytes = buffer.get_mut(..geometry.len_of(block) as usize)?;
        let count = source.read_at(bytes, geometry.offset_of(block)).unwrap_or(0);
        (count == bytes.len()).then(|| bytes.to_vec())
    })
}

/// Looks through the indexes of all segments, the newest first.
fn seek_in_disk(
    directory: &std::path::Path,
    geometry: Geometry,
    slots: Vec<Slot>,
    control: &Control,
    put: &mut Put<'_>,
) -> Result<Vec<Slot>> {
    let mut wanted: HashMap<Digest, Vec<Slot>> = HashMap::new();
    for slot in slots {
        wanted.entry(slot.pointer.digest).or_default().push(slot);
    }
    let origin = Origin::Disk(directory.to_owned());
    let files = Arc::new(OsFiles);
    let disk = Disk::open_to_read(files.clone(), directory);
    let segments = disk.as_ref().map_or_else(|_| Vec::new(), |disk| disk.segments().unwrap_or_default());
    let mut buffer = vec![0; geometry.block_size() as usize];
    let Ok(disk) = disk else { return Ok(in_order(wanted)) };
    let caches = Caches::new(CacheBudget { pages_bytes: 0, blocks_bytes: 0 });
    let records = Records::new(files.clone(), disk.paths().segments(), Arc::new(caches));
    for id in segments.into_iter().rev() {
        if wanted.is_empty() {
            break;
        }
        control.check()?;
        let opened = SegmentReader::open_with_entries(&*files, &disk.paths().segments(), id);
        let Ok((reader, entries)) = opened else { continue };
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Block) {
            let Some(block) = wanted.get(&entry.digest).and_then(|slots| slots.first()).map(|s| s.block)
            else {
                continue;
            };
            let len = geometry.len_of(BlockIndex(block)) as usize;
            let bytes = buffer.get_mut(..len).unwrap_or(&mut []);
            if reader.read_into(entry.ordinal, Kind::Block, &entry.digest, Some(&records), bytes).is_ok() {
                for slot in wanted.remove(&entry.digest).unwrap_or_default() {
                    put(&slot, bytes, &origin)?;
                }
            }
        }
    }
    Ok(in_order(wanted))
}

/// What was not found, in the order of the target.
fn in_order(wanted: HashMap<Digest, Vec<Slot>>) -> Vec<Slot> {
    let mut left: Vec<Slot> = wanted.into_values().flatten().collect();
    left.sort_unstable_by_key(|slot| slot.target_offset);
    left
}

pub(super) fn has_digest(bytes: &[u8], digest: &Digest) -> bool {
    Digest::of(Context::Block, bytes) == *digest
}

/// The part of a block that a slot wants.
///
/// # Errors
/// `Worker` where the slot was not made for this block.
pub(super) fn part_of<'a>(slot: &Slot, block: &'a [u8]) -> Result<&'a [u8]> {
    let start = slot.within as usize;
    block.get(start..start + slot.len as usize).ok_or(Error::Worker)
}
