//! Taking a revision: one pass over the source, compared with the parent, then the commit.
//!
//! Order of writing (docs/semantics.md): segments with their indexes are synced, then the segments
//! directory; manifest and state are written under temporary names and synced, then renamed; the
//! sync of the revisions directory is the commit. Before it no revision is visible, after it the
//! revision survives any crash.

mod changes;
mod early;
mod feed;
mod patch;
mod prefix;
mod scan;
mod verify;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::condemned::Condemned;
use crate::damaged::Damaged;
use crate::dedup::DedupIndex;
use crate::disk::{Disk, DiskLock, Leftovers, now};
use crate::error::{AtPath, Error, Result};
use crate::image::Image;
use crate::io;
use crate::job::{Control, Phase};
use crate::manifest::{Consistency, Counters, Holes, Manifest, Reading, State, Trust};
use crate::map::{self, ExtentState, Fanout, MapRoot};
use crate::records::{CacheBudget, Caches, Records};
use crate::retire::Marks;
use crate::revision::RevisionId;
use crate::source::{BlockSource, StreamSource};
use crate::text;
use crate::units::{Geometry, SegmentId};
use crate::write::{Absent, Known, RecordWriter, Sealing};

pub use early::Background;

/// What to read.
pub enum Source {
    /// What is read at offsets.
    Block(BlockSource),
    /// A pipe or socket.
    Stream(StreamSource),
    /// What differs from a revision in these extents alone, as something outside tells. What they leave out is
    /// compared in a few random places.
    Changes {
        /// What to read.
        source: BlockSource,
        /// In bytes, in any order; what lies beyond the end is left out.
        extents: Vec<Range<u64>>,
        /// The revision, which must be the newest trusted one.
        from: RevisionId,
    },
    /// What `rbd export-diff` writes.
    Diff {
        /// Where it comes from.
        stream: StreamSource,
        /// What it must lead from.
        from: DiffFrom,
        /// The snapshot that it must lead to.
        to: String,
        /// That snapshot, to compare random parts with, or why the revision stays unverified: a clause.
        sample: std::result::Result<BlockSource, String>,
    },
}

/// What a diff leads from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiffFrom {
    /// From nothing: what it leaves out is zeros.
    Nothing,
    /// From a revision, which must be the newest trusted one.
    Revision {
        /// Its id.
        revision: RevisionId,
        /// The snapshot that it was made from.
        snapshot: String,
    },
}

/// What a backup is to do.
pub struct BackupParams {
    /// The disk's name, for the manifest.
    pub name: String,
    /// What to read.
    pub source: Source,
    /// Goes into the manifest as it is.
    pub description: serde_json::Map<String, serde_json::Value>,
    /// What the caller knows; `None` finds out.
    pub consistency: Option<Consistency>,
    /// Tags of the revision.
    pub tags: Vec<String>,
    /// Worker threads; 0 for as many as are good. With 1 everything happens on the calling thread, in an
    /// order that is the same each time.
    pub threads: usize,
    /// What the revision must be at least; `None` takes what comes.
    pub require: Option<Consistency>,
    /// What early warnings are weighed by.
    pub background: Background,
}

/// A committed revision.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether every byte is as in the parent.
    pub unchanged: bool,
    /// Damaged records of earlier revisions that were mended from what this backup stored again.
    pub healed_records: u64,
    /// Sentences that a person should read.
    pub warnings: Vec<String>,
}

/// A revision of which everything is stored and synced but the manifest.
pub struct Pending {
    disk: Disk,
    lock: DiskLock,
    records: Arc<Records>,
    known: Arc<Known>,
    manifest: Manifest,
    /// The newest revision before this one.
    last: Option<Manifest>,
    background: Background,
    tags: Vec<String>,
    unchanged: bool,
    warnings: Vec<String>,
    begun: Instant,
    control: Arc<Control>,
}

/// What the disk held before.
struct Before {
    newest: Option<Manifest>,
    parent: Option<Manifest>,
    sequence: u64,
    last_id: Option<RevisionId>,
    highest: SegmentId,
    /// The highest segment of a revision that was removed.
    highest_removed: SegmentId,
    /// A manifest newer than `newest` is damaged.
    newest_is_damaged: bool,
    /// What the store holds is not believed by its digests alone.
    is_distrusted: bool,
}

/// Reads the source and stores what is new. The lock is given back by [`Pending::commit`],
/// [`Pending::abort`], or on failure.
///
/// # Errors
/// Of source and store, `Cancelled`, `Restless` where the source did not hold still as was required. Afterwards no revision was made, and of the segments only
/// sealed ones are left, for the next backup to adopt.
pub fn prepare(
    disk: &Disk,
    lock: DiskLock,
    mut params: BackupParams,
    control: Arc<Control>,
) -> Result<Pending> {
    if !lock.look_whether_covers(&disk.paths().directory)? {
        return Err(Error::InvalidArgument("a backup needs the lock of its disk".into()));
    }
    let (begun, started_at) = (Instant::now(), now());
    let mut warnings = Vec::new();
    let mut before = Before::find(disk, &mut warnings)?;
    before.refuse_other_parent(&params.source)?;
    let records = Arc::new(Records::new(
        Arc::clone(disk.files()),
        disk.paths().segments(),
        Arc::new(Caches::new(CacheBudget::JOB)),
    ));
    let blocks_guess = params.source.size_bytes().or(before.newest.as_ref().map(|newest| newest.size_bytes));
    let index_blocks = blocks_guess.unwrap_or(0) / u64::from(disk.file().block_size_bytes);
    let index = open_index(disk, index_blocks, &mut warnings);
    let absent = read_absent(disk, &mut warnings)?;
    let known = Arc::new(Known::new(Arc::clone(&records), index, absent));
    disk.sweep(before.leftovers(), &mut |id, entries| known.insert_sealed(id, entries))?;
    let job = scan::Job {
        disk,
        records: &records,
        known: &known,
        control: &control,
        threads: params.threads,
        reads_back: before.is_distrusted,
    };
    let sealing = if params.threads == 1 { Sealing::Inline } else { Sealing::InBackground };
    let mut writer = RecordWriter::new(disk, before.highest, Arc::clone(&known), sealing)
        .sealing_at(disk.segment_len_target());
    if !params.source.can_be_read_again() && params.source.from().is_none() {
        // Halfway through a stream there is no way back. A diff reads no more of a map than it changes; where
        // that is damaged the whole source must be read.
        let damage = before.parent.as_ref().and_then(|parent| read_map(&records, parent).err());
        if let Some(error) = damage {
            warnings.push(say_map_is_lost(&error));
            known.note_damage();
            before.parent = None;
        }
    }
    let scanned = match scan::run(&job, &mut params.source, before.parent.as_ref(), &mut writer) {
        Err(error)
            if error.is_unreadable()
                && params.source.can_be_read_again()
                && before.parent.is_some()
                && !writer.is_poisoned() =>
        {
            warnings.push(say_map_is_lost(&error));
            known.note_damage();
            before.parent = before.parent.filter(|_| params.source.from().is_none());
            scan::run(&job, &mut params.source, None, &mut writer)?
        }
        other => other?,
    };
    control.enter(Phase::Sealing);
    require(&params, scanned.consistency)?;
    warnings.extend(say_passed_over(known.passed_over()));
    let mut manifest = describe(disk, &params, &before, &scanned, started_at, &mut warnings)?;
    let image = Image::of(&manifest, Arc::clone(&records))?;
    let compared = verify::compare(
        &image,
        &params.source,
        scanned.witness.as_ref(),
        params.consistency,
        params.threads,
        &control,
    )?;
    warnings.extend(verify::say(&compared));
    manifest.comparison = Some(compared);
    Ok(Pending {
        disk: disk.clone(),
        lock,
        records,
        known,
        unchanged: before.parent.as_ref().is_some_and(|parent| parent.image_digest == manifest.image_digest),
        manifest,
        last: before.newest,
        background: params.background,
        tags: params.tags,
        warnings,
        begun,
        control,
    })
}

impl Pending {
    /// Makes the revision visible and durable, and gives the lock back.
    ///
    /// # Errors
    /// Of the file system. Whether the revision is there is then seen by listing; if it is, it is
    /// whole.
    pub fn commit(mut self) -> Result<Taken> {
        if !self.lock.look_whether_covers(&self.disk.paths().directory)? {
            return Err(Error::InvalidArgument(format!(
                "{} was moved, replaced or lost its lock file during the backup, so nothing was committed",
                self.disk.paths().directory.display()
            )));
        }
        let image = Image::of(&self.manifest, Arc::clone(&self.records))?;
        self.manifest.layout = crate::probe::survey(&image, self.manifest.size_bytes);
        self.manifest.early_warnings = early::look(&self.manifest, self.last.as_ref(), &self.background);
        let said = self.manifest.early_warnings.iter().map(|warning| warning.message.clone());
        self.warnings.extend(said);
        self.manifest.counters.duration_ms =
            u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let state = State {
            format: text::FORMAT,
            tags: std::mem::take(&mut self.tags),
            trust: verify::trust_after(self.manifest.comparison.as_ref()),
            ..State::default()
        };
        let (files, paths) = (&**self.disk.files(), self.disk.paths());
        let (state_path, manifest_path) =
            (paths.state(&self.manifest.revision), paths.manifest(&self.manifest.revision));
        let staged_state =
            io::stage(files, &state_path, &text::encode(&state)?).at("writing", &state_path)?;
        let manifest_bytes = text::encode(&self.manifest)?;
        let staged = io::stage(files, &manifest_path, &manifest_bytes).at("writing", &manifest_path);
        let staged_manifest = staged.inspect_err(|_| staged_state.discard(files))?;
        staged_state
            .publish(files)
            .at("writing", &state_path)
            .inspect_err(|_| staged_manifest.discard(files))?;
        if let Err(error) = staged_manifest.publish(files).at("writing", &manifest_path) {
            // Without its manifest a state file means nothing; the next backup sweeps it otherwise.
            let _ = files.unlink(&state_path);
            return Err(error);
        }
        files.sync_directory(&paths.revisions()).at("syncing", &paths.revisions())?;
        let healed_records = verify::heal(&self.disk, &self.lock, &self.known, &mut self.warnings);
        self.control.enter(Phase::Done);
        self.lock.release();
        Ok(Taken {
            manifest: self.manifest,
            unchanged: self.unchanged,
            healed_records,
            warnings: self.warnings,
        })
    }

    /// Gives the revision up. Its sealed segments stay for the next backup to adopt.
    pub fn abort(mut self) {
        self.lock.release();
    }
}

impl Source {
    fn size_bytes(&self) -> Option<u64> {
        match self {
            Source::Block(block) | Source::Changes { source: block, .. } => Some(block.size_bytes()),
            Source::Stream(stream) => stream.announced_bytes(),
            Source::Diff { .. } => None,
        }
    }

    /// What is read at offsets.
    fn block(&self) -> Option<&BlockSource> {
        match self {
            Source::Block(block) | Source::Changes { source: block, .. } => Some(block),
            Source::Stream(_) | Source::Diff { .. } => None,
        }
    }

    /// What random parts of the revision are compared with, or why nothing is: a clause.
    fn comparable(&self) -> std::result::Result<&BlockSource, &str> {
        match self {
            Source::Diff { sample, .. } => sample.as_ref().map_err(String::as_str),
            Source::Block(block) | Source::Changes { source: block, .. } => Ok(block),
            Source::Stream(_) => Err("a stream cannot be read a second time"),
        }
    }

    fn can_be_read_again(&self) -> bool {
        self.block().is_some()
    }

    /// The revision that it says the difference to.
    fn from(&self) -> Option<&RevisionId> {
        match self {
            Source::Changes { from, .. }
            | Source::Diff { from: DiffFrom::Revision { revision: from, .. }, .. } => Some(from),
            Source::Block(_) | Source::Stream(_) | Source::Diff { from: DiffFrom::Nothing, .. } => None,
        }
    }
}

impl Before {
    /// Looks at the manifests from the newest down to one that may be a parent.
    fn find(disk: &Disk, warnings: &mut Vec<String>) -> Result<Self> {
        let ids = disk.revisions()?;
        let marks = match Marks::read(disk) {
            Err(error @ Error::Corrupt { .. }) => {
                warnings.push(format!("{error}; numbers go on from the revisions that are there"));
                Marks::default()
            }
            other => other?,
        };
        let highest_removed = SegmentId(marks.highest_segment);
        let mut found = Before {
            newest: None,
            parent: None,
            sequence: marks.sequence,
            last_id: ids.last().cloned().max(marks.last_revision),
            highest: disk.segments()?.last().copied().unwrap_or(SegmentId(0)).max(highest_removed),
            highest_removed,
            newest_is_damaged: false,
            is_distrusted: false,
        };
        for (newer, id) in (0u64..).zip(ids.iter().rev()) {
            let manifest = match disk.manifest(id) {
                Ok(manifest) => manifest,
                Err(error @ Error::Corrupt { .. }) => {
                    warnings.push(format!("{error}; it was passed over as the parent"));
                    found.newest_is_damaged |= found.newest.is_none();
                    continue;
                }
                Err(error) => return Err(error),
            };
            found.sequence = found.sequence.max(manifest.sequence + newer);
            found.highest = found.highest.max(SegmentId(manifest.highest_segment));
            let is_trusted = match State::read(&**disk.files(), &disk.paths().state(id)) {
                Ok(state) => state.trust != Trust::Distrusted,
                Err(error @ Error::Corrupt { .. }) => {
                    warnings.push(format!("{error}; its revision was passed over as the parent"));
                    false
                }
                Err(error) => return Err(error),
            };
            let fits = manifest.block_size_bytes == disk.file().block_size_bytes
                && manifest.map.fanout.entries() == disk.file().fanout;
            found.is_distrusted |= newer == 0 && !is_trusted;
            if fits && is_trusted {
                found.parent = Some(manifest.clone());
            }
            found.newest.get_or_insert(manifest);
            if found.parent.is_some() || !fits {
                break;
            }
        }
        Ok(found)
    }

    /// What leads from a revision leads nowhere from another, nor from one that is not trusted.
    fn refuse_other_parent(&self, source: &Source) -> Result<()> {
        let Some(from) = source.from() else { return Ok(()) };
        let is_newest = self.newest.as_ref().is_some_and(|newest| newest.revision == *from);
        if is_newest && self.parent.as_ref().is_some_and(|parent| parent.revision == *from) {
            return Ok(());
        }
        let newest = self.newest.as_ref().map_or("none".to_owned(), |newest| newest.revision.to_string());
        Err(Error::InvalidArgument(format!(
            "the changes lead from revision {from}, which is not the newest one that can be trusted (newest: {newest})"
        )))
    }

    /// Segments that belong to no revision that can be read. Those of a damaged manifest may be
    /// among them, and its copy may be somewhere, so nothing is then taken for useless.
    fn leftovers(&self) -> Leftovers {
        let newest = SegmentId(self.newest.as_ref().map_or(0, |newest| newest.highest_segment));
        Leftovers { above: newest.max(self.highest_removed), unlink_unsealed: !self.newest_is_damaged }
    }
}

/// The index only hints, so a backup goes on without it.
fn open_index(disk: &Disk, blocks: u64, warnings: &mut Vec<String>) -> Option<DedupIndex> {
    let index = DedupIndex::open(&**disk.files(), &disk.paths().dedup(), blocks);
    index
        .inspect_err(|error| {
            warnings.push(format!("{error}; blocks that are stored already may have been stored again"));
        })
        .ok()
}

fn read_absent(disk: &Disk, warnings: &mut Vec<String>) -> Result<Absent> {
    let damaged = match Damaged::read(&**disk.files(), &disk.paths().damaged()) {
        Err(error @ Error::Corrupt { .. }) => {
            warnings.push(format!("{error}; what it listed is built upon until it is found damaged again"));
            Damaged::default()
        }
        other => other?,
    };
    Ok(Absent { condemned: read_condemned(disk, warnings)?, damaged, present: sealed_segments(disk)? })
}

/// Segments that end as sealed ones do. One that was cut short, or whose medium fails, is as good as
/// gone: what it held is stored again where its content comes by.
fn sealed_segments(disk: &Disk) -> Result<Vec<SegmentId>> {
    let mut sealed = disk.segments()?;
    let mut failure = None;
    sealed.retain(|&id| {
        let outline = crate::segment::outline(&**disk.files(), &disk.paths().segments(), id);
        match outline {
            Ok(outline) => outline.count.is_some(),
            Err(error) if error.is_unreadable() => false,
            Err(error) => {
                failure.get_or_insert(error);
                false
            }
        }
    });
    failure.map_or(Ok(sealed), Err)
}

/// Reads every page of a map, which costs less than a hundredth of reading the image.
fn read_map(records: &Records, manifest: &Manifest) -> Result<()> {
    const BLOCKS: u64 = 1 << 12;
    let end = manifest.geometry()?.block_count();
    let mut at = 0;
    while let Some(first) = map::next(records, &manifest.map, at..end, ExtentState::Data)? {
        at = first.saturating_add(BLOCKS).min(end);
        map::blocks(records, &manifest.map, first..at)?;
    }
    Ok(())
}

fn say_map_is_lost(error: &Error) -> String {
    format!(
        "the block map of the last revision cannot be read ({error}), so every block was compared by digest alone and a new map was written"
    )
}

fn say_passed_over(blocks: u64) -> Option<String> {
    let (are, they) = if blocks == 1 { ("block is", "it was") } else { ("blocks are", "they were") };
    (blocks > 0).then(|| {
        format!("{blocks} unchanged {are} damaged or missing in the last revision, so {they} stored again")
    })
}

/// A list that cannot be read costs space: then no stored block is pointed at anew.
fn read_condemned(disk: &Disk, warnings: &mut Vec<String>) -> Result<Condemned> {
    match Condemned::read(&**disk.files(), &disk.paths().condemned()) {
        Err(error @ Error::Corrupt { .. }) => {
            warnings.push(format!(
                "{error}; blocks that are stored already were stored again where they came anew"
            ));
            Ok(Condemned::everything())
        }
        other => other,
    }
}

fn describe(
    disk: &Disk,
    params: &BackupParams,
    before: &Before,
    scanned: &scan::Scanned,
    started_at: Timestamp,
    warnings: &mut Vec<String>,
) -> Result<Manifest> {
    let file = disk.file();
    let geometry = Geometry::new(scanned.size_bytes, file.block_size_bytes)
        .ok_or_else(|| Error::InvalidArgument("the source is larger than 8 PiB".into()))?;
    let mut random = [0; 4];
    getrandom::fill(&mut random)
        .map_err(std::io::Error::other)
        .at("making an id in", &disk.paths().directory)?;
    let revision = RevisionId::next(started_at, before.last_id.as_ref(), u32::from_le_bytes(random))
        .ok_or_else(|| {
            Error::InvalidArgument("the disk has used up the revision ids of this second".into())
        })?;
    warnings.extend_from_slice(&scanned.notes);
    let allocated = scanned.map.allocated_blocks().saturating_mul(u64::from(file.block_size_bytes));
    let inherited = before.parent.as_ref().map_or(text::FORMAT, |parent| parent.format);
    let format = if scanned.has_bases { Manifest::FORMAT_WITH_BASES } else { inherited };
    Ok(Manifest {
        format,
        disk: params.name.clone(),
        revision,
        sequence: before.sequence + 1,
        started_at,
        finished_at: now(),
        consistency: params.consistency.unwrap_or(scanned.consistency),
        source: params.description.clone(),
        reading: Reading {
            method: if params.source.from().is_some() && before.parent.is_some() { "diff" } else { "full" }
                .into(),
            direct: params.source.block().is_some_and(BlockSource::is_direct),
            holes: if scanned.holes_skipped { Holes::Seek } else { Holes::Dense },
            notes: scanned.notes.clone(),
        },
        size_bytes: scanned.size_bytes,
        block_size_bytes: file.block_size_bytes,
        codec: file.codec,
        map: scanned.map,
        highest_segment: scanned.highest.0,
        image_digest: scanned.map.image_digest(geometry),
        parent: before.parent.as_ref().map(|parent| parent.revision.clone()),
        counters: Counters { allocated_bytes: allocated.min(scanned.size_bytes), ..scanned.counters },
        comparison: None,
        early_warnings: Vec::new(),
        layout: crate::probe::Survey::default(),
    })
}

/// Refuses what is less than was asked for, before anybody sees it.
fn require(params: &BackupParams, scanned: Consistency) -> Result<()> {
    let found = params.consistency.unwrap_or(scanned);
    match params.require {
        Some(required) if !found.satisfies(required) => {
            let path = params.source.block().map_or("the stream".into(), |block| block.name().to_owned());
            Err(Error::Restless { path, found, required })
        }
        _ => Ok(()),
    }
}

/// The map to start from: the parent's, or an empty one.
fn parent_map(disk: &Disk, parent: Option<&Manifest>) -> Result<MapRoot> {
    if let Some(parent) = parent {
        return Ok(parent.map);
    }
    let fanout = Fanout::new(disk.file().fanout)
        .ok_or_else(|| Error::InvalidArgument("the disk's fan-out is out of range".into()))?;
    Ok(MapRoot { fanout, height: 1, root: None })
}

#[cfg(test)]
mod tests;
