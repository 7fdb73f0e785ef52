//! Any bytes as a disk.

use crate::disk::Disk;

pub fn run(bytes: &[u8]) {
    Disk::new(bytes.len() as u64).put(0, bytes).survey();
}
