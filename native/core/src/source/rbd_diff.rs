//! The diffs of Ceph's `rbd export-diff`, versions 1 and 2, as they arrive (doc/dev/rbd-diff.rst of Ceph).
//!
//! A header line, then records. Metadata come first, in any order: `f` and `t` name the snapshots that the
//! diff leads from and to, `s` is the size of the image afterwards. Data follow: `w` is an extent with its
//! bytes, `z` one of zeros. `e` ends it. Numbers are little-endian; in version 2 each record but the last
//! has its length after its tag, so that unknown metadata can be passed over.
//!
//! Whoever sends it is not trusted: a record that is out of order, overlaps another, leaves the image,
//! comes twice, is missing or follows the end is an error, and no length makes anything be allocated.

use std::ops::Range;

/// `rbd diff v1\n` and the like.
const HEADER_LEN: usize = 12;
const HEADER_V1: &[u8; HEADER_LEN] = b"rbd diff v1\n";
const HEADER_V2: &[u8; HEADER_LEN] = b"rbd diff v2\n";
/// Snapshot names are shorter; metadata that this version does not know are passed over up to there.
const METADATA_LEN_MAX: u64 = 64 * 1024;
const NAME_LEN_MAX: u64 = 4096;
/// As large as an image may be for a disk of this store.
const SIZE_MAX: u64 = 1 << 53;

/// What is wrong with a diff: a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DiffError {
    #[error("it does not begin as a diff of rbd does")]
    Header,
    #[error("it ends in the middle")]
    Truncated,
    #[error("it has a record of an unknown kind")]
    UnknownRecord,
    #[error("a record has another length than its kind")]
    RecordLength,
    #[error("it names a snapshot that is no text")]
    Name,
    #[error("it says the same thing twice")]
    Duplicate,
    #[error("data come before the size of the image")]
    NoSize,
    #[error("the size of the image is out of range")]
    Size,
    #[error("metadata come after data")]
    LateMetadata,
    #[error("an extent lies before the end of the one before it")]
    Order,
    #[error("an extent leaves the image")]
    Outside,
    #[error("bytes come after its end")]
    Trailing,
    #[error("it leads from another snapshot than it was asked to")]
    From,
    #[error("it leads to another snapshot than it was asked to")]
    To,
}

impl From<DiffError> for crate::Error {
    fn from(why: DiffError) -> Self {
        Self::Diff { path: "the diff".into(), why }
    }
}

/// What stands before the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffHead {
    /// The snapshot that the diff leads from; none where it leads from nothing.
    pub from: Option<String>,
    /// The snapshot that it leads to; none for the image as it was.
    pub to: Option<String>,
    /// Of the image afterwards.
    pub size_bytes: u64,
}

impl DiffHead {
    /// Whether it is the diff that was asked for.
    ///
    /// # Errors
    /// [`DiffError::From`] and [`DiffError::To`].
    pub fn require(&self, from: Option<&str>, to: &str) -> Result<(), DiffError> {
        if self.from.as_deref() != from {
            return Err(DiffError::From);
        }
        if self.to.as_deref() == Some(to) { Ok(()) } else { Err(DiffError::To) }
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiffRecord {
    /// Bytes of this extent follow, and are to be taken by [`RbdDiff::data`] before the next record.
    Data(Range<u64>),
    /// Zeros.
    Zero(Range<u64>),
    /// Nothing more.
    End,
}

/// Where bytes come from: fills as much of the slice as there is; less means the end.
pub trait Input {
    /// What keeps it from reading.
    type Error: From<DiffError>;

    /// See the trait.
    ///
    /// # Errors
    /// Of the input.
    fn fill(&mut self, into: &mut [u8]) -> Result<usize, Self::Error>;
}

/// A diff that is there as a whole.
impl Input for &[u8] {
    type Error = DiffError;

    fn fill(&mut self, into: &mut [u8]) -> Result<usize, DiffError> {
        // It gives what it has and never fails.
        std::io::Read::read(self, into).map_err(|_| DiffError::Truncated)
    }
}

/// A diff that is being read. Holds no bytes of it.
#[derive(Debug)]
pub struct RbdDiff {
    has_lengths: bool,
    head: DiffHead,
    /// The tag of the first record after the metadata, which has been read already.
    pending_tag: Option<u8>,
    /// The end of the last extent.
    at: u64,
    /// Bytes of it that were not taken yet.
    data_left: u64,
}

impl RbdDiff {
    /// Reads header and metadata.
    ///
    /// # Errors
    /// [`DiffError`]; of the input.
    pub fn open<I: Input + ?Sized>(input: &mut I) -> Result<Self, I::Error> {
        let mut header = [0; HEADER_LEN];
        exactly(input, &mut header)?;
        let has_lengths = match &header {
            HEADER_V1 => false,
            HEADER_V2 => true,
            _ => return Err(DiffError::Header.into()),
        };
        let mut diff =
            Self { has_lengths, head: DiffHead::default(), pending_tag: None, at: 0, data_left: 0 };
        let mut size = None;
        loop {
            let [tag] = array::<1, I>(input)?;
            match tag {
                b'f' => {
                    let name = diff.name(input)?;
                    set_once(&mut diff.head.from, name)?;
                }
                b't' => {
                    let name = diff.name(input)?;
                    set_once(&mut diff.head.to, name)?;
                }
                b's' => set_once(&mut size, diff.size(input)?)?,
                b'w' | b'z' | b'e' => {
                    diff.pending_tag = Some(tag);
                    break;
                }
                _ if has_lengths => skip(input, METADATA_LEN_MAX)?,
                _ => return Err(DiffError::UnknownRecord.into()),
            }
        }
        diff.head.size_bytes = size.ok_or(DiffError::NoSize)?;
        Ok(diff)
    }

    /// What stood before the data.
    #[must_use]
    pub fn head(&self) -> &DiffHead {
        &self.head
    }

    /// The next record. Bytes of the last one that were not taken are passed over. After
    /// [`DiffRecord::End`], which proves that nothing follows, there is nothing to ask for.
    ///
    /// # Errors
    /// [`DiffError`]; of the input.
    pub fn next<I: Input + ?Sized>(&mut self, input: &mut I) -> Result<DiffRecord, I::Error> {
        while self.data_left > 0 {
            let mut rest = [0; 4096];
            let len = usize::try_from(self.data_left).unwrap_or(usize::MAX).min(rest.len());
            self.data(input, rest.get_mut(..len).unwrap_or(&mut []))?;
        }
        let tag = match self.pending_tag.take() {
            Some(tag) => tag,
            None => array::<1, I>(input)?[0],
        };
        match tag {
            b'w' => self.extent(input, true),
            b'z' => self.extent(input, false),
            b'e' => {
                let mut more = [0];
                if input.fill(&mut more)? > 0 { Err(DiffError::Trailing.into()) } else { Ok(DiffRecord::End) }
            }
            b'f' | b't' | b's' => Err(DiffError::LateMetadata.into()),
            _ => Err(DiffError::UnknownRecord.into()),
        }
    }

    /// Takes bytes of the extent that [`DiffRecord::Data`] announced: as many as `into` has, but no more
    /// than are left. Returns how many.
    ///
    /// # Errors
    /// [`DiffError::Truncated`]; of the input.
    pub fn data<I: Input + ?Sized>(&mut self, input: &mut I, into: &mut [u8]) -> Result<usize, I::Error> {
        let len = usize::try_from(self.data_left).unwrap_or(usize::MAX).min(into.len());
        exactly(input, into.get_mut(..len).unwrap_or(&mut []))?;
        self.data_left -= len as u64;
        Ok(len)
    }

    fn extent<I: Input + ?Sized>(&mut self, input: &mut I, has_data: bool) -> Result<DiffRecord, I::Error> {
        let record_len =
            if self.has_lengths { Some(u64::from_le_bytes(array::<8, I>(input)?)) } else { None };
        let start = u64::from_le_bytes(array::<8, I>(input)?);
        let len = u64::from_le_bytes(array::<8, I>(input)?);
        let data_len = if has_data { len } else { 0 };
        if record_len.is_some_and(|told| Some(told) != data_len.checked_add(16)) {
            return Err(DiffError::RecordLength.into());
        }
        let end = start.checked_add(len).ok_or(DiffError::Outside)?;
        if start < self.at {
            return Err(DiffError::Order.into());
        }
        if end > self.head.size_bytes {
            return Err(DiffError::Outside.into());
        }
        self.at = end;
        self.data_left = data_len;
        Ok(if has_data { DiffRecord::Data(start..end) } else { DiffRecord::Zero(start..end) })
    }

    fn name<I: Input + ?Sized>(&self, input: &mut I) -> Result<String, I::Error> {
        let record_len =
            if self.has_lengths { Some(u64::from_le_bytes(array::<8, I>(input)?)) } else { None };
        let len = u64::from(u32::from_le_bytes(array::<4, I>(input)?));
        if record_len.is_some_and(|told| told != len + 4) {
            return Err(DiffError::RecordLength.into());
        }
        if len > NAME_LEN_MAX {
            return Err(DiffError::Name.into());
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        exactly(input, &mut bytes)?;
        String::from_utf8(bytes).map_err(|_| DiffError::Name.into())
    }

    fn size<I: Input + ?Sized>(&self, input: &mut I) -> Result<u64, I::Error> {
        if self.has_lengths && u64::from_le_bytes(array::<8, I>(input)?) != 8 {
            return Err(DiffError::RecordLength.into());
        }
        let size = u64::from_le_bytes(array::<8, I>(input)?);
        if size > SIZE_MAX { Err(DiffError::Size.into()) } else { Ok(size) }
    }
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), DiffError> {
    if place.replace(value).is_some() { Err(DiffError::Duplicate) } else { Ok(()) }
}

/// Passes over metadata of an unknown kind, of which no more than `len_max` bytes.
fn skip<I: Input + ?Sized>(input: &mut I, len_max: u64) -> Result<(), I::Error> {
    let mut left = u64::from_le_bytes(array::<8, I>(input)?);
    if left > len_max {
        return Err(DiffError::RecordLength.into());
    }
    let mut rest = [0; 512];
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        exactly(input, rest.get_mut(..len).unwrap_or(&mut []))?;
        left -= len as u64;
    }
    Ok(())
}

fn array<const LEN: usize, I: Input + ?Sized>(input: &mut I) -> Result<[u8; LEN], I::Error> {
    let mut bytes = [0; LEN];
    exactly(input, &mut bytes)?;
    Ok(bytes)
}

fn exactly<I: Input + ?Sized>(input: &mut I, into: &mut [u8]) -> Result<(), I::Error> {
    if input.fill(into)? < into.len() { Err(DiffError::Truncated.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A diff as rbd writes it, of version 1 or 2.
    struct Writer {
        bytes: Vec<u8>,
        has_lengths: bool,
    }

    impl Writer {
        fn new(version: u8) -> Self {
            Self { bytes: format!("rbd diff v{version}\n").into_bytes(), has_lengths: version == 2 }
        }

        fn record(mut self, tag: u8, body: &[u8]) -> Self {
            self.bytes.push(tag);
            if self.has_lengths {
                self.bytes.extend((body.len() as u64).to_le_bytes());
            }
            self.bytes.extend(body);
            self
        }

        fn name(self, tag: u8, name: &str) -> Self {
            let body = [&(name.len() as u32).to_le_bytes()[..], name.as_bytes()].concat();
            self.record(tag, &body)
        }

        fn size(self, size: u64) -> Self {
            self.record(b's', &size.to_le_bytes())
        }

        fn data(self, offset: u64, bytes: &[u8]) -> Self {
            let head = [offset.to_le_bytes(), (bytes.len() as u64).to_le_bytes()].concat();
            self.record(b'w', &[&head[..], bytes].concat())
        }

        fn zero(self, offset: u64, len: u64) -> Self {
            self.record(b'z', &[offset.to_le_bytes(), len.to_le_bytes()].concat())
        }

        fn end(mut self) -> Vec<u8> {
            self.bytes.push(b'e');
            self.bytes
        }
    }

    type Read = (DiffHead, Vec<(DiffRecord, Vec<u8>)>);

    fn read(bytes: &[u8]) -> Result<Read, DiffError> {
        let mut input = bytes;
        let mut diff = RbdDiff::open(&mut input)?;
        let mut records = Vec::new();
        loop {
            let record = diff.next(&mut input)?;
            let mut data = Vec::new();
            if let DiffRecord::Data(range) = &record {
                data = vec![0; (range.end - range.start) as usize];
                assert_eq!(diff.data(&mut input, &mut data)?, data.len());
            }
            let is_end = record == DiffRecord::End;
            records.push((record, data));
            if is_end {
                return Ok((diff.head().clone(), records));
            }
        }
    }

    #[test]
    fn what_rbd_writes_is_read_in_both_versions() {
        for version in [1, 2] {
            let bytes = Writer::new(version)
                .name(b'f', "before")
                .name(b't', "after")
                .size(1000)
                .data(0, b"abc")
                .zero(3, 90)
                .data(500, b"")
                .data(999, b"x")
                .end();
            let (head, records) = read(&bytes).unwrap();
            let (from, to) = (Some("before".to_owned()), Some("after".to_owned()));
            assert_eq!(head, DiffHead { from, to, size_bytes: 1000 });
            let expected = [
                (DiffRecord::Data(0..3), b"abc".to_vec()),
                (DiffRecord::Zero(3..93), vec![]),
                (DiffRecord::Data(500..500), vec![]),
                (DiffRecord::Data(999..1000), b"x".to_vec()),
                (DiffRecord::End, vec![]),
            ];
            assert_eq!(records, expected, "version {version}");
        }
    }

    #[test]
    fn metadata_of_a_kind_that_is_not_known_are_passed_over_where_they_tell_their_length() {
        let bytes = Writer::new(2).record(b'p', &[1]).size(5).end();
        assert_eq!(read(&bytes).unwrap().0.size_bytes, 5);
        let long = Writer::new(2).record(b'?', &vec![0; 70_000]).size(5).end();
        assert_eq!(read(&long), Err(DiffError::RecordLength));
        let bytes = Writer::new(1).record(b'p', &[1]).size(5).end();
        assert_eq!(read(&bytes), Err(DiffError::UnknownRecord));
    }

    #[test]
    fn what_is_cut_anywhere_is_no_diff() {
        for version in [1, 2] {
            let whole = Writer::new(version).name(b't', "to").size(100).data(3, b"abcdef").zero(20, 5).end();
            for len in 0..whole.len() {
                assert_eq!(read(&whole[..len]), Err(DiffError::Truncated), "version {version}, {len} bytes");
            }
        }
    }

    #[test]
    fn whatever_contradicts_itself_is_refused() {
        let cases: [(&str, Vec<u8>, DiffError); 13] = [
            ("no diff", b"rbd image v2\n....".to_vec(), DiffError::Header),
            ("no size", Writer::new(1).data(0, b"a").end(), DiffError::NoSize),
            ("nothing at all", Writer::new(1).end(), DiffError::NoSize),
            ("two sizes", Writer::new(1).size(5).size(5).end(), DiffError::Duplicate),
            ("a size beyond all", Writer::new(1).size(u64::MAX).end(), DiffError::Size),
            ("overlaps", Writer::new(1).size(9).data(0, b"abc").data(2, b"x").end(), DiffError::Order),
            ("backwards", Writer::new(1).size(9).zero(5, 1).zero(0, 1).end(), DiffError::Order),
            ("outside", Writer::new(2).size(9).data(8, b"ab").end(), DiffError::Outside),
            ("overflow", Writer::new(1).size(9).zero(u64::MAX, 2).end(), DiffError::Outside),
            ("late size", Writer::new(1).size(9).zero(0, 1).size(10).end(), DiffError::LateMetadata),
            ("more behind", [Writer::new(1).size(9).end(), vec![0]].concat(), DiffError::Trailing),
            ("a name that is none", Writer::new(1).record(b'f', &[1, 0, 0, 0, 0xff]).end(), DiffError::Name),
            (
                "a length that lies",
                Writer::new(2).size(9).record(b'z', &[0; 17]).end(),
                DiffError::RecordLength,
            ),
        ];
        for (what, bytes, error) in cases {
            assert_eq!(read(&bytes), Err(error), "{what}");
        }
    }
}
