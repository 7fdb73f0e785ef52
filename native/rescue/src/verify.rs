//! `verify [disk[@revision]]`: reads what is stored and checks it. What is damaged is told in bytes of
//! the images, which is what somebody who needs one wants to know.

use cairn_core::disk::Disk;
use cairn_core::probe::visible;
use cairn_core::revision::RevisionId;
use cairn_core::scrub::{self, ScrubParams, Scrubbed};
use cairn_core::units::format_bytes;

use crate::expression;
use crate::failure::{DAMAGED, Failure, Outcome};
use crate::job;
use crate::repository::Repository;

const WARNING_LEN_MAX: usize = 1000;

/// Gives the exit code: 5 where something is damaged.
pub(crate) fn run(repository: &Repository, what: Option<&str>) -> Outcome<u8> {
    if let Some(expression) = what.filter(|what| expression::split(what).1.is_some()) {
        let chosen = expression::resolve(repository, expression)?;
        let revision = chosen.row.manifest.revision.clone();
        return verify(&chosen.disk, &chosen.disk_name, Some(revision));
    }
    let names = match what {
        Some(disk) => vec![disk.to_owned()],
        None => {
            let found = repository.disks()?;
            found.lost.iter().for_each(Failure::tell);
            found.all
        }
    };
    let mut exit = 0;
    for name in names {
        let done = repository.disk(&name).and_then(|disk| verify(&disk, &name, None));
        match done {
            Ok(code) => exit = exit.max(code),
            // One disk that cannot be read keeps the others from nothing.
            Err(failure) if what.is_none() && failure.exit == DAMAGED => {
                failure.tell();
                exit = DAMAGED;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(exit)
}

fn verify(disk: &Disk, name: &str, revision: Option<RevisionId>) -> Outcome<u8> {
    let label = revision.as_ref().map_or_else(|| name.to_owned(), |id| format!("{name}@{id}"));
    let lost = if revision.is_some() { 0 } else { tell_lost_manifests(disk)? };
    let params = ScrubParams { revision, share: 1.0, threads: 0 };
    let scrubbed = job::run(&label, |control| {
        let suspicion = scrub::read(disk, &params, control)?;
        scrub::settle(disk, None, suspicion, control)
    })?;
    for warning in &scrubbed.warnings {
        crate::say(&format!("{}.", visible(warning, WARNING_LEN_MAX)));
    }
    let is_sound = lost == 0 && scrubbed.records_damaged == 0 && scrubbed.damaged.is_empty();
    crate::print(&report(&label, name, &scrubbed, is_sound))?;
    Ok(if is_sound { 0 } else { DAMAGED })
}

/// A revision without a sound manifest cannot be restored, and what it needs is not known.
fn tell_lost_manifests(disk: &Disk) -> Outcome<usize> {
    let failed = disk.revisions()?.into_iter().filter_map(|id| disk.manifest(&id).err());
    Ok(failed.map(Failure::from).inspect(Failure::tell).count())
}

fn report(label: &str, disk: &str, scrubbed: &Scrubbed, is_sound: bool) -> String {
    let mut text = String::new();
    for extent in &scrubbed.damaged {
        let ids: Vec<String> = extent.revisions.iter().map(|id| format!("{disk}@{id}")).collect();
        let (first, end) = (extent.offset, extent.offset.saturating_add(extent.len));
        text.push_str(&format!(
            "{disk}: bytes {first} to {end} ({}) are damaged in {}\n",
            format_bytes(extent.len),
            ids.join(", ")
        ));
    }
    let read = format!("{} in {} records", format_bytes(scrubbed.checked_bytes), scrubbed.checked_records);
    let verdict = if is_sound {
        "all of it is sound".to_owned()
    } else {
        let lost: u64 = scrubbed.damaged.iter().map(|extent| extent.len).sum();
        format!("{} of images cannot be restored; the rest can", format_bytes(lost))
    };
    text.push_str(&format!("{label}: {read} read, {verdict}\n"));
    text
}
