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
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// A host has a few hundred at most; a hostile text could list many thousands.
const VOLUMES_MAX: usize = 1024;
/// Stretches of all volumes; each takes some 150 bytes of a manifest, which may have 16 MiB.
const STRETCHES_MAX: usize = 32 << 10;

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
    let mut left = Left::default();
    for &place in places {
        let stretch = reader.within(place.offset_bytes, place.size_bytes);
        let Some(label) = Label::read(&stretch) else {
            continue;
        };
        for &area in &label.metadata_areas {
            match left.read_group(&stretch, area) {
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

/// What may still be read of the metadata on a disk: the text is a guest's, and so are the partitions that it
/// is found in.
struct Left {
    text_bytes: u64,
    values: usize,
    /// Digests of texts that were read: a group has the same one in each of its areas.
    known: BTreeSet<[u8; 32]>,
}

impl Default for Left {
    fn default() -> Self {
        Self { text_bytes: metadata::TEXT_BYTES_MAX, values: text::VALUES_MAX, known: BTreeSet::new() }
    }
}

impl Left {
    fn read_group(&mut self, stretch: &Reader<'_>, area: Area) -> Result<Option<Group>, MetadataError> {
        let text = metadata::read(stretch, area, &mut self.text_bytes)?;
        let text = text.filter(|text| self.known.insert(*blake3::hash(text).as_bytes()));
        text.map(|text| Group::parse(&text, &mut self.values)).transpose()
    }
}

/// Metadata areas of one group may be of different age: one PV was away while the group changed.
fn keep_newest(groups: &mut BTreeMap<String, Group>, group: Group) {
    if groups.get(&group.id).is_none_or(|known| known.seqno < group.seqno) {
        groups.insert(group.id.clone(), group);
    }
}

fn gather(group: &Group, found: &BTreeMap<PvId, Place>, volumes: &mut Vec<Volume>, problems: &mut Problems) {
    let mut stretches_left =
        STRETCHES_MAX.saturating_sub(volumes.iter().map(|volume| stretches(&volume.pieces)).sum::<usize>());
    for logical in group.logical.iter().filter(|logical| logical.is_visible) {
        let pieces = pieces::of(logical, group, found).and_then(|pieces| {
            let has_room = volumes.len() < VOLUMES_MAX && stretches(&pieces) <= stretches_left;
            has_room.then_some(pieces).ok_or(pieces::NotShown::TooMany)
        });
        match pieces {
            Ok(pieces) => {
                stretches_left -= stretches(&pieces);
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

fn stretches(pieces: &[Piece]) -> usize {
    let of_piece = |piece: &Piece| match piece {
        Piece::Linear { .. } => 1,
        Piece::Striped { offsets_bytes, .. } => offsets_bytes.len(),
    };
    pieces.iter().map(of_piece).sum()
}

/// LVM's own checksum: CRC-32 with another start and without the final inversion (lib/misc/crc.c).
fn checksum(bytes: &[u8]) -> u32 {
    const START: u32 = 0xf597_a6cf;
    let mut hasher = crc32fast::Hasher::new_with_initial(!START);
    hasher.update(bytes);
    !hasher.finalize()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    const AREA: Area = Area { offset_bytes: 4096, size_bytes: 64 << 10 };

    /// A physical volume at the beginning of the disk whose metadata is `text`.
    pub(in crate::probe) fn put(disk: &mut Memory, id: &str, text: &[u8]) {
        put_at(disk, 0, id, text);
    }

    fn put_at(disk: &mut Memory, base: u64, id: &str, text: &[u8]) {
        disk.put(base + 512, &label::tests::sector(id, AREA));
        metadata::tests::put(disk, base, AREA, 512, text);
    }

    const FIRST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const SECOND: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const PLACES: [Place; 2] = [
        Place { offset_bytes: 0, size_bytes: 1 << 20 },
        Place { offset_bytes: 1 << 20, size_bytes: 1 << 20 },
    ];

    /// A group of extents of 4 KiB on two physical volumes, with the logical volumes `logical`.
    fn text(seqno: u32, logical: &str) -> String {
        let physical =
            |name: &str, id: &str| format!("{name} {{ id = \"{id}\" pe_start = 256 pe_count = 200 }}");
        format!(
            "vg {{ id = \"G\" seqno = {seqno} extent_size = 8 physical_volumes {{ {} {} }} \
             logical_volumes {{ {logical} }} }}",
            physical("pv0", FIRST),
            physical("pv1", SECOND)
        )
    }

    fn logical(name: &str, segments: &[&str]) -> String {
        let segments: Vec<String> =
            (1..).zip(segments).map(|(number, segment)| format!("segment{number} {{ {segment} }}")).collect();
        format!("{name} {{ status = [\"VISIBLE\"] {} }}", segments.join(" "))
    }

    fn linear(start: u32, count: u32, physical: &str, extent: u32) -> String {
        format!(
            "start_extent = {start} extent_count = {count} type = \"striped\" stripe_count = 1 \
             stripes = [ \"{physical}\", {extent} ]"
        )
    }

    fn found(first: &str, second: &str, places: &[Place]) -> (Vec<Volume>, Vec<String>) {
        let mut disk = Memory::sized(2 << 20);
        put_at(&mut disk, 0, FIRST, first.as_bytes());
        put_at(&mut disk, 1 << 20, SECOND, second.as_bytes());
        let mut problems = Problems::default();
        let volumes = volumes(&Reader::new(&disk, 2 << 20), places, &mut problems);
        (volumes, problems.into_sentences())
    }

    /// The one sentence that says why the volume with these segments is not shown.
    fn refusal(segments: &[&str]) -> String {
        let text = text(1, &logical("lv", segments));
        let (volumes, problems) = found(&text, &text, &PLACES);
        assert_eq!(volumes, []);
        assert_eq!(problems.len(), 1);
        problems[0].clone()
    }

    #[test]
    fn neighbours_are_merged_and_order_is_that_of_extents() {
        let segments = [&linear(5, 2, "pv1", 0), &linear(0, 2, "pv0", 3), &linear(2, 3, "pv0", 5)];
        let text = text(1, &logical("lv", &segments.map(String::as_str)));
        let (volumes, problems) = found(&text, &text, &PLACES);
        assert_eq!(problems, Vec::<String>::new());
        let start = 256 * 512;
        assert_eq!(
            volumes[0].pieces,
            [
                Piece::Linear { offset_bytes: start + 3 * 4096, size_bytes: 5 * 4096 },
                Piece::Linear { offset_bytes: (1 << 20) + start, size_bytes: 2 * 4096 },
            ]
        );
    }

    #[test]
    fn the_higher_sequence_number_wins() {
        let old = text(8, &logical("old", &[&linear(0, 1, "pv0", 0)]));
        let new = text(9, &logical("new", &[&linear(0, 1, "pv0", 0)]));
        for (first, second) in [(&old, &new), (&new, &old)] {
            assert_eq!(found(first, second, &PLACES).0[0].name, "new");
        }
    }

    #[test]
    fn what_cannot_be_shown_says_why() {
        let gap = linear(3, 1, "pv0", 3);
        assert!(refusal(&[&linear(0, 2, "pv0", 0), &gap]).contains("without gaps"));
        assert!(refusal(&[&linear(0, 2, "pv9", 0)]).contains("not a physical volume"));
        assert!(refusal(&[&linear(0, 2, "pv0", 199)]).contains("beyond"));
        assert!(refusal(&[]).contains("not understood"));
        assert!(refusal(&["start_extent = 0 extent_count = 1 type = \"raid5\""]).contains("\"raid5\""));
        let uneven = "start_extent = 0 extent_count = 3 type = \"striped\" stripe_size = 8 \
                      stripes = [ \"pv0\", 0, \"pv1\", 0 ]";
        assert!(refusal(&[uneven]).contains("not understood"));
    }

    #[test]
    fn a_physical_volume_that_is_not_here_is_named() {
        let text = text(1, &logical("lv", &[&linear(0, 1, "pv1", 0)]));
        let (volumes, problems) = found(&text, &text, &PLACES[..1]);
        assert_eq!(volumes, []);
        assert!(problems[0].contains("\"pv1\" is not on this disk"), "{problems:?}");
    }

    /// `count` stripes of one extent each on `pv0`, over and over.
    fn striped(count: usize) -> String {
        let stripes = vec!["\"pv0\", 0"; count].join(", ");
        format!(
            "start_extent = 0 extent_count = {count} type = \"striped\" stripe_size = 8 stripes = [ {stripes} ]"
        )
    }

    const ROOMY: Area = Area { offset_bytes: 4096, size_bytes: 4 << 20 };
    const ROOMY_BYTES: u64 = 8 << 20;

    /// Physical volumes in a row, each with a long text.
    fn roomy(texts: &[(&str, String)]) -> (Memory, Vec<Place>) {
        let mut disk = Memory::sized(texts.len() as u64 * ROOMY_BYTES);
        let mut places = Vec::new();
        for (offset_bytes, (id, text)) in (0..).step_by(ROOMY_BYTES as usize).zip(texts) {
            disk.put(offset_bytes + 512, &label::tests::sector(id, ROOMY));
            metadata::tests::put(&mut disk, offset_bytes, ROOMY, 512, text.as_bytes());
            places.push(Place { offset_bytes, size_bytes: ROOMY_BYTES });
        }
        (disk, places)
    }

    #[test]
    fn stripes_count_as_pieces_do() {
        let half = striped(STRETCHES_MAX / 2);
        let shown = |names: &[&str]| {
            let all: Vec<_> = names.iter().map(|name| logical(name, &[&half])).collect();
            let (disk, places) = roomy(&[(FIRST, text(1, &all.join(" ")))]);
            let mut problems = Problems::default();
            let found = volumes(&Reader::new(&disk, disk.size_bytes()), &places, &mut problems);
            (found.len(), problems.into_sentences())
        };
        assert_eq!(shown(&["a", "b"]), (2, Vec::new()));
        let (count, problems) = shown(&["a", "b", "c"]);
        assert_eq!(count, 2);
        assert!(problems[0].contains("too many"), "{problems:?}");
    }

    #[test]
    fn what_is_read_of_all_areas_together_is_bounded() {
        let many: String = (0..text::VALUES_MAX / 2).map(|at| format!("value{at} = 0 ")).collect();
        let of = |id: &str| {
            let lv = logical(&format!("lv{id}"), &[&linear(0, 1, "pv0", 0)]);
            format!("{} {many}", text(1, &lv).replace("\"G\"", &format!("\"{id}\"")))
        };
        let texts = [(FIRST, of("1")), (SECOND, of("2"))];
        let (disk, places) = roomy(&texts);
        let reader = Reader::new(&disk, disk.size_bytes());
        let mut problems = Problems::default();
        let found = volumes(&reader, &places, &mut problems);
        assert_eq!(found.iter().map(|volume| &volume.name[..]).collect::<Vec<_>>(), ["lv1"]);
        assert!(problems.into_sentences()[0].contains("values on this disk"));
        let mut left = Left { text_bytes: texts[0].1.len() as u64, ..Left::default() };
        let mut read =
            |place: Place| left.read_group(&reader.within(place.offset_bytes, place.size_bytes), ROOMY);
        assert!(read(places[0]).is_ok_and(|group| group.is_some()));
        assert!(matches!(read(places[1]), Err(MetadataError::TooMuchText)));
    }

    #[test]
    fn a_text_that_stands_in_several_areas_is_parsed_once() {
        let text = text(1, &logical("lv", &[&linear(0, 1, "pv0", 0)]));
        let mut disk = Memory::sized(1 << 20);
        put_at(&mut disk, 0, FIRST, text.as_bytes());
        let mut left = Left::default();
        let reader = Reader::new(&disk, 1 << 20);
        assert!(left.read_group(&reader, AREA).is_ok_and(|group| group.is_some()));
        let values = left.values;
        assert!(left.read_group(&reader, AREA).is_ok_and(|group| group.is_none()));
        assert_eq!(left.values, values);
    }

    #[test]
    fn of_two_copies_of_a_physical_volume_the_first_is_used() {
        let text = text(1, &logical("lv", &[&linear(0, 1, "pv0", 0)]));
        let mut disk = Memory::sized(2 << 20);
        put_at(&mut disk, 0, FIRST, text.as_bytes());
        put_at(&mut disk, 1 << 20, FIRST, text.as_bytes());
        let mut problems = Problems::default();
        let volumes = volumes(&Reader::new(&disk, 2 << 20), &PLACES, &mut problems);
        assert_eq!(volumes[0].pieces, [Piece::Linear { offset_bytes: 256 * 512, size_bytes: 4096 }]);
        assert!(problems.into_sentences()[0].contains("the same id"));
    }
}
