//! XFS: xfs_dsb in the kernel's fs/xfs/libxfs/xfs_format.h. Everything is big-endian.

use super::{xfs_log, xfs_room};
use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const LENGTH: usize = 512;
const MAGIC: &[u8] = b"XFSB";

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let block = reader.take(0, LENGTH)?;
    if !block.has(0, MAGIC) {
        return None;
    }
    let block_bytes = block.be32(4)?;
    let block_shift = u32::from(block.byte(120)?);
    if !(9..=16).contains(&block_shift) || block_bytes != 1 << block_shift {
        return None;
    }
    let room = xfs_room::look(reader, &block).unwrap_or_default();
    Some(FileSystem {
        kind: "xfs".to_owned(),
        label: block.text(108, 12),
        uuid: block.uuid(32),
        size_bytes: block.be64(8)?.checked_mul(u64::from(block_bytes)),
        clean: log_stretch(&block).and_then(|(offset, length)| {
            let log = reader.within(offset, length);
            xfs_log::is_clean(&log)
        }),
        free_bytes: room.free_bytes,
        inodes: room.inodes,
        free_inodes: room.free_inodes,
    })
}

/// Where the log lies, in bytes; `None` for an external one. Its address packs the allocation group above
/// `sb_agblklog` bits of block number within the group.
fn log_stretch(block: &[u8]) -> Option<(u64, u64)> {
    let start = block.be64(48).filter(|&start| start != 0)?;
    let group_shift = u32::from(block.byte(124)?);
    let group = start.checked_shr(group_shift)?;
    let within_group = start.checked_sub(group.checked_shl(group_shift)?)?;
    let block_bytes = u64::from(block.be32(4)?);
    let address = group.checked_mul(u64::from(block.be32(84)?))?.checked_add(within_group)?;
    let length = u64::from(block.be32(96)?).checked_mul(block_bytes)?;
    Some((address.checked_mul(block_bytes)?, length))
}
