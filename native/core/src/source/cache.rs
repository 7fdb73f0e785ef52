//! Reading files without leaving a trace in the page cache.
//!
//! RWF_DONTCACHE (Linux 6.14) drops exactly the pages that the read brought in. Before that, pages
//! that were resident are found by mincore(2), and a range is dropped after reading when none of it
//! was there. A range that was partly there stays as it then is.

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
                    self.is_unknown_here.store(true, Ordering::Relaxed);
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
    let map_len = (len + PAGE_LEN).next_multiple_of(PAGE_LEN);
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
