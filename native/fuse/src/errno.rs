//! Error numbers for what goes wrong, exhaustively: a new kind of error does not compile before its
//! number was thought of.

use cairn_core::Error;
use rustix::io::Errno;

/// The answer to a request that failed with `error`. A reader of a damaged range gets EIO, whatever
/// was damaged.
pub(crate) fn errno_of(error: &Error) -> Errno {
    match error {
        Error::Io { source, .. } => match Errno::from_io_error(source) {
            // The machine's limits, not the store's faults: trying again may help.
            Some(limit @ (Errno::NFILE | Errno::MFILE | Errno::NOMEM)) => limit,
            _ => Errno::IO,
        },
        Error::NotFound { .. } => Errno::NOENT,
        Error::InvalidArgument(_) => Errno::INVAL,
        Error::Locked { .. } => Errno::BUSY,
        Error::Cancelled => Errno::INTR,
        Error::Corrupt { .. }
        | Error::Unmarked(_)
        | Error::TooNew { .. }
        | Error::Source { .. }
        | Error::SourceShort { .. }
        | Error::SourceEmpty { .. }
        | Error::SourceLong { .. }
        | Error::Restless { .. }
        | Error::Diff { .. }
        | Error::Nbd { .. }
        | Error::Target { .. }
        | Error::TargetTooSmall { .. }
        | Error::TargetDiffers { .. }
        | Error::Damaged { .. }
        | Error::Worker => Errno::IO,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_store_that_fails_gives_eio_and_a_machine_at_its_limits_says_which() {
        let failed =
            |errno: Errno| Error::Io { action: "reading", path: PathBuf::from("/x"), source: errno.into() };
        assert_eq!(errno_of(&failed(Errno::STALE)), Errno::IO);
        assert_eq!(errno_of(&failed(Errno::MFILE)), Errno::MFILE);
        assert_eq!(errno_of(&Error::NotFound { path: PathBuf::new() }), Errno::NOENT);
        assert_eq!(errno_of(&Error::Worker), Errno::IO);
    }
}
