//! Lets threads write to a stream in the order of their pieces.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};

/// See the module.
#[derive(Default)]
pub(super) struct Turn {
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

/// Has the others give up when a thread panics.
pub(super) struct TurnGuard<'a>(&'a Turn);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

impl Turn {
    pub(super) fn guard(&self) -> TurnGuard<'_> {
        TurnGuard(self)
    }

    pub(super) fn wait_for(&self, number: u64) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 != number && !state.1 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.1 { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(super) fn pass_on(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        self.changed.notify_all();
    }

    pub(super) fn give_up(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }
}
