//! A partition table as it stands on the disk, in sectors and not yet held against the disk's size.

use super::model::{Partition, TableKind};
use super::problems::Problems;

/// What GPT and MBR have in common, and what only a GPT has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) sector_size_bytes: u32,
    /// As in [`PartitionTable::disk_id`](super::PartitionTable::disk_id).
    pub(super) disk_id: String,
    pub(super) gpt: Option<GptExtent>,
    /// In the order of their numbers.
    pub(super) rows: Vec<Row>,
}

/// The part of a GPT header that a restored table has to repeat.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GptExtent {
    pub(super) first_usable_sector: u64,
    pub(super) last_usable_sector: u64,
    pub(super) entry_count: u32,
    pub(super) from_backup: bool,
}

/// One partition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) number: u32,
    pub(super) start_sector: u64,
    pub(super) sectors: u64,
    pub(super) type_id: String,
    pub(super) partition_id: Option<String>,
    pub(super) name: Option<String>,
    /// GPT attribute bits, UEFI table 5-8.
    pub(super) attributes: u64,
    /// The MBR's active flag.
    pub(super) bootable: bool,
}

impl Table {
    pub(super) fn kind(&self) -> TableKind {
        if self.gpt.is_some() { TableKind::Gpt } else { TableKind::Mbr }
    }

    /// The rows as stretches of a disk of `disk_bytes`: one that begins outside is left out and one that
    /// ends outside is cut (as the kernel does), each with a sentence in `problems`.
    pub(super) fn partitions(&self, disk_bytes: u64, problems: &mut Problems) -> Vec<Partition> {
        self.rows.iter().filter_map(|row| self.partition(row, disk_bytes, problems)).collect()
    }

    fn partition(&self, row: &Row, disk_bytes: u64, problems: &mut Problems) -> Option<Partition> {
        let sector = u64::from(self.sector_size_bytes);
        let Some(offset_bytes) = row.start_sector.checked_mul(sector).filter(|&offset| offset < disk_bytes)
        else {
            problems.push(format!(
                "Partition {} is not shown: it begins at sector {}, outside of the disk.",
                row.number, row.start_sector
            ));
            return None;
        };
        let room = disk_bytes - offset_bytes;
        let claimed = row.sectors.saturating_mul(sector);
        if claimed > room {
            problems.push(format!(
                "Partition {} is cut to {room} bytes: its {} sectors end outside of the disk.",
                row.number, row.sectors
            ));
        }
        Some(Partition {
            number: row.number,
            offset_bytes,
            size_bytes: claimed.min(room),
            type_id: row.type_id.clone(),
            partition_id: row.partition_id.clone(),
            name: row.name.clone(),
            file_system: None,
        })
    }
}
