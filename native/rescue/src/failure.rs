//! What ends the program early: a sentence, a way out, and the exit code that Cairn has for it.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;

use cairn_core::Error;
use cairn_core::probe::visible;

pub(crate) type Outcome<T> = Result<T, Failure>;

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const NOT_FOUND: u8 = 3;
pub(crate) const LOCKED: u8 = 4;
pub(crate) const DAMAGED: u8 = 5;
pub(crate) const REFUSED: u8 = 6;
pub(crate) const NO_SPACE: u8 = 7;

/// Sentences with two long paths still are whole.
const SENTENCE_LEN_MAX: usize = 10_000;
const NAME_LEN_MAX: usize = 300;

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message).with_hint("“cairn-rescue --help” shows how it is called.")
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(REFUSED, message)
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Has one hint at least.
    pub(crate) fn or_hint(self, hint: &str) -> Self {
        let hint = self.hint.or_else(|| (!hint.is_empty()).then(|| hint.to_owned()));
        Self { hint, ..self }
    }

    /// `what` is a clause as in “/x cannot be read”.
    pub(crate) fn of_system(what: impl Display, error: &std::io::Error) -> Self {
        Self::new(exit_of_system(error), format!("{what}: {}.", reason(error)))
    }

    pub(crate) fn tell(&self) {
        crate::say(&format!("cairn-rescue: {}", self.message));
        if let Some(hint) = &self.hint {
            crate::say(hint);
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let damaged = "Nothing else is touched by it: “cairn-rescue verify” lists which bytes of which revisions are \
                       damaged, and other revisions can be restored.";
        let (exit, hint) = match &error {
            // Of all that is asked for by name, it was looked at before whether it is there.
            Error::Corrupt { .. } | Error::NotFound { .. } | Error::Damaged { .. } => {
                (DAMAGED, Some(damaged))
            }
            Error::TargetDiffers { .. } => (FAILED, Some("Do not trust that target: choose another.")),
            Error::Io { .. } if error.is_unreadable() => {
                let failing = "The medium fails there: the kernel log (dmesg) says more. Copy what can still be read \
                               before anything else is tried.";
                (DAMAGED, Some(failing))
            }
            Error::Io { source, .. } | Error::Target { source, .. } => (exit_of_system(source), None),
            Error::TooNew { .. } => {
                (FAILED, Some("A newer Cairn wrote it: use the cairn-rescue of that version."))
            }
            Error::Locked { .. } => (LOCKED, Some("Try again in a moment.")),
            Error::TargetTooSmall { .. } => (REFUSED, Some("Choose a target that is at least as big.")),
            Error::InvalidArgument(_) => (USAGE, None),
            Error::Cancelled => (crate::job::exit_of_signal(), None),
            _ => (FAILED, None),
        };
        let text = match &error {
            Error::Cancelled => "Interrupted.".to_owned(),
            other => sentence(&visible(&other.to_string(), SENTENCE_LEN_MAX)),
        };
        let failure = Self::new(exit, text);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// A path for a sentence.
pub(crate) fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy(), NAME_LEN_MAX)
}

/// A clause of the core's with a capital and a full stop; paths stay as they are.
fn sentence(clause: &str) -> String {
    let mut letters = clause.trim_end_matches('.').chars();
    let first = letters.next().map_or_else(String::new, |first| first.to_uppercase().collect());
    format!("{first}{}.", letters.as_str())
}

fn exit_of_system(error: &std::io::Error) -> u8 {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => NO_SPACE,
        _ => FAILED,
    }
}

/// What the system said, without the number that only programmers know.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.chars()
        .enumerate()
        .map(|(at, letter)| if at == 0 { letter.to_ascii_lowercase() } else { letter })
        .collect()
}
