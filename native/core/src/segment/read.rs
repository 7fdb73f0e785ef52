//! Reading sealed segments.

use std::path::{Path, PathBuf};

use crate::codec;
use crate::digest::{Context, Digest};
use crate::error::{AtPath, Damage, Result, corrupt};
use crate::io::{File, Files, Mode};
use crate::record::{HEADER_LEN, Header, Kind};
use crate::units::{Ordinal, SegmentId};

use super::index::{IndexEntry, SegmentIndex, Trailer};
use super::{FILE_HEADER_LEN, FILE_MAGIC, FORMAT, TRAILER_LEN, path_of};

/// An open sealed segment. Reads may run at the same time; the descriptor keeps the file readable
/// when it is renamed over or unlinked.
pub struct SegmentReader {
    file: Box<dyn File>,
    path: PathBuf,
    id: SegmentId,
    index: SegmentIndex,
}

/// A record as it is stored: header checked, payload not yet decoded.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its header.
    pub header: Header,
    bytes: Vec<u8>,
}

impl Record {
    /// Decodes the payload into `plain` and checks it against the header's digest.
    ///
    /// # Errors
    /// [`Damage`]; `plain` is then undefined.
    pub fn decode_into(&self, plain: &mut [u8]) -> std::result::Result<(), Damage> {
        codec::decode_into(self.header.codec, self.payload(), plain)?;
        let found = Digest::of(self.header.kind.context(), plain);
        if found == self.header.digest {
            Ok(())
        } else {
            Err(Damage::Digest { ordinal: self.header.ordinal.0 })
        }
    }

    /// The encoded bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or(&[])
    }
}

impl SegmentReader {
    /// Opens a segment and checks its header, trailer and index.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when it is not sealed or damaged; `Io`.
    pub fn open(files: &dyn Files, segments: &Path, id: SegmentId) -> Result<Self> {
        Ok(Self::open_with_entries(files, segments, id)?.0)
    }

    /// As [`Self::open`], and gives the index with its digests.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_entries(
        files: &dyn Files,
        segments: &Path,
        id: SegmentId,
    ) -> Result<(Self, Vec<IndexEntry>)> {
        let path = path_of(segments, id);
        let file = files.open(&path, Mode::Read).at("opening", &path)?;
        let file_len = file.len().at("reading", &path)?;
        let broken = || corrupt(&path, Damage::Index);
        let read = |len: usize, offset: u64| {
            let mut bytes = vec![0; len];
            let count = file.read_at(&mut bytes, offset).at("reading", &path)?;
            if count == len { Ok(bytes) } else { Err(broken()) }
        };
        let trailer_at = file_len.checked_sub(TRAILER_LEN as u64).ok_or_else(broken)?;
        let trailer_bytes = read(TRAILER_LEN, trailer_at)?;
        let trailer = Trailer::decode(&trailer_bytes, file_len)
            .filter(|trailer| trailer.segment == id)
            .ok_or_else(broken)?;
        check_file_header(&read(FILE_HEADER_LEN, 0)?, id).ok_or_else(broken)?;
        let index_bytes = read(trailer.index_len(), trailer.index_offset)?;
        let entries = trailer.entries(&index_bytes, &trailer_bytes).ok_or_else(broken)?;
        let index = SegmentIndex::from_entries(&entries, trailer.index_offset).ok_or_else(broken)?;
        Ok((Self { file, path, id, index }, entries))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that it takes in memory.
    #[must_use]
    pub fn memory_len(&self) -> usize {
        self.index.len() * 12 + size_of::<Self>()
    }

    /// Waits until the file is on stable storage, for segments of an interrupted backup.
    ///
    /// # Errors
    /// Of the file system.
    pub fn sync(&self) -> Result<()> {
        self.file.sync().at("syncing", &self.path)
    }

    /// Reads a record and checks its header: that it is the wanted one, of the wanted kind and
    /// digest. One read. The payload is checked by [`Record::decode_into`].
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn record(&self, ordinal: Ordinal, kind: Kind, digest: &Digest) -> Result<Record> {
        let missing = || corrupt(&self.path, Damage::Missing { ordinal: ordinal.0 });
        let (offset, payload_len) = self.index.find(ordinal).ok_or_else(missing)?;
        let mut bytes = vec![0; HEADER_LEN + payload_len as usize];
        let count = self.file.read_at(&mut bytes, u64::from(offset)).at("reading", &self.path)?;
        if count != bytes.len() {
            return Err(missing());
        }
        let header = Header::decode(&bytes).map_err(|error| corrupt(&self.path, error))?;
        let wanted =
            header.segment == self.id && header.ordinal == ordinal && header.payload_len == payload_len;
        if !wanted || header.kind != kind {
            return Err(missing());
        }
        if header.digest != *digest {
            return Err(corrupt(&self.path, Damage::Digest { ordinal: ordinal.0 }));
        }
        Ok(Record { header, bytes })
    }

    /// Whether the record is there with this digest, by its header alone.
    #[must_use]
    pub fn holds(&self, ordinal: Ordinal, kind: Kind, digest: &Digest) -> bool {
        let Some((offset, payload_len)) = self.index.find(ordinal) else { return false };
        let mut bytes = [0; HEADER_LEN];
        let read = self.file.read_at(&mut bytes, u64::from(offset)).is_ok_and(|count| count == HEADER_LEN);
        let header = Header::decode(&bytes).ok().filter(|_| read);
        header.is_some_and(|header| {
            header.segment == self.id
                && header.ordinal == ordinal
                && header.kind == kind
                && header.payload_len == payload_len
                && header.digest == *digest
        })
    }
}

fn check_file_header(bytes: &[u8], id: SegmentId) -> Option<()> {
    let (checked, check) = bytes.split_last_chunk::<8>()?;
    let (magic, rest) = checked.split_first_chunk::<8>()?;
    let (&[low, high, _, _], rest) = rest.split_first_chunk::<4>()?;
    let found_id = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    let good = *magic == FILE_MAGIC
        && u16::from_le_bytes([low, high]) == FORMAT
        && found_id == id.0
        && Digest::of(Context::Header, checked).prefix().to_le_bytes() == *check;
    good.then_some(())
}
