//! A disk's partition table as it has to stand on another disk, of another size.
//!
//! A GPT stands twice, and its backup belongs into the last sectors (UEFI 2.10, section 5.3.1): both
//! headers are made anew for the true end of the disk, with their checksums, and the protective
//! record covers it. A master boot record is copied with the chain of extended records.

use super::gpt::{self, RawGpt};
use super::mbr::Mbr;
use super::model::TableKind;
use super::problems::Problems;
use super::reader::Reader;
use super::{Layout, SECTOR_BYTES, find_layout};
use crate::io::ReadAt;

/// What to write where, in this order: what makes the table valid comes last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transplant {
    /// Which kind of table.
    pub kind: TableKind,
    /// Bytes of one of the sectors that the table counts in.
    pub sector_size_bytes: u32,
    /// Offsets and bytes.
    pub writes: Vec<(u64, Vec<u8>)>,
}

/// Why a table cannot be put on another disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransplantError {
    /// The disk has none.
    #[error("there is no partition table")]
    NoTable,
    /// The other disk is too small for the partitions.
    #[error("the partitions need a disk of {needed_bytes} bytes")]
    TooSmall {
        /// What it would need.
        needed_bytes: u64,
    },
}

/// The table of `disk`, for a disk of `target_bytes`.
///
/// # Errors
/// See [`TransplantError`].
pub fn transplant(
    disk: &dyn ReadAt,
    size_bytes: u64,
    target_bytes: u64,
) -> Result<Transplant, TransplantError> {
    let reader = Reader::new(disk, size_bytes);
    let Layout::Table(table) = find_layout(&reader, &mut Problems::default()) else {
        return Err(TransplantError::NoTable);
    };
    let sector = u64::from(table.sector_size_bytes);
    let end = table.rows.iter().map(|row| row.start_sector.saturating_add(row.sectors)).max().unwrap_or(0);
    let boot = reader.take(0, SECTOR_BYTES);
    let kind = table.kind();
    let writes = match kind {
        TableKind::Gpt => {
            let raw = gpt::raw(&reader).filter(|raw| raw.sector_size_bytes == table.sector_size_bytes);
            let raw = raw.ok_or(TransplantError::NoTable)?;
            raw.writes(end, target_bytes, boot)?
        }
        TableKind::Mbr => {
            let needed_bytes = end.saturating_mul(sector);
            let boot = boot.ok_or(TransplantError::NoTable)?;
            let mbr = Mbr::decode(&boot).ok_or(TransplantError::NoTable)?;
            let links = mbr.links(&reader, table.sector_size_bytes);
            let mut writes: Vec<_> =
                links.into_iter().filter_map(|at| Some((at, reader.take(at, SECTOR_BYTES)?))).collect();
            let reaches = writes.iter().map(|(at, bytes)| at + bytes.len() as u64).max().unwrap_or(0);
            let needed_bytes = needed_bytes.max(reaches).max(boot.len() as u64);
            if needed_bytes > target_bytes {
                return Err(TransplantError::TooSmall { needed_bytes });
            }
            writes.push((0, boot));
            writes
        }
    };
    Ok(Transplant { kind, sector_size_bytes: table.sector_size_bytes, writes })
}

impl RawGpt {
    /// `end_sector`: behind the last partition. `boot`: the first sector of the disk, if it can be read.
    fn writes(
        &self,
        end_sector: u64,
        target_bytes: u64,
        boot: Option<Vec<u8>>,
    ) -> Result<Vec<(u64, Vec<u8>)>, TransplantError> {
        let size = u64::from(self.sector_size_bytes);
        let entry_sectors = (self.entries.len() as u64).div_ceil(size);
        // Behind the last partition: entries and header.
        let needed = end_sector.max(self.first_usable_sector).saturating_add(entry_sectors).saturating_add(1);
        let too_small = TransplantError::TooSmall { needed_bytes: needed.saturating_mul(size) };
        let sectors = target_bytes / size;
        if sectors < needed {
            return Err(too_small);
        }
        let last = sectors - 1;
        let backup_entries = last - entry_sectors;
        let places = [(last, 1, backup_entries), (1, last, self.entries_sector)];
        let [backup, primary] = places.map(|(own, other, entries)| {
            gpt::rewritten(&self.header, own, other, entries, backup_entries - 1)
        });
        let mut entries = self.entries.clone();
        entries.resize(usize::try_from(entry_sectors * size).unwrap_or(entries.len()), 0);
        let boot = boot.filter(|boot| Mbr::decode(boot).is_some_and(|mbr| mbr.is_protective()));
        let boot = protective(boot.unwrap_or_else(fresh_protective), last);
        Ok(vec![
            (backup_entries * size, entries.clone()),
            (last * size, backup),
            (self.entries_sector * size, entries),
            (size, primary),
            (0, boot),
        ])
    }
}

/// UEFI table 5-4.
fn fresh_protective() -> Vec<u8> {
    let mut sector = vec![0u8; SECTOR_BYTES];
    let entry = [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0];
    put(&mut sector, 446, &entry);
    put(&mut sector, 510, &[0x55, 0xaa]);
    sector
}

/// Has the protective entry cover the disk up to its last sector; a hybrid record stays as it is.
fn protective(mut sector: Vec<u8>, last: u64) -> Vec<u8> {
    let kinds: Vec<u8> = (0..4).filter_map(|slot| sector.get(446 + slot * 16 + 4).copied()).collect();
    if kinds.iter().filter(|&&kind| kind != 0).count() == 1
        && let Some(slot) = kinds.iter().position(|&kind| kind == 0xee)
    {
        let sectors = u32::try_from(last).unwrap_or(u32::MAX);
        put(&mut sector, 446 + slot * 16 + 12, &sectors.to_le_bytes());
    }
    sector
}

pub(super) fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;
    use crate::probe::survey;

    fn planted(source: &Memory, target_bytes: u64) -> Memory {
        let planted = transplant(source, source.size_bytes(), target_bytes).unwrap();
        let mut target = Memory::sized(target_bytes);
        for (at, bytes) in planted.writes {
            assert!(at + bytes.len() as u64 <= target_bytes);
            target.put(at, &bytes);
        }
        target
    }

    #[test]
    fn a_gpt_is_whole_on_a_smaller_and_on_a_larger_disk() {
        for size in [512u32, 4096] {
            let source = gpt::tests::disk(size, 1024);
            for sectors in [300, 1024, 5000] {
                let target_bytes = sectors * u64::from(size) + 100;
                let mut target = planted(&source, target_bytes);
                let found = survey(&target, target_bytes);
                assert_eq!(found.problems, Vec::<String>::new());
                let [was, is] = [survey(&source, source.size_bytes()), found.clone()];
                assert_eq!(is.partitions, was.partitions);
                assert_eq!(is.table.unwrap().disk_id, was.table.unwrap().disk_id);
                // The backup stands at the true end and is as good.
                target.put_over(u64::from(size) + 16, &[0xff]);
                let found = survey(&target, sectors * u64::from(size));
                assert!(found.table.unwrap().from_backup);
                assert_eq!(found.partitions.len(), 1);
            }
        }
    }

    #[test]
    fn a_gpt_that_is_known_by_its_backup_alone_becomes_whole_again() {
        let mut source = gpt::tests::disk(512, 1024);
        source.put_over(0, &[0; 1024]);
        let target = planted(&source, 2048 * 512);
        let found = survey(&target, 2048 * 512);
        assert_eq!(found.problems, Vec::<String>::new());
        assert!(!found.table.unwrap().from_backup);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_it_would_need() {
        let source = gpt::tests::disk(512, 1024);
        // 128 sectors up to the end of the partition, 32 of entries, the header.
        let needed_bytes = 161 * 512;
        let fits = |bytes| transplant(&source, source.size_bytes(), bytes);
        assert_eq!(fits(needed_bytes - 1), Err(TransplantError::TooSmall { needed_bytes }));
        assert!(fits(needed_bytes).is_ok());
        let blank = Memory::sized(1 << 20);
        assert_eq!(transplant(&blank, 1 << 20, 1 << 20), Err(TransplantError::NoTable));
    }
}
