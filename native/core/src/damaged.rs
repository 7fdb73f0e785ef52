//! The list of damaged records: what somebody found unreadable, so that nobody builds upon it.
//!
//! A record that is listed counts as absent when a backup looks for what is stored already, in the
//! index by digest as in the last revision: its content is then stored again the next time it is
//! seen. The list is a note, never needed to read; without it damage is found again.
//!
//! JSON with checksum (docs/format.md, "damaged").

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{AtPath, Error, Result};
use crate::io::{self, Files};
use crate::map::Place;
use crate::text;
use crate::units::{Ordinal, SegmentId};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damaged {
    segments: BTreeMap<u32, Extent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Extent {
    /// All of its records: the file is missing, or has no index.
    Whole,
    Records(BTreeSet<u32>),
}

#[derive(Serialize, Deserialize)]
struct DamagedText {
    format: u64,
    segments: Vec<SegmentText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentText {
    segment: u32,
    /// None for all.
    ordinals: Option<BTreeSet<u32>>,
}

impl Damaged {
    /// Reads the list; a missing one is empty.
    ///
    /// # Errors
    /// `Corrupt`, `TooNew`, `Io`.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Self> {
        let list: DamagedText = match text::read(files, path) {
            Err(Error::NotFound { .. }) => return Ok(Self::default()),
            other => other?,
        };
        let extent = |ordinals: Option<_>| ordinals.map_or(Extent::Whole, Extent::Records);
        let segments = list.segments.into_iter().map(|found| (found.segment, extent(found.ordinals)));
        Ok(Self { segments: segments.collect() })
    }

    /// Replaces the list, durably.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, files: &dyn Files, path: &Path) -> Result<()> {
        let segment = |(&segment, extent): (&u32, &Extent)| {
            let ordinals = match extent {
                Extent::Whole => None,
                Extent::Records(ordinals) => Some(ordinals.clone()),
            };
            SegmentText { segment, ordinals }
        };
        let list =
            DamagedText { format: text::FORMAT, segments: self.segments.iter().map(segment).collect() };
        io::replace(files, path, &text::encode(&list)?).at("writing", path)
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether the record at a place is listed.
    #[must_use]
    pub fn contains(&self, place: Place) -> bool {
        match self.segments.get(&place.segment.0) {
            None => false,
            Some(Extent::Whole) => true,
            Some(Extent::Records(ordinals)) => ordinals.contains(&place.ordinal.0),
        }
    }

    /// Lists a record.
    pub fn insert(&mut self, segment: SegmentId, ordinal: Ordinal) {
        let extent = self.segments.entry(segment.0).or_insert_with(|| Extent::Records(BTreeSet::new()));
        if let Extent::Records(ordinals) = extent {
            ordinals.insert(ordinal.0);
        }
    }

    /// Lists all records of a segment.
    pub fn insert_whole(&mut self, segment: SegmentId) {
        self.segments.insert(segment.0, Extent::Whole);
    }

    /// Takes a record off the list: it was mended, or is sound after all. One of a segment that is
    /// listed as a whole stays.
    pub fn remove(&mut self, place: Place) {
        if let Some(Extent::Records(ordinals)) = self.segments.get_mut(&place.segment.0) {
            ordinals.remove(&place.ordinal.0);
            if ordinals.is_empty() {
                self.segments.remove(&place.segment.0);
            }
        }
    }

    /// Takes a segment off the list with all its records: it was mended, or is gone.
    pub fn remove_segment(&mut self, segment: SegmentId) {
        self.segments.remove(&segment.0);
    }

    /// Lists all that `other` lists.
    pub fn merge(&mut self, other: &Damaged) {
        for (&segment, extent) in &other.segments {
            match extent {
                Extent::Whole => self.insert_whole(SegmentId(segment)),
                Extent::Records(ordinals) => {
                    ordinals.iter().for_each(|&ordinal| self.insert(SegmentId(segment), Ordinal(ordinal)));
                }
            }
        }
    }

    /// The segments that are listed, whole or in part, in rising order.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.segments.keys().map(|&segment| SegmentId(segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MemoryFiles;

    #[test]
    fn a_list_goes_there_and_back() {
        let (files, path) = (MemoryFiles::default(), Path::new("/d/damaged"));
        files.create_directory(Path::new("/d")).unwrap();
        assert!(Damaged::read(&files, path).unwrap().is_empty());
        let mut list = Damaged::default();
        list.insert(SegmentId(3), Ordinal(5));
        list.insert_whole(SegmentId(4));
        list.insert(SegmentId(4), Ordinal(1));
        list.insert(SegmentId(5), Ordinal(1));
        list.insert(SegmentId(5), Ordinal(2));
        list.remove(Place::new(SegmentId(5), Ordinal(1)).unwrap());
        list.remove_segment(SegmentId(6));
        let mut other = Damaged::default();
        other.insert(SegmentId(5), Ordinal(3));
        list.merge(&other);
        list.write(&files, path).unwrap();
        let found = Damaged::read(&files, path).unwrap();
        assert_eq!(found, list);
        let contains =
            |segment, ordinal| found.contains(Place::new(SegmentId(segment), Ordinal(ordinal)).unwrap());
        assert!(contains(3, 5) && contains(4, 7) && contains(5, 2) && contains(5, 3));
        assert_eq!(found.segments().collect::<Vec<_>>(), [SegmentId(3), SegmentId(4), SegmentId(5)]);
        assert!(!contains(3, 6) && !contains(5, 1));
    }
}
