//! A stretch of a file in memory, and what to do where the medium fails to give it.

use std::path::Path;

use crate::error::{AtPath, Result};
use crate::io::File;
use crate::record::HEADER_LEN;

/// Bytes that are read at a time unless more are wanted at once.
const LEN: usize = 1024 * 1024;
/// Bytes that are given up at a time where reading fails: what media can be read in.
const PIECE_LEN: usize = 4096;

pub(super) struct Window<'a> {
    file: &'a dyn File,
    path: &'a Path,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn File, path: &'a Path) -> Result<Self> {
        Ok(Self { file, path, len: file.len().at("reading", path)?, start: 0, bytes: Vec::new() })
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// What is there from `at` on: at least `wanted` bytes, unless the file ends. What the medium
    /// fails to give reads as zeros.
    pub(super) fn from(&mut self, at: u64, wanted: usize) -> Result<&[u8]> {
        let end = at.saturating_add(wanted as u64).min(self.len);
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            self.fill(at, wanted.max(LEN))?;
        }
        let within = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(within..).unwrap_or(&[]))
    }

    /// A few bytes from elsewhere.
    pub(super) fn peek(&self, at: u64) -> Result<[u8; HEADER_LEN]> {
        let mut bytes = [0; HEADER_LEN];
        read(self.file, self.path, &mut bytes, at)?;
        Ok(bytes)
    }

    fn fill(&mut self, at: u64, len: usize) -> Result<()> {
        let there = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        self.start = at;
        self.bytes.clear();
        self.bytes.resize(len.min(there), 0);
        let count = match read(self.file, self.path, &mut self.bytes, at)? {
            Some(count) => count,
            None => self.fill_piecemeal()?,
        };
        self.bytes.truncate(count);
        Ok(())
    }

    fn fill_piecemeal(&mut self) -> Result<usize> {
        for (offset, piece) in (self.start..).step_by(PIECE_LEN).zip(self.bytes.chunks_mut(PIECE_LEN)) {
            if read(self.file, self.path, piece, offset)?.is_none() {
                piece.fill(0);
            }
        }
        Ok(self.bytes.len())
    }
}

/// `None` where the medium fails.
fn read(file: &dyn File, path: &Path, into: &mut [u8], at: u64) -> Result<Option<usize>> {
    match file.read_at(into, at).at("reading", path) {
        Err(error) if error.is_unreadable() => Ok(None),
        other => other.map(Some),
    }
}
