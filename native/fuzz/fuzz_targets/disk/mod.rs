//! A sparse disk made of a few stretches of fuzzed bytes, and what every survey of it must hold to.

use cairn_core::io::ReadAt;
use cairn_core::probe::{self, Piece};
use std::io;

/// Stretches over zeros; of two that overlap the later counts.
pub struct Disk {
    size_bytes: u64,
    stretches: Vec<(u64, Vec<u8>)>,
}

impl Disk {
    pub fn new(size_bytes: u64) -> Self {
        Self { size_bytes, stretches: Vec::new() }
    }

    pub fn put(mut self, offset: u64, bytes: &[u8]) -> Self {
        self.stretches.push((offset, bytes.to_vec()));
        self
    }

    /// Surveys the disk and checks what the mount relies on: every stretch lies within the disk.
    pub fn survey(&self) {
        let survey = probe::survey(self, self.size_bytes);
        for partition in &survey.partitions {
            self.assert_within(partition.offset_bytes, partition.size_bytes);
        }
        for volume in &survey.volumes {
            let size_bytes: u64 = volume.pieces.iter().map(Piece::size_bytes).sum();
            assert_eq!(size_bytes, volume.size_bytes);
            for piece in &volume.pieces {
                self.assert_piece(piece);
            }
        }
    }

    fn assert_piece(&self, piece: &Piece) {
        match piece {
            Piece::Linear { offset_bytes, size_bytes } => self.assert_within(*offset_bytes, *size_bytes),
            Piece::Striped { stripe_size_bytes, offsets_bytes, size_bytes } => {
                let count = offsets_bytes.len() as u64;
                assert_eq!(size_bytes % (stripe_size_bytes * count), 0);
                for offset in offsets_bytes {
                    self.assert_within(*offset, size_bytes / count);
                }
            }
        }
    }

    fn assert_within(&self, offset: u64, length: u64) {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.size_bytes));
    }
}

impl ReadAt for Disk {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset.saturating_add(into.len() as u64).min(self.size_bytes);
        let length = end.saturating_sub(offset) as usize;
        into[..length].fill(0);
        for (start, bytes) in &self.stretches {
            let from = offset.max(*start);
            let to = end.min(start + bytes.len() as u64);
            if from < to {
                into[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(length)
    }
}
