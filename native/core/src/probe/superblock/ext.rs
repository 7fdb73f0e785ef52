//! ext2, ext3 and ext4: Linux documentation, filesystems/ext4/globals (the super block).

use super::ext_room;
use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const OFFSET: u64 = 1024;
const LENGTH: usize = 1024;
const MAGIC: u16 = 0xef53;

const STATE_CLEAN: u16 = 0x1;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEVICE: u32 = 0x8;
const INCOMPAT_64BIT: u32 = 0x80;

/// What ext3 knew: filetype, recover, meta_bg; sparse_super, large_file, btree_dir. More makes it ext4.
const EXT3_INCOMPAT: u32 = 0x2 | INCOMPAT_RECOVER | 0x10;
const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;

/// Blocks of 1 KiB to 64 KiB.
const BLOCK_SHIFT_MAX: u32 = 6;

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let block = reader.take(OFFSET, LENGTH)?;
    if block.le16(0x38)? != MAGIC {
        return None;
    }
    let shift = block.le32(0x18).filter(|&shift| shift <= BLOCK_SHIFT_MAX)?;
    let [compat, incompat, ro_compat] = [block.le32(0x5c)?, block.le32(0x60)?, block.le32(0x64)?];
    let high = if incompat & INCOMPAT_64BIT != 0 { block.le32(0x150)? } else { 0 };
    let blocks = (u64::from(high) << 32) | u64::from(block.le32(0x4)?);
    let clean = incompat & INCOMPAT_RECOVER == 0 && block.le16(0x3a)? & STATE_CLEAN != 0;
    let holds_files = incompat & INCOMPAT_JOURNAL_DEVICE == 0;
    let room = holds_files.then(|| ext_room::look(reader, &block, shift)).flatten().unwrap_or_default();
    Some(FileSystem {
        kind: kind(compat, incompat, ro_compat).to_owned(),
        label: block.text(0x78, 16),
        uuid: block.uuid(0x68),
        size_bytes: blocks.checked_mul(1024 << shift),
        clean: Some(clean),
        free_bytes: room.free_bytes,
        inodes: room.inodes,
        free_inodes: room.free_inodes,
    })
}

fn kind(compat: u32, incompat: u32, ro_compat: u32) -> &'static str {
    if incompat & INCOMPAT_JOURNAL_DEVICE != 0 {
        "jbd"
    } else if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
        "ext4"
    } else if compat & COMPAT_HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    fn block(state: u16, compat: u32, incompat: u32) -> Memory {
        let mut block = vec![0u8; LENGTH];
        block[0x4..0x8].copy_from_slice(&100u32.to_le_bytes());
        block[0x18..0x1c].copy_from_slice(&2u32.to_le_bytes());
        block[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        block[0x3a..0x3c].copy_from_slice(&state.to_le_bytes());
        block[0x5c..0x60].copy_from_slice(&compat.to_le_bytes());
        block[0x60..0x64].copy_from_slice(&incompat.to_le_bytes());
        block[0x68..0x78].fill(0xab);
        block[0x78..0x7c].copy_from_slice(b"root");
        let mut disk = Memory::sized(1 << 20);
        disk.put(OFFSET, &block);
        disk
    }

    fn decoded(disk: &Memory) -> FileSystem {
        decode(&Reader::new(disk, disk.size_bytes())).unwrap()
    }

    #[test]
    fn the_generations_are_told_by_their_features() {
        let root = decoded(&block(STATE_CLEAN, COMPAT_HAS_JOURNAL, 0x2 | 0x40));
        assert_eq!(root.kind, "ext4");
        assert_eq!(root.label.as_deref(), Some("root"));
        assert_eq!(root.uuid.as_deref(), Some("abababab-abab-abab-abab-abababababab"));
        assert_eq!(root.size_bytes, Some(409_600));
        assert_eq!(decoded(&block(STATE_CLEAN, COMPAT_HAS_JOURNAL, 0x2)).kind, "ext3");
        assert_eq!(decoded(&block(STATE_CLEAN, 0, 0x2)).kind, "ext2");
        assert_eq!(decoded(&block(STATE_CLEAN, 0, INCOMPAT_JOURNAL_DEVICE)).kind, "jbd");
    }

    #[test]
    fn it_is_clean_only_without_recovery_and_with_a_valid_state() {
        assert_eq!(decoded(&block(STATE_CLEAN, 4, 0x2)).clean, Some(true));
        assert_eq!(decoded(&block(STATE_CLEAN, 4, 0x2 | INCOMPAT_RECOVER)).clean, Some(false));
        assert_eq!(decoded(&block(0, 4, 0x2)).clean, Some(false));
    }
}
