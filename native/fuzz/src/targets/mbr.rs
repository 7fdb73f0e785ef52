//! Boot records, each with the boot signature, in the first sectors of a disk.

use crate::disk::Disk;

const ENTRIES_BYTES: usize = 64;

pub fn run(bytes: &[u8]) {
    let mut disk = Disk::new(8 << 20);
    for (number, entries) in bytes.chunks_exact(ENTRIES_BYTES).take(64).enumerate() {
        let mut sector = [0u8; 512];
        sector[446..510].copy_from_slice(entries);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        if number == 0 {
            for slot in 0..4 {
                sector[446 + slot * 16] &= 0x80;
            }
        }
        disk = disk.put(number as u64 * 512, &sector);
    }
    disk.survey();
}
