//! Records that guests make up, and pages of whoever can write segments.

use super::*;
use crate::codec::Codec;
use crate::digest::Context;
use crate::record::{Header, Kind};
use crate::segment::SegmentWriter;
use crate::units::Ordinal;

/// A page by hand, all of whose entries are the same.
fn page(level: u8, log2: u8, slots: u32, entry: &[u8]) -> Vec<u8> {
    let mut bitmap = vec![0; (1 << log2) / 8];
    (0..slots as usize).for_each(|slot| bitmap[slot / 8] |= 1 << (slot % 8));
    [&[1, level, log2, 0], &bitmap[..], &entry.repeat(slots as usize)].concat()
}

fn block_entry(digest: Digest, place: Place) -> Vec<u8> {
    [&digest.0[..], &place.segment.0.to_le_bytes(), &place.ordinal.0.to_le_bytes()].concat()
}

fn page_entry(pointer: &PagePointer) -> Vec<u8> {
    let at = block_entry(pointer.digest, pointer.place);
    [&at[..], &[0; 8], &pointer.allocated.to_le_bytes()].concat()
}

/// A record by hand, stored plain.
fn record(segment: SegmentId, ordinal: u32, kind: Kind, plain: &[u8]) -> Vec<u8> {
    let len = plain.len() as u32;
    let digest = Digest::of(kind.context(), plain);
    let (codec, ordinal) = (Codec::Plain, Ordinal(ordinal));
    let header = Header { kind, codec, segment, ordinal, plain_len: len, payload_len: len, digest };
    [&header.encode()[..], plain].concat()
}

/// A block of records in a guest's disk, and what else fits in.
fn block_with(records: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut block = noise(seed, 100);
    records.iter().for_each(|record| block.extend(record));
    let rest = noise(seed + 1, BLOCK.checked_sub(block.len()).unwrap());
    [block, rest].concat()
}

#[test]
fn records_that_a_guest_makes_up_are_never_taken_while_chains_or_indexes_hold() {
    let lab = Lab::new();
    let place = Place { segment: SegmentId(1), ordinal: Ordinal(0) };
    let made_up = page(1, 5, 1, &block_entry(Digest([7; 32]), place));
    let mut image = noise(1, 60 * BLOCK);
    for at in 0..30 {
        let records: Vec<_> = (1..=4)
            .flat_map(|segment| (0..3).map(move |number| (SegmentId(segment), number)))
            .map(|(segment, number)| record(segment, at as u32 * 3 + number, Kind::Page, &made_up))
            .collect();
        image[at * 2 * BLOCK..][..BLOCK].copy_from_slice(&block_with(&records, at as u64 * 2));
    }
    let manifests = [1, 2].map(|byte| {
        image[BLOCK] = byte;
        lab.backup(&image)
    });
    let [first, second] = manifests.each_ref().map(|manifest| root_of(&manifest.map));
    manifests.iter().for_each(|manifest| lab.lose(&manifest.revision));
    let check = || {
        let candidates = lab.survey();
        let found: Vec<_> = candidates.iter().map(|candidate| root_of(&candidate.root)).collect();
        assert_eq!(found, [second, first]);
        assert!(candidates.iter().all(|candidate| !candidate.is_uncertain));
    };
    check();
    for id in lab.disk().segments().unwrap() {
        // A header of a record is lost, and then its index, too, but for the rest of that.
        let good = lab.bytes(id);
        let entries = lab.entries(id);
        lab.harm(id, |bytes| bytes[entries[0].offset as usize + 5] ^= 1);
        check();
        lab.harm(id, |bytes| {
            let len = bytes.len();
            bytes[len - 1] ^= 1;
        });
        check();
        lab.put(&lab.path(id), &good);
        lab.harm(id, |bytes| bytes.truncate(bytes.len() - 70));
    }
    check();
}

#[test]
fn what_a_guest_made_up_in_lost_stretches_is_marked_and_hides_nothing() {
    let lab = Lab::new();
    let old = lab.backup(&noise(1, 60 * BLOCK));
    let root = old.map.root.unwrap();
    let over_it = page(3, 5, 1, &page_entry(&root));
    let segment = SegmentId(lab.disk().segments().unwrap().last().unwrap().0 + 1);
    let mut image = noise(2, 60 * BLOCK);
    image[7 * BLOCK..8 * BLOCK].copy_from_slice(&block_with(&[record(segment, 99, Kind::Page, &over_it)], 5));
    lab.backup(&image);
    lab.lose(&old.revision);
    let entry = lab.entries(segment)[7];
    assert_eq!(entry.codec, Codec::Plain);
    assert_eq!(root_of(&lab.candidate().root), root.digest);
    lab.harm(segment, |bytes| {
        bytes[entry.offset as usize + 5] ^= 1;
        bytes.truncate(bytes.len() - 70);
    });
    let candidates = lab.survey();
    let found = candidates.iter().map(|candidate| (root_of(&candidate.root), candidate.is_uncertain));
    let made_up = Digest::of(Context::Page, &over_it);
    assert_eq!(found.collect::<Vec<_>>(), [(made_up, true), (root.digest, false)]);
}

#[test]
fn trees_of_liars_are_weighed_without_walking_them() {
    for (log2, height, is_possible) in [(5, 8, true), (10, 3, true), (10, 6, false), (10, 9, false)] {
        let lab = Lab::new();
        let mut writer = SegmentWriter::create(
            &*lab.files,
            &lab.disk().paths().segments(),
            SegmentId(1),
            [0; 16],
            u64::MAX,
        )
        .unwrap();
        let place = Place { segment: SegmentId(1), ordinal: Ordinal(77) };
        let mut entry = block_entry(Digest([7; 32]), place);
        let fanout = Fanout::from_log2(log2).unwrap();
        for level in 1..=height {
            let page = page(level, log2, fanout.entries(), &entry);
            let digest = Digest::of(Context::Page, &page);
            let ordinal = writer.append(Kind::Page, Codec::Plain, digest, page.len() as u32, &page).unwrap();
            let place = Place { segment: SegmentId(1), ordinal };
            entry = page_entry(&PagePointer { digest, place, copy: None, allocated: fanout.span(level) });
        }
        writer.seal(&*lab.files).unwrap();
        if !is_possible {
            assert_eq!(lab.survey(), []);
            continue;
        }
        let candidate = lab.candidate();
        assert_eq!((candidate.missing_blocks, candidate.missing_pages), (fanout.span(height), 0));
        assert_eq!((candidate.allocated_blocks, candidate.segment_created_at), (fanout.span(height), None));
        let revision = lab.revive(&candidate).unwrap();
        let image = Image::open(&lab.disk(), lab.records(), &revision).unwrap();
        assert!(image.read(&mut [0; 10], 0).is_err());
    }
}
