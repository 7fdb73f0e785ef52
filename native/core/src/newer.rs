//! Looking for files of a later format before anything is changed.
//!
//! Whoever reads meets a later format where it stands, and says so. Whoever changes a disk must know
//! beforehand: a later version may have written there what this one would overlook, and free.

use std::path::Path;
use std::sync::Arc;

use crate::condemned::Condemned;
use crate::damaged::Damaged;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::io::Files;
use crate::job::threads;
use crate::manifest::Manifest;
use crate::retire::{self, Marks};
use crate::revision::RevisionId;
use crate::segment;
use crate::text;
use crate::units::SegmentId;

/// Revisions for which no second thread is worth its start.
const REVISIONS_ALONE: usize = 128;

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The files that a disk has one of, the newest revision, and the segments that a later version
    /// would have written last: a few files however large the disk is.
    Newest,
    /// Every file.
    Everything,
}

/// Whether all that is looked at in the disk's directory is of a format that this version knows.
/// What is missing, damaged or cannot be read says nothing here: whoever needs it will. Writes
/// nothing.
///
/// # Errors
/// `TooNew`.
pub fn refuse(files: Arc<dyn Files>, directory: &Path, depth: Depth) -> Result<()> {
    known(Disk::open(files, directory))?.map_or(Ok(()), |disk| refuse_on(&disk, depth))
}

/// As [`refuse`], of a disk that is open.
///
/// # Errors
/// `TooNew`.
pub fn refuse_on(disk: &Disk, depth: Depth) -> Result<()> {
    let (files, paths) = (&**disk.files(), disk.paths());
    known(Marks::read(disk))?;
    known(Condemned::read(files, &paths.condemned()))?;
    known(Damaged::read(files, &paths.damaged()))?;
    let revisions = disk.revisions().unwrap_or_default();
    let segments = disk.segments().unwrap_or_default();
    let skipped = if depth == Depth::Newest { revisions.len().saturating_sub(1) } else { 0 };
    refuse_revisions(disk, revisions.get(skipped..).unwrap_or(&[]))?;
    if depth == Depth::Newest
        && let Some(revision) = revisions.last()
        && let Some(manifest) = known(disk.manifest(revision))?
    {
        refuse_root(disk, &manifest)?;
    }
    let skipped = if depth == Depth::Newest { segments.len().saturating_sub(1) } else { 0 };
    for &id in segments.iter().skip(skipped) {
        refuse_segment(disk, id)?;
    }
    if depth == Depth::Everything {
        for revision in retire::retired(disk).unwrap_or_default() {
            refuse_text(files, &paths.retired_manifest(&revision), Manifest::FORMAT_WITH_BASES)?;
        }
        for revision in retire::unfinished(disk).unwrap_or_default() {
            refuse_text(files, &retire::aside_of(disk, &revision), Manifest::FORMAT_WITH_BASES)?;
        }
    }
    Ok(())
}

/// Their manifests and state files; many by several threads, since the time goes into opening them.
fn refuse_revisions(disk: &Disk, revisions: &[RevisionId]) -> Result<()> {
    let (files, paths) = (&**disk.files(), disk.paths());
    let refuse_some = |revisions: &[RevisionId]| {
        revisions.iter().try_for_each(|revision| {
            refuse_text(files, &paths.manifest(revision), Manifest::FORMAT_WITH_BASES)?;
            refuse_text(files, &paths.state(revision), text::FORMAT)
        })
    };
    if revisions.len() <= REVISIONS_ALONE {
        return refuse_some(revisions);
    }
    let share = revisions.len().div_ceil(threads(0));
    std::thread::scope(|scope| {
        let running: Vec<_> =
            revisions.chunks(share).map(|some| scope.spawn(move || refuse_some(some))).collect();
        let joined = running.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Worker)));
        joined.fold(Ok(()), Result::and)
    })
}

/// The segments in which the root of a map is stored.
fn refuse_root(disk: &Disk, manifest: &Manifest) -> Result<()> {
    let places = manifest.map.root.iter().flat_map(|root| [Some(root.place), root.copy]).flatten();
    places.map(|place| place.segment).try_for_each(|id| refuse_segment(disk, id))
}

fn refuse_text(files: &dyn Files, path: &Path, newest: u64) -> Result<()> {
    let bytes = known(text::bytes_of(files, path))?;
    bytes.map_or(Ok(()), |bytes| text::refuse_newer(newest, &bytes, path))
}

fn refuse_segment(disk: &Disk, id: SegmentId) -> Result<()> {
    known(segment::refuse_newer(&**disk.files(), &disk.paths().segments(), id)).map(drop)
}

/// Lets the one error through that counts here.
fn known<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error @ Error::TooNew { .. }) => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::digest::{Context, Digest};
    use crate::disk::DiskOptions;
    use crate::io::{MemoryFiles, Mode};
    use crate::record::Kind;
    use crate::segment::SegmentWriter;

    const DIRECTORY: &str = "/disk";

    fn disk() -> (MemoryFiles, Disk) {
        let files = MemoryFiles::default();
        files.create_directory(Path::new("/")).unwrap();
        let disk = Disk::create(Arc::new(files.clone()), Path::new(DIRECTORY), DiskOptions::default());
        (files, disk.unwrap())
    }

    fn refuse_at(files: &MemoryFiles, depth: Depth) -> Result<()> {
        refuse(Arc::new(files.clone()), Path::new(DIRECTORY), depth)
    }

    fn write_segment(files: &MemoryFiles, disk: &Disk, id: u32) {
        let directory = disk.paths().segments();
        let mut writer = SegmentWriter::create(files, &directory, SegmentId(id), [0; 16], 0).unwrap();
        let digest = Digest::of(Context::Block, b"plain");
        writer.append(Kind::Block, Codec::Plain, digest, 5, b"plain").unwrap();
        writer.seal(files).unwrap();
    }

    /// Gives a file other bytes from `at` on.
    fn put(files: &MemoryFiles, path: &Path, at: u64, bytes: &[u8]) {
        files.open(path, Mode::Update).unwrap().write_all_at(bytes, at).unwrap();
    }

    #[test]
    fn a_disk_of_known_formats_is_not_refused_nor_one_that_is_damaged_or_missing() {
        let (files, disk) = disk();
        write_segment(&files, &disk, 1);
        for depth in [Depth::Newest, Depth::Everything] {
            refuse_at(&files, depth).unwrap();
            refuse(Arc::new(files.clone()), Path::new("/nowhere"), depth).unwrap();
        }
        put(&files, &disk.paths().marks(), 0, b"{");
        put(&files, &disk.paths().condemned(), 0, b"CAIRN");
        put(&files, &segment::path_of(&disk.paths().segments(), SegmentId(1)), 20, b"damage");
        refuse_at(&files, Depth::Everything).unwrap();
    }

    #[test]
    fn every_file_that_has_a_format_is_looked_at() {
        let paths = disk().1.paths().clone();
        let revision = crate::revision::RevisionId::parse("20261120T201500Z-k3f9").unwrap();
        for path in [
            paths.disk_file(),
            paths.marks(),
            paths.damaged(),
            paths.manifest(&revision),
            paths.retired_manifest(&revision),
        ] {
            let (files, _) = disk();
            files.create_directory(&paths.retired()).unwrap();
            if path == paths.disk_file() {
                files.unlink(&path).unwrap();
            }
            put(&files, &path, 0, br#"{"format": 3}"#);
            let refused = refuse_at(&files, Depth::Everything);
            assert!(matches!(refused, Err(Error::TooNew { found: 3, .. })), "{path:?}");
        }
        let (files, _) = disk();
        put(&files, &paths.condemned(), 0, b"CAIRNCND\x02\0\0\0");
        assert!(matches!(refuse_at(&files, Depth::Newest), Err(Error::TooNew { found: 2, .. })));
    }

    #[test]
    fn only_the_newest_segment_is_looked_at_unless_all_are() {
        let (files, disk) = disk();
        for id in [1, 2] {
            write_segment(&files, &disk, id);
        }
        let path = |id| segment::path_of(&disk.paths().segments(), SegmentId(id));
        put(&files, &path(1), 8, &[3, 0, 0, 0, 9]);
        refuse_at(&files, Depth::Newest).unwrap();
        assert!(matches!(refuse_at(&files, Depth::Everything), Err(Error::TooNew { .. })));
        put(&files, &path(2), 8, &[3, 0, 0, 0, 9]);
        assert!(matches!(refuse_at(&files, Depth::Newest), Err(Error::TooNew { .. })));
    }
}
