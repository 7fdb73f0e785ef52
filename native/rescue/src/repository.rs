//! A repository's directory: where it is, which disks and revisions it holds. Names in it are checked
//! before they are used, and one that cannot be read keeps the others from nothing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_core::Error;
use cairn_core::disk::Disk;
use cairn_core::image::Image;
use cairn_core::io::Files;
use cairn_core::manifest::{Manifest, State};
use cairn_core::probe::visible;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::revision::RevisionId;

use crate::failure::{Failure, NOT_FOUND, Outcome, USAGE, shown};
use crate::files::ReadOnlyFiles;

const DISK_NAME_LEN_MAX: usize = 100;
const NAME_LEN_MAX: usize = 120;

pub(crate) struct Repository {
    /// Without links.
    pub(crate) dir: PathBuf,
    files: Arc<dyn Files>,
}

/// A revision whose manifest is sound.
pub(crate) struct Row {
    pub(crate) manifest: Manifest,
    pub(crate) state: State,
}

/// What could be read of something, and sentences about what could not.
pub(crate) struct Found<T> {
    pub(crate) all: Vec<T>,
    pub(crate) lost: Vec<Failure>,
}

impl Repository {
    /// The directory that was named; else the one that this program lies in; else the one that the
    /// caller stands in.
    pub(crate) fn find(named: Option<PathBuf>) -> Outcome<Self> {
        if let Some(dir) = named {
            return if is_repository(&dir) { Self::open(&dir) } else { Err(no_repository(&dir)) };
        }
        let around = own_path().and_then(|file| Some(file.parent()?.parent()?.to_owned()));
        let here = PathBuf::from(".");
        match around.into_iter().chain([here]).find(|dir| is_repository(dir)) {
            Some(dir) => Self::open(&dir),
            None => Err(Failure::new(
                USAGE,
                "No repository was named, and this program does not lie in one.",
            )
            .with_hint(
                "Name its directory: cairn-rescue <directory> list. It is the one that holds “disks”.",
            )),
        }
    }

    fn open(dir: &Path) -> Outcome<Self> {
        let dir = fs::canonicalize(dir)
            .map_err(|error| Failure::of_system(format!("{} cannot be opened", shown(dir)), &error))?;
        Ok(Self { dir, files: Arc::new(ReadOnlyFiles) })
    }

    /// Names of all disks, sorted.
    pub(crate) fn disks(&self) -> Outcome<Found<String>> {
        let directory = self.dir.join("disks");
        let names = self.files.list(&directory);
        let names = names
            .map_err(|error| Failure::of_system(format!("{} cannot be read", shown(&directory)), &error))?;
        let (mut all, mut lost) = (Vec::new(), Vec::new());
        for name in names.into_iter().filter(|name| !name.starts_with('.')) {
            let path = directory.join(&name);
            // A link is left out, too: it may lead anywhere.
            let is_directory = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if is_disk_name(&name) && is_directory {
                all.push(name);
            } else {
                lost.push(Failure::failed(format!("{} is left out: it cannot be a disk.", shown(&path))));
            }
        }
        all.sort_unstable();
        Ok(Found { all, lost })
    }

    /// Directories of all disks, that of `first` before the others.
    pub(crate) fn disk_dirs(&self, first: &str) -> Outcome<Vec<PathBuf>> {
        let mut names = self.disks()?.all;
        names.sort_by_key(|name| name != first);
        Ok(names.iter().map(|name| self.dir.join("disks").join(name)).collect())
    }

    /// A disk's directory; disk.json is not needed.
    pub(crate) fn disk(&self, name: &str) -> Outcome<Disk> {
        let path = self.dir.join("disks").join(name);
        if is_disk_name(name) && fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            return Ok(Disk::open_to_read(Arc::clone(&self.files), &path)?);
        }
        let known = self.disks()?.all.join(", ");
        let hint = if known.is_empty() {
            "There are no disks here.".to_owned()
        } else {
            format!("There are: {known}.")
        };
        Err(Failure::new(NOT_FOUND, format!("There is no disk named “{}”.", visible(name, NAME_LEN_MAX)))
            .with_hint(hint))
    }

    /// All revisions of a disk, oldest first.
    pub(crate) fn revisions(&self, disk: &Disk) -> Outcome<Found<Row>> {
        let (mut all, mut lost) = (Vec::new(), Vec::new());
        for id in disk.revisions()? {
            match disk.manifest(&id) {
                Ok(manifest) => all.push(Row { manifest, state: self.state(disk, &id, &mut lost) }),
                // Removed since the directory was listed.
                Err(Error::NotFound { .. }) => {}
                Err(error) => lost.push(error.into()),
            }
        }
        all.sort_by_key(|row| row.manifest.sequence);
        Ok(Found { all, lost })
    }

    /// Tags and trust are worth less than the bytes, so a file that is damaged is told of and no more.
    fn state(&self, disk: &Disk, id: &RevisionId, lost: &mut Vec<Failure>) -> State {
        State::read(&*self.files, &disk.paths().state(id)).unwrap_or_else(|error| {
            lost.push(error.into());
            State::default()
        })
    }

    /// The bytes of a revision.
    pub(crate) fn image(&self, disk: &Disk, id: &RevisionId) -> Outcome<Image> {
        let caches = Arc::new(Caches::new(CacheBudget::default()));
        let records = Arc::new(Records::new(Arc::clone(&self.files), disk.paths().segments(), caches));
        Ok(Image::open(disk, records, id)?)
    }
}

/// Whether a directory looks like a repository; cairn.json may be what was lost.
pub(crate) fn is_repository(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join("disks")).is_ok_and(|found| found.is_dir())
}

fn no_repository(dir: &Path) -> Failure {
    Failure::new(USAGE, format!("{} is not a repository: it holds no directory “disks”.", shown(dir)))
        .with_hint("Name the directory that holds “disks” and “README.txt”.")
}

/// Where this program lies: the kernel says so in /proc, and else the caller may have.
fn own_path() -> Option<PathBuf> {
    let called = || env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
    env::current_exe().ok().or_else(|| fs::canonicalize(called()?).ok())
}

fn is_disk_name(name: &str) -> bool {
    let may_follow = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= DISK_NAME_LEN_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(may_follow)
}
