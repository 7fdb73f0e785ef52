//! A disk in memory, backups of images in memory, and what must hold of the disk at any time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_core::backup::{self, BackupParams, Source, Taken};
use cairn_core::codec::Codec;
use cairn_core::digest::Digest;
use cairn_core::disk::{Disk, DiskLock, DiskOptions};
use cairn_core::image::Image;
use cairn_core::io::{Files, SimulatedFiles};
use cairn_core::manifest::State;
use cairn_core::map::{BlockPointer, Fanout};
use cairn_core::record::Kind;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::revision::RevisionId;
use cairn_core::segment::SegmentReader;
use cairn_core::source::StreamSource;
use cairn_core::units::SegmentId;
use cairn_core::{Error, Result};

pub(crate) const BLOCK: usize = 4096;
/// Four blocks to a segment, so that some are sealed in the middle of a backup.
const SEGMENT_LEN: u64 = 4 * BLOCK as u64;

pub(crate) type Bytes = Arc<[u8]>;

/// A file system with one disk, and what it must hold.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) files: SimulatedFiles,
    /// Revisions that were reported as done.
    pub(crate) done: BTreeMap<RevisionId, Bytes>,
}

pub(crate) fn directory() -> PathBuf {
    PathBuf::from("/disks/disk")
}

/// Bytes that do not repeat, a block for each number; 0 gives a block of zeros.
pub(crate) fn blocks(numbers: &[u64]) -> Bytes {
    numbers.iter().flat_map(|&number| block(number)).collect()
}

fn block(number: u64) -> Vec<u8> {
    if number == 0 {
        return vec![0; BLOCK];
    }
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(word).take(BLOCK / 8).flatten().collect()
}

/// Durable directories that the disk's is made in.
pub(crate) fn empty() -> SimulatedFiles {
    let files = SimulatedFiles::new(7);
    files.create_directory(Path::new("/disks")).unwrap();
    files.sync_directory(Path::new("/")).unwrap();
    files
}

pub(crate) fn create(files: &SimulatedFiles) -> Result<Disk> {
    let fanout = Fanout::new(32).unwrap();
    let options = DiskOptions { block_size: BLOCK as u32, codec: Codec::Plain, fanout };
    Disk::create(Arc::new(files.clone()), &directory(), options)
}

/// The image comes from a pipe that holds all of it.
pub(crate) fn stream(image: &[u8]) -> Source {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, image.len().max(4096)).unwrap();
    std::io::Write::write_all(&mut writer, image).unwrap();
    Source::Stream(StreamSource::new(reader.into(), Some(image.len() as u64)))
}

impl Lab {
    /// With a new disk.
    pub(crate) fn new() -> Self {
        let files = empty();
        create(&files).unwrap();
        Self { files, done: BTreeMap::new() }
    }

    /// The same state on files of its own.
    pub(crate) fn fork(&self) -> Self {
        self.on(self.files.after_kill())
    }

    /// The same promises on other files.
    pub(crate) fn on(&self, files: SimulatedFiles) -> Self {
        Self { files, done: self.done.clone() }
    }

    pub(crate) fn disk(&self) -> Result<Disk> {
        let disk = Disk::open(Arc::new(self.files.clone()), &directory())?;
        Ok(disk.sealing_segments_at(SEGMENT_LEN))
    }

    pub(crate) fn prepare(&self, image: &[u8]) -> Result<backup::Pending> {
        self.prepare_from(stream(image))
    }

    pub(crate) fn prepare_from(&self, source: Source) -> Result<backup::Pending> {
        let lock = DiskLock::take_on(Arc::new(self.files.clone()), &directory(), "a test")?;
        let params = BackupParams {
            name: "disk".into(),
            source,
            description: serde_json::Map::new(),
            consistency: None,
            tags: vec!["kept".into()],
            threads: 1,
            require: None,
            background: backup::Background::default(),
        };
        backup::prepare(&self.disk()?, lock, params, Arc::default())
    }

    /// Takes a revision; what is reported as done is held against the disk from then on.
    pub(crate) fn backup(&mut self, image: &Bytes) -> Result<Taken> {
        let taken = self.prepare(image)?.commit()?;
        self.done.insert(taken.manifest.revision.clone(), Arc::clone(image));
        Ok(taken)
    }

    pub(crate) fn records(&self) -> Arc<Records> {
        let caches = Arc::new(Caches::new(CacheBudget { pages_bytes: 1 << 20, blocks_bytes: 1 << 20 }));
        Arc::new(Records::new(Arc::new(self.files.clone()), directory().join("segments"), caches))
    }

    /// All bytes of a revision.
    pub(crate) fn read(&self, revision: &RevisionId) -> Result<Vec<u8>> {
        let image = Image::open(&self.disk()?, self.records(), revision)?;
        let mut found = vec![0; usize::try_from(image.geometry().size_bytes()).unwrap()];
        image.read(&mut found, 0)?;
        Ok(found)
    }

    /// What a block of a revision points at.
    pub(crate) fn pointer(&self, revision: &RevisionId, block: u64) -> Result<Option<BlockPointer>> {
        let image = Image::open(&self.disk()?, self.records(), revision)?;
        Ok(image.pointers(block..block + 1)?.pop().flatten())
    }

    /// Every revision that was reported is there and is what its source was; what is there besides
    /// is whole, too: it is `perhaps`, which was under way.
    pub(crate) fn check_revisions(&self, perhaps: &[u8]) {
        let disk = self.disk().unwrap();
        let listed = disk.revisions().unwrap();
        for revision in self.done.keys() {
            assert!(listed.contains(revision), "{revision} was reported and is gone");
        }
        for revision in &listed {
            let found = self.read(revision).unwrap_or_else(|error| panic!("{revision}: {error}"));
            let expected = self.done.get(revision).map_or(perhaps, |bytes| bytes);
            assert!(found == expected, "{revision} is not what its source was");
            let state = State::read(&self.files, &disk.paths().state(revision)).unwrap();
            // The names of the two may come apart before the revision is reported.
            let is_reported = self.done.contains_key(revision);
            assert!(state.tags == ["kept"] || (!is_reported && state.tags.is_empty()));
        }
    }

    /// Digests of the blocks in sealed segments above all that a manifest knows.
    pub(crate) fn adoptable(&self) -> (u32, HashSet<Digest>) {
        let disk = self.disk().unwrap();
        let newest = disk.revisions().unwrap().last().map(|id| disk.manifest(id).unwrap().highest_segment);
        let above = newest.unwrap_or(0);
        let segments: Vec<_> = disk.segments().unwrap().into_iter().filter(|id| id.0 > above).collect();
        let digests = segments.iter().flat_map(|&id| self.blocks_in(id).unwrap_or_default()).collect();
        (segments.last().map_or(above, |last| last.0), digests)
    }

    /// How many of these blocks stand in segments above.
    pub(crate) fn stored_again(&self, above: u32, digests: &HashSet<Digest>) -> usize {
        let segments = self.disk().unwrap().segments().unwrap();
        let new = segments.into_iter().filter(|id| id.0 > above);
        new.flat_map(|id| self.blocks_in(id).unwrap()).filter(|digest| digests.contains(digest)).count()
    }

    fn blocks_in(&self, id: SegmentId) -> Result<Vec<Digest>> {
        let segments = directory().join("segments");
        let (_, entries) = SegmentReader::open_with_entries(&self.files, &segments, id)?;
        let blocks = entries.iter().filter(|entry| entry.kind == Kind::Block);
        Ok(blocks.map(|entry| entry.digest).collect())
    }

    /// After a backup went through, every file is one that a revision needs, that the disk itself
    /// needs, or a whole segment that collect knows what to do with.
    pub(crate) fn check_nothing_leaks(&self) {
        let disk = self.disk().unwrap();
        let revisions = disk.revisions().unwrap();
        let names =
            |path: PathBuf| -> BTreeSet<String> { self.files.list(&path).unwrap().into_iter().collect() };
        let mut own: Vec<_> = names(directory()).into_iter().collect();
        own.retain(|name| name != "damaged");
        assert_eq!(own, ["dedup", "disk.json", "lock", "revisions", "segments"]);
        let expected = revisions.iter().flat_map(|id| [format!("{id}.json"), format!("{id}.state.json")]);
        let found = names(disk.paths().revisions());
        let expected: BTreeSet<_> =
            expected.filter(|name| name.ends_with("Z.json") || found.contains(name)).collect();
        assert_eq!(found, expected);
        let newest = disk.manifest(revisions.last().unwrap()).unwrap();
        for name in names(disk.paths().segments()) {
            let id = cairn_core::segment::id_of(&name).unwrap_or_else(|| panic!("{name} is left"));
            assert!(id.0 <= newest.highest_segment, "{name} is beyond what collect looks at");
            self.blocks_in(id).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

/// Faults of files and nothing stranger, in words.
pub(crate) fn check_error(error: &Error) {
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}
