//! The map against a plain map: whatever is done to both, they hold the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, Result};

/// Pages in memory, found by digest.
#[derive(Default)]
struct Pages {
    stored: RefCell<HashMap<Digest, Vec<u8>>>,
    writes: u32,
    reads: RefCell<u32>,
}

impl PageSource for Pages {
    fn page(&self, pointer: &PagePointer, level: u8, fanout: Fanout) -> Result<Arc<Page>> {
        *self.reads.borrow_mut() += 1;
        let bytes = self.stored.borrow().get(&pointer.digest).cloned().ok_or(Error::Worker)?;
        Page::decode(bytes.into(), level, fanout).map(Arc::new).map_err(|_| Error::Worker)
    }
}

struct Sink<'a>(&'a Pages, u32);

impl PageSink for Sink<'_> {
    fn write_page(&mut self, plain: &[u8], page: UnplacedPage, twice: bool) -> Result<PagePointer> {
        self.0.stored.borrow_mut().insert(page.digest, plain.to_vec());
        self.1 += 1;
        let place = Place::new(SegmentId(1), Ordinal(self.1)).unwrap();
        let copy = twice.then(|| Place::new(SegmentId(2), Ordinal(self.1)).unwrap());
        Ok(PagePointer { digest: page.digest, place, copy, allocated: page.allocated })
    }
}

const FANOUT: u32 = 32;

fn fanout() -> Fanout {
    Fanout::new(FANOUT).unwrap()
}

fn pointer(content: u32) -> BlockPointer {
    let digest = Digest::of(Context::Block, &content.to_le_bytes());
    let base = content.is_multiple_of(3).then(|| Place::new(SegmentId(7), Ordinal(content % 500)).unwrap());
    BlockPointer { digest, place: Place::new(SegmentId(9), Ordinal(content % 1000)).unwrap(), base }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64, u32),
    Zero(u64),
    Clear(Range<u64>),
}

/// Positions near each other and near the edges of pages.
fn position() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..70, 1000u64..1100, Just(1023), Just(1024), Just(32_767), Just(32_768), 0u64..60_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (position(), 0u32..50).prop_map(|(block, content)| Step::Set(block, content)),
        1 => position().prop_map(Step::Zero),
        1 => (position(), position()).prop_map(|(a, b)| Step::Clear(a.min(b)..a.max(b))),
    ]
}

fn apply(
    pages: &Pages,
    parent: MapRoot,
    model: &mut BTreeMap<u64, u32>,
    steps: &[Step],
    blocks: u64,
) -> MapRoot {
    let mut sink = Sink(pages, pages.writes);
    let mut updater = Updater::new(parent, pages, &mut sink).unwrap();
    for step in steps {
        match step {
            Step::Set(block, content) => {
                updater.set(*block, Some(pointer(*content))).unwrap();
                model.insert(*block, *content);
            }
            Step::Zero(block) => {
                updater.set(*block, None).unwrap();
                model.remove(block);
            }
            Step::Clear(range) => {
                let expected = model.range(range.clone()).count() as u64;
                assert_eq!(updater.clear(range.clone()).unwrap(), expected);
                model.retain(|block, _| !range.contains(block));
            }
        }
    }
    let root = updater.finish(blocks).unwrap();
    model.retain(|&block, _| block < blocks);
    root
}

fn check(pages: &Pages, root: &MapRoot, model: &BTreeMap<u64, u32>, blocks: u64) {
    assert_eq!(root.height, fanout().height_for(blocks));
    assert_eq!(root.allocated_blocks(), model.len() as u64);
    let found = super::blocks(pages, root, 0..blocks).unwrap();
    for (block, found) in (0..).zip(&found) {
        assert_eq!(*found, model.get(&block).map(|&content| pointer(content)), "block {block}");
    }
}

fn naive_extents(blocks: u64, state: impl Fn(u64) -> Option<ExtentState>) -> Vec<Extent> {
    let mut found: Vec<Extent> = Vec::new();
    for block in 0..blocks {
        let Some(state) = state(block) else { continue };
        match found.last_mut().filter(|last| last.state == state && last.blocks.end == block) {
            Some(last) => last.blocks.end += 1,
            None => found.push(Extent { blocks: block..block + 1, state }),
        }
    }
    found
}

fn state_of(model: &BTreeMap<u64, u32>, block: u64) -> ExtentState {
    if model.contains_key(&block) { ExtentState::Data } else { ExtentState::Zero }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn revisions_of_a_map_hold_what_a_plain_map_holds(
        revisions in proptest::collection::vec((proptest::collection::vec(step(), 0..40), 1u64..60_000), 1..5)
    ) {
        let mut pages = Pages::default();
        let mut model = BTreeMap::new();
        let mut root = MapRoot { fanout: fanout(), height: 1, root: None };
        let mut before: Option<(MapRoot, BTreeMap<u64, u32>, u64)> = None;
        for (steps, blocks) in revisions {
            root = apply(&pages, root, &mut model, &steps, blocks);
            pages.writes += 1000;
            check(&pages, &root, &model, blocks);
            let all = extents(&pages, &root, 0..blocks, usize::MAX).unwrap();
            prop_assert_eq!(all, naive_extents(blocks, |block| Some(state_of(&model, block))));
            for range in [0..blocks, blocks / 3..blocks / 2, 1000..1030, 31..33] {
                let expected = model.range(range.clone()).count() as u64;
                prop_assert_eq!(allocated(&pages, &root, range).unwrap(), expected);
            }
            for start in [0, 1, 31, 32, 40, 1000, 1024, blocks / 2, blocks - 1, blocks] {
                for state in [ExtentState::Data, ExtentState::Zero] {
                    let expected = (start..blocks).find(|&block| state_of(&model, block) == state);
                    prop_assert_eq!(next(&pages, &root, start..blocks, state).unwrap(), expected);
                }
            }
            if let Some((old_root, old_model, old_blocks)) = &before {
                // An earlier revision reads on as it was.
                check(&pages, old_root, old_model, *old_blocks);
                let common = blocks.min(*old_blocks);
                let changed = changes(&pages, old_root, &root, 0..common, usize::MAX).unwrap();
                let expected = naive_extents(common, |block| {
                    (old_model.get(&block) != model.get(&block)).then(|| state_of(&model, block))
                });
                prop_assert_eq!(changed, expected);
            }
            before = Some((root, model.clone(), blocks));
        }
    }

    #[test]
    fn any_bytes_decode_as_a_page_or_give_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400), level in 0u8..12) {
        let _ = Page::decode(bytes.into(), level, fanout());
    }

    #[test]
    fn a_page_with_a_flipped_bit_never_panics(bit in 0usize..4000, count in 1u32..32) {
        let entries: Vec<_> = (0..FANOUT).map(|slot| (slot < count).then(|| page::Entry::Block(pointer(slot)))).collect();
        let mut bytes = Page::encode(1, fanout(), &entries).unwrap();
        let at = bit / 8 % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
        if let Ok(page) = Page::decode(bytes.into(), 1, fanout()) {
            for slot in 0..FANOUT {
                let _ = page.block(slot);
            }
        }
    }
}

/// Higher than any image needs, but what stands in a segment can say so.
#[test]
fn a_page_whose_counts_add_up_to_more_than_there_are_numbers_is_refused() {
    let fanout = Fanout::new(1024).unwrap();
    let place = Place::new(SegmentId(1), Ordinal(0)).unwrap();
    let full = |level| {
        let entry =
            PagePointer { digest: Digest([7; 32]), place, copy: None, allocated: fanout.span(level - 1) };
        let entries = vec![Some(page::Entry::Page(entry)); 1024];
        Page::decode(Page::encode(level, fanout, &entries).unwrap().into(), level, fanout)
    };
    assert_eq!(full(6).unwrap().allocated(), 1 << 60);
    assert_eq!(full(7), Err(PageError::Entry));
}

#[test]
fn extents_stop_at_the_limit_and_go_on_from_there() {
    let pages = Pages::default();
    let mut model = BTreeMap::new();
    let steps: Vec<_> = (0..50).map(|n| Step::Set(n * 3, 1)).collect();
    let root = apply(&pages, MapRoot { fanout: fanout(), height: 1, root: None }, &mut model, &steps, 200);
    let all = extents(&pages, &root, 0..200, usize::MAX).unwrap();
    let mut paged = Vec::new();
    let mut at = 0;
    while at < 200 {
        let page = extents(&pages, &root, at..200, 7).unwrap();
        assert!(page.len() <= 7);
        at = page.last().unwrap().blocks.end;
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

#[test]
fn a_change_costs_its_path_and_shares_the_rest() {
    let pages = Pages::default();
    let mut model = BTreeMap::new();
    let blocks = u64::from(FANOUT).pow(3);
    let full: Vec<_> = (0..blocks).map(|block| Step::Set(block, 1)).collect();
    let root = apply(&pages, MapRoot { fanout: fanout(), height: 1, root: None }, &mut model, &full, blocks);
    let mut sink = Sink(&pages, 1_000_000);
    *pages.reads.borrow_mut() = 0;
    let mut updater = Updater::new(root, &pages, &mut sink).unwrap();
    updater.set(12_345, Some(pointer(2))).unwrap();
    let changed = updater.finish(blocks).unwrap();
    assert_eq!(sink.1 - 1_000_000, 3, "one page a level");
    assert_eq!(*pages.reads.borrow(), 3);
    *pages.reads.borrow_mut() = 0;
    assert_eq!(changes(&pages, &root, &changed, 0..blocks, 10).unwrap().len(), 1);
    assert_eq!(*pages.reads.borrow(), 6, "only the differing path of both maps is read");
}

#[test]
fn an_empty_map_of_any_size_costs_nothing() {
    let pages = Pages::default();
    let blocks = 1 << 27;
    let root = apply(
        &pages,
        MapRoot { fanout: fanout(), height: 1, root: None },
        &mut BTreeMap::new(),
        &[Step::Clear(0..blocks)],
        blocks,
    );
    assert_eq!(root.root, None);
    let all = extents(&pages, &root, 0..blocks, 10).unwrap();
    assert_eq!(all, [Extent { blocks: 0..blocks, state: ExtentState::Zero }]);
    assert_eq!((pages.stored.borrow().len(), *pages.reads.borrow()), (0, 0));
}

#[test]
fn the_next_state_is_found_by_the_counters() {
    let pages = Pages::default();
    let blocks = u64::from(FANOUT).pow(3) - 5;
    let full: Vec<_> = (0..blocks).map(|block| Step::Set(block, 1)).collect();
    let empty = MapRoot { fanout: fanout(), height: 3, root: None };
    let root = apply(&pages, empty, &mut BTreeMap::new(), &full, blocks);
    let reads = |root: &MapRoot, range: Range<u64>, state| {
        *pages.reads.borrow_mut() = 0;
        (next(&pages, root, range, state).unwrap(), *pages.reads.borrow())
    };
    assert_eq!(reads(&root, 0..blocks, ExtentState::Zero), (None, 3), "down the right edge alone");
    assert_eq!(reads(&root, 7..blocks, ExtentState::Data), (Some(7), 1));
    let holed = apply(&pages, root, &mut BTreeMap::new(), &[Step::Zero(12_345)], blocks);
    assert_eq!(reads(&holed, 0..blocks, ExtentState::Zero), (Some(12_345), 3));
    assert_eq!(reads(&holed, 12_345..blocks, ExtentState::Data), (Some(12_346), 3));
    // 8 TiB of blocks of 64 KiB.
    let wide = MapRoot { height: fanout().height_for(1 << 27), ..empty };
    assert_eq!(reads(&wide, 5..1 << 27, ExtentState::Zero), (Some(5), 0));
    assert_eq!(reads(&wide, 5..1 << 27, ExtentState::Data), (None, 0));
    let last = apply(&pages, wide, &mut BTreeMap::new(), &[Step::Set((1 << 27) - 1, 1)], 1 << 27);
    let height = u32::from(last.height);
    assert_eq!(reads(&last, 0..1 << 27, ExtentState::Data), (Some((1 << 27) - 1), height));
}

#[test]
fn an_unchanged_map_keeps_its_root() {
    let pages = Pages::default();
    let mut model = BTreeMap::new();
    let root = apply(
        &pages,
        MapRoot { fanout: fanout(), height: 1, root: None },
        &mut model,
        &[Step::Set(5, 5), Step::Set(5000, 6)],
        6000,
    );
    let again = apply(&pages, root, &mut model, &[Step::Set(5, 5), Step::Zero(77)], 6000);
    assert_eq!(again, root);
}

#[test]
fn a_page_has_bases_only_where_a_block_does_and_in_one_way() {
    let entry = |content: u32| Some(page::Entry::Block(pointer(content)));
    let plain = Page::encode(1, fanout(), &[None, entry(1), entry(2)]).unwrap();
    assert_eq!((plain[0], plain.len()), (1, 4 + 4 + 2 * 40));
    let good = Page::encode(1, fanout(), &[entry(3), entry(1), None, entry(6)]).unwrap();
    assert_eq!((good[0], good.len()), (2, 4 + 4 + 4 + 3 * 40 + 2 * 8));
    let page = Page::decode(good.clone().into(), 1, fanout()).unwrap();
    let found: Vec<_> = (0..5).map(|slot| page.block(slot)).collect();
    assert_eq!(found, [Some(pointer(3)), Some(pointer(1)), None, Some(pointer(6)), None]);
    assert!(page.has_bases());
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.clone();
        change(&mut bad);
        Page::decode(bad.into(), 1, fanout()).is_err()
    };
    assert!(refused(&|page| page[8] |= 4), "a base of a block that is not there");
    assert!(refused(&|page| page[8] = 0), "no base at all");
    assert!(refused(&|page| page.truncate(page.len() - 8)));
    assert!(refused(&|page| page.extend([0; 8])));
    let at = good.len() - 8;
    assert!(refused(&|page| page[at..at + 4].fill(0)), "there is no segment 0");
    let higher = [vec![2, 2], good[2..].to_vec()].concat();
    assert!(Page::decode(higher.into(), 2, fanout()).is_err());
}
