//! A sparse disk made of a few stretches of fuzzed bytes, and what every survey of it must hold to.

use cairn_core::io::ReadAt;
use cairn_core::probe::{self, Piece, Survey};
use std::io;

/// A manifest of 16 MiB is the longest that is read, and a survey is most of it.
const SURVEY_BYTES_MAX: usize = 12 << 20;

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

    /// Surveys the disk and checks what others rely on: every stretch lies within the disk, a manifest
    /// holds it and gives it back, and no name adds to the partition table's text.
    pub fn survey(&self) {
        let survey = probe::survey(self, self.size_bytes);
        let json = serde_json::to_string_pretty(&survey).expect("numbers and text");
        assert!(json.len() <= SURVEY_BYTES_MAX);
        assert_eq!(serde_json::from_str::<Survey>(&json).ok().as_ref(), Some(&survey));
        survey.table.iter().for_each(|table| assert_plain(&table.sfdisk));
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

/// Lines that sfdisk knows, of printable ASCII.
fn assert_plain(sfdisk: &str) {
    const HEADS: [&str; 7] =
        ["label: ", "label-id: ", "unit: ", "first-lba: ", "last-lba: ", "table-length: ", "sector-size: "];
    for line in sfdisk.lines() {
        assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line:?}");
        let is_node =
            line.strip_prefix("disk").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        assert!(line.is_empty() || is_node || HEADS.iter().any(|head| line.starts_with(head)), "{line:?}");
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
