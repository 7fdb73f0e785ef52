//! A diff of rbd, of any bytes behind a header that is right: extents rise, stay in the image, and no more
//! bytes are taken than came.

use cairn_core::source::rbd_diff::{DiffRecord, RbdDiff};

pub fn run((is_second, bytes): (bool, &[u8])) {
    let header: &[u8] = if is_second { b"rbd diff v2\n" } else { b"rbd diff v1\n" };
    let whole = [header, bytes].concat();
    let mut input = &whole[..];
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
                assert!(input.is_empty());
                return;
            }
        };
        assert!(at <= range.start && range.start <= range.end && range.end <= size);
        at = range.end;
    }
}
