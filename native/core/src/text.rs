//! JSON files with a checksum: what a person may read and a program must be able to trust.
//!
//! A file is an indented JSON object whose last line but one is `  "checksum": "<64 hexadecimal
//! digits>"`, the digest of all bytes before that line. So the check needs no canonical JSON.

use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::{Context, Digest};
use crate::error::{AtPath, Damage, Error, Result, corrupt};
use crate::io::{File, Files};

/// The format of every JSON file that this version writes, and the newest that it reads; manifests
/// have one more.
pub const FORMAT: u64 = 1;
/// Longest JSON file that is read, in bytes.
const LEN_MAX: usize = 16 * 1024 * 1024;

const TAIL_BEFORE: &str = "  \"checksum\": \"";
const TAIL_AFTER: &str = "\"\n}\n";
const TAIL_LEN: usize = TAIL_BEFORE.len() + 64 + TAIL_AFTER.len();

/// The bytes of a file that holds `value`, which must serialise to an object with members.
///
/// # Errors
/// `InvalidArgument` where it does not serialise; our own types always do.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Error::InvalidArgument(error.to_string()))?;
    let body = text.strip_suffix("\n}").ok_or_else(|| Error::InvalidArgument("not a JSON object".into()))?;
    let checked = format!("{body},\n");
    let digest = Digest::of(Context::Text, checked.as_bytes());
    Ok(format!("{checked}{TAIL_BEFORE}{}{TAIL_AFTER}", digest.to_hex()).into_bytes())
}

/// Decodes the bytes of the file at `path`: checksum first, then format, then the fields.
///
/// # Errors
/// `TooNew` for a later format, whatever else it holds; `Corrupt`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T> {
    decode_up_to(FORMAT, bytes, path)
}

/// As [`decode`], of a file whose newest format is `known`.
///
/// # Errors
/// As [`decode`].
pub fn decode_up_to<T: DeserializeOwned>(known: u64, bytes: &[u8], path: &Path) -> Result<T> {
    refuse_newer(known, bytes, path)?;
    if !checksum_matches(bytes) {
        return Err(corrupt(path, Damage::Checksum));
    }
    serde_json::from_slice(bytes).map_err(|error| corrupt(path, Damage::Json(error.to_string())))
}

/// Looks at nothing but the format, and takes a tenth of the time of [`decode_up_to`].
///
/// # Errors
/// `TooNew` for one after `known`.
pub fn refuse_newer(known: u64, bytes: &[u8], path: &Path) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct AnyFile {
        format: serde_json::Value,
    }
    let format = serde_json::from_slice::<AnyFile>(bytes).ok().and_then(|file| file.format.as_u64());
    match format.filter(|&found| found > known) {
        Some(found) => Err(Error::TooNew { path: path.to_owned(), found, known }),
        None => Ok(()),
    }
}

/// Reads and decodes a file.
///
/// # Errors
/// As [`decode`], `NotFound`, `Io`.
pub fn read<T: DeserializeOwned>(files: &dyn Files, path: &Path) -> Result<T> {
    decode(&bytes_of(files, path)?, path)
}

/// The bytes of a file, to be decoded.
///
/// # Errors
/// `Corrupt` where it is too long for such a file, `NotFound`, `Io`.
pub fn bytes_of(files: &dyn Files, path: &Path) -> Result<Vec<u8>> {
    match files.read(path, LEN_MAX) {
        Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(too_long(path)),
        other => other.at("reading", path),
    }
}

/// As [`bytes_of`], of an open file, which was opened at `path`.
///
/// # Errors
/// As there.
pub fn bytes_of_open(file: &dyn File, path: &Path) -> Result<Vec<u8>> {
    let len = file.len().at("reading", path)?;
    let Some(len) = usize::try_from(len).ok().filter(|&len| len <= LEN_MAX) else {
        return Err(too_long(path));
    };
    let mut bytes = vec![0; len];
    let count = file.read_at(&mut bytes, 0).at("reading", path)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn too_long(path: &Path) -> Error {
    corrupt(path, Damage::Json("far too long for such a file".into()))
}

fn checksum_matches(bytes: &[u8]) -> bool {
    let Some(at) = bytes.len().checked_sub(TAIL_LEN) else { return false };
    let (checked, tail) = bytes.split_at(at);
    let digest = Digest::of(Context::Text, checked);
    tail == format!("{TAIL_BEFORE}{}{TAIL_AFTER}", digest.to_hex()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Sample {
        format: u64,
        name: String,
    }

    fn sample() -> Sample {
        Sample { format: 1, name: "Ä \"quoted\"\n".into() }
    }

    #[test]
    fn a_value_goes_there_and_back_and_stays_plain_json() {
        let bytes = encode(&sample()).unwrap();
        assert_eq!(decode::<Sample>(&bytes, Path::new("x")).unwrap(), sample());
        let plain: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(plain["name"], sample().name);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = encode(&sample()).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Sample>(&bad, Path::new("x")).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let bytes = br#"{"format": 2, "what": "ever"}"#;
        assert!(matches!(decode::<Sample>(bytes, Path::new("x")), Err(Error::TooNew { found: 2, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_give_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Sample>(&bytes, Path::new("x"));
        }
    }
}
