//! Where a restore writes. Whether it may is decided before, by the control plane's guard; what is
//! checked again here is what could have changed since: O_EXCL, size, existence.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, seek};

use crate::error::{AtPath, Error, Result};
use crate::image::ByteExtent;
use crate::source::ALIGNMENT;

use super::Restored;

/// See the module.
pub struct Target {
    kind: Kind,
    path: PathBuf,
}

enum Kind {
    /// `is_new`: made here, to be removed after a failure.
    File {
        file: File,
        is_new: bool,
    },
    /// `direct` takes what is aligned, `file` the rest.
    Device {
        file: File,
        direct: Option<File>,
    },
    Stream(File),
}

impl Target {
    /// A regular file, made with mode 0600; one that is there is emptied when `overwrite` says so.
    ///
    /// # Errors
    /// `Target`, among it for a file that exists.
    pub fn file(path: &Path, overwrite: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        let (file, is_new) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && overwrite => {
                (options.open(path), false)
            }
            made => (made, true),
        };
        let file = file.map_err(|source| failed(path, 0, source))?;
        Ok(Self { kind: Kind::File { file, is_new }, path: path.to_owned() })
    }

    /// A block device that nobody else holds.
    ///
    /// # Errors
    /// `Target`, with EBUSY where it is in use.
    pub fn device(path: &Path) -> Result<Self> {
        let open = |flags: OFlags| {
            let flags = i32::try_from((OFlags::EXCL | flags).bits()).unwrap_or(0);
            OpenOptions::new().write(true).custom_flags(flags).open(path)
        };
        let file = open(OFlags::empty()).map_err(|source| failed(path, 0, source))?;
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0))
            .open(path)
            .ok();
        Ok(Self { kind: Kind::Device { file, direct }, path: path.to_owned() })
    }

    /// A pipe or whatever else takes bytes in order.
    #[must_use]
    pub fn stream(fd: OwnedFd) -> Self {
        Self { kind: Kind::Stream(fd.into()), path: PathBuf::from("the output") }
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// Gives the target its size, or checks it.
    pub(super) fn prepare(&mut self, size_bytes: u64) -> Result<()> {
        match &self.kind {
            Kind::Stream(_) => Ok(()),
            Kind::File { file, .. } => {
                let sized = file.set_len(0).and_then(|()| file.set_len(size_bytes));
                sized.map_err(|source| failed(&self.path, 0, source)).inspect_err(|_| self.discard())
            }
            Kind::Device { file, .. } => {
                let found =
                    seek(file, SeekFrom::End(0)).map_err(std::io::Error::from).at("sizing", &self.path)?;
                if found < size_bytes {
                    return Err(Error::TargetTooSmall { path: self.path.clone(), found, needed: size_bytes });
                }
                Ok(())
            }
        }
    }

    /// Writes bytes; a stream takes them in order and ignores the offset.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = match &self.kind {
            Kind::Stream(file) => write_stream(file, bytes),
            Kind::File { file, .. } => file.write_all_at(bytes, offset),
            Kind::Device { file, direct } => match direct {
                Some(direct) if is_aligned(bytes, offset) => match direct.write_all_at(bytes, offset) {
                    Err(error) if error.kind() == ErrorKind::InvalidInput => file.write_all_at(bytes, offset),
                    other => other,
                },
                _ => file.write_all_at(bytes, offset),
            },
        };
        written.map_err(|source| failed(&self.path, offset, source))
    }

    /// Makes a range zeros. A file is new or was emptied, so it has them already.
    pub(super) fn zero(&self, extent: ByteExtent, restored: &mut Restored) -> Result<()> {
        let Kind::Device { file, .. } = &self.kind else {
            restored.skipped_bytes += extent.len;
            return Ok(());
        };
        // Devices zero whole sectors only; the image may end within one.
        let tail = extent.len % ALIGNMENT as u64;
        let extent = ByteExtent { len: extent.len - tail, ..extent };
        restored.written_bytes += tail;
        self.write_zeros(ByteExtent { offset: extent.offset + extent.len, len: tail, ..extent })?;
        if extent.len == 0 {
            return Ok(());
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(file, punch, extent.offset, extent.len).is_ok() {
            restored.discarded_bytes += extent.len;
            return Ok(());
        }
        restored.written_bytes += extent.len;
        if fallocate(file, FallocateFlags::ZERO_RANGE, extent.offset, extent.len).is_ok() {
            return Ok(());
        }
        self.write_zeros(extent)
    }

    /// Waits until everything is on stable storage, the name of a new file included.
    pub(super) fn sync(&self) -> Result<()> {
        match &self.kind {
            // Pipes cannot be synced, and files behind a redirection are the caller's.
            Kind::Stream(_) => Ok(()),
            Kind::Device { file, .. } => file.sync_all().at("syncing", &self.path),
            Kind::File { file, .. } => {
                file.sync_all().at("syncing", &self.path)?;
                let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                File::open(parent).and_then(|parent| parent.sync_all()).at("syncing", parent)
            }
        }
    }

    /// Removes a file that was made here.
    pub(super) fn discard(&self) {
        if let Kind::File { is_new: true, .. } = self.kind {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn write_zeros(&self, extent: ByteExtent) -> Result<()> {
        let zeros = vec![0; usize::try_from(extent.len).unwrap_or(usize::MAX).min(1 << 20)];
        let mut done = 0;
        while done < extent.len {
            let len = usize::try_from(extent.len - done).unwrap_or(usize::MAX).min(zeros.len());
            self.write(zeros.get(..len).unwrap_or(&[]), extent.offset + done)?;
            done += len as u64;
        }
        Ok(())
    }
}

/// Writes all of `bytes`, also to a pipe that whoever made it has set not to block.
fn write_stream(mut file: &File, bytes: &[u8]) -> std::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // A failed poll shows again, and better, in the write that follows.
                let _ = poll(&mut [PollFd::new(&file, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    let aligned = |number: usize| number.is_multiple_of(ALIGNMENT);
    aligned(bytes.as_ptr().addr()) && aligned(bytes.len()) && offset.is_multiple_of(ALIGNMENT as u64)
}

fn failed(path: &Path, offset: u64, source: std::io::Error) -> Error {
    Error::Target { path: path.to_owned(), offset, source }
}
