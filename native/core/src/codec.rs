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
}

/// A payload that does not decode to what its header promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The decoder rejected the bytes.
    #[error("the payload is no valid {0:?} data")]
    Invalid(Codec),
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

impl Codec {
    /// The code in a record header.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Codec::Plain => 0,
            Codec::Zstd => 1,
            Codec::Lz4 => 2,
        }
    }

    /// The inverse of [`Codec::code`]. 3 is reserved for `zstd-prefix`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Codec::Plain),
            1 => Some(Codec::Zstd),
            2 => Some(Codec::Lz4),
            _ => None,
        }
    }
}

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Encodes `plain` and says which codec was used: [`Codec::Plain`] wherever the wanted one does
/// not save at least a sixteenth, since such records cost decoding time and give nothing back.
#[must_use]
pub fn encode(codec: Codec, plain: &[u8]) -> (Codec, Vec<u8>) {
    let limit = plain.len() - plain.len() / 16;
    let encoded = match codec {
        Codec::Plain => None,
        Codec::Zstd => zstd_encode(plain),
        Codec::Lz4 => Some(lz4_flex::block::compress(plain)),
    };
    match encoded {
        Some(bytes) if bytes.len() < limit => (codec, bytes),
        _ => (Codec::Plain, plain.to_vec()),
    }
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
    };
    if found == expected { Ok(()) } else { Err(CodecError::Length { expected, found }) }
}

fn zstd_encode(plain: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        slot.as_mut()?.compress(plain).ok()
    })
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
        }
    }
}
