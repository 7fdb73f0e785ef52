//! Squashfs 4: struct squashfs_super_block in the kernel's fs/squashfs/squashfs_fs.h.

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const LENGTH: usize = 96;
const MAGIC: &[u8] = b"hsqs";

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let block = reader.take(0, LENGTH)?;
    if !block.has(0, MAGIC) || block.le16(28)? != 4 {
        return None;
    }
    // It is only ever written whole, so there is nothing to be unclean.
    Some(FileSystem { size_bytes: block.le64(40), clean: Some(true), ..FileSystem::of_kind("squashfs") })
}
