//! Connections to one export, one for each thread that reads at the same time.
//!
//! Only a server that says so (`NBD_FLAG_CAN_MULTI_CONN`) is connected to more than once, and even then a
//! connection beyond the first that does not come about is no error: servers limit how many they take, and
//! let the next one wait. Threads then share what there is.
//!
//! A connection that was lost is not made again. Whoever answers at the socket then may be another server
//! with another disk, and half of each would be worse than none.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::NbdError;
use super::client::Client;
use super::handshake::Export;
use super::socket::{Patience, Socket};

/// More threads than this share connections.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection beyond the first is waited for.
const EXTRA_SILENCE: Duration = Duration::from_secs(2);

pub(super) struct Address {
    pub(super) socket: PathBuf,
    pub(super) export: String,
    pub(super) bitmap: Option<String>,
    pub(super) patience: Patience,
}

/// See the module.
pub(super) struct Pool {
    address: Address,
    export: Export,
    state: Mutex<State>,
    given_back: Condvar,
}

struct State {
    idle: Vec<Client<Socket>>,
    /// Idle, lent out, or being made.
    count: usize,
    limit: usize,
    /// Why nothing more is read.
    lost: Option<String>,
}

impl Pool {
    /// Connects once.
    pub(super) fn open(address: Address) -> Result<Self, NbdError> {
        let first = address.connect(address.patience)?;
        let export = first.export().clone();
        let limit = if export.can_multi_conn { CONNECTIONS_MAX } else { 1 };
        let state = State { idle: vec![first], count: 1, limit, lost: None };
        Ok(Self { address, export, state: Mutex::new(state), given_back: Condvar::new() })
    }

    pub(super) fn export(&self) -> &Export {
        &self.export
    }

    /// Does something with a connection that is this thread's meanwhile.
    pub(super) fn run<T>(
        &self,
        work: impl FnOnce(&mut Client<Socket>) -> Result<T, NbdError>,
    ) -> Result<T, NbdError> {
        let client = self.take()?;
        let mut lent = Lent { pool: self, client: Some(client), why: "a thread stopped".to_owned() };
        let Some(client) = lent.client.as_mut() else { return Err(NbdError::Closed) };
        let done = work(client);
        if let Err(error) = &done {
            lent.why = error.to_string();
        }
        done
    }

    fn take(&self) -> Result<Client<Socket>, NbdError> {
        let mut state = self.lock();
        loop {
            if let Some(why) = &state.lost {
                return Err(NbdError::Lost { why: why.clone() });
            }
            if let Some(client) = state.idle.pop() {
                return Ok(client);
            }
            if state.count < state.limit {
                state.count += 1;
                drop(state);
                let made = self.extra();
                state = self.lock();
                match made {
                    Some(client) => return Ok(client),
                    None => {
                        state.count -= 1;
                        state.limit = state.count.max(1);
                    }
                }
                continue;
            }
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Another connection to the same thing.
    fn extra(&self) -> Option<Client<Socket>> {
        let patience = self.address.patience;
        let shorter = Patience { silence: patience.silence.min(EXTRA_SILENCE), ..patience };
        let mut client = self.address.connect(shorter).ok()?;
        client.wire_mut().wait_as(patience).ok()?;
        (*client.export() == self.export).then_some(client)
    }

    fn give_back(&self, client: Client<Socket>, why: String) {
        let mut state = self.lock();
        if client.is_broken() || std::thread::panicking() {
            state.lost.get_or_insert(why);
            // What is idle is of no more use, and says goodbye.
            let idle = std::mem::take(&mut state.idle);
            drop(state);
            drop(idle);
        } else {
            state.idle.push(client);
            drop(state);
        }
        self.given_back.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Address {
    fn connect(&self, patience: Patience) -> Result<Client<Socket>, NbdError> {
        let socket = Socket::connect(&self.socket, patience)?;
        Client::open(socket, &self.export, self.bitmap.as_deref())
    }
}

/// A connection that goes back, whatever happens.
struct Lent<'a> {
    pool: &'a Pool,
    client: Option<Client<Socket>>,
    why: String,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.pool.give_back(client, std::mem::take(&mut self.why));
        }
    }
}
