//! What a backup does to be believed: it compares a random part of the new revision with the source,
//! and mends earlier revisions where it has stored again what they had lost.

use crate::compare::{self, Coverage};
use crate::damaged::Damaged;
use crate::disk::{Disk, DiskLock};
use crate::error::{Error, Result};
use crate::heal;
use crate::image::Image;
use crate::job::Control;
use crate::manifest::{Comparison, Consistency, Trust, Verdict};
use crate::source::Witness;
use crate::write::Known;

use super::Source;

/// The part of a new revision that is compared with its source.
const SHARE: f64 = 0.03;
/// Of each, data and holes, that are compared where only changes were read, whatever the size of the disk.
const PIECES: u64 = 32;

/// Compares, and says what that is worth. `said` is what the caller knows of the source. What keeps it from being finished is a reason to know
/// nothing, not a reason for the backup to fail.
///
/// # Errors
/// `Cancelled`.
pub(super) fn compare(
    image: &Image,
    source: &Source,
    witness: Option<&Witness>,
    said: Option<Consistency>,
    threads: usize,
    control: &Control,
) -> Result<Comparison> {
    let original = match source.comparable() {
        Ok(original) => original,
        Err(why) => return Ok(unverified(why.to_owned())),
    };
    let is_still = said.is_some_and(|said| said.satisfies(Consistency::Snapshot));
    let coverage = match source {
        Source::Block(_) | Source::Stream(_) => Coverage::Share(SHARE),
        Source::Changes { .. } | Source::Diff { .. } => Coverage::Pieces(PIECES),
    };
    let compared = compare::run(image, original, coverage, threads, control);
    // Whoever watches has seen all of the disk read.
    control.set_total(Some(image.geometry().size_bytes()));
    control.set_done(image.geometry().size_bytes());
    let compared = match compared {
        Ok(compared) => compared,
        Err(Error::Cancelled) => return Err(Error::Cancelled),
        // Damage of what was written a moment ago.
        Err(error @ (Error::Corrupt { .. } | Error::NotFound { .. })) => {
            return Ok(Comparison { verdict: Verdict::Failed, ..unverified(error.to_string()) });
        }
        Err(error) => return Ok(unverified(format!("the comparison did not come to its end: {error}"))),
    };
    let (verdict, reason) = if compared.differing_bytes == 0 {
        (Verdict::Passed, None)
    // A diff leads to a snapshot, which never changes.
    } else if matches!(source, Source::Diff { .. }) || original.nothing_wrote(witness, is_still) {
        let reason = "it differs from its source, to which nothing wrote meanwhile";
        (Verdict::Failed, Some(reason.to_owned()))
    } else {
        let reason = "the source was written to while it was read, so differences tell nothing";
        (Verdict::Unverified, Some(reason.to_owned()))
    };
    Ok(Comparison {
        verdict,
        checked_bytes: compared.checked_bytes,
        differing_bytes: compared.differing_bytes,
        reason,
    })
}

fn unverified(reason: String) -> Comparison {
    Comparison { verdict: Verdict::Unverified, checked_bytes: 0, differing_bytes: 0, reason: Some(reason) }
}

/// What a person should read of it: failures, and comparisons that broke off.
pub(super) fn say(comparison: &Comparison) -> Option<String> {
    let reason = comparison.reason.as_deref()?;
    match comparison.verdict {
        Verdict::Failed => Some(format!(
            "the revision was compared with its source and did not pass ({reason}), so it is marked distrusted"
        )),
        Verdict::Unverified if reason.starts_with("the comparison") => Some(reason.to_owned()),
        Verdict::Unverified | Verdict::Passed => None,
    }
}

/// A revision that is known to be wrong is kept, since most of it may be right, but never taken for
/// good.
pub(super) fn trust_after(comparison: Option<&Comparison>) -> Trust {
    match comparison.map(|comparison| comparison.verdict) {
        Some(Verdict::Failed) => Trust::Distrusted,
        _ => Trust::Trusted,
    }
}

/// Mends records that this backup passed over and whose content it may have stored again. The
/// revision is committed by then, so what goes wrong here is only told. Returns the records mended.
pub(super) fn heal(disk: &Disk, lock: &DiskLock, known: &Known, warnings: &mut Vec<String>) -> u64 {
    if !known.met_damage() {
        return 0;
    }
    let healed = note(disk, &known.found_damaged()).and_then(|()| heal::run(disk, lock, &Control::default()));
    match healed {
        Ok(healed) => {
            warnings.extend(healed.warnings);
            healed.records
        }
        Err(error) => {
            warnings.push(format!(
                "what earlier revisions had lost is stored again, but it could not be given back to them: {error}"
            ));
            0
        }
    }
}

/// Puts what did not read back on the disk's list of damaged records.
fn note(disk: &Disk, found: &Damaged) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let (files, path) = (&**disk.files(), disk.paths().damaged());
    let mut list = match Damaged::read(files, &path) {
        Err(Error::Corrupt { .. }) => Damaged::default(),
        other => other?,
    };
    list.merge(found);
    list.write(files, &path)
}
