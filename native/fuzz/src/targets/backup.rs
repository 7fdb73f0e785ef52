//! A backup into a disk directory that a liar wrote: it fails, or its revision reads as its source,
//! but for blocks that the liar damaged; and what could be read is read as before.

use std::io::Write;
use std::sync::Arc;

use crate::liar::{self, Lab, Plan, directory};
use crate::reading;
use cairn_core::backup::{self, BackupParams, Source};
use cairn_core::disk::DiskLock;
use cairn_core::source::StreamSource;

const BLOCK: usize = 4096;
/// A pipe holds so much without anybody reading it.
const BLOCKS_MAX: usize = 200;

pub fn run(input: (Plan, Vec<u8>, u16)) {
    let (plan, seeds, tail) = input;
    let Some(lab) = Lab::of(&plan) else { return };
    let before: Vec<_> = lab.images().into_iter().map(|(id, image)| (id, reading::blocks(&image))).collect();
    let image = image(&seeds, usize::from(tail) % BLOCK);
    let lock = DiskLock::take_on(Arc::new(lab.files.clone()), &directory(), "fuzzing");
    let params = BackupParams {
        name: "disk".into(),
        source: stream(&image),
        description: serde_json::Map::new(),
        consistency: None,
        tags: Vec::new(),
        threads: 1,
        require: None,
        background: backup::Background::default(),
    };
    let pending = backup::prepare(&lab.disk, lock.expect("nobody else has it"), params, Arc::default());
    if let Ok(taken) = pending.and_then(backup::Pending::commit) {
        let found = lab.image(&taken.manifest.revision).expect("what was taken can be opened");
        assert_eq!(found.geometry().size_bytes(), image.len() as u64);
        let found = reading::blocks(&found).expect("it is small");
        for (block, source) in found.iter().zip(image.chunks(BLOCK)) {
            assert!(block.as_ref().is_none_or(|block| block == source));
        }
    }
    for (revision, blocks) in before {
        let after = lab.image(&revision).and_then(|image| reading::blocks(&image));
        assert!(after == blocks, "{revision} changed");
    }
}

/// Blocks as the liar makes them, and others; 0 gives zeros.
fn image(seeds: &[u8], tail: usize) -> Vec<u8> {
    let block = |&seed: &u8| if seed == 0 { vec![0; BLOCK] } else { liar::block(seed) };
    let mut image = seeds.iter().take(BLOCKS_MAX).map(block).collect::<Vec<_>>().concat();
    image.resize(image.len() + tail, 1);
    image
}

fn stream(image: &[u8]) -> Source {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let source = StreamSource::new(reader.into(), Some(image.len() as u64));
    writer.write_all(image).expect("the pipe holds it");
    Source::Stream(source)
}
