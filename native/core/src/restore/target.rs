//! Where a restore writes. Whether it may is decided before, by the control plane's guard; what is
//! checked again here is what could have changed since: O_EXCL, size, existence.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, FallocateFlags, OFlags, SeekFrom, fadvise, fallocate, seek};
use rustix::io::Errno;

use crate::error::{AtPath, Error, Result};
use crate::io::{File as _, ReadAt};
use crate::source::{ALIGNMENT, AlignedBuffer};

use super::Restored;

const GPT_SIGNATURE: &[u8; 8] = b"EFI PART";
/// From linux/fs.h: `_IO(0x12, 95)`.
const BLKRRPART: libc::Ioctl = 0x125f;
const DIFF_HEADER: &[u8] = b"rbd diff v1\n";
const NOT_READ: &str = "a stream cannot be read back";

/// See the module.
pub struct Target {
    kind: Kind,
    /// Past the page cache, for what is aligned; `None` where that is not possible.
    direct: Option<File>,
    path: PathBuf,
    /// What stood in the head before it was taken away, once that was done.
    head: Mutex<Option<Vec<u8>>>,
}

enum Kind {
    /// `is_new`: made here, to be removed after a failure. `is_blank`: it holds nothing but what was
    /// written here.
    File {
        file: File,
        is_new: bool,
        is_blank: bool,
    },
    Device(File),
    Stream(File),
    /// A diff, for whoever applies it to something of `size_bytes`: see [`Target::diff`].
    Diff {
        file: Mutex<File>,
        is_blank: bool,
        size_bytes: u64,
    },
}

/// What a file or device was when somebody looked whether it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Major and minor number of a file system's device, and an inode.
    File {
        /// As in `st_dev`.
        device: (u32, u32),
        /// As in `st_ino`.
        inode: u64,
    },
    /// Major and minor number of a block device, as in `st_rdev`.
    Device((u32, u32)),
}

impl Target {
    /// A regular file, made with mode 0600; one that is there is taken when `existing` says so.
    ///
    /// # Errors
    /// `Target`, among it for a file that exists.
    pub fn file(path: &Path, existing: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        let (file, is_new) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && existing => (options.open(path), false),
            made => (made, true),
        };
        let file = file.map_err(|source| failed(path, 0, source))?;
        let direct = direct_to(path, &file);
        Ok(Self::of(Kind::File { file, is_new, is_blank: is_new }, direct, path))
    }

    /// A block device that nobody else holds.
    ///
    /// # Errors
    /// `Target`, with EBUSY where it is in use.
    pub fn device(path: &Path) -> Result<Self> {
        let file = open_to_write(path, OFlags::EXCL).map_err(|source| failed(path, 0, source))?;
        let direct = direct_to(path, &file);
        // What is read back shall come from the device.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        Ok(Self::of(Kind::Device(file), direct, path))
    }

    fn of(kind: Kind, direct: Option<File>, path: &Path) -> Self {
        Self { kind, direct, path: path.to_owned(), head: Mutex::new(None) }
    }

    /// Refuses to go on where the path leads to something else by now.
    ///
    /// # Errors
    /// `InvalidArgument`; `Io`.
    pub fn require(self, expected: Option<Identity>) -> Result<Self> {
        let (Some(expected), Some(file)) = (expected, self.open_file()) else { return Ok(self) };
        let metadata = file.metadata().at("looking at", &self.path)?;
        let found = match expected {
            Identity::File { .. } => {
                Identity::File { device: numbers(metadata.dev()), inode: metadata.ino() }
            }
            Identity::Device(_) => Identity::Device(numbers(metadata.rdev())),
        };
        if found == expected {
            return Ok(self);
        }
        Err(Error::InvalidArgument(format!(
            "{} is another file or device than a moment ago; nothing was written",
            self.path.display()
        )))
    }

    fn open_file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File { file, .. } | Kind::Device(file) => Some(file),
            Kind::Stream(_) | Kind::Diff { .. } => None,
        }
    }

    /// A pipe or whatever else takes bytes in order.
    #[must_use]
    pub fn stream(fd: OwnedFd) -> Self {
        Self::of(Kind::Stream(fd.into()), None, Path::new("the output"))
    }

    /// A pipe to whoever applies a diff (version 1 of rbd's, [`crate::source::rbd_diff`]) to an image of
    /// `size_bytes`. It takes writes at any offset and cannot be read. `is_blank`: the image has zeros
    /// wherever nothing is written. That all was applied is for the one to say who reads it.
    #[must_use]
    pub fn diff(fd: OwnedFd, size_bytes: u64, is_blank: bool) -> Self {
        let kind = Kind::Diff { file: Mutex::new(fd.into()), is_blank, size_bytes };
        Self::of(kind, None, Path::new("the image"))
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// Whether what it holds can be looked at.
    pub(super) fn is_readable(&self) -> bool {
        self.open_file().is_some()
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the target its size, or checks it. A file loses what it held unless `keeps_content`.
    /// Returns the bytes that the target has beyond `size_bytes`.
    pub(super) fn prepare(&mut self, size_bytes: u64, keeps_content: bool) -> Result<u64> {
        match &mut self.kind {
            Kind::Stream(_) => Ok(0),
            Kind::File { file, is_blank, .. } => {
                *is_blank |= !keeps_content;
                let emptied = if keeps_content { Ok(()) } else { file.set_len(0) };
                let sized = emptied.and_then(|()| file.set_len(size_bytes));
                sized.map_err(|source| failed(&self.path, 0, source)).inspect_err(|_| self.discard())?;
                // Its holes are looked for, and are only believed of what is on the medium.
                if keeps_content { self.sync_content() } else { Ok(()) }.map(|()| 0)
            }
            Kind::Diff { size_bytes: found, .. } => {
                let found = *found;
                let tail_bytes = self.tail_beyond(size_bytes, found)?;
                // It has no record of the size: whoever applies it would cut the image to that.
                self.send(DIFF_HEADER, &[]).map_err(|source| failed(&self.path, 0, source))?;
                Ok(tail_bytes)
            }
            Kind::Device(file) => {
                let found =
                    seek(&*file, SeekFrom::End(0)).map_err(std::io::Error::from).at("sizing", &self.path)?;
                self.tail_beyond(size_bytes, found)
            }
        }
    }

    fn tail_beyond(&self, needed: u64, found: u64) -> Result<u64> {
        let too_small = || Error::TargetTooSmall { path: self.path.clone(), found, needed };
        found.checked_sub(needed).ok_or_else(too_small)
    }

    /// Bytes of a file or device.
    pub(super) fn size_bytes(&self) -> Result<u64> {
        let Some(file) = self.open_file() else { return Ok(0) };
        seek(file, SeekFrom::End(0)).map_err(std::io::Error::from).at("sizing", &self.path)
    }

    /// Bytes of a sector of a device.
    pub(super) fn sector_bytes(&self) -> Option<u32> {
        let Kind::Device(file) = &self.kind else { return None };
        rustix::fs::ioctl_blksszget(file).ok()
    }

    /// Whether the last sector holds a GPT header; one that cannot be read holds none.
    pub(super) fn ends_with_table(&self) -> bool {
        let Ok(size_bytes) = self.size_bytes() else { return false };
        [512, 4096].into_iter().any(|sector| {
            let mut signature = [0; GPT_SIGNATURE.len()];
            let at = (size_bytes / sector * sector).checked_sub(sector);
            at.is_some_and(|at| self.read(&mut signature, at).is_ok()) && signature == *GPT_SIGNATURE
        })
    }

    /// Has the kernel look at the partitions of a device anew (BLKRRPART). False where it knows some
    /// and cannot, since one of them is in use.
    pub(super) fn show_partitions(&self) -> bool {
        use std::os::fd::AsRawFd;
        let Kind::Device(file) = &self.kind else { return true };
        // SAFETY: the request takes a borrowed, open descriptor and no argument.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), BLKRRPART) };
        // What is no whole disk, or has no partitions, says EINVAL or ENOTTY.
        result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EBUSY)
    }

    /// Takes the head away before anything else is changed, so that what is half written is taken by
    /// nobody for a whole. Once; what stood there is remembered.
    pub(super) fn take_head_away(&self, head_len: u64) -> Result<()> {
        if head_len == 0 || self.is_blank() || self.is_stream() {
            return Ok(());
        }
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if head.is_some() {
            return Ok(());
        }
        if !self.is_readable() {
            self.zero(0..head_len, &mut Restored::default())?;
            *head = Some(Vec::new());
            return Ok(());
        }
        let len = usize::try_from(head_len).unwrap_or(0);
        let mut buffer = AlignedBuffer::new(len);
        match self.read(buffer.as_mut_slice(), 0) {
            // What its medium does not give is nothing that could be mistaken for a whole disk.
            Err(error) if error.is_unreadable() => {}
            other => other?,
        }
        let before = buffer.as_slice().to_vec();
        buffer.as_mut_slice().fill(0);
        self.write(buffer.as_slice(), 0)?;
        self.sync_content()?;
        *head = Some(before);
        Ok(())
    }

    /// The head was written again.
    pub(super) fn head_is_back(&self) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// What stood in the head before it was taken away; nothing once it is back.
    pub(super) fn earlier_head(&self) -> Option<Vec<u8>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a file system find room for ranges of a file that holds nothing yet. ext4 lets several write past
    /// the page cache at once only where there is room already, and a lack of space shows before hours
    /// were spent. Other targets, and file systems that do not know this, are left as they are.
    ///
    /// # Errors
    /// `Target` where there is not so much space.
    pub(super) fn make_room(&self, ranges: &[Range<u64>]) -> Result<()> {
        let (Kind::File { file, is_blank: true, .. }, Some(_)) = (&self.kind, &self.direct) else {
            return Ok(());
        };
        for range in ranges {
            let (start, len) = (range.start, range.end - range.start);
            // Whatever else it is shows in the writes, or does not matter.
            if let Err(error @ (Errno::NOSPC | Errno::DQUOT)) =
                fallocate(file, FallocateFlags::KEEP_SIZE, start, len)
            {
                return Err(failed(&self.path, start, error.into()));
            }
        }
        Ok(())
    }

    /// Writes bytes; a stream takes them in order and ignores the offset.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let buffered = || match &self.kind {
            Kind::Stream(file) => write_stream(file, bytes),
            Kind::File { file, .. } | Kind::Device(file) => FileExt::write_all_at(file, bytes, offset),
            Kind::Diff { .. } => self.send(&diff_record(b'w', offset, bytes.len() as u64), bytes),
        };
        let written = match &self.direct {
            Some(direct) if is_aligned(bytes, offset) => match FileExt::write_all_at(direct, bytes, offset) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => buffered(),
                other => other,
            },
            _ => buffered(),
        };
        written.map_err(|source| failed(&self.path, offset, source))
    }

    /// Fills `into`; what is beyond the end is zeros.
    pub(super) fn read(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let Some(file) = self.open_file() else { return Err(Error::InvalidArgument(NOT_READ.into())) };
        let count = match &self.direct {
            Some(direct) if is_aligned(into, offset) => match ReadAt::read_at(direct, into, offset) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => ReadAt::read_at(file, into, offset),
                other => other,
            },
            _ => ReadAt::read_at(file, into, offset),
        };
        let count = count.at("reading", &self.path)?;
        into.get_mut(count..).unwrap_or(&mut []).fill(0);
        Ok(())
    }

    /// As [`Target::read`], with the head as it was before it was taken away.
    pub(super) fn read_as_before(&self, into: &mut [u8], offset: u64) -> Result<()> {
        self.read(into, offset)?;
        if let Some(head) = self.earlier_head() {
            let skip = usize::try_from(offset).unwrap_or(usize::MAX);
            into.iter_mut().zip(head.iter().skip(skip)).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }

    /// The first stretch from `offset` on, before `end`, that may hold other than zeros.
    pub(super) fn data_after(&self, offset: u64, end: u64) -> Option<Range<u64>> {
        let Kind::File { file, .. } = &self.kind else { return (offset < end).then_some(offset..end) };
        let start = match seek(file, SeekFrom::Data(offset)) {
            Ok(start) => start.max(offset),
            Err(Errno::NXIO) => return None,
            Err(_) => return (offset < end).then_some(offset..end),
        };
        let stop = seek(file, SeekFrom::Hole(start)).unwrap_or(end).min(end);
        (start < stop).then_some(start..stop)
    }

    /// Whether it has zeros wherever nothing was written.
    pub(super) fn is_blank(&self) -> bool {
        matches!(self.kind, Kind::File { is_blank: true, .. } | Kind::Diff { is_blank: true, .. })
    }

    /// Makes a range zeros: by a hole, or by whatever the device does when it is asked for zeros
    /// (fallocate(2) on a block device: PUNCH_HOLE reads back as zeros or fails, ZERO_RANGE is
    /// BLKZEROOUT), or by writing them.
    pub(super) fn zero(&self, range: Range<u64>, restored: &mut Restored) -> Result<()> {
        let len = range.end - range.start;
        if self.is_blank() {
            restored.skipped_bytes += len;
            return Ok(());
        }
        let file = match &self.kind {
            Kind::File { file, .. } | Kind::Device(file) => file,
            Kind::Stream(_) => return self.write_zeros(range, restored),
            Kind::Diff { .. } => {
                let sent = self.send(&diff_record(b'z', range.start, len), &[]);
                sent.map_err(|source| failed(&self.path, range.start, source))?;
                restored.discarded_bytes += len;
                return Ok(());
            }
        };
        // Devices zero whole sectors only; the range need not begin or end with one.
        let alignment = ALIGNMENT as u64;
        let start = range.start.next_multiple_of(alignment).min(range.end);
        let end = (range.end / alignment * alignment).max(start);
        self.write_zeros(range.start..start, restored)?;
        self.write_zeros(end..range.end, restored)?;
        if start == end {
            return Ok(());
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(file, punch, start, end - start).is_ok() {
            restored.discarded_bytes += end - start;
            return Ok(());
        }
        let is_device = matches!(self.kind, Kind::Device(_));
        if is_device && fallocate(file, FallocateFlags::ZERO_RANGE, start, end - start).is_ok() {
            restored.written_bytes += end - start;
            return Ok(());
        }
        self.write_zeros(start..end, restored)
    }

    /// Waits until the bytes are on stable storage.
    pub(super) fn sync_content(&self) -> Result<()> {
        self.open_file().map_or(Ok(()), |file| file.sync_all().at("syncing", &self.path))
    }

    /// Has what is read from now on come from the medium.
    pub(super) fn forget_cached(&self) {
        if let Some(file) = self.open_file() {
            file.forget_cached();
        }
    }

    /// Waits until everything is on stable storage, the name of a new file included.
    pub(super) fn sync(&self) -> Result<()> {
        match &self.kind {
            // Pipes cannot be synced, and files behind a redirection are the caller's.
            Kind::Stream(_) => Ok(()),
            // Without its end marker a diff is one that was cut off.
            Kind::Diff { .. } => self.send(b"e", &[]).map_err(|source| failed(&self.path, 0, source)),
            Kind::Device(file) => file.sync_all().at("syncing", &self.path),
            Kind::File { file, .. } => {
                file.sync_all().at("syncing", &self.path)?;
                let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                File::open(parent).and_then(|parent| parent.sync_all()).at("syncing", parent)
            }
        }
    }

    /// Removes a file that was made here.
    pub(super) fn discard(&self) {
        let Kind::File { is_new: true, file, .. } = &self.kind else { return };
        let is_still_there = std::fs::symlink_metadata(&self.path).is_ok_and(|there| {
            file.metadata().is_ok_and(|own| own.dev() == there.dev() && own.ino() == there.ino())
        });
        if is_still_there {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Sends one record of a diff.
    fn send(&self, head: &[u8], bytes: &[u8]) -> std::io::Result<()> {
        let Kind::Diff { file, .. } = &self.kind else { return Ok(()) };
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        write_stream(&file, head)?;
        write_stream(&file, bytes)
    }

    fn write_zeros(&self, range: Range<u64>, restored: &mut Restored) -> Result<()> {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(1 << 20);
        let zeros = AlignedBuffer::new(len);
        let mut at = range.start;
        while at < range.end {
            let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(len);
            self.write(zeros.as_slice().get(..len).unwrap_or(&[]), at)?;
            at += len as u64;
        }
        restored.written_bytes += range.end - range.start;
        Ok(())
    }
}

fn open_to_write(path: &Path, flags: OFlags) -> std::io::Result<File> {
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// The record of an extent, without its bytes: a tag, offset and length, little-endian.
fn diff_record(tag: u8, offset: u64, len: u64) -> [u8; 17] {
    let mut record = [tag; 17];
    let (_, numbers) = record.split_at_mut(1);
    let (first, second) = numbers.split_at_mut(8);
    first.copy_from_slice(&offset.to_le_bytes());
    second.copy_from_slice(&len.to_le_bytes());
    record
}

/// A second descriptor of an open file or device, past the page cache.
fn direct_to(path: &Path, file: &File) -> Option<File> {
    let direct = open_to_write(path, OFlags::DIRECT).ok()?;
    let (one, other) = (file.metadata().ok()?, direct.metadata().ok()?);
    (one.dev() == other.dev() && one.ino() == other.ino()).then_some(direct)
}

/// Writes all of `bytes`, also to a pipe that whoever made it has set not to block.
fn write_stream(mut file: &File, bytes: &[u8]) -> std::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // A failed poll shows again, and better, in the write that follows.
                let _ = poll(&mut [PollFd::new(&file, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Major and minor.
pub(super) fn numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

fn is_aligned(bytes: &[u8], offset: u64) -> bool {
    let aligned = |number: usize| number.is_multiple_of(ALIGNMENT);
    aligned(bytes.as_ptr().addr()) && aligned(bytes.len()) && offset.is_multiple_of(ALIGNMENT as u64)
}

fn failed(path: &Path, offset: u64, source: std::io::Error) -> Error {
    Error::Target { path: path.to_owned(), offset, source }
}
