//! What a stretch of bytes says it is: file systems, swap, and what holds other things.
//!
//! A decoder answers only where the magic number and the fields that depend on each other agree; kinds,
//! labels and identifiers come out as blkid(8) prints them, so that a person can compare. The order matters
//! where an older superblock survives under a newer one: containers first, then what is told by an
//! unmistakable magic number, then FAT, which has none.

mod btrfs;
mod erofs;
mod exfat;
mod ext;
mod fat;
mod iso9660;
mod luks;
mod lvm2;
mod ntfs;
mod raid;
mod squashfs;
mod swap;
mod xfs;
mod xfs_log;

use super::model::FileSystem;
use super::reader::Reader;

/// The largest integer that JSON carries exactly (ECMA-262 21.1.2.6); a superblock may claim any size.
const SIZE_BYTES_MAX: u64 = (1 << 53) - 1;

type Decoder = fn(&Reader<'_>) -> Option<FileSystem>;

const DECODERS: [Decoder; 13] = [
    luks::decode,
    lvm2::decode,
    raid::decode,
    xfs::decode,
    squashfs::decode,
    ext::decode,
    erofs::decode,
    swap::decode,
    btrfs::decode,
    ntfs::decode,
    exfat::decode,
    iso9660::decode,
    fat::decode,
];

/// What stands on the stretch; `None` where nothing known does. Reads less than 1 MiB.
pub(super) fn identify(reader: &Reader<'_>) -> Option<FileSystem> {
    let mut found = DECODERS.iter().find_map(|decode| decode(reader))?;
    found.size_bytes = found.size_bytes.filter(|&size| size <= SIZE_BYTES_MAX);
    Some(found)
}

impl FileSystem {
    /// Of a kind of which nothing else is known yet.
    fn of_kind(kind: &str) -> Self {
        Self { kind: kind.to_owned(), label: None, uuid: None, size_bytes: None, clean: None }
    }

    /// Whether its first sector ends with the boot signature, so that it can be taken for a master boot
    /// record.
    pub(super) fn has_boot_sector(&self) -> bool {
        matches!(self.kind.as_str(), "vfat" | "exfat" | "ntfs")
    }
}
