//! Any bytes as a record header or as a payload with a base, and any fields with a right check.

use cairn_core::digest::{Context, Digest};
use cairn_core::record::{BASE_LEN, Base, HEADER_LEN, Header};

pub fn run(bytes: &[u8]) {
    check(bytes);
    check_base(bytes);
    let Some(mut header) = bytes.first_chunk::<HEADER_LEN>().copied() else { return };
    header[..4].copy_from_slice(b"CRec");
    let check_field = Digest::of(Context::Header, &header[..56]).prefix();
    header[56..].copy_from_slice(&check_field.to_le_bytes());
    check(&header);
}

fn check_base(bytes: &[u8]) {
    let mut payload = bytes.to_vec();
    if let Some((head, frame)) = bytes.split_at_checked(BASE_LEN) {
        let check = Digest::of_parts(Context::Header, &[&head[..40], frame]).prefix();
        payload[40..BASE_LEN].copy_from_slice(&check.to_le_bytes());
    }
    if let Some((base, frame)) = Base::split(&payload) {
        assert_eq!(base.payload(frame), payload);
    }
}

fn check(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        assert_eq!(header.encode(), bytes[..HEADER_LEN]);
        assert_eq!(header.record_len(), HEADER_LEN as u64 + u64::from(header.payload_len));
    }
}
