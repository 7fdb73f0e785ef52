//! The survey against disks that real tools made, compared with what those tools say of them.
//!
//! A test that lacks a tool or the rights for a loop device says so in one line and passes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "an integration test is test code throughout; clippy.toml allows this within #[test] alone"
)]

mod journals;
mod lab;
mod superblocks;
mod tables;
mod volumes;
