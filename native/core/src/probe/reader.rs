//! Bounded reads of a stretch of foreign bytes.

use crate::io::ReadAt;
use std::cell::RefCell;

/// The most that one read may ask for: the largest structure read at once is a GPT entry array or the
/// text of an LVM volume group.
pub(super) const READ_BYTES_MAX: usize = 4 << 20;

/// Reads whole structures. What lies past the end is simply not there; what the medium refuses is
/// remembered, so that decoders can stay `Option`s and the survey can still say why.
pub(super) struct Reader<'a> {
    source: &'a dyn ReadAt,
    base_bytes: u64,
    size_bytes: u64,
    fault: RefCell<Option<String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn ReadAt, size_bytes: u64) -> Self {
        Self { source, base_bytes: 0, size_bytes, fault: RefCell::new(None) }
    }

    /// The stretch of `size_bytes` at `offset` as a reader of its own, cut where this one ends.
    pub(super) fn within(&self, offset: u64, size_bytes: u64) -> Self {
        let offset = offset.min(self.size_bytes);
        Self {
            source: self.source,
            base_bytes: self.base_bytes.saturating_add(offset),
            size_bytes: size_bytes.min(self.size_bytes - offset),
            fault: RefCell::new(None),
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Exactly `length` bytes at `offset`; `None` past the end, where the medium fails, and beyond
    /// [`READ_BYTES_MAX`].
    pub(super) fn take(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(u64::try_from(length).ok()?)?;
        if end > self.size_bytes || length > READ_BYTES_MAX {
            return None;
        }
        let mut bytes = vec![0; length];
        match self.source.read_at(&mut bytes, self.base_bytes.checked_add(offset)?) {
            Ok(copied) if copied == length => Some(bytes),
            Ok(copied) => {
                self.remember(format!("only {copied} of {length} bytes could be read at byte {offset}"));
                None
            }
            Err(error) => {
                self.remember(format!("{length} bytes at byte {offset} could not be read: {error}"));
                None
            }
        }
    }

    /// The first failure of the medium, and forgets it.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.borrow_mut().take()
    }

    fn remember(&self, fault: String) {
        self.fault.borrow_mut().get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::memory::Memory;

    #[test]
    fn past_the_end_is_absent_without_a_fault() {
        let disk = Memory::from(vec![7u8; 1024]);
        let reader = Reader::new(&disk, 1024);
        assert_eq!(reader.take(1020, 4), Some(vec![7; 4]));
        assert_eq!(reader.take(1021, 4), None);
        assert_eq!(reader.take(u64::MAX, 4), None);
        assert_eq!(reader.fault(), None);
    }

    #[test]
    fn a_stretch_ends_where_its_reader_ends() {
        let disk = Memory::from((0..=255).collect::<Vec<u8>>());
        let reader = Reader::new(&disk, 256);
        let stretch = reader.within(100, 10).within(5, 100);
        assert_eq!(stretch.size_bytes(), 5);
        assert_eq!(stretch.take(1, 2), Some(vec![106, 107]));
        assert_eq!(stretch.take(4, 2), None);
        assert_eq!(reader.within(u64::MAX, 1).take(0, 1), None);
    }

    #[test]
    fn a_failing_medium_is_remembered_once() {
        let disk = Memory::from(vec![0u8; 1024]).failing(512..520);
        let reader = Reader::new(&disk, 2048);
        assert_eq!(reader.take(510, 4), None);
        assert_eq!(reader.take(1022, 4), None);
        assert!(reader.fault().is_some_and(|fault| fault.starts_with("4 bytes at byte 510")));
        assert_eq!(reader.fault(), None);
    }
}
