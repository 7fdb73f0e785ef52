//! Any bytes as a disk.
#![no_main]

mod disk;

use disk::Disk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    Disk::new(bytes.len() as u64).put(0, bytes).survey();
});
