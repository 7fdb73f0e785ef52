//! Records: stored blocks and map pages, each with a header that describes it without any index.
//!
//! Header, 64 bytes, little-endian (docs/format.md, "Record"):
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `CRec` |
//! | 4 | 1 | kind: 1 block, 2 map page |
//! | 5 | 1 | codec |
//! | 6 | 1 | encryption, 0 |
//! | 7 | 1 | reserved, 0 |
//! | 8 | 4 | segment |
//! | 12 | 4 | ordinal |
//! | 16 | 4 | plain length |
//! | 20 | 4 | payload length |
//! | 24 | 32 | digest of the plain bytes |
//! | 56 | 8 | check: first bytes of the digest of bytes 0 to 56 |

use crate::codec::Codec;
use crate::digest::{Context, Digest};
use crate::units::{BLOCK_SIZE_MAX, Ordinal, SegmentId};

/// Bytes of a record header.
pub const HEADER_LEN: usize = 64;
const CHECKED_LEN: usize = 56;
const MAGIC: [u8; 4] = *b"CRec";

/// Longest plain record: the largest block. Map pages are smaller.
pub const PLAIN_LEN_MAX: u32 = BLOCK_SIZE_MAX;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A block of a disk.
    Block,
    /// A page of a block map.
    Page,
}

impl Kind {
    /// The code in headers and indexes.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Kind::Block => 1,
            Kind::Page => 2,
        }
    }

    /// The inverse of [`Kind::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Kind::Block),
            2 => Some(Kind::Page),
            _ => None,
        }
    }

    /// The context that digests of such records are made in.
    #[must_use]
    pub fn context(self) -> Context {
        match self {
            Kind::Block => Context::Block,
            Kind::Page => Context::Page,
        }
    }
}

/// A decoded record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record holds.
    pub kind: Kind,
    /// How the payload is encoded.
    pub codec: Codec,
    /// The segment that the record was written to.
    pub segment: SegmentId,
    /// Its number there.
    pub ordinal: Ordinal,
    /// Bytes before encoding.
    pub plain_len: u32,
    /// Bytes that follow the header.
    pub payload_len: u32,
    /// Digest of the plain bytes.
    pub digest: Digest,
}

/// Bytes that are no record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer than [`HEADER_LEN`] bytes, or another magic.
    #[error("no record header stands here")]
    NotAHeader,
    /// The check field does not match.
    #[error("the record header is damaged")]
    Check,
    /// A kind, codec or encryption that this version does not know.
    #[error("the record is of a kind that this version does not know")]
    Unknown,
    /// A length beyond what a record can have.
    #[error("the record header gives an impossible length")]
    Length,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.kind.code(), self.codec.code(), 0, 0]);
        out.extend_from_slice(&self.segment.0.to_le_bytes());
        out.extend_from_slice(&self.ordinal.0.to_le_bytes());
        out.extend_from_slice(&self.plain_len.to_le_bytes());
        out.extend_from_slice(&self.payload_len.to_le_bytes());
        out.extend_from_slice(&self.digest.0);
        let check = Digest::of(Context::Header, &out).prefix();
        out.extend_from_slice(&check.to_le_bytes());
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&out);
        header
    }

    /// Decodes the first [`HEADER_LEN`] bytes. Total.
    ///
    /// # Errors
    /// [`HeaderError`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes = bytes.first_chunk::<HEADER_LEN>().ok_or(HeaderError::NotAHeader)?;
        let (checked, check) = bytes.split_first_chunk::<CHECKED_LEN>().ok_or(HeaderError::NotAHeader)?;
        let (magic, rest) = checked.split_first_chunk::<4>().ok_or(HeaderError::NotAHeader)?;
        if *magic != MAGIC {
            return Err(HeaderError::NotAHeader);
        }
        if Digest::of(Context::Header, checked).prefix().to_le_bytes() != *check {
            return Err(HeaderError::Check);
        }
        let (&[kind, codec, encryption, reserved], rest) =
            rest.split_first_chunk::<4>().ok_or(HeaderError::NotAHeader)?;
        if encryption != 0 || reserved != 0 {
            return Err(HeaderError::Unknown);
        }
        let mut numbers = rest.chunks_exact(4).map(|field| match field {
            &[a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        });
        let mut number = || numbers.next().unwrap_or(0);
        let header = Self {
            kind: Kind::from_code(kind).ok_or(HeaderError::Unknown)?,
            codec: Codec::from_code(codec).ok_or(HeaderError::Unknown)?,
            segment: SegmentId(number()),
            ordinal: Ordinal(number()),
            plain_len: number(),
            payload_len: number(),
            digest: Digest(*rest.last_chunk::<32>().ok_or(HeaderError::NotAHeader)?),
        };
        let possible = header.plain_len <= PLAIN_LEN_MAX && header.payload_len <= header.plain_len;
        if possible { Ok(header) } else { Err(HeaderError::Length) }
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn record_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.payload_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Header {
        Header {
            kind: Kind::Page,
            codec: Codec::Zstd,
            segment: SegmentId(7),
            ordinal: Ordinal(9),
            plain_len: 5000,
            payload_len: 1234,
            digest: Digest::of(Context::Page, b"page"),
        }
    }

    #[test]
    fn a_header_goes_there_and_back() {
        assert_eq!(Header::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = sample().encode();
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_give_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Header::decode(&bytes);
        }
    }
}
