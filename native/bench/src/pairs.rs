//! Parts of the core, each with a yardstick: what its work cannot do without, by the libraries alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, RwLock};

use cairn_core::bits::is_zero;
use cairn_core::codec::{self, Codec};
use cairn_core::dedup::DedupIndex;
use cairn_core::digest::{Context, Digest};
use cairn_core::io::OsFiles;
use cairn_core::map::{BlockPointer, Fanout, MapRoot, Page, PagePointer, PageSink, PageSource, Place};
use cairn_core::map::{UnplacedPage, Updater};
use cairn_core::units::{Geometry, Ordinal, SegmentId};
use cairn_core::{Error, Result};

use crate::data::{Numbers, words};
use crate::store::{BLOCK_LEN, Directory, Store};

/// Blocks that a round goes through: so few that it is over before another program gets its turn, and all
/// of them stay in the processor's cache.
const BLOCKS: usize = 4;
/// Blocks that are stored: more than the small cache of a cold image holds.
const STORED_BLOCKS: usize = 256;
const LOOKUPS: usize = 1_000;
/// The level that the core encodes with.
const ZSTD_LEVEL: i32 = 1;

/// The names of all pairs, in their order.
pub const NAMES: [&str; 11] = [
    "hash",
    "zeros",
    "zstd encode",
    "zstd decode",
    "lz4 encode",
    "lz4 decode",
    "map walk",
    "map update",
    "cache hit",
    "cache miss",
    "dedup look-up",
];

/// One part of the core and its yardstick. Both do a round of the same size at each call.
pub struct Pair {
    /// What it is called.
    pub name: &'static str,
    /// What the yardstick does.
    pub beside: &'static str,
    /// How many times the yardstick's time the work may take. Above what was seen by enough for
    /// another machine, and below what it would be if the work were done twice.
    pub ratio_max: f64,
    /// How much a round is.
    pub round: Round,
    /// A round of the work.
    pub work: Box<dyn FnMut()>,
    /// A round of the yardstick.
    pub yardstick: Box<dyn FnMut()>,
}

/// The size of a round.
#[derive(Clone, Copy)]
pub enum Round {
    /// So many bytes.
    Bytes(usize),
    /// So many calls.
    Calls(usize),
}

/// Makes the pair that is called `name`, with whatever it needs. `None` for any other name.
pub fn pair(name: &str) -> Option<Pair> {
    Some(match name {
        "hash" => hash(),
        "zeros" => zeros(),
        "zstd encode" => zstd_encode(),
        "zstd decode" => zstd_decode(),
        "lz4 encode" => lz4_encode(),
        "lz4 decode" => lz4_decode(),
        "map walk" => map_walk(),
        "map update" => map_update(),
        "cache hit" => cache_hit(),
        "cache miss" => cache_miss(),
        "dedup look-up" => dedup(),
        _ => return None,
    })
}

const ROUND: Round = Round::Bytes(BLOCKS * BLOCK_LEN);

/// Blocks that shrink to about a third.
fn blocks(count: usize) -> Arc<[Vec<u8>]> {
    let bytes = words(&mut Numbers(42), count * BLOCK_LEN);
    bytes.chunks(BLOCK_LEN).map(<[u8]>::to_vec).collect()
}

fn hash() -> Pair {
    let (mine, theirs) = (blocks(BLOCKS), blocks(BLOCKS));
    Pair {
        name: "hash",
        beside: "blake3::hash",
        ratio_max: 1.5,
        round: ROUND,
        work: Box::new(move || {
            for block in &*mine {
                black_box(Digest::of(Context::Block, block));
            }
        }),
        yardstick: Box::new(move || {
            for block in &*theirs {
                black_box(blake3::hash(block));
            }
        }),
    }
}

fn zeros() -> Pair {
    let (mine, theirs) = (vec![0; BLOCKS * BLOCK_LEN], vec![0; BLOCKS * BLOCK_LEN]);
    let zero_block = vec![0; BLOCK_LEN];
    Pair {
        name: "zeros",
        beside: "memcmp with a block of zeros",
        ratio_max: 0.3,
        round: ROUND,
        work: Box::new(move || {
            for block in mine.chunks(BLOCK_LEN) {
                assert!(is_zero(black_box(block)));
            }
        }),
        yardstick: Box::new(move || {
            for block in theirs.chunks(BLOCK_LEN) {
                assert!(black_box(block) == black_box(zero_block.as_slice()));
            }
        }),
    }
}

fn zstd_encode() -> Pair {
    let (mine, theirs) = (blocks(BLOCKS), blocks(BLOCKS));
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).unwrap();
    Pair {
        name: "zstd encode",
        beside: "zstd at level 1",
        ratio_max: 1.5,
        round: ROUND,
        work: Box::new(move || {
            for block in &*mine {
                black_box(codec::encode(Codec::Zstd, block));
            }
        }),
        yardstick: Box::new(move || {
            for block in &*theirs {
                black_box(compressor.compress(block).unwrap());
            }
        }),
    }
}

fn lz4_encode() -> Pair {
    let (mine, theirs) = (blocks(BLOCKS), blocks(BLOCKS));
    Pair {
        name: "lz4 encode",
        beside: "lz4_flex",
        ratio_max: 1.5,
        round: ROUND,
        work: Box::new(move || {
            for block in &*mine {
                black_box(codec::encode(Codec::Lz4, block));
            }
        }),
        yardstick: Box::new(move || {
            for block in &*theirs {
                black_box(lz4_flex::block::compress(block));
            }
        }),
    }
}

fn encoded(codec: Codec) -> Vec<Vec<u8>> {
    blocks(BLOCKS)
        .iter()
        .map(|block| {
            let (used, payload) = codec::encode(codec, block);
            assert_eq!(used, codec);
            payload
        })
        .collect()
}

fn zstd_decode() -> Pair {
    let (mine, theirs) = (encoded(Codec::Zstd), encoded(Codec::Zstd));
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    let (mut into, mut plain) = (vec![0; BLOCK_LEN], vec![0; BLOCK_LEN]);
    Pair {
        name: "zstd decode",
        beside: "zstd",
        ratio_max: 1.5,
        round: ROUND,
        work: Box::new(move || {
            for payload in &mine {
                codec::decode_into(Codec::Zstd, payload, black_box(&mut into)).unwrap();
            }
        }),
        yardstick: Box::new(move || {
            for payload in &theirs {
                decompressor.decompress_to_buffer(payload, black_box(&mut plain)).unwrap();
            }
        }),
    }
}

fn lz4_decode() -> Pair {
    let (mine, theirs) = (encoded(Codec::Lz4), encoded(Codec::Lz4));
    let (mut into, mut plain) = (vec![0; BLOCK_LEN], vec![0; BLOCK_LEN]);
    Pair {
        name: "lz4 decode",
        beside: "lz4_flex",
        ratio_max: 1.5,
        round: ROUND,
        work: Box::new(move || {
            for payload in &mine {
                codec::decode_into(Codec::Lz4, payload, black_box(&mut into)).unwrap();
            }
        }),
        yardstick: Box::new(move || {
            for payload in &theirs {
                lz4_flex::block::decompress_into(payload, black_box(&mut plain)).unwrap();
            }
        }),
    }
}

/// What a cache that does nothing else would be.
type Shelf<T> = RwLock<HashMap<Digest, Arc<T>>>;

fn fetch<T>(shelf: &Shelf<T>, digest: &Digest) -> Arc<T> {
    Arc::clone(&shelf.read().unwrap()[digest])
}

fn map_walk() -> Pair {
    let store = Store::new("walk", words(&mut Numbers(42), STORED_BLOCKS * BLOCK_LEN));
    let mut numbers = Numbers(7);
    let wanted: Vec<u64> = (0..LOOKUPS).map(|_| numbers.below(STORED_BLOCKS) as u64).collect();
    let height = store.image.map().height;
    let digests: Vec<Digest> = wanted
        .iter()
        .map(|&block| store.image.pointers(block..block + 1).unwrap()[0].unwrap().digest)
        .collect();
    let shelf: Shelf<u64> = RwLock::new(digests.iter().map(|digest| (*digest, Arc::new(0))).collect());
    Pair {
        name: "map walk",
        beside: "an Arc out of a HashMap for each level",
        ratio_max: 3.0,
        round: Round::Calls(LOOKUPS),
        work: Box::new(move || {
            // The directory stays for as long as the whole store does.
            let store = &store;
            for &block in &wanted {
                black_box(store.image.pointers(block..block + 1).unwrap());
            }
        }),
        yardstick: Box::new(move || {
            for digest in &digests {
                for _ in 0..height {
                    black_box(fetch(&shelf, digest));
                }
            }
        }),
    }
}

/// Pages in memory, found by digest.
#[derive(Default)]
struct Pages {
    stored: RefCell<HashMap<Digest, Arc<Page>>>,
}

impl PageSource for Pages {
    fn page(&self, pointer: &PagePointer, _: u8, _: Fanout) -> Result<Arc<Page>> {
        self.stored.borrow().get(&pointer.digest).cloned().ok_or(Error::Worker)
    }
}

/// Keeps the plain bytes of what was written, in order.
#[derive(Default)]
struct Written(Vec<(Digest, Vec<u8>)>);

impl PageSink for Written {
    fn write_page(&mut self, plain: &[u8], page: UnplacedPage, twice: bool) -> Result<PagePointer> {
        self.0.push((page.digest, plain.to_vec()));
        let ordinal = Ordinal(u32::try_from(self.0.len()).unwrap());
        let place = Place::new(SegmentId(1), ordinal).unwrap();
        let copy = twice.then(|| Place::new(SegmentId(2), ordinal).unwrap());
        Ok(PagePointer { digest: page.digest, place, copy, allocated: page.allocated })
    }
}

const MAP_BLOCKS: u64 = 4 * 1024;

/// Every `step`th block gets a new pointer.
fn update(pages: &Pages, parent: MapRoot, step: usize, salt: u64) -> (MapRoot, Written) {
    let mut written = Written::default();
    let mut updater = Updater::new(parent, pages, &mut written).unwrap();
    for block in (0..MAP_BLOCKS).step_by(step) {
        let mut digest = [0x5a; 32];
        digest[..8].copy_from_slice(&(block ^ salt).to_le_bytes());
        let place = Place::new(SegmentId(9), Ordinal(block as u32)).unwrap();
        updater.set(block, Some(BlockPointer { digest: Digest(digest), place, base: None })).unwrap();
    }
    let root = updater.finish(MAP_BLOCKS).unwrap();
    (root, written)
}

fn map_update() -> Pair {
    let pages = Pages::default();
    let geometry = Geometry::new(MAP_BLOCKS * BLOCK_LEN as u64, BLOCK_LEN as u32).unwrap();
    let (parent, first) = update(&pages, MapRoot::empty(Fanout::DEFAULT, geometry), 1, 0);
    for (digest, plain) in first.0 {
        // A page tells its own level.
        let page = Page::decode(plain.clone().into(), plain[1], Fanout::DEFAULT).unwrap();
        pages.stored.borrow_mut().insert(digest, Arc::new(page));
    }
    let rewritten: Vec<Vec<u8>> =
        update(&pages, parent, 16, 1 << 40).1.0.into_iter().map(|(_, plain)| plain).collect();
    let round = Round::Calls(MAP_BLOCKS as usize / 16);
    Pair {
        name: "map update",
        beside: "blake3::hash of the new pages",
        ratio_max: 4.5,
        round,
        work: Box::new(move || {
            black_box(update(&pages, parent, 16, 1 << 40));
        }),
        yardstick: Box::new(move || {
            for plain in &rewritten {
                black_box(blake3::hash(plain));
            }
        }),
    }
}

fn cache_hit() -> Pair {
    let store = Store::new("hit", words(&mut Numbers(42), STORED_BLOCKS * BLOCK_LEN));
    let mut numbers = Numbers(7);
    let all = store.image.pointers(0..STORED_BLOCKS as u64).unwrap();
    let wanted: Vec<BlockPointer> =
        (0..LOOKUPS).map(|_| all[numbers.below(STORED_BLOCKS)].unwrap()).collect();
    let shelf: Shelf<Vec<u8>> = RwLock::new(
        all.iter().flatten().map(|pointer| (pointer.digest, Arc::new(vec![0; BLOCK_LEN]))).collect(),
    );
    let pointers = wanted.clone();
    Pair {
        name: "cache hit",
        beside: "an Arc out of a HashMap",
        ratio_max: 1.5,
        round: Round::Calls(LOOKUPS),
        work: Box::new(move || {
            let store = &store;
            for pointer in &wanted {
                black_box(store.image.records().block(pointer, BLOCK_LEN).unwrap());
            }
        }),
        yardstick: Box::new(move || {
            for pointer in &pointers {
                black_box(fetch(&shelf, &pointer.digest));
            }
        }),
    }
}

fn cache_miss() -> Pair {
    let store = Store::new("miss", words(&mut Numbers(42), STORED_BLOCKS * BLOCK_LEN));
    let image = store.cold();
    let pointers = image.pointers(0..STORED_BLOCKS as u64).unwrap();
    let directory = Directory::new("payloads");
    let file = std::fs::File::create_new(directory.path().join("payloads")).unwrap();
    let mut extents = Vec::new();
    let mut end = 0;
    for block in store.bytes.chunks(BLOCK_LEN) {
        let (_, payload) = codec::encode(Codec::Zstd, block);
        file.write_all_at(&payload, end).unwrap();
        extents.push((end, payload.len()));
        end += payload.len() as u64;
    }
    let file = std::fs::File::open(directory.path().join("payloads")).unwrap();
    let mut into = vec![0; BLOCK_LEN];
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    let (mut next, mut next_alone) = ((0..STORED_BLOCKS).cycle(), (0..STORED_BLOCKS).cycle());
    Pair {
        name: "cache miss",
        beside: "pread, zstd and blake3::hash",
        ratio_max: 1.6,
        round: ROUND,
        work: Box::new(move || {
            let _kept = &store;
            for block in next.by_ref().take(BLOCKS) {
                image.records().block_into(&pointers[block].unwrap(), black_box(&mut into)).unwrap();
            }
        }),
        yardstick: Box::new(move || {
            let _kept = &directory;
            for block in next_alone.by_ref().take(BLOCKS) {
                let (at, len) = extents[block];
                let mut payload = vec![0; len];
                file.read_exact_at(&mut payload, at).unwrap();
                let mut plain = vec![0; BLOCK_LEN];
                decompressor.decompress_to_buffer(&payload, &mut plain).unwrap();
                black_box(blake3::hash(&plain));
            }
        }),
    }
}

fn dedup() -> Pair {
    let directory = Directory::new("index");
    let path = directory.path().join("index");
    let index = DedupIndex::open(&OsFiles, &path, 1 << 20).unwrap();
    let digests: Vec<Digest> =
        (0..LOOKUPS as u32).map(|number| Digest::of(Context::Block, &number.to_le_bytes())).collect();
    for (number, digest) in (0..).zip(&digests) {
        index.insert(digest, Place::new(SegmentId(1), Ordinal(number)).unwrap());
    }
    let file = std::fs::File::open(path).unwrap();
    let buckets = file.metadata().unwrap().len() / 4096;
    let offsets: Vec<u64> = digests.iter().map(|digest| digest.prefix() % buckets * 4096).collect();
    Pair {
        name: "dedup look-up",
        beside: "pread of 4096 bytes",
        ratio_max: 1.7,
        round: Round::Calls(LOOKUPS),
        work: Box::new(move || {
            let _kept = &directory;
            for digest in &digests {
                assert!(index.find(black_box(digest)).is_some());
            }
        }),
        yardstick: Box::new(move || {
            for &offset in &offsets {
                let mut bucket = [0; 4096];
                file.read_exact_at(black_box(&mut bucket), offset).unwrap();
            }
        }),
    }
}
