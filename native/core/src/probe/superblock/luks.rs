//! LUKS1 and LUKS2: the LUKS On-Disk Format Specification, version 1.2.3, and LUKS2, version 1.1.

use crate::probe::fields::Fields;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

const LENGTH: usize = 512;
const MAGIC: &[u8] = b"LUKS\xba\xbe";

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let header = reader.take(0, LENGTH)?;
    if !header.has(0, MAGIC) {
        return None;
    }
    let label = match header.be16(6)? {
        1 => None,
        2 => header.text(24, 48),
        _ => return None,
    };
    Some(FileSystem { label, uuid: header.text(168, 40), ..FileSystem::of_kind("luks") })
}
