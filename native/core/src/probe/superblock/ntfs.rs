//! NTFS, which has no public specification: the layout is that of the kernel's fs/ntfs3/ntfs.h.

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const LENGTH: usize = 512;
const MAGIC: &[u8] = b"NTFS    ";
const RECORD_MAGIC: &[u8] = b"FILE";
/// The file record of $Volume, which holds label and flags.
const VOLUME_RECORD: u64 = 3;
const RECORD_BYTES_MAX: u64 = 64 << 10;
const ATTRIBUTE_NAME: u32 = 0x60;
const ATTRIBUTE_INFORMATION: u32 = 0x70;
const ATTRIBUTE_END: u32 = 0xffff_ffff;
const FLAG_DIRTY: u16 = 0x1;
/// 128 UTF-16 units.
const LABEL_BYTES_MAX: usize = 256;

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let boot = reader.take(0, LENGTH)?;
    if !boot.has(3, MAGIC) {
        return None;
    }
    let sector = u64::from(boot.le16(11).filter(|size| matches!(size, 512 | 1024 | 2048 | 4096))?);
    let volume = volume_record(reader, &boot, sector);
    let attribute = |kind| resident(volume.as_deref()?, kind);
    Some(FileSystem {
        label: attribute(ATTRIBUTE_NAME).and_then(|name| name.utf16(0, name.len().min(LABEL_BYTES_MAX))),
        uuid: Some(format!("{:016X}", boot.le64(72)?)),
        size_bytes: boot.le64(40)?.checked_mul(sector),
        clean: attribute(ATTRIBUTE_INFORMATION).and_then(|info| Some(info.le16(10)? & FLAG_DIRTY == 0)),
        ..FileSystem::of_kind("ntfs")
    })
}

fn volume_record(reader: &Reader<'_>, boot: &[u8], sector: u64) -> Option<Vec<u8>> {
    let cluster = scaled(boot.byte(13)?, sector)?;
    let record = match boot.byte(64)? {
        // A negative count is the shift of a size in bytes.
        count @ 0x80.. => 1u64.checked_shl(256 - u32::from(count))?,
        count => u64::from(count).checked_mul(cluster)?,
    };
    let length = usize::try_from(record).ok().filter(|_| (512..=RECORD_BYTES_MAX).contains(&record))?;
    let table = boot.le64(48)?.checked_mul(cluster)?;
    let bytes = reader.take(table.checked_add(VOLUME_RECORD.checked_mul(record)?)?, length)?;
    bytes.has(0, RECORD_MAGIC).then_some(bytes)
}

/// Sectors in a cluster; above 128 the byte is the negative of a shift.
fn scaled(count: u8, sector: u64) -> Option<u64> {
    match count {
        0 => None,
        0x81.. => sector.checked_mul(1u64.checked_shl(256 - u32::from(count))?),
        count => sector.checked_mul(u64::from(count)),
    }
}

/// The value of the first resident attribute of `kind`. The words that the record's fix-up replaces are the
/// last of each 512 bytes; a label is too short and stands too early to reach them.
fn resident(record: &[u8], kind: u32) -> Option<&[u8]> {
    let mut at = usize::from(record.le16(20)?);
    loop {
        let attribute = record.get(at..)?;
        let length = usize::try_from(attribute.le32(4)?).ok()?;
        match attribute.le32(0)? {
            ATTRIBUTE_END => return None,
            found if found == kind && attribute.byte(8)? == 0 => {
                let size = usize::try_from(attribute.le32(16)?).ok()?;
                return attribute.part(usize::from(attribute.le16(20)?), size);
            }
            _ => at = at.checked_add(Some(length).filter(|&length| length >= 16)?)?,
        }
    }
}
