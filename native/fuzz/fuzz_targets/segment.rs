//! Any bytes as a segment file: header, trailer, index and records.
#![no_main]

use std::path::Path;

use cairn_core::digest::{Context, Digest};
use cairn_core::io::{Files, MemoryFiles, Mode};
use cairn_core::record::Kind;
use cairn_core::segment::{SegmentReader, path_of};
use cairn_core::units::SegmentId;
use libfuzzer_sys::fuzz_target;

const ID: SegmentId = SegmentId(1);

/// Puts digests right, so that what they protect is reached, too.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let len = file.len();
    if len < 128 {
        return file;
    }
    let check = Digest::of(Context::Header, &file[..56]).prefix().to_le_bytes();
    file[56..64].copy_from_slice(&check);
    let index_offset = u64::from_le_bytes(file[len - 48..len - 40].try_into().unwrap_or_default()) as usize;
    if index_offset < len - 64 {
        let digest = Digest::of(Context::Header, &file[index_offset..len - 32]);
        file[len - 32..].copy_from_slice(&digest.0);
    }
    file
}

fuzz_target!(|bytes: &[u8]| {
    let directory = Path::new("/segments");
    let files = MemoryFiles::default();
    let written = files
        .create_directory(directory)
        .and_then(|()| files.open(&path_of(directory, ID), Mode::CreateNew)?.write_all_at(&sealed(bytes), 0));
    let Ok(()) = written else { return };
    let Ok((reader, entries)) = SegmentReader::open_with_entries(&files, directory, ID) else { return };
    for entry in entries.iter().take(64) {
        let _ = reader.read(entry.ordinal, Kind::Block, &entry.digest);
        let mut plain = vec![0; entry.payload_len as usize];
        let _ = reader.read_into(entry.ordinal, Kind::Block, &entry.digest, &mut plain);
    }
});
