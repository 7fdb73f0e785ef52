//! Damage on top: broken indexes, lost segments, flipped bits.

use super::*;
use crate::record::HEADER_LEN;

#[test]
fn with_a_broken_index_all_is_found_and_reads_once_it_is_mended() {
    let lab = Lab::new();
    let image = noise(1, 60 * BLOCK);
    let manifest = lab.backup(&image);
    lab.lose(&manifest.revision);
    for id in lab.disk().segments().unwrap() {
        let good = lab.bytes(id);
        lab.harm(id, |bytes| *bytes.last_mut().unwrap() ^= 1);
        let candidate = lab.candidate();
        assert_eq!(root_of(&candidate.root), root_of(&manifest.map));
        assert_eq!((candidate.missing_blocks, candidate.missing_pages), (0, 0));
        assert!(candidate.unindexed_records > 0 && !candidate.is_uncertain);
        lab.put(&lab.path(id), &good);
    }
    for id in lab.disk().segments().unwrap() {
        lab.harm(id, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    let candidate = lab.candidate();
    assert_eq!(candidate.unindexed_records, 63, "60 blocks, two leaves and the root");
    assert!(matches!(lab.revive(&candidate), Err(Error::Corrupt { .. })));
    assert_eq!(lab.disk().revisions().unwrap(), []);
    for id in lab.disk().segments().unwrap() {
        lab.harm(id, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    lab.check(&lab.revive(&lab.candidate()).unwrap(), &image);
}

#[test]
fn what_is_missing_is_counted_and_the_rest_reads() {
    let lab = Lab::new();
    let image = noise(1, 60 * BLOCK);
    let manifest = lab.backup(&image);
    lab.lose(&manifest.revision);
    let root = manifest.map.root.unwrap();
    let (pages, blocks) = (root.place.segment, root.copy.unwrap().segment);
    let whole = (lab.bytes(pages), lab.bytes(blocks));
    // The first leaf was the root for a while, so it has a copy.
    let leaf = lab.entries(pages).into_iter().rfind(|entry| entry.digest != root.digest).unwrap();
    lab.harm(pages, |bytes| bytes[leaf.offset as usize + HEADER_LEN + 9] ^= 1);
    let candidate = lab.candidate();
    assert_eq!((candidate.missing_pages, candidate.missing_blocks), (1, 28));
    assert_eq!(sorted(candidate.root), sorted(manifest.map));
    let revision = lab.revive(&candidate).unwrap();
    let note = &lab.disk().manifest(&revision).unwrap().reading.notes[0];
    assert!(note.contains("28 of its blocks and 1 pages of the map were missing"), "{note}");
    let opened = Image::open(&lab.disk(), lab.records(), &revision).unwrap();
    let mut read = vec![0; 32 * BLOCK];
    opened.read(&mut read, 0).unwrap();
    assert!(read == image[..32 * BLOCK] && opened.read(&mut read, 30 * BLOCK as u64).is_err());
    lab.lose(&revision);

    lab.put(&lab.path(pages), &whole.0);
    lab.harm(pages, |bytes| {
        let root = lab.entries(pages).into_iter().find(|entry| entry.digest == root.digest).unwrap();
        bytes[root.offset as usize + HEADER_LEN + 9] ^= 1;
    });
    let candidate = lab.candidate();
    let pointer = candidate.root.root.unwrap();
    assert_eq!((pointer.place, pointer.copy), (root.copy.unwrap(), None), "the other record counts");
    lab.check(&lab.revive(&candidate).unwrap(), &image);
    lab.disk().revisions().unwrap().iter().for_each(|revision| lab.lose(revision));

    lab.put(&lab.path(pages), &whole.0);
    lab.files.unlink(&lab.path(blocks)).unwrap();
    let candidate = lab.candidate();
    assert_eq!((candidate.missing_pages, candidate.missing_blocks), (0, 60));
    assert_eq!((candidate.size_bytes_min, candidate.block_size_bytes), (60 * BLOCK as u64, BLOCK as u32));
    lab.revive(&candidate).unwrap();
    lab.disk().revisions().unwrap().iter().for_each(|revision| lab.lose(revision));

    lab.put(&lab.path(blocks), &whole.1);
    lab.files.unlink(&lab.path(pages)).unwrap();
    let candidate = lab.candidate();
    assert_eq!((candidate.missing_pages, candidate.missing_blocks), (1, 28));
    assert_eq!(candidate.root.root.unwrap().place, root.copy.unwrap());
}

#[test]
fn a_segment_that_lost_its_end_still_gives_the_rest() {
    let lab = Lab::new();
    let image = noise(1, 60 * BLOCK);
    let manifest = lab.backup(&image);
    lab.lose(&manifest.revision);
    let root = manifest.map.root.unwrap();
    let blocks = root.copy.unwrap().segment;
    // The copy of a leaf is among them.
    let fifty_first = lab.entries(blocks)[50].offset as usize;
    lab.harm(blocks, |bytes| bytes.truncate(fifty_first + 1000));
    let candidate = lab.candidate();
    assert_eq!((candidate.missing_blocks, candidate.missing_pages), (11, 0));
    assert_eq!(candidate.unindexed_records, 49);
    let pointer = candidate.root.root.unwrap();
    assert_eq!((pointer.place, pointer.copy), (root.place, None));
}
