//! Writing a segment.
//!
//! A segment is written under a temporary name and gets its own only after its last sync went well:
//! the name is the mark that every byte is on stable storage. A file that holds all its bytes proves
//! nothing, since after a failed sync they may be in memory alone, and a second sync says nothing of
//! them (fsync(2), "EIO").

use std::path::{Path, PathBuf};

use crate::codec::Codec;
use crate::digest::{Context, Digest};
use crate::error::{AtPath, Error, Result};
use crate::io::{File, Files, Mode, TEMPORARY_SUFFIX};
use crate::record::{Header, Kind};
use crate::units::{Ordinal, SegmentId};

use super::index::{self, IndexEntry};
use super::{FILE_HEADER_LEN, FILE_MAGIC, FORMAT, FORMAT_MIN, RECORD_COUNT_MAX, SEGMENT_LEN_TARGET, path_of};

/// Bytes that are gathered before they are written.
const BUFFER_LEN: usize = 1024 * 1024;
/// Bytes after which write-back is asked for, so that sealing has little left to wait for.
const WRITEBACK_LEN: u64 = 8 * 1024 * 1024;

/// A segment that is being written by one thread. Dropped unsealed, it leaves a temporary file,
/// which whoever holds the disk's lock unlinks.
pub struct SegmentWriter {
    file: Box<dyn File>,
    path: PathBuf,
    temporary: PathBuf,
    id: SegmentId,
    disk_id: [u8; 16],
    created_unix_s: u64,
    buffer: Vec<u8>,
    written: u64,
    writeback_from: u64,
    entries: Vec<IndexEntry>,
}

/// A segment whose bytes, index included, are on stable storage. Its name is, once the directory
/// was synced.
#[derive(Clone, Debug)]
pub struct SealedSegment {
    /// Its number.
    pub id: SegmentId,
    /// What it holds.
    pub entries: Vec<IndexEntry>,
}

impl SegmentWriter {
    /// Begins a segment whose file must not exist yet.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create(
        files: &dyn Files,
        segments: &Path,
        id: SegmentId,
        disk_id: [u8; 16],
        created_unix_s: u64,
    ) -> Result<Self> {
        let path = path_of(segments, id);
        let temporary = temporary_path_of(segments, id);
        let file = files.open(&temporary, Mode::CreateNew).at("creating", &temporary)?;
        // Whoever holds the temporary name is the only one who can come to the other, so it is
        // enough to look once.
        match files.identity(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            found => {
                let _ = files.unlink(&temporary);
                let error = found.err().unwrap_or_else(|| std::io::ErrorKind::AlreadyExists.into());
                return Err(Error::Io { action: "creating", path, source: error });
            }
        }
        let mut buffer = Vec::with_capacity(BUFFER_LEN + FILE_HEADER_LEN);
        buffer.extend_from_slice(&file_header(FORMAT_MIN, id, disk_id, created_unix_s));
        Ok(Self {
            file,
            path,
            temporary,
            id,
            disk_id,
            created_unix_s,
            buffer,
            written: 0,
            writeback_from: 0,
            entries: Vec::new(),
        })
    }

    /// The segment's number.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Bytes so far.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Bytes that the file will have once it is sealed.
    #[must_use]
    pub fn sealed_len(&self) -> u64 {
        self.file_len() + index::len_of(self.entries.len()) as u64
    }

    /// Whether the next record belongs into a new segment, where they are sealed at `len_target`
    /// bytes, at most [`SEGMENT_LEN_TARGET`].
    #[must_use]
    pub fn is_full(&self, len_target: u64) -> bool {
        self.file_len() >= len_target.min(SEGMENT_LEN_TARGET)
            || self.entries.len() >= RECORD_COUNT_MAX as usize
    }

    /// Appends a record and gives its number. Nothing is durable before [`Self::seal`].
    ///
    /// # Errors
    /// Of the file system; the segment must then be given up.
    pub fn append(
        &mut self,
        kind: Kind,
        codec: Codec,
        digest: Digest,
        plain_len: u32,
        payload: &[u8],
    ) -> Result<Ordinal> {
        let ordinal = Ordinal(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let offset = u32::try_from(self.file_len()).unwrap_or(u32::MAX);
        let header = Header { kind, codec, segment: self.id, ordinal, plain_len, payload_len, digest };
        self.entries.push(IndexEntry { ordinal, offset, payload_len, kind, codec, digest });
        self.buffer.extend_from_slice(&header.encode());
        self.buffer.extend_from_slice(payload);
        if self.buffer.len() >= BUFFER_LEN {
            self.flush()?;
        }
        Ok(ordinal)
    }

    /// Syncs the records, appends index and trailer, syncs those, and only then gives the file its
    /// name: a segment under its name is whole and durable.
    ///
    /// # Errors
    /// Of the file system; the segment must then be given up and its temporary file unlinked.
    pub fn seal(mut self, files: &dyn Files) -> Result<SealedSegment> {
        self.flush()?;
        let format = format_for(&self.entries);
        if format != FORMAT_MIN {
            let header = file_header(format, self.id, self.disk_id, self.created_unix_s);
            self.file.write_all_at(&header, 0).at("writing", &self.temporary)?;
        }
        self.file.sync().at("syncing", &self.temporary)?;
        let next_ordinal = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let tail = index::encode(self.id, &self.entries, self.written, next_ordinal);
        self.file.write_all_at(&tail, self.written).at("writing", &self.temporary)?;
        self.file.sync().at("syncing", &self.temporary)?;
        files.rename(&self.temporary, &self.path).at("naming", &self.path)?;
        Ok(SealedSegment { id: self.id, entries: self.entries })
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all_at(&self.buffer, self.written).at("writing", &self.temporary)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.writeback_from >= WRITEBACK_LEN {
            self.file.start_writeback(self.writeback_from, self.written - self.writeback_from);
            self.writeback_from = self.written;
        }
        Ok(())
    }
}

/// What the file of a segment is called until it is sealed.
pub(crate) fn temporary_path_of(segments: &Path, id: SegmentId) -> PathBuf {
    segments.join(format!("{id}.seg{TEMPORARY_SUFFIX}"))
}

/// The format of a segment with these records.
pub(super) fn format_for(entries: &[IndexEntry]) -> u16 {
    if entries.iter().any(|entry| entry.codec == Codec::ZstdPrefix) { FORMAT } else { FORMAT_MIN }
}

/// File header, 64 bytes: magic `CAIRNSEG`, format 2, reserved 2, segment 4, id of the disk 16, time
/// of creation in seconds since 1970 8, reserved 16, check 8.
pub(super) fn file_header(format: u16, id: SegmentId, disk_id: [u8; 16], created_unix_s: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(FILE_HEADER_LEN);
    out.extend_from_slice(&FILE_MAGIC);
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(&disk_id);
    out.extend_from_slice(&created_unix_s.to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    let check = Digest::of(Context::Header, &out).prefix();
    out.extend_from_slice(&check.to_le_bytes());
    out
}

const _: () = assert!(RECORD_COUNT_MAX <= crate::units::ORDINAL_MAX);
const _: () = assert!(SEGMENT_LEN_TARGET + (crate::record::PLAIN_LEN_MAX as u64) < u32::MAX as u64);
