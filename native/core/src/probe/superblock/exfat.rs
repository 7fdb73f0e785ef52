//! exFAT: Microsoft's exFAT file system specification, sections 3.1 (boot sector) and 7.3 (volume label).

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const LENGTH: usize = 512;
const MAGIC: &[u8] = b"\xeb\x76\x90EXFAT   ";
const FLAG_DIRTY: u16 = 0x2;
const ENTRY_BYTES: usize = 32;
const ENTRY_LABEL: u8 = 0x83;
const ENTRY_END: u8 = 0;
const LABEL_UNITS_MAX: usize = 11;
/// The label stands among the first entries of the root directory.
const ROOT_BYTES_MAX: usize = 64 << 10;

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let boot = reader.take(0, LENGTH)?;
    let (sector_shift, cluster_shift) = (boot.byte(108)?, boot.byte(109)?);
    if !boot.has(0, MAGIC) || !(9..=12).contains(&sector_shift) || cluster_shift > 25 - sector_shift {
        return None;
    }
    let serial = boot.le32(100)?;
    Some(FileSystem {
        label: label(reader, &boot, u32::from(sector_shift), u32::from(cluster_shift)),
        uuid: Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        size_bytes: boot.le64(72)?.checked_mul(1 << sector_shift),
        clean: Some(boot.le16(106)? & FLAG_DIRTY == 0),
        ..FileSystem::of_kind("exfat")
    })
}

/// From the first cluster of the root directory.
fn label(reader: &Reader<'_>, boot: &[u8], sector_shift: u32, cluster_shift: u32) -> Option<String> {
    let heap = u64::from(boot.le32(88)?) << sector_shift;
    let cluster_bytes = 1u64 << (sector_shift + cluster_shift);
    let index = u64::from(boot.le32(96)?).checked_sub(2)?;
    let offset = index.checked_mul(cluster_bytes)?.checked_add(heap)?;
    let entries = reader.take(offset, usize::try_from(cluster_bytes).ok()?.min(ROOT_BYTES_MAX))?;
    let entry = entries
        .chunks_exact(ENTRY_BYTES)
        .take_while(|entry| entry.byte(0) != Some(ENTRY_END))
        .find(|entry| entry.byte(0) == Some(ENTRY_LABEL))?;
    let units = usize::from(entry.byte(1)?).min(LABEL_UNITS_MAX);
    entry.utf16(2, units * 2)
}
