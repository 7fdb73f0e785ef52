//! EROFS: struct erofs_super_block in the kernel's fs/erofs/erofs_fs.h.

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const OFFSET: u64 = 1024;
const LENGTH: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let block = reader.take(OFFSET, LENGTH)?;
    let shift = block.byte(12)?;
    if block.le32(0)? != MAGIC || !(9..=16).contains(&shift) {
        return None;
    }
    Some(FileSystem {
        label: block.text(64, 16),
        uuid: block.uuid(48),
        size_bytes: u64::from(block.le32(36)?).checked_mul(1 << shift),
        // It is only ever written whole, so there is nothing to be unclean.
        clean: Some(true),
        ..FileSystem::of_kind("erofs")
    })
}
