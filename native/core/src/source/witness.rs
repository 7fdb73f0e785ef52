//! Proof that nothing wrote to a source while it was read.
//!
//! For files: size, mtime and ctime did not move, on a local file system whose clock is believed. The
//! first write to a clean page through a mapping moves them, too, so the file is synced once they are
//! noted; tmpfs has no clean pages and proves nothing. For block devices: the kernel's count of
//! sectors written and discarded, of the device and of the disk that it is a partition of, did not
//! move (Documentation/block/stat.rst), and no write is under way at the end. No proof means `live`.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// Timestamps of files advance by ticks; a change within this time of the last may go unseen.
const TICK_MAX: Duration = Duration::from_millis(20);

/// File systems whose times move with every write, by statfs(2) magic.
const LOCAL_FILE_SYSTEMS: [i64; 7] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x2FC1_2FC1, // zfs
    0xF2F5_2010, // f2fs
    0xCA45_1A4E, // bcachefs
    0x794C_7630, // overlayfs
];

#[derive(PartialEq, Eq)]
enum Marks {
    File {
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
    /// Columns of sectors written and discarded, of the device and of its parent.
    Device(Vec<String>),
}

/// See the module.
pub struct Witness {
    before: Option<Marks>,
}

impl Witness {
    pub(super) fn begin(file: &std::fs::File, is_device: bool) -> Self {
        if is_device {
            return Self { before: marks(file, true) };
        }
        wait_out_the_tick(file);
        let before = marks(file, false);
        Self { before: before.filter(|_| super::sync(file).is_ok()) }
    }

    /// Whether it is proven that nothing wrote since this was made.
    #[must_use]
    pub fn nothing_wrote(&self, source: &super::PathSource) -> bool {
        self.before.is_some() && self.before == marks(&source.file, source.is_device)
    }
}

fn marks(file: &std::fs::File, is_device: bool) -> Option<Marks> {
    let metadata = file.metadata().ok()?;
    if is_device {
        return device_marks(metadata.rdev());
    }
    let magic = rustix::fs::fstatfs(file).ok()?.f_type;
    LOCAL_FILE_SYSTEMS.contains(&magic).then(|| Marks::File {
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn device_marks(device: u64) -> Option<Marks> {
    let directory = std::fs::canonicalize(format!(
        "/sys/dev/block/{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    ))
    .ok()?;
    // zram does not count discards.
    if directory.file_name()?.to_str()?.starts_with("zram") {
        return None;
    }
    if !no_write_is_under_way(&directory.join("inflight"))? {
        return None;
    }
    let mut counts = written_counts(&directory.join("stat"))?;
    if directory.join("partition").exists() {
        counts.extend(written_counts(&directory.parent()?.join("stat"))?);
    }
    Some(Marks::Device(counts))
}

/// Writes, sectors written, discards and sectors discarded.
fn written_counts(stat: &std::path::Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(stat).ok()?;
    let columns: Vec<_> = text.split_ascii_whitespace().collect();
    [4, 6, 11, 13].iter().map(|&at| columns.get(at).map(|&column| column.to_owned())).collect()
}

/// Writes are counted when they end; two columns, reads and writes.
fn no_write_is_under_way(inflight: &std::path::Path) -> Option<bool> {
    let text = std::fs::read_to_string(inflight).ok()?;
    Some(text.split_ascii_whitespace().nth(1)? == "0")
}

fn wait_out_the_tick(file: &std::fs::File) {
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
    if let Some(rest) = age.and_then(|age| TICK_MAX.checked_sub(age)) {
        std::thread::sleep(rest);
    }
}
