//! Members of Linux md arrays with metadata 1.1 and 1.2: struct mdp_superblock_1 in the kernel's
//! include/uapi/linux/raid/md_p.h.
//!
//! Versions 0.90 and 1.0 stand at the end of a member and leave its beginning as it is, so a mirror's member
//! is shown as the file system that it holds.

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const PLACES: [u64; 2] = [4096, 0];
const LENGTH: usize = 256;
const MAGIC: u32 = 0xa92b_4efc;
const SECTOR_BYTES: u64 = 512;

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    PLACES.into_iter().find_map(|place| {
        let block = reader.take(place, LENGTH)?;
        // The block says itself in which sector it stands.
        if block.le32(0)? != MAGIC || block.le32(4)? != 1 || block.le64(144)? != place / SECTOR_BYTES {
            return None;
        }
        Some(FileSystem {
            label: block.text(32, 32),
            uuid: block.uuid(16),
            size_bytes: block.le64(136)?.checked_mul(SECTOR_BYTES),
            ..FileSystem::of_kind("linux_raid_member")
        })
    })
}
