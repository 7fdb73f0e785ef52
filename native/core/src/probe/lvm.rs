//! LVM2: physical volumes on the disk, and the logical volumes that lie on them whole.
//!
//! The format is that of lvm2's sources (lib/format_text/layout.h, lib/label/label.h; lvmsystemid(7) and
//! vgcfgbackup(8) show the text). A physical volume has a label among its first four sectors, which points to
//! metadata areas; each holds the whole volume group as text, in a ring. Only what maps to fixed places is
//! shown: linear and striped segments. For everything else there is a sentence.

mod group;
pub(super) mod label;
mod metadata;
mod pieces;
mod text;

use self::group::Group;
use self::label::{Area, Label, PvId};
use self::metadata::MetadataError;
use super::model::{Piece, Volume};
use super::problems::Problems;
use super::reader::Reader;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A host has a few hundred at most; a hostile text could list many thousands.
const VOLUMES_MAX: usize = 1024;
const PIECES_MAX: usize = 64 << 10;

/// A physical volume on this disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset_bytes: u64,
    pub(super) size_bytes: u64,
}

/// The logical volumes that lie whole within `places`, by group and name, without their file systems.
pub(super) fn volumes(reader: &Reader<'_>, places: &[Place], problems: &mut Problems) -> Vec<Volume> {
    let mut found: BTreeMap<PvId, Place> = BTreeMap::new();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for &place in places {
        let stretch = reader.within(place.offset_bytes, place.size_bytes);
        let Some(label) = Label::read(&stretch) else {
            continue;
        };
        for &area in &label.metadata_areas {
            match read_group(&stretch, area) {
                Ok(group) => group.into_iter().for_each(|group| keep_newest(&mut groups, group)),
                Err(error) => problems.push(format!(
                    "LVM metadata of the physical volume at byte {} is not used: {error}.",
                    place.offset_bytes
                )),
            }
        }
        match found.entry(label.id) {
            Entry::Vacant(vacant) => drop(vacant.insert(place)),
            Entry::Occupied(first) => problems.push(format!(
                "The physical volume at byte {} is not used: the one at byte {} has the same id.",
                place.offset_bytes,
                first.get().offset_bytes
            )),
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    let mut volumes = Vec::new();
    for group in &groups {
        gather(group, &found, &mut volumes, problems);
    }
    volumes
}

fn read_group(stretch: &Reader<'_>, area: Area) -> Result<Option<Group>, MetadataError> {
    metadata::read(stretch, area)?.map(|text| Group::parse(&text)).transpose()
}

/// Metadata areas of one group may be of different age: one PV was away while the group changed.
fn keep_newest(groups: &mut BTreeMap<String, Group>, group: Group) {
    if groups.get(&group.id).is_none_or(|known| known.seqno < group.seqno) {
        groups.insert(group.id.clone(), group);
    }
}

fn gather(group: &Group, found: &BTreeMap<PvId, Place>, volumes: &mut Vec<Volume>, problems: &mut Problems) {
    let mut pieces_left =
        PIECES_MAX.saturating_sub(volumes.iter().map(|volume| volume.pieces.len()).sum::<usize>());
    for logical in group.logical.iter().filter(|logical| logical.is_visible) {
        let pieces = pieces::of(logical, group, found).and_then(|pieces| {
            let has_room = volumes.len() < VOLUMES_MAX && pieces.len() <= pieces_left;
            has_room.then_some(pieces).ok_or(pieces::NotShown::TooMany)
        });
        match pieces {
            Ok(pieces) => {
                pieces_left -= pieces.len();
                volumes.push(Volume {
                    group: group.name.clone(),
                    name: logical.name.clone(),
                    size_bytes: pieces.iter().map(Piece::size_bytes).fold(0, u64::saturating_add),
                    pieces,
                    file_system: None,
                });
            }
            Err(reason) => problems.push(format!(
                "The logical volume {:?} of group {:?} is not shown: {reason}.",
                logical.name, group.name
            )),
        }
    }
}

/// LVM's own checksum: CRC-32 with another start and without the final inversion (lib/misc/crc.c).
fn checksum(bytes: &[u8]) -> u32 {
    const START: u32 = 0xf597_a6cf;
    let mut hasher = crc32fast::Hasher::new_with_initial(!START);
    hasher.update(bytes);
    !hasher.finalize()
}
