//! Btrfs: btrfs_super_block in the kernel's include/uapi/linux/btrfs_tree.h.

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const OFFSET: u64 = 64 << 10;
const LENGTH: usize = 4096;
const MAGIC: &[u8] = b"_BHRfS_M";

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let block = reader.take(OFFSET, LENGTH)?;
    // The address within tells the first copy from the mirrors at 64 MiB and beyond.
    if !block.has(64, MAGIC) || block.le64(48)? != OFFSET {
        return None;
    }
    let log_root = block.le64(96)?;
    Some(FileSystem {
        label: block.text(299, 256),
        uuid: block.uuid(32),
        size_bytes: block.le64(112),
        // The tree is consistent after every commit; only what was fsynced since lies in the log tree.
        clean: Some(log_root == 0),
        ..FileSystem::of_kind("btrfs")
    })
}
