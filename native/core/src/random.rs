//! Numbers for choosing samples: nothing secret, and the same again for the same seed.

use crate::error::{Error, Result};

/// A sequence of numbers (SplitMix64, Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Numbers {
    state: u64,
}

impl Numbers {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence that nobody can foretell.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn unpredictable() -> Result<Self> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Error::Io {
            action: "getting",
            path: "random bytes".into(),
            source: std::io::Error::other(error),
        })?;
        Ok(Self::new(u64::from_le_bytes(seed)))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0. Even enough for samples.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

/// Takes exactly `wanted` of `total` things that pass by in order, each set of them as likely as any
/// other (selection sampling, Knuth, The Art of Computer Programming, 3.4.2, algorithm S).
#[derive(Clone, Debug)]
pub struct Selection {
    left: u64,
    wanted: u64,
    numbers: Numbers,
}

impl Selection {
    /// At most `total` are taken.
    #[must_use]
    pub fn new(wanted: u64, total: u64, numbers: Numbers) -> Self {
        Self { left: total, wanted: wanted.min(total), numbers }
    }

    /// Whether the next thing is taken.
    pub fn takes_next(&mut self) -> bool {
        let takes = self.numbers.below(self.left) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= u64::from(takes && self.wanted > 0);
        takes
    }
}

/// `share` of `total`, rounded up; all of it for a share of 1 or more.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sample need not be exact, and the result is clamped"
)]
pub fn share_of(total: u64, share: f64) -> u64 {
    if share >= 1.0 { total } else { ((total as f64 * share).ceil().max(0.0) as u64).min(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_takes_as_many_as_were_wanted_and_each_about_as_often() {
        let mut taken = [0u32; 20];
        for seed in 0..4000 {
            let mut selection = Selection::new(5, 20, Numbers::new(seed));
            let picked: Vec<_> = (0..20).filter(|_| selection.takes_next()).collect();
            assert_eq!(picked.len(), 5);
            picked.into_iter().for_each(|at: usize| taken[at] += 1);
        }
        assert!(taken.iter().all(|&count| (850..1150).contains(&count)), "{taken:?}");
        assert_eq!((0..3).filter(|_| Selection::new(9, 3, Numbers::new(1)).takes_next()).count(), 3);
        assert!(!Selection::new(0, 3, Numbers::new(1)).takes_next());
        assert!(!Selection::new(3, 0, Numbers::new(1)).takes_next());
    }

    #[test]
    fn shares_are_rounded_up_and_never_more_than_all() {
        assert_eq!([0.0, 0.03, 0.5, 1.0, 7.0].map(|share| share_of(10, share)), [0, 1, 5, 10, 10]);
        assert_eq!(share_of(0, 0.5), 0);
    }
}
