//! The data plane of Cairn: what a block is, where it lies, and how it is read back.
//!
//! Knows nothing of Node, N-API or FUSE. Rooms, lowest rank first (a room uses lower ones only,
//! errors apart):
//!
//! 1. [`units`], [`bits`], [`random`], [`digest`], [`codec`], [`io`], [`revision`]
//! 2. [`job`], [`record`], [`text`], [`probe`]
//! 3. [`map`], [`segment`], [`source`], [`window`]
//! 4. [`manifest`], [`records`], [`dedup`], [`condemned`], [`damaged`]
//! 5. [`disk`]
//! 6. [`write`], [`image`], [`retire`], [`trace`]
//! 7. [`compare`], [`heal`], [`collect`], [`newer`], [`salvage`]
//! 8. [`backup`], [`doctor`], [`restore`], [`scrub`]
//!
//! Every byte that comes from a disk, a stream or a repository is foreign: decoders are total, and
//! nothing is returned before its digest was checked.

pub mod backup;
pub mod bits;
pub mod codec;
pub mod collect;
pub mod compare;
pub mod condemned;
pub mod damaged;
pub mod dedup;
pub mod digest;
pub mod disk;
pub mod doctor;
pub mod error;
pub mod heal;
pub mod image;
pub mod io;
pub mod job;
pub mod manifest;
pub mod map;
pub mod newer;
pub mod probe;
pub mod random;
pub mod record;
pub mod records;
pub mod restore;
pub mod retire;
pub mod revision;
pub mod salvage;
pub mod scrub;
pub mod segment;
pub mod source;
pub mod text;
pub mod trace;
pub mod units;
pub mod window;
pub mod write;

pub use error::{Damage, Error, Result};
