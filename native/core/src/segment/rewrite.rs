//! Writing a sealed segment anew without some of its records, under the same name and number.
//!
//! Ordinals, digests and payloads stay as they are, so every pointer goes on to hold. Who has the
//! old file open goes on reading that.

use std::path::Path;

use crate::error::{AtPath, Damage, Result, corrupt};
use crate::io::{File, Files, Mode};
use crate::record::Header;
use crate::units::{Ordinal, SegmentId};

use super::index::{self, IndexEntry, Trailer, run_len};
use super::read::Opened;
use super::{FILE_HEADER_LEN, TRAILER_LEN, path_of, temporary_path_of};

/// Bytes after which write-back is asked for.
const WRITEBACK_LEN: u64 = 8 * 1024 * 1024;

/// What a look at the end of a segment tells, with its index unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Bytes of the file.
    pub file_len: u64,
    /// Records in it; `None` where it is not sealed, or damaged.
    pub count: Option<u32>,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Bytes of the new file.
    pub file_len: u64,
}

/// Looks at a segment's end alone. Not verified: for estimates, and to pass over what needs nothing.
///
/// # Errors
/// `NotFound`, `Io`.
pub fn outline(files: &dyn Files, segments: &Path, id: SegmentId) -> Result<Outline> {
    let path = path_of(segments, id);
    let file = files.open(&path, Mode::Read).at("opening", &path)?;
    let file_len = file.len().at("reading", &path)?;
    let mut bytes = [0; TRAILER_LEN];
    let at = file_len.saturating_sub(TRAILER_LEN as u64);
    let count = file.read_at(&mut bytes, at).at("reading", &path)?;
    let trailer = Trailer::decode(bytes.get(..count).unwrap_or(&[]), file_len);
    Ok(Outline { file_len, count: trailer.filter(|trailer| trailer.segment == id).map(|found| found.count) })
}

/// Puts a file with the records that are to be kept in the place of a sealed segment. It is synced
/// before it is renamed; the caller syncs the directory. `written` hears of bytes as they are
/// written, and may end it all.
///
/// # Errors
/// `Corrupt` where the segment or a record that is to be kept is not as the index says: the old
/// file then stays, since what can still be read of it is there. `Io`; the old file stays, too,
/// unless it was the rename that failed. What was begun is unlinked where possible.
pub fn rewrite(
    files: &dyn Files,
    segments: &Path,
    id: SegmentId,
    keep: &dyn Fn(Ordinal) -> bool,
    written: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Rewritten> {
    let old = Opened::open(files, segments, id)?;
    let kept: Vec<_> = old.entries.iter().copied().filter(|entry| keep(entry.ordinal)).collect();
    let kept_len: u64 = kept.iter().map(|entry| entry.end() - u64::from(entry.offset)).sum();
    // Entries that lie on one another could make the file grow without bounds.
    if FILE_HEADER_LEN as u64 + kept_len > old.trailer.index_offset {
        return Err(corrupt(&old.path, Damage::Index));
    }
    replace_file(files, segments, id, |out| {
        let mut header = vec![0; FILE_HEADER_LEN];
        read(&old, &mut header, 0)?;
        out.append(&header)?;
        let kept = copy_records(&old, id, kept, out, written)?;
        Ok((kept, old.trailer.next_ordinal))
    })
}

/// Writes a segment's file under its temporary name, has `fill` append header and records, adds the
/// index of the entries that it gives (sorted by ordinal) with the ordinals ever given out, syncs,
/// and renames it over whatever has the segment's name. The caller syncs the directory.
///
/// # Errors
/// Of `fill` and of the file system. What was begun is then unlinked where possible.
pub(super) fn replace_file(
    files: &dyn Files,
    segments: &Path,
    id: SegmentId,
    fill: impl FnOnce(&mut Out<'_>) -> Result<(Vec<IndexEntry>, u32)>,
) -> Result<Rewritten> {
    let (path, temporary) = (path_of(segments, id), temporary_path_of(segments, id));
    match files.unlink(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).at("removing", &temporary);
        }
        _ => {}
    }
    let write = |file: Box<dyn File>| {
        let mut out = Out { file: &*file, path: &temporary, len: 0, writeback_from: 0 };
        let (entries, next_ordinal) = fill(&mut out)?;
        file.sync().at("syncing", &temporary)?;
        let tail = index::encode(id, &entries, out.len, next_ordinal);
        out.append(&tail)?;
        file.sync().at("syncing", &temporary)?;
        files.rename(&temporary, &path).at("replacing", &path)?;
        Ok(Rewritten { file_len: out.len })
    };
    let done = files.open(&temporary, Mode::CreateNew).at("creating", &temporary).and_then(write);
    done.inspect_err(|_| {
        // What cannot be unlinked is swept by whoever next works on the disk.
        let _ = files.unlink(&temporary);
    })
}

/// Appends records as they are, each checked by its header; gives them with their new offsets.
fn copy_records(
    old: &Opened,
    id: SegmentId,
    mut kept: Vec<IndexEntry>,
    out: &mut Out<'_>,
    written: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<IndexEntry>> {
    let mut buffer = Vec::new();
    let mut rest = kept.as_mut_slice();
    while !rest.is_empty() {
        let count = run_len(rest);
        let (run, after) = rest.split_at_mut(count);
        let start = run.first().map_or(0, |entry| u64::from(entry.offset));
        let end = run.last().map_or(start, IndexEntry::end);
        buffer.resize(usize::try_from(end - start).unwrap_or(usize::MAX), 0);
        read(old, &mut buffer, start)?;
        for entry in run {
            let at = usize::try_from(u64::from(entry.offset) - start).unwrap_or(usize::MAX);
            check(old, id, entry, buffer.get(at..).unwrap_or(&[]))?;
            let moved = out.len + u64::from(entry.offset) - start;
            entry.offset = u32::try_from(moved).unwrap_or(u32::MAX);
        }
        out.append(&buffer)?;
        written(buffer.len() as u64)?;
        rest = after;
    }
    Ok(kept)
}

/// That the header is the one that the index tells of. The payload is left to whoever reads it.
pub(super) fn check(old: &Opened, id: SegmentId, entry: &IndexEntry, bytes: &[u8]) -> Result<Header> {
    let header = Header::decode(bytes).map_err(|error| corrupt(&old.path, error))?;
    let is_told = header.segment == id
        && header.ordinal == entry.ordinal
        && header.kind == entry.kind
        && header.codec == entry.codec
        && header.payload_len == entry.payload_len
        && header.digest == entry.digest;
    if is_told { Ok(header) } else { Err(corrupt(&old.path, Damage::Missing { ordinal: entry.ordinal.0 })) }
}

pub(super) fn read(old: &Opened, into: &mut [u8], offset: u64) -> Result<()> {
    let count = old.file.read_at(into, offset).at("reading", &old.path)?;
    if count == into.len() { Ok(()) } else { Err(corrupt(&old.path, Damage::Index)) }
}

/// The file that is being written.
pub(super) struct Out<'a> {
    file: &'a dyn File,
    path: &'a Path,
    len: u64,
    writeback_from: u64,
}

impl Out<'_> {
    /// Bytes so far: where the next record will lie.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.len).at("writing", self.path)?;
        self.len += bytes.len() as u64;
        if self.len - self.writeback_from >= WRITEBACK_LEN {
            self.file.start_writeback(self.writeback_from, self.len - self.writeback_from);
            self.writeback_from = self.len;
        }
        Ok(())
    }
}
