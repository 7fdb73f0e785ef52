//! Segments: files of records, appended to while written, then sealed with an index.
//!
//! ```text
//! header 64 │ record │ record │ … │ index: 48 a record │ trailer 64
//! ```
//!
//! All numbers are little-endian; docs/format.md has every field. A segment is valid only with a
//! trailer and an index that match. Until it is sealed it has a temporary name.
//! Records lie at arbitrary offsets; whoever points at one names its ordinal, and the index, read
//! through the same descriptor, says where it is. So a segment can be rewritten under the same name
//! while readers go on with the old file.

mod index;
mod mend;
mod read;
mod rewrite;
mod scan;
mod verify;
mod write;

pub use index::{IndexEntry, SegmentIndex};
pub use mend::{Parts, Replacement, mend};
pub use read::{Bases, SegmentReader, refuse_newer};
pub use rewrite::{Outline, Rewritten, outline, rewrite};
pub use scan::{Ends, FileHeader, Scanned, ends, read_found, scan};
pub use verify::{Verified, verify};
pub(crate) use write::temporary_path_of;
pub use write::{SealedSegment, SegmentWriter};

use std::path::{Path, PathBuf};

use crate::units::SegmentId;

/// Bytes at which a segment is sealed and the next one begun.
pub const SEGMENT_LEN_TARGET: u64 = 128 * 1024 * 1024;
/// Records at which it is, too: bounds the memory that its index takes.
pub const RECORD_COUNT_MAX: u32 = 128 * 1024;
/// The newest file format of segments that this version knows: that of segments with blocks that
/// are encoded against others. Versions that know none of those refuse such a segment as a whole.
pub const FORMAT: u16 = 2;
/// The file format of all other segments, and of every trailer.
const FORMAT_MIN: u16 = 1;

const FILE_HEADER_LEN: usize = 64;
const FILE_MAGIC: [u8; 8] = *b"CAIRNSEG";
const TRAILER_LEN: usize = 64;
const TRAILER_MAGIC: [u8; 8] = *b"CAIRNIDX";

/// The file of a segment in a disk's `segments` directory.
#[must_use]
pub fn path_of(segments: &Path, id: SegmentId) -> PathBuf {
    segments.join(format!("{id}.seg"))
}

/// The inverse of [`path_of`]'s file name.
#[must_use]
pub fn id_of(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(".seg")?;
    let canonical = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let id = SegmentId(digits.parse().ok().filter(|_| canonical)?);
    (id.0 != 0 && id.to_string() == digits).then_some(id)
}

#[cfg(test)]
mod tests;
