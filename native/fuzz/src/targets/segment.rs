//! Any bytes as a segment file: header, trailer, index and records, and what is written anew of it.

use std::path::Path;

use cairn_core::digest::{Context, Digest};
use cairn_core::io::{Files, MemoryFiles, Mode};
use cairn_core::record::Kind;
use cairn_core::segment::{IndexEntry, SegmentReader, outline, path_of, rewrite};
use cairn_core::units::{Ordinal, SegmentId};

const ID: SegmentId = SegmentId(1);
const DIRECTORY: &str = "/segments";

/// Puts digests right, so that what they protect is reached, too.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let len = file.len();
    if len < 128 {
        return file;
    }
    put_check(&mut file, 0);
    let index_offset = u64::from_le_bytes(file[len - 48..len - 40].try_into().unwrap_or_default()) as usize;
    if index_offset < len - 64 {
        for at in (index_offset..len - 64).step_by(48) {
            let offset =
                file.get(at + 4..at + 8).and_then(|field| Some(u32::from_le_bytes(field.try_into().ok()?)));
            if let Some(offset) = offset.map(|offset| offset as usize).filter(|&offset| offset < index_offset)
            {
                put_check(&mut file, offset);
            }
        }
        let digest = Digest::of(Context::Header, &file[index_offset..len - 32]);
        file[len - 32..].copy_from_slice(&digest.0);
    }
    file
}

/// The headers of files and of records both have one of their first 56 bytes.
fn put_check(file: &mut [u8], at: usize) {
    if let Some(header) = file.get_mut(at..at + 64) {
        let check = Digest::of(Context::Header, &header[..56]).prefix();
        header[56..].copy_from_slice(&check.to_le_bytes());
    }
}

pub fn run(bytes: &[u8]) {
    let (files, directory) = (MemoryFiles::default(), Path::new(DIRECTORY));
    let file = sealed(bytes);
    let written = files
        .create_directory(directory)
        .and_then(|()| files.open(&path_of(directory, ID), Mode::CreateNew)?.write_all_at(&file, 0));
    written.expect("memory can be written");
    let outline = outline(&files, directory, ID).expect("it is there");
    assert_eq!(outline.file_len, file.len() as u64);
    let Ok((reader, entries)) = SegmentReader::open_with_entries(&files, directory, ID) else { return };
    assert_eq!(outline.count.map(|count| count as usize), Some(entries.len()));
    let before: Vec<_> = entries.iter().take(64).map(|entry| read(&reader, entry)).collect();
    let keep = |ordinal: Ordinal| ordinal.0 % 3 != 1;
    if rewrite(&files, directory, ID, &keep, &mut |_| Ok(())).is_err() {
        return;
    }
    let (reader, kept) =
        SegmentReader::open_with_entries(&files, directory, ID).expect("it was just written");
    let is_same = |(one, other): (&IndexEntry, &IndexEntry)| one.ordinal == other.ordinal;
    assert!(entries.iter().filter(|entry| keep(entry.ordinal)).zip(&kept).all(is_same));
    for (entry, before) in entries.iter().zip(&before).filter(|(entry, _)| keep(entry.ordinal)) {
        assert!(before.is_none() || read(&reader, entry) == *before);
    }
}

/// The record, as a page or a block, whichever it is.
fn read(reader: &SegmentReader, entry: &IndexEntry) -> Option<Vec<u8>> {
    let plain = reader.read(entry.ordinal, entry.kind, &entry.digest, None).ok()?;
    let mut again = vec![0; plain.len()];
    reader.read_into(entry.ordinal, entry.kind, &entry.digest, None, &mut again).expect("it was just read");
    assert!(again == plain);
    assert!(reader.holds(entry.ordinal, entry.kind, &entry.digest));
    let other = if entry.kind == Kind::Block { Kind::Page } else { Kind::Block };
    assert!(reader.read(entry.ordinal, other, &entry.digest, None).is_err());
    Some(plain)
}
