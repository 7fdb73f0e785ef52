//! GUID partition tables: UEFI specification 2.10, section 5.3.
//!
//! A header stands in the second sector of the disk, its backup in the last; each has its own copy of the
//! entries. Both are tried with sectors of 512 and of 4096 bytes, since an image does not say which it has.
//! A header counts only where its own checksum, its place and its entries' checksum are right.

use super::fields::Fields;
use super::problems::Problems;
use super::reader::Reader;
use super::table::{GptExtent, Row, Table};
use super::transplant::put;

const SECTOR_SIZES: [u32; 2] = [512, 4096];
const SIGNATURE: &[u8] = b"EFI PART";
const HEADER_BYTES_MIN: usize = 92;
const ENTRY_BYTES_MIN: u32 = 128;
const ENTRY_BYTES_MAX: u32 = 4096;
/// Eight times what any known partitioning tool makes; the kernel shows at most 256.
const ENTRY_COUNT_MAX: u32 = 1024;
const NAME_BYTES: usize = 72;

/// Why a header or its entries cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Damage {
    #[error("there is no header")]
    Absent,
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    #[error("the header says that it belongs elsewhere")]
    Misplaced,
    #[error("the header's sizes are impossible")]
    Sizes,
    #[error("the entries cannot be read")]
    EntriesMissing,
    #[error("the entries' checksum is wrong")]
    EntriesChecksum,
}

/// The fields of a header that matter here.
struct Header {
    sector_size_bytes: u32,
    first_usable_sector: u64,
    last_usable_sector: u64,
    disk_id: String,
    entries_sector: u64,
    entry_count: u32,
    entry_bytes: u32,
    entries_crc: u32,
}

/// The disk's table, from its primary header or else from its backup; `None` where neither is intact.
/// Whether the disk is meant to have a GPT at all is for the caller to judge by its first sector.
pub(super) fn read(reader: &Reader<'_>, problems: &mut Problems) -> Option<Table> {
    let mut damage = Damage::Absent;
    for sector_size_bytes in SECTOR_SIZES {
        match load(reader, 1, sector_size_bytes, problems) {
            Ok(table) => return Some(table),
            Err(Damage::Absent) => {}
            Err(error) => damage = error,
        }
    }
    for (sector, sector_size_bytes) in backup_places(reader) {
        if let Ok(mut table) = load(reader, sector, sector_size_bytes, problems) {
            problems.push(format!(
                "The primary GPT is damaged ({damage}); its backup in sector {sector} is used."
            ));
            if let Some(gpt) = &mut table.gpt {
                gpt.from_backup = true;
            }
            return Some(table);
        }
    }
    if damage != Damage::Absent {
        problems.push(format!("The GPT is damaged ({damage}) and no intact backup of it was found."));
    }
    None
}

/// Where a backup header may stand: the last sector, and where a damaged primary says (the disk may have
/// grown since).
fn backup_places(reader: &Reader<'_>) -> Vec<(u64, u32)> {
    let last = SECTOR_SIZES.map(|size| ((reader.size_bytes() / u64::from(size)).saturating_sub(1), size));
    let noted = SECTOR_SIZES.into_iter().filter_map(|size| {
        let primary = reader.take(u64::from(size), HEADER_BYTES_MIN)?;
        primary.has(0, SIGNATURE).then_some((primary.le64(32)?, size))
    });
    last.into_iter().chain(noted).filter(|&(sector, _)| sector > 1).collect()
}

/// A header and its entries as they stand on the disk, from the primary or else from the backup.
pub(super) struct RawGpt {
    pub(super) sector_size_bytes: u32,
    pub(super) first_usable_sector: u64,
    /// Where the primary's entries belong.
    pub(super) entries_sector: u64,
    /// A whole sector.
    pub(super) header: Vec<u8>,
    pub(super) entries: Vec<u8>,
}

/// The bytes of the table that [`read`] finds.
pub(super) fn raw(reader: &Reader<'_>) -> Option<RawGpt> {
    let primary = SECTOR_SIZES.into_iter().find_map(|size| raw_at(reader, 1, size));
    primary.or_else(|| {
        backup_places(reader).into_iter().find_map(|(sector, size)| {
            // The backup does not say where the primary's entries are; they follow its header.
            raw_at(reader, sector, size).map(|raw| RawGpt { entries_sector: 2, ..raw })
        })
    })
}

fn raw_at(reader: &Reader<'_>, sector: u64, sector_size_bytes: u32) -> Option<RawGpt> {
    let header = read_header(reader, sector, sector_size_bytes).ok()?;
    let entries = read_entries(reader, &header).ok()?;
    let bytes = reader
        .take(sector.checked_mul(sector_size_bytes.into())?, usize::try_from(sector_size_bytes).ok()?)?;
    let entry_sectors = (entries.len() as u64).div_ceil(sector_size_bytes.into());
    // Entries that would lie among the partitions, or a header that ends before them, are no table
    // that could be written again.
    let is_sane = header.first_usable_sector >= entry_sectors.checked_add(2)?
        && (sector != 1 || header.entries_sector.checked_add(entry_sectors)? <= header.first_usable_sector)
        && (sector != 1 || header.entries_sector >= 2);
    is_sane.then_some(RawGpt {
        sector_size_bytes,
        first_usable_sector: header.first_usable_sector,
        entries_sector: header.entries_sector,
        header: bytes,
        entries,
    })
}

/// A header for another place and size: UEFI table 5-5, with its checksum.
pub(super) fn rewritten(
    header: &[u8],
    own_sector: u64,
    other_sector: u64,
    entries_sector: u64,
    last_usable_sector: u64,
) -> Vec<u8> {
    let mut bytes = header.to_vec();
    let fields = [(24, own_sector), (32, other_sector), (48, last_usable_sector), (72, entries_sector)];
    for (at, value) in fields {
        put(&mut bytes, at, &value.to_le_bytes());
    }
    let crc = header_crc(&bytes).unwrap_or(0);
    put(&mut bytes, 16, &crc.to_le_bytes());
    bytes
}

fn load(
    reader: &Reader<'_>,
    sector: u64,
    sector_size_bytes: u32,
    problems: &mut Problems,
) -> Result<Table, Damage> {
    let header = read_header(reader, sector, sector_size_bytes)?;
    let entries = read_entries(reader, &header)?;
    let entry_bytes = usize::try_from(header.entry_bytes).map_err(|_| Damage::Sizes)?;
    let rows = (1..)
        .zip(entries.chunks_exact(entry_bytes))
        .filter_map(|(number, entry)| row(number, entry, problems))
        .collect();
    Ok(Table {
        sector_size_bytes: header.sector_size_bytes,
        disk_id: header.disk_id,
        gpt: Some(GptExtent {
            first_usable_sector: header.first_usable_sector,
            last_usable_sector: header.last_usable_sector,
            entry_count: header.entry_count,
            from_backup: false,
        }),
        rows,
    })
}

fn read_header(reader: &Reader<'_>, sector: u64, sector_size_bytes: u32) -> Result<Header, Damage> {
    let offset = sector.checked_mul(u64::from(sector_size_bytes)).ok_or(Damage::Absent)?;
    let length = usize::try_from(sector_size_bytes).map_err(|_| Damage::Absent)?;
    let bytes = reader.take(offset, length).ok_or(Damage::Absent)?;
    if !bytes.has(0, SIGNATURE) {
        return Err(Damage::Absent);
    }
    if header_crc(&bytes).ok_or(Damage::Sizes)? != bytes.le32(16).ok_or(Damage::Sizes)? {
        return Err(Damage::HeaderChecksum);
    }
    if bytes.le64(24) != Some(sector) {
        return Err(Damage::Misplaced);
    }
    decode_header(&bytes, sector_size_bytes).filter(has_sane_sizes).ok_or(Damage::Sizes)
}

fn decode_header(bytes: &[u8], sector_size_bytes: u32) -> Option<Header> {
    Some(Header {
        sector_size_bytes,
        first_usable_sector: bytes.le64(40)?,
        last_usable_sector: bytes.le64(48)?,
        disk_id: bytes.guid(56)?,
        entries_sector: bytes.le64(72)?,
        entry_count: bytes.le32(80)?,
        entry_bytes: bytes.le32(84)?,
        entries_crc: bytes.le32(88)?,
    })
}

/// An entry is 128 times a power of two (UEFI table 5-5).
fn has_sane_sizes(header: &Header) -> bool {
    header.entry_bytes.is_power_of_two()
        && (ENTRY_BYTES_MIN..=ENTRY_BYTES_MAX).contains(&header.entry_bytes)
        && (1..=ENTRY_COUNT_MAX).contains(&header.entry_count)
}

/// CRC-32 over the header's own length with the checksum's field taken as zero.
fn header_crc(sector: &[u8]) -> Option<u32> {
    let length = usize::try_from(sector.le32(12)?).ok()?;
    if length < HEADER_BYTES_MIN {
        return None;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(sector.part(0, 16)?);
    hasher.update(&[0; 4]);
    hasher.update(sector.part(20, length.checked_sub(20)?)?);
    Some(hasher.finalize())
}

fn read_entries(reader: &Reader<'_>, header: &Header) -> Result<Vec<u8>, Damage> {
    let offset = header
        .entries_sector
        .checked_mul(u64::from(header.sector_size_bytes))
        .ok_or(Damage::EntriesMissing)?;
    let length = header.entry_count.checked_mul(header.entry_bytes).ok_or(Damage::Sizes)?;
    let length = usize::try_from(length).map_err(|_| Damage::Sizes)?;
    let entries = reader.take(offset, length).ok_or(Damage::EntriesMissing)?;
    if crc32fast::hash(&entries) != header.entries_crc {
        return Err(Damage::EntriesChecksum);
    }
    Ok(entries)
}

/// UEFI table 5-6. A nil type means that the entry is not used.
fn row(number: u32, entry: &[u8], problems: &mut Problems) -> Option<Row> {
    if entry.part(0, 16)?.iter().all(|&byte| byte == 0) {
        return None;
    }
    let (first, last) = (entry.le64(32)?, entry.le64(40)?);
    let Some(sectors) = last.checked_sub(first).and_then(|distance| distance.checked_add(1)) else {
        problems.push(format!(
            "Partition {number} is not shown: its last sector {last} lies before its first, {first}."
        ));
        return None;
    };
    Some(Row {
        number,
        start_sector: first,
        sectors,
        type_id: entry.guid(0)?,
        partition_id: entry.guid(16),
        name: entry.utf16(56, NAME_BYTES),
        attributes: entry.le64(48)?,
        bootable: false,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    /// A disk whose GPT has one partition (sectors 64 to 127) named `root`, of `sectors` sectors.
    pub(in crate::probe) fn disk(sector_size: u32, sectors: u64) -> Memory {
        let size = u64::from(sector_size);
        let mut disk = Memory::sized(sectors * size);
        let mut entries = vec![0u8; 128 * 128];
        entries[..16].fill(0x11);
        entries[16..32].fill(0x22);
        entries[32..40].copy_from_slice(&64u64.to_le_bytes());
        entries[40..48].copy_from_slice(&127u64.to_le_bytes());
        for (at, unit) in "root".encode_utf16().enumerate() {
            entries[56 + at * 2..58 + at * 2].copy_from_slice(&unit.to_le_bytes());
        }
        let entry_sectors = entries.len() as u64 / size;
        for (own, other, at) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 1 - entry_sectors)] {
            disk.put(own * size, &header(own, other, at, sectors, &entries));
            disk.put(at * size, &entries);
        }
        let mut boot = vec![0u8; 512];
        boot[446 + 4] = 0xee;
        boot[446 + 8..446 + 12].copy_from_slice(&1u32.to_le_bytes());
        boot[446 + 12..446 + 16].copy_from_slice(&u32::MAX.to_le_bytes());
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        disk.put(0, &boot);
        disk
    }

    pub(in crate::probe) fn header(
        own: u64,
        other: u64,
        entries_at: u64,
        sectors: u64,
        entries: &[u8],
    ) -> Vec<u8> {
        let mut header = vec![0u8; 92];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
        header[12..16].copy_from_slice(&92u32.to_le_bytes());
        for (at, value) in [(24, own), (32, other), (40, 34), (48, sectors - 34), (72, entries_at)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[56..72].fill(0x33);
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
        let crc = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    }

    fn read_all(disk: &Memory) -> (Option<Table>, Vec<String>) {
        let mut problems = Problems::default();
        let table = read(&Reader::new(disk, disk.size_bytes()), &mut problems);
        (table, problems.into_sentences())
    }

    #[test]
    fn both_sector_sizes_are_read() {
        for size in SECTOR_SIZES {
            let (table, problems) = read_all(&disk(size, 1024));
            let table = table.unwrap();
            assert_eq!(problems, Vec::<String>::new());
            assert_eq!(table.sector_size_bytes, size);
            assert_eq!(table.disk_id, "33333333-3333-3333-3333-333333333333");
            assert!(!table.gpt.unwrap().from_backup);
            let [row] = table.rows.as_slice() else { panic!("one row") };
            assert_eq!((row.number, row.start_sector, row.sectors), (1, 64, 64));
            assert_eq!(row.name.as_deref(), Some("root"));
        }
    }

    #[test]
    fn the_backup_is_used_where_the_primary_is_damaged() {
        for size in SECTOR_SIZES {
            for damaged in [u64::from(size) + 16, u64::from(size) * 2 + 40] {
                let mut disk = disk(size, 1024);
                disk.put_over(damaged, &[0xff]);
                let (table, problems) = read_all(&disk);
                assert!(table.unwrap().gpt.unwrap().from_backup);
                assert_eq!(problems.len(), 1);
                assert!(problems[0].contains("backup in sector 1023"), "{problems:?}");
            }
        }
    }

    #[test]
    fn a_backup_that_is_no_longer_last_is_found_through_the_primary() {
        let mut grown = disk(512, 1024);
        grown.put_over(1024, &[0xff]);
        let mut problems = Problems::default();
        grown.resize(4096 * 512);
        assert!(read(&Reader::new(&grown, grown.size_bytes()), &mut problems).is_some());
    }

    #[test]
    fn with_both_copies_damaged_there_is_no_table() {
        let mut disk = disk(512, 1024);
        disk.put_over(512 + 56, &[0]);
        disk.put_over(1023 * 512 + 56, &[0]);
        let (table, problems) = read_all(&disk);
        assert_eq!(table, None);
        assert!(problems[0].contains("checksum"), "{problems:?}");
    }

    #[test]
    fn impossible_sizes_are_refused_before_anything_is_allocated() {
        for (count, bytes) in [(0, 128), (1025, 128), (u32::MAX, 4096), (128, 0), (128, 192), (128, 8192)] {
            let header = Header {
                sector_size_bytes: 512,
                first_usable_sector: 0,
                last_usable_sector: 0,
                disk_id: String::new(),
                entries_sector: 2,
                entry_count: count,
                entry_bytes: bytes,
                entries_crc: 0,
            };
            assert!(!has_sane_sizes(&header));
        }
    }

    #[test]
    fn an_entry_that_ends_before_it_begins_is_left_out() {
        let mut entry = [0u8; 128];
        entry[0] = 1;
        entry[32] = 9;
        entry[40] = 8;
        let mut problems = Problems::default();
        assert_eq!(row(7, &entry, &mut problems), None);
        assert!(problems.into_sentences()[0].starts_with("Partition 7 is not shown"));
        entry[32..40].fill(0);
        entry[40..48].fill(0xff);
        assert_eq!(row(7, &entry, &mut Problems::default()), None);
    }
}
