//! ISO 9660: ECMA-119, section 8.4 (primary volume descriptor).

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const OFFSET: u64 = 32 << 10;
const LENGTH: usize = 2048;
const MAGIC: &[u8] = b"\x01CD001\x01";
/// Creation and modification: sixteen digits and a time zone.
const CREATED_AT: usize = 813;
const MODIFIED_AT: usize = 830;
const DATE_DIGITS: usize = 16;

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let block = reader.take(OFFSET, LENGTH)?;
    if !block.has(0, MAGIC) {
        return None;
    }
    let block_bytes = u64::from(block.le16(128)?);
    Some(FileSystem {
        label: block.text(40, 32),
        uuid: date(&block, MODIFIED_AT).or_else(|| date(&block, CREATED_AT)),
        size_bytes: u64::from(block.le32(80)?).checked_mul(block_bytes),
        // It is only ever written whole, so there is nothing to be unclean.
        clean: Some(true),
        ..FileSystem::of_kind("iso9660")
    })
}

/// `YYYY-MM-DD-hh-mm-ss-cc`; `None` for a date that is not set.
fn date(block: &[u8], at: usize) -> Option<String> {
    let digits = block.part(at, DATE_DIGITS)?;
    let is_set = digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|&digit| digit != b'0');
    if !is_set {
        return None;
    }
    let mut parts = vec![block.text(at, 4)?];
    for pair in 0..6 {
        parts.push(block.text(at + 4 + pair * 2, 2)?);
    }
    Some(parts.join("-"))
}
