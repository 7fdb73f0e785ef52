//! What was written over a file that is otherwise read from somewhere else: the bytes in a temporary
//! file without a name, and in memory which ranges of it count.
//!
//! Invariants: a range is noted once its bytes are in the file and never forgotten, so that a reader
//! sees what was there before or what was written, and no zeros of a hole. No lock is held during I/O.
//!
//! The bytes lie in the page cache or on the disk of the directory; they are never synced, since
//! nothing of them outlives the process. Memory grows with the number of ranges that do not touch, at
//! some 40 bytes each, and never with what was written. Replaying a journal writes at most as much
//! as the journal holds: of a full ext4 journal of 1 GiB, blocks of 4 KiB that all lie apart are
//! 262,144 ranges and 10 MiB of memory; what is seen in practice is hundreds.
//!
//! It is not a block device: no flush, no discard, no length of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process;
use std::sync::{PoisonError, RwLock};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

/// Names tried where the directory's file system makes no files without one.
const NAMES_MAX: u32 = 1_000;

/// Why a read failed.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// What was written could not be had back from the temporary file.
    #[error("reading what was written: {0}")]
    Overlay(#[source] io::Error),
    /// What was never written could not be read.
    #[error(transparent)]
    Base(cairn_core::Error),
}

/// What was written over one file. Safe from many threads; the order of writes that overlap and run
/// at the same time is the kernel's, as for any file.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: File,
    size: u64,
    written: RwLock<Ranges>,
}

impl Overlay {
    /// Nothing is written yet over the `size` bytes. The temporary file is made in `dir`, readable
    /// by its owner alone, and is as long as what is written to it needs: an image may be larger
    /// than any file that the directory can hold.
    ///
    /// # Errors
    /// Of making the file.
    pub(crate) fn create(dir: &Path, size: u64) -> io::Result<Self> {
        Ok(Self { file: nameless_file(dir)?, size, written: RwLock::default() })
    }

    /// Whether nothing was ever written.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges(Ranges::is_empty)
    }

    /// Fills `into` from `offset` on, both within the size; `base(part, at)` fills what was never
    /// written.
    ///
    /// # Errors
    /// The first that one of the parts gives; what `into` holds then is nothing to go by.
    pub(crate) fn read(
        &self,
        into: &mut [u8],
        offset: u64,
        base: impl Fn(&mut [u8], u64) -> cairn_core::Result<()>,
    ) -> Result<(), ReadError> {
        let (mut rest, mut at) = (into, offset);
        while !rest.is_empty() {
            let part = self.ranges(|ranges| ranges.at(at));
            let len = usize::try_from(part.end - at).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            if part.is_written {
                self.file.read_exact_at(now, at).map_err(ReadError::Overlay)?;
            } else {
                base(now, at).map_err(ReadError::Base)?;
            }
            (rest, at) = (later, at + len as u64);
        }
        Ok(())
    }

    /// Takes `bytes` at `offset`, of any length and alignment.
    ///
    /// # Errors
    /// `InvalidInput` beyond the size; of the file, such as `StorageFull`: a first part may be
    /// written then, as after any write that fails.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        end.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the write ends beyond the file"))?;
        let (done, result) = write_all(&self.file, bytes, offset);
        if done > 0 {
            let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
            written.insert(offset, offset + done as u64);
        }
        result
    }

    fn ranges<T>(&self, look: impl FnOnce(&Ranges) -> T) -> T {
        look(&self.written.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The bytes written, and how it ended.
fn write_all(file: &File, bytes: &[u8], offset: u64) -> (usize, io::Result<()>) {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(rest, offset + done as u64) {
            Ok(0) => return (done, Err(ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

/// A new file in `dir` that vanishes with its last descriptor, whatever ends the process.
fn nameless_file(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(descriptor) => Ok(File::from(descriptor)),
        // open(2): the file system, or the kernel, does not know files without a name.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => unlinked_file(dir),
        Err(errno) => Err(errno.into()),
    }
}

fn unlinked_file(dir: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    for attempt in 0..NAMES_MAX {
        let path = dir.join(format!(".cairn-written-{}-{attempt}", process::id()));
        match options.open(&path) {
            Ok(file) => return std::fs::remove_file(&path).map(|()| file),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// A stretch that is written throughout or not at all, up to its `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    is_written: bool,
    end: u64,
}

/// Ranges by their begin; no two overlap or touch, none is empty.
#[derive(Debug, Default)]
struct Ranges {
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What `offset` lies in.
    fn at(&self, offset: u64) -> Part {
        if let Some((_, &end)) = self.ends.range(..=offset).next_back()
            && end > offset
        {
            return Part { is_written: true, end };
        }
        let next = self.ends.range(offset..).next();
        Part { is_written: false, end: next.map_or(u64::MAX, |(&begin, _)| begin) }
    }

    /// Adds `begin..end`, which is not empty, and joins it with what it touches.
    fn insert(&mut self, mut begin: u64, mut end: u64) {
        if let Some((&before, &before_end)) = self.ends.range(..begin).next_back()
            && before_end >= begin
        {
            if before_end >= end {
                return;
            }
            begin = before;
        }
        while let Some((&next, &next_end)) = self.ends.range(begin..=end).next() {
            self.ends.remove(&next);
            end = end.max(next_end);
        }
        self.ends.insert(begin, end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{SystemTime, UNIX_EPOCH};

    use cairn_core::Error;

    use super::*;

    /// What lies under the overlay: every byte tells where it is.
    fn base_byte(at: u64) -> u8 {
        (at % 251) as u8
    }

    fn base(part: &mut [u8], at: u64) -> cairn_core::Result<()> {
        for (byte, at) in part.iter_mut().zip(at..) {
            *byte = base_byte(at);
        }
        Ok(())
    }

    fn overlay(size: u64) -> Overlay {
        Overlay::create(&std::env::temp_dir(), size).unwrap()
    }

    fn read(overlay: &Overlay, offset: u64, len: usize) -> Vec<u8> {
        let mut into = vec![0xee; len];
        overlay.read(&mut into, offset, base).unwrap();
        into
    }

    struct Random(u64);

    impl Random {
        fn seeded() -> (Self, u64) {
            let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
            let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
            let seed = seed.unwrap_or_else(now);
            (Self(seed | 1), seed)
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
        }
    }

    #[test]
    fn what_was_never_written_is_the_bases() {
        let overlay = overlay(1_000);
        assert!(overlay.is_empty());
        assert_eq!(read(&overlay, 10, 5), [10, 11, 12, 13, 14]);
        overlay.write(&[], 10).unwrap();
        assert!(overlay.is_empty());
    }

    #[test]
    fn a_write_counts_to_the_byte() {
        let overlay = overlay(1_000);
        overlay.write(&[0, 0, 0], 11).unwrap();
        assert!(!overlay.is_empty());
        assert_eq!(read(&overlay, 10, 6), [10, 0, 0, 0, 14, 15]);
    }

    #[test]
    fn it_behaves_as_a_file_that_is_written_over() {
        let (mut random, seed) = Random::seeded();
        eprintln!("SEED={seed}");
        for round in 0..50 {
            let size = 1 + random.below(3_000);
            let longest = 1 + random.below(if round % 2 == 0 { 16 } else { size });
            let overlay = overlay(size);
            let mut model: Vec<u8> = (0..size).map(base_byte).collect();
            let mut touched = vec![false; size as usize];
            for _ in 0..200 {
                let offset = random.below(size);
                let len = random.below(longest.min(size - offset) + 1) as usize;
                let range = offset as usize..offset as usize + len;
                if random.below(2) == 0 {
                    let bytes: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
                    overlay.write(&bytes, offset).unwrap();
                    model[range.clone()].copy_from_slice(&bytes);
                    touched[range].fill(true);
                } else {
                    assert_eq!(read(&overlay, offset, len), model[range], "seed {seed}, round {round}");
                }
            }
            assert_eq!(read(&overlay, 0, size as usize), model, "seed {seed}, round {round}");
            let runs: Vec<_> =
                touched.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[bool]>::len).collect();
            let ranges = overlay.written.read().unwrap();
            let lengths: Vec<_> = ranges.ends.iter().map(|(begin, end)| (end - begin) as usize).collect();
            assert_eq!(lengths, runs, "seed {seed}, round {round}: as few ranges as there can be");
        }
    }

    #[test]
    fn ranges_join_what_they_touch() {
        let mut ranges = Ranges::default();
        for begin in [30, 10, 50, 20, 0, 40] {
            ranges.insert(begin, begin + 5);
        }
        assert_eq!(ranges.ends.len(), 6);
        ranges.insert(5, 10);
        assert_eq!(ranges.at(3), Part { is_written: true, end: 15 });
        assert_eq!(ranges.at(15), Part { is_written: false, end: 20 });
        ranges.insert(12, 42);
        assert_eq!(ranges.ends, BTreeMap::from([(0, 45), (50, 55)]));
        ranges.insert(1, 45);
        ranges.insert(0, 1);
        assert_eq!(ranges.ends, BTreeMap::from([(0, 45), (50, 55)]));
        assert_eq!(ranges.at(55), Part { is_written: false, end: u64::MAX });
    }

    #[test]
    fn nothing_is_written_beyond_the_size() {
        let overlay = overlay(10);
        for offset in [8, 10, u64::MAX] {
            assert_eq!(overlay.write(&[1, 2, 3], offset).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert!(overlay.is_empty());
    }

    #[test]
    fn a_size_that_no_file_can_have_takes_writes_at_its_begin() {
        let overlay = overlay(u64::MAX);
        overlay.write(&[7], 1 << 32).unwrap();
        assert_eq!(read(&overlay, 1 << 32, 1), [7]);
    }

    #[test]
    fn the_bases_error_comes_out_unless_all_of_it_is_written() {
        let overlay = overlay(100);
        overlay.write(&[1; 10], 10).unwrap();
        let fails = |_: &mut [u8], _| Err(Error::Worker);
        let mut into = [0; 10];
        overlay.read(&mut into, 10, fails).unwrap();
        assert!(matches!(overlay.read(&mut into, 11, fails), Err(ReadError::Base(Error::Worker))));
    }

    #[test]
    fn the_file_has_no_name_on_either_way() {
        let dir = tempfile::tempdir().unwrap();
        for file in [nameless_file(dir.path()).unwrap(), unlinked_file(dir.path()).unwrap()] {
            file.write_all_at(b"here", 4).unwrap();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        assert!(Overlay::create(&dir.path().join("missing"), 1).is_err());
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_counts_as_written() {
        let full = Overlay {
            file: File::options().read(true).write(true).open("/dev/full").unwrap(),
            size: 100,
            written: RwLock::default(),
        };
        assert_eq!(full.write(&[1; 10], 0).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(full.is_empty());
    }

    #[test]
    fn readers_never_see_a_hole_of_the_file() {
        const LEN: usize = 64;
        let overlay = overlay(1 << 20);
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let (mut random, seed) = Random::seeded();
                    while !ended.load(Ordering::Relaxed) {
                        let offset = random.below((1 << 20) - LEN as u64);
                        for (byte, at) in read(&overlay, offset, LEN).into_iter().zip(offset..) {
                            assert!(byte == base_byte(at) || byte == 0xff, "seed {seed}, at {at}: {byte}");
                        }
                    }
                });
            }
            let (mut random, _) = Random::seeded();
            for _ in 0..20_000 {
                overlay.write(&[0xff; LEN], random.below((1 << 20) - LEN as u64)).unwrap();
            }
            ended.store(true, Ordering::Relaxed);
        });
    }
}
