//! Any bytes as each of the JSON files, and any JSON with a right checksum.

use std::path::Path;
use std::sync::Arc;

use cairn_core::damaged::Damaged;
use cairn_core::digest::{Context, Digest};
use cairn_core::disk::Disk;
use cairn_core::io::{Files, MemoryFiles, Mode};
use cairn_core::manifest::{DiskFile, Manifest, State};
use cairn_core::map::Place;
use cairn_core::retire::Marks;
use cairn_core::revision::RevisionId;
use cairn_core::text;
use cairn_core::units::{Ordinal, SegmentId};

pub fn run(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = RevisionId::parse(text);
    }
    let mut checked = bytes.to_vec();
    checked.push(b'\n');
    let digest = Digest::of(Context::Text, &checked).to_hex();
    checked.extend_from_slice(format!("  \"checksum\": \"{digest}\"\n}}\n").as_bytes());
    for bytes in [bytes, &checked] {
        match kind % 5 {
            0 => manifest(bytes),
            1 => state(bytes),
            2 => disk_file(bytes),
            3 => marks(bytes),
            _ => damaged(bytes),
        }
    }
}

fn manifest(bytes: &[u8]) {
    let path = Path::new("/manifest.json");
    let Ok(manifest) = Manifest::decode(bytes, path) else { return };
    assert!(manifest.geometry().is_ok());
    let again = text::encode(&manifest).expect("it was text before");
    assert_eq!(Manifest::decode(&again, path).ok(), Some(manifest));
}

fn state(bytes: &[u8]) {
    let (files, path) = (with_file("state", bytes), Path::new("/d/state"));
    let Ok(state) = State::read(&files, path) else { return };
    state.write(&files, path).expect("memory can be written");
    assert_eq!(State::read(&files, path).ok(), Some(state));
}

fn disk_file(bytes: &[u8]) {
    let files = with_file("disk.json", bytes);
    let Ok(file) = DiskFile::read(&files, Path::new("/d/disk.json")) else { return };
    assert!(file.id_bytes().is_some());
    assert!(Disk::open(Arc::new(files), Path::new("/d")).is_ok());
}

fn marks(bytes: &[u8]) {
    let files = with_file("marks.json", bytes);
    let disk = serde_json::json!({
        "format": 1, "id": "00".repeat(16), "createdAt": "2026-11-20T12:00:00Z", "blockSizeBytes": 4096, "fanout": 32,
        "codec": "zstd", "encryption": null,
    });
    put(&files, "disk.json", &text::encode(&disk).expect("an object"));
    let disk = Disk::open(Arc::new(files), Path::new("/d")).expect("it was just written");
    let _ = Marks::read(&disk);
}

fn damaged(bytes: &[u8]) {
    let (files, path) = (with_file("damaged", bytes), Path::new("/d/damaged"));
    let Ok(mut list) = Damaged::read(&files, path) else { return };
    for segment in [1, 7] {
        let place = Place::new(SegmentId(segment), Ordinal(0));
        let _ = place.is_some_and(|place| list.contains(place));
        list.insert(SegmentId(segment), Ordinal(3));
    }
    list.write(&files, path).expect("memory can be written");
    assert_eq!(Damaged::read(&files, path).ok(), Some(list));
}

fn with_file(name: &str, bytes: &[u8]) -> MemoryFiles {
    let files = MemoryFiles::default();
    files.create_directory(Path::new("/d")).expect("memory can be written");
    put(&files, name, bytes);
    files
}

fn put(files: &MemoryFiles, name: &str, bytes: &[u8]) {
    let file = files.open(&Path::new("/d").join(name), Mode::CreateNew).expect("memory can be written");
    file.write_all_at(bytes, 0).expect("memory can be written");
}
