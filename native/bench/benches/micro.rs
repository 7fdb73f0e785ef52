//! The parts of the core and their yardsticks, in seconds: `cargo bench -p cairn-bench --bench micro`.
//! After `--` comes what divan takes, such as a part of a name or `--sample-count`.

#![allow(clippy::unwrap_used, reason = "where a benchmark fails there is nothing to save")]

use cairn_bench::pairs::{NAMES, Round, pair};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

#[divan::bench(args = NAMES)]
fn work(bencher: Bencher<'_, '_>, name: &str) {
    let pair = pair(name).unwrap();
    measure(bencher, pair.round, pair.work);
}

#[divan::bench(args = NAMES)]
fn yardstick(bencher: Bencher<'_, '_>, name: &str) {
    let pair = pair(name).unwrap();
    measure(bencher, pair.round, pair.yardstick);
}

fn measure(bencher: Bencher<'_, '_>, round: Round, mut work: Box<dyn FnMut()>) {
    match round {
        Round::Bytes(bytes) => bencher.counter(BytesCount::new(bytes)).bench_local(&mut work),
        Round::Calls(calls) => bencher.counter(ItemsCount::new(calls)).bench_local(work),
    }
}
