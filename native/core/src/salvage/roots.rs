//! Finding the pages that nobody points at.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::job::Control;
use crate::manifest::Manifest;
use crate::map::{Fanout, MapRoot, Page, PagePointer, Place};
use crate::retire;

use super::stock::{PageRecord, Stock};

/// All good pages of a disk, each once, and which of them others point at.
#[derive(Default)]
pub(super) struct Pages {
    found: HashMap<Digest, Found>,
    referenced: HashSet<Digest>,
}

struct Found {
    place: Place,
    copy: Option<Place>,
    level: u8,
    fanout: Fanout,
    allocated: u64,
    is_sure: bool,
    may_be_last: bool,
}

/// A page that may be the root of a revision.
pub(super) struct Root {
    pub(super) map: MapRoot,
    /// A guest may have made it up.
    pub(super) is_uncertain: bool,
}

impl Pages {
    /// Reads the pages of a segment, but for those that were read before.
    pub(super) fn take_in(
        &mut self,
        stock: &Stock<'_>,
        records: &[PageRecord],
        control: &Control,
    ) -> Result<()> {
        for record in records {
            control.check()?;
            if let Some(found) = self.found.get_mut(&record.digest) {
                found.see(stock, record);
                // What only an uncertain page points at is not taken for pointed at.
                if found.is_sure || !record.is_sure {
                    continue;
                }
            }
            let bytes = match stock.page_bytes(record.place, &record.digest) {
                Err(error) if error.is_unreadable() => continue,
                other => other?,
            };
            control.add_read(bytes.len() as u64);
            if let Some((page, fanout)) = decode(bytes) {
                self.insert(record, &page, fanout);
            }
        }
        Ok(())
    }

    fn insert(&mut self, record: &PageRecord, page: &Page, fanout: Fanout) {
        if record.is_sure && page.level() > 1 {
            let children = (0..fanout.entries()).filter_map(|slot| page.child(slot));
            self.referenced.extend(children.map(|child| child.digest));
        }
        let found = self.found.entry(record.digest).or_insert(Found {
            place: record.place,
            copy: None,
            level: page.level(),
            fanout,
            allocated: page.allocated(),
            is_sure: false,
            may_be_last: record.may_be_last,
        });
        found.is_sure |= record.is_sure;
    }

    /// Those that nobody points at and that a backup may have ended with, but for `named`.
    pub(super) fn into_roots(self, named: &HashSet<Digest>) -> Vec<Root> {
        let Self { found, referenced } = self;
        let is_root = |digest: &Digest, found: &Found| {
            found.may_be_last && !referenced.contains(digest) && !named.contains(digest)
        };
        let roots = found.into_iter().filter(|(digest, found)| is_root(digest, found));
        roots.map(|(digest, found)| found.into_root(digest)).collect()
    }
}

impl Found {
    /// Another record of it. Two are kept, in different segments, such with an index rather.
    fn see(&mut self, stock: &Stock<'_>, record: &PageRecord) {
        self.may_be_last |= record.may_be_last;
        let is_indexed = |place: Place| stock.is_indexed(place.segment);
        let mut other = Some(record.place);
        if is_indexed(record.place) && !is_indexed(self.place) {
            other = Some(std::mem::replace(&mut self.place, record.place));
        }
        let other = other.filter(|other| other.segment != self.place.segment);
        let is_better = |other: Place| self.copy.is_none_or(|copy| !is_indexed(copy) && is_indexed(other));
        if let Some(other) = other.filter(|&other| is_better(other)) {
            self.copy = Some(other);
        }
    }

    fn into_root(self, digest: Digest) -> Root {
        let Self { place, copy, level, fanout, allocated, .. } = self;
        let pointer = PagePointer { digest, place, copy, allocated };
        let map = MapRoot { fanout, height: level, root: Some(pointer) };
        Root { map, is_uncertain: !self.is_sure }
    }
}

/// A page of whatever level and fan-out.
fn decode(bytes: Vec<u8>) -> Option<(Page, Fanout)> {
    let &[_, level, log2, ..] = bytes.as_slice() else { return None };
    let fanout = Fanout::from_log2(log2)?;
    Some((Page::decode(bytes.into(), level, fanout).ok()?, fanout))
}

/// Digests of the roots that manifests name, those that were removed and are still kept included.
/// Manifests that cannot be read name none.
pub(super) fn named(disk: &Disk) -> Result<HashSet<Digest>> {
    let mut named = HashSet::new();
    each_manifest(disk, &mut |manifest| {
        named.extend(manifest.and_then(|manifest| manifest.map.root).map(|root| root.digest));
    })?;
    Ok(named)
}

/// Hands out the manifests of a disk, removed ones included; `None` for one that cannot be read.
///
/// # Errors
/// `TooNew`, `Io`.
pub(super) fn each_manifest(disk: &Disk, take: &mut dyn FnMut(Option<Manifest>)) -> Result<()> {
    let (revisions, retired) = (disk.revisions()?, retire::retired(disk)?);
    let mut paths: Vec<PathBuf> = revisions.iter().map(|id| disk.paths().manifest(id)).collect();
    paths.extend(retired.iter().map(|id| disk.paths().retired_manifest(id)));
    paths.extend(retire::unfinished(disk)?.iter().map(|id| retire::aside_of(disk, id)));
    for path in paths {
        match Manifest::read(&**disk.files(), &path) {
            Ok(manifest) => take(Some(manifest)),
            // Removed meanwhile.
            Err(Error::NotFound { .. }) => {}
            Err(Error::Corrupt { .. }) => take(None),
            // A medium that fails may give it another time, and then it names what would look lost.
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
