//! A disk of one revision, in a directory that goes with it.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_core::backup::{self, BackupParams, Source};
use cairn_core::disk::{Disk, DiskLock, DiskOptions};
use cairn_core::image::Image;
use cairn_core::io::OsFiles;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::revision::RevisionId;
use cairn_core::source::PathSource;

/// Length of the blocks.
pub const BLOCK_LEN: usize = 64 * 1024;
/// So long that the map has the height of a disk of 1 TiB.
const IMAGE_LEN: u64 = 1 << 40;

/// A directory in the temporary directory, removed with all that is in it.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes it; `name` tells it from others of this process.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cairn-bench-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// See the module.
pub struct Store {
    disk: Disk,
    /// The revision, with caches that hold all of it.
    pub image: Image,
    /// Its first bytes; zeros follow.
    pub bytes: Vec<u8>,
    _directory: Directory,
}

impl Store {
    /// Backs up an image that begins with `bytes`.
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        let directory = Directory::new(name);
        let source = directory.path().join("source.img");
        let file = std::fs::File::create(&source).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.set_len(IMAGE_LEN).unwrap();
        let options = DiskOptions::default();
        let disk = Disk::create(Arc::new(OsFiles), &directory.path().join("disk"), options).unwrap();
        let lock = DiskLock::take(&disk.paths().directory, "a benchmark").unwrap();
        let params = BackupParams {
            name: "bench".into(),
            source: Source::Block(PathSource::open(&source).unwrap().into()),
            description: serde_json::Map::new(),
            consistency: None,
            tags: Vec::new(),
            threads: 0,
            require: None,
            background: backup::Background::default(),
        };
        let taken = backup::prepare(&disk, lock, params, Arc::default()).unwrap().commit().unwrap();
        std::fs::remove_file(source).unwrap();
        let image = open(&disk, &taken.manifest.revision, CacheBudget::default());
        Self { disk, image, bytes, _directory: directory }
    }

    /// The revision with a cache that holds hardly a block, so that every block read is decoded.
    pub fn cold(&self) -> Image {
        let revision = &self.disk.revisions().unwrap()[0];
        open(&self.disk, revision, CacheBudget { blocks_bytes: 1 << 20, ..CacheBudget::default() })
    }
}

fn open(disk: &Disk, revision: &RevisionId, budget: CacheBudget) -> Image {
    let caches = Arc::new(Caches::new(budget));
    let records = Records::new(Arc::clone(disk.files()), disk.paths().segments(), caches);
    Image::open(disk, Arc::new(records), revision).unwrap()
}
