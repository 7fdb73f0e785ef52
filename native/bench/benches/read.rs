//! What reading costs inside the core, without FUSE: `cargo bench -p cairn-bench --bench read`.
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
use std::time::{Duration, Instant};

use cairn_bench::data::{Numbers, noise, words};
use cairn_bench::store::{BLOCK_LEN, Store};
use cairn_core::codec::{self, Codec};
use cairn_core::digest::{Context, Digest};
use cairn_core::map::ExtentState;

const DATA_LEN: usize = 64 << 20;
const BLOCKS: usize = DATA_LEN / BLOCK_LEN;
const ROUNDS: usize = 15;
const LOOKUPS: usize = 50_000;

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
    let mut numbers = Numbers(42);
    let shrinking = Store::new("words", words(&mut numbers, DATA_LEN));
    cold("words", &shrinking);
    cached(&shrinking);
    drop(shrinking);
    let plain = Store::new("noise", noise(&mut numbers, DATA_LEN));
    cold("noise", &plain);
}
