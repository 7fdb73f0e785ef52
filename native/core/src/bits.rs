//! Sets of small numbers, a bit each; and whether bytes are zero.

/// Numbers from 0 up. Takes an eighth of a byte for each number up to the largest that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
}

const WORD_BITS: u32 = u64::BITS;

impl Bits {
    /// Puts a number in; true when it was not there.
    pub fn insert(&mut self, number: u32) -> bool {
        let (at, bit) = place_of(number);
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        let Some(word) = self.words.get_mut(at) else { return false };
        let was_there = *word & bit != 0;
        *word |= bit;
        !was_there
    }

    /// Whether a number is in.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        let (at, bit) = place_of(number);
        self.words.get(at).is_some_and(|word| word & bit != 0)
    }

    /// How many numbers are in.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Bit `i % 8` of byte `i / 8` is set where `i` is in. Ends in no more than seven zero bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let used = self.words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        self.words.iter().take(used).flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The inverse of [`Bits::to_bytes`], of any bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        Self { words: bytes.chunks(8).map(word).collect() }
    }
}

fn place_of(number: u32) -> (usize, u64) {
    ((number / WORD_BITS) as usize, 1 << (number % WORD_BITS))
}

/// Whether all bytes are zero; usually decided by the first few.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let mut wide = bytes.chunks_exact(128);
    wide.by_ref().all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
        && wide.remainder().iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_what_was_put_in_and_goes_through_bytes(
            numbers in proptest::collection::btree_set(0u32..2000, 0..100),
            other in 0u32..2000,
        ) {
            let mut bits = Bits::default();
            for &number in &numbers {
                prop_assert!(bits.insert(number) && !bits.insert(number));
            }
            prop_assert_eq!(bits.count() as usize, numbers.len());
            prop_assert_eq!(bits.is_empty(), numbers.is_empty());
            prop_assert_eq!(bits.contains(other), numbers.contains(&other));
            let again = Bits::from_bytes(&bits.to_bytes());
            let held: BTreeSet<_> = (0..2000).filter(|&number| again.contains(number)).collect();
            prop_assert_eq!(held, numbers);
        }
    }
}
