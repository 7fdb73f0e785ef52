//! The fixed newstyle handshake: greeting, options, and what they tell of the export.

use super::NbdError;
use super::wire::{GREETING, OPTION, OPTION_REPLY, Wire, bytes_from, skip, u16_from, u32_from, u64_from};
use crate::probe::visible;

/// Strings of the protocol are no longer.
const STRING_LEN_MAX: usize = 4096;
/// Answers to one option; a server has as many bitmaps at most as it can say in them.
const ANSWERS_MAX: usize = 1024;
/// Bytes of a message that are shown.
const SHOWN_LEN_MAX: usize = 200;
/// As large as an image may be for a disk of this store.
const SIZE_MAX: u64 = 1 << 53;
/// Of one request, where the server says nothing, and what is asked for at once in any case.
const REQUEST_LEN_MAX: u32 = 2 << 20;

const FLAG_FIXED_NEWSTYLE: u16 = 1;
const FLAG_NO_ZEROES: u16 = 2;

const OPTION_GO: u32 = 7;
const OPTION_STRUCTURED_REPLY: u32 = 8;
const OPTION_LIST_CONTEXTS: u32 = 9;
const OPTION_SET_CONTEXTS: u32 = 10;

const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_CONTEXT: u32 = 4;
const REPLY_ERROR: u32 = 1 << 31;
const REPLY_UNSUPPORTED: u32 = REPLY_ERROR | 1;
const REPLY_TLS_REQUIRED: u32 = REPLY_ERROR | 5;
const REPLY_UNKNOWN: u32 = REPLY_ERROR | 6;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

const EXPORT_HAS_FLAGS: u16 = 1;
const EXPORT_IS_READ_ONLY: u16 = 1 << 1;
const EXPORT_CAN_MULTI_CONN: u16 = 1 << 8;

const ALLOCATION: &str = "base:allocation";
const BITMAP: &str = "qemu:dirty-bitmap:";

/// What a server told of the export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Of the export.
    pub size_bytes: u64,
    /// Nobody can write to it over this protocol.
    pub is_read_only: bool,
    /// What one connection reads, another one reads as well.
    pub can_multi_conn: bool,
    /// Offsets and lengths of requests are multiples of this, a power of two.
    pub request_min: u32,
    /// Bytes of one read at most, a multiple of `request_min`.
    pub request_max: u32,
    /// Replies come in chunks.
    pub is_structured: bool,
    /// The number by which the server calls what is data and what is a hole.
    pub allocation: Option<u32>,
    /// The number by which it calls the bitmap.
    pub bitmap: Option<u32>,
}

/// Shakes hands up to the point where requests can be sent. A server without structured replies or
/// without `base:allocation` will do, one without the `bitmap` that is asked for will not.
///
/// # Errors
/// [`NbdError`].
pub(super) fn shake<W: Wire>(wire: &mut W, name: &str, bitmap: Option<&str>) -> Result<Export, NbdError> {
    if name.len() > STRING_LEN_MAX
        || bitmap.is_some_and(|bitmap| bitmap.len() > STRING_LEN_MAX - BITMAP.len())
    {
        return Err(NbdError::NameLength);
    }
    wire.begin();
    greet(wire)?;
    ask(wire, OPTION_STRUCTURED_REPLY, &[])?;
    let is_structured = match next(wire, OPTION_STRUCTURED_REPLY)? {
        Answer { kind: REPLY_ACK, len: 0 } => true,
        Answer { kind: REPLY_ACK, .. } => return Err(NbdError::AnswerLength),
        answer => {
            refusal(wire, "use structured replies", answer)?;
            false
        }
    };
    let contexts = if is_structured { set_contexts(wire, name, bitmap)? } else { Contexts::default() };
    if let Some(bitmap) = bitmap.filter(|_| contexts.bitmap.is_none()) {
        let there = if is_structured { list_bitmaps(wire, name)? } else { Vec::new() };
        return Err(NbdError::NoBitmap { name: visible(bitmap, SHOWN_LEN_MAX), there });
    }
    go(wire, name, is_structured, &contexts)
}

fn greet<W: Wire>(wire: &mut W) -> Result<(), NbdError> {
    if u64_from(wire)? != GREETING {
        return Err(NbdError::Greeting);
    }
    match u64_from(wire)? {
        OPTION => {}
        // The magic of the old handshake.
        0x0000_4202_8186_1253 => return Err(NbdError::OldHandshake),
        _ => return Err(NbdError::Greeting),
    }
    let flags = u16_from(wire)?;
    if flags & FLAG_FIXED_NEWSTYLE == 0 {
        return Err(NbdError::OldHandshake);
    }
    wire.send(&u32::from(flags & (FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)).to_be_bytes())
}

#[derive(Default)]
struct Contexts {
    allocation: Option<u32>,
    bitmap: Option<u32>,
}

fn set_contexts<W: Wire>(wire: &mut W, name: &str, bitmap: Option<&str>) -> Result<Contexts, NbdError> {
    let wanted = bitmap.map(|bitmap| format!("{BITMAP}{bitmap}"));
    let queries: Vec<&str> = [Some(ALLOCATION), wanted.as_deref()].into_iter().flatten().collect();
    ask(wire, OPTION_SET_CONTEXTS, &context_queries(name, &queries))?;
    let mut contexts = Contexts::default();
    each_context(wire, OPTION_SET_CONTEXTS, |id, context| {
        let place = match context {
            ALLOCATION => &mut contexts.allocation,
            other if Some(other) == wanted.as_deref() => &mut contexts.bitmap,
            _ => return Err(NbdError::StrayAnswer),
        };
        if place.replace(id).is_some() { Err(NbdError::Duplicate) } else { Ok(()) }
    })?;
    if contexts.allocation.is_some() && contexts.allocation == contexts.bitmap {
        return Err(NbdError::Duplicate);
    }
    Ok(contexts)
}

/// The names of the bitmaps that the export has, fit to be shown, for whoever named another one.
fn list_bitmaps<W: Wire>(wire: &mut W, name: &str) -> Result<Vec<String>, NbdError> {
    ask(wire, OPTION_LIST_CONTEXTS, &context_queries(name, &[BITMAP]))?;
    let mut there = Vec::new();
    each_context(wire, OPTION_LIST_CONTEXTS, |_, context| {
        let shown = context.strip_prefix(BITMAP).map(|name| visible(name, SHOWN_LEN_MAX));
        there.extend(shown.filter(|_| there.len() < 20));
        Ok(())
    })?;
    Ok(there)
}

fn context_queries(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    push_string(&mut data, name);
    push_u32(&mut data, queries.len());
    queries.iter().for_each(|query| push_string(&mut data, query));
    data
}

/// Contexts up to the end of an answer; none where the server does not know the option.
fn each_context<W: Wire>(
    wire: &mut W,
    option: u32,
    mut then: impl FnMut(u32, &str) -> Result<(), NbdError>,
) -> Result<(), NbdError> {
    for _ in 0..ANSWERS_MAX {
        match next(wire, option)? {
            Answer { kind: REPLY_ACK, len: 0 } => return Ok(()),
            Answer { kind: REPLY_CONTEXT, len } => {
                let name_len = len.checked_sub(4).filter(|&len| fits_a_string(len));
                let name_len = name_len.ok_or(NbdError::AnswerLength)?;
                let id = u32_from(wire)?;
                let context = bytes_from(wire, name_len)?;
                then(id, std::str::from_utf8(&context).map_err(|_| NbdError::StrayAnswer)?)?;
            }
            Answer { kind: REPLY_ACK, .. } => return Err(NbdError::AnswerLength),
            answer => return refusal(wire, "tell of extents", answer),
        }
    }
    Err(NbdError::TooManyAnswers)
}

fn go<W: Wire>(
    wire: &mut W,
    name: &str,
    is_structured: bool,
    contexts: &Contexts,
) -> Result<Export, NbdError> {
    let mut data = Vec::new();
    push_string(&mut data, name);
    data.extend(1u16.to_be_bytes());
    data.extend(INFO_BLOCK_SIZE.to_be_bytes());
    ask(wire, OPTION_GO, &data)?;
    let (mut export, mut sizes) = (None, None);
    for _ in 0..ANSWERS_MAX {
        match next(wire, OPTION_GO)? {
            Answer { kind: REPLY_ACK, len: 0 } => {
                let (size_bytes, flags) = export.ok_or(NbdError::NoSize)?;
                let (request_min, request_max) = sizes.unwrap_or((1, REQUEST_LEN_MAX));
                return Ok(Export {
                    size_bytes,
                    is_read_only: flags & EXPORT_IS_READ_ONLY != 0,
                    can_multi_conn: flags & EXPORT_CAN_MULTI_CONN != 0,
                    request_min,
                    request_max,
                    is_structured,
                    allocation: contexts.allocation,
                    bitmap: contexts.bitmap,
                });
            }
            Answer { kind: REPLY_INFO, len } => {
                let rest = len.checked_sub(2).ok_or(NbdError::AnswerLength)?;
                match (u16_from(wire)?, rest) {
                    (INFO_EXPORT, 10) => set_once(&mut export, export_info(wire)?)?,
                    (INFO_BLOCK_SIZE, 12) => set_once(&mut sizes, request_sizes(wire)?)?,
                    (INFO_EXPORT | INFO_BLOCK_SIZE, _) => return Err(NbdError::AnswerLength),
                    // Names and descriptions, and whatever later versions tell unasked.
                    (_, rest) if fits_a_string(rest) => skip(wire, rest)?,
                    _ => return Err(NbdError::AnswerLength),
                }
            }
            Answer { kind: REPLY_ACK, .. } => return Err(NbdError::AnswerLength),
            answer @ Answer { kind, .. } => {
                let message = message(wire, answer)?;
                return Err(match kind {
                    REPLY_TLS_REQUIRED => NbdError::Tls,
                    REPLY_UNKNOWN => NbdError::NoExport { message },
                    code => NbdError::Refused { wish: "open the export", code, message },
                });
            }
        }
    }
    Err(NbdError::TooManyAnswers)
}

fn export_info<W: Wire>(wire: &mut W) -> Result<(u64, u16), NbdError> {
    let (size, flags) = (u64_from(wire)?, u16_from(wire)?);
    if size > SIZE_MAX {
        return Err(NbdError::Size);
    }
    if flags & EXPORT_HAS_FLAGS == 0 { Err(NbdError::Flags) } else { Ok((size, flags)) }
}

/// The least and the greatest length of a request.
fn request_sizes<W: Wire>(wire: &mut W) -> Result<(u32, u32), NbdError> {
    let (min, preferred, max) = (u32_from(wire)?, u32_from(wire)?, u32_from(wire)?);
    let is_sound = min.is_power_of_two()
        && min <= 1 << 16
        && preferred.is_power_of_two()
        && preferred >= min
        && max >= min
        && (max == u32::MAX || max % min == 0);
    if !is_sound {
        return Err(NbdError::RequestSizes);
    }
    Ok((min, max.min(REQUEST_LEN_MAX) / min * min))
}

/// The head of an answer; its data follow.
#[derive(Clone, Copy)]
struct Answer {
    kind: u32,
    len: u32,
}

fn ask<W: Wire>(wire: &mut W, option: u32, data: &[u8]) -> Result<(), NbdError> {
    let mut bytes = Vec::with_capacity(16 + data.len());
    bytes.extend(OPTION.to_be_bytes());
    bytes.extend(option.to_be_bytes());
    push_u32(&mut bytes, data.len());
    bytes.extend(data);
    wire.send(&bytes)
}

fn next<W: Wire>(wire: &mut W, option: u32) -> Result<Answer, NbdError> {
    if u64_from(wire)? != OPTION_REPLY || u32_from(wire)? != option {
        return Err(NbdError::StrayAnswer);
    }
    Ok(Answer { kind: u32_from(wire)?, len: u32_from(wire)? })
}

/// Takes an answer that is none of those hoped for. A server that does not know an option is fine.
fn refusal<W: Wire>(wire: &mut W, wish: &'static str, answer: Answer) -> Result<(), NbdError> {
    let message = message(wire, answer)?;
    match answer.kind {
        REPLY_UNSUPPORTED => Ok(()),
        REPLY_TLS_REQUIRED => Err(NbdError::Tls),
        REPLY_UNKNOWN => Err(NbdError::NoExport { message }),
        code => Err(NbdError::Refused { wish, code, message }),
    }
}

/// What an error says, fit to be shown.
fn message<W: Wire>(wire: &mut W, answer: Answer) -> Result<String, NbdError> {
    if answer.kind & REPLY_ERROR == 0 {
        return Err(NbdError::StrayAnswer);
    }
    if !fits_a_string(answer.len) {
        return Err(NbdError::AnswerLength);
    }
    Ok(shown(&bytes_from(wire, answer.len)?))
}

/// Text of a server, fit to be shown.
pub(super) fn shown(message: &[u8]) -> String {
    visible(String::from_utf8_lossy(message).trim(), SHOWN_LEN_MAX)
}

pub(super) fn fits_a_string(len: u32) -> bool {
    usize::try_from(len).is_ok_and(|len| len <= STRING_LEN_MAX)
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), NbdError> {
    if place.replace(value).is_some() { Err(NbdError::Duplicate) } else { Ok(()) }
}

fn push_string(data: &mut Vec<u8>, text: &str) {
    push_u32(data, text.len());
    data.extend(text.as_bytes());
}

fn push_u32(data: &mut Vec<u8>, number: usize) {
    data.extend(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
}
