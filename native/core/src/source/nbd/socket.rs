//! A unix socket on which nothing is waited for without end.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::NbdError;
use super::wire::Wire;

/// How long a server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Without a byte, and to be let in.
    pub silence: Duration,
    /// For one request and all of its reply.
    pub exchange: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(60), exchange: Duration::from_secs(600) }
    }
}

/// See the module.
pub(super) struct Socket {
    stream: BufReader<UnixStream>,
    patience: Patience,
    deadline: Instant,
}

impl Socket {
    pub(super) fn connect(path: &Path, patience: Patience) -> Result<Self, NbdError> {
        let stream = connected(path, patience.silence).map_err(NbdError::Connect)?;
        let deadline = Instant::now() + patience.exchange;
        Ok(Self { stream: BufReader::with_capacity(16 * 1024, stream), patience, deadline })
    }

    /// Changes how long is waited from here on.
    pub(super) fn wait_as(&mut self, patience: Patience) -> Result<(), NbdError> {
        self.patience = patience;
        let timeouts = [Timeout::Send, Timeout::Recv];
        timeouts
            .into_iter()
            .try_for_each(|which| set_socket_timeout(self.stream.get_ref(), which, Some(patience.silence)))
            .map_err(|error| NbdError::Io(error.into()))
    }

    fn check(&self) -> Result<(), NbdError> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(NbdError::TooSlow { seconds: self.patience.exchange.as_secs() })
    }

    fn failed(&self, error: std::io::Error) -> NbdError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                NbdError::TimedOut { seconds: self.patience.silence.as_secs() }
            }
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => NbdError::Closed,
            _ => NbdError::Io(error),
        }
    }
}

/// Connects, or fails when nobody has let it in for so long: connect(2) waits for room in the queue of a
/// unix socket as long as writes to it may.
fn connected(path: &Path, silence: Duration) -> std::io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(silence))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(silence))?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Wire for Socket {
    fn begin(&mut self) {
        self.deadline = Instant::now() + self.patience.exchange;
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), NbdError> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.stream.read(rest) {
                Ok(0) => return Err(NbdError::Closed),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
            self.check()?;
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NbdError> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match self.stream.get_mut().write(rest) {
                Ok(0) => return Err(NbdError::Closed),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
            self.check()?;
        }
        Ok(())
    }
}
