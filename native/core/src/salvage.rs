//! Finding revisions whose manifests are gone, and making them again.
//!
//! Block map and blocks of a revision outlive its manifest: the root of the map is a page that no
//! other page points at. A survey reads all pages of a disk, out of segments whose index is broken
//! by a scan, and lists such roots as candidates, unless a manifest names them.
//!
//! A candidate is not always a revision that was lost. It may be
//!
//! - one that was removed and whose space was not given back yet ([`Candidate::is_condemned`] once a
//!   collect has looked),
//! - a backup that was stopped, or given up, after its map was whole and before its commit,
//! - a piece of the map of a backup that was interrupted, where damage hides that it did not end so,
//! - made up by a guest, where index and chain of a segment are lost ([`Candidate::is_uncertain`]).
//!
//! So nothing is revived unasked, and what is revived is distrusted. Removed revisions that a collect
//! has freed in part are listed with what they miss.
//!
//! How roots are told from other pages that nobody points at: a backup writes its root last, so it is
//! the last record of its segments ([`crate::write`]). A page that is known to be followed by another
//! record in each of its segments is none.
//!
//! What cannot be found: images of zeros alone, which have no map; a revision with the map of another
//! one, since they are one candidate, or none while the other one is there; one whose map became a
//! part of a later, larger one. The map does not say how large an image is, only between which sizes;
//! a short last block, the partition table or the file system may.
//!
//! Memory is bounded by the map pages of the disk: a digest and some numbers for each, and a bit for
//! each record.

mod revive;
mod roots;
mod shape;
mod stock;
#[cfg(test)]
mod tests;
mod weigh;

use jiff::Timestamp;

use crate::condemned::Condemned;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::job::{Control, Phase};
use crate::manifest::{Consistency, Counters, Holes, Manifest, Reading};
use crate::map::{MapRoot, PagePointer, Place};
use crate::probe::Survey;
use crate::revision::RevisionId;
use crate::text;
use crate::units::{Geometry, SegmentId};

pub use revive::revive;
use roots::{Pages, Root};
use stock::Stock;
use weigh::Scales;

/// A block map that may be that of a lost revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Root, fan-out and height. The root's second place is there where a second record of it is.
    pub root: MapRoot,
    /// Bytes of a block: as long as blocks of it are, or as disk.json says where none can be read.
    pub block_size_bytes: u32,
    /// Blocks that are not zero.
    pub allocated_blocks: u64,
    /// The image has at least so many bytes: its last stored block ends there, and a smaller one
    /// would have a lower map.
    pub size_bytes_min: u64,
    /// Its bytes where a short last block tells them; else what its GPT says, or its partitions or
    /// file system reach; else the minimum, rounded up to a mebibyte.
    pub size_bytes_likely: u64,
    /// When the segment was begun that the root is in: a little before the backup had ended.
    pub segment_created_at: Option<Timestamp>,
    /// Of all that the map names.
    pub highest_segment: SegmentId,
    /// Allocated blocks of which no segment holds a record of their number, or to which no page
    /// leads. No block is decoded, so damaged ones are not among them, but for those of segments
    /// without an index.
    pub missing_blocks: u64,
    /// Pages of which no record is good.
    pub missing_pages: u64,
    /// Pages and blocks, none of them missing, that cannot be read before their segments have an
    /// index again.
    pub unindexed_records: u64,
    /// A collect has found that no revision needs the root, so this one was removed.
    pub is_condemned: bool,
    /// A guest may have made it up: see [`crate::segment::scan()`].
    pub is_uncertain: bool,
}

/// Lists candidates, newest first. Writes nothing. Run without the disk's lock, it may list what a
/// backup is about to commit, and miss what a collect frees.
///
/// # Errors
/// `Cancelled`; `TooNew` for a manifest or segment of a later format; `Io` of anything but a medium
/// that fails.
pub fn survey(disk: &Disk, control: &Control) -> Result<Vec<Candidate>> {
    control.enter(Phase::Marking);
    control.set_total(None);
    let mut stock = Stock::new(disk);
    let mut pages = Pages::default();
    stock.fill(control, &mut |stock, records| pages.take_in(stock, records, control))?;
    let roots = pages.into_roots(&roots::named(disk)?);
    let condemned = match Condemned::read(&**disk.files(), &disk.paths().condemned()) {
        // It tells nothing of any of them.
        Err(Error::Corrupt { .. }) => Condemned::default(),
        other => other?,
    };
    let mut scales = Scales::new(&stock, control);
    let mut candidates = Vec::new();
    for root in roots {
        candidates.extend(consider(disk, &stock, &mut scales, &condemned, root)?);
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse(age(candidate)));
    control.enter(Phase::Done);
    Ok(candidates)
}

/// `None` for what can be no image, and where no record of the root is good any more.
fn consider(
    disk: &Disk,
    stock: &Stock<'_>,
    scales: &mut Scales<'_>,
    condemned: &Condemned,
    root: Root,
) -> Result<Option<Candidate>> {
    let Some(pointer) = root.map.root.and_then(|pointer| with_good_places(stock, pointer)) else {
        return Ok(None);
    };
    let map = MapRoot { root: Some(pointer), ..root.map };
    let weight = scales.weigh(&pointer, map.height, map.fanout)?;
    let Some(shape) = shape::find(disk, stock.records(), &map, weight.blocks_end)? else { return Ok(None) };
    let mut places = [Some(pointer.place), pointer.copy].into_iter().flatten();
    Ok(Some(Candidate {
        root: map,
        block_size_bytes: shape.block_size_bytes,
        allocated_blocks: map.allocated_blocks(),
        size_bytes_min: shape.size_bytes_min,
        size_bytes_likely: shape.size_bytes_likely,
        segment_created_at: places.clone().find_map(|place| stock.created_at(place.segment)),
        highest_segment: weight.highest_segment,
        missing_blocks: weight.missing_blocks,
        missing_pages: weight.missing_pages,
        unindexed_records: weight.unindexed_records,
        is_condemned: places.all(|place| condemned.contains(place)),
        is_uncertain: root.is_uncertain,
    }))
}

/// The pointer with those of its places whose record is good.
fn with_good_places(stock: &Stock<'_>, pointer: PagePointer) -> Option<PagePointer> {
    let is_good = |place: &Place| stock.page_bytes(*place, &pointer.digest).is_ok();
    let mut good = [Some(pointer.place), pointer.copy].into_iter().flatten().filter(is_good);
    Some(PagePointer { place: good.next()?, copy: good.next(), ..pointer })
}

/// Segments are numbered in the order of time, whatever the clock said.
fn age(candidate: &Candidate) -> Option<(SegmentId, u32)> {
    let root = candidate.root.root?;
    let places = [Some(root.place), root.copy].into_iter().flatten();
    places.map(|place| (place.segment, place.ordinal.0)).max()
}

/// A manifest that lacks all that only the caller knows.
fn provisional(disk: &Disk, map: &MapRoot, geometry: Geometry) -> Result<Manifest> {
    let nobody = RevisionId::next(Timestamp::UNIX_EPOCH, None, 0);
    Ok(Manifest {
        format: text::FORMAT,
        disk: String::new(),
        revision: nobody.ok_or_else(|| Error::InvalidArgument("no revision id".into()))?,
        sequence: 0,
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
        consistency: Consistency::Live,
        source: serde_json::Map::new(),
        reading: Reading { method: "salvaged".into(), direct: false, holes: Holes::Dense, notes: Vec::new() },
        size_bytes: geometry.size_bytes(),
        block_size_bytes: geometry.block_size(),
        codec: disk.file().codec,
        map: *map,
        highest_segment: 0,
        image_digest: map.image_digest(geometry),
        parent: None,
        counters: Counters::default(),
        comparison: None,
        early_warnings: Vec::new(),
        layout: Survey::default(),
    })
}
