//! An export as a source: bytes at offsets, what is a hole, what a bitmap says has changed.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::client::Context;
use super::dirty::Gathered;
use super::pool::{Address, Pool};
use super::{NbdError, Patience};
use crate::error::{Error, Result};
use crate::source::Ahead;

/// Bit of `base:allocation`: it reads as zeros.
const IS_ZERO: u32 = 1 << 1;
/// Answers in a row that tell of nothing but holes; a server that tells of a few bytes at a time shall not
/// keep anybody for ever.
const HOLE_ANSWERS_MAX: u32 = 4096;
/// Bytes that then are read to see.
const UNKNOWN_LEN: u64 = 1 << 16;
/// Dirty extents that are kept: 16 MiB of memory.
const EXTENTS_MAX: usize = 1 << 20;

/// An export of an NBD server at a unix socket. Reads may run at the same time, over a connection each
/// where the server allows it. The server is not trusted: it can fail a read, not break it.
pub struct NbdSource {
    name: PathBuf,
    pool: Pool,
    notes: Vec<String>,
    known: Mutex<Known>,
}

/// The answer that was given last on data and holes.
#[derive(Default)]
struct Known {
    range: Range<u64>,
    /// In it, rising, none touching another.
    data: Vec<Range<u64>>,
}

impl NbdSource {
    /// Connects to the export `export_name` of the server at `socket`; with `bitmap`, the name of a dirty bitmap of QEMU,
    /// [`NbdSource::dirty_extents`] can be asked for. May wait for a minute.
    ///
    /// # Errors
    /// `Nbd`.
    pub fn open(socket: &Path, export_name: &str, bitmap: Option<&str>) -> Result<Self> {
        Self::open_with(socket, export_name, bitmap, Patience::default())
    }

    /// As [`NbdSource::open`], with other limits of time.
    ///
    /// # Errors
    /// `Nbd`.
    pub fn open_with(
        socket: &Path,
        export_name: &str,
        bitmap: Option<&str>,
        patience: Patience,
    ) -> Result<Self> {
        let name = PathBuf::from(format!("nbd+unix:///{export_name}?socket={}", socket.display()));
        let address = Address {
            socket: socket.to_owned(),
            export: export_name.to_owned(),
            bitmap: bitmap.map(str::to_owned),
            patience,
        };
        let pool = Pool::open(address).map_err(|why| Error::Nbd { path: name.clone(), why })?;
        let mut notes = Vec::new();
        if pool.export().allocation.is_none() {
            notes.push("the NBD server does not tell what is a hole, so all of it was read".to_owned());
        }
        Ok(Self { name, pool, notes, known: Mutex::default() })
    }

    /// Export and socket, as an NBD URI.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.pool.export().size_bytes
    }

    /// Sentences about how it is read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Fills `into` from `offset`, at any alignment.
    ///
    /// # Errors
    /// `SourceShort` beyond the end; `Source` with the offset otherwise. Once a connection was lost, every
    /// read fails.
    pub fn read(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let expected = offset.saturating_add(into.len() as u64);
        if expected > self.size_bytes() {
            return Err(Error::SourceShort { path: self.name.clone(), expected, found: self.size_bytes() });
        }
        self.pool.run(|client| client.read(into, offset)).map_err(|why| self.failed(offset, why))
    }

    /// What comes at or after `offset`. A sequential walk asks the server once for each of its answers, not
    /// for each extent.
    #[must_use]
    pub fn data_after(&self, offset: u64) -> Ahead {
        if self.pool.export().allocation.is_none() {
            return Ahead::Unknown;
        }
        let size = self.size_bytes();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        for _ in 0..HOLE_ANSWERS_MAX {
            if at >= size {
                return Ahead::Hole;
            }
            if !known.range.contains(&at) {
                match self.look(at) {
                    Ok(found) => *known = found,
                    // Whatever keeps the server from answering shows again, and better, in the read that follows.
                    Err(_) => return Ahead::Unknown,
                }
            }
            let next = known.data.partition_point(|data| data.end <= at);
            if let Some(data) = known.data.get(next) {
                return Ahead::Data(data.start.max(at)..data.end);
            }
            at = known.range.end;
        }
        Ahead::Data(at..at.saturating_add(UNKNOWN_LEN).min(size))
    }

    /// What the bitmap says may have changed, in rising order, none touching another. `check` is asked
    /// before each question to the server.
    ///
    /// # Errors
    /// `Source`, also where no bitmap was asked for; what `check` gives.
    pub fn dirty_extents(&self, check: &dyn Fn() -> Result<()>) -> Result<Vec<Range<u64>>> {
        let size = self.size_bytes();
        let mut gathered = Gathered::new(EXTENTS_MAX);
        let mut at = 0;
        while at < size {
            check()?;
            let asked = self.pool.run(|client| {
                client.extents(Context::Bitmap, at, size, |extent, flags| {
                    // One bit has a meaning; another one could hardly mean that nothing changed.
                    if flags != 0 {
                        gathered.add(extent);
                    }
                })
            });
            at = asked.map_err(|why| self.failed(at, why))?;
        }
        Ok(gathered.into_extents())
    }

    /// Asks for data and holes from `at` on, which is rounded down to what the server takes.
    fn look(&self, at: u64) -> std::result::Result<Known, NbdError> {
        let min = u64::from(self.pool.export().request_min);
        let start = at / min * min;
        let mut gathered = Gathered::new(usize::MAX);
        let end = self.pool.run(|client| {
            client.extents(Context::Allocation, start, self.size_bytes(), |extent, flags| {
                // A hole that is not said to be zeros holds anything.
                if flags & IS_ZERO == 0 {
                    gathered.add(extent);
                }
            })
        })?;
        if end <= at {
            return Err(NbdError::Extents);
        }
        Ok(Known { range: start..end, data: gathered.into_extents() })
    }

    fn failed(&self, offset: u64, why: NbdError) -> Error {
        Error::Source { path: self.name.clone(), offset, source: std::io::Error::other(why) }
    }
}
