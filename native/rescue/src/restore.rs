//! `restore <disk[@revision]> <target>` and `cat <disk[@revision]>`

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use cairn_core::manifest::Manifest;
use cairn_core::restore::{self as core_restore, Copies, Options, Restored, Stage, Target};
use cairn_core::units::format_bytes;

use crate::arguments::{Consent, Manner};
use crate::expression::{self, Chosen};
use crate::failure::{DAMAGED, Failure, Outcome, USAGE, shown};
use crate::guard::{self, Cleared, Wish};
use crate::job;
use crate::part::{self, Part};
use crate::repository::Repository;
use crate::target;

const PARTS_SHOWN_MAX: usize = 50;

/// Gives the exit code: 5 where something could not be read and was left out.
pub(crate) fn run(
    repository: &Repository,
    expression: &str,
    to: &Path,
    consent: &Consent,
    manner: &Manner,
) -> Outcome<u8> {
    if to == Path::new("-") {
        return cat(repository, expression, manner);
    }
    let chosen = expression::resolve(repository, expression)?;
    let part = part::choose(&chosen.row.manifest, manner)?;
    let name = format!("{}{}", part.title, chosen.name());
    let wish = Wish {
        replacement: format!("{name} ({})", format_bytes(part.window.size())),
        size_bytes: part.window.size(),
        table_only: manner.table_only,
    };
    let Cleared { target, had_content } = guard::clear(repository, &wish, target::look_at(to)?, consent)?;
    let began = Instant::now();
    let restored = write(repository, &chosen, &part, target, manner).map_err(|failure| {
        let left = format!("{} may hold a part of it only: restore to it again, with --resume.", shown(to));
        let on = if failure.exit == DAMAGED { " With --keep-going all the rest is restored." } else { "" };
        if had_content { failure.with_hint(format!("{left}{on}")) } else { failure.or_hint(on.trim()) }
    })?;
    if manner.table_only {
        crate::say(&format!(
            "The partition table of {name} was written to {}; nothing else was touched.",
            shown(to)
        ));
    } else {
        crate::say(&format!("{name} restored to {}: {}", shown(to), summary(&restored, began)));
    }
    tell_tail(&restored, to);
    Ok(tell_damage(&restored, &chosen.row.manifest))
}

/// To standard output.
pub(crate) fn cat(repository: &Repository, expression: &str, manner: &Manner) -> Outcome<u8> {
    if manner.table_only || manner.differential || manner.verify {
        return Err(Failure::usage(
            "Standard output cannot be read back, so neither be compared nor verified.",
        ));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::new(USAGE, "A disk image is not written to a terminal.")
            .with_hint("Redirect it: cairn-rescue cat … > disk.img, or pipe it into another program."));
    }
    let chosen = expression::resolve(repository, expression)?;
    let part = part::choose(&chosen.row.manifest, manner)?;
    let out = io::stdout().as_fd().try_clone_to_owned();
    let out = out.map_err(|error| Failure::of_system("Standard output cannot be used", &error))?;
    let restored = write(repository, &chosen, &part, Target::stream(out), manner)?;
    Ok(tell_damage(&restored, &chosen.row.manifest))
}

/// The one place that calls the core's restore.
fn write(
    repository: &Repository,
    chosen: &Chosen,
    part: &Part,
    target: Target,
    manner: &Manner,
) -> Outcome<Restored> {
    let image = repository.image(&chosen.disk, &chosen.row.manifest.revision)?;
    let copies = Copies { source: None, disks: repository.disk_dirs(&chosen.disk_name)? };
    let options = Options {
        threads: 0,
        differential: manner.differential,
        verify: manner.verify,
        keep_going: manner.keep_going,
        keeps_lost: manner.keeps_lost,
        stage: Stage::Whole,
        copies,
    };
    Ok(job::run(&chosen.name(), |control| {
        if manner.table_only {
            return core_restore::run_table(&image, &target, control);
        }
        core_restore::run(&image, &part.window, target, &options, control)
    })?)
}

fn summary(restored: &Restored, began: Instant) -> String {
    let mut parts = vec![format!("{} written", format_bytes(restored.written_bytes))];
    let others = [
        (restored.compared_bytes, "compared"),
        (restored.skipped_bytes, "left as holes"),
        (restored.discarded_bytes, "discarded"),
        (restored.verified_bytes, "read back and right"),
    ];
    let others = others.into_iter().filter(|(bytes, _)| *bytes > 0);
    parts.extend(others.map(|(bytes, what)| format!("{} {what}", format_bytes(bytes))));
    parts.push(format!("{:.1} s", began.elapsed().as_secs_f64()));
    parts.join(", ")
}

fn tell_tail(restored: &Restored, to: &Path) {
    if restored.tail_bytes > 0 {
        let stale = if restored.has_stale_table {
            " In it lies the backup of an older partition table: the same command with --partition-table puts the right one there."
        } else {
            ""
        };
        let beyond = format_bytes(restored.tail_bytes);
        crate::say(&format!(
            "{} has {beyond} beyond the end, which were left as they are.{stale}",
            shown(to)
        ));
    }
    if restored.kernel_sees_old_table {
        crate::say(
            "The kernel still sees the old partitions, since one is in use: “partprobe”, or start anew.",
        );
    }
}

/// What is missing is told in bytes of the image.
fn tell_damage(restored: &Restored, manifest: &Manifest) -> u8 {
    let recovered: u64 = restored.recovered.values().sum();
    if recovered > 0 {
        let bytes = format_bytes(recovered);
        crate::say(&format!("{bytes} in damaged blocks were found elsewhere, and are right."));
    }
    if restored.damaged_bytes == 0 {
        return 0;
    }
    let lost = format_bytes(restored.damaged_bytes);
    crate::say(&format!("{lost} could not be read, and no copy was found:"));
    for part in restored.damaged.iter().take(PARTS_SHOWN_MAX) {
        let (first, end) = (part.image_offset, part.image_offset.saturating_add(part.len));
        let now = if part.kept { "as they were before" } else { "zeros" };
        let place = part::place_of(&manifest.layout, first);
        crate::say(&format!("  bytes {first} to {end}{place} are {now}"));
    }
    if let more @ 1.. = restored.damaged.len().saturating_sub(PARTS_SHOWN_MAX) {
        crate::say(&format!("  and {more} more places; “cairn-rescue verify” lists all"));
    }
    DAMAGED
}
