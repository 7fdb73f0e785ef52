//! The label of a physical volume: struct label_header, pv_header and disk_locn of lvm2.

use super::checksum;
use crate::probe::fields::Fields;
use crate::probe::reader::Reader;

const SECTOR_BYTES: usize = 512;
const LABEL_SECTORS: usize = 4;
const MAGIC: &[u8] = b"LABELONE";
const TYPE: &[u8] = b"LVM2 001";
const ID_BYTES: usize = 32;
/// Tools write one or two; the rest of a sector has room for a few dozen.
const AREAS_MAX: usize = 4;

/// The 32 characters that name a physical volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::probe) struct PvId(String);

impl PvId {
    fn stored(bytes: &[u8]) -> Option<Self> {
        let is_text = bytes.len() == ID_BYTES && bytes.iter().all(u8::is_ascii_graphic);
        is_text.then(|| Self(bytes.iter().copied().map(char::from).collect()))
    }

    /// From the form with hyphens that the metadata text has.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes: Vec<u8> = text.bytes().filter(|&byte| byte != b'-').collect();
        Self::stored(&bytes)
    }

    /// The form that LVM and blkid print: 6-4-4-4-4-4-6.
    pub(in crate::probe) fn hyphened(&self) -> String {
        let mut text = String::with_capacity(ID_BYTES + 6);
        for (at, character) in self.0.chars().enumerate() {
            if (6..ID_BYTES - 2).contains(&at) && (at - 6) % 4 == 0 {
                text.push('-');
            }
            text.push(character);
        }
        text
    }
}

/// Where a metadata area lies, from the beginning of the physical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) offset_bytes: u64,
    pub(super) size_bytes: u64,
}

/// What the label says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::probe) struct Label {
    pub(in crate::probe) id: PvId,
    pub(in crate::probe) device_bytes: u64,
    pub(super) metadata_areas: Vec<Area>,
}

impl Label {
    /// The first label with a right checksum among the first four sectors.
    pub(in crate::probe) fn read(reader: &Reader<'_>) -> Option<Self> {
        let sectors = reader.take(0, LABEL_SECTORS * SECTOR_BYTES)?;
        (0..)
            .zip(sectors.chunks_exact(SECTOR_BYTES))
            .find_map(|(number, sector)| Self::decode(number, sector))
    }

    fn decode(number: u64, sector: &[u8]) -> Option<Self> {
        if !sector.has(0, MAGIC) || !sector.has(24, TYPE) || sector.le64(8)? != number {
            return None;
        }
        if sector.le32(16)? != checksum(sector.get(20..)?) {
            return None;
        }
        let header = sector.get(usize::try_from(sector.le32(20)?).ok()?..)?;
        let lists = header.get(ID_BYTES + 8..)?;
        let (_, after_data) = areas(lists)?;
        let (metadata_areas, _) = areas(lists.get(after_data..)?)?;
        Some(Self {
            id: PvId::stored(header.part(0, ID_BYTES)?)?,
            device_bytes: header.le64(ID_BYTES)?,
            metadata_areas,
        })
    }
}

/// A list of areas that a zero offset ends, and the bytes that it takes.
fn areas(list: &[u8]) -> Option<(Vec<Area>, usize)> {
    let mut areas = Vec::new();
    for at in (0..).step_by(16) {
        let (offset_bytes, size_bytes) = (list.le64(at)?, list.le64(at + 8)?);
        if offset_bytes == 0 {
            return Some((areas, at + 16));
        }
        if areas.len() < AREAS_MAX {
            areas.push(Area { offset_bytes, size_bytes });
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    /// A label in sector 1 of a physical volume `id` with one metadata area.
    pub(in crate::probe::lvm) fn sector(id: &str, area: Area) -> Vec<u8> {
        let mut sector = vec![0u8; SECTOR_BYTES];
        sector[..8].copy_from_slice(MAGIC);
        sector[8] = 1;
        sector[20] = 32;
        sector[24..32].copy_from_slice(TYPE);
        sector[32..64].copy_from_slice(id.as_bytes());
        sector[64..72].copy_from_slice(&(1u64 << 30).to_le_bytes());
        sector[72..80].copy_from_slice(&(1u64 << 20).to_le_bytes());
        sector[104..112].copy_from_slice(&area.offset_bytes.to_le_bytes());
        sector[112..120].copy_from_slice(&area.size_bytes.to_le_bytes());
        let crc = checksum(&sector[20..]);
        sector[16..20].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    #[test]
    fn a_label_names_its_metadata_areas() {
        let area = Area { offset_bytes: 4096, size_bytes: 1 << 20 };
        let mut disk = Memory::sized(8192);
        disk.put(512, &sector("abcdefghijklmnopqrstuvwxyz012345", area));
        let label = Label::read(&Reader::new(&disk, 8192)).unwrap();
        assert_eq!(label.metadata_areas, [area]);
        assert_eq!(label.device_bytes, 1 << 30);
        assert_eq!(label.id.hyphened(), "abcdef-ghij-klmn-opqr-stuv-wxyz-012345");
        assert_eq!(PvId::parse(&label.id.hyphened()), Some(label.id));
        disk.put_over(512 + 33, b"X");
        assert_eq!(Label::read(&Reader::new(&disk, 8192)), None);
    }

    #[test]
    fn a_list_without_an_end_is_refused() {
        assert_eq!(areas(&[1; 400]), None);
    }
}
