//! What can go wrong in the store, with the path it went wrong at.

use crate::source::nbd::NbdError;
use crate::source::rbd_diff::DiffError;
use std::io;
use std::path::{Path, PathBuf};

use crate::codec::CodecError;
use crate::manifest::Consistency;
use crate::map::PageError;
use crate::record::HeaderError;

/// Result of store operations.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the store. Its text is a whole clause that names the thing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the repository could not be used.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was being done, as in "reading".
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stored bytes are not what they must be.
    #[error("{path} is damaged: {damage}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// How it was seen.
        damage: Damage,
    },
    /// A file of a later format.
    #[error("{path} has format {found}, and this version knows {known} at most", path = path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that is known here.
        known: u64,
    },
    /// The lock of a disk, or of one of its manifests, is held.
    #[error("{path} is locked by {holder}", path = path.display())]
    Locked {
        /// The disk's directory, or the manifest.
        path: PathBuf,
        /// Who holds it, in its own words.
        holder: String,
    },
    /// There is no such file of the repository.
    #[error("{path} does not exist", path = path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// A caller's value is out of range.
    #[error("{0}")]
    InvalidArgument(String),
    /// The source could not be read.
    #[error("reading {path} at offset {offset}: {source}", path = path.display())]
    Source {
        /// The source.
        path: PathBuf,
        /// Byte offset.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The source ended early.
    #[error("{path} ended at {found} bytes where {expected} were expected", path = path.display())]
    SourceShort {
        /// The source.
        path: PathBuf,
        /// Bytes that there should have been.
        expected: u64,
        /// Bytes that there were.
        found: u64,
    },
    /// What came is no diff that can be applied.
    #[error("{path} is no diff that can be applied: {why}", path = path.display())]
    Diff {
        /// Where it came from.
        path: PathBuf,
        /// What is wrong with it.
        why: DiffError,
    },
    /// An export of an NBD server cannot be used.
    #[error("{path} cannot be read: {why}", path = path.display())]
    Nbd {
        /// Export and socket, as a URI.
        path: PathBuf,
        /// What is wrong with it.
        why: NbdError,
    },
    /// The source gave nothing at all.
    #[error("{path} gave no bytes at all", path = path.display())]
    SourceEmpty {
        /// The source.
        path: PathBuf,
    },
    /// The source gave more than was announced.
    #[error("{path} gave more than the {expected} bytes that were announced", path = path.display())]
    SourceLong {
        /// The source.
        path: PathBuf,
        /// Bytes announced.
        expected: u64,
    },
    /// The source did not hold still as was required.
    #[error("{}", say_restless(path, *found, *required))]
    Restless {
        /// The source.
        path: PathBuf,
        /// What a revision of it would be.
        found: Consistency,
        /// What it should be at least.
        required: Consistency,
    },
    /// The target of a restore could not be written.
    #[error("writing {path} at offset {offset}: {source}", path = path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// Byte offset.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// What was written to a target does not read back.
    #[error("{path} does not read back what was written: {bytes} bytes differ, the first at offset {offset}", path = path.display())]
    TargetDiffers {
        /// The target.
        path: PathBuf,
        /// Of the first block that differs.
        offset: u64,
        /// In blocks that differ.
        bytes: u64,
    },
    /// A part of an image cannot be read, and no copy of it was found.
    #[error(
        "{len} bytes at offset {offset} of the image cannot be read, and no copy of them was found: {source}"
    )]
    Damaged {
        /// In the image.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Why.
        source: Box<Error>,
    },
    /// The target device is smaller than the image.
    #[error("{path} has {found} bytes and the image has {needed}", path = path.display())]
    TargetTooSmall {
        /// The target.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// The image's bytes.
        needed: u64,
    },
    /// Which records are needed cannot be told, so none is freed.
    #[error("nothing is collected as long as this holds: {0}")]
    Unmarked(#[source] Box<Error>),
    /// The job was asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A thread of a job panicked; a fault of this program.
    #[error("a worker stopped unexpectedly; this is a fault in cairn")]
    Worker,
}

impl Error {
    /// Whether it means that the file system or a quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Error::Io { source, .. } if full.contains(&source.kind()))
    }

    /// Whether something of the repository is gone or cannot be read any more, so that trying again
    /// would be of no use: damage, a missing file, or a medium that fails.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        match self {
            Error::Corrupt { .. } | Error::NotFound { .. } => true,
            Error::Io { action: "reading", source, .. } => {
                matches!(
                    source.raw_os_error(),
                    Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN | libc::ENODATA | libc::EREMOTEIO)
                )
            }
            _ => false,
        }
    }
}

fn say_restless(path: &Path, found: Consistency, required: Consistency) -> String {
    let path = path.display();
    let how = match found {
        Consistency::Live => {
            format!("{path} was written to while it was read, or nothing tells that it was not")
        }
        Consistency::Snapshot | Consistency::Frozen => format!("nothing tells that {path} was frozen"),
    };
    let wanted = match required {
        Consistency::Frozen => "a frozen",
        Consistency::Snapshot | Consistency::Live => "a snapshot",
    };
    format!("{how}, and {wanted} revision is required")
}

/// How damage shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// In a record header.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// In a payload.
    #[error("{0}")]
    Codec(#[from] CodecError),
    /// In a map page.
    #[error("{0}")]
    Page(#[from] PageError),
    /// Bytes hash to something else than their pointer says.
    #[error("record {ordinal} does not have the digest that its pointer asks for")]
    Digest {
        /// The record.
        ordinal: u32,
    },
    /// A record that a pointer names is not in the segment, or is another one.
    #[error("record {ordinal} is not there")]
    Missing {
        /// The record.
        ordinal: u32,
    },
    /// A segment without a valid index: unsealed, cut short or overwritten.
    #[error("its index is missing or damaged")]
    Index,
    /// A JSON file that does not parse, or lacks fields.
    #[error("{0}")]
    Json(String),
    /// A JSON file whose checksum does not match.
    #[error("its checksum does not match")]
    Checksum,
    /// Fields that contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Adds the path and the action to a system error.
pub(crate) trait AtPath<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NotFound { path: path.to_owned() },
            _ => Error::Io { action, path: path.to_owned(), source },
        })
    }
}

/// Names the damaged file.
pub(crate) fn corrupt(path: &Path, damage: impl Into<Damage>) -> Error {
    Error::Corrupt { path: path.to_owned(), damage: damage.into() }
}
