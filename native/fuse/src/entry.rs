//! What the owner of a mount tells about its tree: directories and what is in them. Plain data.
//!
//! Every node has an inode number that its owner gives and never gives to anything else, so what the
//! kernel remembers by number stays true for as long as it likes.

use std::collections::BTreeMap;

use cairn_core::probe::Piece;
use serde::Deserialize;

/// The inode number of the root.
pub const ROOT: u64 = 1;

/// A directory and all that it holds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Its own inode number.
    pub ino: u64,
    /// Its own time, in milliseconds since 1970.
    pub mtime_ms: f64,
    /// In the order in which they are listed. Of two of the same name the first counts.
    pub entries: Vec<Entry>,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The name, without slashes.
    pub name: String,
    /// The inode number of what it names.
    pub ino: u64,
    /// The time of what it names, in milliseconds since 1970.
    pub mtime_ms: f64,
    /// What it names.
    #[serde(flatten)]
    pub content: Content,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Content {
    /// A directory; what it holds is asked for when it is looked into.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: String,
    },
    /// A small file whose bytes are known.
    Text {
        /// Its content.
        text: String,
    },
    /// A file whose bytes are pieces of a revision's image.
    Image(ImageEntry),
}

/// See [`Content::Image`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageEntry {
    /// Directory of the disk in the repository.
    pub disk_dir: String,
    /// The disk's name, for messages.
    pub disk: String,
    /// Id of the revision.
    pub revision: String,
    /// Where its bytes lie in the image, in their order.
    pub pieces: Vec<Piece>,
    /// For `st_blocks`.
    pub allocated_bytes: u64,
    /// Extended attributes by name.
    #[serde(default)]
    pub xattrs: BTreeMap<String, String>,
    /// Takes writes, into a temporary file.
    #[serde(default)]
    pub writable: bool,
}

/// What came of asking for a directory.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is there.
    Found(Directory),
    /// It is there no more.
    Missing,
    /// It could not be read, and its owner has said why.
    Failed,
}

/// What `statfs` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// How many revisions are shown.
    pub revisions: u64,
    /// Bytes that they take in the repository.
    pub stored_bytes: u64,
}
