//! Extents that may have changed, as something outside tells them, made fit for reading.

use std::ops::Range;

/// Whole blocks, rising, none touching another, none beyond the end. The block at the shorter of both ends
/// of the image is among them where it is cut or filled up.
pub(super) fn rounded(
    extents: &[Range<u64>],
    block_size: u64,
    size_before: u64,
    size_after: u64,
) -> Vec<Range<u64>> {
    let shorter = size_before.min(size_after);
    let mut all: Vec<Range<u64>> = extents.to_vec();
    if size_before != size_after {
        all.push(shorter / block_size * block_size..shorter);
        // What is new must be read, whatever was told of it.
        all.push(shorter..size_after);
    }
    all.retain(|range| range.start < range.end);
    for range in &mut all {
        *range = range.start / block_size * block_size
            ..range.end.checked_next_multiple_of(block_size).unwrap_or(u64::MAX).min(size_after);
    }
    all.retain(|range| range.start < range.end);
    all.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(all.len());
    for range in all {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
// One extent is a list of one range.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn extents_become_whole_blocks_in_order() {
        let told = [500..501, 0..1, 63..65, 10_000..20_000, 300..300];
        assert_eq!(rounded(&told, 64, 1000, 1000), [0..128, 448..512]);
    }

    #[test]
    fn what_a_change_of_size_touches_is_among_them() {
        assert_eq!(rounded(&[], 64, 100, 1000), [64..1000]);
        assert_eq!(rounded(&[], 64, 1000, 100), [64..100]);
        assert_eq!(rounded(&[], 64, 1024, 128), []);
        assert_eq!(rounded(&[], 64, 128, 1000), [128..1000]);
    }
}
