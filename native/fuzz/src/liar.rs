//! A disk directory in memory that was written by somebody who knows the format and means harm.
//!
//! Every checksum and digest is right unless a lie says otherwise, so that fuzzing gets to what lies
//! behind them: pages that name each other over and over, counts that are not true, indexes whose
//! entries lie on one another, headers that tell other lengths than the payload has.

mod plan;
mod write;

pub use plan::Plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_core::disk::Disk;
use cairn_core::image::Image;
use cairn_core::io::MemoryFiles;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::revision::RevisionId;

/// The directory of the disk.
pub const DIRECTORY: &str = "/disks/disk";
/// Room for a few hundred pages and blocks.
const BUDGET: CacheBudget = CacheBudget { pages_bytes: 1 << 20, blocks_bytes: 1 << 20 };

/// A disk that a plan was carried out on.
pub struct Lab {
    pub files: MemoryFiles,
    pub disk: Disk,
}

impl Lab {
    /// `None` where the plan makes nothing that is worth a look.
    pub fn of(plan: &Plan) -> Option<Self> {
        let files = MemoryFiles::default();
        write::disk(&files, plan)?;
        let disk = Disk::open(Arc::new(files.clone()), &directory()).ok()?;
        Some(Self { files, disk })
    }

    /// A reader with caches of its own.
    pub fn records(&self) -> Arc<Records> {
        let caches = Arc::new(Caches::new(BUDGET));
        Arc::new(Records::new(Arc::new(self.files.clone()), self.disk.paths().segments(), caches))
    }

    pub fn image(&self, revision: &RevisionId) -> Option<Image> {
        Image::open(&self.disk, self.records(), revision).ok()
    }

    pub fn images(&self) -> Vec<(RevisionId, Image)> {
        let revisions = self.disk.revisions().unwrap_or_default();
        revisions.into_iter().filter_map(|id| Some((id.clone(), self.image(&id)?))).collect()
    }
}

/// The content of a block of the common length, as records and the index by digest have it.
pub fn block(seed: u8) -> Vec<u8> {
    write::block(seed, None)
}

pub fn directory() -> PathBuf {
    Path::new(DIRECTORY).to_owned()
}
