//! Whether an XFS log ends with an unmount record: fs/xfs/xfs_log_recover.c and libxfs/xfs_log_format.h.
//!
//! The log is a ring of 512-byte blocks. Each begins with the number of the turn in which it was written
//! (a record's first block has a magic number there and the turn behind it), so the head is the first block
//! of an earlier turn than block 0's. A log needs no replay when the newest record ends at the head and
//! holds nothing but an unmount. Everything that a mount writes after that makes a newer record.

use crate::probe::fields::Fields;
use crate::probe::reader::Reader;

const BLOCK_BYTES: u64 = 512;
const BLOCK_LENGTH: usize = 512;
const RECORD_MAGIC: u32 = 0xfeed_babe;
/// A record header block describes this much of the record.
const HEADER_COVERS_BYTES: u32 = 32 << 10;
const VERSION_2: u32 = 2;
/// The largest log buffer is 256 KiB with as much padding (a log stripe unit) and its headers.
const RECORD_BLOCKS_MAX: u64 = 1040;
const SCAN_BLOCKS: u64 = 64;
/// XLOG_UNMOUNT_TRANS in an operation header's flags.
const OPERATION_UNMOUNT: u8 = 0x20;
const OPERATION_FLAGS_AT: usize = 9;

/// `None` where the log cannot be read or makes no sense.
pub(super) fn is_clean(log: &Reader<'_>) -> Option<bool> {
    let blocks = log.size_bytes() / BLOCK_BYTES;
    let head = head(log, blocks)?;
    let (at, header) = newest_record(log, blocks, head)?;
    let header_blocks = header_blocks(&header)?;
    let data_blocks = u64::from(header.be32(12)?).div_ceil(BLOCK_BYTES);
    let end = at.checked_add(header_blocks)?.checked_add(data_blocks)?;
    if end.checked_rem(blocks)? != head || header.be32(40)? != 1 {
        return Some(false);
    }
    let operation = block(log, at.checked_add(header_blocks)?.checked_rem(blocks)?)?;
    Some(operation.byte(OPERATION_FLAGS_AT)? & OPERATION_UNMOUNT != 0)
}

/// The block that will be written next: 0 where the last turn filled the log exactly.
fn head(log: &Reader<'_>, blocks: u64) -> Option<u64> {
    let newest = turn(log, 0).filter(|&turn| turn != 0)?;
    if turn(log, blocks.checked_sub(1)?)? == newest {
        return Some(0);
    }
    let (mut same, mut earlier) = (0, blocks - 1);
    while earlier - same > 1 {
        let middle = same + (earlier - same) / 2;
        if turn(log, middle)? == newest {
            same = middle;
        } else {
            earlier = middle;
        }
    }
    Some(earlier)
}

fn turn(log: &Reader<'_>, index: u64) -> Option<u32> {
    let start = log.take(index.checked_mul(BLOCK_BYTES)?, 8)?;
    match start.be32(0)? {
        RECORD_MAGIC => start.be32(4),
        turn => Some(turn),
    }
}

/// The record header closest before `head`, looked for as far back as one record can reach.
fn newest_record(log: &Reader<'_>, blocks: u64, head: u64) -> Option<(u64, Vec<u8>)> {
    let mut end = if head == 0 { blocks } else { head };
    let mut left = RECORD_BLOCKS_MAX.min(blocks);
    while left > 0 {
        let count = SCAN_BLOCKS.min(left).min(end);
        let start = end - count;
        let chunk = log.take(start.checked_mul(BLOCK_BYTES)?, usize::try_from(count * BLOCK_BYTES).ok()?)?;
        let newest = (start..end)
            .zip(chunk.chunks_exact(BLOCK_LENGTH))
            .filter(|(_, block)| block.be32(0) == Some(RECORD_MAGIC))
            .last();
        if let Some((at, header)) = newest {
            return Some((at, header.to_vec()));
        }
        left -= count;
        end = if start == 0 { blocks } else { start };
    }
    None
}

/// How many blocks the record's header takes: one for each 32 KiB of the log buffer, one in version 1.
fn header_blocks(header: &[u8]) -> Option<u64> {
    let buffer_bytes = header.be32(320)?;
    let is_long = header.be32(8)? & VERSION_2 != 0 && buffer_bytes > HEADER_COVERS_BYTES;
    Some(if is_long { u64::from(buffer_bytes.div_ceil(HEADER_COVERS_BYTES)) } else { 1 })
}

fn block(log: &Reader<'_>, index: u64) -> Option<Vec<u8>> {
    log.take(index.checked_mul(BLOCK_BYTES)?, BLOCK_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    const BLOCKS: u64 = 512;

    /// A log whose blocks before `head` are of turn 3 and the others of turn `before`, and whose newest
    /// record is one operation with `flags`, `gap` blocks before the head.
    fn log(head: u64, before: u32, flags: u8, gap: u64) -> Memory {
        let mut disk = Memory::sized(BLOCKS * BLOCK_BYTES);
        let end = if head == 0 { BLOCKS } else { head };
        for at in 0..BLOCKS {
            let turn = if at < end { 3u32 } else { before };
            disk.put(at * BLOCK_BYTES, &turn.to_be_bytes());
        }
        let at = end - gap - 2;
        let mut header = vec![0u8; BLOCK_LENGTH];
        for (field, value) in [(0, RECORD_MAGIC), (4, 3), (8, 2), (12, 512), (40, 1), (320, 32 << 10)] {
            header[field..field + 4].copy_from_slice(&value.to_be_bytes());
        }
        disk.put(at * BLOCK_BYTES, &header);
        let mut operation = vec![0u8; BLOCK_LENGTH];
        operation[..4].copy_from_slice(&3u32.to_be_bytes());
        operation[OPERATION_FLAGS_AT] = flags;
        disk.put((at + 1) * BLOCK_BYTES, &operation);
        disk
    }

    fn clean(disk: &Memory) -> Option<bool> {
        is_clean(&Reader::new(disk, disk.size_bytes()))
    }

    #[test]
    fn an_unmount_record_at_the_head_is_clean() {
        for head in [2, 3, 100, 511, 0] {
            assert_eq!(clean(&log(head, 2, OPERATION_UNMOUNT, 0)), Some(true), "head {head}");
            assert_eq!(clean(&log(head, 0, OPERATION_UNMOUNT, 0)), Some(true), "head {head}");
        }
    }

    #[test]
    fn any_other_end_is_not() {
        assert_eq!(clean(&log(100, 2, 0, 0)), Some(false));
        assert_eq!(clean(&log(100, 2, OPERATION_UNMOUNT, 3)), Some(false));
    }

    #[test]
    fn a_log_that_says_nothing_is_not_known() {
        assert_eq!(clean(&Memory::sized(BLOCKS * BLOCK_BYTES)), None);
        assert_eq!(clean(&Memory::sized(0)), None);
        assert_eq!(clean(&Memory::from(vec![1; 4096])), None);
    }
}
