//! A disk in memory for tests, with places that cannot be read.

use crate::io::ReadAt;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// Bytes of a sparse disk: what was not written reads as zeros.
#[derive(Default)]
pub(super) struct Memory {
    chunks: BTreeMap<u64, Vec<u8>>,
    size_bytes: u64,
    failing: Option<Range<u64>>,
}

impl From<Vec<u8>> for Memory {
    fn from(bytes: Vec<u8>) -> Self {
        let mut memory = Self::sized(bytes.len() as u64);
        memory.put(0, &bytes);
        memory
    }
}

impl Memory {
    pub(super) fn sized(size_bytes: u64) -> Self {
        Self { size_bytes, ..Self::default() }
    }

    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.chunks.insert(offset, bytes.to_vec());
        }
    }

    /// Overwrites bytes of what was put before.
    pub(super) fn put_over(&mut self, offset: u64, bytes: &[u8]) {
        for (&start, chunk) in &mut self.chunks {
            for (at, &byte) in (offset..).zip(bytes) {
                if at >= start && at < start + chunk.len() as u64 {
                    chunk[(at - start) as usize] = byte;
                }
            }
        }
    }

    pub(super) fn resize(&mut self, size_bytes: u64) {
        self.size_bytes = size_bytes;
    }

    pub(super) fn failing(mut self, range: Range<u64>) -> Self {
        self.failing = Some(range);
        self
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl ReadAt for Memory {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let length = (into.len() as u64).min(self.size_bytes.saturating_sub(offset));
        let end = offset + length;
        if self.failing.as_ref().is_some_and(|bad| bad.start < end && offset < bad.end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let into = &mut into[..length as usize];
        into.fill(0);
        for (&start, chunk) in &self.chunks {
            let from = start.max(offset);
            let to = (start + chunk.len() as u64).min(end);
            if from < to {
                into[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&chunk[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(length as usize)
    }
}
