//! Makes the map of a revision out of its parent's, by the blocks that differ.
//!
//! Only pages on the way to a change are read and written, so the cost follows the change. Changes
//! come in any order, but rising order is what makes each page be written once: the updater keeps
//! the pages between the root and the current position open, and writes one when it leaves it.

use std::collections::BTreeMap;

use crate::error::Result;

use super::page::{Entry, page_digest};
use super::{BlockPointer, Fanout, HEIGHT_MAX, MapRoot, Page, PagePointer, PageSource};

/// Where new pages go.
pub trait PageSink {
    /// Stores a page; `twice` asks for a copy in another segment. The digest is of the plain bytes.
    ///
    /// # Errors
    /// Of the store.
    fn write_page(&mut self, plain: &[u8], pointer: UnplacedPage, twice: bool) -> Result<PagePointer>;
}

/// A page pointer that lacks only its places.
#[derive(Clone, Copy, Debug)]
pub struct UnplacedPage {
    /// Digest of the plain page.
    pub digest: crate::digest::Digest,
    /// Blocks beneath that are stored.
    pub allocated: u64,
}

#[derive(Clone)]
struct OpenPage {
    level: u8,
    first_block: u64,
    entries: Vec<Option<Entry>>,
    dirty: bool,
}

/// See the module.
pub struct Updater<'a, S: PageSource + ?Sized, W: PageSink + ?Sized> {
    fanout: Fanout,
    source: &'a S,
    sink: &'a mut W,
    parent: MapRoot,
    /// From the root downwards; never empty.
    open: Vec<OpenPage>,
    /// The leftmost page of each level as it was written last. One of them becomes the root of a
    /// disk that has shrunk, and what was just written cannot be read back before it is sealed.
    leftmost: BTreeMap<u8, OpenPage>,
}

impl<'a, S: PageSource + ?Sized, W: PageSink + ?Sized> Updater<'a, S, W> {
    /// Starts from `parent` (an empty root for a first revision), whose pages come from `source`.
    ///
    /// # Errors
    /// Where the parent's root page cannot be read.
    pub fn new(parent: MapRoot, source: &'a S, sink: &'a mut W) -> Result<Self> {
        let root = load(source, parent.fanout, parent.height, 0, parent.root)?;
        Ok(Self { fanout: parent.fanout, source, sink, parent, open: vec![root], leftmost: BTreeMap::new() })
    }

    /// Where new pages go, for whoever stores blocks there as well.
    pub fn sink(&mut self) -> &mut W {
        self.sink
    }

    /// Puts a pointer at `block`, or zeros.
    ///
    /// # Errors
    /// Of the store.
    pub fn set(&mut self, block: u64, pointer: Option<BlockPointer>) -> Result<()> {
        self.grow_to_hold(block)?;
        self.seek(block, 1)?;
        self.put(block, pointer.map(Entry::Block));
        Ok(())
    }

    /// Makes all blocks of a range zeros, whole subtrees at a time. Returns how many had been
    /// stored.
    ///
    /// # Errors
    /// Of the store.
    pub fn clear(&mut self, range: std::ops::Range<u64>) -> Result<u64> {
        let mut cleared = 0;
        let mut block = range.start;
        let end = range.end.min(self.capacity());
        while block < end {
            let level = self.clear_level(block, end);
            self.seek_existing(block, level)?;
            let (found_level, entry) = self.entry_on_path(block);
            let span = self.fanout.span(found_level - 1);
            if let Some(entry) = entry {
                cleared += entry.allocated();
                self.put(block, None);
            }
            block = (block / span + 1).saturating_mul(span);
        }
        Ok(cleared)
    }

    /// Cuts or grows the tree to `blocks` blocks and gives its root.
    ///
    /// # Errors
    /// Of the store.
    pub fn finish(mut self, blocks: u64) -> Result<MapRoot> {
        let height = self.fanout.height_for(blocks);
        self.clear(blocks..self.capacity())?;
        while self.height() < height {
            self.grow()?;
        }
        if self.height() > height {
            self.seek_existing(0, height + 1)?;
            self.lower_to(height)?;
        }
        while self.open.len() > 1 {
            self.close()?;
        }
        let Some(root) = self.open.pop() else {
            return Ok(self.parent);
        };
        let unchanged = !root.dirty && self.parent.height == height;
        let root = if unchanged { self.parent.root } else { self.write(&root, true)? };
        Ok(MapRoot { fanout: self.fanout, height, root })
    }

    fn height(&self) -> u8 {
        self.open.first().map_or(1, |root| root.level)
    }

    fn capacity(&self) -> u64 {
        self.fanout.span(self.height())
    }

    /// The highest level whose entry at `block` lies wholly within `block..end`.
    fn clear_level(&self, block: u64, end: u64) -> u8 {
        let fits = |&level: &u8| {
            let span = self.fanout.span(level - 1);
            block.is_multiple_of(span) && end - block >= span
        };
        (1..=self.height()).rev().find(fits).unwrap_or(1)
    }

    fn grow_to_hold(&mut self, block: u64) -> Result<()> {
        while block >= self.capacity() && self.height() < HEIGHT_MAX {
            self.grow()?;
        }
        Ok(())
    }

    /// Puts a new root above the present one.
    fn grow(&mut self) -> Result<()> {
        while self.open.len() > 1 {
            self.close()?;
        }
        let Some(old) = self.open.pop() else { return Ok(()) };
        let pointer = if old.dirty { self.write(&old, true)? } else { self.parent.root };
        let mut root = OpenPage::empty(old.level + 1, 0, self.fanout);
        root.dirty = true;
        if let Some(slot) = root.entries.first_mut() {
            *slot = pointer.map(Entry::Page);
        }
        self.open.push(root);
        Ok(())
    }

    /// Makes the leftmost page of `level`, which holds all that is left, the root. The pages above
    /// it are on the path, since the caller sought there.
    fn lower_to(&mut self, level: u8) -> Result<()> {
        let pointer = self.entry_on_path(0).1.and_then(Entry::page);
        let mut root = match (pointer, self.leftmost.remove(&level)) {
            (Some(_), Some(written)) => written,
            (pointer, _) => load(self.source, self.fanout, level, 0, pointer)?,
        };
        root.dirty = true;
        self.open = vec![root];
        Ok(())
    }

    /// Opens the page of `level` that leads to `block`, making it where it is missing.
    fn seek(&mut self, block: u64, level: u8) -> Result<()> {
        self.leave(block, level)?;
        while let Some(page) = self.open.last().filter(|page| page.level > level) {
            let child_level = page.level - 1;
            let pointer = page.entry(self.fanout, block).and_then(Entry::page);
            let child = load(self.source, self.fanout, child_level, block, pointer)?;
            self.open.push(child);
        }
        Ok(())
    }

    /// Like [`Self::seek`], but stops where there is nothing beneath.
    fn seek_existing(&mut self, block: u64, level: u8) -> Result<()> {
        self.leave(block, level)?;
        while let Some(page) = self.open.last().filter(|page| page.level > level) {
            let child_level = page.level - 1;
            let Some(pointer) = page.entry(self.fanout, block).and_then(Entry::page) else { break };
            let is_leftmost = block < self.fanout.span(child_level);
            let child = match self.leftmost.get(&child_level).filter(|_| is_leftmost) {
                Some(written) => OpenPage { dirty: false, ..written.clone() },
                None => load(self.source, self.fanout, child_level, block, Some(pointer))?,
            };
            self.open.push(child);
        }
        Ok(())
    }

    /// Closes pages below `level` and those that do not lead to `block`.
    fn leave(&mut self, block: u64, level: u8) -> Result<()> {
        while self.open.len() > 1
            && self.open.last().is_some_and(|page| page.level < level || !page.leads_to(self.fanout, block))
        {
            self.close()?;
        }
        Ok(())
    }

    /// The entry for `block` in the lowest open page, and that page's level.
    fn entry_on_path(&self, block: u64) -> (u8, Option<Entry>) {
        self.open.last().map_or((1, None), |page| (page.level, page.entry(self.fanout, block)))
    }

    fn put(&mut self, block: u64, entry: Option<Entry>) {
        let fanout = self.fanout;
        if let Some(page) = self.open.last_mut() {
            let slot = fanout.slot(page.level, block) as usize;
            if let Some(place) = page.entries.get_mut(slot).filter(|place| **place != entry) {
                *place = entry;
                page.dirty = true;
            }
        }
    }

    /// Writes the lowest open page if it changed and enters it in the page above.
    fn close(&mut self) -> Result<()> {
        let Some(page) = self.open.pop() else { return Ok(()) };
        if page.dirty {
            let pointer = self.write(&page, false)?;
            self.put(page.first_block, pointer.map(Entry::Page));
            if page.first_block == 0 {
                self.leftmost.insert(page.level, page);
            }
        }
        Ok(())
    }

    fn write(&mut self, page: &OpenPage, is_root: bool) -> Result<Option<PagePointer>> {
        let Some(plain) = Page::encode(page.level, self.fanout, &page.entries) else {
            return Ok(None);
        };
        let allocated = page.entries.iter().flatten().map(Entry::allocated).sum();
        let unplaced = UnplacedPage { digest: page_digest(&plain), allocated };
        self.sink.write_page(&plain, unplaced, is_root || page.level > 1).map(Some)
    }
}

impl OpenPage {
    fn empty(level: u8, block: u64, fanout: Fanout) -> Self {
        let span = fanout.span(level);
        let entries = vec![None; fanout.entries() as usize];
        Self { level, first_block: block / span * span, entries, dirty: false }
    }

    fn leads_to(&self, fanout: Fanout, block: u64) -> bool {
        block.checked_sub(self.first_block).is_some_and(|within| within < fanout.span(self.level))
    }

    fn entry(&self, fanout: Fanout, block: u64) -> Option<Entry> {
        self.entries.get(fanout.slot(self.level, block) as usize).copied().flatten()
    }
}

fn load<S: PageSource + ?Sized>(
    source: &S,
    fanout: Fanout,
    level: u8,
    block: u64,
    pointer: Option<PagePointer>,
) -> Result<OpenPage> {
    let mut open = OpenPage::empty(level, block, fanout);
    if let Some(pointer) = pointer {
        let page = source.page(&pointer, level, fanout)?;
        for (slot, entry) in (0..).zip(open.entries.iter_mut()) {
            *entry = page.entry(slot);
        }
    }
    Ok(open)
}
