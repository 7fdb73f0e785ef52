//! Master boot records and the chain of extended boot records.
//!
//! The record itself is described in the UEFI specification 2.10, section 5.2; the chain of logical
//! partitions has no standard, so it is walked as the Linux kernel does (block/partitions/msdos.c). The
//! record does not say how long a sector is; see [`sector_size`].

use super::fields::Fields;
use super::problems::Problems;
use super::reader::Reader;
use super::superblock;
use super::table::{Row, Table};

const RECORD_BYTES: usize = 512;
const SIGNATURE_AT: usize = 440;
const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const BOOT_SIGNATURE: &[u8] = &[0x55, 0xaa];
const KIND_PROTECTIVE: u8 = 0xee;
const LOGICAL_FIRST: u32 = 5;
/// The kernel follows a hundred links.
const LOGICAL_COUNT_MAX: usize = 256;

/// A sector that can be a master boot record.
pub(super) struct Mbr {
    signature: u32,
    entries: [Entry; 4],
}

#[derive(Clone, Copy)]
struct Entry {
    boot: u8,
    kind: u8,
    start: u32,
    sectors: u32,
}

impl Mbr {
    /// `None` without the boot signature, and where a boot indicator is neither 0 nor 0x80: then the
    /// sector holds boot code of a bare file system (the kernel's rule).
    pub(super) fn decode(sector: &[u8]) -> Option<Self> {
        let entries = entries(sector)?;
        let plausible = entries.iter().all(|entry| matches!(entry.boot, 0 | 0x80));
        plausible.then_some(Self { signature: sector.le32(SIGNATURE_AT)?, entries })
    }

    /// Whether the record only announces a GPT (UEFI 5.2.3), perhaps beside entries of a hybrid table.
    pub(super) fn is_protective(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == KIND_PROTECTIVE)
    }

    /// Whether a partition is listed other than the protective one.
    pub(super) fn has_partitions(&self) -> bool {
        self.entries.iter().any(|entry| entry.is_used() && entry.kind != KIND_PROTECTIVE)
    }

    /// Where the records of the chain of logical partitions stand, in bytes.
    pub(super) fn links(&self, reader: &Reader<'_>, sector_size_bytes: u32) -> Vec<u64> {
        let extended = self.entries.iter().find(|entry| entry.is_used() && entry.is_extended());
        let Some(first) = extended else { return Vec::new() };
        let chain = Chain { reader, base: u64::from(first.start), sector_size_bytes, disk_id: "" };
        let (_, visited) = chain.walk(&mut Problems::default());
        visited.into_iter().map(|sector| sector.saturating_mul(sector_size_bytes.into())).collect()
    }

    /// The whole table with its logical partitions.
    pub(super) fn table(&self, reader: &Reader<'_>, problems: &mut Problems) -> Table {
        let sector_size_bytes = sector_size(reader, &self.entries);
        let disk_id = format!("{:08x}", self.signature);
        let mut rows: Vec<Row> = (1..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.is_used())
            .map(|(number, entry)| entry.row(number, 0, &disk_id))
            .collect();
        let mut extended = self.entries.iter().filter(|entry| entry.is_used() && entry.is_extended());
        if let Some(first) = extended.next() {
            let chain = Chain { reader, base: u64::from(first.start), sector_size_bytes, disk_id: &disk_id };
            rows.extend(chain.walk(problems).0);
        }
        if extended.next().is_some() {
            problems.push("Logical partitions of a second extended partition are not shown.".to_owned());
        }
        Table { sector_size_bytes, disk_id, gpt: None, rows }
    }
}

impl Entry {
    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            boot: bytes.byte(0)?,
            kind: bytes.byte(4)?,
            start: bytes.le32(8)?,
            sectors: bytes.le32(12)?,
        })
    }

    fn is_used(&self) -> bool {
        self.sectors > 0
    }

    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    /// `base` is the sector that the entry counts from; two 32-bit sums of three cannot overflow.
    fn row(&self, number: u32, base: u64, disk_id: &str) -> Row {
        Row {
            number,
            start_sector: base.saturating_add(u64::from(self.start)),
            sectors: u64::from(self.sectors),
            type_id: format!("{:x}", self.kind),
            partition_id: Some(format!("{disk_id}-{number:02x}")),
            name: None,
            attributes: 0,
            bootable: self.boot & 0x80 != 0,
        }
    }
}

/// The extended partition's chain: each record holds one logical partition, counted from that record, and
/// a link to the next record, counted from the extended partition.
struct Chain<'a> {
    reader: &'a Reader<'a>,
    base: u64,
    sector_size_bytes: u32,
    disk_id: &'a str,
}

impl Chain<'_> {
    /// Its logical partitions, and the sectors of its records.
    fn walk(&self, problems: &mut Problems) -> (Vec<Row>, Vec<u64>) {
        let mut rows = Vec::new();
        let mut visited = Vec::new();
        let mut next = Some(self.base);
        while let Some(at) = next {
            if visited.contains(&at) {
                problems.push(format!(
                    "The chain of logical partitions returns to sector {at}; it is left there."
                ));
                break;
            }
            if visited.len() == LOGICAL_COUNT_MAX {
                problems.push(format!("Only {LOGICAL_COUNT_MAX} logical partitions are looked at."));
                break;
            }
            let Some(record) = self.record(at) else {
                // An extended partition without any logical one may begin with anything.
                if !visited.is_empty() {
                    problems.push(format!("The chain of logical partitions breaks off at sector {at}."));
                }
                break;
            };
            visited.push(at);
            let [first, second, ..] = record;
            for entry in [first, second].iter().filter(|entry| entry.is_used() && !entry.is_extended()) {
                let number = u32::try_from(rows.len()).unwrap_or(u32::MAX).saturating_add(LOGICAL_FIRST);
                rows.push(entry.row(number, at, self.disk_id));
            }
            next = record
                .iter()
                .find(|entry| entry.is_used() && entry.is_extended())
                .map(|entry| self.base.saturating_add(u64::from(entry.start)));
        }
        (rows, visited)
    }

    fn record(&self, sector: u64) -> Option<[Entry; 4]> {
        let offset = sector.checked_mul(u64::from(self.sector_size_bytes))?;
        entries(&self.reader.take(offset, RECORD_BYTES)?)
    }
}

fn entries(sector: &[u8]) -> Option<[Entry; 4]> {
    if !sector.has(RECORD_BYTES - 2, BOOT_SIGNATURE) {
        return None;
    }
    let entry = |slot: usize| Entry::decode(sector.part(ENTRIES_AT + slot * ENTRY_BYTES, ENTRY_BYTES)?);
    Some([entry(0)?, entry(1)?, entry(2)?, entry(3)?])
}

/// The sector size that the entries count in: 512, unless nothing is recognized where 512 puts the
/// partitions and something is where 4096 puts them.
fn sector_size(reader: &Reader<'_>, entries: &[Entry; 4]) -> u32 {
    let fits = |size: u32| entries.iter().any(|entry| is_recognized(reader, entry, u64::from(size)));
    if reader.size_bytes().is_multiple_of(4096) && !fits(512) && fits(4096) { 4096 } else { 512 }
}

fn is_recognized(reader: &Reader<'_>, entry: &Entry, sector_size_bytes: u64) -> bool {
    if !entry.is_used() || entry.kind == KIND_PROTECTIVE {
        return false;
    }
    let [start, length] = [entry.start, entry.sectors].map(|count| u64::from(count) * sector_size_bytes);
    let stretch = reader.within(start, length);
    if entry.is_extended() {
        return stretch.take(0, RECORD_BYTES).is_some_and(|sector| entries_are_linked(&sector));
    }
    superblock::identify(&stretch).is_some()
}

/// Whether a sector looks like an extended boot record that lists something.
fn entries_are_linked(sector: &[u8]) -> bool {
    entries(sector).is_some_and(|entries| entries.iter().any(Entry::is_used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    fn record(entries: &[(u8, u8, u32, u32)]) -> Vec<u8> {
        let mut sector = vec![0u8; RECORD_BYTES];
        sector[SIGNATURE_AT..SIGNATURE_AT + 4].copy_from_slice(&0x1234_abcdu32.to_le_bytes());
        for (slot, (boot, kind, start, sectors)) in entries.iter().enumerate() {
            let at = ENTRIES_AT + slot * ENTRY_BYTES;
            sector[at] = *boot;
            sector[at + 4] = *kind;
            sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
            sector[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        }
        sector[510..].copy_from_slice(BOOT_SIGNATURE);
        sector
    }

    fn table(disk: &Memory) -> (Table, Vec<String>) {
        let reader = Reader::new(disk, disk.size_bytes());
        let mut problems = Problems::default();
        let mbr = Mbr::decode(&reader.take(0, RECORD_BYTES).unwrap()).unwrap();
        let table = mbr.table(&reader, &mut problems);
        (table, problems.into_sentences())
    }

    fn stretches(table: &Table) -> Vec<(u32, u64, u64)> {
        table.rows.iter().map(|row| (row.number, row.start_sector, row.sectors)).collect()
    }

    #[test]
    fn logical_partitions_are_numbered_from_five() {
        let mut disk = Memory::sized(1 << 20);
        disk.put(0, &record(&[(0x80, 0x0c, 8, 8), (0, 0, 0, 0), (0, 0x0f, 100, 500)]));
        disk.put(100 * 512, &record(&[(0, 0x83, 2, 20), (0, 5, 50, 30)]));
        disk.put(150 * 512, &record(&[(0, 0x82, 3, 10)]));
        let (table, problems) = table(&disk);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(stretches(&table), [(1, 8, 8), (3, 100, 500), (5, 102, 20), (6, 153, 10)]);
        assert_eq!(table.disk_id, "1234abcd");
        assert_eq!(table.rows[0].type_id, "c");
        assert!(table.rows[0].bootable);
        assert_eq!(table.rows[3].partition_id.as_deref(), Some("1234abcd-06"));
    }

    #[test]
    fn a_chain_that_bites_its_tail_is_left() {
        let mut disk = Memory::sized(1 << 20);
        disk.put(0, &record(&[(0, 5, 100, 500)]));
        disk.put(100 * 512, &record(&[(0, 0x83, 2, 20), (0, 5, 50, 30)]));
        disk.put(150 * 512, &record(&[(0, 0x83, 2, 20), (0, 5, 0, 30)]));
        let (table, problems) = table(&disk);
        assert_eq!(table.rows.len(), 3);
        assert!(problems[0].contains("returns to sector 100"), "{problems:?}");
    }

    #[test]
    fn an_endless_chain_ends() {
        let mut disk = Memory::sized(1 << 20);
        disk.put(0, &record(&[(0, 5, 1, 5000)]));
        for link in 0..1000u32 {
            disk.put(u64::from(1 + link) * 512, &record(&[(0, 0x83, 1, 1), (0, 5, link + 1, 1)]));
        }
        let (table, problems) = table(&disk);
        assert_eq!(table.rows.len(), 1 + LOGICAL_COUNT_MAX);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn a_broken_chain_keeps_what_came_before() {
        let mut disk = Memory::sized(1 << 20);
        disk.put(0, &record(&[(0, 5, 100, 500)]));
        disk.put(100 * 512, &record(&[(0, 0x83, 2, 20), (0, 5, u32::MAX, 30)]));
        let (table, problems) = table(&disk);
        assert_eq!(table.rows.len(), 2);
        assert!(problems[0].contains("breaks off"), "{problems:?}");
    }

    #[test]
    fn boot_code_is_not_a_table() {
        assert!(Mbr::decode(&record(&[(0x7f, 0x83, 1, 1)])).is_none());
        assert!(Mbr::decode(&[0; RECORD_BYTES]).is_none());
        assert!(Mbr::decode(&[0x55; 100]).is_none());
    }
}
