//! The glue to the library that speaks the protocol: requests in, replies out, and the thread that
//! tells the kernel what to forget. A handler that panics answers EIO and nothing else happens.
//!
//! The library's own mounting and unmounting is not used: it has no subtype for root, and it takes
//! mounts away in its destructors.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use cairn_core::map::ExtentState;
use crossbeam_channel::{Receiver, Sender, unbounded};
use fuser::{
    BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, Notifier, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, Session, SessionACL, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;

use crate::device::{self, MountError, REQUEST_BYTES_MAX, during};
use crate::entry::{Answer, Totals};
use crate::fs::{Attributes, Fs, Kind, Listing};
use crate::prefetch::Pool;
use crate::tree::{Invalidation, Node, NodeContent};
use crate::{Host, MountOptions};

/// How long the kernel may believe what it was told; what changes earlier it is told.
const BELIEVED: Duration = Duration::from_secs(3600);

/// Requests that the kernel sends without waiting for an answer: enough for a reader with 16 MiB of
/// readahead beside others.
const BACKGROUND_REQUESTS: u16 = 64;

/// The block size that statfs tells.
const STATFS_BLOCK_BYTES: u32 = 65_536;

/// A mount that is being served. Dropping it does not unmount: that is for whoever can wait.
pub struct Mounted {
    fs: Arc<Fs>,
    invalidations: Sender<Invalidation>,
    connected: Arc<AtomicBool>,
}

impl Mounted {
    /// Mounts and begins to serve. Returns when the kernel has agreed on how to talk; nothing was
    /// asked of the host until then.
    ///
    /// # Errors
    /// What the system said.
    pub fn mount(options: MountOptions, totals: Totals, host: Arc<dyn Host>) -> Result<Self, MountError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let pool = Pool::start(cores).map_err(during("starting threads"))?;
        let fd = device::mount(&options)?;
        let fs = Arc::new(Fs::new(options, totals, host, pool));

        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some((2 * cores).clamp(4, 16));
        config.clone_fd = device::can_open_device();
        let session = Session::from_fd(Served(fs.clone()), fd, SessionACL::All, config)
            .map_err(during("talking to the kernel"))?;

        let (invalidations, pending) = unbounded();
        let notifier = session.notifier();
        let connected = Arc::new(AtomicBool::new(true));
        let serving = connected.clone();
        start("notify", move || notify(&notifier, &pending))?;
        start("serve", move || {
            // However it ends, the kernel has let go.
            let _ = session.run();
            serving.store(false, Ordering::Release);
        })?;
        Ok(Self { fs, invalidations, connected })
    }

    /// The answer to [`Host::ask`]: those who waited for it go on.
    pub fn answer(&self, path: &str, answer: Answer) {
        for invalidation in self.fs.tree.answer(path, answer) {
            // Nobody takes it once the mount is gone.
            let _ = self.invalidations.send(invalidation);
        }
    }

    /// Paths of all directories of which something is remembered, here or by the kernel.
    #[must_use]
    pub fn directories(&self) -> Vec<String> {
        self.fs.tree.directories()
    }

    /// What these directories hold may be something else from now on: it is forgotten and, where the
    /// kernel holds names of it, asked for again at once.
    pub fn changed(&self, paths: &[String], totals: Totals) {
        self.fs.set_totals(totals);
        self.fs.tree.changed(paths);
    }

    /// False once the kernel has let go: unmounted, and no file or directory of it open any more.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), MountError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(during("starting a thread"))
}

/// Tells the kernel what to forget. On a thread of its own: the kernel may wait for a lock that a
/// request holds which waits for the owner of the mount.
fn notify(notifier: &Notifier, pending: &Receiver<Invalidation>) {
    for invalidation in pending {
        // What the kernel does not know it need not forget, and a mount that is gone knows nothing.
        let _ = match invalidation {
            Invalidation::Name { parent, name } => notifier.inval_entry(INodeNo(parent), OsStr::new(&*name)),
            Invalidation::Content { ino } => notifier.inval_inode(INodeNo(ino), 0, 0),
            Invalidation::Attributes { ino } => notifier.inval_inode(INodeNo(ino), -1, 0),
        };
    }
}

/// The face that the library calls.
struct Served(Arc<Fs>);

/// Runs a handler. A reply that a panic drops unanswered is answered EIO by its destructor.
fn guarded(handler: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(handler));
}

fn refused(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

/// Names that are no UTF-8 are nowhere in the tree.
fn text(name: &OsStr) -> Result<&str, Errno> {
    std::str::from_utf8(name.as_bytes()).map_err(|_| Errno::NOENT)
}

fn file_attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.ino),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: attributes.mtime,
        mtime: attributes.mtime,
        ctime: attributes.mtime,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attributes.kind),
        perm: attributes.permissions,
        nlink: 1,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
    }
}

impl Served {
    fn attr(&self, node: &Node) -> FileAttr {
        file_attr(&self.0.attributes(node))
    }

    /// The entries of a listing from `offset` on, after the directory itself and its parent.
    fn plain_entries(listing: &Listing) -> impl Iterator<Item = (u64, u64, Option<&Arc<Node>>, &str)> {
        let own = [(listing.ino, "."), (listing.parent, "..")];
        let own = own.into_iter().map(|(ino, name)| (ino, None, name));
        let nodes = listing.entries.list.iter().map(|node| (node.ino, Some(node), &*node.name));
        own.chain(nodes).zip(1u64..).map(|((ino, node, name), next)| (next, ino, node, name))
    }
}

fn skipped(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = [
            // Reads of one descriptor side by side, which matters to loop devices.
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ];
        for capability in wanted {
            // An older kernel goes without.
            let _ = config.add_capabilities(capability);
        }
        let _ = config.set_max_write(REQUEST_BYTES_MAX);
        let _ = config.set_max_background(BACKGROUND_REQUESTS);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        guarded(|| {
            let name = match text(name) {
                Ok(name) => name,
                Err(errno) => return reply.error(refused(errno)),
            };
            let fs = self.0.clone();
            self.0.tree.lookup(parent.0, name, move |found| match found {
                Ok(node) => reply.entry(&BELIEVED, &file_attr(&fs.attributes(&node)), Generation(0)),
                Err(errno) => reply.error(refused(errno)),
            });
        });
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        guarded(|| self.0.tree.forget(ino.0, count));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        guarded(|| match self.0.tree.node(ino.0) {
            Ok(node) => reply.attr(&BELIEVED, &self.attr(&node)),
            Err(errno) => reply.error(refused(errno)),
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        guarded(|| match self.0.read_link(ino.0).as_deref() {
            Ok(Node { content: NodeContent::Symlink(target), .. }) => reply.data(target.as_bytes()),
            Ok(_) => reply.error(fuser::Errno::EINVAL),
            Err(errno) => reply.error(refused(*errno)),
        });
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        guarded(|| match self.0.open(ino.0, flags.acc_mode() != OpenAccMode::O_RDONLY) {
            Ok(opened) => {
                // Closing has nothing to flush, so the kernel need not ask.
                let mut flags = FopenFlags::FOPEN_NOFLUSH | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
                flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
                reply.opened(FileHandle(opened.handle), flags);
            }
            Err(errno) => reply.error(refused(errno)),
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        guarded(|| {
            self.0.read(handle.0, offset, size as usize, |read| match read {
                Ok(bytes) => reply.data(bytes),
                Err(errno) => reply.error(refused(errno)),
            });
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        guarded(|| match self.0.write(handle.0, data, offset) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(refused(errno)),
        });
    }

    /// What is written to a scratch file is gone with the mount, so nothing need be made durable.
    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        guarded(|| {
            let state = match whence {
                SEEK_DATA => Ok(ExtentState::Data),
                SEEK_HOLE => Ok(ExtentState::Zero),
                _ => Err(Errno::INVAL),
            };
            let offset = u64::try_from(offset).map_err(|_| Errno::NXIO);
            let found = offset.and_then(|offset| self.0.seek(handle.0, offset, state?));
            match found.and_then(|at| i64::try_from(at).map_err(|_| Errno::OVERFLOW)) {
                Ok(at) => reply.offset(at),
                Err(errno) => reply.error(refused(errno)),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        guarded(|| {
            reply.ok();
            self.0.close(handle.0);
        });
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        guarded(|| {
            self.0.open_directory(ino.0, move |opened| match opened {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(errno) => reply.error(refused(errno)),
            });
        });
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        guarded(|| {
            let listing = match self.0.listing(handle.0) {
                Ok(listing) => listing,
                Err(errno) => return reply.error(refused(errno)),
            };
            for (next, ino, node, name) in Self::plain_entries(&listing).skip(skipped(offset)) {
                let kind = node.map_or(Kind::Directory, |node| self.0.attributes(node).kind);
                if reply.add(INodeNo(ino), next, file_type(kind), name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        guarded(|| {
            let listing = match self.0.listing(handle.0) {
                Ok(listing) => listing,
                Err(errno) => return reply.error(refused(errno)),
            };
            for (next, ino, node, name) in Self::plain_entries(&listing).skip(skipped(offset)) {
                let is_full = match node {
                    None => {
                        let attr = file_attr(&self.0.directory_attributes(ino));
                        reply.add(INodeNo(ino), next, name, &Duration::ZERO, &attr, Generation(0))
                    }
                    Some(node) => {
                        let (node, is_current) = self.0.tree.give_out_listed(node);
                        let believed = if is_current { BELIEVED } else { Duration::ZERO };
                        let attr = self.attr(&node);
                        let is_full = reply.add(INodeNo(ino), next, name, &believed, &attr, Generation(0));
                        if is_full {
                            self.0.tree.forget(ino, 1);
                        }
                        is_full
                    }
                };
                if is_full {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        guarded(|| {
            reply.ok();
            self.0.close_directory(handle.0);
        });
    }

    /// As on any read-only file system: what is stored, and nothing free.
    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        guarded(|| {
            let Totals { revisions, stored_bytes } = self.0.totals();
            let blocks = stored_bytes.div_ceil(u64::from(STATFS_BLOCK_BYTES));
            reply.statfs(blocks, 0, 0, revisions, 0, STATFS_BLOCK_BYTES, 255, STATFS_BLOCK_BYTES);
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        guarded(|| match text(name).and_then(|name| self.0.xattr(ino.0, name)) {
            Ok(value) => reply_xattr(value.as_bytes(), size, reply),
            Err(Errno::NOENT) => reply.error(refused(Errno::NODATA)),
            Err(errno) => reply.error(refused(errno)),
        });
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        guarded(|| match self.0.xattr_names(ino.0) {
            Ok(names) => reply_xattr(&names, size, reply),
            Err(errno) => reply.error(refused(errno)),
        });
    }

    // Whatever would change something. On a read-only mount the kernel answers before it asks.

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(fuser::Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(fuser::Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(fuser::Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(fuser::Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(fuser::Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(fuser::Errno::EROFS);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(fuser::Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(fuser::Errno::EROFS);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(fuser::Errno::EROFS);
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(fuser::Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(fuser::Errno::EROFS);
    }
}

/// From lseek(2).
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Answers as getxattr(2) and listxattr(2) want it: a size of 0 asks for the length.
fn reply_xattr(value: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(value.len()) {
        Ok(len) if size == 0 => reply.size(len),
        Ok(len) if len <= size => reply.data(value),
        _ => reply.error(refused(Errno::RANGE)),
    }
}
