//! Backups of streams: the same revision as of a file, and no waiting for one another.

use std::time::{Duration, Instant};

use super::*;

impl Lab {
    fn backup_stream(&self, bytes: Vec<u8>, announced: Option<u64>) -> Result<Taken> {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let feeder = std::thread::spawn(move || {
            let _ = std::io::Write::write_all(&mut writer, &bytes);
        });
        let source = Source::Stream(StreamSource::new(reader.into(), announced));
        let taken = self.prepare(source, &Arc::default()).and_then(Pending::commit);
        feeder.join().unwrap();
        taken
    }
}

#[test]
fn a_stream_of_unknown_length_is_the_same_as_the_file() {
    let lab = Lab::new();
    assert!(matches!(lab.backup_stream(Vec::new(), None), Err(Error::SourceEmpty { .. })));
    for len in [1, 4096, 1_048_576, 5_000_001] {
        let bytes = noise(len as u64 + 1, len);
        std::fs::write(lab.source(), &bytes).unwrap();
        let from_file = lab.backup();
        let from_stream = lab.backup_stream(bytes, None).unwrap();
        assert!(from_stream.unchanged, "{len} bytes");
        assert_eq!(from_file.manifest.image_digest, from_stream.manifest.image_digest);
        assert_eq!(from_stream.manifest.consistency, Consistency::Live);
    }
}

#[test]
fn a_stream_that_keeps_not_to_its_length_leaves_nothing() {
    let lab = Lab::new();
    let short = lab.backup_stream(noise(1, 100_000), Some(200_000));
    assert!(matches!(short, Err(Error::SourceShort { expected: 200_000, found: 100_000, .. })));
    let long = lab.backup_stream(noise(1, 100_000), Some(99_999));
    assert!(matches!(long, Err(Error::SourceLong { .. })));
    assert_eq!(lab.segment_count(), 0);
    assert!(lab.disk.revisions().unwrap().is_empty());
}

/// There, writes through a mapping leave no mark, so nothing is proven.
/// Files of a file system that is full whenever a segment is begun.
struct Full;

impl Files for Full {
    fn open(&self, path: &Path, mode: io::Mode) -> std::io::Result<Box<dyn io::File>> {
        if mode == io::Mode::CreateNew && path.parent().is_some_and(|parent| parent.ends_with("segments")) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        OsFiles.open(path, mode)
    }
    fn read(&self, path: &Path, len_max: usize) -> std::io::Result<Vec<u8>> {
        OsFiles.read(path, len_max)
    }
    fn identity(&self, path: &Path) -> std::io::Result<io::FileIdentity> {
        OsFiles.identity(path)
    }
    fn list(&self, directory: &Path) -> std::io::Result<Vec<String>> {
        OsFiles.list(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        OsFiles.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> std::io::Result<()> {
        OsFiles.unlink(path)
    }
    fn create_directory(&self, path: &Path) -> std::io::Result<()> {
        OsFiles.create_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> std::io::Result<()> {
        OsFiles.sync_directory(path)
    }
}

#[test]
fn a_full_store_ends_the_backup_of_a_stream_that_is_silent() {
    let mut lab = Lab::new();
    lab.disk = Disk::open(Arc::new(Full), &lab.disk.paths().directory).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeder = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut writer, &noise(1, 2_000_000));
        // Kept open: the writer lives on and says nothing more.
        writer
    });
    let source = Source::Stream(StreamSource::new(reader.into(), None));
    let failure = lab.prepare(source, &Arc::default()).err().unwrap();
    assert!(matches!(failure, Error::Io { .. }), "{failure}");
    drop(feeder.join().unwrap());
}

/// The writer and a thread that waits for the stream are not to wait for each other.
#[test]
fn what_a_stream_gave_is_stored_while_it_is_silent() {
    let lab = Lab::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (control, bytes) = (Arc::new(Control::default()), noise(1, 5 << 20));
    let watched = Arc::clone(&control);
    let feeder = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &bytes).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while watched.progress().done_bytes < 5 << 20 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        watched.progress()
    });
    let source = Source::Stream(StreamSource::new(reader.into(), None));
    lab.prepare(source, &control).unwrap().commit().unwrap();
    let progress = feeder.join().unwrap();
    assert_eq!(progress.done_bytes, 5 << 20);
    assert!(progress.stored_bytes >= 5 << 20, "{progress:?}");
}
