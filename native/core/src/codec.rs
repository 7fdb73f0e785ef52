//! Compression of single records, with contexts that are made once a thread.
//!
//! A codec never changes what a digest covers: digests are of plain bytes, so a record can be
//! re-encoded without touching any pointer.

use std::cell::RefCell;

/// How the payload of a record is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// As it is.
    Plain,
    /// One zstd frame (RFC 8878), level 1.
    Zstd,
    /// One raw lz4 block, without frame or size prefix.
    Lz4,
    /// What differs from another block, see [`encode_against`]. Of records alone: nobody asks for it.
    #[serde(skip)]
    ZstdPrefix,
}

/// A payload that does not decode to what its header promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The decoder rejected the bytes.
    #[error("the payload is no valid {0:?} data")]
    Invalid(Codec),
    /// It is encoded against another block, which must be read first.
    #[error("the payload is encoded against another block")]
    Against,
    /// It decoded to another length.
    #[error("the payload decodes to {found} bytes, not {expected}")]
    Length {
        /// What the header says.
        expected: usize,
        /// What came out.
        found: usize,
    },
}

const ZSTD_LEVEL: i32 = 1;
/// Of what is encoded against a base; measured in docs/decisions.
const PREFIX_LEVEL: i32 = 1;

impl Codec {
    /// The code in a record header.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Codec::Plain => 0,
            Codec::Zstd => 1,
            Codec::Lz4 => 2,
            Codec::ZstdPrefix => 3,
        }
    }

    /// The inverse of [`Codec::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Codec::Plain),
            1 => Some(Codec::Zstd),
            2 => Some(Codec::Lz4),
            3 => Some(Codec::ZstdPrefix),
            _ => None,
        }
    }
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    static PREFIX_DECODER: RefCell<Option<zstd::zstd_safe::DCtx<'static>>> = const { RefCell::new(None) };
}

/// Encodes `plain` and says which codec was used: [`Codec::Plain`] wherever the wanted one does
/// not save at least a sixteenth, since such records cost decoding time and give nothing back.
#[must_use]
pub fn encode(codec: Codec, plain: &[u8]) -> (Codec, Vec<u8>) {
    let limit = plain.len() - plain.len() / 16;
    let encoded = match codec {
        Codec::Plain => None,
        Codec::Zstd | Codec::ZstdPrefix => zstd_encode(plain),
        Codec::Lz4 => Some(lz4_flex::block::compress(plain)),
    };
    match encoded {
        Some(bytes) if bytes.len() < limit => (if codec == Codec::Lz4 { codec } else { Codec::Zstd }, bytes),
        _ => (Codec::Plain, plain.to_vec()),
    }
}

/// Encodes `plain` as what differs from `base`: one zstd frame with the bytes of `base` as its
/// dictionary, of at most `len_max` bytes. `None` where it would be longer, or the base cannot be one.
#[must_use]
pub fn encode_against(base: &[u8], plain: &[u8], len_max: usize) -> Option<Vec<u8>> {
    if !can_be_base(base) {
        return None;
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        let context = compressor(slot)?.context_mut();
        let mut frame = Vec::with_capacity(len_max);
        context.compress_using_dict(&mut frame, plain, base, PREFIX_LEVEL).ok()?;
        Some(frame)
    })
}

/// Decodes a frame that [`encode_against`] made with the same base.
///
/// # Errors
/// As [`decode_into`].
pub fn decode_against(base: &[u8], frame: &[u8], plain: &mut [u8]) -> Result<(), CodecError> {
    let (expected, invalid) = (plain.len(), CodecError::Invalid(Codec::ZstdPrefix));
    let found = PREFIX_DECODER.with_borrow_mut(|slot| {
        let decoder = slot.get_or_insert_with(zstd::zstd_safe::DCtx::create);
        let is_possible = can_be_base(base);
        let decoded = is_possible.then(|| decoder.decompress_using_dict(plain, frame, base));
        decoded.and_then(Result::ok).ok_or(invalid)
    })?;
    if found == expected { Ok(()) } else { Err(CodecError::Length { expected, found }) }
}

/// A block that begins like a trained dictionary would be taken for one.
fn can_be_base(base: &[u8]) -> bool {
    !base.starts_with(&zstd::zstd_safe::MAGIC_DICTIONARY.to_le_bytes())
}

/// Decodes `payload` into `plain`, which has the length that the header promised.
///
/// # Errors
/// [`CodecError`] where the payload is damaged; `plain` is then undefined. Never allocates more
/// than the decoder's fixed window.
pub fn decode_into(codec: Codec, payload: &[u8], plain: &mut [u8]) -> Result<(), CodecError> {
    let expected = plain.len();
    let found = match codec {
        Codec::Plain => {
            if payload.len() == expected {
                plain.copy_from_slice(payload);
            }
            payload.len()
        }
        Codec::Zstd => zstd_decode(payload, plain)?,
        Codec::Lz4 => {
            lz4_flex::block::decompress_into(payload, plain).map_err(|_| CodecError::Invalid(codec))?
        }
        Codec::ZstdPrefix => return Err(CodecError::Against),
    };
    if found == expected { Ok(()) } else { Err(CodecError::Length { expected, found }) }
}

fn zstd_encode(plain: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| compressor(slot)?.compress(plain).ok())
}

type Compressor = zstd::bulk::Compressor<'static>;

fn compressor(slot: &mut Option<Compressor>) -> Option<&mut Compressor> {
    if slot.is_none() {
        *slot = Compressor::new(ZSTD_LEVEL).ok();
    }
    slot.as_mut()
}

fn zstd_decode(payload: &[u8], plain: &mut [u8]) -> Result<usize, CodecError> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Decompressor::new().ok();
        }
        let invalid = CodecError::Invalid(Codec::Zstd);
        slot.as_mut().ok_or(invalid)?.decompress_to_buffer(payload, plain).map_err(|_| invalid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_shrink_is_kept_plain() {
        let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let random = crate::digest::Digest::of(crate::digest::Context::Block, &noise).0;
        assert_eq!(encode(Codec::Zstd, &random).0, Codec::Plain);
        assert_eq!(encode(Codec::Lz4, &random).0, Codec::Plain);
        assert_eq!(encode(Codec::Zstd, &[7; 4096]).0, Codec::Zstd);
    }

    #[test]
    fn a_block_like_its_base_takes_little_and_comes_back_with_that_base_alone() {
        let mut random = crate::random::Numbers::new(7);
        let base: Vec<u8> = (0..65_536).map(|_| random.next_u64() as u8).collect();
        let mut block = base.clone();
        block[20_000..24_096].fill_with(|| random.next_u64() as u8);
        let frame = encode_against(&base, &block, 10_000).unwrap();
        assert!(frame.len() < 4096 + 60, "{}", frame.len());
        let mut plain = vec![0; block.len()];
        decode_against(&base, &frame, &mut plain).unwrap();
        assert_eq!(plain, block);
        let mut other = base.clone();
        other[7] ^= 1;
        assert!(decode_against(&other, &frame, &mut plain).is_err() || plain != block);
        assert!(decode_against(&base, &frame, &mut [0; 100]).is_err());
        assert_eq!(encode_against(&base, &block, 4000), None, "it would be longer");
    }

    #[test]
    fn what_would_be_taken_for_a_trained_dictionary_is_no_base() {
        let mut base = vec![7; 4096];
        let frame = encode_against(&base, &[7; 4096], 100).unwrap();
        base[..4].copy_from_slice(&[0x37, 0xa4, 0x30, 0xec]);
        assert_eq!(encode_against(&base, &[7; 4096], 100), None);
        assert!(decode_against(&base, &frame, &mut [0; 4096]).is_err());
    }

    proptest! {
        #[test]
        fn every_codec_gives_the_bytes_back(bytes in proptest::collection::vec(0u8..4, 0..9000), code in 0u8..3) {
            let wanted = Codec::from_code(code).unwrap();
            let (codec, payload) = encode(wanted, &bytes);
            let mut plain = vec![0; bytes.len()];
            decode_into(codec, &payload, &mut plain).unwrap();
            prop_assert_eq!(plain, bytes);
        }

        #[test]
        fn any_payload_decodes_or_gives_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2000), code in 0u8..3, len in 0usize..5000) {
            let mut plain = vec![0; len];
            let _ = decode_into(Codec::from_code(code).unwrap(), &bytes, &mut plain);
            let (base, frame) = bytes.split_at(bytes.len() / 2);
            let _ = decode_against(base, frame, &mut plain);
        }

        #[test]
        fn whatever_the_base_is_the_block_comes_back(base in proptest::collection::vec(0u8..4, 0..5000), block in proptest::collection::vec(0u8..4, 0..5000)) {
            let frame = encode_against(&base, &block, block.len() + 100).unwrap();
            let mut plain = vec![9; block.len()];
            decode_against(&base, &frame, &mut plain).unwrap();
            prop_assert_eq!(plain, block);
        }
    }
}
