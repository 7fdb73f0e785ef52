//! Reading the records of a sealed segment front to back and checking each against its own digest.

use std::path::Path;

use crate::codec::{self, Codec};
use crate::digest::Digest;
use crate::error::Result;
use crate::io::Files;
use crate::record::{Base, Header};
use crate::units::{Ordinal, SegmentId};

use super::index::{IndexEntry, run_len};
use super::read::{Bases, Opened};
use super::rewrite::{check, read};

/// What was read of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records that were read.
    pub records: u64,
    /// Bytes of them, headers included.
    pub bytes: u64,
    /// Those that are not what the index says, or cannot be read at all.
    pub damaged: Vec<Ordinal>,
}

/// Reads the records that `choose` takes, in the order in which they lie, from the medium as far as
/// the page cache can be told to let go of them. Header, payload and digest of each are checked; of
/// one that is encoded against another block the digest only where that one can be read, which
/// `bases` does: it is damaged itself otherwise, and this one is not.
/// `progress` hears of bytes as they are read, and may end it all.
///
/// # Errors
/// `Corrupt` for a segment that is unsealed or whose index is damaged; `NotFound`; `Io` for all but
/// a medium that fails, which is damage of the records that it holds; what `progress` gives.
pub fn verify(
    files: &dyn Files,
    segments: &Path,
    id: SegmentId,
    bases: &dyn Bases,
    choose: &mut dyn FnMut(&IndexEntry) -> bool,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Verified> {
    let opened = Opened::open(files, segments, id)?;
    let mut chosen: Vec<_> = opened.entries.iter().copied().filter(|entry| choose(entry)).collect();
    chosen.sort_unstable_by_key(|entry| entry.offset);
    opened.file.forget_cached();
    let mut verified = Verified::default();
    let (mut buffer, mut check) = (Vec::new(), Check { opened: &opened, id, bases, plain: Vec::new() });
    let mut rest = chosen.as_slice();
    while !rest.is_empty() {
        let (run, after) = rest.split_at(run_len(rest));
        let len = verify_run(run, &mut buffer, &mut check, &mut verified)?;
        verified.records += run.len() as u64;
        verified.bytes += len;
        progress(len)?;
        rest = after;
    }
    // What was read once is not worth the cache of those who read often.
    opened.file.forget_cached();
    Ok(verified)
}

fn verify_run(
    run: &[IndexEntry],
    buffer: &mut Vec<u8>,
    check: &mut Check<'_>,
    verified: &mut Verified,
) -> Result<u64> {
    let start = run.first().map_or(0, |entry| u64::from(entry.offset));
    let len = run.last().map_or(start, IndexEntry::end) - start;
    buffer.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
    match read(check.opened, buffer, start) {
        Ok(()) => {}
        // The medium fails somewhere in it: record by record tells where.
        Err(error) if error.is_unreadable() && run.len() > 1 => {
            for entry in run {
                verify_run(std::slice::from_ref(entry), buffer, check, verified)?;
            }
            return Ok(len);
        }
        Err(error) if error.is_unreadable() => {
            verified.damaged.extend(run.iter().map(|entry| entry.ordinal));
            return Ok(len);
        }
        Err(error) => return Err(error),
    }
    for entry in run {
        let at = usize::try_from(u64::from(entry.offset) - start).unwrap_or(usize::MAX);
        if !check.is_sound(entry, buffer.get(at..).unwrap_or(&[])) {
            verified.damaged.push(entry.ordinal);
        }
    }
    Ok(len)
}

/// What records are checked with.
struct Check<'a> {
    opened: &'a Opened,
    id: SegmentId,
    bases: &'a dyn Bases,
    /// Scratch space.
    plain: Vec<u8>,
}

impl Check<'_> {
    /// Whether the record that begins `bytes` is the one of the index, and its payload what it should
    /// be.
    fn is_sound(&mut self, entry: &IndexEntry, bytes: &[u8]) -> bool {
        let Ok(header) = check(self.opened, self.id, entry, bytes) else { return false };
        let record_len = usize::try_from(entry.record_len()).unwrap_or(usize::MAX);
        let Some(payload) = bytes.get(crate::record::HEADER_LEN..record_len) else { return false };
        if header.codec != Codec::ZstdPrefix {
            return is_sound_payload(&header, payload, &mut self.plain);
        }
        let Some((base, frame)) = Base::split(payload) else { return false };
        let Ok(base) = self.bases.base(&base) else { return true };
        self.plain.resize(header.plain_len as usize, 0);
        codec::decode_against(&base, frame, &mut self.plain).is_ok()
            && Digest::of(header.kind.context(), &self.plain) == header.digest
    }
}

/// Whether a payload is what its header says, as far as it tells by itself: it decodes, into `plain`, to
/// the digest there, or is encoded against another block and has the right check.
pub(super) fn is_sound_payload(header: &Header, payload: &[u8], plain: &mut Vec<u8>) -> bool {
    if header.codec == Codec::ZstdPrefix {
        return Base::split(payload).is_some();
    }
    plain.resize(header.plain_len as usize, 0);
    codec::decode_into(header.codec, payload, plain).is_ok()
        && Digest::of(header.kind.context(), plain) == header.digest
}
