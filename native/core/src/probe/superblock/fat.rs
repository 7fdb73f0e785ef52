//! FAT12, FAT16 and FAT32: Microsoft's FAT specification 1.03 (fatgen103), all known to blkid as `vfat`.

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const LENGTH: usize = 512;
const NO_NAME: &str = "NO NAME";
const ENTRY_BYTES: usize = 32;
const ENTRY_NEVER_USED: u8 = 0;
const ENTRY_DELETED: u8 = 0xe5;
const ATTRIBUTE_VOLUME: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTES_LONG_NAME: u8 = 0x0f;
/// A label stands among the first entries; tools write it as the very first.
const ROOT_BYTES_MAX: usize = 64 << 10;
const ROOT_CLUSTERS_MAX: usize = 16;
/// Bit 0 of the "reserved" byte in front of the extended boot signature: mounted and not yet unmounted.
const STATE_DIRTY: u8 = 0x1;

/// The layout that the BIOS parameter block describes, in bytes.
struct Layout {
    fat_offset: u64,
    fat_bytes: u64,
    root: Root,
    data_offset: u64,
    cluster_bytes: usize,
    clusters: u64,
    size_bytes: u64,
}

enum Root {
    Fixed { offset: u64, length: usize },
    Chained { cluster: u32 },
}

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let boot = reader.take(0, LENGTH)?;
    if !boot.has(510, &[0x55, 0xaa]) || !matches!(boot.byte(0)?, 0xeb | 0xe9) {
        return None;
    }
    let layout = Layout::decode(&boot)?;
    let extended = if layout.is_fat32() { 64 } else { 36 };
    // 0x28 has a serial number and no label.
    let signature = boot.byte(extended + 2)?;
    let serial = boot.le32(extended + 3).filter(|_| matches!(signature, 0x28 | 0x29));
    let boot_label = boot.text(extended + 7, 11).filter(|label| signature == 0x29 && label != NO_NAME);
    let is_marked = boot.byte(extended + 1)? & STATE_DIRTY != 0;
    Some(FileSystem {
        label: layout.root_label(reader).or(boot_label),
        uuid: serial.map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        size_bytes: Some(layout.size_bytes),
        clean: layout.was_shut_down(reader).map(|was_shut_down| was_shut_down && !is_marked),
        ..FileSystem::of_kind("vfat")
    })
}

impl Layout {
    /// `None` where the fields do not describe a file system (fatgen103, "Boot Sector and BPB").
    fn decode(boot: &[u8]) -> Option<Self> {
        let sector = u64::from(boot.le16(11).filter(|size| matches!(size, 512 | 1024 | 2048 | 4096))?);
        let cluster_sectors = u64::from(boot.byte(13).filter(|count| count.is_power_of_two())?);
        let reserved = u64::from(boot.le16(14).filter(|&count| count > 0)?);
        let fats = u64::from(boot.byte(16).filter(|count| (1..=4).contains(count))?);
        boot.byte(21).filter(|&media| media == 0xf0 || media >= 0xf8)?;
        let (short, long) = (boot.le16(19)?, boot.le32(32)?);
        let sectors = if short != 0 { u64::from(short) } else { u64::from(long) };
        let (fat16, fat32) = (boot.le16(22)?, boot.le32(36)?);
        let fat = if fat16 != 0 { u64::from(fat16) } else { u64::from(fat32) };
        let root_entries = u64::from(boot.le16(17)?);
        if fat == 0 || sectors == 0 || (fat16 == 0) != (root_entries == 0) {
            return None;
        }
        // At most 4 times 2^32 sectors of 4 KiB: nothing here overflows.
        let root_sectors = (root_entries * ENTRY_BYTES as u64).div_ceil(sector);
        let root_sector = reserved + fats * fat;
        let data_sector = root_sector + root_sectors;
        let root = if fat16 == 0 {
            Root::Chained { cluster: boot.le32(44)? }
        } else {
            let length = usize::try_from(root_entries).ok()?.checked_mul(ENTRY_BYTES)?;
            Root::Fixed { offset: root_sector * sector, length: length.min(ROOT_BYTES_MAX) }
        };
        Some(Self {
            fat_offset: reserved * sector,
            fat_bytes: fat * sector,
            root,
            data_offset: data_sector * sector,
            cluster_bytes: usize::try_from(cluster_sectors * sector).ok()?,
            clusters: sectors.checked_sub(data_sector)? / cluster_sectors,
            size_bytes: sectors * sector,
        })
    }

    fn is_fat32(&self) -> bool {
        matches!(self.root, Root::Chained { .. })
    }

    /// The clean-shutdown bit in the second entry of the FAT; FAT12 has none.
    fn was_shut_down(&self, reader: &Reader<'_>) -> Option<bool> {
        if self.is_fat32() {
            Some(reader.take(self.fat_offset.checked_add(4)?, 4)?.le32(0)? & 0x0800_0000 != 0)
        } else if self.clusters >= 4085 {
            Some(reader.take(self.fat_offset.checked_add(2)?, 2)?.le16(0)? & 0x8000 != 0)
        } else {
            Some(true)
        }
    }

    fn root_label(&self, reader: &Reader<'_>) -> Option<String> {
        match self.root {
            Root::Fixed { offset, length } => find_label(&reader.take(offset, length)?).flatten(),
            Root::Chained { cluster } => self.chained_label(reader, cluster),
        }
    }

    fn chained_label(&self, reader: &Reader<'_>, first: u32) -> Option<String> {
        let mut cluster = first;
        for _ in 0..ROOT_CLUSTERS_MAX {
            let index = u64::from(cluster).checked_sub(2).filter(|&index| index < self.clusters)?;
            let offset = index.checked_mul(self.cluster_bytes as u64)?.checked_add(self.data_offset)?;
            let entries = reader.take(offset, self.cluster_bytes.min(ROOT_BYTES_MAX))?;
            if let Some(label) = find_label(&entries) {
                return label;
            }
            let link = u64::from(cluster).checked_mul(4).filter(|&at| at < self.fat_bytes)?;
            cluster = reader.take(self.fat_offset.checked_add(link)?, 4)?.le32(0)? & 0x0fff_ffff;
        }
        None
    }
}

/// The volume label among directory entries; `Some(None)` where the directory ends without one.
fn find_label(entries: &[u8]) -> Option<Option<String>> {
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let attributes = entry.byte(11)?;
        match entry.byte(0)? {
            ENTRY_NEVER_USED => return Some(None),
            ENTRY_DELETED => {}
            _ if attributes & 0x3f == ATTRIBUTES_LONG_NAME => {}
            _ if attributes & (ATTRIBUTE_VOLUME | ATTRIBUTE_DIRECTORY) == ATTRIBUTE_VOLUME => {
                return Some(entry.text(0, 11).filter(|label| label != NO_NAME));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    /// A FAT16 of 20,000 sectors whose root directory holds `entries`.
    fn disk(second_fat_entry: u16, entries: &[u8]) -> Memory {
        let mut boot = vec![0u8; LENGTH];
        boot[0] = 0xeb;
        boot[11..13].copy_from_slice(&512u16.to_le_bytes());
        boot[13] = 4;
        boot[14] = 1;
        boot[16] = 2;
        boot[17..19].copy_from_slice(&512u16.to_le_bytes());
        boot[19..21].copy_from_slice(&20_000u16.to_le_bytes());
        boot[21] = 0xf8;
        boot[22] = 20;
        boot[38] = 0x29;
        boot[39..43].copy_from_slice(&0x1234_abcdu32.to_le_bytes());
        boot[43..54].copy_from_slice(b"FROMBOOT   ");
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        let mut disk = Memory::sized(20_000 * 512);
        disk.put(0, &boot);
        disk.put(512 + 2, &second_fat_entry.to_le_bytes());
        disk.put(41 * 512, entries);
        disk
    }

    fn decoded(disk: &Memory) -> FileSystem {
        decode(&Reader::new(disk, disk.size_bytes())).unwrap()
    }

    #[test]
    fn the_root_directory_names_the_volume() {
        let mut entries = [0u8; 96];
        entries[..12].copy_from_slice(b"\xe5ELETED    \x08");
        entries[32..44].copy_from_slice(b"A file  TXT\x20");
        entries[64..76].copy_from_slice(b"REAL LABEL \x08");
        let found = decoded(&disk(0xffff, &entries));
        assert_eq!(found.label.as_deref(), Some("REAL LABEL"));
        assert_eq!(found.uuid.as_deref(), Some("1234-ABCD"));
        assert_eq!(found.size_bytes, Some(20_000 * 512));
        assert_eq!(found.clean, Some(true));
    }

    #[test]
    fn the_boot_sector_names_it_otherwise() {
        assert_eq!(decoded(&disk(0xffff, &[])).label.as_deref(), Some("FROMBOOT"));
    }

    #[test]
    fn a_volume_in_use_is_dirty() {
        assert_eq!(decoded(&disk(0x7fff, &[])).clean, Some(false));
        let mut marked = disk(0xffff, &[]);
        marked.put_over(37, &[STATE_DIRTY]);
        assert_eq!(decoded(&marked).clean, Some(false));
    }

    #[test]
    fn a_boot_sector_without_a_layout_is_no_file_system() {
        for (at, byte) in [(0, 0), (11, 1), (13, 3), (14, 0), (16, 0), (21, 1), (22, 0), (510, 0)] {
            let mut broken = disk(0xffff, &[]);
            broken.put_over(at, &[byte]);
            assert_eq!(decode(&Reader::new(&broken, broken.size_bytes())), None, "byte {at}");
        }
    }
}
