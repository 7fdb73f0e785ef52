//! Errors as JavaScript sees them: a code out of a closed list and a sentence.
//!
//! Promises of N-API carry no code of ours, so every message is `CODE: sentence`, and
//! `src/native/errors.ts` takes it apart again. Exported functions spell `napi::Result` out, because the
//! macro knows a result by that name alone and would return errors as values otherwise.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cairn_core::Error;
use napi_derive::napi;

/// The codes, as `src/base/errors.ts` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Cancelled,
    Corrupt,
    FormatTooNew,
    Internal,
    InvalidArgument,
    Io,
    Locked,
    MountFailed,
    NotFound,
    NoSpace,
    ReadOnly,
    SourceFailed,
    SourceShort,
    TargetFailed,
    TargetTooSmall,
}

const ALL: [Code; 15] = [
    Code::Cancelled,
    Code::Corrupt,
    Code::FormatTooNew,
    Code::Internal,
    Code::InvalidArgument,
    Code::Io,
    Code::Locked,
    Code::MountFailed,
    Code::NotFound,
    Code::NoSpace,
    Code::ReadOnly,
    Code::SourceFailed,
    Code::SourceShort,
    Code::TargetFailed,
    Code::TargetTooSmall,
];

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        match self {
            Code::Cancelled => "CANCELLED",
            Code::Corrupt => "CORRUPT",
            Code::FormatTooNew => "FORMAT_TOO_NEW",
            Code::Internal => "INTERNAL",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::Io => "IO",
            Code::Locked => "LOCKED",
            Code::MountFailed => "MOUNT_FAILED",
            Code::NotFound => "NOT_FOUND",
            Code::NoSpace => "NO_SPACE",
            Code::ReadOnly => "READ_ONLY",
            Code::SourceFailed => "SOURCE_FAILED",
            Code::SourceShort => "SOURCE_SHORT",
            Code::TargetFailed => "TARGET_FAILED",
            Code::TargetTooSmall => "TARGET_TOO_SMALL",
        }
    }
}

/// Every code that the addon can raise, for the test that holds both lists equal.
#[napi]
pub fn error_codes() -> Vec<String> {
    ALL.iter().map(|code| code.as_ref().to_owned()).collect()
}

/// Runs `operation`, mapping its error and any panic.
pub(crate) fn guarded<T>(operation: impl FnOnce() -> cairn_core::Result<T>) -> napi::Result<T> {
    caught(|| operation().map_err(|error| failure(&error)))
}

/// Runs `operation`, whose errors are JavaScript's already, mapping any panic.
pub(crate) fn caught<T>(operation: impl FnOnce() -> napi::Result<T>) -> napi::Result<T> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|_| {
        Err(with_code(Code::Internal, "the core stopped unexpectedly; this is a fault in cairn"))
    })
}

pub(crate) fn failure(error: &Error) -> napi::Error {
    with_code(code_of(error), &error.to_string())
}

/// Mounting failed, with what the system said.
pub(crate) fn mount_failure(error: &cairn_fuse::MountError) -> napi::Error {
    with_code(Code::MountFailed, &error.to_string())
}

fn with_code(code: Code, sentence: &str) -> napi::Error {
    napi::Error::from_reason(format!("{}: {sentence}", code.as_ref()))
}

fn code_of(error: &Error) -> Code {
    match error {
        Error::Io { source, .. } => code_of_system(source, Code::Io),
        Error::Corrupt { .. } | Error::Unmarked(_) => Code::Corrupt,
        Error::TooNew { .. } => Code::FormatTooNew,
        Error::Locked { .. } => Code::Locked,
        Error::NotFound { .. } => Code::NotFound,
        Error::InvalidArgument(_) => Code::InvalidArgument,
        Error::Source { .. }
        | Error::SourceLong { .. }
        | Error::Restless { .. }
        | Error::Diff { .. }
        | Error::Nbd { .. } => Code::SourceFailed,
        Error::SourceShort { .. } | Error::SourceEmpty { .. } => Code::SourceShort,
        Error::Target { source, .. } => code_of_system(source, Code::TargetFailed),
        Error::TargetDiffers { .. } => Code::TargetFailed,
        Error::Damaged { source, .. } => code_of(source),
        Error::TargetTooSmall { .. } => Code::TargetTooSmall,
        Error::Cancelled => Code::Cancelled,
        Error::Worker => Code::Internal,
    }
}

fn code_of_system(error: &std::io::Error, otherwise: Code) -> Code {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::NoSpace,
        ErrorKind::ReadOnlyFilesystem => Code::ReadOnly,
        _ => otherwise,
    }
}
