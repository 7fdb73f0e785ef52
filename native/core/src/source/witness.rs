//! Proof that nothing wrote to a source while it was read.
//!
//! For files: size, mtime and ctime did not move, on a local file system whose clock is believed. The
//! first write to a clean page through a mapping moves them, too, so the file is synced once they are
//! noted; tmpfs has no clean pages and proves nothing. For block devices: the kernel's count of
//! sectors written and discarded, of the device and of the disk that it is a partition of, did not
//! move (Documentation/block/stat.rst), and no write is under way at the end. No proof means `live`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
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
    if !counts_all_writes(&directory) || !no_write_is_under_way(&directory.join("inflight"))? {
        return None;
    }
    let mut counts = written_counts(&directory.join("stat"))?;
    if directory.join("partition").exists() {
        counts.extend(written_counts(&directory.parent()?.join("stat"))?);
    }
    Some(Marks::Device(counts))
}

/// Writes, sectors written, discards and sectors discarded.
fn written_counts(stat: &Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(stat).ok()?;
    let columns: Vec<_> = text.split_ascii_whitespace().collect();
    [4, 6, 11, 13].iter().map(|&at| columns.get(at).map(|&column| column.to_owned())).collect()
}

/// Whether no write can pass this host's counters by, on the device or on those that it is made of.
fn counts_all_writes(directory: &Path) -> bool {
    let whole = if directory.join("partition").exists() { directory.parent() } else { Some(directory) };
    let slaves = whole.and_then(|whole| std::fs::read_dir(whole.join("slaves")).ok());
    let mut below = slaves.into_iter().flatten().flatten().map(|slave| std::fs::canonicalize(slave.path()));
    is_local(directory) && below.all(|slave| slave.is_ok_and(|slave| counts_all_writes(&slave)))
}

/// By the path in /sys: devices that other hosts may write to (network block devices, DRBD, iSCSI,
/// Fibre Channel, NVMe over fabrics) are not, and zram does not count discards.
fn is_local(directory: &Path) -> bool {
    const ELSEWHERE: [&str; 7] = ["nbd", "rbd", "drbd", "zram", "session", "rport-", "nvme-fabrics"];
    let mut names = directory.iter().filter_map(|name| name.to_str());
    !names.any(|name| ELSEWHERE.iter().any(|prefix| name.starts_with(prefix)))
}

/// Writes are counted when they end; two columns, reads and writes.
fn no_write_is_under_way(inflight: &Path) -> Option<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_other_hosts_may_write_to_prove_nothing() {
        for path in [
            "/sys/devices/virtual/block/nbd0",
            "/sys/devices/rbd/0/block/rbd0/rbd0p1",
            "/sys/devices/virtual/block/drbd1",
            "/sys/devices/virtual/block/zram0",
            "/sys/devices/platform/host6/session1/target6:0:0/6:0:0:0/block/sda",
            "/sys/devices/pci0000:00/0000:05:00.0/host1/rport-1:0-3/target1:0:0/1:0:0:0/block/sdb/sdb1",
            "/sys/devices/virtual/nvme-fabrics/ctl/nvme1/nvme1n1",
        ] {
            assert!(!is_local(Path::new(path)), "{path}");
        }
        for path in
            ["/sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda/vda1", "/sys/devices/virtual/block/dm-0"]
        {
            assert!(is_local(Path::new(path)), "{path}");
        }
    }
}
