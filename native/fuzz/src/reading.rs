//! Reading an image in every way there is, and what must hold whoever made it.

use cairn_core::image::{ByteExtent, Covering, Image};
use cairn_core::map::{BlockPointer, ExtentState};

const BLOCK: u64 = 4096;
/// Images up to so many blocks are held against their pointers block by block.
const SMALL_BLOCKS: u64 = 400;

/// What a read of each block gave: its bytes, or nothing where there was an error. `None` for an
/// image that is not small.
pub fn blocks(image: &Image) -> Option<Vec<Option<Vec<u8>>>> {
    let count = image.geometry().block_count();
    if count > SMALL_BLOCKS {
        return None;
    }
    Some((0..count).map(|block| read(image, block * BLOCK, BLOCK as usize)).collect())
}

fn read(image: &Image, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    let count = image.read(&mut bytes, offset).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

/// Every way of reading gives the same bytes or an error.
///
/// # Panics
/// Where they differ.
pub fn check_reads(image: &Image) {
    let size = image.geometry().size_bytes();
    for offset in [0, 1, BLOCK - 1, size / 2, size.saturating_sub(10), size, u64::MAX] {
        let _ = read(image, offset, 10_000);
        let _ = image.extents(offset, 1 << 20, 50);
        let _ = image.allocated_in(offset, 1 << 30);
        for state in [ExtentState::Data, ExtentState::Zero] {
            if let Ok(Some(found)) = image.next(offset, state) {
                assert!(found >= offset && found < size);
            }
        }
    }
    let Some(blocks) = blocks(image) else { return };
    for (number, block) in (0..).zip(&blocks) {
        check_block(image, number, block.as_deref());
    }
    if let Some(all) = read(image, 0, size as usize) {
        assert_eq!(all.len() as u64, size);
        let pieces = blocks.iter().zip(all.chunks(BLOCK as usize));
        for (block, piece) in pieces.filter_map(|(block, piece)| Some((block.as_ref()?, piece))) {
            assert_eq!(block, piece);
        }
    }
    if let Ok(pointers) = image.pointers(0..blocks.len() as u64) {
        check_states(image, &pointers);
    }
}

fn check_block(image: &Image, number: u64, block: Option<&[u8]>) {
    let (offset, len) = (number * BLOCK, block.map_or(1, <[u8]>::len));
    let _ = image.warm(number);
    let _ = image.is_warm(number);
    let mut bytes = vec![0; len];
    if let (Ok(Some(count)), Some(block)) = (image.read_cached(&mut bytes, offset), block) {
        assert_eq!(&bytes[..count], block);
    }
    if let (Ok(Some(covering)), Some(block)) = (image.covering(offset, len), block) {
        match covering {
            Covering::Zeros => assert!(block.iter().all(|&byte| byte == 0)),
            Covering::Block { bytes, start } => assert_eq!(&bytes[start..start + len], block),
        }
    }
}

/// Where all pages can be read, extents and counts are what the pointers say.
fn check_states(image: &Image, pointers: &[Option<BlockPointer>]) {
    let size = image.geometry().size_bytes();
    let state = |number: usize| {
        if pointers[number].is_some() { ExtentState::Data } else { ExtentState::Zero }
    };
    let expected = merged(size, state);
    assert_eq!(image.extents(0, u64::MAX, usize::MAX).ok(), Some(expected.clone()));
    let data = expected.iter().filter(|extent| extent.state == ExtentState::Data);
    let data: u64 = data.map(|extent| extent.len).sum();
    // It counts whole blocks, of which the last may be short.
    let counted = image.allocated_in(0, u64::MAX).unwrap_or(u64::MAX);
    assert!((data..data + BLOCK).contains(&counted));
    for state in [ExtentState::Data, ExtentState::Zero] {
        let first = expected.iter().find(|extent| extent.state == state).map(|extent| extent.offset);
        assert_eq!(image.next(0, state).ok(), Some(first));
    }
}

/// What changed between two images is what their pointers say, where all pages can be read.
///
/// # Panics
/// Where it is not.
pub fn check_changes(from: &Image, to: &Image) {
    let _ = from.changes_to(to, 0, 50);
    let counts = [from, to].map(|image| image.geometry().block_count());
    if counts.iter().any(|&count| count > SMALL_BLOCKS) {
        return;
    }
    let (Ok(before), Ok(after)) = (from.pointers(0..counts[0]), to.pointers(0..counts[1])) else { return };
    let size = to.geometry().size_bytes();
    let common = size.min(from.geometry().size_bytes());
    let found = from.changes_to(to, 0, usize::MAX).unwrap_or_default();
    let covers =
        |byte: u64| found.iter().find(|extent| (extent.offset..extent.offset + extent.len).contains(&byte));
    for (number, pointer) in after.iter().enumerate() {
        let first = number as u64 * BLOCK;
        let last = (first + BLOCK).min(size) - 1;
        let digest = |pointer: &Option<BlockPointer>| pointer.map(|pointer| pointer.digest);
        let differs = before.get(number).is_none_or(|old| digest(old) != digest(pointer));
        for (byte, is_beyond) in [(first, first >= common), (last, last >= common)] {
            let extent = covers(byte);
            assert_eq!(extent.is_some(), differs || is_beyond, "byte {byte}");
            if let Some(extent) = extent {
                assert_eq!(extent.state == ExtentState::Data, pointer.is_some());
            }
        }
    }
}

fn merged(size: u64, state: impl Fn(usize) -> ExtentState) -> Vec<ByteExtent> {
    let mut extents: Vec<ByteExtent> = Vec::new();
    for (number, offset) in (0..size).step_by(BLOCK as usize).enumerate() {
        let (state, len) = (state(number), BLOCK.min(size - offset));
        match extents.last_mut().filter(|last| last.state == state) {
            Some(last) => last.len += len,
            None => extents.push(ByteExtent { offset, len, state }),
        }
    }
    extents
}
