//! The repository's files, to be read and never written. A link is not followed and a pipe is not
//! waited for: what stands here was perhaps made by somebody who wants other files to be read.

use std::fs::{self, File as StdFile, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cairn_core::io::{File, FileIdentity, Files, Mode};

pub(crate) struct ReadOnlyFiles;

impl Files for ReadOnlyFiles {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>> {
        match mode {
            Mode::Read => Ok(Box::new(open(path)?)),
            Mode::CreateNew | Mode::Update => Err(ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    fn read(&self, path: &Path, len_max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        open(path)?.take(len_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > len_max { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn identity(&self, path: &Path) -> Result<FileIdentity> {
        File::identity(&open(path)?)
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        if !fs::symlink_metadata(directory)?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn rename(&self, _: &Path, _: &Path) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn unlink(&self, _: &Path) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn create_directory(&self, _: &Path) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_directory(&self, _: &Path) -> Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }
}

fn open(path: &Path) -> Result<StdFile> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        let is_link = error.raw_os_error() == Some(libc::ELOOP);
        if is_link {
            Error::new(ErrorKind::InvalidInput, "it is a link, and links are not followed")
        } else {
            error
        }
    })?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(Error::new(ErrorKind::InvalidInput, "it is no file"))
    }
}
