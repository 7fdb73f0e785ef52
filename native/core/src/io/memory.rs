//! Files in memory, for fuzz targets and for tests that look at every byte.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{File, FileIdentity, Files, Lock, Mode, ReadAt};

type Content = Arc<Inode>;

/// [`Files`] in memory. Clones share their content. Syncs succeed at once.
#[derive(Clone, Default)]
pub struct MemoryFiles {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default)]
struct Tree {
    files: BTreeMap<PathBuf, Content>,
    directories: BTreeSet<PathBuf>,
}

#[derive(Default)]
struct Inode {
    bytes: Mutex<Vec<u8>>,
    locks: Mutex<Locks>,
}

/// Who holds the file locked: any number that share it, or one alone.
#[derive(Default)]
struct Locks {
    shared: usize,
    exclusive: bool,
}

struct MemoryFile {
    inode: Content,
    held: Mutex<Option<Lock>>,
}

impl MemoryFile {
    fn release(locks: &mut Locks, held: Option<Lock>) {
        match held {
            Some(Lock::Shared) => locks.shared -= 1,
            Some(Lock::Exclusive) => locks.exclusive = false,
            None => {}
        }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        Self::release(&mut lock(&self.inode.locks), lock(&self.held).take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_index(offset: u64) -> Result<usize> {
    usize::try_from(offset).map_err(|_| Error::from(ErrorKind::FileTooLarge))
}

/// Where its content lies in memory, which it does until nobody has it open.
fn identity_of(inode: &Content) -> FileIdentity {
    FileIdentity { device: 0, inode: Arc::as_ptr(inode).addr() as u64 }
}

impl ReadAt for MemoryFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize> {
        let bytes = lock(&self.inode.bytes);
        let rest = bytes.get(to_index(offset)?..).unwrap_or(&[]);
        let len = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }
}

impl File for MemoryFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut content = lock(&self.inode.bytes);
        let start = to_index(offset)?;
        let end = start + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        if let Some(place) = content.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        lock(&self.inode.bytes).resize(to_index(len)?, 0);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(lock(&self.inode.bytes).len() as u64)
    }

    fn try_flock(&self, wanted: Lock) -> Result<bool> {
        let (mut locks, mut held) = (lock(&self.inode.locks), lock(&self.held));
        Self::release(&mut locks, held.take());
        let free = match wanted {
            Lock::Shared => !locks.exclusive,
            Lock::Exclusive => !locks.exclusive && locks.shared == 0,
        };
        if free {
            *held = Some(wanted);
            match wanted {
                Lock::Shared => locks.shared += 1,
                Lock::Exclusive => locks.exclusive = true,
            }
        }
        Ok(free)
    }

    fn identity(&self) -> Result<FileIdentity> {
        Ok(identity_of(&self.inode))
    }

    fn start_writeback(&self, _: u64, _: u64) {}
}

impl Files for MemoryFiles {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>> {
        let mut tree = lock(&self.tree);
        let found = tree.files.get(path).cloned();
        let inode = match (mode, found) {
            (Mode::CreateNew, Some(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (_, Some(inode)) => inode,
            (Mode::Read, None) => return Err(ErrorKind::NotFound.into()),
            (_, None) => {
                if !path.parent().is_some_and(|parent| tree.directories.contains(parent)) {
                    return Err(ErrorKind::NotFound.into());
                }
                Arc::clone(tree.files.entry(path.to_owned()).or_default())
            }
        };
        Ok(Box::new(MemoryFile { inode, held: Mutex::default() }))
    }

    fn read(&self, path: &Path, len_max: usize) -> Result<Vec<u8>> {
        let found = lock(&self.tree).files.get(path).cloned().ok_or(ErrorKind::NotFound)?;
        let bytes = lock(&found.bytes);
        if bytes.len() > len_max { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes.clone()) }
    }

    fn identity(&self, path: &Path) -> Result<FileIdentity> {
        let found = lock(&self.tree).files.get(path).cloned().ok_or(ErrorKind::NotFound)?;
        Ok(identity_of(&found))
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        let tree = lock(&self.tree);
        if !tree.directories.contains(directory) {
            return Err(ErrorKind::NotFound.into());
        }
        let paths = tree.files.keys().chain(&tree.directories);
        let inside = paths.filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut tree = lock(&self.tree);
        let bytes = tree.files.remove(from).ok_or(ErrorKind::NotFound)?;
        tree.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        lock(&self.tree).files.remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn create_directory(&self, path: &Path) -> Result<()> {
        if lock(&self.tree).directories.insert(path.to_owned()) {
            Ok(())
        } else {
            Err(ErrorKind::AlreadyExists.into())
        }
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        if lock(&self.tree).directories.contains(path) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One suite for every implementation of [`Files`].
    pub(crate) fn behaves(files: &dyn Files, root: &Path) {
        let directory = root.join("d");
        files.create_directory(&directory).unwrap();
        assert!(files.create_directory(&directory).is_err());
        let path = directory.join("f");
        assert_eq!(files.open(&path, Mode::Read).err().unwrap().kind(), ErrorKind::NotFound);
        let file = files.open(&path, Mode::CreateNew).unwrap();
        file.write_all_at(b"hello", 3).unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 8);
        file.set_len(9).unwrap();
        assert_eq!(files.read(&path, 9).unwrap(), b"\0\0\0hello\0");
        file.set_len(8).unwrap();
        assert_eq!(files.open(&path, Mode::CreateNew).err().unwrap().kind(), ErrorKind::AlreadyExists);
        let mut into = [9; 10];
        assert_eq!(files.open(&path, Mode::Read).unwrap().read_at(&mut into, 2).unwrap(), 6);
        assert_eq!(&into, b"\0hello\x09\x09\x09\x09");
        assert_eq!(files.read(&path, 8).unwrap(), b"\0\0\0hello");
        assert_eq!(files.read(&path, 7).err().unwrap().kind(), ErrorKind::FileTooLarge);
        super::super::replace(files, &path, b"new").unwrap();
        assert_eq!(files.read(&path, 8).unwrap(), b"new");
        // Who has the old file open goes on with it.
        assert_eq!(file.len().unwrap(), 8);
        assert_eq!(files.list(&directory).unwrap(), ["f"]);
        assert_ne!(file.identity().unwrap(), files.identity(&path).unwrap());
        let (one, other) = (files.open(&path, Mode::Read).unwrap(), files.open(&path, Mode::Read).unwrap());
        assert_eq!(one.identity().unwrap(), files.identity(&path).unwrap());
        assert!(one.try_flock(Lock::Shared).unwrap() && other.try_flock(Lock::Shared).unwrap());
        assert!(!files.open(&path, Mode::Read).unwrap().try_flock(Lock::Exclusive).unwrap());
        drop(one);
        assert!(other.try_flock(Lock::Exclusive).unwrap(), "only its own is left");
        assert!(!files.open(&path, Mode::Read).unwrap().try_flock(Lock::Shared).unwrap());
        drop(other);
        assert!(files.open(&path, Mode::Read).unwrap().try_flock(Lock::Exclusive).unwrap());
        files.unlink(&path).unwrap();
        assert_eq!(files.identity(&path).err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(files.unlink(&path).err().unwrap().kind(), ErrorKind::NotFound);
        assert!(files.list(&directory).unwrap().is_empty());
    }

    #[test]
    fn memory_behaves_as_files_do() {
        let files = MemoryFiles::default();
        files.create_directory(Path::new("/r")).unwrap();
        behaves(&files, Path::new("/r"));
    }

    #[test]
    fn files_of_the_system_behave_so() {
        let directory = tempfile::tempdir().unwrap();
        behaves(&super::super::OsFiles, directory.path());
    }
}
