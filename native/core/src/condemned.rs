//! The condemned list: records that collect has found unreachable and is free to sweep.
//!
//! It is durable before the first of them is freed, so whoever works on the disk afterwards, also
//! after a crash, knows that these records may be gone or going, and never points at one again.
//! They count as absent, which costs space only. The list is bounded: a segment without any live
//! record is one number in it, and every other one a bit for each record.
//!
//! File `condemned`, little-endian (docs/format.md, "condemned"):
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `CAIRNCND` |
//! | 8 | 2 | format, 1 |
//! | 10 | 2 | reserved, 0 |
//! | 12 | 4 | segments |
//! | then each | 4 | segment, rising |
//! | | 4 | bytes of its bits; 0 condemns all of it |
//! | | that many | bit `i % 8` of byte `i / 8` condemns ordinal `i` |
//! | last | 32 | digest (header context) of all before |

use std::collections::BTreeMap;
use std::path::Path;

use crate::bits::Bits;
use crate::digest::{Context, Digest};
use crate::error::{AtPath, Damage, Error, Result, corrupt};
use crate::io::{self, Files, Mode};
use crate::map::Place;
use crate::units::SegmentId;

const MAGIC: [u8; 8] = *b"CAIRNCND";
const FORMAT: u16 = 1;
const HEAD_LEN: usize = 16;
const DIGEST_LEN: usize = 32;
/// Longest list that is read: five bytes for every megabyte of segments come to less.
const LEN_MAX: u64 = 1 << 30;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condemned {
    segments: BTreeMap<SegmentId, Sentence>,
    everything: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sentence {
    Whole,
    Some(Bits),
}

impl Condemned {
    /// What holds where the list cannot be read: no record that is stored may be pointed at anew.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Reads the list; a missing one condemns nothing.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `Io`.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Self> {
        let file = match files.open(path, Mode::Read).at("opening", path) {
            Err(Error::NotFound { .. }) => return Ok(Self::default()),
            other => other?,
        };
        let len = file.len().at("reading", path)?;
        let broken = || corrupt(path, Damage::Checksum);
        let len = usize::try_from(len).ok().filter(|_| len <= LEN_MAX).ok_or_else(broken)?;
        let mut bytes = vec![0; len];
        let count = file.read_at(&mut bytes, 0).at("reading", path)?;
        bytes.truncate(count);
        let format = format_of(&bytes).ok_or_else(broken)?;
        if format > FORMAT {
            return Err(Error::TooNew { path: path.to_owned(), found: format.into(), known: FORMAT.into() });
        }
        Self::decode(&bytes).ok_or_else(broken)
    }

    /// Replaces the list, durably; an empty one is no file.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, files: &dyn Files, path: &Path) -> Result<()> {
        if !self.segments.is_empty() {
            return io::replace(files, path, &self.encode()).at("writing", path);
        }
        match files.unlink(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => {
                other.at("removing", path)?;
                path.parent()
                    .map_or(Ok(()), |directory| files.sync_directory(directory).at("syncing", directory))
            }
        }
    }

    /// Whether the record at a place may be gone.
    #[must_use]
    pub fn contains(&self, place: Place) -> bool {
        self.everything
            || match self.segments.get(&place.segment) {
                None => false,
                Some(Sentence::Whole) => true,
                Some(Sentence::Some(bits)) => bits.contains(place.ordinal.0),
            }
    }

    /// Condemns all records of a segment.
    pub fn insert_whole(&mut self, id: SegmentId) {
        self.segments.insert(id, Sentence::Whole);
    }

    /// Condemns some records of a segment, by ordinal.
    pub fn insert(&mut self, id: SegmentId, ordinals: Bits) {
        if !ordinals.is_empty() {
            self.segments.insert(id, Sentence::Some(ordinals));
        }
    }

    /// Takes a segment off: what was condemned of it is gone.
    pub fn remove(&mut self, id: SegmentId) {
        self.segments.remove(&id);
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u32::try_from(self.segments.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (id, sentence) in &self.segments {
            let bits = match sentence {
                Sentence::Whole => Vec::new(),
                Sentence::Some(bits) => bits.to_bytes(),
            };
            out.extend_from_slice(&id.0.to_le_bytes());
            out.extend_from_slice(&u32::try_from(bits.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(&bits);
        }
        let digest = Digest::of(Context::Header, &out);
        out.extend_from_slice(&digest.0);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (checked, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_LEN)?)?;
        if Digest::of(Context::Header, checked).0 != *digest {
            return None;
        }
        let count = u32_at(checked.get(HEAD_LEN - 4..)?)?;
        let mut rest = checked.get(HEAD_LEN..)?;
        let mut found = Self::default();
        for _ in 0..count {
            let id = SegmentId(u32_at(rest)?);
            let len = u32_at(rest.get(4..)?)? as usize;
            let bits = rest.get(8..)?.get(..len)?;
            let sentence = if len == 0 { Sentence::Whole } else { Sentence::Some(Bits::from_bytes(bits)) };
            if found.segments.last_key_value().is_some_and(|(&last, _)| last >= id) {
                return None;
            }
            found.segments.insert(id, sentence);
            rest = rest.get(8 + len..)?;
        }
        rest.is_empty().then_some(found)
    }
}

fn format_of(bytes: &[u8]) -> Option<u16> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    (*magic == MAGIC).then_some(u16::from_le_bytes(*rest.first_chunk::<2>()?))
}

fn u32_at(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.first_chunk::<4>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MemoryFiles;
    use crate::units::Ordinal;

    use proptest::prelude::*;

    const PATH: &str = "/d/condemned";

    fn place(segment: u32, ordinal: u32) -> Place {
        Place::new(SegmentId(segment), Ordinal(ordinal)).unwrap()
    }

    fn sample() -> Condemned {
        let mut condemned = Condemned::default();
        condemned.insert_whole(SegmentId(7));
        condemned.insert(SegmentId(3), [1, 70, 131_071].into_iter().fold(Bits::default(), with));
        condemned
    }

    fn with(mut bits: Bits, number: u32) -> Bits {
        bits.insert(number);
        bits
    }

    fn files() -> MemoryFiles {
        let files = MemoryFiles::default();
        files.create_directory(Path::new("/d")).unwrap();
        files
    }

    #[test]
    fn a_list_goes_there_and_back_and_an_empty_one_is_no_file() {
        let (files, path) = (files(), Path::new(PATH));
        assert_eq!(Condemned::read(&files, path).unwrap(), Condemned::default());
        sample().write(&files, path).unwrap();
        let found = Condemned::read(&files, path).unwrap();
        assert_eq!(found, sample());
        assert!(found.contains(place(7, 12)) && found.contains(place(3, 70)));
        assert!(!found.contains(place(3, 71)) && !found.contains(place(8, 0)));
        Condemned::default().write(&files, path).unwrap();
        Condemned::default().write(&files, path).unwrap();
        assert!(files.list(Path::new("/d")).unwrap().is_empty());
        assert!(Condemned::everything().contains(place(1, 0)));
    }

    #[test]
    fn every_flipped_bit_is_seen_and_a_later_format_is_told_from_damage() {
        let (files, path) = (files(), Path::new(PATH));
        let good = sample().encode();
        for bit in (0..HEAD_LEN * 8).chain(good.len() * 8 - 300..good.len() * 8) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            io::replace(&files, path, &bad).unwrap();
            assert!(Condemned::read(&files, path).is_err(), "bit {bit}");
        }
        let mut later = good;
        later[8] = 2;
        io::replace(&files, path, &later).unwrap();
        assert!(matches!(Condemned::read(&files, path), Err(Error::TooNew { found: 2, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_give_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let digest = Digest::of(Context::Header, &bytes);
            let _ = Condemned::decode(&[&bytes[..], &digest.0].concat());
            let _ = Condemned::decode(&bytes);
        }
    }
}
