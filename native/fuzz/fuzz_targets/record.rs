//! Any bytes as a record header, and as a payload of every codec.
#![no_main]

use cairn_core::codec::{self, Codec};
use cairn_core::record::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::decode(bytes) {
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }
    let mut plain = vec![0; 65_536];
    for codec in [Codec::Plain, Codec::Zstd, Codec::Lz4] {
        let _ = codec::decode_into(codec, bytes, &mut plain);
    }
});
