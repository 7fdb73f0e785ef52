//! Refuses targets that must not be overwritten, or not without a person having looked at what would
//! be lost: the same rules as in `cairn restore`, as far as a bare system lets them be checked.
//!
//! A device is held exclusively from before it is looked at until it is written, so what was shown is
//! what is overwritten.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cairn_core::probe::{self, Survey, is_same_code, visible};
use cairn_core::restore::{Identity, Target};
use cairn_core::source::PathSource;
use cairn_core::units::format_bytes;

use crate::arguments::Consent;
use crate::device::{Facts, Number};
use crate::failure::{Failure, Outcome, REFUSED, shown};
use crate::repository::Repository;
use crate::source_match::is_source;
use crate::target::{Place, PlaceKind};
use crate::uses;

const NAME_LEN_MAX: usize = 120;

/// What would be written.
pub(crate) struct Wish {
    /// As in “web@20261120T201500Z-k3f9 (8 GiB)”.
    pub(crate) replacement: String,
    pub(crate) size_bytes: u64,
    /// Only the partition table would be replaced.
    pub(crate) table_only: bool,
}

/// A target that may be written.
pub(crate) struct Cleared {
    pub(crate) target: Target,
    /// What was there is lost from here on, also when the restore fails.
    pub(crate) had_content: bool,
}

pub(crate) fn clear(
    repository: &Repository,
    wish: &Wish,
    place: Place,
    consent: &Consent,
) -> Outcome<Cleared> {
    refuse_inside(repository, &place)?;
    refuse_used(&place)?;
    match &place.kind {
        PlaceKind::Nothing => Ok(Cleared { target: Target::file(&place.path, false)?, had_content: false }),
        PlaceKind::File { metadata } => {
            if metadata.nlink() > 1 {
                let names = metadata.nlink();
                let why = format!(
                    "has {names} names (hard links), and what the others stand for would be overwritten, too"
                );
                return Err(refuse(&place, &why, "Remove this name first, or name another file."));
            }
            let standing = standing_of(repository, wish, &place, None)?;
            standing.clear_file(metadata.len(), consent)?;
            // What was looked at is what is written.
            let Number(major, minor) = Number::of(metadata.dev());
            let identity = Identity::File { device: (major, minor), inode: metadata.ino() };
            let target = Target::file(&place.path, true)?.require(Some(identity))?;
            Ok(Cleared { target, had_content: true })
        }
        PlaceKind::Device { facts, .. } => {
            let target = Target::device(&place.path).map_err(|error| cannot_open(&place, error))?;
            let standing = standing_of(repository, wish, &place, Some(facts))?;
            standing.clear_device(consent)?;
            Ok(Cleared { target, had_content: true })
        }
    }
}

fn refuse(place: &Place, why: &str, hint: &str) -> Failure {
    Failure::refused(format!("The target {} {why}.", shown(&place.path))).with_hint(hint)
}

/// By directories' identities, since a bind mount shows a directory by another path.
fn refuse_inside(repository: &Repository, place: &Place) -> Outcome<()> {
    let Ok(outer) = fs::metadata(&repository.dir) else { return Ok(()) };
    let is_outer = |dir: &Path| {
        fs::metadata(dir).is_ok_and(|found| found.dev() == outer.dev() && found.ino() == outer.ino())
    };
    let backing = match &place.kind {
        PlaceKind::Device { facts, .. } => facts.backing_file.as_deref(),
        _ => None,
    };
    let places = [Some(place.path.as_path()), backing];
    if places.into_iter().flatten().any(|path| path.ancestors().skip(1).any(is_outer)) {
        let why = format!("lies inside the repository {}", shown(&repository.dir));
        return Err(refuse(place, &why, "Restore to somewhere outside of it."));
    }
    Ok(())
}

fn refuse_used(place: &Place) -> Outcome<()> {
    let uses = uses::of(place);
    if uses.is_empty() {
        return Ok(());
    }
    let hint = "No option overrides this: end that use first, or choose another target.";
    Err(refuse(place, &uses.join(" and "), hint))
}

fn cannot_open(place: &Place, error: cairn_core::Error) -> Failure {
    let cairn_core::Error::Target { source, .. } = &error else { return error.into() };
    match source.raw_os_error() {
        Some(libc::EBUSY) => refuse(
            place,
            "is in use: it is mounted, swap, part of LVM or RAID, or opened by a program that wants it alone",
            "No option overrides this: end that use first (see “lsblk” and “cat /proc/mounts”), or choose another target.",
        ),
        Some(libc::EROFS) => {
            refuse(place, "is read-only", "Make it writable (blockdev --setrw), or choose another target.")
        }
        Some(libc::EACCES | libc::EPERM) => {
            Failure::failed(format!("The target {} cannot be opened: permission denied.", shown(&place.path)))
                .with_hint("Run this as root.")
        }
        _ => error.into(),
    }
}

/// What stands on a target, and what would take its place.
struct Standing {
    survey: Survey,
    code: String,
    headline: String,
    /// Disks of the repository that are backed up from it.
    source_of: Vec<String>,
    result: String,
    loss: &'static str,
}

fn standing_of(
    repository: &Repository,
    wish: &Wish,
    place: &Place,
    facts: Option<&Facts>,
) -> Outcome<Standing> {
    let source = PathSource::open(&place.path)?;
    let found = source.size_bytes();
    let needed = wish.size_bytes;
    if facts.is_some() && !wish.table_only && found < needed {
        let (has, needs) = (format_bytes(found), format_bytes(needed));
        let what = format!(
            "The target {} has {has} ({found} bytes) and the image {needs} ({needed} bytes).",
            shown(&place.path)
        );
        return Err(Failure::refused(what).with_hint("Choose a target that is at least as big."));
    }
    let survey = probe::survey(&source, found);
    let serial = facts.and_then(|facts| facts.serial.as_deref());
    let mut about = vec![format_bytes(found)];
    if let Some(facts) = facts {
        about.extend(facts.model.as_ref().map(|model| visible(model, NAME_LEN_MAX)));
        about.extend(serial.map(|serial| format!("serial {}", visible(serial, NAME_LEN_MAX))));
        about.extend(facts.backing_file.as_ref().map(|file| format!("backed by {}", shown(file))));
    }
    let disk_id = facts.and(survey.table.as_ref()).map(|table| table.disk_id.clone());
    Ok(Standing {
        code: survey.code(found, serial),
        headline: format!("{} ({})", shown(&place.path), about.join(", ")),
        source_of: disks_read_from(repository, place, disk_id.as_deref())?,
        result: if wish.table_only {
            format!(
                "Its partition table would be replaced by that of {}; nothing else would be touched.",
                wish.replacement
            )
        } else {
            format!("It would be overwritten by {}.", wish.replacement)
        },
        loss: if wish.table_only { "" } else { "All of it would be lost. " },
        survey,
    })
}

/// Disks whose last revision was read from the target.
fn disks_read_from(repository: &Repository, place: &Place, disk_id: Option<&str>) -> Outcome<Vec<String>> {
    let is_read_from = |name: &String| {
        // One damaged disk must not keep all others from being restored.
        let rows = repository.disk(name).and_then(|disk| repository.revisions(&disk));
        rows.is_ok_and(|rows| rows.all.last().is_some_and(|row| is_source(place, &row.manifest, disk_id)))
    };
    Ok(repository.disks()?.all.into_iter().filter(is_read_from).collect())
}

impl Standing {
    fn clear_file(&self, size_bytes: u64, consent: &Consent) -> Outcome<()> {
        self.check_expected(consent)?;
        if !self.source_of.is_empty() {
            return self.demand_code(consent);
        }
        if size_bytes == 0 || consent.overwrite {
            return Ok(());
        }
        Err(Failure::refused(format!("{} exists and is not empty.", self.headline))
            .with_hint("Give --overwrite to replace it, or name another file."))
    }

    fn clear_device(&self, consent: &Consent) -> Outcome<()> {
        self.check_expected(consent)?;
        if self.survey.has_content() || !self.source_of.is_empty() {
            return self.demand_code(consent);
        }
        if consent.yes || consent.expect.is_some() || !can_ask() {
            return Ok(());
        }
        let answer = ask(&format!("{}\nType yes to go on: ", self.report()))?;
        if answer.trim().eq_ignore_ascii_case("yes") {
            return Ok(());
        }
        Err(Failure::refused("Nothing was written: it was not confirmed."))
    }

    fn check_expected(&self, consent: &Consent) -> Outcome<()> {
        match &consent.expect {
            Some(expected) if !is_same_code(expected, &self.code) => Err(self.refused(&format!(
                "The code {} is not the one of what stands there now; nothing was written.",
                visible(expected, NAME_LEN_MAX)
            ))),
            _ => Ok(()),
        }
    }

    fn demand_code(&self, consent: &Consent) -> Outcome<()> {
        if !consent.overwrite {
            return Err(self.refused("Nothing was written: --overwrite was not given."));
        }
        // That it is the right one was checked already.
        if consent.expect.is_some() {
            return Ok(());
        }
        if !can_ask() {
            return Err(self.refused("Nothing was written: nobody confirmed that this may be lost."));
        }
        let question = format!("{}\n{}Type {} to go on: ", self.report(), self.loss, self.code);
        if is_same_code(&ask(&question)?, &self.code) {
            return Ok(());
        }
        Err(Failure::new(REFUSED, "Nothing was written: the code was not typed."))
    }

    fn refused(&self, why: &str) -> Failure {
        let flags = format!("--overwrite --expect {}", self.code);
        Failure::refused(format!("{}\n{why}", self.report()))
            .with_hint(format!("If all of that may be lost, give {flags}"))
    }

    fn report(&self) -> String {
        let content = self.survey.lines();
        let holds = if content.is_empty() { "holds nothing that is known here." } else { "holds:" };
        let mut lines = vec![format!("{} {holds}", self.headline)];
        lines.extend(content.iter().map(|line| format!("  {line}")));
        for disk in &self.source_of {
            lines.push(format!(
                "Disk “{disk}” is backed up from it, or from something with the same identity."
            ));
        }
        lines.push(self.result.clone());
        lines.join("\n")
    }
}

fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn ask(question: &str) -> Outcome<String> {
    let _ = write!(io::stderr(), "{question}");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::of_system("The answer cannot be read", &error))?;
    Ok(answer)
}
