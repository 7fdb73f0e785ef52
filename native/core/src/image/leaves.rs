//! The map pages that a thread looked up last.
//!
//! Reads go to the same few leaves of a map again and again. Without this, every thread goes down
//! from the root each time, by pages whose locks and counts all threads share: measured with two
//! threads, that took most of the time of a small read.

use std::cell::RefCell;
use std::sync::Arc;

use crate::error::Result;
use crate::map::{self, BlockPointer, MapRoot, Page, PageSource};

/// Leaves that a thread remembers: 64 pages of 64 entries take 160 KiB.
const SLOTS: usize = 64;

/// A leaf of a map.
struct Known {
    map: MapRoot,
    number: u64,
    page: Option<Arc<Page>>,
}

thread_local! {
    static KNOWN: RefCell<[Option<Known>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

/// The pointer of one block, `None` for zeros.
///
/// # Errors
/// Of the page source.
pub(super) fn pointer<S: PageSource>(source: &S, map: &MapRoot, block: u64) -> Result<Option<BlockPointer>> {
    let Some(root) = map.root else { return Ok(None) };
    let number = block >> map.fanout.log2();
    let slot = usize::try_from((root.digest.prefix() ^ number) % SLOTS as u64).unwrap_or(0);
    let in_leaf = |page: &Option<Arc<Page>>| page.as_ref()?.block(map.fanout.slot(1, block));
    let known = KNOWN.with_borrow(|all| {
        let known = all.get(slot)?.as_ref().filter(|known| known.number == number && known.map == *map)?;
        Some(in_leaf(&known.page))
    });
    if let Some(pointer) = known {
        return Ok(pointer);
    }
    let page = map::leaf(source, map, block)?;
    let pointer = in_leaf(&page);
    KNOWN.with_borrow_mut(|all| {
        if let Some(place) = all.get_mut(slot) {
            *place = Some(Known { map: *map, number, page });
        }
    });
    Ok(pointer)
}
