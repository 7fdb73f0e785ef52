//! The operating system's files.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{File, FileIdentity, Files, Lock, Mode, ReadAt};

/// [`Files`] by system calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

impl ReadAt for std::fs::File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl File for std::fs::File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        std::fs::File::set_len(self, len)
    }

    fn sync(&self) -> Result<()> {
        self.sync_data()
    }

    fn len(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn try_flock(&self, lock: Lock) -> Result<bool> {
        use rustix::fs::{FlockOperation, flock};
        use rustix::io::Errno;
        let operation = match lock {
            Lock::Shared => FlockOperation::NonBlockingLockShared,
            Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(self, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            // What file systems without locks answer, and network ones whose lock server is away.
            Err(error @ (Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS | Errno::INVAL)) => {
                Err(Error::new(ErrorKind::Unsupported, error))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn identity(&self) -> Result<FileIdentity> {
        Ok(identity_of(&self.metadata()?))
    }

    fn start_writeback(&self, offset: u64, len: u64) {
        let _ = sync_file_range_write(self.as_fd(), offset, len);
    }

    fn forget_cached(&self) {
        let _ = rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed);
    }
}

impl Files for OsFiles {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            Mode::Read => return Ok(Box::new(open_to_read(path)?)),
            Mode::CreateNew => options.write(true).create_new(true),
            // What is written in place is never somebody else's file behind a link, nor is a pipe in
            // its place waited for.
            Mode::Update => options
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn read(&self, path: &Path, len_max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        open_to_read(path)?.take(len_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > len_max {
            return Err(Error::from(ErrorKind::FileTooLarge));
        }
        Ok(bytes)
    }

    fn identity(&self, path: &Path) -> Result<FileIdentity> {
        Ok(identity_of(&std::fs::metadata(path)?))
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        std::fs::File::open(path)?.sync_all()
    }
}

fn identity_of(metadata: &std::fs::Metadata) -> FileIdentity {
    FileIdentity { device: metadata.dev(), inode: metadata.ino() }
}

/// Without waiting for a writer where a pipe stands in a file's place.
fn open_to_read(path: &Path) -> Result<std::fs::File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn sync_file_range_write(file: std::os::fd::BorrowedFd<'_>, offset: u64, len: u64) -> Result<()> {
    use std::os::fd::AsRawFd;
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
        return Ok(());
    };
    // SAFETY: the call takes a borrowed, open descriptor and plain numbers; it touches no memory of ours.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_an_empty_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.json");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(OsFiles.read(&path, 100).unwrap(), b"");
        assert!(OsFiles.open(&path, Mode::Read).unwrap().is_empty().unwrap());
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (outside, link) = (directory.path().join("outside"), directory.path().join("dedup"));
        std::fs::write(&outside, b"precious").unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        assert!(OsFiles.open(&link, Mode::Update).is_err());
        assert!(OsFiles.open(&link, Mode::CreateNew).is_err());
    }
}
