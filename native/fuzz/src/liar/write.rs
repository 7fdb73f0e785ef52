//! Carrying a plan out.

use std::path::Path;

use cairn_core::codec::{self, Codec};
use cairn_core::digest::{Context, Digest};
use cairn_core::io::{Files, MemoryFiles, Mode};
use cairn_core::manifest::{Consistency, Counters, Holes, Manifest, Reading, State, Trust};
use cairn_core::map::{Fanout, MapRoot, PagePointer, Place};
use cairn_core::probe::Survey;
use cairn_core::record::{BASE_LEN, Base, Header, Kind};
use cairn_core::revision::RevisionId;
use cairn_core::segment::path_of;
use cairn_core::text;
use cairn_core::units::{Geometry, ORDINAL_MAX, Ordinal, SegmentId};

use super::plan::{Content, Entry, IndexLie, Plan, Record, RecordLie, Revision, Size, Target};
use super::{DIRECTORY, directory};

const BLOCK: u32 = 4096;
const SEGMENTS: u32 = 3;
const RECORDS_MAX: usize = 128;
const REVISIONS_MAX: usize = 4;
/// Small enough to be read whole at each execution.
const BLOCKS_MAX: u16 = 300;
const ENTRY_LEN: usize = 48;
const TIME: &str = "2026-11-20T12:00:00Z";

/// A record as pointers may tell of it.
struct Made {
    kind: Kind,
    level: u8,
    /// Blocks beneath a page, as its own entries tell them.
    count: u64,
    digest: Digest,
    place: Place,
    base: Option<Place>,
    plain: Vec<u8>,
}

/// A segment that grows.
struct Segment {
    bytes: Vec<u8>,
    index: Vec<[u8; ENTRY_LEN]>,
}

pub(super) fn disk(files: &MemoryFiles, plan: &Plan) -> Option<()> {
    for path in ["/disks", DIRECTORY, "/disks/disk/segments", "/disks/disk/revisions", "/disks/disk/retired"]
    {
        files.create_directory(Path::new(path)).ok()?;
    }
    let fanout = Fanout::from_log2(if plan.wide { 6 } else { 5 })?;
    put(files, "disk.json", &disk_file(fanout)?)?;
    put(files, "lock", b"")?;
    let (made, segments) = records(plan, fanout);
    for (number, (segment, lie)) in (1..).zip(segments.into_iter().zip(&plan.indexes)) {
        if *lie != IndexLie::None || segment.bytes.len() > 64 {
            seal(files, SegmentId(number), segment, lie)?;
        }
    }
    for (number, revision) in plan.revisions.iter().take(REVISIONS_MAX).enumerate() {
        manifest(files, number, revision, fanout, &made)?;
    }
    notes(files, plan)
}

fn put(files: &MemoryFiles, name: &str, bytes: &[u8]) -> Option<()> {
    put_at(files, &directory().join(name), bytes)
}

fn put_at(files: &MemoryFiles, path: &Path, bytes: &[u8]) -> Option<()> {
    files.open(path, Mode::CreateNew).ok()?.write_all_at(bytes, 0).ok()
}

fn disk_file(fanout: Fanout) -> Option<Vec<u8>> {
    text::encode(&serde_json::json!({
        "format": 1,
        "id": "000102030405060708090a0b0c0d0e0f",
        "createdAt": TIME,
        "blockSizeBytes": BLOCK,
        "fanout": fanout.entries(),
        "codec": "zstd",
        "encryption": null,
    }))
    .ok()
}

fn records(plan: &Plan, fanout: Fanout) -> (Vec<Made>, Vec<Segment>) {
    let mut segments: Vec<_> = (1..=SEGMENTS).map(Segment::begin).collect();
    let mut made: Vec<Made> = Vec::new();
    for record in plan.records.iter().take(RECORDS_MAX) {
        let number = u32::from(record.segment) % SEGMENTS;
        let Some(segment) = segments.get_mut(number as usize) else { continue };
        made.extend(segment.append(SegmentId(number + 1), record, fanout, &made));
    }
    (made, segments)
}

impl Segment {
    fn begin(id: u32) -> Self {
        let mut bytes = b"CAIRNSEG\x01\0\0\0".to_vec();
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.resize(56, 7);
        let check = Digest::of(Context::Header, &bytes).prefix();
        bytes.extend_from_slice(&check.to_le_bytes());
        Self { bytes, index: Vec::new() }
    }

    fn append(&mut self, id: SegmentId, record: &Record, fanout: Fanout, made: &[Made]) -> Option<Made> {
        let (kind, level, count, plain) = match &record.content {
            Content::Block { seed, len } => (Kind::Block, 0, 1, block(*seed, *len)),
            Content::Page { level, entries } => {
                let level = 1 + level % 8;
                let (count, plain) = page(level, fanout, entries, made)?;
                (Kind::Page, level, count, plain)
            }
        };
        let digest = Digest::of(kind.context(), &plain);
        let against = if kind == Kind::Block { against(record.codec, &plain, made) } else { None };
        let base = against.as_ref().map(|(place, _)| *place);
        // Decoding is slow under instrumentation, and codecs have a target of their own.
        let wanted = Codec::from_code(record.codec % 24).unwrap_or(Codec::Plain);
        let (codec, mut payload) = match against {
            Some((_, payload)) => (Codec::ZstdPrefix, payload),
            None => codec::encode(wanted, &plain),
        };
        let ordinal = Ordinal(u32::try_from(self.index.len()).ok()?);
        let mut header = Header {
            kind,
            codec,
            segment: id,
            ordinal,
            plain_len: u32::try_from(plain.len()).ok()?,
            payload_len: u32::try_from(payload.len()).ok()?,
            digest,
        };
        let told = header;
        lie(&record.lie, &mut header, &mut payload);
        let offset = u32::try_from(self.bytes.len()).ok()?;
        let mut encoded = header.encode();
        if let RecordLie::Encryption(number) = record.lie {
            encoded[6] = number;
            let check = Digest::of(Context::Header, &encoded[..56]).prefix();
            encoded[56..].copy_from_slice(&check.to_le_bytes());
        }
        self.bytes.extend_from_slice(&encoded);
        self.bytes.extend_from_slice(&payload);
        self.index.push(index_entry(&told, offset));
        Some(Made { kind, level, count, digest, place: Place::new(id, ordinal)?, base, plain })
    }
}

/// The place of a base, which may have one itself, and the payload of a block against it.
fn against(code: u8, plain: &[u8], made: &[Made]) -> Option<(Place, Vec<u8>)> {
    let back = usize::from(code.checked_sub(192)?);
    let before = made.iter().rev().nth(back)?;
    let frame = codec::encode_against(&before.plain, plain, plain.len().checked_sub(BASE_LEN)?)?;
    let base = Base { place: before.place, digest: before.digest };
    Some((base.place, base.payload(&frame)))
}

fn lie(lie: &RecordLie, header: &mut Header, payload: &mut [u8]) {
    match *lie {
        RecordLie::None | RecordLie::Encryption(_) => {}
        RecordLie::Payload(at) => {
            let len = payload.len().max(1);
            if let Some(byte) = payload.get_mut(usize::from(at) % len) {
                *byte ^= 0x55;
            }
        }
        RecordLie::Ordinal(number) => header.ordinal = Ordinal(number.into()),
        RecordLie::Kind => {
            header.kind = if header.kind == Kind::Block { Kind::Page } else { Kind::Block };
        }
        RecordLie::Codec(code) => header.codec = Codec::from_code(code % 4).unwrap_or(header.codec),
        RecordLie::PlainLen(len) => header.plain_len = len,
        RecordLie::PayloadLen(len) => header.payload_len = len,
        RecordLie::Digest => header.digest.0[0] ^= 1,
    }
}

fn index_entry(header: &Header, offset: u32) -> [u8; ENTRY_LEN] {
    let mut out = [0; ENTRY_LEN];
    out[..4].copy_from_slice(&header.ordinal.0.to_le_bytes());
    out[4..8].copy_from_slice(&offset.to_le_bytes());
    out[8..12].copy_from_slice(&header.payload_len.to_le_bytes());
    out[12] = header.kind.code();
    out[13] = header.codec.code();
    out[16..].copy_from_slice(&header.digest.0);
    out
}

/// A block that no other seed gives, and that is not all zeros.
pub(super) fn block(seed: u8, len: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![seed; len.map_or(BLOCK as usize, usize::from)];
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x55;
    }
    bytes
}

fn page(level: u8, fanout: Fanout, entries: &[Entry], made: &[Made]) -> Option<(u64, Vec<u8>)> {
    let slots = fanout.entries() as usize;
    let mut filled: Vec<Option<(Vec<u8>, u64, Option<Place>)>> = vec![None; slots];
    for entry in entries.iter().take(slots) {
        let encoded = page_entry(level, fanout, entry, made)?;
        let first = usize::from(entry.slot) % slots;
        for slot in filled.iter_mut().skip(first).take(1 + usize::from(entry.repeat)) {
            *slot = Some(encoded.clone());
        }
    }
    let (mut bitmap, mut base_bitmap) = (vec![0; slots / 8], vec![0; slots / 8]);
    let (mut body, mut bases, mut count) = (Vec::new(), Vec::new(), 0u64);
    for (slot, (bytes, blocks, base)) in
        filled.into_iter().enumerate().filter_map(|(slot, entry)| Some((slot, entry?)))
    {
        bitmap[slot / 8] |= 1u8 << (slot % 8);
        body.extend_from_slice(&bytes);
        count = count.saturating_add(blocks);
        if let Some(base) = base {
            base_bitmap[slot / 8] |= 1u8 << (slot % 8);
            bases.extend_from_slice(&base.segment.0.to_le_bytes());
            bases.extend_from_slice(&base.ordinal.0.to_le_bytes());
        }
    }
    if bases.is_empty() {
        base_bitmap.clear();
    }
    let head = vec![if bases.is_empty() { 1 } else { 2 }, level, fanout.log2(), 0];
    Some((count, [head, bitmap, base_bitmap, body, bases].concat()))
}

fn page_entry(
    level: u8,
    fanout: Fanout,
    entry: &Entry,
    made: &[Made],
) -> Option<(Vec<u8>, u64, Option<Place>)> {
    let (digest, place, true_count) = choose(entry.target, level - 1, made)?;
    let mut out = digest.0.to_vec();
    out.extend_from_slice(&place.segment.0.to_le_bytes());
    out.extend_from_slice(&place.ordinal.0.to_le_bytes());
    if level == 1 {
        let true_base = made.iter().find(|one| one.place == place).and_then(|one| one.base);
        let told = entry.copy.and_then(|base| choose(base, 0, made)).map(|(_, place, _)| place);
        return Some((out, 1, told.or(true_base)));
    }
    let count = entry.count.unwrap_or(true_count).min(fanout.span(level));
    let copy = entry.copy.and_then(|copy| choose(copy, level - 1, made));
    out.extend_from_slice(&copy.as_ref().map_or(0, |copy| copy.1.segment.0).to_le_bytes());
    out.extend_from_slice(&copy.as_ref().map_or(0, |copy| copy.1.ordinal.0).to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    Some((out, count, None))
}

/// Digest, place and blocks beneath.
fn choose(target: Target, level: u8, made: &[Made]) -> Option<(Digest, Place, u64)> {
    let any = |number: u8| made.get(usize::from(number) % made.len().max(1));
    match target {
        Target::Fitting(number) => {
            let kind = if level == 0 { Kind::Block } else { Kind::Page };
            let fitting: Vec<_> = made.iter().filter(|one| one.kind == kind && one.level == level).collect();
            let found = fitting.get(usize::from(number) % fitting.len().max(1)).copied();
            found.or_else(|| any(number)).map(|one| (one.digest, one.place, one.count))
        }
        Target::Any(number) => any(number).map(|one| (one.digest, one.place, one.count)),
        Target::Mixed(digest, place) => {
            let (one, other) = (any(digest)?, any(place)?);
            Some((one.digest, other.place, one.count))
        }
        Target::Nowhere { digest, segment, ordinal } => {
            let place = Place::new(SegmentId(segment.max(1)), Ordinal(ordinal & ORDINAL_MAX))?;
            any(digest).map(|one| (one.digest, place, one.count))
        }
    }
}

fn seal(files: &MemoryFiles, id: SegmentId, segment: Segment, lie: &IndexLie) -> Option<()> {
    let Segment { mut bytes, mut index } = segment;
    let mut next_ordinal = u32::try_from(index.len()).ok()?;
    let at = |number: u8, len: usize| usize::from(number) % len.max(1);
    let len = index.len();
    let mut set = |number: u8, from: usize, value: u32| {
        if let Some(entry) = index.get_mut(at(number, len)) {
            entry[from..from + 4].copy_from_slice(&value.to_le_bytes());
        }
    };
    match *lie {
        IndexLie::None | IndexLie::Cut(_) => {}
        IndexLie::Absent => return Some(()),
        IndexLie::Offset(number, offset) => set(number, 4, offset % (bytes.len() as u32 + 64)),
        IndexLie::Numbered(number, ordinal) => {
            set(number, 0, ordinal);
            next_ordinal = next_ordinal.max(ordinal.saturating_add(1));
        }
        IndexLie::PayloadLen(number, value) => set(number, 8, value),
        IndexLie::NextOrdinal(value) => next_ordinal = value,
        IndexLie::Gap(gap) => bytes.resize(bytes.len() + usize::from(gap), 0),
        IndexLie::Heaped => (0..=u8::MAX).for_each(|number| set(number, 4, 64)),
        IndexLie::Swapped(one, other) if len > 0 => {
            let (one, other) = (at(one, len), at(other, len));
            let (first, second) = (index[one], index[other]);
            index[one][4..12].copy_from_slice(&second[4..12]);
            index[other][4..12].copy_from_slice(&first[4..12]);
        }
        IndexLie::Dropped(number) if len > 0 => drop(index.remove(at(number, len))),
        IndexLie::Kind(number) if len > 0 => index[at(number, len)][12] ^= 3,
        IndexLie::Swapped(..) | IndexLie::Dropped(_) | IndexLie::Kind(_) => {}
    }
    let index_offset = bytes.len() as u64;
    let start = bytes.len();
    bytes.extend(index.iter().flatten());
    bytes.extend_from_slice(b"CAIRNIDX\x01\0\0\0");
    bytes.extend_from_slice(&id.0.to_le_bytes());
    bytes.extend_from_slice(&index_offset.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(index.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&next_ordinal.to_le_bytes());
    let digest = Digest::of(Context::Header, &bytes[start..]);
    bytes.extend_from_slice(&digest.0);
    if let IndexLie::Cut(len) = *lie {
        bytes.truncate(usize::from(len));
    }
    put_at(files, &path_of(&directory().join("segments"), id), &bytes)
}

fn manifest(
    files: &MemoryFiles,
    number: usize,
    told: &Revision,
    fanout: Fanout,
    made: &[Made],
) -> Option<()> {
    let size_bytes = match told.size {
        Size::Blocks(blocks, rest) => {
            u64::from(blocks % BLOCKS_MAX) * u64::from(BLOCK) + u64::from(rest % BLOCK as u16)
        }
        Size::Huge(power) => (1u64 << (power % 54)).min((1 << 53) - 1),
    };
    let geometry = Geometry::new(size_bytes, BLOCK)?;
    let height = fanout.height_for(geometry.block_count());
    let root = told.root.and_then(|root| {
        let (digest, place, count) = choose(root, height, made)?;
        let most = fanout.span(height).min(geometry.block_count());
        let allocated = told.count.unwrap_or(count).min(most);
        let copy = told.copy.and_then(|copy| choose(copy, height, made)).map(|(_, place, _)| place);
        (allocated > 0).then_some(PagePointer { digest, place, copy, allocated })
    });
    let map = MapRoot { fanout, height, root };
    let revision = RevisionId::parse(&format!("2026112{number}T120000Z-0000"))?;
    let manifest = Manifest {
        format: text::FORMAT,
        disk: "disk".to_owned(),
        revision: revision.clone(),
        sequence: number as u64 + 1,
        started_at: TIME.parse().ok()?,
        finished_at: TIME.parse().ok()?,
        consistency: Consistency::Live,
        source: serde_json::Map::new(),
        reading: Reading { method: "full".into(), direct: false, holes: Holes::Dense, notes: Vec::new() },
        size_bytes,
        block_size_bytes: BLOCK,
        codec: Codec::Zstd,
        map,
        highest_segment: u32::from(told.highest_segment % 5),
        image_digest: map.image_digest(geometry),
        parent: None,
        counters: Counters::default(),
        comparison: None,
        early_warnings: Vec::new(),
        layout: Survey::default(),
    };
    let folder = if told.is_retired { "retired" } else { "revisions" };
    put(files, &format!("{folder}/{revision}.json"), &text::encode(&manifest).ok()?)?;
    let trust = if told.is_distrusted { Trust::Distrusted } else { Trust::Trusted };
    let state = State { format: text::FORMAT, trust, ..State::default() };
    put(files, &format!("revisions/{revision}.state.json"), &text::encode(&state).ok()?)
}

/// The files that may be missing.
fn notes(files: &MemoryFiles, plan: &Plan) -> Option<()> {
    if let Some((sequence, highest)) = plan.marks {
        let marks = serde_json::json!({
            "format": 1, "sequence": sequence, "lastRevision": null, "highestSegment": highest,
        });
        put(files, "marks.json", &text::encode(&marks).ok()?)?;
    }
    if let Some((segment, ordinal)) = plan.damaged {
        let ordinals = ordinal.map(|ordinal| vec![ordinal]);
        let list = serde_json::json!({
            "format": 1, "segments": [{ "segment": segment, "ordinals": ordinals }],
        });
        put(files, "damaged", &text::encode(&list).ok()?)?;
    }
    if let Some((is_whole, segment, bits)) = plan.condemned {
        let mut list = b"CAIRNCND\x01\0\0\0\x01\0\0\0".to_vec();
        list.extend_from_slice(&u32::from(segment).to_le_bytes());
        list.extend_from_slice(&[if is_whole { 0 } else { 2 }, 0, 0, 0]);
        if !is_whole {
            list.extend_from_slice(&bits.to_le_bytes());
        }
        let digest = Digest::of(Context::Header, &list);
        list.extend_from_slice(&digest.0);
        put(files, "condemned", &list)?;
    }
    dedup(files, plan)
}

/// Blocks that the index says are stored somewhere, which may be true.
fn dedup(files: &MemoryFiles, plan: &Plan) -> Option<()> {
    if plan.dedup.is_empty() {
        return Some(());
    }
    let index = cairn_core::dedup::DedupIndex::open(files, &directory().join("dedup"), 0).ok()?;
    for &(seed, segment, ordinal) in plan.dedup.iter().take(64) {
        let digest = Digest::of(Context::Block, &block(seed, None));
        let place = Place::new(SegmentId(u32::from(segment) % 5 + 1), Ordinal(ordinal.into()))?;
        index.insert(&digest, place);
    }
    Some(())
}
