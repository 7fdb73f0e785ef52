//! The operating system's files.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::{File, Files, Mode, ReadAt};

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

    fn sync(&self) -> Result<()> {
        self.sync_data()
    }

    fn len(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn start_writeback(&self, offset: u64, len: u64) {
        let _ = sync_file_range_write(self.as_fd(), offset, len);
    }
}

impl Files for OsFiles {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            Mode::Read => {}
            Mode::CreateNew => {
                options.write(true).create_new(true);
            }
            Mode::Update => {
                options.write(true).create(true).truncate(false);
            }
        }
        Ok(Box::new(options.open(path)?))
    }

    fn read(&self, path: &Path, len_max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(len_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > len_max {
            return Err(Error::from(ErrorKind::FileTooLarge));
        }
        Ok(bytes)
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

fn sync_file_range_write(file: std::os::fd::BorrowedFd<'_>, offset: u64, len: u64) -> Result<()> {
    use std::os::fd::AsRawFd;
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
        return Ok(());
    };
    // SAFETY: the call takes a borrowed, open descriptor and plain numbers; it touches no memory of ours.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
