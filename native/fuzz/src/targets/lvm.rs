//! LVM2 metadata: any text on a physical volume whose label, metadata header and checksums are right.

use crate::disk::Disk;

const ID: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
const AREA_OFFSET: u64 = 4096;
const AREA_BYTES: u64 = 1 << 20;

pub fn run(text: &[u8]) {
    if text.len() as u64 <= AREA_BYTES - 512 {
        Disk::new(8 << 20)
            .put(512, &label())
            .put(AREA_OFFSET, &header(text))
            .put(AREA_OFFSET + 512, text)
            .survey();
    }
}

fn label() -> [u8; 512] {
    let mut label = [0u8; 512];
    label[..9].copy_from_slice(b"LABELONE\x01");
    label[20] = 32;
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(ID);
    label[72..80].copy_from_slice(&(1u64 << 20).to_le_bytes());
    label[104..112].copy_from_slice(&AREA_OFFSET.to_le_bytes());
    label[112..120].copy_from_slice(&AREA_BYTES.to_le_bytes());
    let crc = checksum(&label[20..]);
    label[16..20].copy_from_slice(&crc.to_le_bytes());
    label
}

fn header(text: &[u8]) -> [u8; 512] {
    let mut header = [0u8; 512];
    header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    header[20] = 1;
    header[24..32].copy_from_slice(&AREA_OFFSET.to_le_bytes());
    header[32..40].copy_from_slice(&AREA_BYTES.to_le_bytes());
    header[40..48].copy_from_slice(&512u64.to_le_bytes());
    header[48..56].copy_from_slice(&(text.len() as u64).to_le_bytes());
    header[56..60].copy_from_slice(&checksum(text).to_le_bytes());
    let crc = checksum(&header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    header
}

/// CRC-32 as LVM starts and ends it.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!0xf597_a6cf);
    hasher.update(bytes);
    !hasher.finalize()
}
