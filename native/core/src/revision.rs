//! Revision ids: `20261120T201500Z-k3f9`, the UTC second and four base-32 characters that rise
//! within the second. Ids of a disk rise with its sequence, also when the clock jumps back.

use jiff::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SECOND_LEN: usize = 16;
const ID_LEN: usize = SECOND_LEN + 5;
const SUFFIX_COUNT: u32 = 1 << 20;

/// A well-formed revision id; safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId(String);

impl RevisionId {
    /// `None` unless the text is an id to the letter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (second, suffix) = text.split_at_checked(SECOND_LEN)?;
        let suffix = suffix.strip_prefix('-')?;
        let digits_at = |range: std::ops::Range<usize>| {
            second.get(range).is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let good = text.len() == ID_LEN
            && digits_at(0..8)
            && second.get(8..9) == Some("T")
            && digits_at(9..15)
            && second.ends_with('Z')
            && suffix.bytes().all(|byte| ALPHABET.contains(&byte));
        good.then(|| Self(text.to_owned()))
    }

    /// The id of a revision begun at `now`, above `last`; `random` spreads ids of different disks.
    /// `None` only after a million revisions within one second.
    #[must_use]
    pub fn next(now: Timestamp, last: Option<&RevisionId>, random: u32) -> Option<Self> {
        let second = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        match last.filter(|last| last.second() >= second.as_str()) {
            None => Some(Self::join(&second, random % (SUFFIX_COUNT / 2))),
            Some(last) => {
                let suffix = last.suffix() + 1;
                (suffix < SUFFIX_COUNT).then(|| Self::join(last.second(), suffix))
            }
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn join(second: &str, suffix: u32) -> Self {
        let letter =
            |shift: u32| ALPHABET.get((suffix >> shift & 31) as usize).map_or('0', |&byte| char::from(byte));
        Self([15, 10, 5, 0].iter().fold(format!("{second}-"), |mut text, &shift| {
            text.push(letter(shift));
            text
        }))
    }

    fn second(&self) -> &str {
        self.0.get(..SECOND_LEN).unwrap_or("")
    }

    fn suffix(&self) -> u32 {
        let value = |byte: u8| ALPHABET.iter().position(|&letter| letter == byte).unwrap_or(0);
        self.0
            .bytes()
            .skip(SECOND_LEN + 1)
            .fold(0, |sum, byte| sum << 5 | u32::try_from(value(byte)).unwrap_or(0))
    }
}

impl std::fmt::Display for RevisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for RevisionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RevisionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a revision id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn ids_rise_within_a_second_and_when_the_clock_jumps_back() {
        let first = RevisionId::next(at("2026-11-20T20:15:00.5Z"), None, 77).unwrap();
        assert!(first.as_str().starts_with("20261120T201500Z-"));
        let second = RevisionId::next(at("2026-11-20T20:15:00.9Z"), Some(&first), 1).unwrap();
        let third = RevisionId::next(at("2026-11-19T00:00:00Z"), Some(&second), 1).unwrap();
        let fourth = RevisionId::next(at("2026-11-20T20:15:01Z"), Some(&third), 1).unwrap();
        assert!(first < second && second < third && third < fourth);
        for id in [first, second, third, fourth] {
            assert_eq!(RevisionId::parse(id.as_str()), Some(id));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "20261120T201500Z",
            "20261120T201500Z-K3F9",
            "../../../../../../etc",
            "20261120T201500Z-k3f9x",
            "2026112äT20150Z-k3f9",
        ] {
            assert_eq!(RevisionId::parse(text), None, "{text}");
        }
    }
}
