//! Requests and their replies over one connection, one at a time.

use std::collections::BTreeMap;
use std::ops::Range;

use super::NbdError;
use super::handshake::{Export, fits_a_string, shake, shown};
use super::wire::{CHUNK, REQUEST, SIMPLE_REPLY, Wire, bytes_from, skip, u16_from, u32_from, u64_from};

const COMMAND_READ: u16 = 0;
const COMMAND_DISCONNECT: u16 = 2;
const COMMAND_BLOCK_STATUS: u16 = 7;

const CHUNK_NONE: u16 = 0;
const CHUNK_DATA: u16 = 1;
const CHUNK_HOLE: u16 = 2;
const CHUNK_EXTENTS: u16 = 5;
const CHUNK_ERROR: u16 = 1 << 15;
/// An error with the offset where it happened.
const CHUNK_ERROR_AT: u16 = CHUNK_ERROR | 2;
const CHUNK_IS_LAST: u16 = 1;

/// A reply may tell of several errors, but not of errors without end.
const ERRORS_MAX: u32 = 64;
/// Extents of one reply; they are not kept, so this bounds time alone.
const EXTENTS_MAX: u32 = 1 << 20;
/// Bytes of extents that are asked for at once: what a length can say, and a multiple of every `request_min`.
const EXTENTS_LEN_MAX: u32 = u32::MAX / (1 << 16) * (1 << 16);

/// A kind of extents that a server tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// `base:allocation`
    Allocation,
    /// The dirty bitmap that was asked for.
    Bitmap,
}

/// A connection on which requests can be sent. Says goodbye when it is dropped. After an error that is no
/// [`NbdError::is_answer`] nothing more can be asked.
pub struct Client<W: Wire> {
    wire: W,
    export: Export,
    cookie: u64,
    is_broken: bool,
}

impl<W: Wire> Client<W> {
    /// Shakes hands.
    ///
    /// # Errors
    /// [`NbdError`].
    pub fn open(mut wire: W, export_name: &str, bitmap: Option<&str>) -> Result<Self, NbdError> {
        let export = shake(&mut wire, export_name, bitmap)?;
        Ok(Self { wire, export, cookie: 0, is_broken: false })
    }

    /// What the server told of the export.
    #[must_use]
    pub fn export(&self) -> &Export {
        &self.export
    }

    /// What it speaks over.
    pub(super) fn wire_mut(&mut self) -> &mut W {
        &mut self.wire
    }

    /// Whether nothing more can be asked.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Fills `into` from `offset`, which both fit the export, with requests that the server takes.
    ///
    /// # Errors
    /// [`NbdError`]; then `into` holds anything.
    pub fn read(&mut self, into: &mut [u8], offset: u64) -> Result<(), NbdError> {
        let min = u64::from(self.export.request_min);
        let end = offset.saturating_add(into.len() as u64);
        if end > self.export.size_bytes {
            return Err(NbdError::Outside);
        }
        let first = offset / min * min;
        let last = end.next_multiple_of(min).min(self.export.size_bytes);
        if (first, last) == (offset, end) {
            return self.read_fitting(into, offset);
        }
        let mut whole = vec![0; usize::try_from(last - first).unwrap_or(0)];
        self.read_fitting(&mut whole, first)?;
        let skipped = usize::try_from(offset - first).unwrap_or(0);
        if let Some(found) = whole.get(skipped..skipped + into.len()) {
            into.copy_from_slice(found);
        }
        Ok(())
    }

    fn read_fitting(&mut self, into: &mut [u8], offset: u64) -> Result<(), NbdError> {
        let mut at = offset;
        for part in into.chunks_mut(usize::try_from(self.export.request_max).unwrap_or(usize::MAX).max(1)) {
            self.exchange(|client| client.read_once(part, at))?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Tells `then` of extents from `offset` on, in order and without a gap, each with its flags, and returns
    /// where they end: before `end` as a rule, and beyond it where the server knows more, but never beyond the
    /// export. `offset` is a multiple of `request_min`.
    ///
    /// # Errors
    /// `NoContext`; [`NbdError`]. `then` may have heard of extents already.
    pub fn extents(
        &mut self,
        context: Context,
        offset: u64,
        end: u64,
        mut then: impl FnMut(Range<u64>, u32),
    ) -> Result<u64, NbdError> {
        let end = end.min(self.export.size_bytes);
        if offset >= end {
            return Err(NbdError::Outside);
        }
        let id = match context {
            Context::Allocation => self.export.allocation,
            Context::Bitmap => self.export.bitmap,
        };
        let id = id.ok_or(NbdError::NoContext)?;
        self.exchange(|client| client.extents_once(id, offset..end, &mut then))
    }

    fn exchange<T>(
        &mut self,
        exchange: impl FnOnce(&mut Self) -> Result<T, NbdError>,
    ) -> Result<T, NbdError> {
        if self.is_broken {
            return Err(NbdError::Lost { why: "the connection was lost before".to_owned() });
        }
        self.wire.begin();
        let done = exchange(self);
        self.is_broken = done.as_ref().is_err_and(|error| !error.is_answer());
        done
    }

    fn request(&mut self, command: u16, offset: u64, len: u32) -> Result<(), NbdError> {
        self.cookie += 1;
        let mut bytes = Vec::with_capacity(28);
        bytes.extend(REQUEST.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(command.to_be_bytes());
        bytes.extend(self.cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        self.wire.send(&bytes)
    }

    fn read_once(&mut self, into: &mut [u8], offset: u64) -> Result<(), NbdError> {
        let len = u32::try_from(into.len()).map_err(|_| NbdError::RequestSizes)?;
        self.request(COMMAND_READ, offset, len)?;
        if !self.export.is_structured {
            self.simple_reply()?;
            return self.wire.fill(into);
        }
        let mut reply = Reply::default();
        let mut covered = Covered::default();
        loop {
            let chunk = self.chunk()?;
            match chunk.kind {
                CHUNK_DATA => {
                    let data_len = chunk.len.checked_sub(8).ok_or(NbdError::ReplyLength)?;
                    let range = self.place(offset, len, data_len)?;
                    covered.add(&range)?;
                    self.wire.fill(into.get_mut(range).ok_or(NbdError::Outside)?)?;
                }
                CHUNK_HOLE if chunk.len == 12 => {
                    let at = u64_from(&mut self.wire)?;
                    let hole_len = u32_from(&mut self.wire)?;
                    let range = within(offset, len, at, hole_len)?;
                    covered.add(&range)?;
                    into.get_mut(range).ok_or(NbdError::Outside)?.fill(0);
                }
                CHUNK_HOLE => return Err(NbdError::ReplyLength),
                _ => self.other_chunk(chunk, &mut reply)?,
            }
            if chunk.is_last {
                reply.ended()?;
                return if covered.len() == into.len() { Ok(()) } else { Err(NbdError::Uncovered) };
            }
        }
    }

    /// Where the data of a chunk go, by the offset that they begin with.
    fn place(&mut self, offset: u64, len: u32, data_len: u32) -> Result<Range<usize>, NbdError> {
        let at = u64_from(&mut self.wire)?;
        within(offset, len, at, data_len)
    }

    fn extents_once(
        &mut self,
        id: u32,
        range: Range<u64>,
        then: &mut dyn FnMut(Range<u64>, u32),
    ) -> Result<u64, NbdError> {
        let len = u32::try_from(range.end - range.start).unwrap_or(u32::MAX).min(EXTENTS_LEN_MAX);
        self.request(COMMAND_BLOCK_STATUS, range.start, len)?;
        let mut reply = Reply::default();
        let (mut asked, mut others) = (None, 0);
        loop {
            let chunk = self.chunk()?;
            match chunk.kind {
                CHUNK_EXTENTS => {
                    let body_len = chunk.len.checked_sub(4).filter(|len| len % 8 == 0);
                    let count = body_len.ok_or(NbdError::ReplyLength)? / 8;
                    if !(1..=EXTENTS_MAX).contains(&count) {
                        return Err(NbdError::Extents);
                    }
                    let told = u32_from(&mut self.wire)?;
                    if told == id && asked.is_none() {
                        asked = Some(self.extent_list(count, range.start, then)?);
                    } else if told != id && self.knows(told) && others == 0 {
                        others += 1;
                        self.extent_list(count, range.start, &mut |_, _| {})?;
                    } else {
                        return Err(if self.knows(told) {
                            NbdError::Duplicate
                        } else {
                            NbdError::StrayReply
                        });
                    }
                }
                _ => self.other_chunk(chunk, &mut reply)?,
            }
            if chunk.is_last {
                reply.ended()?;
                return asked.ok_or(NbdError::Extents);
            }
        }
    }

    fn knows(&self, id: u32) -> bool {
        [self.export.allocation, self.export.bitmap].contains(&Some(id))
    }

    /// The extents of one context from `at` on; they may reach beyond what was asked for.
    fn extent_list(
        &mut self,
        count: u32,
        mut at: u64,
        then: &mut dyn FnMut(Range<u64>, u32),
    ) -> Result<u64, NbdError> {
        let size = self.export.size_bytes;
        for _ in 0..count {
            let (len, flags) = (u32_from(&mut self.wire)?, u32_from(&mut self.wire)?);
            if len == 0 || at >= size {
                return Err(NbdError::Extents);
            }
            let end = at.saturating_add(u64::from(len)).min(size);
            then(at..end, flags);
            at = end;
        }
        Ok(at)
    }

    /// A reply without data; what comes with it follows.
    fn simple_reply(&mut self) -> Result<(), NbdError> {
        if u32_from(&mut self.wire)? != SIMPLE_REPLY {
            return Err(NbdError::ReplyMagic);
        }
        self.simple_rest()
    }

    fn simple_rest(&mut self) -> Result<(), NbdError> {
        let code = u32_from(&mut self.wire)?;
        self.own_cookie()?;
        if code == 0 { Ok(()) } else { Err(NbdError::Server { code, message: String::new() }) }
    }

    fn own_cookie(&mut self) -> Result<(), NbdError> {
        if u64_from(&mut self.wire)? == self.cookie { Ok(()) } else { Err(NbdError::StrayReply) }
    }

    /// The head of the next chunk. A simple reply in its place can only be an error.
    fn chunk(&mut self) -> Result<Chunk, NbdError> {
        match u32_from(&mut self.wire)? {
            CHUNK => {}
            SIMPLE_REPLY => {
                self.simple_rest()?;
                return Err(NbdError::ReplyKind);
            }
            _ => return Err(NbdError::ReplyMagic),
        }
        let (flags, kind) = (u16_from(&mut self.wire)?, u16_from(&mut self.wire)?);
        self.own_cookie()?;
        if flags & !CHUNK_IS_LAST != 0 {
            return Err(NbdError::Flags);
        }
        Ok(Chunk { is_last: flags != 0, kind, len: u32_from(&mut self.wire)? })
    }

    /// Errors, and the chunk that only says that there are no more.
    fn other_chunk(&mut self, chunk: Chunk, reply: &mut Reply) -> Result<(), NbdError> {
        match chunk.kind {
            CHUNK_NONE if chunk.len == 0 && chunk.is_last => Ok(()),
            CHUNK_NONE => Err(NbdError::ReplyLength),
            kind if kind & CHUNK_ERROR != 0 => {
                let rest = chunk.len.checked_sub(6).filter(|&rest| fits_a_string(rest));
                let rest = rest.ok_or(NbdError::ReplyLength)?;
                let (code, message_len) = (u32_from(&mut self.wire)?, u16_from(&mut self.wire)?);
                let after = rest.checked_sub(u32::from(message_len)).ok_or(NbdError::ReplyLength)?;
                let fits = match kind {
                    CHUNK_ERROR_AT => after == 8,
                    _ if kind == CHUNK_ERROR | 1 => after == 0,
                    // Later kinds begin alike.
                    _ => true,
                };
                if !fits || code == 0 {
                    return Err(NbdError::ReplyLength);
                }
                let message = shown(&bytes_from(&mut self.wire, message_len.into())?);
                skip(&mut self.wire, after)?;
                reply.errors += 1;
                if reply.errors > ERRORS_MAX {
                    return Err(NbdError::TooManyErrors);
                }
                reply.error.get_or_insert((code, message));
                Ok(())
            }
            _ => Err(NbdError::ReplyKind),
        }
    }
}

impl<W: Wire> Drop for Client<W> {
    fn drop(&mut self) {
        if !self.is_broken {
            self.wire.begin();
            // Whoever is gone already need not be told.
            let _ = self.request(COMMAND_DISCONNECT, 0, 0);
        }
    }
}

#[derive(Clone, Copy)]
struct Chunk {
    is_last: bool,
    kind: u16,
    len: u32,
}

/// The errors of a reply so far, the first of them kept.
#[derive(Default)]
struct Reply {
    errors: u32,
    error: Option<(u32, String)>,
}

impl Reply {
    fn ended(self) -> Result<(), NbdError> {
        self.error.map_or(Ok(()), |(code, message)| Err(NbdError::Server { code, message }))
    }
}

/// Where `at` and `len` lie in a request for `asked` bytes at `offset`.
fn within(offset: u64, asked: u32, at: u64, len: u32) -> Result<Range<usize>, NbdError> {
    if len == 0 {
        return Err(NbdError::ReplyLength);
    }
    let start = at.checked_sub(offset).ok_or(NbdError::Outside)?;
    let end = start.checked_add(u64::from(len)).ok_or(NbdError::Outside)?;
    if end > u64::from(asked) {
        return Err(NbdError::Outside);
    }
    let [start, end] = [start, end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
    Ok(start..end)
}

/// Which bytes of a request have come, in any order: ends by their starts, none touching another.
#[derive(Default)]
struct Covered(BTreeMap<usize, usize>);

impl Covered {
    fn add(&mut self, range: &Range<usize>) -> Result<(), NbdError> {
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, &before_end)) = self.0.range(..end).next_back() {
            if before_end > start {
                return Err(NbdError::Overlap);
            }
            if before_end == start {
                start = before;
            }
        }
        if let Some(after_end) = self.0.remove(&end) {
            end = after_end;
        }
        self.0.insert(start, end);
        Ok(())
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_covered_in_any_order_and_never_twice() {
        let mut covered = Covered::default();
        for range in [10..20, 0..5, 20..30, 5..10] {
            covered.add(&range).unwrap();
        }
        assert_eq!((covered.len(), covered.0.len()), (30, 1));
        for range in [0..1, 29..31, 15..16, 0..40] {
            assert!(matches!(covered.add(&range), Err(NbdError::Overlap)), "{range:?}");
        }
        covered.add(&(30..31)).unwrap();
        assert_eq!(covered.len(), 31);
    }
}
