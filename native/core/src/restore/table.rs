//! Putting a partition table back without touching anything else.

use crate::error::{Error, Result};
use crate::image::Image;
use crate::job::{Control, Phase};
use crate::probe::{TransplantError, transplant};

use super::{Restored, Target};

/// Writes the partition table of `image` to `target`, made for the target's true end: both copies of
/// a GPT with their checksums, or a master boot record with its chain. All else stays.
///
/// # Errors
/// `InvalidArgument` where the image has no table, or its sectors are not the target's;
/// `TargetTooSmall`; `Target`; `Corrupt` of the image.
pub fn run_table(image: &Image, target: &Target, control: &Control) -> Result<Restored> {
    control.enter(Phase::Writing);
    let target_bytes = target.size_bytes()?;
    let planned =
        transplant(image, image.geometry().size_bytes(), target_bytes).map_err(|error| match error {
            TransplantError::NoTable => {
                Error::InvalidArgument("the revision has no partition table that can be written again".into())
            }
            TransplantError::TooSmall { needed_bytes } => Error::TargetTooSmall {
                path: target.path().to_owned(),
                found: target_bytes,
                needed: needed_bytes,
            },
        })?;
    if let Some(sector) = target.sector_bytes().filter(|&sector| sector != planned.sector_size_bytes) {
        return Err(Error::InvalidArgument(format!(
            "the partition table counts in sectors of {} bytes and {} has sectors of {sector}, so the partitions would \
             be somewhere else",
            planned.sector_size_bytes,
            target.path().display(),
        )));
    }
    let mut restored = Restored::default();
    for (offset, bytes) in &planned.writes {
        target.write(bytes, *offset)?;
        restored.written_bytes += bytes.len() as u64;
        // The backup is whole on the medium before the primary is touched.
        target.sync_content()?;
    }
    control.enter(Phase::Syncing);
    target.sync()?;
    restored.kernel_sees_old_table = !target.show_partitions();
    control.enter(Phase::Done);
    Ok(restored)
}
