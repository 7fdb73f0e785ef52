//! What scattered writes cost: bytes stored for each byte changed, and the time to take and to read
//! such revisions.
//!
//! `cargo bench -p cairn-bench --bench scattered -- <image> <directory>`: the image is copied into the directory and
//! changed there. One line of JSON for each backup.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and where it fails there is nothing to save"
)]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cairn_core::backup::{self, BackupParams, Source, Taken};
use cairn_core::disk::{Disk, DiskLock, DiskOptions};
use cairn_core::image::Image;
use cairn_core::io::OsFiles;
use cairn_core::random::Numbers;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::source::PathSource;

const PAGE: u64 = 4096;
const READ_LEN: usize = 1 << 20;

/// What is written to a page.
#[derive(Clone, Copy, Debug)]
enum Writes {
    /// Another page of the image with a few bytes changed.
    Copied,
    /// The same page with a few bytes changed.
    Edited,
    /// Bytes that do not shrink.
    Noise,
    /// Such bytes everywhere.
    All,
}

struct Lab {
    source: PathBuf,
    disk: Disk,
    random: Numbers,
}

impl Lab {
    fn new(image: &Path, directory: &Path, block_size: u32) -> Self {
        let (source, path) = (directory.join("source.img"), directory.join("disk"));
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&source);
        std::fs::copy(image, &source).unwrap();
        let options = DiskOptions { block_size, ..DiskOptions::default() };
        let disk = Disk::create(Arc::new(OsFiles), &path, options).unwrap();
        Self { source, disk, random: Numbers::new(1) }
    }

    fn backup(&self) -> (Taken, f64) {
        let begun = Instant::now();
        let lock = DiskLock::take(&self.disk.paths().directory, "a benchmark").unwrap();
        let params = BackupParams {
            name: "disk".into(),
            source: Source::Block(PathSource::open(&self.source).unwrap().into()),
            description: serde_json::Map::new(),
            consistency: None,
            tags: Vec::new(),
            threads: 0,
            require: None,
            background: backup::Background::default(),
        };
        let taken = backup::prepare(&self.disk, lock, params, Arc::default()).unwrap().commit().unwrap();
        (taken, begun.elapsed().as_secs_f64())
    }

    fn write(&mut self, kind: Writes, count: u64, len: u64) {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&self.source).unwrap();
        let places = file.metadata().unwrap().len() / len;
        let mut bytes = vec![0; len as usize];
        for number in 0..count {
            let place =
                if matches!(kind, Writes::All) { number % places } else { self.random.next_u64() % places };
            let from = if matches!(kind, Writes::Copied) { self.random.next_u64() % places } else { place };
            file.read_exact_at(&mut bytes, from * len).unwrap();
            if matches!(kind, Writes::Noise | Writes::All) {
                bytes.fill_with(|| self.random.next_u64() as u8);
            }
            for page in bytes.chunks_mut(PAGE as usize) {
                let at = (self.random.next_u64() % (PAGE - 32)) as usize;
                page[at..at + 32].fill_with(|| self.random.next_u64() as u8);
            }
            file.write_all_at(&bytes, place * len).unwrap();
        }
        file.sync_all().unwrap();
    }

    /// Seconds to read all of a revision, nothing cached but by the system.
    fn read(&self, taken: &Taken) -> f64 {
        let caches = Arc::new(Caches::new(CacheBudget::default()));
        let records = Records::new(self.disk.files().clone(), self.disk.paths().segments(), caches);
        let image = Image::open(&self.disk, Arc::new(records), &taken.manifest.revision).unwrap();
        let begun = Instant::now();
        let (mut buffer, mut at) = (vec![0; READ_LEN], 0);
        loop {
            match image.read(&mut buffer, at).unwrap() {
                0 => return begun.elapsed().as_secs_f64(),
                count => at += count as u64,
            }
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [image, directory] = arguments.as_slice() else {
        println!("usage: cargo bench -p cairn-bench --bench scattered -- <image> <directory>");
        return;
    };
    let setting = |name: &str| std::env::var(name).ok();
    let sizes = setting("BLOCK_KIB").unwrap_or_else(|| "16 32 64 128".into());
    for kib in sizes.split_whitespace().map(|text| text.parse::<u32>().unwrap()) {
        for kind in [Writes::Copied, Writes::Edited, Writes::Noise, Writes::All] {
            if setting("WRITES").is_some_and(|wanted| wanted != format!("{kind:?}")) {
                continue;
            }
            let mut lab = Lab::new(Path::new(image), Path::new(directory), kib * 1024);
            let (first, seconds) = lab.backup();
            let size = first.manifest.size_bytes;
            let stored = first.manifest.counters.stored_bytes;
            let read = lab.read(&first);
            println!(
                "{{\"blockKib\": {kib}, \"writes\": \"first\", \"storedBytes\": {stored}, \"backupS\": {seconds:.3}, \"readS\": {read:.3}}}"
            );
            let rounds = match kind {
                Writes::All => vec![(size / PAGE, PAGE)],
                _ => vec![(64, PAGE), (1024, PAGE), (4096, PAGE), (1024, 4 * PAGE)],
            };
            for (count, len) in rounds {
                lab.write(kind, count, len);
                let (taken, seconds) = lab.backup();
                let stored = taken.manifest.counters.stored_bytes;
                let ratio = stored as f64 / (count * len) as f64;
                let read = lab.read(&taken);
                println!(
                    "{{\"blockKib\": {kib}, \"writes\": \"{kind:?}\", \"count\": {count}, \"len\": {len}, \"storedBytes\": {stored}, \"perChangedByte\": {ratio:.3}, \"backupS\": {seconds:.3}, \"readS\": {read:.3}}}"
                );
            }
        }
    }
}
