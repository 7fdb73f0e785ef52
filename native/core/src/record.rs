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
//!
//! The payload of a block that is encoded against another one begins with what that is ([`Base`]):
//! segment 4, ordinal 4, digest of its plain bytes 32, check 8 of these 40 bytes and the frame. So
//! whether such a record is sound can be told without its base.

use crate::codec::Codec;
use crate::digest::{Context, Digest};
use crate::units::{BLOCK_SIZE_MAX, Ordinal, Place, SegmentId};

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
        if header.codec == Codec::ZstdPrefix && header.kind != Kind::Block {
            return Err(HeaderError::Unknown);
        }
        let possible = header.plain_len <= PLAIN_LEN_MAX && header.payload_len <= header.plain_len;
        if possible { Ok(header) } else { Err(HeaderError::Length) }
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn record_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.payload_len)
    }
}

/// Bytes that stand before the frame in the payload of [`Codec::ZstdPrefix`].
pub const BASE_LEN: usize = 48;
const BASE_CHECKED_LEN: usize = 40;

/// The block that another one is encoded against: it is not encoded so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its record.
    pub place: Place,
    /// Digest of its plain bytes.
    pub digest: Digest,
}

impl Base {
    /// The payload of a record whose frame was made with this base.
    #[must_use]
    pub fn payload(&self, frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(BASE_LEN + frame.len());
        out.extend_from_slice(&self.place.segment.0.to_le_bytes());
        out.extend_from_slice(&self.place.ordinal.0.to_le_bytes());
        out.extend_from_slice(&self.digest.0);
        let check = Digest::of_parts(Context::Header, &[&out, frame]).prefix();
        out.extend_from_slice(&check.to_le_bytes());
        out.extend_from_slice(frame);
        out
    }

    /// The base and the frame of a payload; `None` where it is damaged. Total.
    #[must_use]
    pub fn split(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (checked, rest) = payload.split_at_checked(BASE_CHECKED_LEN)?;
        let (check, frame) = rest.split_first_chunk::<8>()?;
        let (segment, numbers) = checked.split_first_chunk::<4>()?;
        let (ordinal, digest) = numbers.split_first_chunk::<4>()?;
        let place =
            Place::new(SegmentId(u32::from_le_bytes(*segment)), Ordinal(u32::from_le_bytes(*ordinal)))?;
        let base = Self { place, digest: Digest(*digest.first_chunk::<32>()?) };
        let is_right = Digest::of_parts(Context::Header, &[checked, frame]).prefix().to_le_bytes() == *check;
        is_right.then_some((base, frame))
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

    #[test]
    fn a_base_goes_there_and_back_and_every_flipped_bit_is_seen() {
        let place = Place::new(SegmentId(3), Ordinal(70_000)).unwrap();
        let base = Base { place, digest: Digest::of(Context::Block, b"base") };
        let good = base.payload(b"a frame");
        assert_eq!(good.len(), BASE_LEN + 7);
        assert_eq!(Base::split(&good), Some((base, &b"a frame"[..])));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Base::split(&bad), None, "bit {bit}");
        }
        assert_eq!(Base::split(&good[..BASE_LEN - 1]), None);
    }

    #[test]
    fn a_page_has_no_base() {
        let header = Header { codec: Codec::ZstdPrefix, ..sample() };
        assert_eq!(Header::decode(&header.encode()), Err(HeaderError::Unknown));
        let block = Header { kind: Kind::Block, ..header };
        assert_eq!(Header::decode(&block.encode()), Ok(block));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_give_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Header::decode(&bytes);
            let _ = Base::split(&bytes);
        }
    }
}
