//! Reading an export of an NBD server over a unix socket: a QEMU disk, a bitmap of what changed in it, an
//! RBD image behind qemu-nbd (doc/proto.md of NetworkBlockDevice/nbd).
//!
//! Spoken is what such servers speak: the fixed newstyle handshake with `NBD_OPT_GO`, structured replies,
//! simple ones where a server knows no others, block status with `base:allocation` and a dirty bitmap of
//! QEMU. Not spoken: TLS, TCP, the old handshakes, writing, extended headers.
//!
//! The server is not trusted. Every magic, cookie, kind, flag, length, offset and count is checked, each byte
//! of a read comes exactly once, nothing is allocated by a length that the server gives beyond a few
//! KiB, and nothing is waited for without end. Whatever is not as it must be ends the connection.

mod client;
mod dirty;
mod error;
mod handshake;
mod pool;
mod socket;
mod source;
mod wire;

pub use client::{Client, Context};
pub use error::NbdError;
pub use handshake::Export;
pub use socket::Patience;
pub use source::NbdSource;
pub use wire::Wire;
