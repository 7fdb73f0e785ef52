//! Linux swap: union swap_header in the kernel's include/linux/swap.h. The magic number ends the first page,
//! whose size is that of the machine that made it.

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const PAGE_SIZES: [u64; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
const MAGIC_BYTES: u64 = 10;
const MAGIC: &[u8] = b"SWAPSPACE2";
/// What the kernel puts there while a hibernated system lies in the swap space.
const MAGIC_SUSPENDED: &[u8] = b"S1SUSPEND\0";
const HEADER_AT: u64 = 1024;
const HEADER_BYTES: usize = 44;

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    PAGE_SIZES.into_iter().find_map(|page| {
        let magic = reader.take(page - MAGIC_BYTES, MAGIC.len())?;
        let kind = match magic.as_slice() {
            MAGIC => "swap",
            MAGIC_SUSPENDED => "swsuspend",
            _ => return None,
        };
        let header = reader.take(HEADER_AT, HEADER_BYTES)?;
        // Versions of either byte order are 1; the order is the machine's.
        let is_little = header.le32(0)? == 1;
        let last_page = if is_little { header.le32(4)? } else { header.be32(4)? };
        Some(FileSystem {
            label: header.text(28, 16),
            uuid: header.uuid(12),
            size_bytes: (u64::from(last_page) + 1).checked_mul(page),
            ..FileSystem::of_kind(kind)
        })
    })
}
