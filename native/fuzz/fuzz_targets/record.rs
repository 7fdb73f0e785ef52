//! Any bytes as a record header, and any fields with a right check.
#![no_main]

use cairn_core::digest::{Context, Digest};
use cairn_core::record::{HEADER_LEN, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let Some(mut header) = bytes.first_chunk::<HEADER_LEN>().copied() else { return };
    header[..4].copy_from_slice(b"CRec");
    let check_field = Digest::of(Context::Header, &header[..56]).prefix();
    header[56..].copy_from_slice(&check_field.to_le_bytes());
    check(&header);
});

fn check(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        assert_eq!(header.encode(), bytes[..HEADER_LEN]);
        assert_eq!(header.record_len(), HEADER_LEN as u64 + u64::from(header.payload_len));
    }
}
