//! `cairn-rescue`: gets data back out of a repository with nothing but its directory. One static
//! program, without Node, catalog or configuration, that works on read-only media and where neither
//! /proc nor /sys is mounted.
//!
//! It never writes to the repository ([`files`] has no way to), and takes all of it for hostile. What
//! it says is meant for a person who has never seen Cairn and has no time to read about it.

mod arguments;
mod device;
mod expression;
mod failure;
mod files;
mod guard;
mod help;
mod job;
mod list;
mod part;
mod progress;
mod repository;
mod restore;
mod source_match;
mod target;
mod uses;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Command, Request};
use failure::{Failure, Outcome};
use repository::Repository;

fn main() -> ExitCode {
    let asked = arguments::parse().and_then(run);
    match asked {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit)
        }
    }
}

/// Gives the exit code of what was done, where that may be another than 0.
fn run(request: Request) -> Outcome<u8> {
    let command = match request.command {
        Command::Help => return print(help::TEXT).map(|()| 0),
        Command::Version => {
            return print(concat!("cairn-rescue ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| 0);
        }
        other => other,
    };
    let repository = Repository::find(request.repository)?;
    match command {
        Command::List { disk } => list::run(&repository, disk.as_deref()),
        Command::Restore { revision, target, consent, manner } => {
            restore::run(&repository, &revision, &target, &consent, &manner)
        }
        Command::Cat { revision, manner } => restore::cat(&repository, &revision, &manner),
        Command::Verify { what } => verify::run(&repository, what.as_deref()),
        Command::Help | Command::Version => Ok(0),
    }
}

/// The result, and nothing else, goes to standard output.
fn print(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::failed(format!("Writing to standard output failed: {error}."))),
        Ok(()) => Ok(()),
    }
}

/// Everything else goes to standard error; where that is closed, nobody listens.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
