//! The progress line: how much of how much, how fast, how long still. On a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use cairn_core::job::{Phase, Progress as Counters};
use cairn_core::units::format_bytes;

/// Readings count for about this long, so that holes and stalls do not make the rate jump.
const WINDOW_SECONDS: f64 = 5.0;
const COLUMNS_DEFAULT: usize = 80;

pub(crate) struct Progress<'a> {
    label: &'a str,
    is_shown: bool,
    last: Option<(Instant, u64)>,
    rate: f64,
    weight: f64,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(label: &'a str) -> Self {
        Self { label, is_shown: io::stderr().is_terminal(), last: None, rate: 0.0, weight: 0.0 }
    }

    pub(crate) fn show(&mut self, counters: Counters) {
        if !self.is_shown {
            return;
        }
        let rate = self.rate_at(Instant::now(), counters.done_bytes);
        let line: String =
            line(self.label, counters, rate).chars().take(columns().saturating_sub(1)).collect();
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }

    pub(crate) fn clear(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Bytes a second: an exponential mean, whose weight corrects its start from nothing.
    fn rate_at(&mut self, now: Instant, done_bytes: u64) -> f64 {
        if let Some((then, before)) = self.last {
            let seconds = now.duration_since(then).as_secs_f64();
            if seconds > 0.0 {
                let keep = (-seconds / WINDOW_SECONDS).exp();
                let measured = done_bytes.saturating_sub(before) as f64 / seconds;
                self.rate = self.rate * keep + measured * (1.0 - keep);
                self.weight = self.weight * keep + (1.0 - keep);
            }
        }
        self.last = Some((now, done_bytes));
        if self.weight > 0.0 { self.rate / self.weight } else { 0.0 }
    }
}

fn line(label: &str, counters: Counters, rate: f64) -> String {
    let done = format_bytes(counters.done_bytes);
    let Some(total) = counters.total_bytes else { return format!("{label}  {done}") };
    let percent = counters.done_bytes.min(total).saturating_mul(100).checked_div(total).unwrap_or(100);
    let amount = format!("{label}  {percent:>3} %  {done} of {}", format_bytes(total));
    match counters.phase {
        Phase::Syncing => format!("{amount}  waiting for the disk"),
        Phase::Marking => format!("{label}  finding out which revisions it concerns"),
        Phase::Recovering => format!("{amount}  seeking copies of what is damaged"),
        Phase::Verifying => format!("{amount}  reading back"),
        _ if rate < 1.0 => amount,
        _ => {
            let left = total.saturating_sub(counters.done_bytes) as f64 / rate;
            format!("{amount}  {}/s  {} left", format_bytes(rate as u64), countdown(left))
        }
    }
}

/// `0:06`, `12:30`, `3:05:00`: never 0 while there is something to wait for.
fn countdown(seconds: f64) -> String {
    let seconds = (seconds.ceil() as u64).max(1);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{seconds:02}") } else { format!("{hours}:{minutes:02}:{seconds:02}") }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    // A terminal that does not know says 0.
    size.ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(COLUMNS_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_much_how_fast_and_how_long() {
        let counters = |phase, done_bytes, total_bytes| Counters {
            phase,
            done_bytes,
            total_bytes,
            read_bytes: 0,
            stored_bytes: 0,
        };
        let half = counters(Phase::Writing, 1 << 30, Some(2 << 30));
        assert_eq!(line("web", half, 104_857_600.0), "web   50 %  1 GiB of 2 GiB  100 MiB/s  0:11 left");
        assert_eq!(line("web", half, 0.0), "web   50 %  1 GiB of 2 GiB");
        let last = counters(Phase::Syncing, 5, Some(5));
        assert_eq!(line("web", last, 9.0), "web  100 %  5 B of 5 B  waiting for the disk");
        assert_eq!(line("web", counters(Phase::Reading, 7, None), 9.0), "web  7 B");
        assert_eq!([countdown(0.0), countdown(750.0), countdown(11_100.0)], ["0:01", "12:30", "3:05:00"]);
    }
}
