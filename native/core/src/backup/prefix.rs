//! Encoding a changed block against what was there before.
//!
//! A database changes a page of 4 KiB in a block of 64: most of the block stands already in the
//! record that the parent has there. That record becomes the base of the new one, or its own base
//! does, since a base is never encoded against anything: so a read decodes two records at most.
//!
//! It costs reading and decoding the base, and gains nothing where all of a block is new. So the two
//! are compared first, byte by byte where they stand; and where that was in vain again and again, only
//! some blocks are looked at, until one gained.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::codec;
use crate::error::Result;
use crate::map::{BlockPointer, Place};
use crate::record::BASE_LEN;
use crate::write::Known;

/// Bytes that are compared at once.
const LINE_LEN: usize = 64;
/// The part of a block that is to stand in its base, at the same place.
const SAME_PART: usize = 2;
/// What a record may take at most, as a part of what its base does.
const STORED_PART: usize = 2;
/// Blocks in a row that gained nothing, after which not all are looked at.
const PATIENCE: u32 = 64;
/// Then one of so many is.
const SAMPLE: u32 = 8;

/// See the module. For all threads of a pass.
#[derive(Default)]
pub(super) struct Prefixes {
    /// Blocks in a row that gained nothing, those included that were not looked at.
    in_vain: AtomicU32,
}

impl Prefixes {
    /// The payload of a block in whose place `before` was, and the base that it needs; `None` where it
    /// is better encoded by itself.
    ///
    /// # Errors
    /// `Io` for all but damage.
    pub(super) fn encode(
        &self,
        known: &Known,
        before: &BlockPointer,
        block: &[u8],
    ) -> Result<Option<(Place, Vec<u8>)>> {
        let in_vain = self.in_vain.fetch_add(1, Ordering::Relaxed);
        if in_vain >= PATIENCE && !in_vain.is_multiple_of(SAMPLE) {
            return Ok(None);
        }
        let Some((base, plain, stored_len)) = known.base_for(before)? else { return Ok(None) };
        if !is_like(block, &plain) {
            return Ok(None);
        }
        // A payload is never longer than what it stands for, which a short last block soon would be.
        let len_max = (stored_len as usize / STORED_PART).min(block.len()).saturating_sub(BASE_LEN);
        let Some(frame) = codec::encode_against(&plain, block, len_max) else { return Ok(None) };
        self.in_vain.store(0, Ordering::Relaxed);
        Ok(Some((base.place, base.payload(&frame))))
    }
}

/// Whether so much of a block stands in its base that it is worth encoding it against that.
fn is_like(block: &[u8], base: &[u8]) -> bool {
    let lines = block.chunks_exact(LINE_LEN).zip(base.chunks_exact(LINE_LEN));
    let same = lines.filter(|(line, before)| line == before).count();
    same * LINE_LEN * SAME_PART >= block.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_block_must_stand_where_it_stood() {
        let block: Vec<u8> = (0..4096u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let changed = |from: usize, to: usize| {
            let mut base = block.clone();
            base[from..to].iter_mut().for_each(|byte| *byte ^= 1);
            base
        };
        assert!(is_like(&block, &block) && is_like(&block, &changed(0, 2048)));
        assert!(!is_like(&block, &changed(0, 2049)) && !is_like(&block, &block[1..]));
        assert!(is_like(&block[..2048], &block) && !is_like(&block, &block[..2047]));
    }
}
