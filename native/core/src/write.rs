//! Writing the records of one backup: two lanes of segments, sealed in the background.
//!
//! Blocks go to one lane and map pages to the other, so that either can be read without the other
//! between; the second copy of a page goes to the lane of blocks, which is another segment. A
//! sealed segment's blocks enter the dedup index; those of open segments are known from memory.
//! After any error the writer is poisoned: it writes and seals nothing more, so that no revision is
//! made of what it wrote. Nothing is promised then but that sealed segments hold what their indexes
//! say.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::{self, Codec};
use crate::condemned::Condemned;
use crate::damaged::Damaged;
use crate::dedup::DedupIndex;
use crate::digest::Digest;
use crate::disk::{Disk, now};
use crate::error::{Error, Result};
use crate::io::Files;
use crate::map::{BlockPointer, PagePointer, PageSink, Place, UnplacedPage};
use crate::record::{Base, Kind};
use crate::records::Records;
use crate::segment::{SEGMENT_LEN_TARGET, SealedSegment, SegmentWriter, temporary_path_of};
use crate::units::SegmentId;

/// Blocks of this disk that are stored already, for many threads.
pub struct Known {
    records: Arc<Records>,
    index: Option<DedupIndex>,
    absent: Absent,
    unsealed: Mutex<HashMap<Digest, BlockPointer>>,
    passed_over: AtomicU64,
    met_damage: AtomicBool,
    found_damaged: Mutex<Damaged>,
}

/// What may not be built upon, though something points at it.
#[derive(Default)]
pub struct Absent {
    /// As good as gone, even where it still lies there.
    pub condemned: Condemned,
    /// There, and known to be unreadable.
    pub damaged: Damaged,
    /// All sealed segments that are there, in rising order.
    pub present: Vec<SegmentId>,
}

impl Known {
    /// Sealed records by `index`, each checked through `records` before it is believed. Without an
    /// index only what is written from now on is known.
    #[must_use]
    pub fn new(records: Arc<Records>, index: Option<DedupIndex>, absent: Absent) -> Self {
        Self {
            records,
            index,
            absent,
            unsealed: Mutex::default(),
            passed_over: AtomicU64::new(0),
            met_damage: AtomicBool::new(false),
            found_damaged: Mutex::default(),
        }
    }

    /// Where a block with this digest is stored, if that is known.
    #[must_use]
    pub fn find(&self, digest: &Digest) -> Option<BlockPointer> {
        self.find_unsealed(digest).or_else(|| {
            let place = self.index.as_ref()?.find(digest)?;
            if self.absent.damaged.contains(place) {
                self.met_damage.store(true, Ordering::Relaxed);
                return None;
            }
            let pointer = self.records.pointer_to(place, digest)?;
            let may_go = |place| self.absent.condemned.contains(place) || !self.is_there(place);
            (!pointer.places().any(may_go)).then_some(pointer)
        })
    }

    /// What a block may be encoded against that comes in the place of another one: see
    /// [`Records::base_for`]. `None` where that is damaged or missing, or may go.
    ///
    /// # Errors
    /// `Io` for all but damage.
    pub fn base_for(&self, before: &BlockPointer) -> Result<Option<(Base, Vec<u8>, u32)>> {
        let place = before.base.unwrap_or(before.place);
        if self.absent.condemned.contains(place) || !self.is_there(place) {
            return Ok(None);
        }
        match self.records.base_for(before) {
            Err(error) if error.is_unreadable() => Ok(None),
            other => other.map(Some),
        }
    }

    fn is_there(&self, place: Place) -> bool {
        !self.absent.damaged.contains(place) && self.absent.present.binary_search(&place.segment).is_ok()
    }

    /// Whether the records that a pointer of a revision needs are there, as far as can be told without
    /// reading them. Where they are not, that is counted.
    #[must_use]
    pub fn is_sound(&self, pointer: &BlockPointer) -> bool {
        let is_sound = pointer.places().all(|place| self.is_there(place));
        if !is_sound {
            self.passed_over.fetch_add(1, Ordering::Relaxed);
        }
        is_sound
    }

    /// Whether a sealed record reads back as these bytes. What does not is counted, and noted as
    /// damaged.
    ///
    /// # Errors
    /// `Io` for all but damage.
    pub fn reads_back(&self, pointer: &BlockPointer, expected: &[u8], buffer: &mut Vec<u8>) -> Result<bool> {
        if self.find_unsealed(&pointer.digest) == Some(*pointer) {
            // Written by this backup, of bytes that were compared by their digest a moment ago.
            return Ok(true);
        }
        buffer.resize(expected.len(), 0);
        match self.records.block_into(pointer, buffer) {
            Ok(()) if buffer == expected => return Ok(true),
            Err(error) if !error.is_unreadable() => return Err(error),
            _ => {}
        }
        self.passed_over.fetch_add(1, Ordering::Relaxed);
        let mut found = self.found_damaged.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(pointer.place.segment, pointer.place.ordinal);
        Ok(false)
    }

    /// To be told by whoever finds a map page of the disk unreadable and writes another.
    pub fn note_damage(&self) {
        self.met_damage.store(true, Ordering::Relaxed);
    }

    /// Whether content came by whose record is damaged or missing, so that there may be a sound one
    /// of it now.
    #[must_use]
    pub fn met_damage(&self) -> bool {
        self.met_damage.load(Ordering::Relaxed) || self.passed_over() > 0
    }

    /// Records that did not read back, so far.
    #[must_use]
    pub fn found_damaged(&self) -> Damaged {
        self.found_damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many records were not there.
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }

    /// Enters the blocks of a sealed segment.
    pub fn insert_sealed(&self, id: SegmentId, entries: &[crate::segment::IndexEntry]) {
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Block) {
            if let (Some(index), Some(place)) = (&self.index, Place::new(id, entry.ordinal)) {
                index.insert(&entry.digest, place);
            }
            self.lock_unsealed().remove(&entry.digest);
        }
    }

    /// Forgets blocks whose segments were never sealed and are gone.
    fn forget_unsealed(&self) {
        self.lock_unsealed().clear();
    }

    fn find_unsealed(&self, digest: &Digest) -> Option<BlockPointer> {
        self.lock_unsealed().get(digest).copied()
    }

    fn lock_unsealed(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, BlockPointer>> {
        self.unsealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block that is ready to be stored.
pub struct EncodedBlock {
    /// Digest of the plain bytes.
    pub digest: Digest,
    /// Their length.
    pub plain_len: u32,
    /// How they are encoded.
    pub codec: Codec,
    /// The encoded bytes.
    pub payload: Vec<u8>,
    /// What it is encoded against.
    pub base: Option<Place>,
}

/// Where segments are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// On threads of their own, so that the next segment is written meanwhile.
    InBackground,
    /// On the calling thread: all operations come in one order.
    Inline,
}

#[derive(Clone, Copy)]
enum Lane {
    Blocks,
    Pages,
}

/// See the module.
pub struct RecordWriter {
    files: Arc<dyn Files>,
    segments: PathBuf,
    disk_id: [u8; 16],
    codec: Codec,
    sealing_where: Sealing,
    len_target: u64,
    known: Arc<Known>,
    highest: SegmentId,
    blocks: Option<SegmentWriter>,
    pages: Option<SegmentWriter>,
    sealing: Vec<std::thread::JoinHandle<Result<SealedSegment>>>,
    created: Vec<SegmentId>,
    sealed: Vec<SegmentId>,
    stored_bytes: u64,
    is_poisoned: bool,
}

impl RecordWriter {
    /// Writes segments above `highest` into `disk`, whose lock the caller holds.
    #[must_use]
    pub fn new(disk: &Disk, highest: SegmentId, known: Arc<Known>, sealing: Sealing) -> Self {
        Self {
            files: Arc::clone(disk.files()),
            segments: disk.paths().segments(),
            disk_id: disk.file().id_bytes().unwrap_or_default(),
            codec: disk.file().codec,
            sealing_where: sealing,
            len_target: SEGMENT_LEN_TARGET,
            known,
            highest,
            blocks: None,
            pages: None,
            sealing: Vec::new(),
            created: Vec::new(),
            sealed: Vec::new(),
            stored_bytes: 0,
            is_poisoned: false,
        }
    }

    /// Seals segments at so many bytes, at most [`SEGMENT_LEN_TARGET`].
    #[must_use]
    pub fn sealing_at(self, len_target: u64) -> Self {
        Self { len_target, ..self }
    }

    /// Stores a block, unless one of its digest was stored meanwhile.
    ///
    /// # Errors
    /// Of the file system; the backup must then be given up.
    pub fn write_block(&mut self, block: &EncodedBlock) -> Result<BlockPointer> {
        if let Some(pointer) = self.known.find_unsealed(&block.digest) {
            return Ok(pointer);
        }
        let place = self.append(
            Lane::Blocks,
            Kind::Block,
            block.codec,
            block.digest,
            block.plain_len,
            &block.payload,
        )?;
        let pointer = BlockPointer { digest: block.digest, place, base: block.base };
        self.known.lock_unsealed().insert(block.digest, pointer);
        Ok(pointer)
    }

    /// Bytes of all segments so far.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let open = [&self.blocks, &self.pages].into_iter().flatten().map(SegmentWriter::sealed_len);
        self.stored_bytes + open.sum::<u64>()
    }

    /// The highest segment so far.
    #[must_use]
    pub fn highest(&self) -> SegmentId {
        self.highest
    }

    /// Seals everything. Afterwards every record is on stable storage, and so are the names.
    ///
    /// # Errors
    /// Of the file system, also where an earlier call failed; the backup must then be given up.
    pub fn seal(&mut self) -> Result<()> {
        self.or_poisoned(Self::seal_all)
    }

    /// Whether anything could not be written or synced; nothing is then written any more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Unlinks what is not sealed, after a failure or a cancel, and forgets it. Sealed segments
    /// stay: for another pass, which goes on with higher numbers, or for the next backup to adopt.
    pub fn give_up(&mut self) {
        self.blocks = None;
        self.pages = None;
        let _ = self.collect_sealed(0);
        self.known.forget_unsealed();
        for id in self.created.iter().filter(|id| !self.sealed.contains(id)) {
            // What cannot be unlinked now has a temporary name, and is swept by the next backup.
            let _ = self.files.unlink(&temporary_path_of(&self.segments, *id));
        }
        self.created.clone_from(&self.sealed);
    }

    fn append(
        &mut self,
        lane: Lane,
        kind: Kind,
        codec: Codec,
        digest: Digest,
        plain_len: u32,
        payload: &[u8],
    ) -> Result<Place> {
        self.or_poisoned(|this| {
            let mut writer = match this.lane(lane).take() {
                Some(writer) if !writer.is_full(this.len_target) => writer,
                full => {
                    if let Some(full) = full {
                        this.begin_sealing(full)?;
                    }
                    this.create()?
                }
            };
            let ordinal = writer.append(kind, codec, digest, plain_len, payload)?;
            let id = writer.id();
            *this.lane(lane) = Some(writer);
            Place::new(id, ordinal).ok_or(Error::Worker)
        })
    }

    /// Does something after which, where it fails, nothing more is done. What was lost by then,
    /// above all by a sync that failed, must not become part of a revision.
    fn or_poisoned<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.is_poisoned {
            let source = std::io::Error::other("an earlier write failed, so nothing more is written");
            return Err(Error::Io { action: "writing to", path: self.segments.clone(), source });
        }
        let done = work(self);
        self.is_poisoned |= done.is_err();
        done
    }

    fn seal_all(&mut self) -> Result<()> {
        for writer in [self.blocks.take(), self.pages.take()].into_iter().flatten() {
            self.begin_sealing(writer)?;
        }
        self.collect_sealed(0)?;
        if self.created.is_empty() { Ok(()) } else { self.sync_directory() }
    }

    fn lane(&mut self, lane: Lane) -> &mut Option<SegmentWriter> {
        match lane {
            Lane::Blocks => &mut self.blocks,
            Lane::Pages => &mut self.pages,
        }
    }

    fn create(&mut self) -> Result<SegmentWriter> {
        let used_up = || Error::InvalidArgument("the disk has used up its segment numbers".into());
        let id = SegmentId(self.highest.0.checked_add(1).ok_or_else(used_up)?);
        let created_unix_s = u64::try_from(now().as_second()).unwrap_or(0);
        let writer = SegmentWriter::create(&*self.files, &self.segments, id, self.disk_id, created_unix_s)?;
        self.highest = id;
        self.created.push(id);
        Ok(writer)
    }

    /// Syncs take their time, so the next segment is written meanwhile. At most two at once.
    fn begin_sealing(&mut self, writer: SegmentWriter) -> Result<()> {
        self.collect_sealed(1)?;
        self.stored_bytes += writer.sealed_len();
        match self.sealing_where {
            Sealing::Inline => {
                let sealed = writer.seal(&*self.files)?;
                self.note_sealed(&sealed);
            }
            Sealing::InBackground => {
                let files = Arc::clone(&self.files);
                self.sealing.push(std::thread::spawn(move || writer.seal(&*files)));
            }
        }
        Ok(())
    }

    fn collect_sealed(&mut self, still_running_max: usize) -> Result<()> {
        let mut failure = None;
        while self.sealing.len() > still_running_max {
            match self.sealing.remove(0).join() {
                Ok(Ok(sealed)) => self.note_sealed(&sealed),
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = Some(Error::Worker),
            }
        }
        self.is_poisoned |= failure.is_some();
        failure.map_or(Ok(()), Err)
    }

    fn note_sealed(&mut self, sealed: &SealedSegment) {
        self.known.insert_sealed(sealed.id, &sealed.entries);
        self.sealed.push(sealed.id);
    }

    fn sync_directory(&self) -> Result<()> {
        use crate::error::AtPath;
        self.files.sync_directory(&self.segments).at("syncing", &self.segments)
    }
}

impl PageSink for RecordWriter {
    fn write_page(&mut self, plain: &[u8], page: UnplacedPage, twice: bool) -> Result<PagePointer> {
        let plain_len = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let (codec, payload) = codec::encode(self.codec, plain);
        let mut store = |lane| self.append(lane, Kind::Page, codec, page.digest, plain_len, &payload);
        let place = store(Lane::Pages)?;
        let copy = if twice { Some(store(Lane::Blocks)?) } else { None };
        Ok(PagePointer { digest: page.digest, place, copy, allocated: page.allocated })
    }
}
