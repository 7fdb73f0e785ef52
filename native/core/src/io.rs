//! Reading and writing, behind traits so that tests can put memory or faults in the place of files.
//!
//! [`Files`] is the only way in which the store touches a file system. It is not meant for sources
//! and targets, which are devices and streams of other people ([`crate::source`], [`crate::target`]).

mod memory;
mod os;
mod pin;
mod simulated;

use std::io::Result;
use std::path::Path;

pub use memory::MemoryFiles;
pub use os::OsFiles;
pub use pin::Pin;
pub(crate) use pin::pin;
pub use simulated::{Call, Fault, SimulatedFiles};

/// Positioned reads from anything that has bytes at offsets: a file, a device, an image.
pub trait ReadAt {
    /// Fills `into` from `offset` (bytes) as far as there are bytes; returns how many were copied,
    /// short only at the end.
    ///
    /// # Errors
    /// Whatever the medium says; nothing of `into` is then defined.
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It must exist; only reads.
    Read,
    /// It must not exist; mode 0600.
    CreateNew,
    /// It is made when missing; reads and writes; mode 0600.
    Update,
}

/// Who else may lock a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Others that share it, too.
    Shared,
    /// Nobody.
    Exclusive,
}

/// Tells files of one file system apart, as long as one of them is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// An open file of the store.
pub trait File: ReadAt + Send + Sync {
    /// Writes all of `bytes` at `offset`; partial writes and EINTR are looped over.
    ///
    /// # Errors
    /// Of the file system; an unknown part may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Cuts the file to `len` bytes, or makes it so long with zeros.
    ///
    /// # Errors
    /// Of the file system.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Waits until all that was written is on stable storage (fdatasync(2)). After an error nothing
    /// is known of the data any more, even when a later call succeeds, so callers poison themselves.
    ///
    /// # Errors
    /// Of the file system or the medium.
    fn sync(&self) -> Result<()>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// Of the file system.
    fn len(&self) -> Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Of the file system.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Takes a lock on the file (flock(2)) without waiting; it goes with the open file. False where
    /// somebody else's lock is in the way.
    ///
    /// # Errors
    /// Of the file system, `Unsupported` where it has no locks.
    fn try_flock(&self, lock: Lock) -> Result<bool>;

    /// Which file it is, whatever it is called by now.
    ///
    /// # Errors
    /// Of the file system.
    fn identity(&self) -> Result<FileIdentity>;

    /// Asks for write-back of a range to begin, so that a later [`File::sync`] has less to wait
    /// for. A hint: it promises nothing and cannot fail.
    fn start_writeback(&self, offset: u64, len: u64);

    /// Asks that what is cached of the file be dropped, so that later reads come from the medium
    /// (posix_fadvise(2), DONTNEED). A hint, as far as nobody else uses those pages.
    fn forget_cached(&self) {}
}

/// A file system as the store sees it.
pub trait Files: Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// Of the file system.
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>>;

    /// Reads a whole small file.
    ///
    /// # Errors
    /// Of the file system, or `FileTooLarge` beyond `len_max` bytes.
    fn read(&self, path: &Path, len_max: usize) -> Result<Vec<u8>>;

    /// Which file stands at a path, links followed.
    ///
    /// # Errors
    /// Of the file system.
    fn identity(&self, path: &Path) -> Result<FileIdentity>;

    /// Names in a directory, in no order; names that are no UTF-8 are left out, since the store
    /// makes none.
    ///
    /// # Errors
    /// Of the file system.
    fn list(&self, directory: &Path) -> Result<Vec<String>>;

    /// Renames a file over another, atomically (rename(2)); durable after [`Files::sync_directory`].
    ///
    /// # Errors
    /// Of the file system.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Of the file system.
    fn unlink(&self, path: &Path) -> Result<()>;

    /// Makes one directory, mode 0700.
    ///
    /// # Errors
    /// Of the file system.
    fn create_directory(&self, path: &Path) -> Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Of the file system.
    fn sync_directory(&self, path: &Path) -> Result<()>;
}

/// Writes a small file so that after a crash it is either whole or as it was before: temporary
/// name, fsync, rename, fsync of the directory.
///
/// # Errors
/// Of the file system; a temporary file that could be removed is.
pub fn replace(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<()> {
    stage(files, path, bytes)?.publish(files)?;
    path.parent().map_or(Ok(()), |directory| files.sync_directory(directory))
}

/// A small file that is durable under a temporary name.
pub struct Staged {
    temporary: std::path::PathBuf,
    path: std::path::PathBuf,
}

impl Staged {
    /// Renames it into place. Durable only once its directory was synced.
    ///
    /// # Errors
    /// Of the file system; the temporary file is then removed where possible.
    pub fn publish(self, files: &dyn Files) -> Result<()> {
        files.rename(&self.temporary, &self.path).inspect_err(|_| self.discard(files))
    }

    /// Removes the temporary file; what cannot be removed is swept by the next backup.
    pub fn discard(&self, files: &dyn Files) {
        let _ = files.unlink(&self.temporary);
    }
}

/// The ending of files that are not in place yet. Whoever holds the disk's lock may remove them.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// First half of [`replace`]: writes and syncs the temporary file.
///
/// # Errors
/// Of the file system; the temporary file is then removed where possible.
pub fn stage(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<Staged> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY_SUFFIX);
    let staged = Staged { temporary: temporary.into(), path: path.to_owned() };
    match files.unlink(&staged.temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = files.open(&staged.temporary, Mode::CreateNew).and_then(|file| {
        file.write_all_at(bytes, 0)?;
        file.sync()
    });
    written.inspect_err(|_| staged.discard(files))?;
    Ok(staged)
}
