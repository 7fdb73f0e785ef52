//! Any bytes as a list of condemned records, and any list with a right magic and digest.

use std::path::Path;

use cairn_core::condemned::Condemned;
use cairn_core::digest::{Context, Digest};
use cairn_core::io::{Files, MemoryFiles, Mode};
use cairn_core::map::Place;
use cairn_core::units::{Ordinal, SegmentId};

const PATH: &str = "/d/condemned";

pub fn run(bytes: &[u8]) {
    let _ = read(bytes);
    let mut list = [b"CAIRNCND\x01\0\0\0", bytes].concat();
    let digest = Digest::of(Context::Header, &list);
    list.extend_from_slice(&digest.0);
    let Some((files, condemned)) = read(&list) else { return };
    for (segment, ordinal) in [(1, 0), (1, 77), (u32::MAX, (1 << 24) - 1)] {
        let place = Place::new(SegmentId(segment), Ordinal(ordinal));
        let _ = place.is_some_and(|place| condemned.contains(place));
    }
    condemned.write(&files, Path::new(PATH)).expect("memory can be written");
    // Bits that are not set have more than one form, of which it writes the shortest.
    let again = Condemned::read(&files, Path::new(PATH)).expect("what it wrote is read");
    again.write(&files, Path::new(PATH)).expect("memory can be written");
    assert_eq!(Condemned::read(&files, Path::new(PATH)).ok(), Some(again));
}

fn read(bytes: &[u8]) -> Option<(MemoryFiles, Condemned)> {
    let files = MemoryFiles::default();
    files.create_directory(Path::new("/d")).ok()?;
    files.open(Path::new(PATH), Mode::CreateNew).ok()?.write_all_at(bytes, 0).ok()?;
    let condemned = Condemned::read(&files, Path::new(PATH)).ok()?;
    Some((files, condemned))
}
