//! How large an image is, which its map does not say, and how large its blocks are.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::Result;
use crate::image::Image;
use crate::map::{self, ExtentState, MapRoot};
use crate::probe::{self, Survey, TableKind};
use crate::records::Records;
use crate::units::{Geometry, IMAGE_SIZE_MAX, is_block_size};

use super::provisional;

/// Blocks that are looked at for one that tells their size.
const SAMPLES_MAX: usize = 16;
/// What disks are measured in where nothing is known of them.
const ROUND_LEN: u64 = 1 << 20;
/// Where the header of a GPT names the sector of its backup, the last of the disk (UEFI
/// specification 2.10, table 5-5).
const ALTERNATE_AT: u64 = 32;

/// What could be told of an image's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) block_size_bytes: u32,
    pub(super) size_bytes_min: u64,
    pub(super) size_bytes_likely: u64,
}

/// Sizes that an image can have: that its map has just this height bounds them. `None` for a map
/// that is higher than any image needs.
pub(super) fn possible_sizes(map: &MapRoot, block_size: u32) -> Option<RangeInclusive<u64>> {
    let bytes = |blocks: u64| blocks.saturating_mul(block_size.into()).min(IMAGE_SIZE_MAX);
    let below = if map.height > 1 { bytes(map.fanout.span(map.height - 1)) } else { 0 };
    let possible = below + 1..=bytes(map.fanout.span(map.height));
    (!possible.is_empty()).then_some(possible)
}

/// Finds out what it can; `None` for a map that no image can have. `blocks_end` is where the last
/// stored block ends.
pub(super) fn find(
    disk: &Disk,
    records: &Arc<Records>,
    map: &MapRoot,
    blocks_end: u64,
) -> Result<Option<Shape>> {
    let last = blocks_end.saturating_sub(1);
    let last_len = block_len(records, map, last);
    let block_size_bytes = block_size(disk, records, map, last, last_len);
    let Some(possible) = possible_sizes(map, block_size_bytes) else { return Ok(None) };
    let clamp = |size: u64| size.clamp(*possible.start(), *possible.end());
    let full = u64::from(block_size_bytes);
    // Only the last block of an image may be short.
    if let Some(short) = last_len.filter(|&len| len < full) {
        let size = clamp(last.saturating_mul(full).saturating_add(short));
        return Ok(Some(Shape { block_size_bytes, size_bytes_min: size, size_bytes_likely: size }));
    }
    let size_bytes_min = clamp(blocks_end.saturating_mul(full));
    let told = told_size(disk, records, map, *possible.end(), block_size_bytes)?;
    let told = told.filter(|told| (size_bytes_min..=*possible.end()).contains(told));
    let rounded = clamp(size_bytes_min.next_multiple_of(ROUND_LEN));
    Ok(Some(Shape { block_size_bytes, size_bytes_min, size_bytes_likely: told.unwrap_or(rounded) }))
}

/// Every block but the last is as long as blocks are. What no block tells is as disk.json says.
fn block_size(disk: &Disk, records: &Records, map: &MapRoot, last: u64, last_len: Option<u64>) -> u32 {
    let usual = disk.file().block_size_bytes;
    let mut at = 0;
    for _ in 0..SAMPLES_MAX {
        let Ok(Some(block)) = map::next(records, map, at..last, ExtentState::Data) else { break };
        let size = block_len(records, map, block).and_then(|len| u32::try_from(len).ok());
        if let Some(size) = size.filter(|&size| is_block_size(size)) {
            return size;
        }
        at = block + 1;
    }
    let at_least = last_len.and_then(|len| u32::try_from(len).ok()).filter(|&len| len > usual);
    at_least.map(u32::next_power_of_two).filter(|&size| is_block_size(size)).unwrap_or(usual)
}

/// Bytes of a stored block, where it can be read.
fn block_len(records: &Records, map: &MapRoot, block: u64) -> Option<u64> {
    let pointer = map::blocks(records, map, block..block + 1).ok()?.pop()??;
    Some(records.block_of_any_len(&pointer).ok()?.len() as u64)
}

/// What stands on the disk about its size.
fn told_size(
    disk: &Disk,
    records: &Arc<Records>,
    map: &MapRoot,
    size_bytes_max: u64,
    block_size: u32,
) -> Result<Option<u64>> {
    let Some(geometry) = Geometry::new(size_bytes_max, block_size) else { return Ok(None) };
    let image = Image::of(&provisional(disk, map, geometry)?, Arc::clone(records))?;
    let survey = probe::survey(&image, geometry.size_bytes());
    Ok(size_by_gpt(&image, &survey).or_else(|| size_by_contents(&survey)))
}

fn size_by_gpt(image: &Image, survey: &Survey) -> Option<u64> {
    let table = survey.table.as_ref().filter(|table| table.kind == TableKind::Gpt && !table.from_backup)?;
    let sector = u64::from(table.sector_size_bytes);
    let mut alternate = [0; 8];
    let count = image.read(&mut alternate, sector + ALTERNATE_AT).ok()?;
    (count == alternate.len()).then_some(())?;
    u64::from_le_bytes(alternate).checked_add(1)?.checked_mul(sector)
}

/// The end of the last partition, or of a file system on the bare disk.
fn size_by_contents(survey: &Survey) -> Option<u64> {
    let end_of = |partition: &probe::Partition| match partition.number {
        0 => partition.file_system.as_ref()?.size_bytes,
        _ => partition.offset_bytes.checked_add(partition.size_bytes),
    };
    let end = survey.partitions.iter().filter_map(end_of).max()?;
    // Behind partitions there is room that belongs to none.
    if survey.table.is_some() { end.checked_next_multiple_of(ROUND_LEN) } else { Some(end) }
}
