//! Newtypes for numbers that must not be mixed, and the shape of a disk in blocks.
//!
//! All arithmetic on foreign numbers is checked here, so that callers need not think of overflow.

use std::fmt;

/// Smallest and largest block of a disk, in bytes; a block size is a power of two between them.
pub const BLOCK_SIZE_MIN: u32 = 4 * 1024;
/// See [`BLOCK_SIZE_MIN`].
pub const BLOCK_SIZE_MAX: u32 = 4 * 1024 * 1024;
/// Block size of a new disk, in bytes.
pub const BLOCK_SIZE_DEFAULT: u32 = 64 * 1024;
/// Largest image, in bytes: numbers up to here survive JSON readers that hold them as doubles.
pub const IMAGE_SIZE_MAX: u64 = (1 << 53) - 1;

/// Ordinals take 24 bits in a pointer; the other eight are flags, all zero in format 1.
pub const ORDINAL_MAX: u32 = (1 << 24) - 1;

/// Index of a block within a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub u64);

/// Number of a segment within a disk; 0 is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// Number of a record within its segment, in the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// `0 B`, `512 B`, `64 KiB`, `1.5 GiB`: binary units, three significant digits.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    // 999.5 KiB would print as four digits, so the next unit takes over there; bytes are exact to
    // their last.
    while value >= if unit == 0 { 1024.0 } else { 999.5 } && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else if value >= 0.9995 {
        2
    } else {
        3
    };
    let text = format!("{value:.decimals$}");
    let text = if decimals == 0 { &text } else { text.trim_end_matches('0').trim_end_matches('.') };
    format!("{text} {}", UNITS.get(unit).unwrap_or(&""))
}

/// How many bytes a disk has and how they are cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    size_bytes: u64,
    block_size: u32,
}

impl Geometry {
    /// `None` when the block size is no power of two in range or the image is too large.
    #[must_use]
    pub fn new(size_bytes: u64, block_size: u32) -> Option<Self> {
        (is_block_size(block_size) && size_bytes <= IMAGE_SIZE_MAX).then_some(Self { size_bytes, block_size })
    }

    /// Bytes of the image.
    #[must_use]
    pub fn size_bytes(self) -> u64 {
        self.size_bytes
    }

    /// Bytes of every block but the last.
    #[must_use]
    pub fn block_size(self) -> u32 {
        self.block_size
    }

    /// Blocks of the image, the short last one included.
    #[must_use]
    pub fn block_count(self) -> u64 {
        self.size_bytes.div_ceil(u64::from(self.block_size))
    }

    /// Offset of a block's first byte. Saturates for indices beyond any image.
    #[must_use]
    pub fn offset_of(self, block: BlockIndex) -> u64 {
        block.0.saturating_mul(u64::from(self.block_size))
    }

    /// Bytes of one block: short for the last, 0 beyond the end.
    #[must_use]
    pub fn len_of(self, block: BlockIndex) -> u32 {
        let rest = self.size_bytes.saturating_sub(self.offset_of(block));
        u32::try_from(rest).unwrap_or(u32::MAX).min(self.block_size)
    }

    /// The block that holds the byte at `offset`.
    #[must_use]
    pub fn block_at(self, offset: u64) -> BlockIndex {
        BlockIndex(offset / u64::from(self.block_size))
    }
}

/// Whether a disk may have blocks of this size.
#[must_use]
pub fn is_block_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (BLOCK_SIZE_MIN..=BLOCK_SIZE_MAX).contains(&bytes)
}

/// Which record of which segment. There is no segment 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The segment.
    pub segment: SegmentId,
    /// The record in it.
    pub ordinal: Ordinal,
}

impl Place {
    /// `None` for numbers that no record can have.
    #[must_use]
    pub fn new(segment: SegmentId, ordinal: Ordinal) -> Option<Self> {
        (segment.0 != 0 && ordinal.0 <= ORDINAL_MAX).then_some(Self { segment, ordinal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_the_control_plane_writes_them() {
        let all = [
            (0, "0 B"),
            (1023, "1023 B"),
            (65_536, "64 KiB"),
            (1_023_487, "999 KiB"),
            (1_023_488, "0.976 MiB"),
            (3 << 29, "1.5 GiB"),
            (1_288_490_189, "1.2 GiB"),
            (10_952_166_605, "10.2 GiB"),
            (1 << 53, "8 PiB"),
        ];
        for (bytes, text) in all {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn the_last_block_may_be_short() {
        let geometry = Geometry::new(65_537, 65_536).unwrap();
        assert_eq!(geometry.block_count(), 2);
        assert_eq!(geometry.len_of(BlockIndex(0)), 65_536);
        assert_eq!(geometry.len_of(BlockIndex(1)), 1);
        assert_eq!(geometry.len_of(BlockIndex(2)), 0);
        assert_eq!(geometry.len_of(BlockIndex(u64::MAX)), 0);
    }

    #[test]
    fn odd_block_sizes_and_huge_images_are_refused() {
        assert!(Geometry::new(1, 3000).is_none());
        assert!(Geometry::new(1, 2048).is_none());
        assert!(Geometry::new(u64::MAX, 65_536).is_none());
    }
}
