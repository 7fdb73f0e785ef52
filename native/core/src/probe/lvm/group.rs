//! A volume group as its metadata text tells it.

use super::label::PvId;
use super::metadata::MetadataError;
use super::text::{Section, Value};
use std::collections::{BTreeMap, BTreeSet};

const SECTOR_BYTES: u64 = 512;
/// What LVM itself allows.
const NAME_BYTES_MAX: usize = 127;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    /// Rises with every change of the metadata.
    pub(super) seqno: u64,
    pub(super) extent_bytes: u64,
    /// By the name that segments use for them.
    pub(super) physical: BTreeMap<String, Physical>,
    pub(super) logical: Vec<Logical>,
}

#[derive(Debug)]
pub(super) struct Physical {
    pub(super) id: PvId,
    /// Where its first extent begins.
    pub(super) data_offset_bytes: u64,
    pub(super) extents: u64,
}

#[derive(Debug)]
pub(super) struct Logical {
    pub(super) name: String,
    /// Parts of other volumes are not. A snapshot's store is hidden, but bears the snapshot's name.
    pub(super) is_visible: bool,
    /// It holds the differences of a snapshot to its origin, not a state.
    pub(super) is_snapshot_store: bool,
    /// In the volume's order; `None` where one of them is not understood.
    pub(super) segments: Option<Vec<Segment>>,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first_extent: u64,
    pub(super) extents: u64,
    pub(super) kind: String,
    /// 0 where it has only one stripe.
    pub(super) stripe_bytes: u64,
    /// Name of a physical volume and the extent there; empty for kinds that have none.
    pub(super) stripes: Vec<(String, u64)>,
}

impl Group {
    /// The one group of a metadata text.
    pub(super) fn parse(text: &[u8], values_left: &mut usize) -> Result<Self, MetadataError> {
        let all = Section::parse(text, values_left)?;
        let (name, group) = all
            .sections()
            .find(|(name, section)| name.len() <= NAME_BYTES_MAX && section.number("seqno").is_some())
            .ok_or(MetadataError::Field("volume group"))?;
        let extent_sectors = group.number("extent_size").filter(|&size| size > 0);
        let logical = group.section("logical_volumes");
        let stores = snapshot_stores(logical);
        Ok(Self {
            id: group.text("id").ok_or(MetadataError::Field("id"))?.to_owned(),
            name: name.to_owned(),
            seqno: group.number("seqno").ok_or(MetadataError::Field("seqno"))?,
            extent_bytes: extent_sectors
                .and_then(|sectors| sectors.checked_mul(SECTOR_BYTES))
                .ok_or(MetadataError::Field("extent_size"))?,
            physical: group.section("physical_volumes").map(physical).unwrap_or_default(),
            logical: logical
                .into_iter()
                .flat_map(Section::sections)
                .filter(|(name, _)| name.len() <= NAME_BYTES_MAX)
                .map(|(name, section)| Logical::parse(name, section, &stores))
                .collect(),
        })
    }
}

/// Leaves out what is malformed; segments that name it are then not shown.
fn physical(list: &Section) -> BTreeMap<String, Physical> {
    list.sections().filter_map(|(name, section)| Some((name.to_owned(), Physical::parse(section)?))).collect()
}

impl Physical {
    fn parse(section: &Section) -> Option<Self> {
        Some(Self {
            id: PvId::parse(section.text("id")?)?,
            data_offset_bytes: section.number("pe_start")?.checked_mul(SECTOR_BYTES)?,
            extents: section.number("pe_count")?,
        })
    }
}

impl Logical {
    fn parse(name: &str, section: &Section, stores: &BTreeSet<String>) -> Self {
        let mut segments: Option<Vec<Segment>> = segment_sections(section).map(Segment::parse).collect();
        if let Some(segments) = &mut segments {
            segments.sort_by_key(|segment| segment.first_extent);
        }
        Self {
            name: name.to_owned(),
            is_visible: section.lists("status", "VISIBLE") || stores.contains(name),
            is_snapshot_store: stores.contains(name),
            segments,
        }
    }
}

impl Segment {
    fn parse(section: &Section) -> Option<Self> {
        let stripes: Option<Vec<(String, u64)>> = section
            .list("stripes")
            .chunks(2)
            .map(|pair| match pair {
                [Value::Text(name), extent] => Some((name.clone(), extent.as_number()?)),
                _ => None,
            })
            .collect();
        Some(Self {
            first_extent: section.number("start_extent")?,
            extents: section.number("extent_count")?,
            kind: section.text("type")?.to_owned(),
            stripe_bytes: section.number("stripe_size").unwrap_or(0).checked_mul(SECTOR_BYTES)?,
            stripes: stripes?,
        })
    }
}

fn segment_sections(logical: &Section) -> impl Iterator<Item = &Section> {
    logical.sections().filter(|(name, _)| name.starts_with("segment")).map(|(_, segment)| segment)
}

/// A snapshot is a nameless volume whose segment names the one that stores the differences.
fn snapshot_stores(logical: Option<&Section>) -> BTreeSet<String> {
    let stores =
        |segment: &Section| ["cow_store", "merging_store"].map(|key| segment.text(key).map(str::to_owned));
    logical
        .into_iter()
        .flat_map(Section::sections)
        .flat_map(|(_, volume)| segment_sections(volume))
        .flat_map(stores)
        .flatten()
        .collect()
}
