//! A window is a file whose bytes are pieces of an image: a whole disk, a partition, a logical
//! volume. Pure arithmetic. A window is checked against its image when it is made, so no range ever
//! points outside; a striped piece stays one piece however many stripes it has.

use crate::error::{Error, Result};
use crate::probe::Piece;

/// A contiguous part of the image, and where it lies in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it begins in the image.
    pub image_offset: u64,
    /// Where it begins in the window.
    pub window_offset: u64,
    /// Bytes.
    pub len: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Window {
    size: u64,
    pieces: Vec<Placed>,
}

#[derive(Debug)]
struct Placed {
    /// Where in the window the piece begins.
    start: u64,
    piece: Piece,
}

impl Window {
    /// Pieces in a row, of an image of `image_size` bytes.
    ///
    /// # Errors
    /// `InvalidArgument` for a piece that is malformed or reaches outside of the image.
    pub fn new(pieces: &[Piece], image_size: u64) -> Result<Self> {
        let mut placed = Vec::with_capacity(pieces.len());
        let mut size = 0u64;
        for piece in pieces.iter().filter(|piece| piece.size_bytes() > 0).map(in_one_lane) {
            let piece = &piece;
            if !is_inside(piece, image_size) {
                return Err(Error::InvalidArgument("a piece reaches outside of the image".into()));
            }
            placed.push(Placed { start: size, piece: piece.clone() });
            size = size
                .checked_add(piece.size_bytes())
                .ok_or_else(|| Error::InvalidArgument("the pieces are too long together".into()))?;
        }
        Ok(Self { size, pieces: placed })
    }

    /// All of an image.
    #[must_use]
    pub fn whole(image_size: u64) -> Self {
        let piece = Piece::Linear { offset_bytes: 0, size_bytes: image_size };
        Self { size: image_size, pieces: vec![Placed { start: 0, piece }] }
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The image ranges behind `len` bytes from `offset` on, in order; what is beyond the end is left
    /// out. Neighbours that touch in the image are one.
    #[must_use]
    pub fn ranges(&self, offset: u64, len: u64) -> Ranges<'_> {
        Ranges { window: self, at: offset, end: offset.saturating_add(len).min(self.size) }
    }

    /// The first byte at or after `offset` for which `next` holds, or none. `next(from)` gives the
    /// first such byte of the image at or after `from`, holding or not for all bytes of its block.
    ///
    /// Costs a few calls of `next` for each piece and stripe, not for each row of stripes.
    ///
    /// # Errors
    /// Of `next`.
    pub fn first(
        &self,
        offset: u64,
        mut next: impl FnMut(u64) -> Result<Option<u64>>,
    ) -> Result<Option<u64>> {
        let begin = self.pieces.partition_point(|placed| placed.end() <= offset);
        for placed in self.pieces.get(begin..).unwrap_or(&[]) {
            let within = offset.saturating_sub(placed.start);
            let mut best: Option<u64> = None;
            for lane in placed.lanes() {
                let Some(from) = lane.image_offset_from(within) else { continue };
                let Some(found) = next(from)?.and_then(|at| lane.window_offset_of(at)) else { continue };
                best = Some(best.map_or(found, |best| best.min(found)));
            }
            if let Some(best) = best {
                return Ok(Some(placed.start.saturating_add(best)));
            }
        }
        Ok(None)
    }

    fn piece_at(&self, offset: u64) -> Option<&Placed> {
        let index = self.pieces.partition_point(|placed| placed.end() <= offset);
        self.pieces.get(index).filter(|placed| placed.start <= offset)
    }
}

/// Iterator over the image ranges of a stretch of the window.
pub struct Ranges<'a> {
    window: &'a Window,
    at: u64,
    end: u64,
}

impl Ranges<'_> {
    /// What lies at `at`, as far as it is contiguous in the image.
    fn stretch(&self, at: u64) -> Option<Range> {
        let placed = self.window.piece_at(at).filter(|_| at < self.end)?;
        let within = at - placed.start;
        let (image_offset, left) = match &placed.piece {
            Piece::Linear { offset_bytes, size_bytes } => (offset_bytes + within, size_bytes - within),
            Piece::Striped { stripe_size_bytes: stripe, offsets_bytes, size_bytes } => {
                let index = within / stripe;
                let count = offsets_bytes.len() as u64;
                let offset = offsets_bytes.get(usize::try_from(index % count).ok()?)?;
                let left = (stripe - within % stripe).min(size_bytes - within);
                (offset + index / count * stripe + within % stripe, left)
            }
        };
        Some(Range { image_offset, window_offset: at, len: left.min(self.end - at) })
    }
}

impl Iterator for Ranges<'_> {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        let mut range = self.stretch(self.at)?;
        self.at += range.len;
        while let Some(more) =
            self.stretch(self.at).filter(|more| more.image_offset == range.image_offset + range.len)
        {
            range.len += more.len;
            self.at += more.len;
        }
        Some(range)
    }
}

impl Placed {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.piece.size_bytes())
    }

    /// The contiguous stretches of the image that the piece takes its bytes from in turn.
    fn lanes(&self) -> impl Iterator<Item = Lane> + '_ {
        let size = self.piece.size_bytes();
        let (stripe, offsets): (u64, &[u64]) = match &self.piece {
            Piece::Linear { offset_bytes, .. } => (size, std::slice::from_ref(offset_bytes)),
            Piece::Striped { stripe_size_bytes, offsets_bytes, .. } => (*stripe_size_bytes, offsets_bytes),
        };
        let count = offsets.len() as u64;
        offsets.iter().zip(0u64..).map(move |(&offset, index)| Lane { offset, index, count, stripe, size })
    }
}

/// One stripe of a piece, or all of a linear one.
struct Lane {
    /// Where it begins in the image.
    offset: u64,
    /// Which of `count` lanes it is.
    index: u64,
    count: u64,
    /// Bytes that are taken before the next lane's turn.
    stripe: u64,
    /// Bytes of the whole piece.
    size: u64,
}

impl Lane {
    /// The first byte of the lane that lies at or after `within` the piece.
    fn image_offset_from(&self, within: u64) -> Option<u64> {
        let (turn, rest) = (within / self.stripe, within % self.stripe);
        let (row, current) = (turn / self.count, turn % self.count);
        let in_lane = match self.index.cmp(&current) {
            std::cmp::Ordering::Less => (row + 1) * self.stripe,
            std::cmp::Ordering::Equal => row * self.stripe + rest,
            std::cmp::Ordering::Greater => row * self.stripe,
        };
        (self.place(in_lane) < self.size).then_some(self.offset + in_lane)
    }

    /// Where in the piece the byte at `image_offset` lies, if it is one of the lane's.
    fn window_offset_of(&self, image_offset: u64) -> Option<u64> {
        Some(self.place(image_offset.checked_sub(self.offset)?)).filter(|&at| at < self.size)
    }

    fn place(&self, in_lane: u64) -> u64 {
        let (row, rest) = (in_lane / self.stripe, in_lane % self.stripe);
        row.saturating_mul(self.count)
            .saturating_add(self.index)
            .saturating_mul(self.stripe)
            .saturating_add(rest)
    }
}

/// A piece of one stripe is a linear one, whatever it says.
fn in_one_lane(piece: &Piece) -> Piece {
    match piece {
        Piece::Striped { offsets_bytes, size_bytes, stripe_size_bytes } if *stripe_size_bytes > 0 => {
            match offsets_bytes.as_slice() {
                &[offset_bytes] => Piece::Linear { offset_bytes, size_bytes: *size_bytes },
                _ => piece.clone(),
            }
        }
        _ => piece.clone(),
    }
}

fn is_inside(piece: &Piece, image_size: u64) -> bool {
    match piece {
        Piece::Linear { offset_bytes, size_bytes } => {
            offset_bytes.checked_add(*size_bytes).is_some_and(|end| end <= image_size)
        }
        Piece::Striped { stripe_size_bytes: stripe, offsets_bytes, size_bytes } => {
            let Some(row) = stripe.checked_mul(offsets_bytes.len() as u64).filter(|&row| row > 0) else {
                return false;
            };
            let (rows, rest) = (size_bytes / row, size_bytes % row);
            offsets_bytes.iter().zip(0u64..).all(|(offset, lane)| {
                let last = rest.saturating_sub(lane * stripe).min(*stripe);
                let len = rows * stripe + last;
                offset.checked_add(len).is_some_and(|end| end <= image_size)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(offset_bytes: u64, size_bytes: u64) -> Piece {
        Piece::Linear { offset_bytes, size_bytes }
    }

    fn striped(stripe_size_bytes: u64, offsets_bytes: &[u64], size_bytes: u64) -> Piece {
        Piece::Striped { stripe_size_bytes, offsets_bytes: offsets_bytes.to_vec(), size_bytes }
    }

    /// Where every byte of the window lies, found one by one.
    fn places(window: &Window, offset: u64, len: u64) -> Vec<u64> {
        let mut next = offset;
        let mut found = Vec::new();
        for range in window.ranges(offset, len) {
            assert_eq!(range.window_offset, next);
            next += range.len;
            found.extend(range.image_offset..range.image_offset + range.len);
        }
        found
    }

    fn by_hand(pieces: &[Piece]) -> Vec<u64> {
        let mut found = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Linear { offset_bytes, size_bytes } => {
                    found.extend(*offset_bytes..offset_bytes + size_bytes);
                }
                Piece::Striped { stripe_size_bytes: stripe, offsets_bytes, size_bytes } => {
                    let count = offsets_bytes.len() as u64;
                    found.extend((0..*size_bytes).map(|at| {
                        let turn = at / stripe;
                        offsets_bytes[usize::try_from(turn % count).unwrap()]
                            + turn / count * stripe
                            + at % stripe
                    }));
                }
            }
        }
        found
    }

    fn samples() -> Vec<Vec<Piece>> {
        vec![
            vec![linear(0, 100)],
            vec![linear(50, 7), linear(57, 3), linear(2, 5)],
            vec![striped(4, &[0, 40, 80], 36)],
            vec![striped(4, &[0, 40], 30)],
            vec![linear(90, 9), striped(2, &[10, 30, 60, 70], 21), linear(0, 0), linear(0, 4)],
            vec![],
        ]
    }

    #[test]
    fn every_stretch_lies_where_its_bytes_do() {
        for pieces in samples() {
            let window = Window::new(&pieces, 100).unwrap();
            let all = by_hand(&pieces);
            assert_eq!(window.size(), all.len() as u64);
            for offset in 0..=all.len() + 1 {
                for len in [0, 1, 2, 5, 17, 1000] {
                    let end = (offset + len).min(all.len());
                    let expected = all.get(offset..end).unwrap_or(&[]);
                    assert_eq!(places(&window, offset as u64, len as u64), expected);
                }
            }
        }
    }

    #[test]
    fn the_first_of_a_kind_is_the_first_in_the_window_not_in_the_image() {
        for pieces in samples() {
            let window = Window::new(&pieces, 100).unwrap();
            let all = by_hand(&pieces);
            for modulus in [1, 3, 7, 50, 97] {
                let holds = |at: u64| at % modulus == modulus / 2;
                let next = |from: u64| Ok((from..100).find(|&at| holds(at)));
                for offset in 0..=all.len() {
                    let expected = (offset..all.len()).find(|&at| holds(all[at])).map(|at| at as u64);
                    assert_eq!(window.first(offset as u64, next).unwrap(), expected, "{pieces:?} {offset}");
                }
            }
        }
    }

    #[test]
    fn adjacent_pieces_are_one_range() {
        let window = Window::new(&[linear(50, 7), linear(57, 3)], 100).unwrap();
        let ranges: Vec<_> = window.ranges(1, 9).collect();
        assert_eq!(ranges, [Range { image_offset: 51, window_offset: 1, len: 9 }]);
    }

    #[test]
    fn a_huge_striped_piece_is_one_piece() {
        let half = 1u64 << 50;
        let window = Window::new(&[striped(65_536, &[0, half], half * 2)], half * 2).unwrap();
        let mut calls = 0;
        let next = |_| {
            calls += 1;
            Ok(None)
        };
        assert_eq!(window.first(12_345, next).unwrap(), None);
        assert_eq!(calls, 2);
        assert_eq!(window.ranges(half * 2 - 10, 100).count(), 1);
    }

    #[test]
    fn what_reaches_outside_is_refused() {
        let bad = [
            linear(1, 100),
            linear(u64::MAX, 2),
            striped(0, &[0, 1], 4),
            striped(4, &[], 4),
            striped(u64::MAX, &[0, 1], 4),
            striped(4, &[0, 90], 36),
            striped(4, &[0, 97], 8),
        ];
        for piece in bad {
            assert!(Window::new(std::slice::from_ref(&piece), 100).is_err(), "{piece:?}");
        }
        assert!(Window::new(&[linear(0, u64::MAX), linear(0, u64::MAX)], u64::MAX).is_err());
    }
}
