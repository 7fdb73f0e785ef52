//! What stands at the path that a restore is to write to. Looking changes nothing.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::device::{Facts, Number};
use crate::failure::{Failure, Outcome, USAGE, shown};

pub(crate) struct Place {
    /// Absolute, without links.
    pub(crate) path: PathBuf,
    pub(crate) kind: PlaceKind,
}

pub(crate) enum PlaceKind {
    /// A file that is yet to be made.
    Nothing,
    File {
        metadata: Metadata,
    },
    Device {
        number: Number,
        facts: Facts,
    },
}

pub(crate) fn look_at(path: &Path) -> Outcome<Place> {
    let cannot =
        |error| Failure::of_system(format!("The target {} cannot be looked at", shown(path)), &error);
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return new_file(path),
        other => other.map_err(cannot)?,
    };
    let path = fs::canonicalize(path).map_err(cannot)?;
    let kind = metadata.file_type();
    if kind.is_block_device() {
        let number = Number::of(metadata.rdev());
        return Ok(Place { path, kind: PlaceKind::Device { number, facts: number.facts() } });
    }
    if kind.is_file() {
        return Ok(Place { path, kind: PlaceKind::File { metadata } });
    }
    if kind.is_dir() {
        let inside = shown(&path.join("disk.img"));
        return Err(Failure::new(USAGE, format!("The target {} is a directory.", shown(&path)))
            .with_hint(format!("Name a file in it, such as {inside}")));
    }
    Err(Failure::new(USAGE, format!("The target {} is neither a file nor a block device.", shown(&path)))
        .with_hint("For a pipe, use “cat” and redirect its output."))
}

fn new_file(path: &Path) -> Outcome<Place> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(Failure::new(USAGE, format!("The target {} is a link that leads nowhere.", shown(path)))
            .with_hint("Remove the link, or name the file itself."));
    }
    // Of a bare name the parent is empty, which is the working directory.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = fs::canonicalize(parent).map_err(|_| {
        Failure::new(USAGE, format!("The directory {} does not exist.", shown(parent)))
            .with_hint("Make it first.")
    })?;
    // A name in /dev that is not there is a typing mistake, and a file there would fill memory.
    if parent.starts_with("/dev") && parent != Path::new("/dev/shm") {
        return Err(Failure::new(USAGE, format!("There is no device {}.", shown(path)))
            .with_hint("“ls /dev/disk/by-id” or “lsblk” shows the devices that there are."));
    }
    match path.file_name() {
        Some(name) if !path.as_os_str().to_string_lossy().ends_with('/') => {
            Ok(Place { path: parent.join(name), kind: PlaceKind::Nothing })
        }
        _ => Err(Failure::new(USAGE, format!("The target {} is not the name of a file.", shown(path)))),
    }
}
