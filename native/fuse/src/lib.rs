//! The mount: a file system over revisions, served to the kernel by threads of its own.
//!
//! The owner of a mount says what its tree holds ([`entry`]); it is asked for one directory at a
//! time, when somebody first looks into it, and no thread waits for the answer. Everything else,
//! reading above all, happens here.
//!
//! Rooms, lowest rank first (a room uses lower ones only):
//!
//! 1. [`entry`], `errno`, `overlay`, `prefetch`: plain data and arithmetic, storage of what
//!    was written, reading ahead
//! 2. `tree`, `content`: names and inode numbers, the bytes of one open file
//! 3. `fs`, `device`: the answers to requests without any protocol; mount(2) and fusermount3
//! 4. `session`: the library that speaks the protocol
//!
//! The process that serves must never touch its own mount.

mod content;
mod device;
pub mod entry;
mod errno;
mod fs;
mod overlay;
mod prefetch;
mod session;
mod tree;

use std::path::PathBuf;

use cairn_core::image::Image;

pub use device::MountError;
pub use entry::{Answer, Content, Directory, Entry, ImageEntry, Totals};
pub use session::Mounted;

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// An existing directory, absolute.
    pub mountpoint: PathBuf,
    /// Lets other users than the mounting one in.
    pub allow_other: bool,
    /// Owner of all nodes.
    pub uid: u32,
    /// Group of all nodes.
    pub gid: u32,
    /// Whether the group may read.
    pub group_reads: bool,
    /// Where writes to writable images go, into a file without a name; without it the mount is
    /// read-only.
    pub scratch_dir: Option<PathBuf>,
}

/// A range of an image that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The disk's name.
    pub disk: String,
    /// Id of the revision.
    pub revision: String,
    /// First byte in the image.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Why.
    pub message: String,
}

/// What a mount wants of its owner. Called from serving threads: must be quick, [`Host::open_image`]
/// apart, which may do I/O.
pub trait Host: Send + Sync + 'static {
    /// The entries of the directory at `path` are wanted: [`Mounted::answer`] takes them. Not asked
    /// again before that.
    fn ask(&self, path: &str);

    /// A range cannot be read; told once for each 64 KiB.
    fn damaged(&self, damage: Damage);

    /// Opens a revision.
    ///
    /// # Errors
    /// Of the store; the file is then answered with an error number.
    fn open_image(&self, disk_dir: &str, revision: &str) -> cairn_core::Result<Image>;
}
