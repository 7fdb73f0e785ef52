//! The bytes of an open image file: through its window out of the image, and out of what was
//! written over it.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use cairn_core::image::{Covering, Image};
use cairn_core::map::ExtentState;
use cairn_core::units::BlockIndex;
use cairn_core::window::Window;
use cairn_core::{Error, Result};
use rustix::io::Errno;

use crate::entry::ImageEntry;
use crate::errno::errno_of;
use crate::overlay::{self, Overlay};
use crate::prefetch::{Pool, Stream, Task};

/// As many zeros as the kernel asks for at once. Never written, so the system backs all of it with
/// its one page of zeros.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; 1 << 20]);

thread_local! {
    /// Where a thread puts a read together. As large as the largest request that it has seen.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A range of the image that could not be read.
#[derive(Debug)]
pub(crate) struct ReadFault {
    pub(crate) errno: Errno,
    /// Where in the image, and why; one for each block that is damaged.
    pub(crate) ranges: Vec<(u64, u64, String)>,
}

/// See the module. Safe from many threads.
pub(crate) struct ImageFile {
    pub(crate) entry: Arc<ImageEntry>,
    window: Window,
    image: Arc<Image>,
    overlay: Option<Arc<Overlay>>,
    stream: Stream,
}

impl ImageFile {
    /// # Errors
    /// `InvalidArgument` for pieces that do not lie within the image.
    pub(crate) fn new(
        entry: Arc<ImageEntry>,
        image: Arc<Image>,
        overlay: Option<Arc<Overlay>>,
    ) -> Result<Self> {
        let window = Window::new(&entry.pieces, image.geometry().size_bytes())?;
        Ok(Self { entry, window, image, overlay, stream: Stream::default() })
    }

    /// Gives the `len` bytes at `offset` to `take`, fewer only at the end of the file. A read that
    /// fails in part fails as a whole, since the kernel takes a short answer for the end of the file.
    /// Afterwards blocks are decoded ahead for a reader that goes from front to back.
    pub(crate) fn read(
        &self,
        offset: u64,
        len: usize,
        pool: &Pool,
        take: impl FnOnce(std::result::Result<&[u8], ReadFault>),
    ) {
        self.stream.begin(offset, len as u64);
        self.read_only(offset, len, take);
        if let Some(ahead) = self.stream.note(offset, len as u64, self.window.size()) {
            self.read_ahead(ahead, pool);
        }
    }

    fn read_only(&self, offset: u64, len: usize, take: impl FnOnce(std::result::Result<&[u8], ReadFault>)) {
        let left = self.window.size().saturating_sub(offset);
        let len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        if len == 0 {
            return take(Ok(&[]));
        }
        let mut ranges = self.window.ranges(offset, len as u64);
        let first = ranges.next();
        if let (Some(only), None, None) = (first, ranges.next(), self.written()) {
            match self.image.covering(only.image_offset, len) {
                Ok(Some(Covering::Zeros)) => {
                    if let Some(zeros) = ZEROS.get(..len) {
                        return take(Ok(zeros));
                    }
                }
                Ok(Some(Covering::Block { bytes, start })) => {
                    if let Some(part) = bytes.get(start..start.saturating_add(len)) {
                        return take(Ok(part));
                    }
                }
                Ok(None) => {}
                Err(error) => return take(Err(self.fault(offset, len as u64, &error))),
            }
        }
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < len {
                scratch.resize(len, 0);
            }
            let into = scratch.get_mut(..len).unwrap_or(&mut []);
            let filled = self.fill(into, offset);
            take(filled.map(|()| &*into));
        });
    }

    fn read_ahead(&self, ahead: std::ops::Range<u64>, pool: &Pool) {
        let geometry = self.image.geometry();
        for range in self.window.ranges(ahead.start, ahead.end - ahead.start) {
            let last = geometry.block_at(range.image_offset + range.len - 1).0;
            for block in geometry.block_at(range.image_offset).0..=last {
                let block_end = geometry.offset_of(BlockIndex(block + 1));
                let end = range.window_offset + block_end.saturating_sub(range.image_offset).min(range.len);
                let (image, reached) = (self.image.clone(), self.stream.reached());
                if !pool.warm(Task { image, block, end, reached }) {
                    return;
                }
            }
        }
    }

    /// The first byte at or after `offset` that is data, or that is a hole; the end of the file is a
    /// hole (lseek(2)).
    ///
    /// # Errors
    /// `NXIO` past the end, and where no data follows; of the map.
    pub(crate) fn seek(&self, offset: u64, state: ExtentState) -> std::result::Result<u64, Errno> {
        let size = self.window.size();
        if offset >= size {
            return Err(Errno::NXIO);
        }
        if self.written().is_some() {
            // What was written lies anywhere: all of it counts as data.
            return Ok(if state == ExtentState::Data { offset } else { size });
        }
        let found = self.window.first(offset, |from| self.image.next(from, state));
        match (found.map_err(|error| errno_of(&error))?, state) {
            (Some(at), _) => Ok(at),
            (None, ExtentState::Zero) => Ok(size),
            (None, ExtentState::Data) => Err(Errno::NXIO),
        }
    }

    /// Takes what is written to a file that takes writes; nothing of the repository changes.
    ///
    /// # Errors
    /// `ROFS` for any other file, `FBIG` past its end, and of the temporary file.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> std::result::Result<(), Errno> {
        let overlay = self.overlay.as_ref().ok_or(Errno::ROFS)?;
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.window.size()) {
            return Err(Errno::FBIG);
        }
        overlay.write(bytes, offset).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn written(&self) -> Option<&Overlay> {
        self.overlay.as_deref().filter(|overlay| !overlay.is_empty())
    }

    fn fill(&self, into: &mut [u8], offset: u64) -> std::result::Result<(), ReadFault> {
        let len = into.len() as u64;
        let Some(overlay) = self.written() else {
            return self.fill_from_image(into, offset).map_err(|error| self.fault(offset, len, &error));
        };
        match overlay.read(into, offset, |part, at| self.fill_from_image(part, at)) {
            Ok(()) => Ok(()),
            Err(overlay::ReadError::Base(error)) => Err(self.fault(offset, len, &error)),
            Err(overlay::ReadError::Overlay(error)) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                Err(ReadFault { errno, ranges: Vec::new() })
            }
        }
    }

    fn fill_from_image(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let mut rest = into;
        for range in self.window.ranges(offset, rest.len() as u64) {
            let (part, after) = rest.split_at_mut(usize::try_from(range.len).unwrap_or(0));
            if self.image.read(part, range.image_offset)? != part.len() {
                return Err(Error::Worker);
            }
            rest = after;
        }
        Ok(())
    }

    /// Names the damaged blocks of a stretch of the window that could not be read.
    fn fault(&self, offset: u64, len: u64, error: &Error) -> ReadFault {
        let geometry = self.image.geometry();
        let mut ranges = Vec::new();
        for range in self.window.ranges(offset, len) {
            let last = geometry.block_at(range.image_offset + range.len - 1).0;
            for block in (geometry.block_at(range.image_offset).0..=last).map(BlockIndex) {
                if let Err(error) = self.image.warm(block.0) {
                    let len = u64::from(geometry.len_of(block));
                    ranges.push((geometry.offset_of(block), len, error.to_string()));
                }
            }
        }
        if ranges.is_empty() {
            // It could be read the second time, so the first failure is all there is to tell.
            let begin = self.window.ranges(offset, len).next().map_or(0, |range| range.image_offset);
            ranges.push((begin, len, error.to_string()));
        }
        // A missing segment is damage to whoever reads; only opening says that there is no such file.
        let errno = match errno_of(error) {
            Errno::NOENT => Errno::IO,
            errno => errno,
        };
        ReadFault { errno, ranges }
    }
}
