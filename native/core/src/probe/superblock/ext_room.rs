//! What is left of an ext2, ext3 or ext4: Linux documentation, filesystems/ext4/globals (the super block) and
//! filesystems/ext4/group_descr.
//!
//! Counted by the descriptors of the block groups. The kernel keeps the superblock's own counts in memory and
//! writes them at unmount, at freeze and, in newer versions, once in an hour, so in a running guest they may be
//! a year old; descriptors follow within the time that its journal takes to be written back.

use super::Room;
use crate::probe::fields::Fields;
use crate::probe::reader::Reader;

const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_BIGALLOC: u32 = 0x200;

const DESCRIPTOR_BYTES: usize = 32;
/// From here on a descriptor has upper halves.
const DESCRIPTOR_BYTES_WIDE: usize = 64;
const DESCRIPTOR_BYTES_MAX: usize = 1024;
/// Descriptors of 2 TiB at common sizes. The counts of larger ones are the superblock's.
const TABLE_BYTES_MAX: usize = 1 << 20;

/// `superblock` is the one on the stretch, its block size `1024 << shift` bytes; `None` where its counts contradict
/// each other.
pub(super) fn look(reader: &Reader<'_>, superblock: &[u8], shift: u32) -> Option<Room> {
    let is_wide = superblock.le32(0x60)? & INCOMPAT_64BIT != 0;
    let count = |low: usize, high: usize| {
        let high = if is_wide { superblock.le32(high)? } else { 0 };
        Some((u64::from(high) << 32) | u64::from(superblock.le32(low)?))
    };
    let [blocks, reserved, free] = [count(0x4, 0x150)?, count(0x8, 0x154)?, count(0xc, 0x158)?];
    let [inodes, free_inodes] = [u64::from(superblock.le32(0)?), u64::from(superblock.le32(0x10)?)];
    // What has no groups is no file system whose counts mean anything.
    let groups = blocks.div_ceil(u64::from(superblock.le32(0x20).filter(|&blocks| blocks > 0)?));
    let (free, free_inodes) = counted(reader, superblock, shift, groups).unwrap_or((free, free_inodes));
    if free > blocks || free_inodes > inodes || inodes == 0 {
        return None;
    }
    Some(Room {
        free_bytes: free.saturating_sub(reserved).checked_mul(1024 << shift),
        inodes: Some(inodes),
        free_inodes: Some(free_inodes),
    })
}

/// Free blocks and inodes of all groups; `None` where their descriptors do not lie in one piece, or are too many.
fn counted(reader: &Reader<'_>, superblock: &[u8], shift: u32, groups: u64) -> Option<(u64, u64)> {
    let incompat = superblock.le32(0x60)?;
    if incompat & INCOMPAT_META_BG != 0 {
        return None;
    }
    let size = match incompat & INCOMPAT_64BIT {
        0 => DESCRIPTOR_BYTES,
        _ => usize::from(superblock.le16(0xfe)?),
    };
    if !size.is_power_of_two() || !(DESCRIPTOR_BYTES..=DESCRIPTOR_BYTES_MAX).contains(&size) {
        return None;
    }
    let length =
        usize::try_from(groups).ok()?.checked_mul(size).filter(|&length| length <= TABLE_BYTES_MAX)?;
    // In the block behind the superblock's, which is the first but where blocks have 1 KiB.
    let table = reader.take(if shift == 0 { 2048 } else { 1024 << shift }, length)?;
    let mut sums = (0u64, 0u64);
    for descriptor in table.chunks(size) {
        let count = |low: usize, high: usize| {
            let high = if size >= DESCRIPTOR_BYTES_WIDE { descriptor.le16(high)? } else { 0 };
            Some((u64::from(high) << 16) | u64::from(descriptor.le16(low)?))
        };
        sums.0 += count(0xc, 0x2c)?;
        sums.1 += count(0xe, 0x2e)?;
    }
    Some((sums.0.checked_mul(blocks_of_cluster(superblock, shift)?)?, sums.1))
}

/// Descriptors count in clusters, the superblock in blocks.
fn blocks_of_cluster(superblock: &[u8], shift: u32) -> Option<u64> {
    if superblock.le32(0x64)? & RO_COMPAT_BIGALLOC == 0 {
        return Some(1);
    }
    1u64.checked_shl(superblock.le32(0x1c)?.checked_sub(shift)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    /// Two groups of 8192 blocks of 1 KiB.
    fn superblock(incompat: u32) -> Vec<u8> {
        let mut block = vec![0u8; 1024];
        let fields =
            [(0, 200u32), (0x4, 16000), (0x8, 100), (0xc, 9000), (0x10, 50), (0x20, 8192), (0x60, incompat)];
        for (at, value) in fields {
            block[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        block[0xfe] = 64;
        block
    }

    fn descriptors(size: usize) -> Memory {
        let mut table = vec![0u8; 2 * size];
        for (group, (blocks, inodes)) in [(300u16, 20u16), (400, 30)].into_iter().enumerate() {
            table[group * size + 0xc..][..2].copy_from_slice(&blocks.to_le_bytes());
            table[group * size + 0xe..][..2].copy_from_slice(&inodes.to_le_bytes());
        }
        let mut disk = Memory::sized(1 << 20);
        disk.put(2048, &table);
        disk
    }

    fn looked(disk: &Memory, superblock: &[u8]) -> Option<Room> {
        look(&Reader::new(disk, disk.size_bytes()), superblock, 0)
    }

    #[test]
    fn descriptors_count_and_what_is_kept_for_root_does_not() {
        let room =
            |free_bytes| Room { free_bytes: Some(free_bytes), inodes: Some(200), free_inodes: Some(50) };
        assert_eq!(looked(&descriptors(32), &superblock(0)), Some(room(600 << 10)));
        assert_eq!(looked(&descriptors(64), &superblock(INCOMPAT_64BIT)), Some(room(600 << 10)));
        let scattered = looked(&descriptors(32), &superblock(INCOMPAT_META_BG));
        assert_eq!(scattered, Some(room(8900 << 10)), "the superblock's own");
    }

    #[test]
    fn counts_that_contradict_each_other_tell_nothing() {
        let mut none = superblock(INCOMPAT_META_BG);
        none[0x10..0x14].copy_from_slice(&201u32.to_le_bytes());
        assert_eq!(looked(&descriptors(32), &none), None);
        let mut groupless = superblock(0);
        groupless[0x20..0x24].fill(0);
        assert_eq!(looked(&descriptors(32), &groupless), None);
    }
}
