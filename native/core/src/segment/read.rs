//! Reading sealed segments.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::{self, Codec};
use crate::digest::{Context, Digest};
use crate::error::{AtPath, Damage, Error, Result, corrupt};
use crate::io::{File, Files, Mode};
use crate::record::{Base, HEADER_LEN, Header, Kind};
use crate::units::{Ordinal, SegmentId};

use super::index::{IndexEntry, SegmentIndex, Trailer};
use super::{FILE_HEADER_LEN, FILE_MAGIC, FORMAT, FORMAT_MIN, TRAILER_LEN, path_of};

/// An open sealed segment. Reads may run at the same time; the descriptor keeps the file readable
/// when it is renamed over or unlinked.
pub struct SegmentReader {
    file: Box<dyn File>,
    path: PathBuf,
    id: SegmentId,
    index: SegmentIndex,
}

/// Scratch space that a thread keeps: stored records of the common block sizes. What a larger one
/// took is given back after each read.
const SCRATCH_LEN_KEPT: usize = 256 * 1024;

thread_local! {
    /// Of one read, and of that of its base which it waits for.
    static SCRATCH: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Where the blocks come from that others are encoded against.
pub trait Bases {
    /// The plain bytes of a base, which have its digest.
    ///
    /// # Errors
    /// `Corrupt` where it is not there, or is itself encoded against another block; `NotFound`, `Io`.
    fn base(&self, base: &Base) -> Result<Arc<[u8]>>;
}

/// What a pointer asks for, and where the index says that it is.
struct Wanted<'a> {
    ordinal: Ordinal,
    kind: Kind,
    digest: &'a Digest,
    offset: u64,
    payload_len: usize,
}

/// A sealed segment as it was found, all but its records checked.
pub(super) struct Opened {
    pub(super) file: Box<dyn File>,
    pub(super) path: PathBuf,
    pub(super) trailer: Trailer,
    pub(super) entries: Vec<IndexEntry>,
    pub(super) index: SegmentIndex,
}

impl Opened {
    pub(super) fn open(files: &dyn Files, segments: &Path, id: SegmentId) -> Result<Self> {
        let path = path_of(segments, id);
        let file = files.open(&path, Mode::Read).at("opening", &path)?;
        let file_len = file.len().at("reading", &path)?;
        let broken = || corrupt(&path, Damage::Index);
        let read = |len: usize, offset: u64| {
            let mut bytes = vec![0; len];
            let count = file.read_at(&mut bytes, offset).at("reading", &path)?;
            if count == len { Ok(bytes) } else { Err(broken()) }
        };
        let header = read(FILE_HEADER_LEN, 0)?;
        refuse_newer_header(&header, &path)?;
        let trailer_at = file_len.checked_sub(TRAILER_LEN as u64).ok_or_else(broken)?;
        let trailer_bytes = read(TRAILER_LEN, trailer_at)?;
        let trailer = Trailer::decode(&trailer_bytes, file_len)
            .filter(|trailer| trailer.segment == id)
            .ok_or_else(broken)?;
        check_file_header(&header, id).ok_or_else(broken)?;
        let index_bytes = read(trailer.index_len(), trailer.index_offset)?;
        let entries = trailer.entries(&index_bytes, &trailer_bytes).ok_or_else(broken)?;
        let index = SegmentIndex::from_entries(&entries, trailer.index_offset).ok_or_else(broken)?;
        Ok(Self { file, path, trailer, entries, index })
    }
}

impl SegmentReader {
    /// Opens a segment and checks its header, trailer and index.
    ///
    /// # Errors
    /// `NotFound`; `TooNew`; `Corrupt` when it is not sealed or damaged; `Io`.
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
        let Opened { file, path, entries, index, .. } = Opened::open(files, segments, id)?;
        Ok((Self { file, path, id, index }, entries))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file was written anew or unlinked since it was opened.
    #[must_use]
    pub fn is_replaced(&self, files: &dyn Files) -> bool {
        let own = self.file.identity();
        match files.identity(&self.path) {
            Ok(there) => own.is_ok_and(|own| own != there),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
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

    /// Reads a record into `plain`, whose length is what it must have: checks that its header is the
    /// wanted one, of the wanted kind and digest, and that the decoded bytes have this digest. Where
    /// it is encoded against another block, that one comes from `bases`; without any, such a record
    /// counts as missing.
    ///
    /// # Errors
    /// `Corrupt`, `Io`, and of `bases`; `plain` is then undefined.
    pub fn read_into(
        &self,
        ordinal: Ordinal,
        kind: Kind,
        digest: &Digest,
        bases: Option<&dyn Bases>,
        plain: &mut [u8],
    ) -> Result<()> {
        let wanted = self.find(ordinal, kind, digest)?;
        if wanted.payload_len == plain.len() {
            return self.read_in_place(&wanted, bases, plain);
        }
        self.fetch(&wanted, |header, payload| self.decode(header, payload, bases, plain))
    }

    /// As [`Self::read_into`], where the length is not known: it is what the header says.
    ///
    /// # Errors
    /// As [`Self::read_into`].
    pub fn read(
        &self,
        ordinal: Ordinal,
        kind: Kind,
        digest: &Digest,
        bases: Option<&dyn Bases>,
    ) -> Result<Vec<u8>> {
        let wanted = self.find(ordinal, kind, digest)?;
        self.fetch(&wanted, |header, payload| {
            let mut plain = vec![0; header.plain_len as usize];
            self.decode(header, payload, bases, &mut plain).map(|()| plain)
        })
    }

    fn find<'a>(&self, ordinal: Ordinal, kind: Kind, digest: &'a Digest) -> Result<Wanted<'a>> {
        let (offset, payload_len) = self.index.find(ordinal).ok_or_else(|| self.missing(ordinal))?;
        Ok(Wanted { ordinal, kind, digest, offset: offset.into(), payload_len: payload_len as usize })
    }

    /// Reads header and payload at once, into scratch space.
    fn fetch<T>(
        &self,
        wanted: &Wanted<'_>,
        use_record: impl FnOnce(&Header, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
        let len = HEADER_LEN + wanted.payload_len;
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        let bytes = scratch.get_mut(..len).unwrap_or(&mut []);
        let fetched = self.fill(bytes, wanted.offset, wanted).and_then(|()| {
            let header = self.check(bytes, wanted)?;
            use_record(&header, bytes.get(HEADER_LEN..).unwrap_or(&[]))
        });
        if scratch.len() <= SCRATCH_LEN_KEPT {
            SCRATCH.with_borrow_mut(|all| all.push(scratch));
        }
        fetched
    }

    /// Reads a payload that is as long as the block: it is the block, unless a foreign writer
    /// encoded it all the same.
    fn read_in_place(&self, wanted: &Wanted<'_>, bases: Option<&dyn Bases>, plain: &mut [u8]) -> Result<()> {
        let mut head = [0; HEADER_LEN];
        self.fill(&mut head, wanted.offset, wanted)?;
        let header = self.check(&head, wanted)?;
        self.fill(plain, wanted.offset + HEADER_LEN as u64, wanted)?;
        if header.codec != Codec::Plain {
            let payload = plain.to_vec();
            return self.decode(&header, &payload, bases, plain);
        }
        self.verify(&header, plain)
    }

    fn fill(&self, into: &mut [u8], offset: u64, wanted: &Wanted<'_>) -> Result<()> {
        let count = self.file.read_at(into, offset).at("reading", &self.path)?;
        if count == into.len() { Ok(()) } else { Err(self.missing(wanted.ordinal)) }
    }

    fn check(&self, bytes: &[u8], wanted: &Wanted<'_>) -> Result<Header> {
        let header = Header::decode(bytes).map_err(|error| corrupt(&self.path, error))?;
        let is_wanted = header.segment == self.id
            && header.ordinal == wanted.ordinal
            && header.payload_len as usize == wanted.payload_len
            && header.kind == wanted.kind;
        if !is_wanted {
            return Err(self.missing(wanted.ordinal));
        }
        if header.digest != *wanted.digest {
            return Err(self.differs(wanted.ordinal));
        }
        Ok(header)
    }

    fn decode(
        &self,
        header: &Header,
        payload: &[u8],
        bases: Option<&dyn Bases>,
        plain: &mut [u8],
    ) -> Result<()> {
        if header.plain_len as usize != plain.len() {
            return Err(self.missing(header.ordinal));
        }
        let decoded = if header.codec == Codec::ZstdPrefix {
            let (base, frame) = Base::split(payload).ok_or_else(|| self.differs(header.ordinal))?;
            let bases = bases.ok_or_else(|| self.missing(header.ordinal))?;
            codec::decode_against(&bases.base(&base)?, frame, plain)
        } else {
            codec::decode_into(header.codec, payload, plain)
        };
        decoded.map_err(|error| corrupt(&self.path, error))?;
        self.verify(header, plain)
    }

    fn verify(&self, header: &Header, plain: &[u8]) -> Result<()> {
        if Digest::of(header.kind.context(), plain) == header.digest {
            return Ok(());
        }
        Err(self.differs(header.ordinal))
    }

    fn differs(&self, ordinal: Ordinal) -> Error {
        corrupt(&self.path, Damage::Digest { ordinal: ordinal.0 })
    }

    fn missing(&self, ordinal: Ordinal) -> Error {
        corrupt(&self.path, Damage::Missing { ordinal: ordinal.0 })
    }

    /// Whether the record is there with this digest, by its header alone.
    #[must_use]
    pub fn holds(&self, ordinal: Ordinal, kind: Kind, digest: &Digest) -> bool {
        self.header(ordinal).is_some_and(|header| header.kind == kind && header.digest == *digest)
    }

    /// The header of a record, where it is the one that the index tells of.
    #[must_use]
    pub fn header(&self, ordinal: Ordinal) -> Option<Header> {
        let (offset, payload_len) = self.index.find(ordinal)?;
        let mut bytes = [0; HEADER_LEN];
        let read = self.file.read_at(&mut bytes, u64::from(offset)).is_ok_and(|count| count == HEADER_LEN);
        let header = Header::decode(&bytes).ok().filter(|_| read);
        header.filter(|header| {
            header.segment == self.id && header.ordinal == ordinal && header.payload_len == payload_len
        })
    }

    /// What a block is encoded against, if it is encoded against anything. Decodes nothing.
    ///
    /// # Errors
    /// `Corrupt` where the record is not there, has another digest, or its payload is damaged so that
    /// this cannot be told; `Io`.
    pub fn base_of(&self, ordinal: Ordinal, digest: &Digest) -> Result<Option<Base>> {
        let wanted = self.find(ordinal, Kind::Block, digest)?;
        self.fetch(&wanted, |header, payload| match header.codec {
            Codec::ZstdPrefix => match Base::split(payload) {
                Some((base, _)) => Ok(Some(base)),
                None => Err(self.differs(ordinal)),
            },
            _ => Ok(None),
        })
    }
}

/// Looks at a segment's format alone.
///
/// # Errors
/// `TooNew`; `NotFound`, `Io`.
pub fn refuse_newer(files: &dyn Files, segments: &Path, id: SegmentId) -> Result<()> {
    let path = path_of(segments, id);
    let file = files.open(&path, Mode::Read).at("opening", &path)?;
    let mut header = [0; FILE_HEADER_LEN];
    let count = file.read_at(&mut header, 0).at("reading", &path)?;
    refuse_newer_header(header.get(..count).unwrap_or(&[]), &path)
}

/// A header that would be right if its format were ours has a damaged format, and not a later one.
fn refuse_newer_header(bytes: &[u8], path: &Path) -> Result<()> {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return Ok(()) };
    let Some((format, rest)) = rest.split_first_chunk::<2>() else { return Ok(()) };
    let found = u16::from_le_bytes(*format);
    let is_right_as = |format: u16| has_right_check(&[&magic[..], &format.to_le_bytes(), rest].concat());
    if *magic != FILE_MAGIC || found <= FORMAT || (FORMAT_MIN..=FORMAT).any(is_right_as) {
        return Ok(());
    }
    Err(Error::TooNew { path: path.to_owned(), found: found.into(), known: FORMAT.into() })
}

fn has_right_check(header: &[u8]) -> bool {
    let parts = header.split_last_chunk::<8>();
    parts
        .is_some_and(|(checked, check)| Digest::of(Context::Header, checked).prefix().to_le_bytes() == *check)
}

fn check_file_header(bytes: &[u8], id: SegmentId) -> Option<()> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (&[low, high, _, _], rest) = rest.split_first_chunk::<4>()?;
    let found_id = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    let good = *magic == FILE_MAGIC
        && (FORMAT_MIN..=FORMAT).contains(&u16::from_le_bytes([low, high]))
        && found_id == id.0
        && has_right_check(bytes);
    good.then_some(())
}
