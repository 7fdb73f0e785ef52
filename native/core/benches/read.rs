//! What reading costs inside the core, without FUSE: `cargo bench -p cairn-core --bench read`.
//!
//! Makes a store of its own in the temporary directory, with a disk whose blocks shrink to about a
//! third and one whose blocks do not shrink, and prints one line a figure: the best of several
//! rounds, since whatever else the machine does only ever adds.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and where it fails there is nothing to save"
)]

use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_core::backup::{self, BackupParams, Source};
use cairn_core::codec::{self, Codec};
use cairn_core::digest::{Context, Digest};
use cairn_core::disk::{Disk, DiskLock, DiskOptions};
use cairn_core::image::Image;
use cairn_core::io::OsFiles;
use cairn_core::map::ExtentState;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::source::PathSource;

const BLOCK_LEN: usize = 64 * 1024;
/// So far apart that the map has the height of a disk of 1 TiB.
const IMAGE_LEN: u64 = 1 << 40;
const DATA_LEN: usize = 64 << 20;
const BLOCKS: usize = DATA_LEN / BLOCK_LEN;
const ROUNDS: usize = 15;
const LOOKUPS: usize = 50_000;

/// A sequence of numbers that is the same at every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Words out of a small dictionary and numbers between them, as in logs and databases.
fn words(numbers: &mut Numbers, len: usize) -> Vec<u8> {
    let dictionary: Vec<Vec<u8>> = (0..2000)
        .map(|_| (0..3 + numbers.below(9)).map(|_| b'a' + numbers.below(26) as u8).collect())
        .collect();
    let mut out = Vec::with_capacity(len + 32);
    while out.len() < len {
        out.extend_from_slice(&dictionary[numbers.below(dictionary.len())]);
        out.push(b' ');
        if numbers.below(8) == 0 {
            out.extend_from_slice(&numbers.next().to_le_bytes());
        }
    }
    out.truncate(len);
    out
}

fn noise(numbers: &mut Numbers, len: usize) -> Vec<u8> {
    (0..len / 8).flat_map(|_| numbers.next().to_le_bytes()).collect()
}

struct Store {
    disk: Disk,
    image: Image,
    bytes: Vec<u8>,
}

impl Store {
    fn new(directory: &Path, bytes: Vec<u8>) -> Self {
        std::fs::create_dir(directory).unwrap();
        let source = directory.join("source.img");
        let file = std::fs::File::create(&source).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.set_len(IMAGE_LEN).unwrap();
        let disk = Disk::create(Arc::new(OsFiles), &directory.join("disk"), DiskOptions::default()).unwrap();
        let lock = DiskLock::take(&disk.paths().directory, "a benchmark").unwrap();
        let params = BackupParams {
            name: "bench".into(),
            source: Source::Path(PathSource::open(&source).unwrap()),
            description: serde_json::Map::new(),
            consistency: None,
            tags: Vec::new(),
            threads: 0,
        };
        let taken = backup::prepare(&disk, lock, params, Arc::default()).unwrap().commit().unwrap();
        std::fs::remove_file(source).unwrap();
        let image = Self::open(&disk, &taken.manifest.revision, CacheBudget::default());
        Self { disk, image, bytes }
    }

    fn open(disk: &Disk, revision: &cairn_core::revision::RevisionId, budget: CacheBudget) -> Image {
        let caches = Arc::new(Caches::new(budget));
        let records = Records::new(Arc::clone(disk.files()), disk.paths().segments(), caches);
        Image::open(disk, Arc::new(records), revision).unwrap()
    }

    /// An image whose cache holds hardly a block, so that every block read is decoded.
    fn cold(&self) -> Image {
        let revision = &self.disk.revisions().unwrap()[0];
        Self::open(&self.disk, revision, CacheBudget { blocks_bytes: 1 << 20, ..CacheBudget::default() })
    }
}

fn best(mut round: impl FnMut()) -> Duration {
    (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            round();
            begun.elapsed()
        })
        .min()
        .unwrap()
}

fn tell_rate(what: &str, took: Duration) {
    println!("{what:<58} {:>9.0} MB/s", DATA_LEN as f64 / took.as_secs_f64() / 1e6);
}

fn tell_each(what: &str, count: usize, took: Duration) {
    println!("{what:<58} {:>9.0} ns", took.as_nanos() as f64 / count as f64);
}

/// Runs `read` for every block, on so many threads.
fn on_threads(threads: usize, read: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let read = &read;
            scope.spawn(move || (thread..BLOCKS).step_by(threads).for_each(read));
        }
    });
}

fn cold(name: &str, store: &Store) {
    let payloads: Vec<_> =
        store.bytes.chunks(BLOCK_LEN).map(|block| codec::encode(Codec::Zstd, block)).collect();
    let mut plain = vec![0; BLOCK_LEN];
    let took = best(|| {
        for (codec, payload) in &payloads {
            codec::decode_into(*codec, payload, &mut plain).unwrap();
            black_box(Digest::of(Context::Block, &plain));
        }
    });
    tell_rate(&format!("{name}: decode and digest alone"), took);
    drop(payloads);
    for threads in [1, 2] {
        let image = store.cold();
        let pointers = image.pointers(0..BLOCKS as u64).unwrap();
        let took = best(|| {
            on_threads(threads, |block| {
                black_box(image.records().block(&pointers[block].unwrap(), BLOCK_LEN).unwrap());
            });
        });
        tell_rate(&format!("{name}: blocks into the cache, {threads} threads"), took);
        let took = best(|| {
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let (image, pointers) = (&image, &pointers);
                    scope.spawn(move || {
                        let mut plain = vec![0; BLOCK_LEN];
                        for pointer in pointers.iter().skip(thread).step_by(threads) {
                            image.records().block_into(&pointer.unwrap(), &mut plain).unwrap();
                        }
                    });
                }
            });
        });
        tell_rate(&format!("{name}: blocks past the cache, {threads} threads"), took);
        let image = store.cold();
        let piece_len = 16 * BLOCK_LEN;
        let took = best(|| {
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let image = &image;
                    scope.spawn(move || {
                        let mut piece = vec![0; piece_len];
                        for at in (thread..DATA_LEN / piece_len).step_by(threads) {
                            image.read(&mut piece, (at * piece_len) as u64).unwrap();
                        }
                    });
                }
            });
        });
        tell_rate(&format!("{name}: reads of 1 MiB, {threads} threads"), took);
    }
}

fn cached(store: &Store) {
    let image = &store.image;
    let span = 32 << 20;
    let mut into = vec![0; 4096];
    let mut numbers = Numbers(7);
    let offsets: Vec<u64> = (0..LOOKUPS).map(|_| numbers.below(span / 4096) as u64 * 4096).collect();
    let read_all =
        |into: &mut [u8]| offsets.iter().for_each(|&at| _ = black_box(image.read(into, at).unwrap()));
    read_all(&mut into);
    tell_each("4 KiB at random, block cached: read", LOOKUPS, best(|| read_all(&mut into)));
    let took = best(|| {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| read_all(&mut vec![0; 4096]));
            }
        });
    });
    tell_each("4 KiB at random, block cached: read, 2 threads, each", LOOKUPS, took);
    let took = best(|| offsets.iter().for_each(|&at| drop(black_box(image.covering(at, 4096).unwrap()))));
    tell_each("4 KiB at random, block cached: covering", LOOKUPS, took);
    let took = best(|| offsets.iter().for_each(|&at| _ = black_box(image.is_warm(at >> 16).unwrap())));
    tell_each("is_warm, block cached", LOOKUPS, took);
    let took = best(|| {
        offsets.iter().for_each(|&at| drop(black_box(image.pointers(at >> 16..(at >> 16) + 1).unwrap())));
    });
    tell_each("pointer of one block, pages cached", LOOKUPS, took);
    let took = best(|| {
        offsets.iter().for_each(|&at| drop(black_box(image.pointers(at >> 16..(at >> 16) + 16).unwrap())));
    });
    tell_each("pointers of 16 blocks, pages cached", LOOKUPS, took);
    let took = best(|| {
        offsets.iter().for_each(|&at| _ = black_box(image.next(at, ExtentState::Zero).unwrap()));
    });
    tell_each("next hole after 64 MiB of data, pages cached", LOOKUPS, took);
}

fn main() {
    // Without this, `cargo test --all-targets` would run it, too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(42);
    let shrinking = Store::new(&directory.path().join("words"), words(&mut numbers, DATA_LEN));
    cold("words", &shrinking);
    cached(&shrinking);
    drop(shrinking);
    let plain = Store::new(&directory.path().join("noise"), noise(&mut numbers, DATA_LEN));
    cold("noise", &plain);
}
