//! A GPT whose checksums are right, with any header fields and any entries, so that fuzzing gets past them.

use crate::disk::Disk;

const HEADER_BYTES: usize = 92;

pub fn run(bytes: &[u8]) {
    let Some((fields, entries)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return };
    let sector: u64 = if fields[0] & 1 == 0 { 512 } else { 4096 };
    let mut header = *fields;
    header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
    header[16..24].fill(0);
    header[24..32].copy_from_slice(&1u64.to_le_bytes());
    header[72..80].copy_from_slice(&2u64.to_le_bytes());
    let listed = entries.len() / 128;
    header[80..84].copy_from_slice(&(listed as u32).to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(&entries[..listed * 128]).to_le_bytes());
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    Disk::new(16 << 20).put(sector, &header).put(sector * 2, entries).survey();
}
