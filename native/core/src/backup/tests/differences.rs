//! Backups that are told what has changed: what they take is what a full backup would have taken, and
//! what lies is found.

// One extent is a list of one range.
#![allow(clippy::single_range_in_vec_init)]

use super::*;
use crate::manifest::Verdict;
use crate::random::Numbers;

const SIZE: usize = 6 << 20;

fn full(lab: &Lab, bytes: &[u8]) -> Taken {
    std::fs::write(lab.source(), bytes).unwrap();
    lab.backup()
}

fn changes(lab: &Lab, from: &Taken, extents: &[Range<u64>]) -> Source {
    let source = PathSource::open(&lab.source()).unwrap().into();
    Source::Changes { source, extents: extents.to_vec(), from: from.manifest.revision.clone() }
}

/// A diff as rbd writes it, version 1.
fn diff(size: u64, extents: &[(u64, Option<&[u8]>, u64)]) -> Vec<u8> {
    with_head(b"rbd diff v1\nf\x03\0\0\0onet\x03\0\0\0twos", size, extents)
}

/// All that an image holds, as rbd writes it where it is given no snapshot to start from.
fn whole(size: u64, extents: &[(u64, Option<&[u8]>, u64)]) -> Vec<u8> {
    with_head(b"rbd diff v1\nt\x03\0\0\0twos", size, extents)
}

fn with_head(head: &[u8], size: u64, extents: &[(u64, Option<&[u8]>, u64)]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    bytes.extend(size.to_le_bytes());
    for (offset, data, len) in extents {
        bytes.push(if data.is_some() { b'w' } else { b'z' });
        bytes.extend(offset.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(data.unwrap_or(&[]));
    }
    bytes.push(b'e');
    bytes
}

fn apply(lab: &Lab, from: &Taken, bytes: Vec<u8>) -> Result<Taken> {
    apply_to(lab, from_one(from), unsampled(), bytes)
}

type Sample = std::result::Result<BlockSource, String>;

fn unsampled() -> Sample {
    Err("nobody asked for it".into())
}

fn from_one(taken: &Taken) -> DiffFrom {
    DiffFrom::Revision { revision: taken.manifest.revision.clone(), snapshot: "one".into() }
}

fn apply_to(lab: &Lab, from: DiffFrom, sample: Sample, bytes: Vec<u8>) -> Result<Taken> {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeder = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut writer, &bytes);
    });
    let stream = StreamSource::new(reader.into(), None);
    let source = Source::Diff { stream, from, to: "two".into(), sample };
    let taken = lab.prepare(source, &Arc::default()).and_then(Pending::commit);
    feeder.join().unwrap();
    taken
}

#[test]
fn only_what_was_told_to_differ_is_read() {
    let lab = Lab::new();
    let mut bytes = noise(1, SIZE);
    let before = full(&lab, &bytes);
    bytes[3_000_000..3_000_100].fill(7);
    std::fs::write(lab.source(), &bytes).unwrap();
    let taken = lab.prepare(changes(&lab, &before, &[3_000_000..3_000_100]), &Arc::default()).unwrap();
    let taken = taken.commit().unwrap();
    assert_eq!(taken.manifest.reading.method, "diff");
    assert_eq!((taken.manifest.counters.read_bytes, taken.manifest.counters.changed_bytes), (BLOCK, BLOCK));
    assert_eq!(taken.manifest.parent.as_ref(), Some(&before.manifest.revision));
    assert_eq!(lab.restored(&taken), bytes);
    let again = full(&lab, &bytes);
    assert!(again.unchanged, "a full backup finds nothing else");
    assert_eq!(again.manifest.image_digest, taken.manifest.image_digest);
}

#[test]
fn changes_from_another_revision_or_from_one_that_is_not_trusted_are_refused() {
    let lab = Lab::new();
    let bytes = noise(1, 1 << 20);
    let first = full(&lab, &bytes);
    let second = full(&lab, &bytes);
    let refused = |from: &Taken| lab.prepare(changes(&lab, from, &[]), &Arc::default()).err().unwrap();
    assert!(refused(&first).to_string().contains(&second.manifest.revision.to_string()));
    assert!(matches!(apply(&lab, &first, diff(1 << 20, &[])), Err(Error::InvalidArgument(_))));
    let state = State { trust: Trust::Distrusted, ..State::default() };
    state.write(&OsFiles, &lab.disk.paths().state(&second.manifest.revision)).unwrap();
    assert!(matches!(refused(&second), Error::InvalidArgument(_)));
}

#[test]
fn tracking_that_leaves_changes_out_is_found_by_the_comparison() {
    let lab = Lab::new();
    let before = full(&lab, &noise(1, 4 << 20));
    // Every piece is another one, and nobody said so.
    std::fs::write(lab.source(), noise(2, 4 << 20)).unwrap();
    let pending = lab.prepare(changes(&lab, &before, &[0..BLOCK]), &Arc::default()).unwrap();
    let taken = pending.commit().unwrap();
    let comparison = taken.manifest.comparison.unwrap();
    assert_eq!(
        comparison.verdict,
        if is_tmpfs(lab.directory.path()) { Verdict::Unverified } else { Verdict::Failed }
    );
}

#[test]
fn a_damaged_map_of_the_parent_makes_everything_be_read() {
    let lab = Lab::new();
    let bytes = noise(3, 2 << 20);
    let before = full(&lab, &bytes);
    for id in lab.disk.segments().unwrap() {
        std::fs::write(path_of(&lab.disk.paths().segments(), id), b"gone").unwrap();
    }
    let pending = lab.prepare(changes(&lab, &before, &[0..1]), &Arc::default()).unwrap();
    let taken = pending.commit().unwrap();
    assert_eq!(taken.manifest.reading.method, "full");
    assert_eq!(lab.restored(&taken), bytes);
}

#[test]
fn a_diff_of_rbd_is_merged_with_what_the_parent_has() {
    let lab = Lab::new();
    let mut bytes = noise(1, SIZE);
    let before = full(&lab, &bytes);
    let data = noise(9, 700_000);
    bytes[100..700_100].copy_from_slice(&data);
    bytes[2_000_000..3_500_001].fill(0);
    bytes[SIZE - 3..].copy_from_slice(b"end");
    let extents = [
        (100, Some(&data[..]), 700_000),
        (2_000_000, None, 1_500_001),
        (SIZE as u64 - 3, Some(&b"end"[..]), 3),
    ];
    let taken = apply(&lab, &before, diff(SIZE as u64, &extents)).unwrap();
    assert_eq!(taken.manifest.reading.method, "diff");
    assert_eq!(taken.manifest.counters.read_bytes, 700_003 + zero_edges());
    assert_eq!(lab.restored(&taken), bytes);
    assert!(full(&lab, &bytes).unchanged);
}

/// Bytes of the zeros of the diff above that fill no whole block.
fn zero_edges() -> u64 {
    (BLOCK - 2_000_000 % BLOCK) + 3_500_001 % BLOCK
}

#[test]
fn a_diff_that_is_cut_or_lies_leaves_no_revision() {
    let lab = Lab::new();
    let before = full(&lab, &noise(1, 1 << 20));
    let whole = diff(1 << 20, &[(0, Some(&[1; 5000]), 5000), (8192, None, 4096)]);
    for len in [0, 5, 11, 30, 100, 5000, whole.len() - 1] {
        let failure = apply(&lab, &before, whole[..len].to_vec()).unwrap_err();
        assert!(matches!(failure, Error::Diff { .. } | Error::SourceEmpty { .. }), "{len} bytes: {failure}");
    }
    let outside = diff(1 << 20, &[((1 << 20) - 1, Some(&[1; 2]), 2)]);
    assert!(matches!(apply(&lab, &before, outside), Err(Error::Diff { .. })));
    assert_eq!(lab.disk.revisions().unwrap().len(), 1);
    apply(&lab, &before, whole).unwrap();
}

#[test]
fn any_changes_of_any_disk_are_taken_as_a_full_backup_would() {
    let seed = std::env::var("CAIRN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_126);
    let mut numbers = Numbers::new(seed);
    for round in 0..24 {
        let lab = Lab::new();
        let mut bytes = noise(round + 1, numbers.below(3_000_000) as usize + 1);
        let mut last = full(&lab, &bytes);
        for step in 0..4 {
            let size = if numbers.below(3) == 0 { numbers.below(3_000_000) + 1 } else { bytes.len() as u64 };
            let mut next = bytes.clone();
            next.resize(size as usize, 0);
            let mut extents = Vec::new();
            let mut at = 0;
            while numbers.below(6) > 0 {
                let offset = at + numbers.below(400_000);
                let len = (numbers.below(200_000) + 1).min(size.saturating_sub(offset));
                if len == 0 {
                    break;
                }
                let range = offset as usize..(offset + len) as usize;
                let data = (numbers.below(2) == 0).then(|| noise(offset + step + 1, len as usize));
                match &data {
                    Some(data) => next[range].copy_from_slice(data),
                    None => next[range].fill(0),
                }
                extents.push((offset, data, len));
                at = offset + len;
            }
            bytes = next;
            last = if numbers.below(2) == 0 {
                let told: Vec<_> =
                    extents.iter().map(|(offset, data, len)| (*offset, data.as_deref(), *len)).collect();
                apply(&lab, &last, diff(size, &told)).unwrap()
            } else {
                std::fs::write(lab.source(), &bytes).unwrap();
                let told: Vec<_> = extents.iter().map(|(offset, _, len)| *offset..offset + len).collect();
                lab.prepare(changes(&lab, &last, &told), &Arc::default()).unwrap().commit().unwrap()
            };
            assert_eq!(last.manifest.reading.method, "diff");
            assert!(lab.restored(&last) == bytes, "seed {seed}, round {round}, step {step}");
        }
        assert!(full(&lab, &bytes).unchanged, "seed {seed}, round {round}");
    }
}

#[test]
fn a_diff_from_nothing_takes_all_that_it_leaves_out_for_zeros() {
    let lab = Lab::new();
    let mut bytes = noise(1, SIZE);
    full(&lab, &bytes);
    bytes.resize(SIZE + 5, 0);
    bytes[..100].fill(0);
    bytes[3_000_000..5_000_000].fill(0);
    bytes[SIZE - 70_000..].fill(0);
    let extents = [
        (100, Some(&bytes[100..3_000_000]), 2_999_900),
        (5_000_000, Some(&bytes[5_000_000..SIZE - 70_000]), SIZE as u64 - 5_070_000),
    ];
    let taken = apply_to(&lab, DiffFrom::Nothing, unsampled(), whole(SIZE as u64 + 5, &extents)).unwrap();
    assert_eq!(taken.manifest.reading.method, "full");
    assert!(taken.manifest.counters.changed_bytes < 2_500_000, "what the parent has is not stored again");
    assert_eq!(lab.restored(&taken), bytes);
    assert!(full(&lab, &bytes).unchanged);
}

#[test]
fn a_diff_between_other_snapshots_than_it_was_asked_for_leaves_no_revision() {
    let lab = Lab::new();
    let before = full(&lab, &noise(1, 1 << 20));
    let extents = [(0, None, 4096)];
    let of_nothing = apply(&lab, &before, whole(1 << 20, &extents)).unwrap_err();
    assert!(of_nothing.to_string().contains("leads from another snapshot"), "{of_nothing}");
    let of_one = apply_to(&lab, DiffFrom::Nothing, unsampled(), diff(1 << 20, &extents)).unwrap_err();
    assert!(of_one.to_string().contains("leads from another snapshot"), "{of_one}");
    let to_three = with_head(b"rbd diff v1\nf\x03\0\0\0onet\x05\0\0\0threes", 1 << 20, &extents);
    let to_three = apply(&lab, &before, to_three).unwrap_err();
    assert!(to_three.to_string().contains("leads to another snapshot"), "{to_three}");
    assert_eq!(lab.disk.revisions().unwrap().len(), 1);
}

#[test]
fn a_diff_that_leaves_changes_out_is_found_by_comparing_with_its_snapshot() {
    let lab = Lab::new();
    let before = full(&lab, &noise(1, SIZE));
    let after = noise(2, SIZE);
    std::fs::write(lab.source(), &after).unwrap();
    let sample = Ok(PathSource::open(&lab.source()).unwrap().into());
    let lie = diff(SIZE as u64, &[(0, Some(&after[..2 << 20]), 2 << 20)]);
    let taken = apply_to(&lab, from_one(&before), sample, lie).unwrap();
    let verdict = taken.manifest.comparison.as_ref().map(|comparison| comparison.verdict);
    assert_eq!(verdict, Some(Verdict::Failed));
    let sample = Ok(PathSource::open(&lab.source()).unwrap().into());
    let next = apply_to(&lab, from_one(&taken), sample, diff(SIZE as u64, &[])).unwrap_err();
    assert!(matches!(next, Error::InvalidArgument(_)), "nothing is put on top of it: {next}");
}
