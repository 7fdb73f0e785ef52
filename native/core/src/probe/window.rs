//! The bytes of a logical volume, gathered from where they lie on the disk.

use super::model::Piece;
use crate::io::ReadAt;
use std::io;

/// Pieces in a row, read as one.
pub(super) struct Window<'a> {
    disk: &'a dyn ReadAt,
    pieces: &'a [Piece],
    /// Where in the window each piece begins.
    starts: Vec<u64>,
}

impl<'a> Window<'a> {
    pub(super) fn new(disk: &'a dyn ReadAt, pieces: &'a [Piece]) -> Self {
        let starts = pieces
            .iter()
            .scan(0u64, |next, piece| {
                let start = *next;
                *next = next.saturating_add(piece.size_bytes());
                Some(start)
            })
            .collect();
        Self { disk, pieces, starts }
    }

    /// Where on the disk the byte at `offset` lies, and how many bytes follow it there.
    fn locate(&self, offset: u64) -> Option<(u64, u64)> {
        let index = self.starts.partition_point(|&start| start <= offset).checked_sub(1)?;
        let within = offset.checked_sub(*self.starts.get(index)?)?;
        self.pieces.get(index)?.locate(within)
    }
}

impl Piece {
    /// Where on the disk the byte `within` this piece lies, and how many bytes follow it there.
    fn locate(&self, within: u64) -> Option<(u64, u64)> {
        let left = self.size_bytes().checked_sub(within).filter(|&left| left > 0)?;
        match self {
            Self::Linear { offset_bytes, .. } => Some((offset_bytes.checked_add(within)?, left)),
            Self::Striped { stripe_size_bytes, offsets_bytes, .. } => {
                let within_stripe = within.checked_rem(*stripe_size_bytes)?;
                let stripe = within.checked_div(*stripe_size_bytes)?;
                let count = u64::try_from(offsets_bytes.len()).ok()?;
                let turn = stripe.checked_div(count)?;
                let offset = offsets_bytes.get(usize::try_from(stripe.checked_rem(count)?).ok()?)?;
                let at =
                    offset.checked_add(turn.checked_mul(*stripe_size_bytes)?)?.checked_add(within_stripe)?;
                Some((at, left.min(stripe_size_bytes - within_stripe)))
            }
        }
    }
}

impl ReadAt for Window<'_> {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some((at, left)) = self.locate(offset.saturating_add(done as u64)) else {
                break;
            };
            let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let copied = match rest.get_mut(..length) {
                Some(part) => self.disk.read_at(part, at)?,
                None => break,
            };
            done += copied;
            if copied < length {
                break;
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    fn read(pieces: &[Piece], offset: u64, length: usize) -> Vec<u8> {
        let disk = Memory::from((0..=255).collect::<Vec<u8>>());
        let mut bytes = vec![0; length];
        let copied = Window::new(&disk, pieces).read_at(&mut bytes, offset).unwrap();
        bytes.truncate(copied);
        bytes
    }

    #[test]
    fn pieces_follow_each_other() {
        let pieces = [
            Piece::Linear { offset_bytes: 100, size_bytes: 3 },
            Piece::Linear { offset_bytes: 10, size_bytes: 2 },
        ];
        assert_eq!(read(&pieces, 0, 5), [100, 101, 102, 10, 11]);
        assert_eq!(read(&pieces, 2, 2), [102, 10]);
        assert_eq!(read(&pieces, 4, 9), [11]);
        assert!(read(&pieces, 5, 1).is_empty());
        assert!(read(&[], 0, 1).is_empty());
    }

    #[test]
    fn stripes_take_turns() {
        let pieces = [
            Piece::Linear { offset_bytes: 200, size_bytes: 1 },
            Piece::Striped { stripe_size_bytes: 2, offsets_bytes: vec![0, 50, 100], size_bytes: 12 },
        ];
        assert_eq!(read(&pieces, 0, 20), [200, 0, 1, 50, 51, 100, 101, 2, 3, 52, 53, 102, 103]);
        assert_eq!(read(&pieces, 4, 3), [51, 100, 101]);
    }

    #[test]
    fn a_disk_that_ends_early_ends_the_window() {
        assert_eq!(read(&[Piece::Linear { offset_bytes: 254, size_bytes: 9 }], 0, 9), [254, 255]);
    }
}
