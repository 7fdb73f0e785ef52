//! Any bytes as the index by digest: whatever stands there, it answers, stays in its bounds, and finds what
//! it was given last.

use std::path::Path;

use cairn_core::dedup::DedupIndex;
use cairn_core::digest::Digest;
use cairn_core::io::{Files, MemoryFiles, Mode};
use cairn_core::map::Place;
use cairn_core::units::{Ordinal, SegmentId};

const PATH: &str = "/d/dedup";
/// Of an index for the smallest disk.
const LEN: usize = 16 * 4096;

pub fn run(input: (u8, u64, Vec<(u16, u8)>, &[u8])) {
    let (size, blocks, digests, bytes) = input;
    let files = MemoryFiles::default();
    files.create_directory(Path::new("/d")).expect("memory can be written");
    let mut content = bytes.to_vec();
    if size & 1 == 1 {
        // A size that it keeps, so that what stands there is used.
        content = bytes.iter().copied().cycle().take(if bytes.is_empty() { 0 } else { LEN }).collect();
    }
    let file = files.open(Path::new(PATH), Mode::CreateNew).expect("memory can be written");
    file.write_all_at(&content, 0).expect("memory can be written");
    let Ok(index) = DedupIndex::open(&files, Path::new(PATH), blocks % 100_000) else { return };
    let len = || files.open(Path::new(PATH), Mode::Read).and_then(|file| file.len()).unwrap_or(0);
    let before = len();
    for (number, fill) in digests.iter().take(64) {
        let mut digest = Digest([*fill; 32]);
        digest.0[..2].copy_from_slice(&number.to_le_bytes());
        let _ = index.find(&digest);
        let place = Place::new(SegmentId(u32::from(*number) + 1), Ordinal(u32::from(*fill)));
        let place = place.expect("a possible place");
        index.insert(&digest, place);
        assert_eq!(index.find(&digest), Some(place));
    }
    assert_eq!(len(), before);
}
