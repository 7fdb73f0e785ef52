//! Running something long: its progress is shown, and Ctrl-C ends it so that it can tidy up.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use cairn_core::Result;
use cairn_core::job::Control;

use crate::progress::Progress;

const TICK: Duration = Duration::from_millis(200);
const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// While this lives a signal asks the job to end, and the third ends the program: timeout(1) sends
/// two. At all other times, when a question is asked say, the first ends the program.
struct Listening;

impl Listening {
    fn begin() -> Self {
        let handler: extern "C" fn(libc::c_int) = note;
        for signal in SIGNALS {
            // SAFETY: the handler does nothing but swap a number and give the default back, which a
            // handler may.
            unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        }
        Self
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for signal in SIGNALS {
            // SAFETY: it gives the default back, and no handler is involved.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

extern "C" fn note(signal: libc::c_int) {
    if SIGNAL.swap(signal, Ordering::Relaxed) != 0 {
        // SAFETY: signal(2) may be called in a handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// As a shell has it: 130 after Ctrl-C.
pub(crate) fn exit_of_signal() -> u8 {
    u8::try_from(128 + SIGNAL.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
}

/// Runs `work`, which is to listen to the control. `label` says what the progress is of.
pub(crate) fn run<T>(label: &str, work: impl FnOnce(&Control) -> Result<T>) -> Result<T> {
    let _listening = Listening::begin();
    let control = Control::default();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut progress = Progress::new(label);
            loop {
                thread::park_timeout(TICK);
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                if SIGNAL.load(Ordering::Relaxed) != 0 {
                    control.cancel();
                }
                progress.show(control.progress());
            }
            progress.clear();
        });
        let result = work(&control);
        is_over.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}
