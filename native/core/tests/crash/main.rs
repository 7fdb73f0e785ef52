//! What is left after a crash or a fault at every single operation of a backup, on files in memory
//! that are as unkind as POSIX allows (`cairn_core::io::SimulatedFiles`).

#![expect(
    clippy::unwrap_used,
    reason = "an integration test is test code throughout; clippy.toml allows this within #[test] alone"
)]

mod backup;
mod collect;
mod damaged;
mod doctor;
mod lab;
mod scrub;
