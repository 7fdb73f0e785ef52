//! The index of a sealed segment and the trailer that leads to it.
//!
//! Index entry, 48 bytes: ordinal 4, offset 4, payload length 4, kind 1, codec 1, reserved 2,
//! digest 32. Entries are sorted by ordinal.
//!
//! Trailer, 64 bytes at the end of the file: magic `CAIRNIDX`, format 2, reserved 2, segment 4,
//! offset of the index 8, entries 4, ordinals ever given out 4, digest 32 of the index followed by
//! the trailer's first 32 bytes.

use crate::codec::Codec;
use crate::digest::{Context, Digest};
use crate::record::{HEADER_LEN, Kind, PLAIN_LEN_MAX};
use crate::units::{Ordinal, SegmentId};

use super::{FILE_HEADER_LEN, FORMAT_MIN, RECORD_COUNT_MAX, TRAILER_LEN, TRAILER_MAGIC};

/// Bytes of one entry.
pub(super) const ENTRY_LEN: usize = 48;
const TRAILER_CHECKED_LEN: usize = 32;
/// Bytes of records that are read at once; a record may be longer.
const PIECE_LEN: u64 = 1024 * 1024;

/// Where one record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its number.
    pub ordinal: Ordinal,
    /// Byte offset of its header in the file.
    pub offset: u32,
    /// Bytes after the header.
    pub payload_len: u32,
    /// What it holds.
    pub kind: Kind,
    /// How it is encoded.
    pub codec: Codec,
    /// Digest of its plain bytes.
    pub digest: Digest,
}

/// Decoded trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) segment: SegmentId,
    pub(super) index_offset: u64,
    pub(super) count: u32,
    pub(super) next_ordinal: u32,
    pub(super) digest: Digest,
}

/// The index in memory: twelve bytes a record, digests left on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    ordinals: Vec<u32>,
    offsets: Vec<u32>,
    payload_lens: Vec<u32>,
}

impl SegmentIndex {
    /// Offset and payload length of a record.
    #[must_use]
    pub fn find(&self, ordinal: Ordinal) -> Option<(u32, u32)> {
        // Unless records were swept, the ordinal is its own position.
        let guess = ordinal.0 as usize;
        let at = match self.ordinals.get(guess) {
            Some(&found) if found == ordinal.0 => guess,
            _ => self.ordinals.binary_search(&ordinal.0).ok()?,
        };
        Some((*self.offsets.get(at)?, *self.payload_lens.get(at)?))
    }

    /// Records in the segment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ordinals.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ordinals.is_empty()
    }

    /// Takes entries in; `None` unless they rise by ordinal and lie between header and index
    /// without overlapping the latter.
    pub(super) fn from_entries(entries: &[IndexEntry], index_offset: u64) -> Option<Self> {
        let mut index = SegmentIndex::default();
        for entry in entries {
            let end = u64::from(entry.offset) + HEADER_LEN as u64 + u64::from(entry.payload_len);
            let rises = index.ordinals.last().is_none_or(|&last| last < entry.ordinal.0);
            let possible = entry.payload_len <= PLAIN_LEN_MAX && (entry.offset as usize) >= FILE_HEADER_LEN;
            if !rises || !possible || end > index_offset {
                return None;
            }
            index.ordinals.push(entry.ordinal.0);
            index.offsets.push(entry.offset);
            index.payload_lens.push(entry.payload_len);
        }
        Some(index)
    }
}

impl IndexEntry {
    /// Bytes that the record takes in its segment, its entry in the index included.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.record_len() + ENTRY_LEN as u64
    }

    /// Bytes of the record: header and payload.
    #[must_use]
    pub fn record_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.payload_len)
    }

    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + self.record_len()
    }

    pub(super) fn encode_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ordinal.0.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.payload_len.to_le_bytes());
        out.extend_from_slice(&[self.kind.code(), self.codec.code(), 0, 0]);
        out.extend_from_slice(&self.digest.0);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.split_first_chunk::<12>()?;
        let (&[kind, codec, 0, 0], digest) = rest.split_first_chunk::<4>()? else {
            return None;
        };
        let [ordinal, offset, payload_len] = three_u32(numbers);
        Some(Self {
            ordinal: Ordinal(ordinal),
            offset,
            payload_len,
            kind: Kind::from_code(kind)?,
            codec: Codec::from_code(codec)?,
            digest: Digest(*digest.first_chunk::<32>()?),
        })
    }
}

/// How many entries from the first on lie one after the other and are read at once: at least one,
/// whatever its length.
pub(super) fn run_len(entries: &[IndexEntry]) -> usize {
    let Some(first) = entries.first() else { return 0 };
    let follows = |pair: &[IndexEntry]| match pair {
        [one, next] => {
            u64::from(next.offset) == one.end() && next.end() - u64::from(first.offset) <= PIECE_LEN
        }
        _ => false,
    };
    1 + entries.windows(2).take_while(|pair| follows(pair)).count()
}

fn three_u32(bytes: &[u8; 12]) -> [u32; 3] {
    let &[a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), u32::from_le_bytes([i, j, k, l])]
}

/// Bytes of index and trailer for so many records.
pub(super) fn len_of(count: usize) -> usize {
    count * ENTRY_LEN + TRAILER_LEN
}

/// Index and trailer as they are appended to a segment.
pub(super) fn encode(
    segment: SegmentId,
    entries: &[IndexEntry],
    index_offset: u64,
    next_ordinal: u32,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(len_of(entries.len()));
    for entry in entries {
        entry.encode_to(&mut out);
    }
    out.extend_from_slice(&TRAILER_MAGIC);
    out.extend_from_slice(&FORMAT_MIN.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&segment.0.to_le_bytes());
    out.extend_from_slice(&index_offset.to_le_bytes());
    out.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&next_ordinal.to_le_bytes());
    let digest = Digest::of(Context::Header, &out);
    out.extend_from_slice(&digest.0);
    out
}

impl Trailer {
    /// Decodes the last [`TRAILER_LEN`] bytes of a file of `file_len` bytes. Total. Bounds the
    /// index, so that reading it cannot be made to allocate beyond 6 MiB.
    pub(super) fn decode(bytes: &[u8], file_len: u64) -> Option<Self> {
        let (magic, rest) = bytes.first_chunk::<TRAILER_LEN>()?.split_first_chunk::<8>()?;
        let (&[format_low, format_high, 0, 0], rest) = rest.split_first_chunk::<4>()? else {
            return None;
        };
        if *magic != TRAILER_MAGIC || u16::from_le_bytes([format_low, format_high]) != FORMAT_MIN {
            return None;
        }
        let (segment, rest) = rest.split_first_chunk::<4>()?;
        let (index_offset, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (next_ordinal, digest) = rest.split_first_chunk::<4>()?;
        let trailer = Self {
            segment: SegmentId(u32::from_le_bytes(*segment)),
            index_offset: u64::from_le_bytes(*index_offset),
            count: u32::from_le_bytes(*count),
            next_ordinal: u32::from_le_bytes(*next_ordinal),
            digest: Digest(*digest.first_chunk::<32>()?),
        };
        let end = trailer.index_offset.checked_add(trailer.index_len() as u64 + TRAILER_LEN as u64);
        (end == Some(file_len) && trailer.count <= RECORD_COUNT_MAX).then_some(trailer)
    }

    pub(super) fn index_len(&self) -> usize {
        self.count as usize * ENTRY_LEN
    }

    /// Checks and decodes the index bytes that this trailer leads to.
    pub(super) fn entries(&self, index: &[u8], trailer: &[u8]) -> Option<Vec<IndexEntry>> {
        let checked = trailer.get(..TRAILER_CHECKED_LEN)?;
        if index.len() != self.index_len()
            || Digest::of_parts(Context::Header, &[index, checked]) != self.digest
        {
            return None;
        }
        let entries: Option<Vec<_>> = index.chunks_exact(ENTRY_LEN).map(IndexEntry::decode).collect();
        entries.filter(|entries| entries.iter().all(|entry| entry.ordinal.0 < self.next_ordinal))
    }
}
