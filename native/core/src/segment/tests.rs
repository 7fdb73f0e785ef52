//! Segments on real files: what was sealed reads back, and nothing else does.

use proptest::prelude::*;

use super::*;
use crate::codec::{self, Codec};
use crate::digest::{Context, Digest};
use crate::error::{Damage, Error};
use crate::io::OsFiles;
use crate::record::Kind;
use crate::units::Ordinal;

const ID: SegmentId = SegmentId(3);

fn write(directory: &Path, plains: &[Vec<u8>]) -> SealedSegment {
    let mut writer = SegmentWriter::create(&OsFiles, directory, ID, [7; 16], 1).unwrap();
    for plain in plains {
        let (used, payload) = codec::encode(Codec::Zstd, plain);
        let digest = Digest::of(Context::Block, plain);
        writer.append(Kind::Block, used, digest, plain.len() as u32, &payload).unwrap();
    }
    let len = writer.sealed_len();
    let sealed = writer.seal(&OsFiles).unwrap();
    assert_eq!(std::fs::metadata(path_of(directory, ID)).unwrap().len(), len);
    sealed
}

fn read(reader: &SegmentReader, ordinal: u32, plain: &[u8]) -> crate::Result<Vec<u8>> {
    let digest = Digest::of(Context::Block, plain);
    let found = reader.read(Ordinal(ordinal), Kind::Block, &digest, None);
    let mut into = vec![0; plain.len()];
    let read = reader.read_into(Ordinal(ordinal), Kind::Block, &digest, None, &mut into);
    assert_eq!(found.as_deref().ok(), read.is_ok().then_some(&into[..]), "both ways agree");
    found
}

fn plains() -> Vec<Vec<u8>> {
    (0..20u32).map(|n| (0..n * 977).map(|i| (i * n) as u8).collect()).collect()
}

#[test]
fn what_was_sealed_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let sealed = write(directory.path(), &plains());
    let (reader, entries) = SegmentReader::open_with_entries(&OsFiles, directory.path(), ID).unwrap();
    assert_eq!(entries, sealed.entries);
    for (ordinal, plain) in (0..).zip(plains()) {
        assert_eq!(read(&reader, ordinal, &plain).unwrap(), plain);
    }
}

#[test]
fn an_encoded_payload_as_long_as_its_block_is_decoded() {
    let noise = [1u8, 2, 3].map(|seed| Digest::of(Context::Block, &[seed]).0).concat();
    let of_one_length = (0..64).find_map(|zeros| {
        let plain = [&noise[..], &vec![0; zeros]].concat();
        let payload = zstd::bulk::compress(&plain, 1).unwrap();
        (payload.len() == plain.len()).then_some((plain, payload))
    });
    let (plain, payload) = of_one_length.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(&OsFiles, directory.path(), ID, [7; 16], 1).unwrap();
    let digest = Digest::of(Context::Block, &plain);
    writer.append(Kind::Block, Codec::Zstd, digest, plain.len() as u32, &payload).unwrap();
    writer.seal(&OsFiles).unwrap();
    let reader = SegmentReader::open(&OsFiles, directory.path(), ID).unwrap();
    assert_eq!(read(&reader, 0, &plain).unwrap(), plain);
}

#[test]
fn a_pointer_to_another_record_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &plains());
    let reader = SegmentReader::open(&OsFiles, directory.path(), ID).unwrap();
    let all = plains();
    assert!(matches!(read(&reader, 4, &all[5]), Err(Error::Corrupt { damage: Damage::Digest { .. }, .. })));
    assert!(matches!(read(&reader, 20, &all[5]), Err(Error::Corrupt { damage: Damage::Missing { .. }, .. })));
    let page = reader.read(Ordinal(5), Kind::Page, &Digest::of(Context::Block, &all[5]), None);
    assert!(matches!(page, Err(Error::Corrupt { damage: Damage::Missing { .. }, .. })));
}

#[test]
fn an_unsealed_or_cut_segment_does_not_open() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &plains());
    let path = path_of(directory.path(), ID);
    let whole = std::fs::read(&path).unwrap();
    for len in [0, 10, 63, 64, 1000, whole.len() - 64, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(SegmentReader::open(&OsFiles, directory.path(), ID).is_err(), "{len} bytes");
    }
}

#[test]
fn a_segment_under_another_name_does_not_open() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &plains());
    let other = SegmentId(4);
    std::fs::rename(path_of(directory.path(), ID), path_of(directory.path(), other)).unwrap();
    assert!(SegmentReader::open(&OsFiles, directory.path(), other).is_err());
}

#[test]
fn only_our_own_names_are_segments() {
    assert_eq!(id_of("00000001.seg"), Some(SegmentId(1)));
    assert_eq!(id_of("123456789.seg"), Some(SegmentId(123_456_789)));
    for name in [
        "00000000.seg",
        "1.seg",
        "00000001.seg.tmp",
        "+0000001.seg",
        "0123456789.seg",
        "99999999999.seg",
        ".seg",
    ] {
        assert_eq!(id_of(name), None, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A flipped bit gives an error or the right bytes, wherever it is.
    #[test]
    fn a_flipped_bit_never_gives_wrong_bytes(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &plains());
        let path = path_of(directory.path(), ID);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(reader) = SegmentReader::open(&OsFiles, directory.path(), ID) {
            for (ordinal, plain) in (0..).zip(plains()) {
                if let Ok(found) = read(&reader, ordinal, &plain) {
                    prop_assert_eq!(found, plain);
                }
            }
        }
    }

    #[test]
    fn any_bytes_open_or_give_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(path_of(directory.path(), ID), &bytes).unwrap();
        prop_assert!(SegmentReader::open(&OsFiles, directory.path(), ID).is_err());
    }
}
