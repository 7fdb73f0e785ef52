//! N-API bindings of the store: convert, dispatch, map errors. No logic lives here.
//!
//! Long operations run on a thread of their own and are polled ([`jobs`], [`restores`]); short ones that do I/O
//! run on Node's thread pool ([`images`]); only small file operations run on the JavaScript thread
//! ([`disks`]). A mount is served by threads of its own, which call into JavaScript for a directory
//! that nobody has looked into yet ([`mounts`]). Every function catches panics and gives `INTERNAL` for them.

#![allow(unreachable_pub, reason = "what JavaScript reaches looks unreachable from Rust")]

mod disks;
mod errors;
mod exports;
mod images;
mod jobs;
mod mounts;
mod pool;
mod restores;
