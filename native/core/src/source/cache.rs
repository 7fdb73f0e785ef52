//! Reading files without leaving a trace in the page cache.
//!
//! RWF_DONTCACHE (Linux 6.14) drops exactly the pages that the read brought in. Before that, pages
//! that were resident are found by mincore(2), and a range is dropped after reading when none of it
//! was there. A range that was partly there stays as it then is. Readahead is turned off then, since
//! what it brings in for the next range would look as if it had been there.

use std::io::{IoSliceMut, Result};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// From linux/fs.h; not yet named by the libraries.
const RWF_DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Remembers whether the kernel and file system know RWF_DONTCACHE.
#[derive(Default)]
pub struct CacheGuard {
    is_unknown_here: AtomicBool,
}

impl CacheGuard {
    /// Fills `into` from `offset` as far as the file goes.
    ///
    /// # Errors
    /// Of the file system.
    pub fn read(&self, file: &std::fs::File, into: &mut [u8], offset: u64) -> Result<usize> {
        if !self.is_unknown_here.load(Ordering::Relaxed) {
            match read_uncached(file, into, offset) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.fall_back(file);
                }
                other => return Ok(other?),
            }
        }
        let was_resident = is_resident(file, offset, into.len());
        let done = crate::io::ReadAt::read_at(file, into, offset)?;
        if !was_resident {
            let _ = fadvise(file, offset, std::num::NonZeroU64::new(done as u64), Advice::DontNeed);
        }
        Ok(done)
    }

    fn fall_back(&self, file: &std::fs::File) {
        let _ = fadvise(file, 0, None, Advice::Random);
        self.is_unknown_here.store(true, Ordering::Relaxed);
    }
}

fn read_uncached(file: &std::fs::File, into: &mut [u8], offset: u64) -> std::result::Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match preadv2(file, &mut [IoSliceMut::new(rest)], offset + done as u64, RWF_DONTCACHE) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Whether any page of the range is in the cache; true where that cannot be told.
fn is_resident(file: &std::fs::File, offset: u64, len: usize) -> bool {
    const PAGE_LEN: usize = 4096;
    let Ok(map_offset) = i64::try_from(offset / PAGE_LEN as u64 * PAGE_LEN as u64) else { return true };
    if len == 0 {
        return true;
    }
    let skipped = usize::try_from(offset % PAGE_LEN as u64).unwrap_or(0);
    let map_len = (skipped + len).next_multiple_of(PAGE_LEN);
    let mut pages = vec![0u8; map_len / PAGE_LEN];
    // SAFETY: a fresh private mapping of a descriptor that outlives it, which is never read or
    // written through and unmapped before returning; `pages` has a byte for each page of it.
    let asked = unsafe {
        let address = libc::mmap(
            std::ptr::null_mut(),
            map_len,
            libc::PROT_NONE,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            map_offset,
        );
        if address == libc::MAP_FAILED {
            return true;
        }
        let asked = libc::mincore(address, map_len, pages.as_mut_ptr().cast());
        libc::munmap(address, map_len);
        asked
    };
    asked != 0 || pages.iter().any(|page| page & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const PIECE_LEN: usize = 64 * 1024;
    const FILE_LEN: usize = 64 * PIECE_LEN + 100;

    /// A clean file with nothing in the cache but `resident` bytes at its start; `None` on file
    /// systems that keep their files in the cache alone.
    fn file_out_of_cache(resident: usize) -> Option<std::fs::File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; FILE_LEN]).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        if is_resident(&file, 0, FILE_LEN) {
            return None;
        }
        let mut into = vec![0; resident];
        fadvise(&file, 0, None, Advice::Random).unwrap();
        crate::io::ReadAt::read_at(&file, &mut into, 0).unwrap();
        fadvise(&file, 0, None, Advice::Normal).unwrap();
        Some(file)
    }

    fn read_all(file: &std::fs::File, guard: &CacheGuard) {
        let mut into = vec![0; PIECE_LEN];
        for offset in (0..FILE_LEN).step_by(PIECE_LEN) {
            let done = guard.read(file, &mut into, offset as u64).unwrap();
            assert_eq!(done, PIECE_LEN.min(FILE_LEN - offset));
            assert!(into[..done].iter().all(|&byte| byte == 7));
        }
    }

    fn without_dontcache(file: &std::fs::File) -> CacheGuard {
        let guard = CacheGuard::default();
        guard.fall_back(file);
        guard
    }

    #[test]
    fn reading_without_rwf_dontcache_leaves_the_cache_as_it_was() {
        let Some(file) = file_out_of_cache(2 * PIECE_LEN) else { return };
        read_all(&file, &without_dontcache(&file));
        assert!(is_resident(&file, 0, PIECE_LEN));
        assert!(!is_resident(&file, 2 * PIECE_LEN as u64, FILE_LEN - 2 * PIECE_LEN));
    }

    #[test]
    fn a_resident_page_beyond_a_range_does_not_count_for_it() {
        let Some(file) = file_out_of_cache(PIECE_LEN) else { return };
        assert!(is_resident(&file, 0, 1));
        assert!(!is_resident(&file, PIECE_LEN as u64, PIECE_LEN));
        crate::io::ReadAt::read_at(&file, &mut [0; 1], 3 * PIECE_LEN as u64).unwrap();
        assert!(!is_resident(&file, 2 * PIECE_LEN as u64, PIECE_LEN));
    }
}
