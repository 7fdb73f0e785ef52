//! Extents that may have changed, gathered in bounded memory.

use std::ops::Range;

/// Gathers rising extents. Past a number of them those with small gaps become one: to say that more has
/// changed costs reading it, to say that less has would lose it.
pub(super) struct Gathered {
    extents: Vec<Range<u64>>,
    count_max: usize,
    /// Extents closer than this are one.
    gap: u64,
}

impl Gathered {
    pub(super) fn new(count_max: usize) -> Self {
        Self { extents: Vec::new(), count_max: count_max.max(2), gap: 1 }
    }

    /// Adds an extent that begins where the last one ended or later.
    pub(super) fn add(&mut self, extent: Range<u64>) {
        self.push(extent);
        while self.extents.len() > self.count_max {
            self.gap = self.gap.saturating_mul(2);
            for extent in std::mem::take(&mut self.extents) {
                self.push(extent);
            }
        }
    }

    pub(super) fn into_extents(self) -> Vec<Range<u64>> {
        self.extents
    }

    fn push(&mut self, extent: Range<u64>) {
        match self.extents.last_mut() {
            Some(last) if extent.start.saturating_sub(last.end) < self.gap => {
                last.end = last.end.max(extent.end);
            }
            _ => self.extents.push(extent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_that_touch_are_one() {
        let mut gathered = Gathered::new(10);
        [0..4, 4..6, 7..8].into_iter().for_each(|extent| gathered.add(extent));
        assert_eq!(gathered.into_extents(), [0..6, 7..8]);
    }

    #[test]
    fn past_the_bound_small_gaps_are_closed_first_and_nothing_is_left_out() {
        let mut gathered = Gathered::new(8);
        // Four heaps far from each other.
        let start = |number: u64| ((number / 250) << 40) + number * number;
        let all: Vec<Range<u64>> = (0..1000).map(|number| start(number)..start(number) + 1).collect();
        all.iter().for_each(|extent| gathered.add(extent.clone()));
        let extents = gathered.into_extents();
        assert!(extents.len() <= 8);
        assert!(extents.windows(2).all(|pair| pair[0].end < pair[1].start));
        assert!(all.iter().all(|one| extents.iter().any(|e| e.start <= one.start && one.end <= e.end)));
        assert!(extents.len() >= 4, "large gaps are still there: {extents:?}");
    }
}
