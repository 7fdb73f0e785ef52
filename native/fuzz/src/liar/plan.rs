//! What the fuzzer decides.

use arbitrary::Arbitrary;

/// A disk: its records, in the order in which they are made, and the revisions that name them.
#[derive(Arbitrary, Debug)]
pub struct Plan {
    /// Fan-out 64 instead of 32.
    pub wide: bool,
    pub records: Vec<Record>,
    pub revisions: Vec<Revision>,
    /// Of the first three segments.
    pub indexes: [IndexLie; 3],
    /// Of marks.json; `None` for no such file.
    pub marks: Option<(u16, u16)>,
    /// Of the list of condemned records: segments as a whole, or records of segment 1.
    pub condemned: Option<(bool, u8, u16)>,
    /// Of the list of damaged records.
    pub damaged: Option<(u8, Option<u8>)>,
    /// The index by digest, as far as it goes.
    pub dedup: Vec<(u8, u8, u16)>,
}

#[derive(Arbitrary, Debug)]
pub struct Record {
    /// Which of the three segments.
    pub segment: u8,
    /// From 192 on: against the record made so many before, where both are blocks.
    pub codec: u8,
    pub content: Content,
    pub lie: RecordLie,
}

#[derive(Arbitrary, Debug)]
pub enum Content {
    /// A block of the common length, or of another.
    Block { seed: u8, len: Option<u16> },
    /// A page whose entries lead to records that were made before.
    Page { level: u8, entries: Vec<Entry> },
}

#[derive(Arbitrary, Debug)]
pub struct Entry {
    pub slot: u8,
    /// In how many slots from there on it stands.
    pub repeat: u8,
    pub target: Target,
    /// On level 1 the base that it tells; `None` for the true one, if there is one.
    pub copy: Option<Target>,
    /// The count that it tells; `None` for the true one.
    pub count: Option<u64>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Target {
    /// One of the records that fit here.
    Fitting(u8),
    /// Any record.
    Any(u8),
    /// The digest of one record and the place of another.
    Mixed(u8, u8),
    /// A place that may be nowhere.
    Nowhere { digest: u8, segment: u32, ordinal: u32 },
}

#[derive(Arbitrary, Debug, PartialEq)]
pub enum RecordLie {
    None,
    /// Another byte in the payload.
    Payload(u16),
    /// Another number in the header, and in the index where told so.
    Ordinal(u16),
    Kind,
    Codec(u8),
    PlainLen(u32),
    PayloadLen(u32),
    Digest,
    Encryption(u8),
}

#[derive(Arbitrary, Debug, PartialEq)]
pub enum IndexLie {
    None,
    /// The segment is not there.
    Absent,
    /// Two entries lead to each other's records.
    Swapped(u8, u8),
    /// An entry lies somewhere else.
    Offset(u8, u32),
    /// All entries lie on the first record.
    Heaped,
    Dropped(u8),
    Numbered(u8, u32),
    PayloadLen(u8, u32),
    Kind(u8),
    NextOrdinal(u32),
    /// Bytes that belong to no record.
    Gap(u16),
    /// The file ends early.
    Cut(u16),
}

#[derive(Arbitrary, Debug)]
pub struct Revision {
    pub size: Size,
    pub root: Option<Target>,
    pub copy: Option<Target>,
    /// The count that the manifest tells; `None` for the true one.
    pub count: Option<u64>,
    pub highest_segment: u8,
    pub is_distrusted: bool,
    /// It stands in `retired/`.
    pub is_retired: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Size {
    /// Blocks, and bytes of a short last one.
    Blocks(u16, u16),
    /// Two to this power, as far as an image may go.
    Huge(u8),
}
