//! A diff of rbd, of any bytes behind a header that is right: extents rise, stay in the image, and no more
//! bytes are taken than came.

use cairn_core::source::rbd_diff::{DiffError, DiffRecord, Input, RbdDiff};

struct Bytes<'a>(&'a [u8]);

impl Input for Bytes<'_> {
    type Error = DiffError;

    fn fill(&mut self, into: &mut [u8]) -> Result<usize, DiffError> {
        let len = into.len().min(self.0.len());
        let (now, later) = self.0.split_at(len);
        into[..len].copy_from_slice(now);
        self.0 = later;
        Ok(len)
    }
}

pub fn run((is_second, bytes): (bool, &[u8])) {
    let header: &[u8] = if is_second { b"rbd diff v2\n" } else { b"rbd diff v1\n" };
    let whole = [header, bytes].concat();
    let mut input = Bytes(&whole);
    let Ok(mut diff) = RbdDiff::open(&mut input) else { return };
    let (size, mut at) = (diff.head().size_bytes, 0);
    while let Ok(record) = diff.next(&mut input) {
        let range = match record {
            DiffRecord::Data(range) => {
                let mut some = [0; 100];
                let Ok(taken) = diff.data(&mut input, &mut some) else { return };
                assert!(taken as u64 <= range.end - range.start);
                range
            }
            DiffRecord::Zero(range) => range,
            DiffRecord::End => {
                assert!(input.0.is_empty());
                return;
            }
        };
        assert!(at <= range.start && range.start <= range.end && range.end <= size);
        at = range.end;
    }
}
