//! Removing revisions: their manifests move out of the listings, and what they alone need becomes
//! collect's.
//!
//! A manifest goes from `revisions/` to `retired/` by renames, which take the locks of its readers
//! along; so removing costs the same however large the disk, and harms no reader. Until it is
//! durable that it is gone from `revisions/`, it has a temporary name in `retired/`, so that nothing
//! that it needs is freed while it may come back: see [`settle`]. The highest numbers that were given out are in `marks.json` before the first manifest goes, since
//! revision ids, sequences and segment numbers are never used twice.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, DiskLock};
use crate::error::{AtPath, Damage, Error, Result, corrupt};
use crate::io::{self, Lock, Mode, TEMPORARY_SUFFIX};
use crate::manifest::{Manifest, SEQUENCE_MAX};
use crate::revision::RevisionId;
use crate::text;
use crate::units::SegmentId;

/// The highest numbers that removed revisions had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marks {
    /// Format of this file.
    pub format: u64,
    /// The highest sequence.
    pub sequence: u64,
    /// The highest revision id.
    pub last_revision: Option<RevisionId>,
    /// The highest segment that a manifest knew.
    pub highest_segment: u32,
}

impl Default for Marks {
    fn default() -> Self {
        Self { format: text::FORMAT, sequence: 0, last_revision: None, highest_segment: 0 }
    }
}

impl Marks {
    /// Of a disk; a disk from which nothing was removed has none.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `Io`.
    pub fn read(disk: &Disk) -> Result<Self> {
        let path = disk.paths().marks();
        let marks: Self = match text::read(&**disk.files(), &path) {
            Err(Error::NotFound { .. }) => return Ok(Self::default()),
            other => other?,
        };
        if marks.sequence > SEQUENCE_MAX {
            return Err(corrupt(&path, Damage::Contradiction("its sequence is impossible")));
        }
        Ok(marks)
    }

    fn raise(&mut self, id: &RevisionId, sequence: u64, highest: SegmentId) {
        self.sequence = self.sequence.max(sequence);
        self.last_revision = self.last_revision.take().max(Some(id.clone()));
        self.highest_segment = self.highest_segment.max(highest.0);
    }
}

/// Moves the manifests of `revisions` to `retired/`: durably gone from listings when this returns.
/// Their space comes back with the first collect after their last reader has closed them. After an
/// error some of them may be gone and the others are there.
///
/// # Errors
/// `NotFound` before anything is done, where one of them is not there; `Locked` for one that was
/// retired before under the same id and is still read; `TooNew`, `Io`.
pub fn retire(disk: &Disk, lock: &DiskLock, revisions: &[RevisionId]) -> Result<()> {
    if !lock.covers(&disk.paths().directory) {
        return Err(Error::InvalidArgument("removing revisions needs the lock of their disk".into()));
    }
    let (files, paths) = (&**disk.files(), disk.paths());
    with_room(disk, || remember(disk, revisions))?;
    with_room(disk, || make_directory(disk))?;
    for revision in revisions {
        let (from, aside) = (paths.manifest(revision), aside_of(disk, revision));
        for place in [&aside, &paths.retired_manifest(revision)] {
            if !dispose_one(disk, place)? {
                return Err(Error::Locked { path: place.clone(), holder: "a reader".to_owned() });
            }
        }
        files.rename(&from, &aside).at("removing", &from)?;
    }
    finish(disk, revisions)?;
    for revision in revisions {
        // Without its manifest a state file means nothing; the next backup sweeps it otherwise.
        let _ = files.unlink(&paths.state(revision));
    }
    Ok(())
}

/// Carries on with removals that were interrupted or failed half-way. The name may be back in
/// `revisions/` after a crash, although it is not there now: a sync that failed says so once, and
/// no later one would. So it is put there and taken away again before that is synced.
///
/// # Errors
/// `Io`.
pub(crate) fn settle(disk: &Disk) -> Result<()> {
    let mut gone = Vec::new();
    for revision in unfinished(disk)? {
        let (manifest, aside) = (disk.paths().manifest(&revision), aside_of(disk, &revision));
        if disk.files().identity(&manifest).is_ok() {
            // It came back, so it was never removed.
            dispose_one(disk, &aside)?;
            continue;
        }
        disk.files().rename(&aside, &manifest).at("removing", &manifest)?;
        disk.files().rename(&manifest, &aside).at("removing", &manifest)?;
        gone.push(revision);
    }
    if gone.is_empty() { Ok(()) } else { finish(disk, &gone) }
}

/// From the temporary names on.
fn finish(disk: &Disk, revisions: &[RevisionId]) -> Result<()> {
    let (files, directories) = (disk.files(), [disk.paths().revisions(), disk.paths().retired()]);
    for directory in &directories {
        files.sync_directory(directory).at("syncing", directory)?;
    }
    for revision in revisions {
        let (aside, to) = (aside_of(disk, revision), disk.paths().retired_manifest(revision));
        files.rename(&aside, &to).at("removing", &to)?;
    }
    let [_, retired] = directories;
    files.sync_directory(&retired).at("syncing", &retired)
}

/// The name that a manifest has while it is being removed.
pub(crate) fn aside_of(disk: &Disk, revision: &RevisionId) -> PathBuf {
    let mut name = disk.paths().retired_manifest(revision).into_os_string();
    name.push(TEMPORARY_SUFFIX);
    name.into()
}

/// Retired manifests, in rising order of their ids.
///
/// # Errors
/// `Io`.
pub(crate) fn retired(disk: &Disk) -> Result<Vec<RevisionId>> {
    ids_in_retired(disk, |name| name.strip_suffix(".json"))
}

/// Manifests whose removal is not finished.
///
/// # Errors
/// `Io`.
pub(crate) fn unfinished(disk: &Disk) -> Result<Vec<RevisionId>> {
    ids_in_retired(disk, |name| name.strip_suffix(TEMPORARY_SUFFIX)?.strip_suffix(".json"))
}

fn ids_in_retired(disk: &Disk, stem: impl Fn(&str) -> Option<&str>) -> Result<Vec<RevisionId>> {
    let directory = disk.paths().retired();
    let names = match disk.files().list(&directory).at("listing", &directory) {
        Err(Error::NotFound { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let mut ids: Vec<_> = names.iter().filter_map(|name| RevisionId::parse(stem(name)?)).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Whether nobody reads the manifest at `path`; `then` runs while nobody can begin to.
pub(crate) fn unless_read(disk: &Disk, path: &Path, then: impl FnOnce() -> Result<()>) -> Result<bool> {
    let file = match disk.files().open(path, Mode::Read).at("opening", path) {
        Err(Error::NotFound { .. }) => return Ok(true),
        other => other?,
    };
    match file.try_flock(Lock::Exclusive) {
        Ok(false) => return Ok(false),
        Ok(true) => {}
        // Without locks nobody can say that he reads, as Image::open warns.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {}
        Err(error) => return Err(error).at("locking", path),
    }
    then().map(|()| true)
}

/// Unlinks a retired manifest for good unless somebody reads it; false where somebody does.
pub(crate) fn dispose_one(disk: &Disk, path: &Path) -> Result<bool> {
    unless_read(disk, path, || match disk.files().unlink(path).at("removing", path) {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other,
    })
}

/// Writes marks that cannot be read anew, at least as high as what is there.
pub(crate) fn rebuild_marks(disk: &Disk) -> Result<()> {
    with_room(disk, || remember(disk, &[]))
}

/// Raises the marks to the numbers of `revisions`, durably.
fn remember(disk: &Disk, revisions: &[RevisionId]) -> Result<()> {
    let (before, was_lost) = match Marks::read(disk) {
        Err(Error::Corrupt { .. }) => (Marks::default(), true),
        other => (other?, false),
    };
    let mut marks = before.clone();
    let all = if was_lost { disk.revisions()? } else { Vec::new() };
    for revision in revisions.iter().chain(&all) {
        match disk.manifest(revision) {
            Ok(manifest) => {
                marks.raise(revision, manifest.sequence, SegmentId(manifest.highest_segment));
            }
            Err(Error::Corrupt { .. }) => raise_beyond_all(disk, &mut marks, revision)?,
            Err(error) => return Err(error),
        }
    }
    if marks == before && !was_lost {
        return Ok(());
    }
    let path = disk.paths().marks();
    io::replace(&**disk.files(), &path, &text::encode(&marks)?).at("writing", &path)
}

/// For a manifest that cannot be read: above whatever it can have held.
fn raise_beyond_all(disk: &Disk, marks: &mut Marks, revision: &RevisionId) -> Result<()> {
    let ids = disk.revisions()?;
    let manifests = || ids.iter().filter_map(|id| disk.manifest(id).ok());
    let sequence = manifests().map(|manifest: Manifest| manifest.sequence).max().unwrap_or(0);
    let unread = ids.len() - manifests().count();
    let highest = disk.segments()?.last().copied().unwrap_or(SegmentId(0));
    marks.raise(revision, sequence.max(marks.sequence) + unread as u64, highest);
    Ok(())
}

fn make_directory(disk: &Disk) -> Result<()> {
    let (files, directory) = (disk.files(), disk.paths().retired());
    match files.create_directory(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => {
            other.at("making", &directory)?;
            let parent = &disk.paths().directory;
            files.sync_directory(parent).at("syncing", parent)
        }
    }
}

/// On a full file system a few bytes are needed before any can be freed. The dedup index is only a
/// hint, so it goes.
pub(crate) fn with_room(disk: &Disk, write: impl Fn() -> Result<()>) -> Result<()> {
    match write() {
        Err(error) if error.is_no_space() => {
            let _ = disk.files().unlink(&disk.paths().dedup());
            write()
        }
        other => other,
    }
}
