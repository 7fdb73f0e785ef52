//! Where a disk's bytes come from: a file, a block device or an export of an NBD server that is read at
//! offsets, or a stream.
//!
//! - Block devices are read with O_DIRECT: buffered reads of a mounted device can be stale.
//! - Regular files are synced before their holes are believed, and read without leaving pages
//!   behind that were not in the cache before.
//! - A source that changes while it is read is not an error, but it is told: see [`Witness`].

mod block;
mod cache;
pub mod nbd;
pub mod rbd_diff;
mod witness;

use std::io::{ErrorKind, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, SeekFrom, fadvise, seek};

use crate::error::{AtPath, Error, Result};

pub use block::BlockSource;
pub use cache::CacheGuard;
pub use witness::Witness;

/// Buffers for reads begin at multiples of this, which suits O_DIRECT on every known device.
pub const ALIGNMENT: usize = 4096;

/// A buffer that O_DIRECT takes.
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zero bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, len }
    }

    /// All of it.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.len).unwrap_or(&mut [])
    }

    /// All of it.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.len).unwrap_or(&[])
    }
}

/// What a source holds from some offset on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// The next bytes that may be other than zero.
    Data(Range<u64>),
    /// Nothing but a hole up to the end.
    Hole,
    /// It cannot tell: a block device, or a file system without SEEK_DATA.
    Unknown,
}

/// A file or block device. Reads may run at the same time.
pub struct PathSource {
    path: PathBuf,
    file: std::fs::File,
    size_bytes: u64,
    is_device: bool,
    direct: bool,
    notes: Vec<String>,
}

impl PathSource {
    /// Opens a source and finds its size. Regular files are synced.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for what is neither file nor block device; `Io`.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).at("opening", path)?;
        let is_device = metadata.file_type().is_block_device();
        if !is_device && !metadata.is_file() {
            return Err(Error::InvalidArgument(format!(
                "{} is neither a file nor a block device",
                path.display()
            )));
        }
        let open = |flags: OFlags| {
            let flags = i32::try_from(flags.bits()).unwrap_or(0);
            std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
        };
        let mut notes = Vec::new();
        let direct = if is_device { open(OFlags::DIRECT).ok().filter(direct_works) } else { None };
        let is_direct = direct.is_some();
        let file = match direct {
            Some(file) => file,
            None => open(OFlags::empty()).at("opening", path)?,
        };
        if is_device && !is_direct {
            notes.push(
                "the device does not take O_DIRECT, so it was read through the page cache, after dropping it"
                    .to_owned(),
            );
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
        let size_bytes = if is_device {
            seek(&file, SeekFrom::End(0)).map_err(std::io::Error::from).at("sizing", path)?
        } else {
            sync(&file).at("syncing", path)?;
            metadata_len(&file).at("sizing", path)?
        };
        Ok(Self { path: path.to_owned(), file, size_bytes, is_device, direct: is_direct, notes })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes, as they were when it was opened.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether reads go past the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Sentences about how it is read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Begins to watch for writers.
    #[must_use]
    pub fn witness(&self) -> Witness {
        Witness::begin(&self.file, self.is_device)
    }

    /// Fills `into` from `offset`, both multiples of the block size but for the end.
    ///
    /// # Errors
    /// `SourceShort` when the source has shrunk; `Source` with the offset otherwise.
    pub fn read(&self, into: &mut [u8], offset: u64, cache: &CacheGuard) -> Result<()> {
        let failed = |source| Error::Source { path: self.path.clone(), offset, source };
        let wanted = into.len();
        let done = if self.is_device {
            crate::io::ReadAt::read_at(&self.file, into, offset).map_err(failed)?
        } else {
            cache.read(&self.file, into, offset).map_err(failed)?
        };
        if done == wanted {
            return Ok(());
        }
        Err(Error::SourceShort {
            path: self.path.clone(),
            expected: self.size_bytes,
            found: offset + done as u64,
        })
    }

    /// What comes at or after `offset` (lseek(2), SEEK_DATA and SEEK_HOLE).
    #[must_use]
    pub fn data_after(&self, offset: u64) -> Ahead {
        if self.is_device {
            return Ahead::Unknown;
        }
        let start = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) if start < self.size_bytes => start.max(offset),
            Ok(_) | Err(rustix::io::Errno::NXIO) => return Ahead::Hole,
            Err(_) => return Ahead::Unknown,
        };
        match seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) if end > start => Ahead::Data(start..end.min(self.size_bytes)),
            _ => Ahead::Unknown,
        }
    }

    /// Looks at the size again; true when it has grown. To be asked after reading, since a hole at
    /// the end and a cut look alike to SEEK_DATA.
    ///
    /// # Errors
    /// `SourceShort` when it has shrunk; `Io`.
    pub fn has_grown(&self) -> Result<bool> {
        let found = if self.is_device {
            seek(&self.file, SeekFrom::End(0)).map_err(std::io::Error::from)
        } else {
            metadata_len(&self.file)
        };
        let found = found.at("sizing", &self.path)?;
        if found < self.size_bytes {
            return Err(Error::SourceShort { path: self.path.clone(), expected: self.size_bytes, found });
        }
        Ok(found > self.size_bytes)
    }
}

/// The bytes of the source for [`crate::probe`], without any block map.
impl crate::io::ReadAt for PathSource {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let Some(left) = self.size_bytes.checked_sub(offset) else { return Ok(0) };
        let len = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let first = offset / ALIGNMENT as u64 * ALIGNMENT as u64;
        let skip = usize::try_from(offset - first).unwrap_or(0);
        let mut buffer = AlignedBuffer::new((skip + len).next_multiple_of(ALIGNMENT));
        let done = crate::io::ReadAt::read_at(&self.file, buffer.as_mut_slice(), first)?;
        let found = buffer.as_slice().get(skip..done.min(skip + len)).unwrap_or(&[]);
        for (to, from) in into.iter_mut().zip(found) {
            *to = *from;
        }
        Ok(found.len())
    }
}

/// A stream that is read once, in order.
pub struct StreamSource {
    file: std::fs::File,
    path: PathBuf,
    announced_bytes: Option<u64>,
    done_bytes: u64,
}

impl StreamSource {
    /// Reads from a descriptor; with `announced_bytes`, exactly that many bytes must come.
    #[must_use]
    pub fn new(fd: OwnedFd, announced_bytes: Option<u64>) -> Self {
        // A wider pipe means fewer switches between the writer and us; it is no matter if it stays.
        let _ = rustix::pipe::fcntl_setpipe_size(fd.as_fd(), 1024 * 1024);
        Self { file: fd.into(), path: PathBuf::from("the stream"), announced_bytes, done_bytes: 0 }
    }

    /// Bytes that were announced.
    #[must_use]
    pub fn announced_bytes(&self) -> Option<u64> {
        self.announced_bytes
    }

    /// Fills `into` as far as the stream goes; fewer bytes mean its end. `check` is asked before each
    /// read, and about every tenth of a second while nothing comes.
    ///
    /// # Errors
    /// `Source`; what `check` gives; `SourceShort` and `SourceLong` against what was announced.
    pub fn read(&mut self, into: &mut [u8], check: &dyn Fn() -> Result<()>) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            self.wait(check)?;
            match std::io::Read::read_vectored(&mut self.file, &mut [IoSliceMut::new(rest)]) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(source) => {
                    return Err(Error::Source { path: self.path.clone(), offset: self.done_bytes, source });
                }
            }
        }
        self.done_bytes += done as u64;
        match self.announced_bytes {
            // A pipeline whose first command failed gives nothing and exits 0 all the same.
            None if self.done_bytes == 0 => Err(Error::SourceEmpty { path: self.path.clone() }),
            Some(expected) if self.done_bytes > expected => {
                Err(Error::SourceLong { path: self.path.clone(), expected })
            }
            Some(expected) if done < into.len() && self.done_bytes < expected => {
                Err(Error::SourceShort { path: self.path.clone(), expected, found: self.done_bytes })
            }
            _ => Ok(done),
        }
    }

    /// Returns when there is something to read, also on a descriptor that does not block.
    fn wait(&self, check: &dyn Fn() -> Result<()>) -> Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        loop {
            check()?;
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // An error shows again, and better, in the read that follows.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }
}

fn metadata_len(file: &std::fs::File) -> std::io::Result<u64> {
    Ok(file.metadata()?.size())
}

/// Syncs a file for the sake of its holes. EINVAL and EROFS come from file systems on which nothing
/// is ever written.
fn sync(file: &std::fs::File) -> std::io::Result<()> {
    match file.sync_data() {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EROFS)) => Ok(()),
        other => other,
    }
}

fn direct_works(file: &std::fs::File) -> bool {
    let mut buffer = AlignedBuffer::new(ALIGNMENT);
    crate::io::ReadAt::read_at(file, buffer.as_mut_slice(), 0).is_ok()
}

#[cfg(test)]
mod tests;
