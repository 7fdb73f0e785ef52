//! Images of file systems taken while they were mounted, and after.

use crate::lab::{self, Lab, Loop, MIB, Mounted};
use std::path::Path;

fn is_clean(image: &Path) -> Option<bool> {
    lab::survey_whole(image).partitions[0].file_system.as_ref().unwrap().clean
}

fn copy(lab: &Lab, image: &Path) -> std::path::PathBuf {
    lab::run("sync", &["-d", &image.display().to_string()]);
    let copy = lab.path("copy.img");
    lab::run("cp", &["--sparse=always", &image.display().to_string(), &copy.display().to_string()]);
    copy
}

/// Clean when made, dirty while mounted and written to, clean again when unmounted; several times, so that
/// the journal's end is found wherever it lies.
fn assert_follows(tool: &str, arguments: &[&str], mib: u64) {
    if !lab::has(&[tool]) || !lab::has_loops() {
        return;
    }
    let lab = Lab::new();
    let image = lab.image("disk.img", mib * MIB);
    lab::run(tool, &[arguments, &[&image.display().to_string()]].concat());
    assert_eq!(is_clean(&image), Some(true), "{tool}: made");
    let device = Loop::attach(&image, &[]);
    for turn in 0..4 {
        let Some(mounted) = Mounted::new(device.device()) else { return };
        for file in 0..turn * 40 + 1 {
            mounted.write(&format!("file {turn} {file}"), &vec![turn as u8; 5000]);
        }
        assert_eq!(is_clean(&copy(&lab, &image)), Some(false), "{tool}: mounted, turn {turn}");
        drop(mounted);
        assert_eq!(is_clean(&copy(&lab, &image)), Some(true), "{tool}: unmounted, turn {turn}");
    }
}

#[test]
fn ext4_is_dirty_while_mounted() {
    assert_follows("mkfs.ext4", &["-q"], 64);
    assert_follows("mke2fs", &["-q", "-t", "ext2"], 64);
}

#[test]
fn xfs_is_dirty_while_mounted() {
    assert_follows("mkfs.xfs", &["-q"], 512);
    assert_follows("mkfs.xfs", &["-q", "-d", "su=64k,sw=2", "-l", "su=256k"], 2048);
    assert_follows("mkfs.xfs", &["-q", "-s", "size=4096"], 512);
}

/// The log goes around once more for each mount, until its end is at any place.
#[test]
fn an_xfs_log_that_went_around_is_read() {
    if !lab::has(&["mkfs.xfs"]) || !lab::has_loops() {
        return;
    }
    let lab = Lab::new();
    let image = lab.image("disk.img", 512 * MIB);
    lab::run("mkfs.xfs", &["-q", "-f", "-b", "size=1024", &image.display().to_string()]);
    let device = Loop::attach(&image, &[]);
    let Some(mounted) = Mounted::new(device.device()) else { return };
    for round in 0..4 {
        for file in 0..2500 {
            mounted.write(&format!("file {file}"), &[round; 3000]);
        }
        assert_eq!(is_clean(&copy(&lab, &image)), Some(false), "round {round}");
    }
    drop(mounted);
    assert_eq!(is_clean(&copy(&lab, &image)), Some(true));
}

#[test]
fn btrfs_is_dirty_after_an_fsync() {
    assert_follows("mkfs.btrfs", &["-q"], 256);
}
