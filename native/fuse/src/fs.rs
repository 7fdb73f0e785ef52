//! The answers to requests, without any protocol: names by [`Tree`], bytes by [`ImageFile`]. Every
//! call may come from any thread, and none waits for the owner of the mount.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::SystemTime;

use cairn_core::image::Image;
use cairn_core::map::ExtentState;
use rustix::io::Errno;

use crate::content::{ImageFile, ReadFault};
use crate::entry::{ImageEntry, Totals};
use crate::errno::errno_of;
use crate::overlay::Overlay;
use crate::prefetch::Pool;
use crate::tree::{Entries, Node, NodeContent, Tree};
use crate::{Damage, Host, MountOptions};

/// The unit in which the kernel and `stat` count what a file takes up.
const STAT_BLOCK_BYTES: u64 = 512;

/// Damage is told once for each stretch of this length.
const DAMAGE_BYTES: u64 = 64 << 10;

/// Stretches that are remembered as told.
const DAMAGES_MAX: usize = 10_000;

/// What `stat` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) ino: u64,
    pub(crate) kind: Kind,
    pub(crate) permissions: u16,
    pub(crate) size: u64,
    /// In units of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) mtime: SystemTime,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Symlink,
}

/// An open file: which handle it has, and whether the kernel may keep what it knows of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) handle: u64,
    pub(crate) keep_cache: bool,
}

/// A directory that is being read: what it held when it was opened, so that offsets stay true.
pub(crate) struct Listing {
    pub(crate) ino: u64,
    pub(crate) parent: u64,
    pub(crate) entries: Arc<Entries>,
}

enum OpenFile {
    Text(Arc<str>),
    Image(ImageFile),
}

/// Things by number. Numbers are never given twice.
struct Handles<T> {
    open: RwLock<HashMap<u64, Arc<T>>>,
    last: AtomicU64,
}

impl<T> Handles<T> {
    fn new() -> Self {
        Self { open: RwLock::default(), last: AtomicU64::new(0) }
    }

    fn add(&self, thing: T) -> u64 {
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(handle, Arc::new(thing));
        handle
    }

    fn get(&self, handle: u64) -> Result<Arc<T>, Errno> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&handle).cloned().ok_or(Errno::BADF)
    }

    fn remove(&self, handle: u64) {
        let removed = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        // Whatever closing does happens after the lock.
        drop(removed);
    }
}

/// See the module.
pub(crate) struct Fs {
    pub(crate) tree: Arc<Tree>,
    host: Arc<dyn Host>,
    pool: Pool,
    options: MountOptions,
    totals: Mutex<Totals>,
    files: Handles<OpenFile>,
    listings: Handles<Listing>,
    /// Open revisions by disk directory and id, shared by all who have files of them open.
    images: Mutex<HashMap<(String, String), Weak<Image>>>,
    /// What was written to files that take writes, for as long as the mount lives.
    overlays: Mutex<HashMap<u64, Arc<Overlay>>>,
    told: Mutex<HashSet<(String, String, u64)>>,
}

impl Fs {
    pub(crate) fn new(options: MountOptions, totals: Totals, host: Arc<dyn Host>, pool: Pool) -> Self {
        let asking = host.clone();
        Self {
            tree: Arc::new(Tree::new(move |path| asking.ask(path))),
            host,
            pool,
            options,
            totals: Mutex::new(totals),
            files: Handles::new(),
            listings: Handles::new(),
            images: Mutex::default(),
            overlays: Mutex::default(),
            told: Mutex::default(),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_totals(&self, totals: Totals) {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner) = totals;
    }

    pub(crate) fn attributes(&self, node: &Node) -> Attributes {
        let group = |mode: u16| if self.options.group_reads { mode | (mode >> 3 & 0o050) } else { mode };
        let (kind, permissions, size, allocated) = match &node.content {
            NodeContent::Directory(_) => (Kind::Directory, group(0o500), 0, 0),
            NodeContent::Symlink(target) => (Kind::Symlink, 0o777, target.len() as u64, 0),
            NodeContent::Text(text) => (Kind::File, group(0o400), text.len() as u64, text.len() as u64),
            NodeContent::Image(entry) => {
                let size =
                    entry.pieces.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.size_bytes()));
                let permissions = if entry.writable { 0o600 } else { group(0o400) };
                (Kind::File, permissions, size, entry.allocated_bytes)
            }
        };
        Attributes {
            ino: node.ino,
            kind,
            permissions,
            size,
            blocks: allocated.div_ceil(STAT_BLOCK_BYTES),
            mtime: node.mtime,
            uid: self.options.uid,
            gid: self.options.gid,
        }
    }

    /// Of a directory in its own or its parent's listing, where the kernel takes its number and kind.
    pub(crate) fn directory_attributes(&self, ino: u64) -> Attributes {
        match self.tree.node(ino) {
            Ok(node) => self.attributes(&node),
            Err(_) => Attributes {
                ino,
                kind: Kind::Directory,
                permissions: 0o500,
                size: 0,
                blocks: 0,
                mtime: SystemTime::UNIX_EPOCH,
                uid: self.options.uid,
                gid: self.options.gid,
            },
        }
    }

    pub(crate) fn read_link(&self, ino: u64) -> Result<Arc<Node>, Errno> {
        let node = self.tree.node(ino)?;
        match node.content {
            NodeContent::Symlink(_) => Ok(node),
            _ => Err(Errno::INVAL),
        }
    }

    /// Opens a file. A revision is opened here, which reads its manifest.
    ///
    /// # Errors
    /// `ROFS` for writing to what takes no writes; of the store.
    pub(crate) fn open(&self, ino: u64, for_writing: bool) -> Result<Opened, Errno> {
        let node = self.tree.node(ino)?;
        match &node.content {
            NodeContent::Directory(_) => Err(Errno::ISDIR),
            NodeContent::Symlink(_) => Err(Errno::INVAL),
            NodeContent::Text(_) if for_writing => Err(Errno::ROFS),
            NodeContent::Text(text) => {
                Ok(Opened { handle: self.files.add(OpenFile::Text(text.clone())), keep_cache: false })
            }
            NodeContent::Image(entry) if for_writing && !entry.writable => Err(Errno::ROFS),
            NodeContent::Image(entry) => {
                let file = self.open_image(ino, entry)?;
                Ok(Opened { handle: self.files.add(OpenFile::Image(file)), keep_cache: true })
            }
        }
    }

    /// Gives the bytes to `take`; short at the end of the file only.
    pub(crate) fn read(&self, handle: u64, offset: u64, len: usize, take: impl FnOnce(Result<&[u8], Errno>)) {
        let file = match self.files.get(handle) {
            Ok(file) => file,
            Err(errno) => return take(Err(errno)),
        };
        match &*file {
            OpenFile::Text(text) => {
                let rest =
                    usize::try_from(offset).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or(&[]);
                take(Ok(rest.get(..len).unwrap_or(rest)));
            }
            OpenFile::Image(image) => {
                image.read(offset, len, &self.pool, |read| {
                    take(read.map_err(|fault| {
                        let errno = fault.errno;
                        self.tell(&image.entry, fault);
                        errno
                    }));
                });
            }
        }
    }

    pub(crate) fn write(&self, handle: u64, bytes: &[u8], offset: u64) -> Result<(), Errno> {
        match &*self.files.get(handle)? {
            OpenFile::Text(_) => Err(Errno::ROFS),
            OpenFile::Image(image) => image.write(bytes, offset),
        }
    }

    pub(crate) fn seek(&self, handle: u64, offset: u64, state: ExtentState) -> Result<u64, Errno> {
        match &*self.files.get(handle)? {
            OpenFile::Image(image) => image.seek(offset, state),
            OpenFile::Text(text) if offset >= text.len() as u64 => Err(Errno::NXIO),
            OpenFile::Text(text) => Ok(if state == ExtentState::Data { offset } else { text.len() as u64 }),
        }
    }

    pub(crate) fn close(&self, handle: u64) {
        self.files.remove(handle);
    }

    /// Opens a directory and gives its handle to `done`, now or when it is known.
    pub(crate) fn open_directory(
        self: &Arc<Self>,
        ino: u64,
        done: impl FnOnce(Result<u64, Errno>) + Send + 'static,
    ) {
        let parent = match self.tree.node(ino) {
            Ok(node) => node.parent,
            Err(errno) => return done(Err(errno)),
        };
        let fs = self.clone();
        self.tree.entries(ino, move |found| {
            done(found.map(|entries| fs.listings.add(Listing { ino, parent, entries })));
        });
    }

    pub(crate) fn listing(&self, handle: u64) -> Result<Arc<Listing>, Errno> {
        self.listings.get(handle)
    }

    pub(crate) fn close_directory(&self, handle: u64) {
        self.listings.remove(handle);
    }

    /// # Errors
    /// `NODATA` where there is no such attribute.
    pub(crate) fn xattr(&self, ino: u64, name: &str) -> Result<String, Errno> {
        match &self.tree.node(ino)?.content {
            NodeContent::Image(entry) => entry.xattrs.get(name).cloned().ok_or(Errno::NODATA),
            _ => Err(Errno::NODATA),
        }
    }

    /// Names of all attributes, each ended by a zero, as listxattr(2) wants them.
    pub(crate) fn xattr_names(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        match &self.tree.node(ino)?.content {
            NodeContent::Image(entry) => {
                Ok(entry.xattrs.keys().flat_map(|name| name.bytes().chain([0])).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn open_image(&self, ino: u64, entry: &Arc<ImageEntry>) -> Result<ImageFile, Errno> {
        let opened = self.shared_image(entry).and_then(|image| {
            let overlay = match &self.options.scratch_dir {
                Some(dir) if entry.writable => Some(self.overlay(ino, dir, image.geometry().size_bytes())?),
                _ => None,
            };
            ImageFile::new(entry.clone(), image, overlay)
        });
        opened.map_err(|error| {
            let errno = errno_of(&error);
            if errno != Errno::NOENT {
                let ranges = vec![(0, 0, error.to_string())];
                self.tell(entry, ReadFault { errno, ranges });
            }
            errno
        })
    }

    fn shared_image(&self, entry: &ImageEntry) -> cairn_core::Result<Arc<Image>> {
        let key = (entry.disk_dir.clone(), entry.revision.clone());
        let open = || self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = open().get(&key).and_then(Weak::upgrade) {
            return Ok(image);
        }
        let image = Arc::new(self.host.open_image(&entry.disk_dir, &entry.revision)?);
        let mut images = open();
        images.retain(|_, image| image.strong_count() > 0);
        images.insert(key, Arc::downgrade(&image));
        Ok(image)
    }

    fn overlay(&self, ino: u64, dir: &Path, size: u64) -> cairn_core::Result<Arc<Overlay>> {
        let mut overlays = self.overlays.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(overlay) = overlays.get(&ino) {
            return Ok(overlay.clone());
        }
        let overlay = Overlay::create(dir, size).map_err(|source| cairn_core::Error::Io {
            action: "making a temporary file in",
            path: dir.to_owned(),
            source,
        })?;
        let overlay = Arc::new(overlay);
        overlays.insert(ino, overlay.clone());
        Ok(overlay)
    }

    /// Tells of damage, each stretch once, however often a reader comes back.
    fn tell(&self, entry: &ImageEntry, fault: ReadFault) {
        for (offset, len, message) in fault.ranges {
            let key = (entry.disk.clone(), entry.revision.clone(), offset / DAMAGE_BYTES);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= DAMAGES_MAX {
                told.clear();
            }
            let is_new = told.insert(key);
            drop(told);
            if is_new {
                let (disk, revision) = (entry.disk.clone(), entry.revision.clone());
                self.host.damaged(Damage { disk, revision, offset, len, message });
            }
        }
    }
}
