//! One program with a target for each decoder of foreign or on-disk bytes, so that the core is linked
//! and made ready for coverage once. The target is the one that the program is called by the name of.
#![no_main]

mod disk;
mod liar;
mod reading;
mod targets {
    pub mod backup;
    pub mod codec;
    pub mod collect;
    pub mod condemned;
    pub mod dedup;
    pub mod gpt;
    pub mod image;
    pub mod lvm;
    pub mod mbr;
    pub mod nbd;
    pub mod page;
    pub mod rbd_diff;
    pub mod record;
    pub mod segment;
    pub mod superblock;
    pub mod survey;
    pub mod text;
}

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};

static TARGET: LazyLock<String> = LazyLock::new(|| {
    let program = std::env::args().next().unwrap_or_default();
    Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned()
});

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match TARGET.as_str() {
        "backup" => held(bytes, targets::backup::run),
        "codec" => held(bytes, targets::codec::run),
        "collect" => held(bytes, targets::collect::run),
        "condemned" => held(bytes, targets::condemned::run),
        "dedup" => held(bytes, targets::dedup::run),
        "gpt" => held(bytes, targets::gpt::run),
        "image" => held(bytes, targets::image::run),
        "lvm" => held(bytes, targets::lvm::run),
        "mbr" => held(bytes, targets::mbr::run),
        "nbd" => held(bytes, targets::nbd::run),
        "page" => held(bytes, targets::page::run),
        "rbd_diff" => held(bytes, targets::rbd_diff::run),
        "record" => held(bytes, targets::record::run),
        "segment" => held(bytes, targets::segment::run),
        "superblock" => held(bytes, targets::superblock::run),
        "survey" => held(bytes, targets::survey::run),
        "text" => held(bytes, targets::text::run),
        other => panic!("no target is called {other}"),
    }
});

/// Runs a target on what `bytes` mean to it; bytes that mean nothing are not kept.
fn held<'bytes, Input: Arbitrary<'bytes>>(bytes: &'bytes [u8], run: impl FnOnce(Input)) -> Corpus {
    if bytes.len() < Input::size_hint(0).0 {
        return Corpus::Reject;
    }
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else { return Corpus::Reject };
    run(input);
    Corpus::Keep
}
