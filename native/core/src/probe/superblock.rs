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
mod ext_room;
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
mod xfs_room;

use super::model::FileSystem;
use super::reader::Reader;

/// What is left of a file system, as [`FileSystem`] tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Room {
    free_bytes: Option<u64>,
    inodes: Option<u64>,
    free_inodes: Option<u64>,
}

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

/// What stands on the stretch; `None` where nothing known does. Reads less than 2 MiB.
pub(super) fn identify(reader: &Reader<'_>) -> Option<FileSystem> {
    let mut found = DECODERS.iter().find_map(|decode| decode(reader))?;
    let exact = |number: Option<u64>| number.filter(|&number| number <= SIZE_BYTES_MAX);
    found.size_bytes = exact(found.size_bytes);
    found.free_bytes = exact(found.free_bytes);
    (found.inodes, found.free_inodes) = (exact(found.inodes), exact(found.free_inodes));
    Some(found)
}

impl FileSystem {
    /// Of a kind of which nothing else is known yet.
    fn of_kind(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            label: None,
            uuid: None,
            size_bytes: None,
            clean: None,
            free_bytes: None,
            inodes: None,
            free_inodes: None,
        }
    }

    /// Whether its first sector ends with the boot signature, so that it can be taken for a master boot
    /// record.
    pub(super) fn has_boot_sector(&self) -> bool {
        matches!(self.kind.as_str(), "vfat" | "exfat" | "ntfs")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    /// The magic numbers of everything at once, so that noise reaches every decoder.
    pub(in crate::probe) fn everything() -> Memory {
        let mut disk = Memory::sized(1 << 20);
        let magics: [(u64, &[u8]); 12] = [
            (0, b"XFSB\0\0\x10\0"),
            (3, b"NTFS    "),
            (120, &[12]),
            (510, &[0x55, 0xaa]),
            (512, b"LABELONE"),
            (1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
            (1080, &[0x53, 0xef]),
            (4086, b"SWAPSPACE2"),
            (4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]),
            (32768, b"\x01CD001\x01"),
            (65584, &[0, 0, 1, 0]),
            (65600, b"_BHRfS_M"),
        ];
        for (offset, magic) in magics {
            disk.put(offset, magic);
        }
        disk
    }

    #[test]
    fn an_impossible_size_is_not_known() {
        let mut disk = Memory::sized(1 << 20);
        disk.put(0, b"hsqs");
        disk.put(28, &[4, 0]);
        disk.put(40, &[0xff; 8]);
        let found = identify(&Reader::new(&disk, 1 << 20));
        assert!(found.is_some_and(|found| found.kind == "squashfs" && found.size_bytes.is_none()));
    }

    #[test]
    fn a_member_of_an_md_array_is_told() {
        let mut disk = Memory::sized(1 << 20);
        let mut block = [0u8; 256];
        block[..8].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
        block[16..32].fill(0xab);
        block[32..38].copy_from_slice(b"vm:md0");
        block[136] = 8;
        block[144] = 8;
        disk.put(4096, &block);
        let found = identify(&Reader::new(&disk, 1 << 20)).unwrap();
        assert_eq!(found.kind, "linux_raid_member");
        assert_eq!(found.label.as_deref(), Some("vm:md0"));
        assert_eq!(found.size_bytes, Some(4096));
    }
}
