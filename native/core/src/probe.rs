//! What stands on a disk: its partition table, the file systems in it, and LVM2 volumes.
//!
//! A survey only reads, needs no help from the kernel, and never fails: every byte comes from a guest that
//! may be hostile, so what cannot be read or understood becomes a sentence instead. Work and memory are
//! bounded whatever the bytes say. What a stretch is called and how it is mounted is not decided here.
//!
//! `fields` and `reader` make decoders total; `gpt`, `mbr` and `lvm` say where things lie, `superblock` what
//! they are, `sfdisk` how a table is written down, `transplant` how it is put on another disk; `model` is what
//! comes out, and `standing` tells a person of it.

mod fields;
mod gpt;
mod lvm;
mod mbr;
#[cfg(test)]
mod memory;
mod model;
mod problems;
mod reader;
mod sfdisk;
mod standing;
mod superblock;
mod table;
#[cfg(test)]
mod tests;
mod transplant;
mod window;

pub use model::{FileSystem, Partition, PartitionTable, Piece, Survey, TableKind, Volume};
pub(crate) use standing::quoted;
pub use standing::{is_same_code, visible};
pub use transplant::{Transplant, TransplantError, transplant};

use crate::io::ReadAt;
use lvm::Place;
use mbr::Mbr;
use problems::Problems;
use reader::Reader;
use table::Table;
use window::Window;

const SECTOR_BYTES: usize = 512;

/// Surveys a disk of `size_bytes` bytes; never fails: what cannot be read or parsed becomes a sentence in
/// [`Survey::problems`].
///
/// Reads are of 8 bytes to 4 MiB at any alignment: tens of them for each partition and volume, of which only
/// a GPT's entries and LVM metadata are larger than 128 KiB. Every stretch that the survey names lies within
/// `size_bytes`.
pub fn survey(disk: &dyn ReadAt, size_bytes: u64) -> Survey {
    let reader = Reader::new(disk, size_bytes);
    let mut problems = Problems::default();
    let (table, mut partitions) = match find_layout(&reader, &mut problems) {
        Layout::Table(table) => {
            let partitions = table.partitions(size_bytes, &mut problems);
            (Some(described(&table)), partitions)
        }
        Layout::Bare(file_system) => (None, vec![bare_partition(size_bytes, file_system)]),
        Layout::Empty => (None, Vec::new()),
    };
    if let Some(fault) = reader.fault() {
        problems.push(format!("The disk could not be read everywhere: {fault}."));
    }
    if table.is_some() {
        identify_partitions(&reader, &mut partitions, &mut problems);
    }
    let volumes = find_volumes(disk, &reader, &partitions, &mut problems);
    Survey { table, partitions, volumes, problems: problems.into_sentences() }
}

enum Layout {
    Table(Table),
    Bare(FileSystem),
    Empty,
}

/// Decides between tables and a bare file system by the first sector, as libblkid and the kernel do, and is
/// more lenient than they are where that sector is lost: then an intact GPT counts without it.
fn find_layout(reader: &Reader<'_>, problems: &mut Problems) -> Layout {
    let mbr = reader.take(0, SECTOR_BYTES).and_then(|sector| Mbr::decode(&sector));
    let is_protective = mbr.as_ref().is_some_and(Mbr::is_protective);
    if is_protective && let Some(table) = gpt::read(reader, problems) {
        return Layout::Table(table);
    }
    let bare = superblock::identify(reader);
    // The boot sector of FAT, exFAT or NTFS has the signature of a master boot record as well.
    let is_boot_sector = bare.as_ref().is_some_and(FileSystem::has_boot_sector);
    if let Some(mbr) = mbr.as_ref().filter(|mbr| mbr.has_partitions() && !is_boot_sector) {
        return Layout::Table(mbr.table(reader, problems));
    }
    if let Some(file_system) = bare {
        return Layout::Bare(file_system);
    }
    if is_protective {
        problems.push("The first sector announces a GPT, but none was found.".to_owned());
        return Layout::Empty;
    }
    if let Some(table) = gpt::read(reader, problems) {
        problems.push("The protective master boot record is missing; the GPT is used without it.".to_owned());
        return Layout::Table(table);
    }
    mbr.map_or(Layout::Empty, |mbr| Layout::Table(mbr.table(reader, problems)))
}

fn described(table: &Table) -> PartitionTable {
    PartitionTable {
        kind: table.kind(),
        sector_size_bytes: table.sector_size_bytes,
        disk_id: table.disk_id.clone(),
        from_backup: table.gpt.as_ref().is_some_and(|gpt| gpt.from_backup),
        sfdisk: sfdisk::text(table),
    }
}

fn bare_partition(size_bytes: u64, file_system: FileSystem) -> Partition {
    Partition {
        number: 0,
        offset_bytes: 0,
        size_bytes,
        type_id: String::new(),
        partition_id: None,
        name: None,
        file_system: Some(file_system),
    }
}

fn identify_partitions(reader: &Reader<'_>, partitions: &mut [Partition], problems: &mut Problems) {
    for partition in partitions {
        let stretch = reader.within(partition.offset_bytes, partition.size_bytes);
        partition.file_system = superblock::identify(&stretch);
        if let Some(fault) = stretch.fault() {
            problems.push(format!("Partition {} could not be read everywhere: {fault}.", partition.number));
        }
    }
}

/// The volumes of all physical volumes on the disk, with their file systems.
fn find_volumes(
    disk: &dyn ReadAt,
    reader: &Reader<'_>,
    partitions: &[Partition],
    problems: &mut Problems,
) -> Vec<Volume> {
    let is_physical = |partition: &&Partition| {
        partition.file_system.as_ref().is_some_and(|file_system| file_system.kind == "lvm2")
    };
    let places: Vec<Place> = partitions
        .iter()
        .filter(is_physical)
        .map(|partition| Place { offset_bytes: partition.offset_bytes, size_bytes: partition.size_bytes })
        .collect();
    let mut volumes = lvm::volumes(reader, &places, problems);
    for volume in &mut volumes {
        let window = Window::new(disk, &volume.pieces);
        let stretch = Reader::new(&window, volume.size_bytes);
        volume.file_system = superblock::identify(&stretch);
        if let Some(fault) = stretch.fault() {
            problems.push(format!(
                "The logical volume {:?} of group {:?} could not be read everywhere: {fault}.",
                volume.name, volume.group
            ));
        }
    }
    volumes
}
