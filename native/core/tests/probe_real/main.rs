//! The survey against disks that real tools made, compared with what those tools say of them.
//!
//! A test that lacks a tool or the rights for a loop device says so in one line and passes.

mod journals;
mod lab;
mod superblocks;
mod tables;
mod volumes;
