//! Manifests, state files and disk.json: the readable part of a disk's directory.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::Codec;
use crate::digest::Digest;
use crate::error::{Damage, Error, Result, corrupt};
use crate::io::{self, File, Files};
use crate::map::{Fanout, MapRoot};
use crate::probe::Survey;
use crate::revision::RevisionId;
use crate::text;
use crate::units::{Geometry, is_block_size};

/// Numbers up to here survive JSON readers that hold them as doubles, and leave room to count on.
pub(crate) const SEQUENCE_MAX: u64 = 1 << 52;
const TAG_LEN_MAX: usize = 32;

/// At which moment the bytes of a revision were true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// The guest had been asked to flush and hold still.
    Frozen,
    /// All at one moment: nothing wrote meanwhile.
    Snapshot,
    /// Smeared over the time of reading.
    Live,
}

impl Consistency {
    /// Whether it is at least as good as `required`.
    #[must_use]
    pub fn satisfies(self, required: Self) -> bool {
        self.rank() >= required.rank()
    }

    fn rank(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::Snapshot => 1,
            Self::Frozen => 2,
        }
    }
}

/// Whether holes of the source were skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holes {
    /// By SEEK_DATA and SEEK_HOLE.
    Seek,
    /// Every byte was read.
    Dense,
}

/// How the source was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// `full`: every block was looked at. `diff`: those that something outside said to differ.
    pub method: String,
    /// Past the page cache.
    pub direct: bool,
    /// See [`Holes`].
    pub holes: Holes,
    /// Sentences about what was not as it should be.
    pub notes: Vec<String>,
}

/// How a comparison with the source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All that was compared is the same.
    Passed,
    /// Something differs although nothing wrote to the source.
    Failed,
    /// Nothing is known: it could not be made, did not come to its end, or found differences that
    /// writes to the source explain.
    Unverified,
}

/// The comparison of a new revision with its source, made by the backup itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// Bytes that were compared, holes included.
    pub checked_bytes: u64,
    /// Of these, bytes in blocks that differ.
    pub differing_bytes: u64,
    /// Why the verdict is not `passed`, in a clause.
    pub reason: Option<String>,
}

/// Something about a disk that a person should look at before it becomes a loss. The revision is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlyWarning {
    /// One of those of docs/format.md, or of a later version.
    pub kind: String,
    /// A clause; names of a guest are escaped in it.
    pub message: String,
}

/// What a revision cost. Bytes, and milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Read from the source.
    pub read_bytes: u64,
    /// In blocks that differ from the parent's; for a first revision, that are not zero.
    pub changed_bytes: u64,
    /// In zero blocks, holes included.
    pub zero_bytes: u64,
    /// Of segment files that this revision added.
    pub stored_bytes: u64,
    /// In blocks that are not zero.
    pub allocated_bytes: u64,
    /// From start to commit.
    pub duration_ms: u64,
}

/// The manifest of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Format of this file.
    pub format: u64,
    /// The disk's name when this was taken; the directory's name is what counts.
    pub disk: String,
    /// The id, which is the file's name.
    pub revision: RevisionId,
    /// Rises with every revision of the disk.
    pub sequence: u64,
    /// When reading began.
    pub started_at: Timestamp,
    /// When reading had ended.
    pub finished_at: Timestamp,
    /// See [`Consistency`].
    pub consistency: Consistency,
    /// Where the bytes came from, as the control plane describes it.
    pub source: serde_json::Map<String, serde_json::Value>,
    /// How they were read.
    pub reading: Reading,
    /// Bytes of the image.
    pub size_bytes: u64,
    /// Bytes of a block.
    pub block_size_bytes: u32,
    /// Codec of new records.
    pub codec: Codec,
    /// Root of the block map.
    pub map: MapRoot,
    /// Highest segment that existed when this was written: ids above it are not taken.
    pub highest_segment: u32,
    /// Authenticates the whole image.
    pub image_digest: Digest,
    /// The revision that this one was compared with; never needed to read.
    pub parent: Option<RevisionId>,
    /// What it cost.
    pub counters: Counters,
    /// Whether it is what the source held; manifests of the first versions have none.
    #[serde(default)]
    pub comparison: Option<Comparison>,
    /// What was noticed when it was taken; manifests of the first versions have none.
    #[serde(default)]
    pub early_warnings: Vec<EarlyWarning>,
    /// Partition table and file systems.
    pub layout: Survey,
}

impl Manifest {
    /// The format of manifests whose map may name blocks that others are encoded against: a version
    /// that knows none of these would take the map for damaged. All others have [`text::FORMAT`].
    pub const FORMAT_WITH_BASES: u64 = 2;

    /// Size and blocks.
    ///
    /// # Errors
    /// `InvalidArgument` never, once [`Manifest::decode`] has checked them.
    pub fn geometry(&self) -> Result<Geometry> {
        Geometry::new(self.size_bytes, self.block_size_bytes)
            .ok_or_else(|| Error::InvalidArgument("impossible size or block size".into()))
    }

    /// Decodes and checks a manifest: fields against each other, and the image digest.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        let manifest: Self = text::decode_up_to(Self::FORMAT_WITH_BASES, bytes, path)?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// Reads, decodes and checks a manifest file.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `NotFound`, `Io`.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Self> {
        Self::decode(&text::bytes_of(files, path)?, path)
    }

    /// As [`Manifest::read`], of a file that was opened at `path`.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `Io`.
    pub fn read_open(file: &dyn File, path: &Path) -> Result<Self> {
        Self::decode(&text::bytes_of_open(file, path)?, path)
    }

    fn check(&self, path: &Path) -> Result<()> {
        let wrong = |what| Err(corrupt(path, Damage::Contradiction(what)));
        let Some(geometry) = Geometry::new(self.size_bytes, self.block_size_bytes) else {
            return wrong("its size or block size is impossible");
        };
        if self.sequence > SEQUENCE_MAX {
            return wrong("its sequence is impossible");
        }
        if self.map.height != self.map.fanout.height_for(geometry.block_count()) {
            return wrong("the height of its map does not fit its size");
        }
        if self.map.allocated_blocks() > geometry.block_count() {
            return wrong("it has more allocated blocks than blocks");
        }
        if self.map.image_digest(geometry) != self.image_digest {
            return wrong("its image digest does not fit its map");
        }
        let stem =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
        if stem.is_some_and(|stem| RevisionId::parse(stem).is_some_and(|id| id != self.revision)) {
            return wrong("it is the manifest of another revision");
        }
        Ok(())
    }
}

/// What is thought of a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Nothing speaks against it.
    #[default]
    Trusted,
    /// Something does.
    Distrusted,
    /// It was compared or drilled.
    Verified,
}

/// What may change about a revision; replaced atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Format of this file.
    pub format: u64,
    /// Why it is kept.
    pub tags: Vec<String>,
    /// See [`Trust`].
    pub trust: Trust,
    /// Never pruned while set.
    pub protected: bool,
    /// What needs the revision's bytes from outside of the repository. It is protected while there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlays: Vec<Overlay>,
    /// Whether it stays protected when the last of `overlays` has gone; false where there are none.
    #[serde(default, rename = "protectedOtherwise", skip_serializing_if = "std::ops::Not::not")]
    pub protected_otherwise: bool,
}

/// A writable image that has nothing but what differs from the revision under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overlay {
    /// Absolute, on the machine where it was made.
    pub path: String,
    /// The revision's image in a mount, as the overlay names it.
    pub backing: String,
    /// Who made it, for people.
    pub by: String,
    /// Which machine it was made on; null where that could not be told.
    pub machine: Option<String>,
    /// When.
    pub made_at: Timestamp,
}

impl State {
    /// Reads and checks a state file; a missing one is a trusted revision without tags.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `Io`.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Self> {
        let state: Self = match text::read(files, path) {
            Err(Error::NotFound { .. }) => return Ok(State { format: text::FORMAT, ..State::default() }),
            other => other?,
        };
        if state.tags.iter().all(|tag| is_tag(tag)) {
            return Ok(state);
        }
        Err(corrupt(path, Damage::Contradiction("one of its tags cannot be one")))
    }

    /// Replaces a state file, durably.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, files: &dyn Files, path: &Path) -> Result<()> {
        use crate::error::AtPath;
        io::replace(files, path, &text::encode(self)?).at("writing", path)
    }
}

/// Whether a text can be a tag: tags are names of directories in the mount.
fn is_tag(text: &str) -> bool {
    let is_small = |byte: u8| byte.is_ascii_lowercase();
    let may_follow = |byte: u8| is_small(byte) || byte.is_ascii_digit() || b"_-".contains(&byte);
    text.len() <= TAG_LEN_MAX
        && text != "latest"
        && text.bytes().next().is_some_and(is_small)
        && text.bytes().all(may_follow)
}

/// disk.json: what holds for new revisions of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskFile {
    /// Format of this file.
    pub format: u64,
    /// 128 random bits as hexadecimal digits; copies of a directory share it.
    pub id: String,
    /// When the disk was first backed up.
    pub created_at: Timestamp,
    /// Bytes of a block in new trees.
    pub block_size_bytes: u32,
    /// Entries of a map page in new trees.
    pub fanout: u32,
    /// Codec of new records.
    pub codec: Codec,
    /// Reserved; always null in format 1.
    pub encryption: Option<()>,
}

impl DiskFile {
    /// Reads and checks disk.json.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `NotFound`, `Io`.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Self> {
        let disk: Self = text::read(files, path)?;
        let wrong = |what| Err(corrupt(path, Damage::Contradiction(what)));
        if !is_block_size(disk.block_size_bytes) {
            return wrong("its block size is impossible");
        }
        if Fanout::new(disk.fanout).is_none() {
            return wrong("its fan-out is impossible");
        }
        if disk.id_bytes().is_none() {
            return wrong("its id is not 32 hexadecimal digits");
        }
        Ok(disk)
    }

    /// Stands for one that cannot be read, where nothing depends on what it says.
    pub(crate) fn stand_in() -> Self {
        Self {
            format: text::FORMAT,
            id: String::new(),
            created_at: Timestamp::UNIX_EPOCH,
            block_size_bytes: crate::units::BLOCK_SIZE_DEFAULT,
            fanout: Fanout::DEFAULT.entries(),
            codec: Codec::Zstd,
            encryption: None,
        }
    }

    /// The id as bytes.
    #[must_use]
    pub fn id_bytes(&self) -> Option<[u8; 16]> {
        let value = u128::from_str_radix(&self.id, 16).ok()?;
        (self.id.len() == 32 && !self.id.starts_with('+')).then_some(value.to_be_bytes())
    }
}

/// Paths within a disk's directory.
#[derive(Clone, Debug)]
pub struct DiskPaths {
    /// `disks/<disk>`
    pub directory: PathBuf,
}

impl DiskPaths {
    /// For the directory of a disk.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// disk.json
    #[must_use]
    pub fn disk_file(&self) -> PathBuf {
        self.directory.join("disk.json")
    }

    /// The file that is locked.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Segments.
    #[must_use]
    pub fn segments(&self) -> PathBuf {
        self.directory.join("segments")
    }

    /// Manifests and state files.
    #[must_use]
    pub fn revisions(&self) -> PathBuf {
        self.directory.join("revisions")
    }

    /// The bounded index by digest.
    #[must_use]
    pub fn dedup(&self) -> PathBuf {
        self.directory.join("dedup")
    }

    /// One manifest.
    #[must_use]
    pub fn manifest(&self, revision: &RevisionId) -> PathBuf {
        self.revisions().join(format!("{revision}.json"))
    }

    /// Manifests that were removed and may still be read.
    #[must_use]
    pub fn retired(&self) -> PathBuf {
        self.directory.join("retired")
    }

    /// One of those.
    #[must_use]
    pub fn retired_manifest(&self, revision: &RevisionId) -> PathBuf {
        self.retired().join(format!("{revision}.json"))
    }

    /// The highest numbers that removed revisions had.
    #[must_use]
    pub fn marks(&self) -> PathBuf {
        self.directory.join("marks.json")
    }

    /// Records that were found unreadable.
    #[must_use]
    pub fn damaged(&self) -> PathBuf {
        self.directory.join("damaged")
    }

    /// Records that may be gone.
    #[must_use]
    pub fn condemned(&self) -> PathBuf {
        self.directory.join("condemned")
    }

    /// One state file.
    #[must_use]
    pub fn state(&self, revision: &RevisionId) -> PathBuf {
        self.revisions().join(format!("{revision}.state.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MemoryFiles;

    #[test]
    fn a_state_tells_of_overlays_where_there_are_any() {
        let (files, path) = (MemoryFiles::default(), Path::new("/d/state.json"));
        files.create_directory(Path::new("/d")).unwrap();
        let written = |state: &State| {
            state.write(&files, path).unwrap();
            assert_eq!(State::read(&files, path).unwrap(), *state);
            String::from_utf8(text::encode(state).unwrap()).unwrap()
        };
        let overlay = Overlay {
            path: "/srv/vm1.qcow2".into(),
            backing: "/mnt/cairn/vm1/20261120T201500Z-k3f9/disk.img".into(),
            by: "root@host".into(),
            machine: None,
            made_at: "2026-11-20T20:15:00Z".parse().unwrap(),
        };
        let mut state = State { format: 1, protected: true, ..State::default() };
        assert!(!written(&state).contains("verlay") && !written(&state).contains("Otherwise"));
        state.overlays.push(overlay);
        state.protected_otherwise = true;
        assert!(written(&state).contains(r#""protectedOtherwise": true"#));
    }

    #[test]
    fn a_state_with_a_tag_that_cannot_be_one_is_damaged() {
        let (files, path) = (MemoryFiles::default(), Path::new("/d/state.json"));
        files.create_directory(Path::new("/d")).unwrap();
        let read_with = |tag: &str| {
            let tags = vec!["daily".to_owned(), tag.to_owned()];
            let state = State { format: 1, tags, ..State::default() };
            state.write(&files, path).unwrap();
            State::read(&files, path).map(|read| read == state)
        };
        for good in ["a", "manual", "x-1_y", &"t".repeat(32)] {
            assert!(read_with(good).unwrap(), "{good}");
        }
        let long = "t".repeat(33);
        for bad in ["", "..", "../../etc", "a/b", "A", "1", "-a", "latest", "a\n", "a\0", "ä", long.as_str()]
        {
            assert!(matches!(read_with(bad), Err(Error::Corrupt { .. })), "{bad}");
        }
    }
}
