//! Any bytes as a manifest, and any JSON with a right checksum.
#![no_main]

use std::path::Path;

use cairn_core::digest::{Context, Digest};
use cairn_core::manifest::Manifest;
use cairn_core::revision::RevisionId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("/manifest.json");
    let _ = Manifest::decode(bytes, path);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = RevisionId::parse(text);
    }
    let mut checked = bytes.to_vec();
    checked.push(b'\n');
    let digest = Digest::of(Context::Text, &checked).to_hex();
    checked.extend_from_slice(format!("  \"checksum\": \"{digest}\"\n}}\n").as_bytes());
    if let Ok(manifest) = Manifest::decode(&checked, path) {
        assert!(manifest.geometry().is_ok());
    }
});
