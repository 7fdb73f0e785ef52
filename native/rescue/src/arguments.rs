//! What was typed.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::failure::{Failure, Outcome};
use crate::repository;

const NAME_LEN_MAX: usize = 120;

pub(crate) struct Request {
    /// The repository's directory, if one was named.
    pub(crate) repository: Option<PathBuf>,
    pub(crate) command: Command,
}

pub(crate) enum Command {
    Help,
    Version,
    List { disk: Option<String> },
    Restore { revision: String, target: PathBuf, consent: Consent, manner: Manner },
    Cat { revision: String, manner: Manner },
    Verify { what: Option<String> },
}

/// What is to be restored of a revision, and how.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// Only the partition of this number.
    pub(crate) partition: Option<u32>,
    /// Only this logical volume, as `group/name`.
    pub(crate) volume: Option<String>,
    /// Only the partition table.
    pub(crate) table_only: bool,
    /// Reads the target first and writes what differs.
    pub(crate) differential: bool,
    /// The target holds an earlier state of the disk.
    pub(crate) keeps_lost: bool,
    /// Reads back what was written.
    pub(crate) verify: bool,
    /// Goes on where something cannot be read.
    pub(crate) keep_going: bool,
}

/// What somebody said beforehand may happen to the target.
#[derive(Debug, Default)]
pub(crate) struct Consent {
    /// What is there may be replaced.
    pub(crate) overwrite: bool,
    /// The code of what stands there.
    pub(crate) expect: Option<String>,
    /// Answers plain questions with yes; the code is never one.
    pub(crate) yes: bool,
}

pub(crate) fn parse() -> Outcome<Request> {
    parse_from(lexopt::Parser::from_env())
}

fn parse_from(mut parser: lexopt::Parser) -> Outcome<Request> {
    let mut repository = None;
    let mut given = Given::default();
    let mut words: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Request { repository, command: Command::Help }),
            Short('V') | Long("version") => return Ok(Request { repository, command: Command::Version }),
            Short('r') | Long("repository") => repository = Some(PathBuf::from(parser.value()?)),
            Long(name) => {
                let name = name.to_owned();
                given.take(&name, &mut parser)?;
            }
            Value(word) => words.push(word),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut words = words.into_iter().peekable();
    // A repository may be named without an option; a command is never taken for one.
    if repository.is_none() && words.peek().is_some_and(|word| !is_command(word)) {
        repository = words.next_if(looks_like_directory).map(PathBuf::from);
    }
    let Some(verb) = words.next() else {
        return Ok(Request { repository, command: Command::Help });
    };
    let verb = text(verb, "command")?;
    let command = command(&verb, &mut words, given)?;
    if let Some(rest) = words.next() {
        return Err(Failure::usage(format!("“{}” is one word too many.", rest.to_string_lossy())));
    }
    Ok(Request { repository, command })
}

/// Options of the commands that restore.
#[derive(Default)]
struct Given {
    consent: Consent,
    manner: Manner,
    /// Those that were given and that only `restore` knows, and only it and `cat`.
    of_restore: Option<String>,
    of_both: Option<String>,
}

impl Given {
    fn take(&mut self, name: &str, parser: &mut lexopt::Parser) -> Outcome<()> {
        let Self { consent, manner, .. } = self;
        match name {
            "overwrite" => consent.overwrite = true,
            "expect" => consent.expect = Some(parser.value()?.string()?),
            "yes" => consent.yes = true,
            "partition" => manner.partition = Some(parser.value()?.parse()?),
            "volume" => manner.volume = Some(parser.value()?.string()?),
            "partition-table" => manner.table_only = true,
            "resume" => manner.differential = true,
            "differential" => (manner.differential, manner.keeps_lost) = (true, true),
            "verify" => manner.verify = true,
            "keep-going" => manner.keep_going = true,
            other => return Err(Failure::usage(format!("There is no option --{other}."))),
        }
        let is_of_both = matches!(name, "partition" | "volume" | "keep-going");
        let noted = if is_of_both { &mut self.of_both } else { &mut self.of_restore };
        *noted = Some(format!("--{name}"));
        Ok(())
    }

    fn refuse(option: Option<String>, owner: &str) -> Outcome<()> {
        option.map_or(Ok(()), |option| Err(Failure::usage(format!("{option} belongs to {owner}."))))
    }
}

fn command(verb: &str, words: &mut dyn Iterator<Item = OsString>, given: Given) -> Outcome<Command> {
    if verb != "restore" {
        Given::refuse(given.of_restore, "“restore”")?;
    }
    if verb != "restore" && verb != "cat" {
        Given::refuse(given.of_both, "“restore” and “cat”")?;
    }
    let (consent, manner) = (given.consent, given.manner);
    let mut word = |what: &'static str| words.next().map(|word| text(word, what)).transpose();
    let missing = |what: &str| Failure::usage(format!("“{verb}” wants {what}."));
    match verb {
        "help" => Ok(Command::Help),
        "list" => Ok(Command::List { disk: word("disk")? }),
        "verify" => Ok(Command::Verify { what: word("revision")? }),
        "cat" => {
            let revision = word("revision")?.ok_or_else(|| missing("a revision, such as web@latest"))?;
            Ok(Command::Cat { revision, manner })
        }
        "restore" => {
            let both = "a revision, such as web@latest, and a target";
            let revision = word("revision")?.ok_or_else(|| missing(both))?;
            let target = "a target: a file, a device, or - for standard output";
            let target = words.next().ok_or_else(|| missing(target))?;
            Ok(Command::Restore { revision, target: target.into(), consent, manner })
        }
        other => Err(Failure::usage(format!(
            "“{}” is neither a command nor the directory of a repository.",
            cairn_core::probe::visible(other, NAME_LEN_MAX)
        ))),
    }
}

fn is_command(word: &OsString) -> bool {
    ["help", "list", "verify", "cat", "restore"].iter().any(|verb| word == verb)
}

fn looks_like_directory(word: &OsString) -> bool {
    let path = PathBuf::from(word);
    repository::is_repository(&path) || path.components().count() > 1 || path.is_dir()
}

fn text(word: OsString, what: &str) -> Outcome<String> {
    word.into_string().map_err(|word| Failure::usage(format!("{word:?} cannot be a {what}.")))
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Failure::usage(format!("This is not how it is called: {error}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Outcome<Request> {
        parse_from(lexopt::Parser::from_args(words))
    }

    #[test]
    fn a_repository_may_be_named_before_the_command_or_by_an_option() {
        for words in [["/backup/x", "list", "web"], ["list", "web", "-r/backup/x"]] {
            let request = parsed(&words).unwrap();
            assert_eq!(request.repository, Some("/backup/x".into()));
            assert!(matches!(request.command, Command::List { disk: Some(disk) } if disk == "web"));
        }
        assert!(parsed(&["list"]).unwrap().repository.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong: [&[&str]; 9] = [
            &["lst"],
            &["restore", "web"],
            &["cat"],
            &["list", "web", "mail"],
            &["verify", "--overwrite"],
            &["restore", "web", "/t", "--force"],
            &["list", "-r"],
            &["cat", "web", "--verify"],
            &["restore", "web", "/t", "--partition", "two"],
        ];
        for words in wrong {
            assert_eq!(
                parsed(words).err().map(|failure| failure.exit),
                Some(crate::failure::USAGE),
                "{words:?}"
            );
        }
        assert!(matches!(parsed(&[]).unwrap().command, Command::Help));
        assert!(matches!(parsed(&["restore", "--help"]).unwrap().command, Command::Help));
    }
}
