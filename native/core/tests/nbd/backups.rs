//! Backups of what qemu-nbd exports: full, told by a bitmap, and with a server that dies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cairn_core::backup::{self, Background, BackupParams, Source, Taken};
use cairn_core::compare::{self, Coverage};
use cairn_core::disk::{Disk, DiskLock, DiskOptions};
use cairn_core::image::Image;
use cairn_core::io::OsFiles;
use cairn_core::job::Control;
use cairn_core::manifest::{Consistency, Verdict};
use cairn_core::random::Numbers;
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::source::nbd::NbdSource;
use cairn_core::{Error, Result};
use tempfile::TempDir;

use crate::lab::{Server, add_bitmap, has, image_with_bitmap, remove_bitmap, write};

const MIB: u64 = 1 << 20;

struct Lab {
    directory: TempDir,
    disk: Disk,
}

impl Lab {
    /// With a disk, and an image of 64 MiB with a bitmap.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk =
            Disk::create(Arc::new(OsFiles), &directory.path().join("disk"), DiskOptions::default()).unwrap();
        let lab = Self { directory, disk };
        image_with_bitmap(&lab.image(), "64M");
        lab
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("vm.qcow2")
    }

    fn serve(&self) -> Server {
        Server::start(&self.image(), &["-f", "qcow2", "-B", "changes", "-e", "4"])
    }

    fn backup(&self, source: Source, control: &Arc<Control>) -> Result<Taken> {
        let params = BackupParams {
            name: "disk".into(),
            source,
            description: serde_json::Map::new(),
            consistency: Some(Consistency::Snapshot),
            tags: Vec::new(),
            threads: 2,
            require: None,
            background: Background::default(),
        };
        let lock = DiskLock::take(&self.disk.paths().directory, "a test").unwrap();
        backup::prepare(&self.disk, lock, params, Arc::clone(control))?.commit()
    }

    fn full(&self, source: NbdSource) -> Taken {
        self.backup(Source::Block(source.into()), &Arc::default()).unwrap()
    }

    fn changes(&self, from: &Taken, source: NbdSource) -> Taken {
        let extents = source.dirty_extents(&|| Ok(())).unwrap();
        let from = from.manifest.revision.clone();
        self.backup(Source::Changes { source: source.into(), extents, from }, &Arc::default()).unwrap()
    }

    fn differing_bytes(&self, taken: &Taken, source: NbdSource) -> u64 {
        let caches = Arc::new(Caches::new(CacheBudget::JOB));
        let records = Records::new(Arc::clone(self.disk.files()), self.disk.paths().segments(), caches);
        let image = Image::open(&self.disk, Arc::new(records), &taken.manifest.revision).unwrap();
        let compared = compare::run(&image, &source.into(), Coverage::All, 2, &Control::default()).unwrap();
        assert_eq!(compared.checked_bytes, 64 * MIB);
        compared.differing_bytes
    }
}

fn verdict(taken: &Taken) -> Verdict {
    taken.manifest.comparison.as_ref().unwrap().verdict
}

#[test]
fn what_a_bitmap_tells_is_read_alone_and_gives_what_a_full_backup_gives() {
    if !has(&["qemu-nbd", "qemu-img", "qemu-io"]) {
        return;
    }
    let seed = std::env::var("CAIRN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_126);
    let mut numbers = Numbers::new(seed);
    let lab = Lab::new();
    write(&lab.image(), &["write -P 1 0 8M".to_owned(), "write -P 2 40M 1M".to_owned()]);
    let mut last = lab.full(lab.serve().source(None));
    assert_eq!((last.manifest.reading.method.as_str(), verdict(&last)), ("full", Verdict::Passed));
    assert_eq!(last.manifest.consistency, Consistency::Snapshot);
    assert!(last.manifest.counters.read_bytes < 12 * MIB, "holes were not read");
    for round in 0..4 {
        remove_bitmap(&lab.image());
        add_bitmap(&lab.image());
        let commands = (0..numbers.below(6) + 1).map(|_| {
            let at = numbers.below(128 * 1024 - 2048) * 512;
            let len = (numbers.below(2048) + 1) * 512;
            let kind = ["write -P 7", "write -P 9", "write -z", "discard"][numbers.below(4) as usize];
            format!("{kind} {at} {len}")
        });
        write(&lab.image(), &commands.collect::<Vec<_>>());
        let server = lab.serve();
        last = lab.changes(&last, server.source(Some("changes")));
        assert_eq!((last.manifest.reading.method.as_str(), verdict(&last)), ("diff", Verdict::Passed));
        assert!(last.manifest.counters.read_bytes <= 6 * (MIB + 131_072), "{:?}", last.manifest.counters);
        assert_eq!(lab.differing_bytes(&last, server.source(None)), 0, "seed {seed}, round {round}");
    }
    let again = lab.full(lab.serve().source(None));
    assert!(again.unchanged, "seed {seed}");
}

#[test]
fn a_bitmap_that_leaves_changes_out_is_found_by_the_comparison() {
    if !has(&["qemu-nbd", "qemu-img", "qemu-io"]) {
        return;
    }
    let lab = Lab::new();
    write(&lab.image(), &["write -P 1 0 64M".to_owned()]);
    let full = lab.full(lab.serve().source(None));
    write(&lab.image(), &["write -P 2 0 64M".to_owned()]);
    remove_bitmap(&lab.image());
    add_bitmap(&lab.image());
    let taken = lab.changes(&full, lab.serve().source(Some("changes")));
    assert_eq!(verdict(&taken), Verdict::Failed, "a copy of one moment does not change");
}

#[test]
fn a_server_that_is_killed_in_the_middle_leaves_no_revision_and_the_next_backup_is_fine() {
    if !has(&["qemu-nbd", "qemu-img", "qemu-io"]) {
        return;
    }
    let lab = Lab::new();
    write(&lab.image(), &["write -P 1 0 64M".to_owned()]);
    let server = lab.serve();
    let source = Source::Block(server.source(None).into());
    let control: Arc<Control> = Arc::default();
    // So slow that the end is far away whenever it is killed.
    control.limit_rate(std::num::NonZeroU64::new(4 * MIB).unwrap());
    let failure = std::thread::scope(|scope| {
        let backup = scope.spawn(|| lab.backup(source, &control).err());
        while control.progress().read_bytes == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(server);
        backup.join().unwrap().unwrap()
    });
    assert!(matches!(failure, Error::Source { .. }), "{failure}");
    assert!(failure.to_string().ends_with("the server closed the connection"), "{failure}");
    assert!(lab.disk.revisions().unwrap().is_empty());
    let taken = lab.full(lab.serve().source(None));
    assert_eq!(verdict(&taken), Verdict::Passed);
}
