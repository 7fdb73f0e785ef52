//! What is wrong with the directory of a disk, and mending what can be mended without loss.
//!
//! [`examine`] compares manifests, segments and the small files beside them with each other; it reads
//! map pages and indexes, but no blocks, which is what a scrub does. [`repair`] does what it can and
//! leaves the rest; whoever wants to know what is left examines again. Nothing that can be read is
//! thrown away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::condemned::Condemned;
use crate::damaged::Damaged;
use crate::disk::{Disk, DiskLock, leftovers_in, now};
use crate::error::{AtPath, Error, Result};
use crate::heal;
use crate::io::{self, Files};
use crate::job::{Control, Phase};
use crate::manifest::{DiskFile, DiskPaths, Manifest, State};
use crate::newer;
use crate::retire::{self, Marks};
use crate::revision::RevisionId;
use crate::salvage::{self, Candidate};
use crate::segment;
use crate::text;
use crate::trace::{self, DamagedExtent, Traced};
use crate::units::SegmentId;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something was made by a later version: nothing is touched.
    TooNew,
    /// disk.json cannot be read.
    DiskFile,
    /// The lock file is missing.
    Lock,
    /// A manifest cannot be read.
    Manifest,
    /// The block map of a revision that no manifest names.
    Salvage,
    /// A state file cannot be read.
    State,
    /// A list of the disk's cannot be read: marks.json, condemned or damaged.
    List,
    /// A segment that revisions need is missing.
    SegmentMissing,
    /// A segment that revisions need has no index.
    SegmentIndex,
    /// Records that revisions need are damaged or missing.
    Records,
    /// A removal that did not come to its end.
    Removal,
    /// A file that an interrupted operation left.
    Leftover,
    /// Sealed segments that an interrupted backup left for the next one: nothing is wrong.
    Adoptable,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// See [`Kind`].
    pub kind: Kind,
    /// The file or directory.
    pub path: PathBuf,
    /// A sentence without its full stop.
    pub message: String,
    /// What a repair does about it; `None` where it can do nothing.
    pub repair: Option<String>,
    /// Revisions that it concerns, oldest first.
    pub revisions: Vec<RevisionId>,
    /// Whether something is wrong, rather than only worth knowing.
    pub is_problem: bool,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// By kind, then by path.
    pub findings: Vec<Finding>,
    /// Bytes of revisions that cannot be read.
    pub damaged: Vec<DamagedExtent>,
    /// Revisions that were looked at.
    pub revisions: usize,
}

/// What is behind the name of a damaged manifest that nothing depends on any more.
const DAMAGED_SUFFIX: &str = ".damaged";
/// What a repair does about a manifest that cannot be read.
const WITH_A_MANIFEST: &str = "makes distrusted revisions, tagged “salvaged”, of all block maps that no manifest names, and puts the file aside; a copy of the file would bring the revision itself back";
/// What a repair does about records that are lost.
const OF_COPIES: &str =
    "puts back those that the disk has a copy of; the next backup brings those that its source still holds";

/// Looks at a disk. Changes nothing. Without its lock, what a running operation is writing would look
/// like leftovers, so `is_locked` false leaves those out.
///
/// # Errors
/// `NotFound` where there is no disk; `Cancelled`; `Io` for all but damage.
pub fn examine(
    files: &Arc<dyn Files>,
    directory: &Path,
    is_locked: bool,
    control: &Control,
) -> Result<Examined> {
    control.enter(Phase::Marking);
    let mut found = Examined::default();
    let (disk, error) = open(files, directory)?;
    found.findings.extend(error.map(|error| disk_file_finding(&disk, &error)));
    if files.identity(&disk.paths().lock()).is_err() {
        let message = "The lock file is missing".to_owned();
        found.add(Kind::Lock, disk.paths().lock(), message, Some("makes it again"));
    }
    examine_manifests(&disk, &mut found)?;
    if lacks_manifests(&disk)? {
        let candidates = salvage::survey(&disk, control)?;
        found.findings.extend(candidates.iter().map(|candidate| salvage_finding(&disk, candidate)));
    }
    examine_lists(&disk, &mut found);
    if is_locked {
        examine_leftovers(&disk, &mut found)?;
    }
    let traced = trace::run(&disk, &damaged_list(&disk), control)?;
    examine_records(&disk, &traced, &mut found);
    found.revisions = traced.revisions;
    found.damaged = traced.extents;
    found.findings.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    control.enter(Phase::Done);
    Ok(found)
}

/// Mends what can be mended without loss; the caller holds the lock. Gives sentences, without their
/// full stops, on what was done.
///
/// # Errors
/// `TooNew` before anything is done; `Cancelled`; `Io`.
pub fn repair(
    files: &Arc<dyn Files>,
    directory: &Path,
    lock: &DiskLock,
    control: &Control,
) -> Result<Vec<String>> {
    if !lock.covers(directory) {
        return Err(Error::InvalidArgument("repairing needs the lock of the disk".into()));
    }
    let (disk, error) = open(files, directory)?;
    newer::refuse_on(&disk, newer::Depth::Everything)?;
    let mut done = Vec::new();
    if let Some(error) = error {
        if matches!(error, Error::TooNew { .. }) {
            return Err(error);
        }
        let path = disk.paths().disk_file();
        io::replace(&**files, &path, &text::encode(disk.file())?).at("writing", &path)?;
        done.push("disk.json was made again from a manifest and a segment".to_owned());
    }
    repair_lists(&disk, &mut done)?;
    for path in leftovers(&disk)? {
        files.unlink(&path).at("removing", &path)?;
        done.push(format!("{} was removed", shown(&disk, &path)));
    }
    if !retire::unfinished(&disk)?.is_empty() {
        retire::settle(&disk)?;
        done.push("a removal was brought to its end".to_owned());
    }
    let healed = heal::run(&disk, lock, control)?;
    let lacked_manifests = lacks_manifests(&disk)?;
    if healed.records > 0 || healed.segments > 0 {
        done.push(format!(
            "{} records in {} segments were put back from copies or found by a scan",
            healed.records, healed.segments
        ));
    }
    if lacked_manifests {
        revive(&disk, lock, control, &mut done)?;
    }
    Ok(done)
}

/// Whether a revision may have lost its manifest: one cannot be read, or there are none, not even
/// removed ones, and there are segments.
fn lacks_manifests(disk: &Disk) -> Result<bool> {
    let revisions = disk.revisions()?;
    if revisions.is_empty() && retire::retired(disk)?.is_empty() {
        return Ok(!disk.segments()?.is_empty());
    }
    Ok(revisions.iter().any(|id| matches!(disk.manifest(id), Err(Error::Corrupt { .. }))))
}

/// Makes revisions of all maps that have lost theirs, the oldest first, and then puts damaged
/// manifests aside: nothing that they kept from being collected is without a manifest any more.
fn revive(disk: &Disk, lock: &DiskLock, control: &Control, done: &mut Vec<String>) -> Result<()> {
    let name = disk.paths().directory.file_name().and_then(|name| name.to_str()).unwrap_or("disk").to_owned();
    let candidates = salvage::survey(disk, control)?;
    for candidate in candidates.iter().rev().filter(|candidate| is_worth_reviving(candidate)) {
        let revision = salvage::revive(disk, lock, candidate, &name)?;
        done.push(format!(
            "{revision} was made of a block map without a manifest; it is distrusted and tagged “salvaged”"
        ));
    }
    if candidates.iter().any(|candidate| candidate.is_uncertain) {
        return Ok(());
    }
    for revision in disk.revisions()? {
        if !matches!(disk.manifest(&revision), Err(Error::Corrupt { .. })) {
            continue;
        }
        for path in [disk.paths().state(&revision), disk.paths().manifest(&revision)] {
            let mut aside = path.clone().into_os_string();
            aside.push(DAMAGED_SUFFIX);
            match disk.files().rename(&path, Path::new(&aside)).at("renaming", &path) {
                Ok(()) => done
                    .push(format!("{} was put aside under the ending {DAMAGED_SUFFIX}", shown(disk, &path))),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let directory = disk.paths().revisions();
    disk.files().sync_directory(&directory).at("syncing", &directory)
}

/// Not what a collect found to be removed, nor what a guest may have made up.
fn is_worth_reviving(candidate: &Candidate) -> bool {
    !candidate.is_condemned && !candidate.is_uncertain
}

fn salvage_finding(disk: &Disk, candidate: &Candidate) -> Finding {
    let Candidate { allocated_blocks, block_size_bytes, size_bytes_likely, missing_blocks, .. } = candidate;
    let data = allocated_blocks.saturating_mul(u64::from(*block_size_bytes));
    let when = candidate.segment_created_at.map_or_else(String::new, |time| format!(", stored about {time}"));
    let missing = match missing_blocks {
        0 => String::new(),
        count => format!("; {count} of its blocks are missing"),
    };
    let is_worth_it = is_worth_reviving(candidate);
    let doubt = if is_worth_it { "" } else { "; it may have been removed, or made up by a guest" };
    let segment = candidate.root.root.map_or(SegmentId(0), |root| root.place.segment);
    Finding {
        kind: Kind::Salvage,
        path: segment::path_of(&disk.paths().segments(), segment),
        message: format!(
            "An image without a manifest: about {size_bytes_likely} bytes, {data} of them data{when}{missing}{doubt}"
        ),
        repair: is_worth_it.then(|| "makes a distrusted revision of it, tagged “salvaged”".to_owned()),
        revisions: Vec::new(),
        is_problem: is_worth_it,
    }
}

impl Examined {
    fn add(&mut self, kind: Kind, path: PathBuf, message: String, repair: Option<&str>) {
        let (repair, revisions) = (repair.map(str::to_owned), Vec::new());
        self.findings.push(Finding { kind, path, message, repair, revisions, is_problem: true });
    }

    /// What a person need not act on.
    fn note(&mut self, kind: Kind, path: PathBuf, message: String, repair: Option<&str>) {
        let (repair, revisions) = (repair.map(str::to_owned), Vec::new());
        self.findings.push(Finding { kind, path, message, repair, revisions, is_problem: false });
    }
}

/// The disk, if need be with a disk.json made up from what its files tell, and why.
fn open(files: &Arc<dyn Files>, directory: &Path) -> Result<(Disk, Option<Error>)> {
    match Disk::open(Arc::clone(files), directory) {
        Ok(disk) => Ok((disk, None)),
        Err(error @ (Error::Corrupt { .. } | Error::NotFound { .. } | Error::TooNew { .. })) => {
            let paths = DiskPaths::new(directory);
            files.list(&paths.revisions()).at("listing", &paths.revisions())?;
            let file = guessed(files, &paths)?;
            Ok((Disk::with_file(Arc::clone(files), directory, file), Some(error)))
        }
        Err(error) => Err(error),
    }
}

/// What disk.json must have said: manifests tell how the disk is stored, segments its id.
fn guessed(files: &Arc<dyn Files>, paths: &DiskPaths) -> Result<DiskFile> {
    let mut file = DiskFile { created_at: now(), ..DiskFile::stand_in() };
    let disk = Disk::with_file(Arc::clone(files), &paths.directory, file.clone());
    let mut manifests = disk.revisions()?.into_iter().filter_map(|id| disk.manifest(&id).ok());
    if let Some(first) = manifests.next() {
        file.created_at = first.started_at;
        let newest: Manifest = manifests.next_back().unwrap_or(first);
        (file.block_size_bytes, file.codec) = (newest.block_size_bytes, newest.codec);
        file.fanout = newest.map.fanout.entries();
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(std::io::Error::other).at("making an id for", &paths.directory)?;
    for segment in disk.segments()? {
        match segment::ends(&**files, &paths.segments(), segment).map(|ends| ends.header) {
            Ok(Some(header)) => {
                id = header.disk_id;
                let created = i64::try_from(header.created_unix_s).unwrap_or(0);
                let begun = Timestamp::from_second(created).unwrap_or(file.created_at);
                file.created_at = file.created_at.min(begun);
                break;
            }
            Ok(None) => {}
            Err(error) if error.is_unreadable() => {}
            Err(error) => return Err(error),
        }
    }
    file.id = format!("{:032x}", u128::from_be_bytes(id));
    Ok(file)
}

fn disk_file_finding(disk: &Disk, error: &Error) -> Finding {
    let is_newer = matches!(error, Error::TooNew { .. });
    let repair = "makes it again from a manifest and a segment".to_owned();
    Finding {
        kind: if is_newer { Kind::TooNew } else { Kind::DiskFile },
        path: disk.paths().disk_file(),
        message: format!("{error}; no backup of the disk can be taken without it"),
        repair: (!is_newer).then_some(repair),
        revisions: Vec::new(),
        is_problem: true,
    }
}

fn examine_manifests(disk: &Disk, found: &mut Examined) -> Result<()> {
    for revision in disk.revisions()? {
        if let Err(error) = disk.manifest(&revision) {
            let is_newer = matches!(error, Error::TooNew { .. });
            found.findings.push(Finding {
                kind: if is_newer { Kind::TooNew } else { Kind::Manifest },
                path: disk.paths().manifest(&revision),
                message: format!(
                    "{error}; the revision is not listed, and nothing of the disk is collected meanwhile"
                ),
                repair: (!is_newer).then(|| WITH_A_MANIFEST.to_owned()),
                revisions: vec![revision.clone()],
                is_problem: true,
            });
        }
        let path = disk.paths().state(&revision);
        if let Err(error) = State::read(&**disk.files(), &path) {
            found.findings.push(Finding {
                kind: if matches!(error, Error::TooNew { .. }) { Kind::TooNew } else { Kind::State },
                path,
                message: format!("{error}; the revision counts as protected until it is mended"),
                repair: Some("writes it anew from what the log tells of tags and protection".to_owned()),
                revisions: vec![revision],
                is_problem: true,
            });
        }
    }
    Ok(())
}

fn examine_lists(disk: &Disk, found: &mut Examined) {
    for (path, error, repair) in unreadable_lists(disk) {
        let kind = if matches!(error, Error::TooNew { .. }) { Kind::TooNew } else { Kind::List };
        let is_damaged = matches!(error, Error::Corrupt { .. });
        found.add(kind, path, error.to_string(), Some(repair).filter(|_| is_damaged));
    }
}

/// Lists that cannot be read, and what is done about each.
fn unreadable_lists(disk: &Disk) -> Vec<(PathBuf, Error, &'static str)> {
    let (files, paths) = (&**disk.files(), disk.paths());
    let of = |path: PathBuf, error: Option<Error>, repair| error.map(|error| (path, error, repair));
    [
        of(paths.marks(), Marks::read(disk).err(), "writes it anew from the revisions that are there"),
        of(
            paths.condemned(),
            Condemned::read(files, &paths.condemned()).err(),
            "removes it: the next collect finds anew what may go",
        ),
        of(
            paths.damaged(),
            Damaged::read(files, &paths.damaged()).err(),
            "removes it: the next scrub finds anew what is damaged",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn repair_lists(disk: &Disk, done: &mut Vec<String>) -> Result<()> {
    for (path, error, _) in unreadable_lists(disk) {
        // What only could not be read this time is not thrown away.
        if !matches!(error, Error::Corrupt { .. }) {
            return Err(error);
        }
        if path == disk.paths().marks() {
            retire::rebuild_marks(disk)?;
            done.push("marks.json was written anew".to_owned());
            continue;
        }
        disk.files().unlink(&path).at("removing", &path)?;
        disk.files().sync_directory(&disk.paths().directory).at("syncing", &disk.paths().directory)?;
        done.push(format!("{} was removed", shown(disk, &path)));
    }
    Ok(())
}

/// Temporary files in `retired/` are removals under way, not leftovers.
fn leftovers(disk: &Disk) -> Result<Vec<PathBuf>> {
    let paths = disk.paths();
    let mut all = Vec::new();
    for directory in [&paths.directory, &paths.revisions(), &paths.segments()] {
        all.extend(leftovers_in(&**disk.files(), directory)?);
    }
    Ok(all)
}

fn examine_leftovers(disk: &Disk, found: &mut Examined) -> Result<()> {
    for path in leftovers(disk)? {
        let message = format!(
            "{} was left by an operation that was interrupted; the next backup removes it, too",
            shown(disk, &path)
        );
        found.note(Kind::Leftover, path, message, Some("removes it"));
    }
    for revision in retire::unfinished(disk)? {
        let message =
            format!("The removal of {revision} was interrupted; the next collect brings it to its end, too");
        let path = retire::aside_of(disk, &revision);
        found.note(Kind::Removal, path, message, Some("brings it to its end"));
    }
    let marks = Marks::read(disk).map_or(0, |marks| marks.highest_segment);
    let manifests: Vec<_> = disk.revisions()?.iter().map(|id| disk.manifest(id)).collect();
    let known = manifests.iter().flatten().map(|manifest| manifest.highest_segment).max().unwrap_or(0);
    let above: Vec<_> = disk.segments()?.into_iter().filter(|id| id.0 > known.max(marks)).collect();
    if manifests.iter().all(Result::is_ok) && !above.is_empty() {
        let message =
            format!("{} segments of an interrupted backup wait for the next one to use them", above.len());
        found.note(Kind::Adoptable, disk.paths().segments(), message, None);
    }
    Ok(())
}

/// One finding for each segment of which something that is needed cannot be read.
fn examine_records(disk: &Disk, traced: &Traced, found: &mut Examined) {
    let mut by_segment: BTreeMap<SegmentId, u64> = BTreeMap::new();
    for broken in &traced.broken {
        *by_segment.entry(broken.place.segment).or_default() += 1;
    }
    for (id, count) in by_segment {
        let path = segment::path_of(&disk.paths().segments(), id);
        let (kind, message, repair) = if !traced.lost_segments.contains(&id) {
            let message =
                format!("{count} records that revisions need are damaged or missing in segment {id}");
            (Kind::Records, message, OF_COPIES)
        } else if disk.files().identity(&path).is_ok() {
            let message =
                format!("Segment {id}, with {count} records that revisions need, has no readable index");
            (Kind::SegmentIndex, message, "finds its records by a scan and gives it an index")
        } else {
            let message = format!("Segment {id}, with {count} records that revisions need, is missing");
            (Kind::SegmentMissing, message, OF_COPIES)
        };
        found.add(kind, path, message, Some(repair));
    }
}

fn damaged_list(disk: &Disk) -> Damaged {
    Damaged::read(&**disk.files(), &disk.paths().damaged()).unwrap_or_default()
}

/// A path as seen from the disk's directory.
fn shown(disk: &Disk, path: &Path) -> String {
    path.strip_prefix(&disk.paths().directory).unwrap_or(path).display().to_string()
}
