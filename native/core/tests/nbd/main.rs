//! Exports of NBD servers as sources: those of QEMU, and one that lies.
//!
//! A test that lacks a tool says so in one line and passes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "an integration test is test code throughout; clippy.toml allows this within #[test] alone"
)]

mod backups;
mod hostile;
mod lab;
mod qemu;
mod said;
