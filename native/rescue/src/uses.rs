//! Who uses a target at this moment, by name, as far as /proc and /sys are there to tell. That nobody
//! does is proven by opening a device exclusively, which needs neither.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::device::{self, Number};
use crate::failure::shown;
use crate::target::{Place, PlaceKind};

/// Clauses that end “/dev/sdb …”, such as “is mounted on /mnt”.
pub(crate) fn of(place: &Place) -> Vec<String> {
    let mut uses = Vec::new();
    for (source, mount_point) in mounts() {
        if is_same(place, &source) {
            uses.push(format!("is mounted on {}", shown(&mount_point)));
        }
    }
    for swap in swaps() {
        if is_same(place, &swap) {
            uses.push("is in use as swap".to_owned());
        }
    }
    for (name, file) in device::loops() {
        if is_same(place, &file) {
            uses.push(format!("is held by /dev/{name}"));
        }
    }
    if let PlaceKind::Device { facts, .. } = &place.kind {
        uses.extend(facts.holders.iter().map(|holder| format!("is part of {holder}")));
    }
    for (pid, path) in open_for_writing() {
        if (path.starts_with("/dev") || is_here(place, &path)) && is_same(place, &path) {
            uses.push(format!("is open for writing in process {pid}"));
        }
    }
    uses.dedup();
    uses
}

/// Whether a path leads to the target, or to the disk or a partition of it.
fn is_same(place: &Place, path: &Path) -> bool {
    let Ok(found) = fs::metadata(path) else { return false };
    match &place.kind {
        PlaceKind::Nothing => false,
        PlaceKind::File { metadata } => found.dev() == metadata.dev() && found.ino() == metadata.ino(),
        PlaceKind::Device { number, facts } => {
            let other = Number::of(found.rdev());
            found.file_type().is_block_device() && (other == *number || facts.relatives.contains(&other))
        }
    }
}

/// Whether a path is the target's own; others are not looked at, since that could wait for a dead mount.
fn is_here(place: &Place, path: &Path) -> bool {
    place.path == path
}

/// What other processes have open for writing: proc_pid_fd(5). QEMU does not open the disks of its
/// machines exclusively.
fn open_for_writing() -> Vec<(u32, PathBuf)> {
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for pid in names(Path::new("/proc")).into_iter().filter(|&pid| pid != std::process::id()) {
        let process = PathBuf::from(format!("/proc/{pid}"));
        for descriptor in names(&process.join("fd")) {
            let info = fs::read_to_string(process.join(format!("fdinfo/{descriptor}"))).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
            if flags & 3 != 0
                && let Ok(path) = fs::read_link(process.join(format!("fd/{descriptor}")))
            {
                found.push((pid, path));
            }
        }
    }
    found
}

/// What was mounted, and where: proc_pid_mountinfo(5).
fn mounts() -> Vec<(PathBuf, PathBuf)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        let (fields, rest) = line.split_once(" - ")?;
        Some((unescaped(rest.split(' ').nth(1)?), unescaped(fields.split(' ').nth(4)?)))
    };
    text.lines().filter_map(mount).collect()
}

fn swaps() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/swaps").unwrap_or_default();
    text.lines().skip(1).filter_map(|line| Some(unescaped(line.split_whitespace().next()?))).collect()
}

/// The kernel writes blanks, line ends and backslashes in names as `\040` and so on.
fn unescaped(text: &str) -> PathBuf {
    let mut pieces = text.split('\\');
    let mut plain = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        let code = piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(piece.get(3..).unwrap_or(""));
            }
            None => {
                plain.push('\\');
                plain.push_str(piece);
            }
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_are_read_as_they_are() {
        assert_eq!(unescaped(r"/mnt/with\040blank\134"), Path::new(r"/mnt/with blank\"));
        assert_eq!(unescaped(r"/a\9"), Path::new(r"/a\9"));
    }
}
