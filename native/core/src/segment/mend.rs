//! Writing a segment anew with records that it lost, under the same name and number.
//!
//! Pointers name a segment and an ordinal, so a record that is put back there serves every revision
//! that points at it. What comes from another segment keeps its payload and gets a header of its new
//! place; it is decoded and compared with its digest first. One that is encoded against another block
//! is encoded anew by itself, since others may have the new place for their base. What is damaged and
//! has no copy stays as it is, as far as it can be read: it is of no use to Cairn, but it may be to
//! somebody.

use std::borrow::Cow;
use std::path::Path;

use crate::codec::{self, Codec};
use crate::digest::Digest;
use crate::error::{AtPath, Damage, Error, Result, corrupt};
use crate::io::{File, Files, Mode};
use crate::record::{Base, HEADER_LEN, Header};
use crate::units::{Ordinal, SegmentId};

use super::index::IndexEntry;
use super::read::{Bases, Opened};
use super::rewrite::{Out, Rewritten, check, read, replace_file};
use super::write::{file_header, format_for};
use super::{Ends, RECORD_COUNT_MAX, path_of, scan};

/// A sound record of another place, and the ordinal at which it is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Replacement {
    /// Where it shall stand.
    pub ordinal: Ordinal,
    /// The segment that it is taken from.
    pub source: SegmentId,
    /// What that segment's index says of it.
    pub entry: IndexEntry,
}

/// What a mended segment is made of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Records of the old file, by its index or by a scan, that stay. Ordinals are unique among
    /// these and `replacements`.
    pub own: Vec<IndexEntry>,
    /// Those of `own` that are damaged anyway, so that one that cannot be read is left out.
    pub hopeless: Vec<Ordinal>,
    /// Records that are put back.
    pub replacements: Vec<Replacement>,
}

/// Puts a file made of `parts` in the place of segment `id`, which may be gone. It is synced before
/// it is renamed; the caller, who holds the disk's lock, syncs the directory. `bases` gives the blocks
/// that replacements are encoded against.
///
/// # Errors
/// `Corrupt` where a replacement is not sound after all, `Io`: what is there then stays as it is.
pub fn mend(
    files: &dyn Files,
    segments: &Path,
    id: SegmentId,
    disk_id: [u8; 16],
    parts: Parts,
    bases: &dyn Bases,
) -> Result<Rewritten> {
    let Parts { own, hopeless, mut replacements } = parts;
    let path = path_of(segments, id);
    let old = match files.open(&path, Mode::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && own.is_empty() => None,
        other => Some(other.at("opening", &path)?),
    };
    let ends = match &old {
        Some(_) => scan::ends(files, segments, id)?,
        None => Ends { header: None, ordinals_given: None },
    };
    // Unknown where the index is lost; nothing is ever added to a segment, so no number is given twice.
    let next_ordinal = ends.ordinals_given.unwrap_or(0);
    let created = ends.header.map_or_else(now_unix_s, |header| header.created_unix_s);
    replacements.sort_unstable_by_key(|part| (part.source, part.entry.offset));
    replace_file(files, segments, id, |out| {
        out.append(&file_header(format_for(&own), id, disk_id, created))?;
        let mut entries = Vec::with_capacity(own.len() + replacements.len());
        if let Some(old) = old.as_deref() {
            copy_raw(old, &path, own, &hopeless, out, &mut entries)?;
        }
        let mut source: Option<(SegmentId, Opened)> = None;
        for part in &replacements {
            if source.as_ref().is_none_or(|(open, _)| *open != part.source) {
                source = Some((part.source, Opened::open(files, segments, part.source)?));
            }
            if let Some((_, opened)) = &source {
                entries.push(append_copy(opened, id, part, bases, out)?);
            }
        }
        entries.sort_unstable_by_key(|entry| entry.ordinal);
        let highest = entries.last().map_or(0, |entry| entry.ordinal.0 + 1);
        Ok((entries, next_ordinal.max(highest)))
    })
}

/// Bytes as they are, damaged or not.
fn copy_raw(
    old: &dyn File,
    path: &Path,
    own: Vec<IndexEntry>,
    hopeless: &[Ordinal],
    out: &mut Out<'_>,
    entries: &mut Vec<IndexEntry>,
) -> Result<()> {
    let mut bytes = Vec::new();
    for entry in own {
        bytes.resize(usize::try_from(entry.record_len()).unwrap_or(usize::MAX), 0);
        // A medium that fails may give them at the second try.
        let found = old.read_at(&mut bytes, entry.offset.into());
        let found = found.or_else(|_| old.read_at(&mut bytes, entry.offset.into())).at("reading", path);
        let found = found.and_then(|count| match count == bytes.len() {
            true => Ok(()),
            false => Err(corrupt(path, Damage::Missing { ordinal: entry.ordinal.0 })),
        });
        match found {
            Ok(()) => {
                let offset = offset_of(out, path)?;
                out.append(&bytes)?;
                entries.push(IndexEntry { offset, ..entry });
            }
            Err(error) if error.is_unreadable() && hopeless.contains(&entry.ordinal) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes a record over from another segment, verified, with a header of its new place.
fn append_copy(
    source: &Opened,
    id: SegmentId,
    part: &Replacement,
    bases: &dyn Bases,
    out: &mut Out<'_>,
) -> Result<IndexEntry> {
    let mut bytes = vec![0; usize::try_from(part.entry.record_len()).unwrap_or(usize::MAX)];
    read(source, &mut bytes, part.entry.offset.into())?;
    let header = check(source, part.source, &part.entry, &bytes)?;
    let mut payload = Cow::Borrowed(bytes.get(HEADER_LEN..).unwrap_or(&[]));
    let mut plain = vec![0; header.plain_len as usize];
    let differs = || corrupt(&source.path, Damage::Digest { ordinal: part.entry.ordinal.0 });
    let mut codec = header.codec;
    let decoded = if codec == Codec::ZstdPrefix {
        let (base, frame) = Base::split(&payload).ok_or_else(differs)?;
        let decoded = codec::decode_against(&bases.base(&base)?, frame, &mut plain);
        let (by_itself, encoded) = codec::encode(Codec::Zstd, &plain);
        (codec, payload) = (by_itself, Cow::Owned(encoded));
        decoded
    } else {
        codec::decode_into(codec, &payload, &mut plain)
    };
    decoded.map_err(|error| corrupt(&source.path, error))?;
    if Digest::of(header.kind.context(), &plain) != header.digest || part.ordinal.0 >= RECORD_COUNT_MAX {
        return Err(differs());
    }
    let offset = offset_of(out, &source.path)?;
    let payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.append(&Header { segment: id, ordinal: part.ordinal, codec, payload_len, ..header }.encode())?;
    out.append(&payload)?;
    Ok(IndexEntry { ordinal: part.ordinal, offset, codec, payload_len, ..part.entry })
}

/// Where the next record will lie. Only entries that lie on one another could make a file so long.
fn offset_of(out: &Out<'_>, path: &Path) -> Result<u32> {
    u32::try_from(out.len()).map_err(|_| Error::Corrupt { path: path.to_owned(), damage: Damage::Index })
}

fn now_unix_s() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
