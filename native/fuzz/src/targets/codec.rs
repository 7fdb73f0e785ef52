//! Any payload of any codec into any length, and any bytes there and back; against a base, too.

use cairn_core::codec::{self, Codec};

pub fn run(input: (u8, u32, &[u8])) {
    let (code, len, bytes) = input;
    let wanted = Codec::from_code(code % 3).expect("three codecs");
    let mut plain = vec![0xa5; len as usize % (4 << 20)];
    let decoded = codec::decode_into(wanted, bytes, &mut plain);
    if decoded.is_ok() {
        let mut again = vec![0x5a; plain.len()];
        assert_eq!(codec::decode_into(wanted, bytes, &mut again), decoded);
        assert!(plain == again, "all of it was filled");
    }
    let (base, frame) = bytes.split_at(bytes.len() / 2);
    if codec::decode_against(base, frame, &mut plain).is_ok() {
        let mut again = vec![0x5a; plain.len()];
        assert!(codec::decode_against(base, frame, &mut again).is_ok() && plain == again);
    }
    if let Some(against) = codec::encode_against(base, frame, bytes.len()) {
        let mut back = vec![0; frame.len()];
        codec::decode_against(base, &against, &mut back).expect("what was encoded is decoded");
        assert!(back == frame);
    }
    let (codec, payload) = codec::encode(wanted, bytes);
    assert!(payload.len() <= bytes.len());
    let mut back = vec![0; bytes.len()];
    codec::decode_into(codec, &payload, &mut back).expect("what was encoded is decoded");
    assert!(back == bytes);
}
