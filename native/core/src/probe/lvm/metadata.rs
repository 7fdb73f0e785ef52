//! A metadata area: struct mda_header and raw_locn of lvm2, and the ring of text behind it.

use super::checksum;
use super::label::Area;
use super::text::ParseError;
use crate::probe::fields::Fields;
use crate::probe::reader::{READ_BYTES_MAX, Reader};

const HEADER_BYTES: usize = 512;
const MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const VERSION: u32 = 1;
/// The area holds no metadata on purpose (pvchange --metadataignore).
const FLAG_IGNORED: u32 = 0x1;

/// How long all texts of a disk may be together. Partitions that lie on one another could make a few
/// megabytes of a guest's into terabytes to read; a text of hundreds of volumes has a hundred kilobytes.
pub(super) const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Why a metadata area cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MetadataError {
    #[error("its header cannot be read")]
    HeaderMissing,
    #[error("its header is damaged")]
    HeaderDamaged,
    #[error("its text does not lie within the area")]
    TextOutside,
    #[error("its text of {0} bytes is too long")]
    TextTooLong(u64),
    #[error("with its text there are more than {TEXT_BYTES_MAX} bytes of such metadata on this disk")]
    TooMuchText,
    #[error("its text cannot be read")]
    TextMissing,
    #[error("its text's checksum is wrong")]
    TextDamaged,
    #[error("its text is not understood: {0}")]
    Syntax(#[from] ParseError),
    #[error("its text has no usable {0}")]
    Field(&'static str),
}

/// The text of the area's volume group; `None` where the area has none. Takes its length from `bytes_left`.
pub(super) fn read(
    reader: &Reader<'_>,
    area: Area,
    bytes_left: &mut u64,
) -> Result<Option<Vec<u8>>, MetadataError> {
    let header = reader.take(area.offset_bytes, HEADER_BYTES).ok_or(MetadataError::HeaderMissing)?;
    let location = decode_header(&header, area).ok_or(MetadataError::HeaderDamaged)?;
    if location.offset == 0 || location.flags & FLAG_IGNORED != 0 {
        return Ok(None);
    }
    *bytes_left = bytes_left.checked_sub(location.size).ok_or(MetadataError::TooMuchText)?;
    let text = read_ring(reader, area, &location)?;
    if checksum(&text) != location.checksum {
        return Err(MetadataError::TextDamaged);
    }
    Ok(Some(text))
}

/// Where in the area the text lies.
struct Location {
    offset: u64,
    size: u64,
    checksum: u32,
    flags: u32,
}

fn decode_header(header: &[u8], area: Area) -> Option<Location> {
    let is_header = header.le32(0)? == checksum(header.get(4..)?)
        && header.has(4, MAGIC)
        && header.le32(20)? == VERSION
        && header.le64(24)? == area.offset_bytes;
    is_header.then_some(Location {
        offset: header.le64(40)?,
        size: header.le64(48)?,
        checksum: header.le32(56)?,
        flags: header.le32(60)?,
    })
}

/// The text, which goes on behind the header where it meets the area's end.
fn read_ring(reader: &Reader<'_>, area: Area, location: &Location) -> Result<Vec<u8>, MetadataError> {
    let header_bytes = HEADER_BYTES as u64;
    let room = area.size_bytes.checked_sub(header_bytes).ok_or(MetadataError::TextOutside)?;
    if location.offset < header_bytes || location.offset >= area.size_bytes || location.size > room {
        return Err(MetadataError::TextOutside);
    }
    if location.size > READ_BYTES_MAX as u64 {
        return Err(MetadataError::TextTooLong(location.size));
    }
    let first = location.size.min(area.size_bytes - location.offset);
    let take = |offset: u64, length: u64| {
        let at = area.offset_bytes.checked_add(offset)?;
        reader.take(at, usize::try_from(length).ok()?)
    };
    let mut text = take(location.offset, first).ok_or(MetadataError::TextMissing)?;
    text.extend(take(header_bytes, location.size - first).ok_or(MetadataError::TextMissing)?);
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    /// Writes `text` into `area` at `offset`, around its end if need be.
    pub(in crate::probe::lvm) fn put(disk: &mut Memory, base: u64, area: Area, offset: u64, text: &[u8]) {
        let mut header = vec![0u8; HEADER_BYTES];
        header[4..20].copy_from_slice(MAGIC);
        header[20] = 1;
        for (at, value) in
            [(24, area.offset_bytes), (32, area.size_bytes), (40, offset), (48, text.len() as u64)]
        {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[56..60].copy_from_slice(&checksum(text).to_le_bytes());
        let crc = checksum(&header[4..]);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        let at = base + area.offset_bytes;
        disk.put(at, &header);
        let first = text.len().min((area.size_bytes - offset) as usize);
        disk.put(at + offset, &text[..first]);
        disk.put(at + HEADER_BYTES as u64, &text[first..]);
    }

    const AREA: Area = Area { offset_bytes: 4096, size_bytes: 2048 };

    fn read_back(offset: u64, text: &[u8]) -> Result<Option<Vec<u8>>, MetadataError> {
        let mut disk = Memory::sized(8192);
        put(&mut disk, 0, AREA, offset, text);
        read(&Reader::new(&disk, disk.size_bytes()), AREA, &mut TEXT_BYTES_MAX.clone())
    }

    #[test]
    fn the_text_goes_around_the_ring() {
        let text: Vec<u8> = (0..1000u32).map(|number| number as u8).collect();
        for offset in [512, 1000, 1048, 1049, 2047] {
            assert_eq!(read_back(offset, &text), Ok(Some(text.clone())), "offset {offset}");
        }
    }

    #[test]
    fn an_area_without_text_is_not_an_error() {
        let mut disk = Memory::sized(8192);
        let mut header = vec![0u8; HEADER_BYTES];
        header[4..20].copy_from_slice(MAGIC);
        header[20] = 1;
        header[24..32].copy_from_slice(&4096u64.to_le_bytes());
        let crc = checksum(&header[4..]);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        disk.put(4096, &header);
        assert_eq!(read(&Reader::new(&disk, 8192), AREA, &mut TEXT_BYTES_MAX.clone()), Ok(None));
    }

    #[test]
    fn damage_is_told_apart() {
        let mut disk = Memory::sized(8192);
        put(&mut disk, 0, AREA, 600, b"vg {}");
        let mut error = |at: u64| {
            disk.put_over(at, b"?");
            read(&Reader::new(&disk, 8192), AREA, &mut TEXT_BYTES_MAX.clone()).unwrap_err()
        };
        assert_eq!(error(4096 + 600), MetadataError::TextDamaged);
        assert_eq!(error(4096 + 40), MetadataError::HeaderDamaged);
        let outside = Area { offset_bytes: 1 << 40, size_bytes: 1 << 20 };
        let found = read(&Reader::new(&disk, 8192), outside, &mut TEXT_BYTES_MAX.clone());
        assert_eq!(found, Err(MetadataError::HeaderMissing));
    }
}
