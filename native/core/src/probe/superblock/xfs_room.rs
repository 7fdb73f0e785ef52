//! What is left of an XFS: xfs_dsb, xfs_agf and xfs_agi in the kernel's fs/xfs/libxfs/xfs_format.h. Everything is
//! big-endian.
//!
//! Counted by the headers of the allocation groups, as the kernel itself does after a crash
//! (xfs_initialize_perag_data): with lazy counters, which all file systems of this age have, the superblock's are
//! written when the log is idle, at unmount and at freeze only.

use super::Room;
use crate::probe::fields::Fields;
use crate::probe::reader::Reader;

const GROUP_HEADER_BYTES: usize = 64;
/// Two reads each. The counts of one that was grown to more groups are the superblock's.
const GROUPS_MAX: u32 = 128;

/// `superblock` is the one on the stretch; `None` where its counts contradict each other.
pub(super) fn look(reader: &Reader<'_>, superblock: &[u8]) -> Option<Room> {
    let block_bytes = u64::from(superblock.be32(4)?);
    let blocks = superblock.be64(8)?;
    let noted = (superblock.be64(144)?, superblock.be64(128)?, superblock.be64(136)?);
    let (free, made, unused) = counted(reader, superblock).unwrap_or(noted);
    if free > blocks {
        return None;
    }
    let used = made.checked_sub(unused)?;
    let inodes = inodes_max(superblock, blocks)?.map(|most| most.max(made));
    Some(Room {
        free_bytes: free.checked_mul(block_bytes),
        inodes,
        free_inodes: inodes.and_then(|inodes| inodes.checked_sub(used)),
    })
}

/// Inodes are made when they are needed, in a share of all blocks at most; the inner `None` without such a limit.
fn inodes_max(superblock: &[u8], blocks: u64) -> Option<Option<u64>> {
    let share = u64::from(superblock.byte(127)?);
    let inodes_a_block = u64::from(superblock.be16(106)?);
    if share == 0 {
        return Some(None);
    }
    Some(Some(blocks.checked_mul(share)?.checked_div(100)?.checked_mul(inodes_a_block)?))
}

/// Free blocks, inodes that were made, and how many of these are unused, of all groups; `None` where a group's
/// headers are not there, or they are too many.
fn counted(reader: &Reader<'_>, superblock: &[u8]) -> Option<(u64, u64, u64)> {
    let group_bytes = u64::from(superblock.be32(84)?).checked_mul(u64::from(superblock.be32(4)?))?;
    let groups = superblock.be32(88).filter(|groups| (1..=GROUPS_MAX).contains(groups))?;
    let sector = u64::from(superblock.be16(102)?);
    let (mut free, mut made, mut unused) = (0u64, 0u64, 0u64);
    for group in 0..groups {
        let start = group_bytes.checked_mul(u64::from(group))?;
        let header = |sectors: u64, magic: &[u8]| {
            let header = reader.take(start.checked_add(sector * sectors)?, GROUP_HEADER_BYTES)?;
            (header.has(0, magic) && header.be32(8)? == group).then_some(header)
        };
        let space = header(1, b"XAGF")?;
        // Free ones, those of the free list, and those of the trees that list them.
        for at in [52, 48, 60] {
            free += u64::from(space.be32(at)?);
        }
        let inodes = header(2, b"XAGI")?;
        made += u64::from(inodes.be32(16)?);
        unused += u64::from(inodes.be32(28)?);
    }
    Some((free, made, unused))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    /// Two groups of 64 blocks of 4 KiB, eight inodes a block, a quarter of it for inodes.
    fn disk() -> (Memory, Vec<u8>) {
        let mut block = vec![0u8; 512];
        for (at, value) in [(4, 4096u32), (12, 128), (84, 64), (88, 2), (148, 9), (132, 64), (140, 1)] {
            block[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        block[102..104].copy_from_slice(&512u16.to_be_bytes());
        block[106..108].copy_from_slice(&8u16.to_be_bytes());
        block[127] = 25;
        let mut disk = Memory::sized(1 << 20);
        for group in 0..2u32 {
            let start = u64::from(group) * 64 * 4096;
            let mut header = [0u8; GROUP_HEADER_BYTES];
            header[8..12].copy_from_slice(&group.to_be_bytes());
            let mut put = |magic: &[u8], at: u64, fields: &[(usize, u32)]| {
                let mut header = header;
                header[..4].copy_from_slice(magic);
                for &(at, value) in fields {
                    header[at..at + 4].copy_from_slice(&value.to_be_bytes());
                }
                disk.put(start + at, &header);
            };
            put(b"XAGF", 512, &[(52, 20), (48, 4), (60, 1)]);
            put(b"XAGI", 1024, &[(16, 64), (28, 10)]);
        }
        (disk, block)
    }

    fn looked(disk: &Memory, superblock: &[u8]) -> Option<Room> {
        look(&Reader::new(disk, disk.size_bytes()), superblock)
    }

    #[test]
    fn groups_count_where_their_headers_are_there() {
        let (mut disk, mut superblock) = disk();
        let room = Room { free_bytes: Some(50 * 4096), inodes: Some(256), free_inodes: Some(256 - 108) };
        assert_eq!(looked(&disk, &superblock), Some(room));
        superblock[127] = 0;
        assert_eq!(looked(&disk, &superblock), Some(Room { inodes: None, free_inodes: None, ..room }));
        superblock[127] = 25;
        disk.put_over(64 * 4096 + 512, b"lost");
        let room = Room { free_bytes: Some(9 * 4096), inodes: Some(256), free_inodes: Some(256 - 63) };
        assert_eq!(looked(&disk, &superblock), Some(room), "the superblock's own");
    }

    #[test]
    fn counts_that_contradict_each_other_tell_nothing() {
        let (mut disk, mut superblock) = disk();
        disk.put_over(512, b"lost");
        superblock[140..144].copy_from_slice(&65u32.to_be_bytes());
        assert_eq!(looked(&disk, &superblock), None, "more unused inodes than there are");
        superblock[140..144].fill(0);
        superblock[148..152].copy_from_slice(&129u32.to_be_bytes());
        assert_eq!(looked(&disk, &superblock), None, "more free blocks than there are");
    }
}
