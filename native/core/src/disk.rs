//! A disk's directory: making it, locking it, finding its newest revision, and sweeping what an
//! interrupted backup left.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::codec::Codec;
use crate::error::{AtPath, Error, Result};
use crate::io::{self, File, Files, Lock, Mode, OsFiles, Pin, TEMPORARY_SUFFIX};
use crate::manifest::{DiskFile, DiskPaths, Manifest};
use crate::map::Fanout;
use crate::revision::RevisionId;
use crate::segment::{self, IndexEntry, SEGMENT_LEN_TARGET, SegmentReader};
use crate::text;
use crate::units::{BLOCK_SIZE_DEFAULT, SegmentId, is_block_size};

/// What a new disk is made with.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// Bytes of a block.
    pub block_size: u32,
    /// Codec of new records.
    pub codec: Codec,
    /// Entries of a map page.
    pub fanout: Fanout,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { block_size: BLOCK_SIZE_DEFAULT, codec: Codec::Zstd, fanout: Fanout::DEFAULT }
    }
}

/// A disk's directory.
#[derive(Clone)]
pub struct Disk {
    files: Arc<dyn Files>,
    paths: DiskPaths,
    file: DiskFile,
    segment_len_target: u64,
}

/// Which segments an interrupted backup may have left.
#[derive(Clone, Copy, Debug)]
pub struct Leftovers {
    /// All with higher numbers.
    pub above: SegmentId,
    /// Whether those that cannot be read are of no use for certain.
    pub unlink_unsealed: bool,
}

/// What sweeping found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    /// Sealed segments that no manifest knows: the sealed part of an interrupted backup.
    pub adopted: usize,
    /// Files of no use that were unlinked.
    pub unlinked: usize,
}

impl Disk {
    /// Makes the directory of a new disk, durably. Its parent exists.
    ///
    /// # Errors
    /// `InvalidArgument` for a block size out of range; `Io`, among it for a directory that exists.
    pub fn create(files: Arc<dyn Files>, directory: &Path, options: DiskOptions) -> Result<Self> {
        if !is_block_size(options.block_size) {
            return Err(Error::InvalidArgument(format!(
                "a block size of {} bytes is not a power of two from 4096 to 4194304",
                options.block_size
            )));
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(std::io::Error::other).at("making an id for", directory)?;
        let file = DiskFile {
            format: text::FORMAT,
            id: format!("{:032x}", u128::from_be_bytes(id)),
            created_at: now(),
            block_size_bytes: options.block_size,
            fanout: options.fanout.entries(),
            codec: options.codec,
            encryption: None,
        };
        let paths = DiskPaths::new(directory);
        for path in [&paths.directory, &paths.segments(), &paths.revisions()] {
            files.create_directory(path).at("making", path)?;
        }
        files.open(&paths.lock(), Mode::CreateNew).at("making", &paths.lock())?;
        io::replace(&*files, &paths.disk_file(), &text::encode(&file)?).at("writing", &paths.disk_file())?;
        if let Some(parent) = directory.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            files.sync_directory(parent).at("syncing", parent)?;
        }
        Ok(Self::of(files, paths, file))
    }

    /// Opens the directory of a disk; writes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `TooNew`, `Io`.
    pub fn open(files: Arc<dyn Files>, directory: &Path) -> Result<Self> {
        let paths = DiskPaths::new(directory);
        let file = DiskFile::read(&*files, &paths.disk_file())?;
        Ok(Self::of(files, paths, file))
    }

    /// As [`Disk::open`], for whoever only reads revisions, which needs nothing of disk.json: one that
    /// is damaged or gone keeps nobody from getting data back, on read-only media least of all.
    ///
    /// # Errors
    /// `TooNew`; `Io`.
    pub fn open_to_read(files: Arc<dyn Files>, directory: &Path) -> Result<Self> {
        match Self::open(Arc::clone(&files), directory) {
            Err(Error::Corrupt { .. } | Error::NotFound { .. }) => {
                Ok(Self::with_file(files, directory, DiskFile::stand_in()))
            }
            other => other,
        }
    }

    /// As [`Disk::open`], with a disk.json that stands for the one that cannot be read.
    pub(crate) fn with_file(files: Arc<dyn Files>, directory: &Path, file: DiskFile) -> Self {
        Self::of(files, DiskPaths::new(directory), file)
    }

    fn of(files: Arc<dyn Files>, paths: DiskPaths, file: DiskFile) -> Self {
        Self { files, paths, file, segment_len_target: SEGMENT_LEN_TARGET }
    }

    /// Has new segments sealed at so many bytes, at most [`SEGMENT_LEN_TARGET`]: small ones for
    /// tests, which look at what is sealed in the middle of a backup.
    #[must_use]
    pub fn sealing_segments_at(self, len_target: u64) -> Self {
        Self { segment_len_target: len_target, ..self }
    }

    /// Bytes at which new segments are sealed.
    #[must_use]
    pub fn segment_len_target(&self) -> u64 {
        self.segment_len_target
    }

    /// disk.json
    #[must_use]
    pub fn file(&self) -> &DiskFile {
        &self.file
    }

    /// Where things lie.
    #[must_use]
    pub fn paths(&self) -> &DiskPaths {
        &self.paths
    }

    /// The file system.
    #[must_use]
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Ids of all revisions that have a manifest, in rising order, unread.
    ///
    /// # Errors
    /// `Io`, `NotFound`.
    pub fn revisions(&self) -> Result<Vec<RevisionId>> {
        let directory = self.paths.revisions();
        let names = self.files.list(&directory).at("listing", &directory)?;
        let mut ids: Vec<_> =
            names.iter().filter_map(|name| RevisionId::parse(name.strip_suffix(".json")?)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The manifest of a revision.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `NotFound`, `Io`.
    pub fn manifest(&self, revision: &RevisionId) -> Result<Manifest> {
        Manifest::read(&*self.files, &self.paths.manifest(revision))
    }

    /// The manifest of a revision, kept from being disposed of while the pin lives, wherever it is
    /// moved. Needs no right to write.
    ///
    /// # Errors
    /// As [`Disk::manifest`]; `Locked` where somebody holds the manifest for himself.
    pub fn pinned(&self, revision: &RevisionId) -> Result<(Manifest, Pin)> {
        let path = self.paths.manifest(revision);
        let pin = match io::pin(&*self.files, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(Error::Locked { path, holder: "another process".to_owned() });
            }
            other => other.at("opening", &path)?,
        };
        Ok((Manifest::read_open(pin.file(), &path)?, pin))
    }

    /// Ids of all segment files, sealed or not, in rising order.
    ///
    /// # Errors
    /// `Io`, `NotFound`.
    pub fn segments(&self) -> Result<Vec<SegmentId>> {
        let directory = self.paths.segments();
        let names = self.files.list(&directory).at("listing", &directory)?;
        let mut ids: Vec<_> = names.iter().filter_map(|name| segment::id_of(name)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Clears up after an interrupted backup: sealed segments that it left are given to `adopt`;
    /// temporary files, segments of no use, and state files that never got their manifest are
    /// unlinked. What was adopted may be pointed at when this returns. The caller holds the lock.
    ///
    /// # Errors
    /// `Io` where the directories cannot be listed or synced, or a useless file not unlinked; `TooNew`
    /// for a segment of a later format, which stays.
    pub fn sweep(
        &self,
        leftovers: Leftovers,
        adopt: &mut dyn FnMut(SegmentId, &[IndexEntry]),
    ) -> Result<Swept> {
        let mut swept = Swept::default();
        let segments = self.paths.segments();
        for directory in [&self.paths.directory, &self.paths.revisions(), &segments] {
            for path in leftovers_in(&*self.files, directory)? {
                self.files.unlink(&path).at("removing", &path)?;
                swept.unlinked += 1;
            }
        }
        for id in self.segments()?.into_iter().filter(|&id| id > leftovers.above) {
            match self.entries_to_adopt(id, leftovers) {
                // A later version may need it.
                Err(error @ Error::TooNew { .. }) => return Err(error),
                Ok(entries) => {
                    adopt(id, &entries);
                    swept.adopted += 1;
                }
                Err(_) if leftovers.unlink_unsealed => {
                    // It may have been left under its temporary name.
                    for path in [segment::temporary_path_of(&segments, id), segment::path_of(&segments, id)] {
                        match self.files.unlink(&path) {
                            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                            other => other.at("removing", &path)?,
                        }
                    }
                    swept.unlinked += 1;
                }
                Err(Error::Corrupt { .. } | Error::NotFound { .. }) => {}
                // Left there unread, it would be pointed at as soon as it can be read again.
                Err(error) => return Err(error),
            }
        }
        if swept.adopted + swept.unlinked > 0 {
            self.files.sync_directory(&segments).at("syncing", &segments)?;
        }
        Ok(swept)
    }

    /// What a segment of an interrupted backup holds, once its bytes and its name are as good as
    /// those of a new one. One of map pages alone is left to collect, too: where a manifest was lost,
    /// they may be those of its revision.
    ///
    /// It has its name, so its syncs went well ([`SegmentWriter`](segment::SegmentWriter)). It is
    /// synced all the same, since it may have been copied here; and named anew, since the sync of
    /// the directory may have failed then, which a second one would say nothing of.
    fn entries_to_adopt(&self, id: SegmentId, leftovers: Leftovers) -> Result<Vec<IndexEntry>> {
        let segments = self.paths.segments();
        let (reader, entries) = SegmentReader::open_with_entries(&*self.files, &segments, id)?;
        reader.sync()?;
        if leftovers.unlink_unsealed {
            let (path, aside) = (segment::path_of(&segments, id), segment::temporary_path_of(&segments, id));
            self.files.rename(&path, &aside).at("naming", &aside)?;
            self.files.rename(&aside, &path).at("naming", &path)?;
        }
        Ok(entries)
    }
}

/// Names in a directory of the store's that can only come from an interrupted operation.
///
/// # Errors
/// `Io`, `NotFound`.
pub(crate) fn leftovers_in(files: &dyn Files, directory: &Path) -> Result<Vec<PathBuf>> {
    let names = files.list(directory).at("listing", directory)?;
    let all: HashSet<&str> = names.iter().map(String::as_str).collect();
    let mut found: Vec<_> =
        names.iter().filter(|name| is_left_over(name, &all)).map(|name| directory.join(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Whether a name of the store's can only come from an interrupted operation.
fn is_left_over(name: &str, all: &HashSet<&str>) -> bool {
    let lacks_manifest =
        |id: &str| RevisionId::parse(id).is_some() && !all.contains(format!("{id}.json").as_str());
    name.ends_with(TEMPORARY_SUFFIX) || name.strip_suffix(".state.json").is_some_and(lacks_manifest)
}

/// The present time, to the millisecond, as manifests have it.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// A kernel lock on a disk (flock(2)): gone when released or when the process dies, so never stale.
pub struct DiskLock {
    files: Arc<dyn Files>,
    directory: PathBuf,
    file: Option<Box<dyn File>>,
}

impl DiskLock {
    /// Takes the lock without waiting and writes `holder` into the file, for others' messages.
    ///
    /// # Errors
    /// `Locked` names the holder; `InvalidArgument` where the file system's locks do not exclude;
    /// `NotFound`; `Io`, among it for a lock file that is a link, since it is written to.
    pub fn take(directory: &Path, holder: &str) -> Result<Self> {
        Self::take_on(Arc::new(OsFiles), directory, holder)
    }

    /// As [`DiskLock::take`], on any files. A lock file that is missing is made again: nobody has
    /// locked what is not there.
    ///
    /// # Errors
    /// As [`DiskLock::take`].
    pub fn take_on(files: Arc<dyn Files>, directory: &Path, holder: &str) -> Result<Self> {
        let paths = DiskPaths::new(directory);
        let path = paths.lock();
        // So that no lock file is made in what is no disk.
        files.identity(&path).or_else(|_| files.identity(&paths.disk_file())).at("opening", &path)?;
        let open = || files.open(&path, Mode::Update).at("opening", &path);
        for _ in 0..LOCK_TRIES {
            let file = open()?;
            if !file.try_flock(Lock::Exclusive).at("locking", &path)? {
                if let Some(holder) = holder_in(&*file) {
                    return Err(Error::Locked { path: directory.to_owned(), holder });
                }
                // Whoever has just taken it is about to write its name; whoever has just wiped its
                // name is about to give it back.
                std::thread::sleep(LOCK_PAUSE);
                continue;
            }
            if !is_at(&*files, &path, &*file)? {
                // Removed and made again by somebody else meanwhile, who may hold the new one.
                continue;
            }
            if open()?.try_flock(Lock::Exclusive).at("locking", &path)? {
                return Err(Error::InvalidArgument(format!(
                    "locks on {} do not exclude each other, so two backups could run at once there",
                    path.display()
                )));
            }
            let noted = file.set_len(0).and_then(|()| file.write_all_at(holder.as_bytes(), 0));
            // The name only informs, and whoever makes room on a full file system needs the lock.
            match noted.at("writing", &path) {
                Err(error) if error.is_no_space() => {}
                other => other?,
            }
            return Ok(Self { files, directory: directory.to_owned(), file: Some(file) });
        }
        Err(Error::Locked { path: directory.to_owned(), holder: UNKNOWN_HOLDER.to_owned() })
    }

    /// Gives the lock back. Idempotent.
    pub fn release(&mut self) {
        if let Some(file) = self.file.take() {
            // The text only informs; the lock goes with the descriptor.
            let _ = file.set_len(0);
        }
    }

    /// Whether it is held, and for what stands at this directory's path now: a directory that was
    /// renamed takes its lock along. False where that cannot be told.
    #[must_use]
    pub fn covers(&self, directory: &Path) -> bool {
        self.look_whether_covers(directory).unwrap_or(false)
    }

    /// As [`DiskLock::covers`], for whoever wants to say why it cannot be told.
    ///
    /// # Errors
    /// `Io`.
    pub fn look_whether_covers(&self, directory: &Path) -> Result<bool> {
        match &self.file {
            Some(file) if self.directory == directory => {
                is_at(&*self.files, &DiskPaths::new(directory).lock(), &**file)
            }
            _ => Ok(false),
        }
    }
}

/// Whoever makes a lock file that is missing may find that another did so at the same time; and
/// whoever takes a lock may be met before it has written its name.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(2);
const UNKNOWN_HOLDER: &str = "another process";
const HOLDER_LEN_MAX: usize = 1000;

/// `None` where no holder has written its name.
fn holder_in(file: &dyn File) -> Option<String> {
    let mut bytes = [0; HOLDER_LEN_MAX];
    let len = file.read_at(&mut bytes, 0).unwrap_or(0);
    let text = bytes.get(..len).map(String::from_utf8_lossy).unwrap_or_default();
    (!text.is_empty()).then(|| text.into_owned())
}

/// Whether a path still leads to an open file.
fn is_at(files: &dyn Files, path: &Path, file: &dyn File) -> Result<bool> {
    let held = file.identity().at("looking at", path)?;
    match files.identity(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        there => Ok(there.at("looking at", path)? == held),
    }
}

impl std::fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskLock").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Drop for DiskLock {
    fn drop(&mut self) {
        self.release();
    }
}
