//! An NBD server of any bytes, behind as much of a right handshake as the input asks for: extents rise without a
//! gap inside what was asked for, and after a broken rule nothing more is asked.

use cairn_core::source::nbd::{Client, Context, NbdError};

const SIZE: u64 = 1 << 20;

pub fn run((opening, asked, bytes): (u8, [(u16, u16); 4], &[u8])) {
    let whole = [opened(opening), bytes.to_vec()].concat();
    let bitmap = (opening & 4 != 0).then_some("b");
    let Ok(mut client) = Client::open(&whole[..], "vm", bitmap) else { return };
    assert!(client.export().bitmap.is_some() == bitmap.is_some());
    let size = client.export().size_bytes;
    let min = u64::from(client.export().request_min);
    for (number, (place, len)) in asked.into_iter().enumerate() {
        let place = u64::from(place);
        let broken = if number % 2 == 0 {
            let len = usize::from(len).min(usize::try_from(size.saturating_sub(place)).unwrap_or(usize::MAX));
            client.read(&mut vec![0; len], place).err()
        } else {
            let (start, mut at) = (place / min * min, place / min * min);
            let context = if len % 2 == 0 { Context::Allocation } else { Context::Bitmap };
            let told = client.extents(context, start, size, |extent, _| {
                assert!(extent.start == at && extent.start < extent.end && extent.end <= size);
                at = extent.end;
            });
            told.map(|end| assert!(end == at && end > start)).err()
        };
        let ends = broken.is_some_and(|error| !error.is_answer() && !matches!(error, NbdError::Outside));
        assert!(!ends || client.is_broken());
    }
}

/// The greeting, or all of a handshake with or without structured replies.
fn opened(opening: u8) -> Vec<u8> {
    let greeting = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    let answer = |option: u32, kind: u32, data: &[u8]| {
        let numbers = [option, kind, u32::try_from(data.len()).unwrap_or(0)].map(u32::to_be_bytes).concat();
        [&0x0003_e889_0455_65a9_u64.to_be_bytes(), &numbers[..], data].concat()
    };
    let export = answer(7, 3, &[&[0, 0], &SIZE.to_be_bytes()[..], &[1, 3]].concat());
    let end = answer(7, 1, &[]);
    match opening & 3 {
        0 => Vec::new(),
        1 => greeting,
        2 => [greeting, answer(8, 1 << 31 | 1, &[]), export, end].concat(),
        _ => {
            let mut said =
                [greeting, answer(8, 1, &[]), answer(10, 4, b"\0\0\0\x01base:allocation")].concat();
            if opening & 4 != 0 {
                said.extend(answer(10, 4, b"\0\0\0\x02qemu:dirty-bitmap:b"));
            }
            [said, answer(10, 1, &[]), export, end].concat()
        }
    }
}
