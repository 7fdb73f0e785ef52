//! File systems by their own tools, compared with blkid.

use crate::lab::{self, Lab, MIB};
use cairn_core::probe::FileSystem;
use std::collections::BTreeMap;
use std::path::Path;

/// What blkid calls otherwise.
const RENAMED: [(&str, &str); 2] = [("LVM2_member", "lvm2"), ("crypto_LUKS", "luks")];

/// In the form for udev, since the others mangle what is not ASCII.
fn blkid(path: &Path) -> BTreeMap<String, String> {
    lab::run("blkid", &["-p", "-o", "udev", &path.display().to_string()])
        .lines()
        .filter_map(|line| line.strip_prefix("ID_FS_")?.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.replace("\\x20", " ")))
        .collect()
}

/// Fills an image with `tool` and compares the survey of the bare disk with blkid's.
fn compared(size_bytes: u64, tool: &str, arguments: &[&str]) -> Option<FileSystem> {
    if !lab::has(&[tool, "blkid"]) {
        return None;
    }
    let lab = Lab::new();
    let image = lab.image("disk.img", size_bytes);
    let path = image.display().to_string();
    let arguments: Vec<&str> =
        arguments.iter().map(|argument| if *argument == "DISK" { &path } else { *argument }).collect();
    lab::run(tool, &arguments);
    Some(bare(&image))
}

/// The file system on the bare disk `image`, compared with blkid.
fn bare(image: &Path) -> FileSystem {
    let survey = lab::survey_whole(image);
    assert_eq!(survey.table, None);
    let [partition] = survey.partitions.as_slice() else { panic!("one file system: {survey:?}") };
    let size_bytes = std::fs::metadata(image).unwrap().len();
    assert_eq!((partition.number, partition.offset_bytes, partition.size_bytes), (0, 0, size_bytes));
    let found = partition.file_system.clone().unwrap();
    let theirs = blkid(image);
    let kind = &theirs["TYPE"];
    let renamed = RENAMED.iter().find(|(name, _)| name == kind).map_or(kind.as_str(), |(_, name)| *name);
    assert_eq!(found.kind, renamed);
    assert_eq!(found.label.as_ref(), theirs.get("LABEL_ENC"), "{kind}");
    assert_eq!(found.uuid.as_ref(), theirs.get("UUID_ENC"), "{kind}");
    found
}

fn assert_found(found: Option<FileSystem>, size_bytes: Option<u64>, clean: Option<bool>) {
    if let Some(found) = found {
        assert_eq!(found.size_bytes, size_bytes, "{}", found.kind);
        assert_eq!(found.clean, clean, "{}", found.kind);
    }
}

#[test]
fn the_ext_family() {
    for kind in ["ext2", "ext3", "ext4"] {
        let arguments = ["-q", "-t", kind, "-L", "a label", "DISK"];
        assert_found(compared(64 * MIB, "mke2fs", &arguments), Some(64 * MIB), Some(true));
    }
    let small_blocks = ["-q", "-t", "ext4", "-b", "1024", "-O", "64bit,metadata_csum", "DISK", "30000"];
    assert_found(compared(64 * MIB, "mke2fs", &small_blocks), Some(30_000 << 10), Some(true));
    let journal = ["-q", "-O", "journal_dev", "DISK"];
    assert!(compared(64 * MIB, "mke2fs", &journal).is_none_or(|found| found.kind == "jbd"));
}

#[test]
fn xfs_of_all_log_shapes() {
    let shapes: [(u64, &[&str]); 5] = [
        (512, &["-q", "-L", "twelve chars", "DISK"]),
        (512, &["-q", "-s", "size=4096", "DISK"]),
        (512, &["-q", "-b", "size=1024", "-d", "agcount=7", "DISK"]),
        (512, &["-q", "-m", "crc=0", "-l", "version=1", "DISK"]),
        (512, &["-q", "-m", "crc=0", "DISK"]),
    ];
    for (mib, arguments) in shapes {
        assert_found(compared(mib * MIB, "mkfs.xfs", arguments), Some(mib * MIB), Some(true));
    }
    // Its size is rounded down to whole stripes.
    let striped = ["-q", "-d", "su=64k,sw=2", "-l", "su=256k", "DISK"];
    assert_found(compared(2048 * MIB, "mkfs.xfs", &striped), Some(2_146_959_360), Some(true));
}

/// `Key: number` lines of a tool's output.
fn counts(output: &str, separator: char) -> BTreeMap<String, u64> {
    output
        .lines()
        .filter_map(|line| line.split_once(separator))
        .filter_map(|(key, value)| Some((key.trim().to_owned(), value.trim().parse().ok()?)))
        .collect()
}

#[test]
fn what_is_left_of_ext_is_what_its_own_tool_counts() {
    let shapes: [&[&str]; 6] = [
        &["-q", "-t", "ext2", "-b", "1024", "DISK"],
        &["-q", "-t", "ext4", "-b", "1024", "-m", "10", "DISK"],
        &["-q", "-t", "ext4", "-b", "4096", "-O", "64bit,metadata_csum", "DISK"],
        &["-q", "-t", "ext4", "-b", "4096", "-O", "^64bit", "-N", "100", "DISK"],
        &["-q", "-t", "ext4", "-O", "meta_bg,^resize_inode", "DISK"],
        &["-q", "-t", "ext4", "-O", "bigalloc", "-C", "65536", "DISK"],
    ];
    for shape in shapes {
        if !lab::has(&["mke2fs", "dumpe2fs"]) {
            return;
        }
        let lab = Lab::new();
        let image = lab.image("disk.img", 600 * MIB);
        let path = image.display().to_string();
        let arguments: Vec<&str> =
            shape.iter().map(|word| if *word == "DISK" { &*path } else { *word }).collect();
        lab::run("mke2fs", &arguments);
        let theirs = counts(&lab::run("dumpe2fs", &["-h", &path]), ':');
        let groups = lab::run("dumpe2fs", &[&path]);
        let free_in = |line: &str| {
            let (count, unit) = line.trim().split_once(" free ")?;
            (unit.starts_with("blocks,") || unit.starts_with("clusters,"))
                .then(|| count.parse::<u64>().ok())?
        };
        let unit = theirs.get("Cluster size").map_or(1, |cluster| cluster / theirs["Block size"]);
        let free = groups.lines().filter_map(free_in).sum::<u64>() * unit;
        // The groups count, not the superblock, which lags; but where they do not lie in one piece.
        if !shape.contains(&"meta_bg,^resize_inode") {
            lab::write_at(&image, 1024 + 0xc, &[1, 0, 0, 0]);
        }
        let found = bare(&image);
        let left = free.saturating_sub(theirs["Reserved block count"]) * theirs["Block size"];
        assert_eq!(found.free_bytes, Some(left), "{shape:?}");
        assert_eq!(found.inodes, Some(theirs["Inode count"]), "{shape:?}");
        assert_eq!(found.free_inodes, Some(theirs["Free inodes"]), "{shape:?}");
    }
}

#[test]
fn what_is_left_of_xfs_is_what_its_own_tool_counts() {
    if !lab::has(&["mkfs.xfs", "xfs_db"]) {
        return;
    }
    let shapes: [&[&str]; 3] = [
        &["-q", "DISK"],
        &["-q", "-b", "size=1024", "-d", "agcount=7", "-i", "maxpct=10", "DISK"],
        &["-q", "-m", "crc=0", "-s", "size=4096", "DISK"],
    ];
    for shape in shapes {
        let lab = Lab::new();
        let image = lab.image("disk.img", 512 * MIB);
        let path = image.display().to_string();
        let arguments: Vec<&str> =
            shape.iter().map(|word| if *word == "DISK" { &*path } else { *word }).collect();
        lab::run("mkfs.xfs", &arguments);
        let fields = "print blocksize dblocks inopblock imax_pct icount ifree fdblocks";
        let theirs = counts(&lab::run("xfs_db", &["-r", "-c", "sb 0", "-c", fields, &path]), '=');
        // The groups count, not the superblock, which lags.
        lab::write_at(&image, 144, &[0; 8]);
        let found = bare(&image);
        assert_eq!(found.free_bytes, Some(theirs["fdblocks"] * theirs["blocksize"]), "{shape:?}");
        let inodes = theirs["dblocks"] * theirs["imax_pct"] / 100 * theirs["inopblock"];
        assert_eq!(found.inodes, Some(inodes), "{shape:?}");
        assert_eq!(found.free_inodes, Some(inodes - theirs["icount"] + theirs["ifree"]), "{shape:?}");
    }
}

#[test]
fn btrfs() {
    let arguments = ["-q", "-L", "label with äöü", "DISK"];
    assert_found(compared(256 * MIB, "mkfs.btrfs", &arguments), Some(256 * MIB), Some(true));
}

#[test]
fn every_width_of_fat() {
    let shapes: [(u64, &[&str]); 6] = [
        (4, &["-F", "12", "-n", "TWELVE", "DISK"]),
        (32, &["-F", "16", "-n", "A LABEL", "DISK"]),
        (64, &["-F", "32", "-n", "THIRTYTWO", "-i", "1234abcd", "DISK"]),
        (64, &["-F", "32", "DISK"]),
        (512, &["-F", "32", "-S", "4096", "-n", "SECTORS4K", "DISK"]),
        (64, &["-F", "16", "-S", "4096", "-n", "SECTORS4K", "DISK"]),
    ];
    for (mib, arguments) in shapes {
        assert_found(compared(mib * MIB, "mkfs.vfat", arguments), Some(mib * MIB), Some(true));
    }
}

#[test]
fn exfat() {
    assert_found(compared(64 * MIB, "mkfs.exfat", &["-L", "äöü", "DISK"]), Some(64 * MIB), Some(true));
    assert_found(compared(64 * MIB, "mkfs.exfat", &["DISK"]), Some(64 * MIB), Some(true));
}

#[test]
fn ntfs() {
    let arguments = ["-q", "-F", "-f", "-L", "Größe", "DISK"];
    // Its last sector is the boot sector's copy and does not count.
    assert_found(compared(64 * MIB, "mkntfs", &arguments), Some(64 * MIB - 512), Some(true));
    let large = ["-q", "-F", "-f", "-s", "4096", "-c", "65536", "DISK"];
    let found = compared(64 * MIB, "mkntfs", &large);
    assert!(found.is_none_or(|found| found.clean == Some(true)));
}

#[test]
fn swap_of_both_page_sizes() {
    for page in ["4096", "65536"] {
        let arguments = ["-q", "-f", "-p", page, "-L", "swap-label", "DISK"];
        assert_found(compared(32 * MIB, "mkswap", &arguments), Some(32 * MIB), None);
    }
}

#[test]
fn luks_of_both_versions() {
    for kind in ["luks1", "luks2"] {
        if !lab::has(&["cryptsetup"]) {
            return;
        }
        let lab = Lab::new();
        let image = lab.image("disk.img", 64 * MIB);
        let path = image.display().to_string();
        let fast = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        let arguments = [&["luksFormat", "-q", "--type", kind][..], &fast, &[&path]].concat();
        lab::feed("cryptsetup", &arguments, "secret");
        assert_eq!(bare(&image).kind, "luks");
    }
}

#[test]
fn file_systems_that_are_written_whole() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("tree")).unwrap();
    std::fs::write(lab.path("tree/file"), vec![7u8; 100_000]).unwrap();
    let (tree, image) = (lab.path("tree").display().to_string(), lab.path("disk.img"));
    let path = image.display().to_string();
    let tools: [(&str, &[&str]); 3] = [
        ("mksquashfs", &[&tree, &path, "-quiet", "-no-progress", "-noappend"]),
        ("mkfs.erofs", &["-U", "c827ab24-3fb5-4a8f-a5b6-7a4a5e2a8c11", &path, &tree]),
        ("genisoimage", &["-quiet", "-V", "ISO LABEL", "-o", &path, &tree]),
    ];
    for (tool, arguments) in tools {
        if lab::has(&[tool]) {
            lab::run(tool, arguments);
            let found = bare(&image);
            assert_eq!(found.clean, Some(true));
            assert!(found.size_bytes.is_some_and(|size| size > 0 && size <= MIB), "{found:?}");
            std::fs::remove_file(&image).unwrap();
        }
    }
}

#[test]
fn a_disk_of_many_file_systems() {
    if !lab::has(&["sfdisk", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "mkswap"]) {
        return;
    }
    let lab = Lab::new();
    let disk = lab.image("disk.img", 1200 * MIB);
    let path = disk.display().to_string();
    let script = "label: gpt\nsize=64M, type=U\nsize=64M\nsize=512M\nsize=256M\nsize=32M, type=S\nsize=1M\n";
    lab::feed("sfdisk", &["--quiet", &path], script);
    let tools: [(&str, &str, u64); 5] = [
        ("mkfs.vfat", "vfat", 64),
        ("mkfs.ext4", "ext4", 64),
        ("mkfs.xfs", "xfs", 512),
        ("mkfs.btrfs", "btrfs", 256),
        ("mkswap", "swap", 32),
    ];
    let empty = lab::survey_whole(&disk);
    assert!(empty.partitions.iter().all(|partition| partition.file_system.is_none()));
    for ((tool, _, mib), partition) in tools.iter().zip(&empty.partitions) {
        let image = lab.image("part.img", mib * MIB);
        lab::run(tool, &[&image.display().to_string()]);
        lab::embed(&image, &disk, partition.offset_bytes);
    }
    let survey = lab::survey_whole(&disk);
    for ((_, kind, _), partition) in tools.iter().zip(&survey.partitions) {
        assert_eq!(partition.file_system.as_ref().map(|found| found.kind.as_str()), Some(*kind));
    }
    assert_eq!(survey.partitions[5].file_system, None);
}
