//! Holds the parts of the core to what their yardsticks take: `cairn-bench [<pair>…]`. A line for each;
//! the exit status is 1 where a ratio is above its bound. No bound is a time, so that none depends on
//! the machine or on what else it does.

#![allow(clippy::print_stdout, reason = "what it finds is its output")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cairn_bench::pairs::{self, NAMES, Pair, Round};

/// How long a pair is measured.
const TIME: Duration = Duration::from_millis(800);
/// At least so many rounds of each, however long that takes.
const ROUNDS_MIN: u32 = 100;
/// A pair that is above its bound is measured again: what else the machine does passes, what the work
/// costs stays.
const ATTEMPTS: u32 = 3;

/// The shortest round of each, since whatever else the machine does only ever adds.
#[derive(Clone, Copy)]
struct Best {
    work: Duration,
    yardstick: Duration,
}

impl Best {
    const NONE: Self = Self { work: Duration::MAX, yardstick: Duration::MAX };

    fn ratio(self) -> f64 {
        self.work.as_secs_f64() / self.yardstick.as_secs_f64()
    }

    /// Measures alternately, so that both see the same machine.
    fn measure(&mut self, pair: &mut Pair) {
        let begun = Instant::now();
        let mut rounds = 0;
        while rounds < ROUNDS_MIN || begun.elapsed() < TIME {
            self.work = self.work.min(time(&mut pair.work));
            self.yardstick = self.yardstick.min(time(&mut pair.yardstick));
            rounds += 1;
        }
    }
}

/// What a round takes of the processor, which the turns of other programs do not count for.
fn time(round: &mut dyn FnMut()) -> Duration {
    let begun = processor_time();
    round();
    processor_time() - begun
}

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn told(round: Round, took: Duration) -> String {
    match round {
        Round::Bytes(bytes) => format!("{:.0} MB/s", bytes as f64 / took.as_secs_f64() / 1e6),
        Round::Calls(calls) => format!("{:.0} ns", took.as_secs_f64() * 1e9 / calls as f64),
    }
}

/// Whether the pair keeps within its bound.
fn check(mut pair: Pair) -> bool {
    let mut best = Best::NONE;
    for _ in 0..ATTEMPTS {
        best.measure(&mut pair);
        if best.ratio() <= pair.ratio_max {
            break;
        }
    }
    let holds = best.ratio() <= pair.ratio_max;
    println!(
        "{:<14} {:>11}   {:>11} {:<40} ratio {:>5.2}, at most {:.2}{}",
        pair.name,
        told(pair.round, best.work),
        told(pair.round, best.yardstick),
        pair.beside,
        best.ratio(),
        pair.ratio_max,
        if holds { "" } else { "  TOO SLOW" },
    );
    holds
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> =
        if wanted.is_empty() { NAMES.to_vec() } else { wanted.iter().map(String::as_str).collect() };
    let mut all_hold = true;
    for name in names {
        let Some(pair) = pairs::pair(name) else {
            println!("no pair is called {name}; there are: {}", NAMES.join(", "));
            return ExitCode::from(2);
        };
        all_hold &= check(pair);
    }
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
