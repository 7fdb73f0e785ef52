//! What a survey says: the shapes that a manifest keeps and that cross to TypeScript as JSON.
//!
//! Every text in here was written by a guest and is untrusted: labels and names may hold any character,
//! line ends among them.

use serde::{Deserialize, Serialize};

/// What stands on a disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// `None` for a bare file system, an empty disk, or a table that is too damaged to use.
    pub table: Option<PartitionTable>,
    /// In the order of their numbers; a file system on the bare disk is the only one, with number 0.
    pub partitions: Vec<Partition>,
    /// LVM2 logical volumes whose bytes all lie on this disk.
    pub volumes: Vec<Volume>,
    /// Sentences that say why something is not shown, or is shown otherwise than its table says.
    pub problems: Vec<String>,
}

/// A partition table that was understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionTable {
    /// Which kind of table.
    pub kind: TableKind,
    /// Bytes of one of the sectors that the table counts in.
    pub sector_size_bytes: u32,
    /// The disk's GUID in upper case, or the MBR signature as eight hexadecimal digits in lower case.
    pub disk_id: String,
    /// The primary GPT header or its entries were damaged and the backup was used.
    pub from_backup: bool,
    /// What `sfdisk <device>` takes on its standard input to put the table back.
    pub sfdisk: String,
}

/// The kinds of partition tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TableKind {
    /// GUID partition table, UEFI specification 5.3.
    Gpt,
    /// Master boot record with a chain of extended boot records.
    Mbr,
}

/// A stretch of the disk that a partition table names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// As the Linux kernel numbers them; 0 for a file system on the bare disk.
    pub number: u32,
    /// Where it begins on the disk.
    pub offset_bytes: u64,
    /// Its length; the stretch always lies within the disk.
    pub size_bytes: u64,
    /// As sfdisk prints it: a GUID in upper case, or one or two hexadecimal digits; empty for number 0.
    pub type_id: String,
    /// The GPT's unique GUID in upper case, or `<signature>-<number>` as the kernel's PARTUUID of an MBR.
    pub partition_id: Option<String>,
    /// The GPT's name.
    pub name: Option<String>,
    /// What its superblock says.
    pub file_system: Option<FileSystem>,
}

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSystem {
    /// As blkid names them (ext4, xfs, btrfs, vfat, ntfs, swap …), but `lvm2` and `luks`.
    pub kind: String,
    /// The label, without padding.
    pub label: Option<String>,
    /// As blkid prints it: a UUID, or the serial number of file systems that have none.
    pub uuid: Option<String>,
    /// How much of its device the file system claims; a claim beyond 2^53-1 counts as not known.
    pub size_bytes: Option<u64>,
    /// Whether it was unmounted: no journal to be replayed, no dirty bit. `None` where that is not known.
    pub clean: Option<bool>,
    /// Bytes that its ordinary users can still fill, as df(1) tells them; told of the ext family and of xfs, and
    /// by no manifest of the first versions, as the two below. What a mounted file system counts in memory, or
    /// has in its journal alone, is not seen, so all three may lag.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// How many files it can have at most.
    #[serde(default)]
    pub inodes: Option<u64>,
    /// How many of these it does not have yet.
    #[serde(default)]
    pub free_inodes: Option<u64>,
}

/// An LVM2 logical volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The volume group's name.
    pub group: String,
    /// The volume's name.
    pub name: String,
    /// The sum of its pieces.
    pub size_bytes: u64,
    /// Where its bytes lie on the disk, in the volume's order.
    pub pieces: Vec<Piece>,
    /// What its superblock says.
    pub file_system: Option<FileSystem>,
}

/// Where a part of a window lies on the disk. Every stretch lies within the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Piece {
    /// One stretch.
    Linear {
        /// Where it begins on the disk.
        offset_bytes: u64,
        /// Its length.
        size_bytes: u64,
    },
    /// Several stretches of equal length, filled in turn, `stripe_size_bytes` at a time.
    Striped {
        /// How much is taken from one stretch before the next one's turn.
        stripe_size_bytes: u64,
        /// Where each stretch begins on the disk; at least two.
        offsets_bytes: Vec<u64>,
        /// The length of all stretches together: a multiple of the stripe size times their number.
        size_bytes: u64,
    },
}

impl Piece {
    /// How many bytes of the window this piece fills.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Linear { size_bytes, .. } | Self::Striped { size_bytes, .. } => *size_bytes,
        }
    }
}
