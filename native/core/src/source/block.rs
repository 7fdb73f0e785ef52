//! A source that is read at offsets, of whichever kind.

use std::path::Path;

use super::nbd::NbdSource;
use super::{Ahead, CacheGuard, PathSource, Witness};
use crate::error::Result;

/// A file, a block device, or an export of an NBD server. Reads may run at the same time.
pub enum BlockSource {
    /// A file or block device.
    Path(PathSource),
    /// An export.
    Nbd(Box<NbdSource>),
}

impl From<PathSource> for BlockSource {
    fn from(source: PathSource) -> Self {
        Self::Path(source)
    }
}

impl From<NbdSource> for BlockSource {
    fn from(source: NbdSource) -> Self {
        Self::Nbd(Box::new(source))
    }
}

impl BlockSource {
    /// What people know it by: a path, or a URI.
    #[must_use]
    pub fn name(&self) -> &Path {
        match self {
            Self::Path(source) => source.path(),
            Self::Nbd(source) => source.name(),
        }
    }

    /// Bytes, as they were when it was opened.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Path(source) => source.size_bytes(),
            Self::Nbd(source) => source.size_bytes(),
        }
    }

    /// Whether reads are known to go past the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        match self {
            Self::Path(source) => source.is_direct(),
            Self::Nbd(_) => false,
        }
    }

    /// Sentences about how it is read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Path(source) => source.notes(),
            Self::Nbd(source) => source.notes(),
        }
    }

    /// Begins to watch for writers, where they can be seen.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        match self {
            Self::Path(source) => Some(source.witness()),
            Self::Nbd(_) => None,
        }
    }

    /// Whether it is proven to hold what it held when `witness` began to watch. Of an export nothing is seen, so
    /// what its maker says is taken: that it is a copy of one moment.
    #[must_use]
    pub fn nothing_wrote(&self, witness: Option<&Witness>, is_said_to_be_still: bool) -> bool {
        match self {
            Self::Path(source) => witness.is_some_and(|witness| witness.nothing_wrote(source)),
            Self::Nbd(_) => is_said_to_be_still,
        }
    }

    /// Fills `into` from `offset`, both multiples of the block size but for the end.
    ///
    /// # Errors
    /// `SourceShort` when the source has shrunk; `Source` with the offset otherwise.
    pub fn read(&self, into: &mut [u8], offset: u64, cache: &CacheGuard) -> Result<()> {
        match self {
            Self::Path(source) => source.read(into, offset, cache),
            Self::Nbd(source) => source.read(into, offset),
        }
    }

    /// What comes at or after `offset`.
    #[must_use]
    pub fn data_after(&self, offset: u64) -> Ahead {
        match self {
            Self::Path(source) => source.data_after(offset),
            Self::Nbd(source) => source.data_after(offset),
        }
    }

    /// Looks at the size again, after reading; true when it has grown. That of an export cannot.
    ///
    /// # Errors
    /// As [`PathSource::has_grown`].
    pub fn has_grown(&self) -> Result<bool> {
        match self {
            Self::Path(source) => source.has_grown(),
            Self::Nbd(_) => Ok(false),
        }
    }
}
