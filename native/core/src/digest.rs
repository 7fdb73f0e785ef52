//! BLAKE3-256 in derive-key mode: one context for each kind of thing, so that bytes of a guest can
//! never pass for a map page, a header or a manifest (BLAKE3 paper, section 2.3 and 6.2).

use std::fmt;
use std::sync::LazyLock;

/// What is being hashed. Each has a context string of its own in docs/format.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Plain bytes of a block.
    Block,
    /// Plain bytes of a map page.
    Page,
    /// Headers and indexes of segments.
    Header,
    /// Text of a JSON file.
    Text,
    /// Shape and root of an image.
    Image,
    /// What stands on a target; shown, never stored.
    Standing,
}

static HASHERS: LazyLock<[blake3::Hasher; 6]> = LazyLock::new(|| {
    [
        blake3::Hasher::new_derive_key("cairn 2026-11-20 block v1"),
        blake3::Hasher::new_derive_key("cairn 2026-11-20 map page v1"),
        blake3::Hasher::new_derive_key("cairn 2026-11-20 segment header v1"),
        blake3::Hasher::new_derive_key("cairn 2026-11-20 text file v1"),
        blake3::Hasher::new_derive_key("cairn 2026-11-20 image v1"),
        blake3::Hasher::new_derive_key("cairn 2026-11-25 standing v1"),
    ]
});

/// A 256-bit digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Hashes `bytes` as a thing of the kind `context`.
    #[must_use]
    pub fn of(context: Context, bytes: &[u8]) -> Self {
        Self::of_parts(context, &[bytes])
    }

    /// Hashes the concatenation of `parts`.
    #[must_use]
    pub fn of_parts(context: Context, parts: &[&[u8]]) -> Self {
        let [block, page, header, text, image, standing] = &*HASHERS;
        let mut hasher = match context {
            Context::Block => block,
            Context::Page => page,
            Context::Header => header,
            Context::Text => text,
            Context::Image => image,
            Context::Standing => standing,
        }
        .clone();
        for part in parts {
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// Sixty-four lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The inverse of [`Digest::to_hex`]; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }

    /// The first eight bytes, little-endian: the check field of headers, the key of the dedup index.
    #[must_use]
    pub fn prefix(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not a digest of 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_keep_kinds_apart() {
        let bytes = b"the same bytes";
        let all = [Context::Block, Context::Page, Context::Header, Context::Text, Context::Image]
            .map(|context| Digest::of(context, bytes));
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b));
        }
    }

    #[test]
    fn hexadecimal_goes_there_and_back() {
        let digest = Digest::of(Context::Block, b"x");
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        assert_eq!(Digest::from_hex(&digest.to_hex().to_uppercase()), None);
        assert_eq!(Digest::from_hex("00"), None);
    }
}
