//! Keeping a file that is being read from being disposed of.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{File, Files, Lock, Mode};

/// How often the path is looked at anew where another file has taken the place of the one that was
/// opened, or somebody holds it for himself.
const TRIES: u32 = 10;
/// Between tries: whoever holds a file for himself does so for one look at it.
const PAUSE: Duration = Duration::from_millis(2);

/// An open file under a shared lock, which ends with the last clone. Whoever would dispose of the
/// file for good takes the lock for himself first, and cannot while this lives.
#[derive(Clone)]
pub struct Pin {
    file: Arc<dyn File>,
}

impl Pin {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &dyn File {
        &*self.file
    }
}

/// Opens the file at `path` and pins it: takes the lock, then checks that the path still is that
/// file, since it may have been moved or replaced just before. Needs no right to write. Where the
/// file system has no locks the file is open all the same, and nothing keeps it from being
/// disposed of but that descriptor.
///
/// # Errors
/// `NotFound` where it is gone; `WouldBlock` where somebody goes on holding it for himself; of the
/// file system.
pub(crate) fn pin(files: &dyn Files, path: &Path) -> Result<Pin> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        let file = files.open(path, Mode::Read)?;
        let locked = match file.try_flock(Lock::Shared) {
            Err(error) if error.kind() == ErrorKind::Unsupported => true,
            other => other?,
        };
        if file.identity()? == files.identity(path)? && locked {
            return Ok(Pin { file: file.into() });
        }
    }
    Err(Error::from(ErrorKind::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MemoryFiles;

    fn one_file() -> (MemoryFiles, &'static Path) {
        let (files, path) = (MemoryFiles::default(), Path::new("/r/f"));
        files.create_directory(Path::new("/r")).unwrap();
        files.open(path, Mode::CreateNew).unwrap().write_all_at(b"text", 0).unwrap();
        (files, path)
    }

    #[test]
    fn a_pin_lasts_until_its_last_clone_is_dropped() {
        let (files, path) = one_file();
        let (first, taker) = (pin(&files, path).unwrap(), files.open(path, Mode::Read).unwrap());
        let clone = first.clone();
        drop(first);
        assert!(!taker.try_flock(Lock::Exclusive).unwrap());
        assert_eq!(clone.file().len().unwrap(), 4);
        drop(clone);
        assert!(taker.try_flock(Lock::Exclusive).unwrap());
    }

    #[test]
    fn a_file_that_somebody_holds_for_himself_is_not_pinned() {
        let (files, path) = one_file();
        let taker = files.open(path, Mode::Read).unwrap();
        assert!(taker.try_flock(Lock::Exclusive).unwrap());
        assert_eq!(pin(&files, path).err().unwrap().kind(), ErrorKind::WouldBlock);
        drop(taker);
        assert!(pin(&files, path).is_ok());
        files.unlink(path).unwrap();
        assert_eq!(pin(&files, path).err().unwrap().kind(), ErrorKind::NotFound);
    }
}
