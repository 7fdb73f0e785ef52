//! A disk's directory: making it, locking it, finding its newest revision, and sweeping what an
//! interrupted backup left.

use std::collections::HashSet;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::codec::Codec;
use crate::error::{AtPath, Error, Result};
use crate::io::{self, File, Files, Lock, Pin, TEMPORARY_SUFFIX};
use crate::manifest::{DiskFile, DiskPaths, Manifest};
use crate::map::Fanout;
use crate::revision::RevisionId;
use crate::segment::{self, IndexEntry, SegmentReader};
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
}

/// Which segments an interrupted backup may have left.
#[derive(Clone, Copy, Debug)]
pub struct Leftovers {
    /// All with higher numbers.
    pub above: SegmentId,
    /// Whether those that are not sealed are of no use for certain.
    pub unlink_unsealed: bool,
}

/// What sweeping found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    /// Sealed segments that no manifest knows: the sealed part of an interrupted backup, synced
    /// again, whose records may be used once the segments directory was synced, too.
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
        files.open(&paths.lock(), io::Mode::CreateNew).at("making", &paths.lock())?;
        io::replace(&*files, &paths.disk_file(), &text::encode(&file)?).at("writing", &paths.disk_file())?;
        if let Some(parent) = directory.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            files.sync_directory(parent).at("syncing", parent)?;
        }
        Ok(Self { files, paths, file })
    }

    /// Opens the directory of a disk; writes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `TooNew`, `Io`.
    pub fn open(files: Arc<dyn Files>, directory: &Path) -> Result<Self> {
        let paths = DiskPaths::new(directory);
        let file = DiskFile::read(&*files, &paths.disk_file())?;
        Ok(Self { files, paths, file })
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

    /// Clears up after an interrupted backup: segments that it left are given to `adopt` if they are
    /// sealed and sync again, else unlinked; so are temporary files, and state files that never got
    /// their manifest. The caller holds the lock.
    ///
    /// # Errors
    /// `Io` where the directories cannot be listed or a useless file cannot be unlinked.
    pub fn sweep(
        &self,
        leftovers: Leftovers,
        adopt: &mut dyn FnMut(SegmentId, &[IndexEntry]),
    ) -> Result<Swept> {
        let mut swept = Swept::default();
        let directory = self.paths.segments();
        for id in self.segments()?.into_iter().filter(|&id| id > leftovers.above) {
            let opened = SegmentReader::open_with_entries(&*self.files, &directory, id);
            match opened.and_then(|(reader, entries)| reader.sync().map(|()| entries)) {
                Ok(entries) => {
                    adopt(id, &entries);
                    swept.adopted += 1;
                }
                Err(_) if !leftovers.unlink_unsealed => {}
                Err(_) => {
                    let path = segment::path_of(&directory, id);
                    self.files.unlink(&path).at("removing", &path)?;
                    swept.unlinked += 1;
                }
            }
        }
        for directory in [&self.paths.directory, &self.paths.revisions(), &directory] {
            let names = self.files.list(directory).at("listing", directory)?;
            let all: HashSet<&str> = names.iter().map(String::as_str).collect();
            for name in names.iter().filter(|name| is_left_over(name, &all)) {
                let path = directory.join(name);
                self.files.unlink(&path).at("removing", &path)?;
                swept.unlinked += 1;
            }
        }
        Ok(swept)
    }
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
#[derive(Debug)]
pub struct DiskLock {
    directory: PathBuf,
    file: Option<std::fs::File>,
}

impl DiskLock {
    /// Takes the lock without waiting and writes `holder` into the file, for others' messages.
    ///
    /// # Errors
    /// `Locked` names the holder; `InvalidArgument` where the file system's locks do not exclude;
    /// `NotFound`; `Io`, among it for a lock file that is a link, since it is written to.
    pub fn take(directory: &Path, holder: &str) -> Result<Self> {
        let path = DiskPaths::new(directory).lock();
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let open = || options.open(&path).at("opening", &path);
        let mut file = open()?;
        if !file.try_flock(Lock::Exclusive).at("locking", &path)? {
            let mut text = String::new();
            let _ = file.take(1000).read_to_string(&mut text);
            let holder = if text.is_empty() { "another process".to_owned() } else { text };
            return Err(Error::Locked { path: directory.to_owned(), holder });
        }
        if open()?.try_flock(Lock::Exclusive).at("locking", &path)? {
            return Err(Error::InvalidArgument(format!(
                "locks on {} do not exclude each other, so two backups could run at once there",
                path.display()
            )));
        }
        let noted =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        noted.at("writing", &path)?;
        Ok(Self { directory: directory.to_owned(), file: Some(file) })
    }

    /// Gives the lock back. Idempotent.
    pub fn release(&mut self) {
        if let Some(file) = self.file.take() {
            // The text only informs; the lock goes with the descriptor.
            let _ = file.set_len(0);
        }
    }

    /// Whether it is held, and for what stands at this directory's path now: a directory that was
    /// renamed takes its lock along.
    #[must_use]
    pub fn covers(&self, directory: &Path) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let held = self.file.as_ref().and_then(|file| file.metadata().ok()).map(identity);
        let there = std::fs::symlink_metadata(DiskPaths::new(directory).lock()).ok().map(identity);
        self.directory == directory && held.is_some() && held == there
    }
}

impl Drop for DiskLock {
    fn drop(&mut self) {
        self.release();
    }
}
