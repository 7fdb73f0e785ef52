//! What a scripted server says, and a thread that says it at a unix socket.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

use tempfile::TempDir;

pub(crate) const ACK: u32 = 1;
pub(crate) const INFO: u32 = 3;
pub(crate) const CONTEXT: u32 = 4;
pub(crate) const GO: u32 = 7;
pub(crate) const STRUCTURED: u32 = 8;
pub(crate) const LIST_CONTEXTS: u32 = 9;
pub(crate) const SET_CONTEXTS: u32 = 10;
pub(crate) const ERROR: u32 = 1 << 31;
/// Of the export that [`Said::open`] ends with.
pub(crate) const SIZE: u64 = 1 << 20;
/// The last chunk of a reply.
pub(crate) const LAST: u16 = 1;

/// Bytes of a server, in the order in which it says them.
#[derive(Clone, Default)]
pub(crate) struct Said(pub(crate) Vec<u8>);

impl Said {
    pub(crate) fn greeting(flags: u16) -> Self {
        Self([b"NBDMAGICIHAVEOPT".as_slice(), &flags.to_be_bytes()].concat())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// An answer to an option.
    pub(crate) fn answer(self, option: u32, kind: u32, data: &[u8]) -> Self {
        self.answer_of_len(option, kind, data.len() as u32, data)
    }

    pub(crate) fn answer_of_len(self, option: u32, kind: u32, len: u32, data: &[u8]) -> Self {
        let numbers = [option, kind, len].map(u32::to_be_bytes).concat();
        self.raw(&0x0003_e889_0455_65a9_u64.to_be_bytes()).raw(&numbers).raw(data)
    }

    pub(crate) fn context(self, option: u32, id: u32, name: &str) -> Self {
        self.answer(option, CONTEXT, &[&id.to_be_bytes(), name.as_bytes()].concat())
    }

    pub(crate) fn export(self, size: u64, flags: u16) -> Self {
        self.answer(GO, INFO, &[&[0, 0], &size.to_be_bytes()[..], &flags.to_be_bytes()].concat())
    }

    pub(crate) fn sizes(self, min: u32, preferred: u32, max: u32) -> Self {
        self.answer(GO, INFO, &[&[0, 3], &[min, preferred, max].map(u32::to_be_bytes).concat()[..]].concat())
    }

    /// Up to structured replies.
    pub(crate) fn structured() -> Self {
        Self::greeting(3).answer(STRUCTURED, ACK, &[])
    }

    /// Up to the option that opens the export.
    pub(crate) fn contexts() -> Self {
        Self::structured()
            .context(SET_CONTEXTS, 1, "base:allocation")
            .context(SET_CONTEXTS, 2, "qemu:dirty-bitmap:b")
            .answer(SET_CONTEXTS, ACK, &[])
    }

    /// All of a handshake, with both contexts.
    pub(crate) fn open() -> Self {
        Self::contexts().export(SIZE, 3).answer(GO, ACK, &[])
    }

    /// A handshake of a server that knows simple replies alone.
    pub(crate) fn simple() -> Self {
        Self::greeting(1).answer(STRUCTURED, ERROR | 1, b"no").export(SIZE, 3).answer(GO, ACK, &[])
    }

    pub(crate) fn chunk(self, flags: u16, kind: u16, cookie: u64, data: &[u8]) -> Self {
        self.chunk_of_len(flags, kind, cookie, data.len() as u32, data)
    }

    pub(crate) fn chunk_of_len(self, flags: u16, kind: u16, cookie: u64, len: u32, data: &[u8]) -> Self {
        self.raw(&0x668e_33ef_u32.to_be_bytes())
            .raw(&[flags, kind].map(u16::to_be_bytes).concat())
            .raw(&cookie.to_be_bytes())
            .raw(&len.to_be_bytes())
            .raw(data)
    }

    pub(crate) fn data(self, flags: u16, cookie: u64, at: u64, bytes: &[u8]) -> Self {
        self.chunk(flags, 1, cookie, &[&at.to_be_bytes(), bytes].concat())
    }

    pub(crate) fn hole(self, flags: u16, cookie: u64, at: u64, len: u32) -> Self {
        self.chunk(flags, 2, cookie, &[&at.to_be_bytes()[..], &len.to_be_bytes()].concat())
    }

    pub(crate) fn failure(self, flags: u16, cookie: u64, code: u32, message: &str) -> Self {
        let len = (message.len() as u16).to_be_bytes();
        self.chunk(flags, 1 << 15 | 1, cookie, &[&code.to_be_bytes(), &len[..], message.as_bytes()].concat())
    }

    pub(crate) fn extents(self, flags: u16, cookie: u64, id: u32, extents: &[(u32, u32)]) -> Self {
        let numbers = extents.iter().flat_map(|&(len, state)| [len, state]);
        let bytes: Vec<u8> = std::iter::once(id).chain(numbers).flat_map(u32::to_be_bytes).collect();
        self.chunk(flags, 5, cookie, &bytes)
    }

    pub(crate) fn simple_reply(self, cookie: u64, code: u32, data: &[u8]) -> Self {
        self.raw(&[0x6744_6698, code].map(u32::to_be_bytes).concat()).raw(&cookie.to_be_bytes()).raw(data)
    }
}

/// A server that says its lines to the first one who connects, and hears that one out.
pub(crate) struct Liar {
    directory: TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    /// Says nothing more after its lines.
    pub(crate) fn saying(said: Said) -> Self {
        Self::doing(move |mut stream| {
            if stream.write_all(&said.0).is_ok() {
                let _ = stream.shutdown(Shutdown::Write);
            }
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }

    pub(crate) fn doing(act: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let thread = std::thread::spawn(move || act(listener.accept().unwrap().0));
        Self { directory, thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        // Whoever never connected leaves it waiting.
        let _ = UnixStream::connect(self.socket());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
