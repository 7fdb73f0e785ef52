//! Images of real backups: whatever way they are asked, they say what the source held.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::backup::{self, BackupParams, Source};
use crate::disk::{DiskLock, DiskOptions};
use crate::io::{Files, Lock, Mode, OsFiles};
use crate::records::{CacheBudget, Caches};
use crate::source::PathSource;

const BLOCK: usize = 4096;

struct Lab {
    directory: tempfile::TempDir,
    disk: Disk,
    revision: RevisionId,
}

impl Lab {
    fn new(bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source.img");
        std::fs::write(&source, bytes).unwrap();
        let options = DiskOptions { block_size: BLOCK as u32, ..DiskOptions::default() };
        let disk = Disk::create(Arc::new(OsFiles), &directory.path().join("disk"), options).unwrap();
        let lock = DiskLock::take(&disk.paths().directory, "a test").unwrap();
        let params = BackupParams {
            name: "test".into(),
            source: Source::Block(PathSource::open(&source).unwrap().into()),
            description: serde_json::Map::new(),
            consistency: None,
            tags: Vec::new(),
            threads: 1,
            require: None,
            background: backup::Background::default(),
        };
        let taken = backup::prepare(&disk, lock, params, Arc::default()).unwrap().commit().unwrap();
        Self { directory, disk, revision: taken.manifest.revision }
    }

    fn try_image(&self) -> Result<Image> {
        let caches = Arc::new(Caches::new(CacheBudget::default()));
        let records = Records::new(Arc::clone(self.disk.files()), self.disk.paths().segments(), caches);
        Image::open(&self.disk, Arc::new(records), &self.revision)
    }

    fn image(&self) -> Image {
        self.try_image().unwrap()
    }

    fn manifest(&self) -> PathBuf {
        self.disk.paths().manifest(&self.revision)
    }

    /// What collect does before it lets go of a manifest.
    fn can_be_taken(&self, path: &std::path::Path) -> bool {
        OsFiles.open(path, Mode::Read).unwrap().try_flock(Lock::Exclusive).unwrap()
    }
}

/// Bytes of an image, block by block: 0 is a hole, any other value its own noise. The last block is
/// short.
fn image_bytes(blocks: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = blocks
        .iter()
        .enumerate()
        .flat_map(|(index, &kind)| {
            (0..BLOCK).map(move |at| if kind == 0 { 0 } else { (at * 31 + index * 7 + at / 5) as u8 | 1 })
        })
        .collect();
    bytes.truncate(bytes.len() - 1000);
    bytes
}

fn state_at(blocks: &[u8], offset: usize) -> ExtentState {
    if blocks[offset / BLOCK] == 0 { ExtentState::Zero } else { ExtentState::Data }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reads_coverings_and_states_agree_with_the_source(
        blocks in proptest::collection::vec(prop_oneof![Just(0u8), Just(1)], 2..90),
        asked in proptest::collection::vec((0usize..90 * BLOCK, 1usize..5 * BLOCK, any::<bool>()), 30),
    ) {
        let bytes = image_bytes(&blocks);
        let lab = Lab::new(&bytes);
        let image = lab.image();
        for (offset, len, aligned) in asked {
            let offset = if aligned { offset / BLOCK * BLOCK } else { offset } % bytes.len();
            let len = len.min(bytes.len() - offset);
            let expected = &bytes[offset..offset + len];
            let mut found = vec![9; len + 100];
            prop_assert_eq!(image.read(&mut found, offset as u64).unwrap(), found.len().min(bytes.len() - offset));
            prop_assert_eq!(&found[..len], expected);
            let touched = offset / BLOCK..=(offset + len - 1) / BLOCK;
            let is_hole = blocks[touched.clone()].iter().all(|&kind| kind == 0);
            match image.covering(offset as u64, len).unwrap() {
                Some(Covering::Zeros) => prop_assert!(is_hole),
                Some(Covering::Block { bytes, start }) => {
                    prop_assert_eq!(&bytes[start..start + len], expected);
                    prop_assert!(!is_hole);
                }
                None => prop_assert!(!is_hole && touched.count() > 1),
            }
            for state in [ExtentState::Data, ExtentState::Zero] {
                let expected = (offset..bytes.len()).find(|&at| state_at(&blocks, at) == state);
                prop_assert_eq!(image.next(offset as u64, state).unwrap(), expected.map(|at| at as u64));
            }
        }
        let end = bytes.len() as u64;
        prop_assert_eq!(image.next(end, ExtentState::Zero).unwrap(), None);
        prop_assert_eq!(image.next(u64::MAX, ExtentState::Data).unwrap(), None);
    }
}

#[test]
fn a_warm_block_is_read_from_memory() {
    let lab = Lab::new(&image_bytes(&[1, 0, 1]));
    let image = lab.image();
    assert_eq!(
        [0, 1, 2, 3, u64::MAX].map(|block| image.is_warm(block).unwrap()),
        [false, true, false, true, true]
    );
    image.warm(0).unwrap();
    image.warm(1).unwrap();
    image.warm(u64::MAX).unwrap();
    assert!(image.is_warm(0).unwrap() && !image.is_warm(2).unwrap());
    let mut into = vec![0; 2 * BLOCK];
    assert_eq!(image.read_cached(&mut into, 0).unwrap(), Some(2 * BLOCK));
    assert_eq!(image.read_cached(&mut into, BLOCK as u64).unwrap(), None);
    image.read(&mut into, 0).unwrap();
    image.warm(2).unwrap();
    assert!(image.is_warm(2).unwrap());
}

#[test]
fn a_manifest_is_nobodys_to_take_while_its_image_is_open() {
    let lab = Lab::new(&image_bytes(&[1, 1]));
    let image = lab.image();
    let (clone, other) = (image.clone(), lab.image());
    drop(image);
    drop(other);
    assert!(!lab.can_be_taken(&lab.manifest()));
    drop(clone);
    assert!(lab.can_be_taken(&lab.manifest()));
}

#[test]
fn an_image_whose_manifest_was_retired_reads_on() {
    let bytes = image_bytes(&[1, 1, 0]);
    let lab = Lab::new(&bytes);
    let image = lab.image();
    let retired = lab.directory.path().join("disk/retired.json");
    std::fs::rename(lab.manifest(), &retired).unwrap();
    let mut found = vec![0; bytes.len()];
    assert_eq!(image.read(&mut found, 0).unwrap(), bytes.len());
    assert!(found == bytes);
    assert!(matches!(lab.try_image(), Err(Error::NotFound { .. })), "gone for who comes later");
    assert!(!lab.can_be_taken(&retired), "the lock went along");
    drop(image);
    assert!(lab.can_be_taken(&retired));
}

#[test]
fn a_manifest_that_is_being_disposed_of_is_not_opened() {
    let lab = Lab::new(&image_bytes(&[1, 1]));
    let taker = OsFiles.open(&lab.manifest(), Mode::Read).unwrap();
    assert!(taker.try_flock(Lock::Exclusive).unwrap());
    assert!(matches!(lab.try_image(), Err(Error::Locked { .. })));
    drop(taker);
    lab.image();
}
