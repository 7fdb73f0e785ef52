//! Sources on the file systems that this machine has.

use std::os::unix::fs::FileExt;

use super::*;

/// As on squashfs or iso9660, whose files have no fsync.
#[test]
fn a_file_that_cannot_be_synced_can_be_read() {
    assert!(std::fs::File::open("/proc/self/status").unwrap().sync_all().is_err());
    PathSource::open(Path::new("/proc/self/status")).unwrap();
}

/// A page that is dirty already takes writes through a mapping without moving any time.
#[test]
fn a_write_through_a_mapping_to_a_dirty_page_is_seen() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all_at(&[1; 8192], 0).unwrap();
    let source = PathSource::open(file.path()).unwrap();
    // SAFETY: a shared mapping of two pages of a file that has them, unmapped at the end; it is
    // written through within its bounds and nothing else refers to it.
    unsafe {
        use std::os::fd::AsRawFd;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = file.as_file().as_raw_fd();
        let address = libc::mmap(std::ptr::null_mut(), 8192, protection, libc::MAP_SHARED, fd, 0);
        assert_ne!(address, libc::MAP_FAILED);
        address.cast::<u8>().write_volatile(2);
        let witness = source.witness();
        address.cast::<u8>().add(1).write_volatile(3);
        assert!(!witness.nothing_wrote(&source));
        libc::munmap(address, 8192);
    }
}
