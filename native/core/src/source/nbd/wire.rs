//! Bytes to and from a server, and the numbers of the protocol. All of them are big-endian.

use super::NbdError;

/// `NBDMAGIC`, the first thing that a server says.
pub(super) const GREETING: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`, before every option and at the end of the greeting.
pub(super) const OPTION: u64 = 0x4948_4156_454f_5054;
pub(super) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
pub(super) const REQUEST: u32 = 0x2560_9513;
pub(super) const SIMPLE_REPLY: u32 = 0x6744_6698;
pub(super) const CHUNK: u32 = 0x668e_33ef;

/// A connection to a server.
pub trait Wire {
    /// What follows counts as one exchange, whose time begins now.
    fn begin(&mut self) {}

    /// Fills all of `into`.
    ///
    /// # Errors
    /// `Closed` where the server has ended, `TimedOut` where nothing more came; `Io`.
    fn fill(&mut self, into: &mut [u8]) -> Result<(), NbdError>;

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// As [`Wire::fill`].
    fn send(&mut self, bytes: &[u8]) -> Result<(), NbdError>;
}

/// A server that has said everything already, and hears nothing.
impl Wire for &[u8] {
    fn fill(&mut self, into: &mut [u8]) -> Result<(), NbdError> {
        std::io::Read::read_exact(self, into).map_err(|_| NbdError::Closed)
    }

    fn send(&mut self, _bytes: &[u8]) -> Result<(), NbdError> {
        Ok(())
    }
}

pub(super) fn u16_from<W: Wire>(wire: &mut W) -> Result<u16, NbdError> {
    array(wire).map(u16::from_be_bytes)
}

pub(super) fn u32_from<W: Wire>(wire: &mut W) -> Result<u32, NbdError> {
    array(wire).map(u32::from_be_bytes)
}

pub(super) fn u64_from<W: Wire>(wire: &mut W) -> Result<u64, NbdError> {
    array(wire).map(u64::from_be_bytes)
}

/// `len` bytes, which the caller has found to be few.
pub(super) fn bytes_from<W: Wire>(wire: &mut W, len: u32) -> Result<Vec<u8>, NbdError> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    wire.fill(&mut bytes)?;
    Ok(bytes)
}

/// Passes over bytes without keeping them.
pub(super) fn skip<W: Wire>(wire: &mut W, len: u32) -> Result<(), NbdError> {
    let mut left = usize::try_from(len).unwrap_or(0);
    let mut rest = [0; 512];
    while left > 0 {
        let part = left.min(rest.len());
        wire.fill(rest.get_mut(..part).unwrap_or(&mut []))?;
        left -= part;
    }
    Ok(())
}

fn array<const LEN: usize, W: Wire>(wire: &mut W) -> Result<[u8; LEN], NbdError> {
    let mut bytes = [0; LEN];
    wire.fill(&mut bytes)?;
    Ok(bytes)
}
