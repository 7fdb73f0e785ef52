//! Finding the records of a segment without its index, by their headers alone.
//!
//! A scan follows the chain: the first record begins behind the file's header, each further one where
//! the one before ends. Where no header stands, it searches on byte by byte, so that damage costs
//! what it covers and no more.
//!
//! Payloads are a guest's, and how headers are checked is no secret: a guest can store blocks that
//! hold whole records of this very segment, with checks and digests that are right. So a scan tells
//! apart what it finds.
//!
//! - *Sure* is a record where the unbroken chain from the file's beginning leads, or of which the
//!   index has just this entry; the index may be damaged elsewhere, since no guest writes there. The
//!   chain goes on from a sure record. Its payload is never searched, whether it decodes or not, so
//!   what stands in the payload of a sure record is never taken for one.
//! - *Uncertain* is what only searching has found, and the chain from there. While the index is
//!   whole, nothing is: then only what it tells is taken. Otherwise an uncertain record is passed
//!   over where it would cover a sure one that the index tells, and stepped over only when its
//!   payload verifies; in all others the search goes on.
//! - Two records may claim one number. A sure one is never given up for an uncertain one, unless that
//!   one has the same digest and verifies, which makes it the same record. Between uncertain ones
//!   the one that verifies counts, and of two that do, the one in the longer unbroken run: a guest's
//!   run ends with its block, unless it has foretold the bytes between.
//!
//! Not guaranteed: where chain and index are both lost, a guest that has foretold the numbers of the
//! segment and its records can make records up, and one that has foretold how its neighbours are
//! stored, too, can hide them. Neither gives wrong bytes to whoever follows a pointer, since that
//! names the digest. But who looks for pages that nobody points at must not build on uncertain ones
//! unasked. A file that was cut where a guest stored the end of a segment counts as that segment.

mod window;

use std::collections::BTreeMap;
use std::path::Path;

use crate::codec::Codec;
use crate::digest::{Context, Digest};
use crate::error::{AtPath, Damage, Error, Result, corrupt};
use crate::io::{Files, Mode};
use crate::record::{HEADER_LEN, Header, PLAIN_LEN_MAX};
use crate::units::{Ordinal, SegmentId};

use super::index::{ENTRY_LEN, IndexEntry, SegmentIndex, Trailer};
use super::verify::is_sound_payload;
use super::{
    FILE_HEADER_LEN, FILE_MAGIC, FORMAT, FORMAT_MIN, RECORD_COUNT_MAX, SEGMENT_LEN_TARGET, TRAILER_LEN,
    path_of,
};
use window::Window;

const _: () = assert!(FILE_HEADER_LEN == HEADER_LEN && TRAILER_LEN == HEADER_LEN);
/// Where the last record of a segment ends at the latest; what is behind that is none of ours.
const RECORDS_END_MAX: u64 = SEGMENT_LEN_TARGET + HEADER_LEN as u64 + PLAIN_LEN_MAX as u64;
/// Bytes that are decoded at most to verify what searching finds. Records of 64 KiB come to half of
/// that; liars can claim far more, for each of many headers.
const SEARCH_PLAIN_MAX: u64 = 16 << 30;

/// What the first bytes of a segment tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// `id` of disk.json, as bytes.
    pub disk_id: [u8; 16],
    /// When the segment was begun, in seconds since 1970.
    pub created_unix_s: u64,
}

/// What the two ends of a segment tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Where the file's header is right.
    pub header: Option<FileHeader>,
    /// Ordinals ever given out, those of records that were swept included. Of the trailer, whose
    /// digest is that of the index, too: true where the segment opens.
    pub ordinals_given: Option<u32>,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Records that lie in the file as a whole, one for each ordinal, in rising order of these.
    pub entries: Vec<IndexEntry>,
    /// Records whose header is right and whose payload is not: it does not decode to its digest, or
    /// is cut off by the end of the file (then it is not in `entries`); or so much was to be decoded
    /// after damage that this one was not tried. Rising.
    pub damaged: Vec<Ordinal>,
    /// Those of `entries` and `damaged` that a guest may have made up. Rising.
    pub uncertain: Vec<Ordinal>,
    /// Bytes between header and index that belong to none of `entries`. Without a trailer the index
    /// cannot be told from damage and counts among them.
    pub skipped_bytes: u64,
    /// Whether the segment has a trailer and an index that match, so that nothing need be scanned.
    pub has_index: bool,
    /// Where the file's header is right.
    pub header: Option<FileHeader>,
}

/// Scans the file of a segment; see the module. Reads it front to back in windows of a mebibyte, and
/// twice where a payload is longer or damage is met; takes less than 64 MiB of memory whatever the
/// bytes are. Stretches that the medium fails to give count as damage.
///
/// # Errors
/// `NotFound`; `TooNew` where a right header names a later format; `Io` of anything but a medium
/// that fails.
pub fn scan(files: &dyn Files, segments: &Path, id: SegmentId) -> Result<Scanned> {
    scan_within(files, segments, id, SEARCH_PLAIN_MAX)
}

fn scan_within(files: &dyn Files, segments: &Path, id: SegmentId, patience: u64) -> Result<Scanned> {
    let path = path_of(segments, id);
    let file = files.open(&path, Mode::Read).at("opening", &path)?;
    let mut window = Window::new(&*file, &path)?;
    let header = FileHeader::decode(window.from(0, FILE_HEADER_LEN)?, id, &path)?;
    let tail = Tail::read(&mut window, id)?;
    let mut walk =
        Walk { window, id, tail, found: BTreeMap::new(), run: Vec::new(), plain: Vec::new(), patience };
    walk.run()?;
    let has_index = walk.tail.is_whole && header.is_some();
    Ok(walk.into_scanned(has_index, header))
}

/// Reads the first and the last bytes of a segment, and no index.
///
/// # Errors
/// As [`scan`].
pub fn ends(files: &dyn Files, segments: &Path, id: SegmentId) -> Result<Ends> {
    let path = path_of(segments, id);
    let file = files.open(&path, Mode::Read).at("opening", &path)?;
    let window = Window::new(&*file, &path)?;
    let header = FileHeader::decode(&window.peek(0)?, id, &path)?;
    let trailer = window.peek(window.len().saturating_sub(TRAILER_LEN as u64))?;
    let trailer = Trailer::decode(&trailer, window.len()).filter(|trailer| trailer.segment == id);
    Ok(Ends { header, ordinals_given: trailer.map(|trailer| trailer.next_ordinal) })
}

/// The plain bytes of a record that a scan has found, without any index.
///
/// # Errors
/// `Corrupt` unless the record is there and verifies, and where it is encoded against another one;
/// `NotFound` for the segment; `Io`.
pub fn read_found(files: &dyn Files, segments: &Path, id: SegmentId, entry: &IndexEntry) -> Result<Vec<u8>> {
    let path = path_of(segments, id);
    let file = files.open(&path, Mode::Read).at("opening", &path)?;
    let missing = || corrupt(&path, Damage::Missing { ordinal: entry.ordinal.0 });
    let mut record = vec![0; HEADER_LEN + entry.payload_len.min(PLAIN_LEN_MAX) as usize];
    let count = file.read_at(&mut record, entry.offset.into()).at("reading", &path)?;
    record.truncate(count);
    let header = Header::decode(&record).map_err(|error| corrupt(&path, error))?;
    if header.segment != id || entry_of(&header, entry.offset) != *entry {
        return Err(missing());
    }
    let payload = record.get(HEADER_LEN..).filter(|payload| payload.len() == header.payload_len as usize);
    let mut plain = Vec::new();
    let payload = payload.ok_or_else(missing)?;
    if header.codec != Codec::ZstdPrefix && is_sound_payload(&header, payload, &mut plain) {
        return Ok(plain);
    }
    Err(corrupt(&path, Damage::Digest { ordinal: entry.ordinal.0 }))
}

impl FileHeader {
    fn decode(bytes: &[u8], id: SegmentId, path: &Path) -> Result<Option<Self>> {
        let Some((format, segment, header)) = Self::fields(bytes) else { return Ok(None) };
        if format > FORMAT {
            return Err(Error::TooNew { path: path.to_owned(), found: format.into(), known: FORMAT.into() });
        }
        Ok((format >= FORMAT_MIN && segment == id).then_some(header))
    }

    /// Format, segment and the rest, where the check is right.
    fn fields(bytes: &[u8]) -> Option<(u16, SegmentId, Self)> {
        let (checked, check) = bytes.get(..FILE_HEADER_LEN)?.split_last_chunk::<8>()?;
        let (magic, rest) = checked.split_first_chunk::<8>()?;
        let (&[low, high, _, _], rest) = rest.split_first_chunk::<4>()?;
        let (segment, rest) = rest.split_first_chunk::<4>()?;
        let (disk_id, rest) = rest.split_first_chunk::<16>()?;
        let created = rest.first_chunk::<8>()?;
        let is_right =
            *magic == FILE_MAGIC && Digest::of(Context::Header, checked).prefix().to_le_bytes() == *check;
        let header = Self { disk_id: *disk_id, created_unix_s: u64::from_le_bytes(*created) };
        is_right.then_some((u16::from_le_bytes([low, high]), SegmentId(u32::from_le_bytes(*segment)), header))
    }
}

/// What the end of the file tells.
struct Tail {
    /// Where records end: at the index, or without a trailer at the end of the file.
    end: u64,
    /// The same, but not beyond what a segment can have.
    records_end: u64,
    /// Whether the index is all there.
    is_whole: bool,
    /// Entries of the index as they stand there, by the offset that they tell.
    told: BTreeMap<u32, [u8; ENTRY_LEN]>,
}

impl Tail {
    fn read(window: &mut Window<'_>, id: SegmentId) -> Result<Self> {
        let len = window.len();
        let trailer_bytes = window.from(len.saturating_sub(TRAILER_LEN as u64), TRAILER_LEN)?.to_vec();
        let trailer = Trailer::decode(&trailer_bytes, len).filter(|trailer| trailer.segment == id);
        let Some(trailer) = trailer else {
            let records_end = len.min(RECORDS_END_MAX);
            return Ok(Self { end: len, records_end, is_whole: false, told: BTreeMap::new() });
        };
        let index = window.from(trailer.index_offset, trailer.index_len())?;
        let index = index.get(..trailer.index_len()).unwrap_or(&[]);
        let entries = trailer.entries(index, &trailer_bytes);
        let is_whole = entries
            .is_some_and(|entries| SegmentIndex::from_entries(&entries, trailer.index_offset).is_some());
        let entry = |bytes: &[u8]| {
            let bytes = *bytes.first_chunk::<ENTRY_LEN>()?;
            let &[_, _, _, _, a, b, c, d, ..] = &bytes;
            Some((u32::from_le_bytes([a, b, c, d]), bytes))
        };
        let told = index.chunks_exact(ENTRY_LEN).filter_map(entry).collect();
        let end = trailer.index_offset;
        Ok(Self { end, records_end: end.min(RECORDS_END_MAX), is_whole, told })
    }

    fn tells(&self, entry: &IndexEntry) -> bool {
        let mut bytes = Vec::with_capacity(ENTRY_LEN);
        entry.encode_to(&mut bytes);
        self.told.get(&entry.offset).is_some_and(|told| told[..] == *bytes)
    }
}

/// A record on the way.
#[derive(Clone, Copy)]
struct Found {
    entry: IndexEntry,
    is_sure: bool,
    /// Its payload verifies.
    is_sound: bool,
    /// It ends before the records do.
    is_whole: bool,
    /// Bytes of the unbroken run of records that it is part of.
    run_len: u64,
}

impl Found {
    fn end(&self) -> u64 {
        end_of(&self.entry)
    }

    /// Whether this one is to count instead of another with its number that was found before.
    fn beats(&self, other: &Self) -> bool {
        if (self.entry.kind, self.entry.digest) == (other.entry.kind, other.entry.digest) {
            return (self.is_sound, self.is_sure) > (other.is_sound, other.is_sure);
        }
        (self.is_sure, self.is_sound, self.run_len) > (other.is_sure, other.is_sound, other.run_len)
    }
}

struct Walk<'a> {
    window: Window<'a>,
    id: SegmentId,
    tail: Tail,
    found: BTreeMap<Ordinal, Found>,
    /// Records without a gap between them, not yet in `found`.
    run: Vec<Found>,
    /// Scratch space.
    plain: Vec<u8>,
    /// Bytes that may still be decoded for what searching finds.
    patience: u64,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let (mut at, mut is_sure, mut sure_count) = (FILE_HEADER_LEN as u64, true, 0);
        while at < self.tail.records_end && sure_count < RECORD_COUNT_MAX {
            let found = self.record_at(at, is_sure)?;
            match found.filter(|found| found.is_sure || found.is_sound) {
                Some(found) => {
                    self.run.push(found);
                    at = found.end();
                    is_sure = found.is_sure;
                    sure_count += u32::from(is_sure);
                }
                None => {
                    self.end_run();
                    if let Some(found) = found {
                        self.offer(found);
                    }
                    at = self.next_header(at + 1)?;
                    is_sure = false;
                }
            }
            if self.run.len() >= RECORD_COUNT_MAX as usize {
                self.end_run();
            }
        }
        self.end_run();
        Ok(())
    }

    /// The record that begins at `at`, if one may be believed to; `follows_sure` where the chain of
    /// sure records leads there.
    fn record_at(&mut self, at: u64, follows_sure: bool) -> Result<Option<Found>> {
        let Some(header) = self.header_at(at)? else { return Ok(None) };
        let entry = entry_of(&header, u32::try_from(at).unwrap_or(u32::MAX));
        let is_sure = follows_sure || self.tail.tells(&entry);
        let mut found = Found { entry, is_sure, is_sound: false, is_whole: false, run_len: 0 };
        if !is_sure && (self.tail.is_whole || self.covers_a_sure_one(&found)?) {
            return Ok(None);
        }
        found.is_whole = found.end() <= self.tail.records_end;
        found.is_sound = found.is_whole && self.verifies(at, &header, is_sure)?;
        Ok(Some(found))
    }

    fn header_at(&mut self, at: u64) -> Result<Option<Header>> {
        let bytes = self.window.from(at, HEADER_LEN)?;
        Ok(Header::decode(bytes).ok().filter(|header| is_of(header, self.id)))
    }

    /// Whether a record that the index tells begins within another. Entries of the index that are
    /// met on the way and lead to no such record are forgotten.
    fn covers_a_sure_one(&mut self, found: &Found) -> Result<bool> {
        let end = u32::try_from(found.end()).unwrap_or(u32::MAX);
        while let Some((&offset, _)) = self.tail.told.range(found.entry.offset + 1..end).next() {
            let header = Header::decode(&self.window.peek(offset.into())?).ok();
            let header = header.filter(|header| is_of(header, self.id));
            if header.is_some_and(|header| self.tail.tells(&entry_of(&header, offset))) {
                return Ok(true);
            }
            self.tail.told.remove(&offset);
        }
        Ok(false)
    }

    fn verifies(&mut self, at: u64, header: &Header, is_sure: bool) -> Result<bool> {
        if !is_sure {
            let Some(left) = self.patience.checked_sub(header.plain_len.into()) else { return Ok(false) };
            self.patience = left;
        }
        let len = HEADER_LEN + header.payload_len as usize;
        let payload = self.window.from(at, len)?.get(HEADER_LEN..len).unwrap_or(&[]);
        // A second frame that is passed over could cover the records that follow.
        Ok((is_sure || is_one_frame(header.codec, payload))
            && is_sound_payload(header, payload, &mut self.plain))
    }

    /// The next place at or after `at` where a header of this segment stands, or where records end.
    fn next_header(&mut self, mut at: u64) -> Result<u64> {
        while at < self.tail.records_end {
            let id = self.id;
            let bytes = self.window.from(at, HEADER_LEN)?;
            let is_right = |bytes: &[u8]| Header::decode(bytes).is_ok_and(|header| is_of(&header, id));
            if let Some(found) = bytes.windows(HEADER_LEN).position(is_right) {
                return Ok((at + found as u64).min(self.tail.records_end));
            }
            if bytes.len() < HEADER_LEN {
                break;
            }
            at += (bytes.len() - HEADER_LEN) as u64 + 1;
        }
        Ok(self.tail.records_end)
    }

    /// Enters records that lie one after the other, now that it is known how many do.
    fn end_run(&mut self) {
        let run_len = self.run.iter().map(|found| found.end() - u64::from(found.entry.offset)).sum();
        for found in std::mem::take(&mut self.run) {
            self.offer(Found { run_len, ..found });
        }
    }

    fn offer(&mut self, found: Found) {
        let place = self.found.entry(found.entry.ordinal).or_insert(found);
        if found.beats(place) {
            *place = found;
        }
    }

    fn into_scanned(self, has_index: bool, header: Option<FileHeader>) -> Scanned {
        let found = || self.found.values();
        let of = |wanted: fn(&Found) -> bool| {
            found().filter(|found| wanted(found)).map(|found| found.entry.ordinal).collect()
        };
        let entries: Vec<_> = found().filter(|found| found.is_whole).map(|found| found.entry).collect();
        let between = self.tail.end.saturating_sub(FILE_HEADER_LEN as u64);
        Scanned {
            skipped_bytes: between.saturating_sub(covered(&entries)),
            entries,
            damaged: of(|found| !found.is_sound),
            uncertain: of(|found| !found.is_sure),
            has_index,
            header,
        }
    }
}

fn is_of(header: &Header, id: SegmentId) -> bool {
    header.segment == id && header.ordinal.0 < RECORD_COUNT_MAX
}

fn entry_of(header: &Header, offset: u32) -> IndexEntry {
    let Header { ordinal, payload_len, kind, codec, digest, .. } = *header;
    IndexEntry { ordinal, offset, payload_len, kind, codec, digest }
}

/// Where a record ends in the file.
fn end_of(entry: &IndexEntry) -> u64 {
    u64::from(entry.offset) + HEADER_LEN as u64 + u64::from(entry.payload_len)
}

fn is_one_frame(codec: Codec, payload: &[u8]) -> bool {
    codec != Codec::Zstd
        || zstd::zstd_safe::find_frame_compressed_size(payload).is_ok_and(|len| len == payload.len())
}

/// Bytes that belong to at least one record.
fn covered(entries: &[IndexEntry]) -> u64 {
    let mut stretches: Vec<_> =
        entries.iter().map(|entry| (u64::from(entry.offset), end_of(entry))).collect();
    stretches.sort_unstable();
    let mut reached = 0u64;
    stretches.into_iter().fold(0u64, |sum, (start, end): (u64, u64)| {
        let from = start.max(reached);
        reached = reached.max(end);
        sum + end.saturating_sub(from)
    })
}

#[cfg(test)]
mod tests;
