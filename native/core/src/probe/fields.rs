//! Checked access to the fields of a foreign structure.
//!
//! Every reader answers `None` past the end of the bytes, so a decoder written with `?` is total by
//! construction. Nothing here allocates more than the bytes it was given.

/// Integers, text and identifiers at byte offsets of a slice.
pub(super) trait Fields {
    /// `length` bytes at `offset`.
    fn part(&self, offset: usize, length: usize) -> Option<&[u8]>;

    /// `N` bytes at `offset`.
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.part(offset, N)?.try_into().ok()
    }

    /// Whether `magic` stands at `offset`.
    fn has(&self, offset: usize, magic: &[u8]) -> bool {
        self.part(offset, magic.len()) == Some(magic)
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        self.array::<1>(offset).map(|[byte]| byte)
    }

    fn le16(&self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }

    fn le32(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    fn le64(&self, offset: usize) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }

    fn be16(&self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_be_bytes)
    }

    fn be32(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_be_bytes)
    }

    fn be64(&self, offset: usize) -> Option<u64> {
        self.array(offset).map(u64::from_be_bytes)
    }

    /// Text in a field of fixed length: ends at the first NUL, trailing blanks are padding. Bytes that
    /// are not UTF-8 become U+FFFD. `None` where nothing is left.
    fn text(&self, offset: usize, length: usize) -> Option<String> {
        let field = self.part(offset, length)?;
        let used = field.split(|&byte| byte == 0).next().unwrap_or_default();
        filled(String::from_utf8_lossy(used).trim_end())
    }

    /// UTF-16LE text in a field of fixed length, ended by the first NUL. Lone surrogates become U+FFFD.
    fn utf16(&self, offset: usize, length: usize) -> Option<String> {
        let (units, _) = self.part(offset, length)?.as_chunks::<2>();
        let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|&unit| unit != 0);
        let text: String =
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        filled(&text)
    }

    /// A UUID stored as 16 bytes in the order in which it is printed, in lower case; `None` for the nil one.
    fn uuid(&self, offset: usize) -> Option<String> {
        let bytes = self.array::<16>(offset)?;
        let value = u128::from_be_bytes(bytes);
        (value != 0).then(|| hyphened(value))
    }

    /// A GUID as UEFI stores it (first three groups little-endian, UEFI 2.10 appendix A), in upper case.
    fn guid(&self, offset: usize) -> Option<String> {
        let first = u128::from(self.le32(offset)?);
        let second = u128::from(self.le16(offset.checked_add(4)?)?);
        let third = u128::from(self.le16(offset.checked_add(6)?)?);
        let rest = u128::from(self.be64(offset.checked_add(8)?)?);
        let value = (first << 96) | (second << 80) | (third << 64) | rest;
        Some(hyphened(value).to_ascii_uppercase())
    }
}

impl Fields for [u8] {
    fn part(&self, offset: usize, length: usize) -> Option<&[u8]> {
        self.get(offset..offset.checked_add(length)?)
    }
}

/// `text`, unless it is empty.
pub(super) fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The 8-4-4-4-12 form.
fn hyphened(value: u128) -> String {
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        (value >> 96) & 0xffff_ffff,
        (value >> 80) & 0xffff,
        (value >> 64) & 0xffff,
        (value >> 48) & 0xffff,
        value & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let bytes = [1u8, 2, 3];
        assert_eq!(bytes.le16(1), Some(0x0302));
        assert_eq!(bytes.be16(1), Some(0x0203));
        assert_eq!(bytes.le16(2), None);
        assert_eq!(bytes.le64(usize::MAX), None);
        assert_eq!(bytes.part(usize::MAX, 2), None);
        assert!(!bytes.has(2, &[3, 4]));
    }

    #[test]
    fn text_ends_at_nul_and_padding_is_dropped() {
        assert_eq!(b"root  \0junk".text(0, 11), Some("root".into()));
        assert_eq!(b"\0junk".text(0, 5), None);
        assert_eq!(b"a\xffb".text(0, 3), Some("a\u{fffd}b".into()));
    }

    #[test]
    fn utf16_pairs_are_joined_and_lone_surrogates_replaced() {
        let units = [0x41u16, 0xd83d, 0xde00, 0xd800, 0, 0x42];
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        assert_eq!(bytes.utf16(0, bytes.len()), Some("A\u{1f600}\u{fffd}".into()));
    }

    #[test]
    fn guids_are_mixed_endian_and_uuids_are_not() {
        let esp =
            [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(esp.guid(0).as_deref(), Some("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"));
        assert_eq!(esp.uuid(0).as_deref(), Some("28732ac1-1ff8-d211-ba4b-00a0c93ec93b"));
        assert_eq!([0u8; 16].uuid(0), None);
    }
}
