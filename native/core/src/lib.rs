//! The data plane of Cairn: what a block is, where it lies, and how it is read back.
//!
//! Knows nothing of Node, N-API or FUSE. Rooms, lowest rank first: `units`, `io`, `probe`.
//! Every byte that comes from a disk or a repository is foreign: decoders are total.

pub mod io;
pub mod probe;
pub mod units;
