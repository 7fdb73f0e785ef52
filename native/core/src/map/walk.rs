//! Reading block maps: pointers of a range, extents, and the difference between two maps.
//!
//! Every walk descends only where there is something to find: empty subtrees are one step, and
//! subtrees that two maps share are one comparison.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{Error, Result};

use super::{BlockPointer, Fanout, MapRoot, Page, PagePointer};

/// Where pages come from: verified against their pointers, usually cached.
pub trait PageSource {
    /// The page that `pointer` names, of `level` in a tree of `fanout`.
    ///
    /// # Errors
    /// `Corrupt` when neither the record nor its copy is what the pointer asks for.
    fn page(&self, pointer: &PagePointer, level: u8, fanout: Fanout) -> Result<Arc<Page>>;
}

/// Blocks in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which blocks.
    pub blocks: Range<u64>,
    /// Their state.
    pub state: ExtentState,
}

/// Whether blocks hold data or read as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentState {
    /// Stored.
    Data,
    /// Zeros.
    Zero,
}

/// What a walk that goes on where it can finds from some block on.
pub enum Stretch {
    /// Zeros up to this block.
    Zeros(u64),
    /// A page that has the pointers up to this block.
    Leaf(Arc<Page>, u64),
    /// Nobody knows what is there up to this block: the page that would tell cannot be read.
    Lost(Error, u64),
}

/// The stretch that `block` lies in; it ends after `block`, perhaps beyond the end of the image.
///
/// # Errors
/// Of the page source, where trying again may help: damage is [`Stretch::Lost`].
pub fn stretch<S: PageSource + ?Sized>(source: &S, map: &MapRoot, block: u64) -> Result<Stretch> {
    let end = |level: u8| (block / map.fanout.span(level) + 1).saturating_mul(map.fanout.span(level));
    let mut level = map.height;
    let Some(mut pointer) = map.root.filter(|_| block < map.fanout.span(level)) else {
        return Ok(Stretch::Zeros(u64::MAX));
    };
    loop {
        let page = match source.page(&pointer, level, map.fanout) {
            Err(error) if error.is_unreadable() => return Ok(Stretch::Lost(error, end(level))),
            other => other?,
        };
        if level == 1 {
            return Ok(Stretch::Leaf(page, end(1)));
        }
        match page.child(map.fanout.slot(level, block)) {
            Some(child) => pointer = child,
            None => return Ok(Stretch::Zeros(end(level - 1))),
        }
        level -= 1;
    }
}

/// The pointers of `range`, one for each block, `None` for zeros.
///
/// # Errors
/// Of the page source.
pub fn blocks<S: PageSource + ?Sized>(
    source: &S,
    map: &MapRoot,
    range: Range<u64>,
) -> Result<Vec<Option<BlockPointer>>> {
    let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
    let mut found = vec![None; len];
    let mut block = range.start;
    while block < range.end {
        let leaf_end = (block / map.fanout.span(1) + 1).saturating_mul(map.fanout.span(1));
        let (page, empty_end) = descend(source, map, block)?;
        let Some(page) = page else {
            block = empty_end;
            continue;
        };
        for index in block..leaf_end.min(range.end) {
            if let Some(slot) = usize::try_from(index - range.start).ok().and_then(|at| found.get_mut(at)) {
                *slot = page.block(map.fanout.slot(1, index));
            }
        }
        block = leaf_end;
    }
    Ok(found)
}

/// The level-1 page that has the pointer of `block`; none where all around it is zeros.
///
/// # Errors
/// Of the page source.
pub fn leaf<S: PageSource + ?Sized>(source: &S, map: &MapRoot, block: u64) -> Result<Option<Arc<Page>>> {
    Ok(descend(source, map, block)?.0)
}

/// The first block of `range` in `state`, by the counters in the pages: what is all data or all
/// zeros is passed over in one step, so this reads no more than the edges of two extents.
///
/// # Errors
/// Of the page source.
pub fn next<S: PageSource + ?Sized>(
    source: &S,
    map: &MapRoot,
    range: Range<u64>,
    state: ExtentState,
) -> Result<Option<u64>> {
    let found = first_in(source, map.fanout, Node::root(map), 0, &range, state)?;
    // Beyond what the tree spans there are zeros.
    let beyond = range.start.max(map.fanout.span(map.height));
    Ok(found.or_else(|| (state == ExtentState::Zero && beyond < range.end).then_some(beyond)))
}

fn first_in<S: PageSource + ?Sized>(
    source: &S,
    fanout: Fanout,
    node: Node,
    first: u64,
    range: &Range<u64>,
    state: ExtentState,
) -> Result<Option<u64>> {
    let span = fanout.span(node.level);
    let start = first.max(range.start);
    if start >= first.saturating_add(span).min(range.end) {
        return Ok(None);
    }
    let Some(pointer) = node.pointer else {
        return Ok((state == ExtentState::Zero).then_some(start));
    };
    if pointer.allocated == span {
        return Ok((state == ExtentState::Data).then_some(start));
    }
    let page = source.page(&pointer, node.level, fanout)?;
    let step = fanout.span(node.level - 1);
    for slot in fanout.slot(node.level, start)..fanout.entries() {
        let at = first.saturating_add(step.saturating_mul(u64::from(slot)));
        let found = if node.level == 1 {
            let is_data = page.block(slot).is_some();
            (at < range.end && is_data == (state == ExtentState::Data)).then_some(at)
        } else {
            let child = Node { pointer: page.child(slot), level: node.level - 1 };
            first_in(source, fanout, child, at, range, state)?
        };
        if found.is_some() || at >= range.end {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The level-1 page of `block`, or none and where the empty subtree ends that it lies in.
fn descend<S: PageSource + ?Sized>(
    source: &S,
    map: &MapRoot,
    block: u64,
) -> Result<(Option<Arc<Page>>, u64)> {
    match stretch(source, map, block)? {
        Stretch::Leaf(page, _) => Ok((Some(page), 0)),
        Stretch::Zeros(end) => Ok((None, end)),
        Stretch::Lost(error, _) => Err(error),
    }
}

/// States of `range` in order, merged where equal, at most `limit` of them.
///
/// # Errors
/// Of the page source.
pub fn extents<S: PageSource + ?Sized>(
    source: &S,
    map: &MapRoot,
    range: Range<u64>,
    limit: usize,
) -> Result<Vec<Extent>> {
    let mut found = Merged::new(range.clone(), limit);
    let node = Node::root(map);
    let _ = walk_states(source, map.fanout, node, 0, &mut found)?;
    Ok(found.finish(Some(ExtentState::Zero)))
}

/// Blocks of `range` in which `to` differs from `from`, with the state they have in `to`, at most
/// `limit` extents. Both maps have the same fan-out; heights may differ.
///
/// # Errors
/// Of the page source.
pub fn changes<S: PageSource + ?Sized>(
    source: &S,
    from: &MapRoot,
    to: &MapRoot,
    range: Range<u64>,
    limit: usize,
) -> Result<Vec<Extent>> {
    let height = from.height.max(to.height);
    let pair = (Node::root(from).lifted(height), Node::root(to).lifted(height));
    let found = Merged::new(range, limit);
    let mut differ = Differ { source, fanout: to.fanout, found, seen: HashMap::new() };
    let _ = differ.walk(pair, height, 0)?;
    Ok(differ.found.finish(None))
}

/// Stored blocks of a range, by the counters in the pages: reads no more than the two edges.
///
/// # Errors
/// Of the page source.
pub fn allocated<S: PageSource + ?Sized>(source: &S, map: &MapRoot, range: Range<u64>) -> Result<u64> {
    count(source, map.fanout, Node::root(map), 0, &range)
}

fn count<S: PageSource + ?Sized>(
    source: &S,
    fanout: Fanout,
    node: Node,
    first: u64,
    range: &Range<u64>,
) -> Result<u64> {
    let end = first.saturating_add(fanout.span(node.level));
    let Some(pointer) = node.pointer.filter(|_| first < range.end && end > range.start) else {
        return Ok(0);
    };
    if range.start <= first && end <= range.end {
        return Ok(pointer.allocated);
    }
    let page = source.page(&pointer, node.level, fanout)?;
    let step = fanout.span(node.level - 1);
    let mut sum = 0;
    for slot in 0..fanout.entries() {
        let at = first.saturating_add(step.saturating_mul(u64::from(slot)));
        sum += if node.level == 1 {
            u64::from(range.contains(&at) && page.block(slot).is_some())
        } else {
            count(source, fanout, Node { pointer: page.child(slot), level: node.level - 1 }, at, range)?
        };
    }
    Ok(sum)
}

/// A subtree seen at some level. A tree that is lower than the walk hangs at slot 0 of empty pages.
#[derive(Clone, Copy, PartialEq)]
struct Node {
    pointer: Option<PagePointer>,
    level: u8,
}

impl Node {
    fn root(map: &MapRoot) -> Self {
        Self { pointer: map.root, level: map.height }
    }

    /// An empty subtree has any level.
    fn lifted(self, level: u8) -> Self {
        if self.pointer.is_none() { Self { pointer: None, level } } else { self }
    }

    fn same(&self, other: &Node) -> bool {
        match (self.pointer, other.pointer) {
            (None, None) => true,
            (Some(a), Some(b)) => self.level == other.level && a.digest == b.digest,
            _ => false,
        }
    }
}

/// Children of a node at `level` above 1, by slot.
enum Children {
    None,
    /// The node itself belongs below slot 0.
    Lifted(Node),
    Page(Arc<Page>),
}

impl Children {
    fn of<S: PageSource + ?Sized>(source: &S, fanout: Fanout, node: Node, level: u8) -> Result<Self> {
        let Some(pointer) = node.pointer else { return Ok(Children::None) };
        if node.level < level {
            return Ok(Children::Lifted(node));
        }
        Ok(Children::Page(source.page(&pointer, level, fanout)?))
    }

    fn child(&self, slot: u32, level: u8) -> Node {
        match self {
            Children::Lifted(node) if slot == 0 => *node,
            Children::Page(page) => Node { pointer: page.child(slot), level },
            _ => Node { pointer: None, level },
        }
    }

    fn block(&self, slot: u32) -> Option<BlockPointer> {
        match self {
            Children::Page(page) => page.block(slot),
            _ => None,
        }
    }
}

fn walk_states<S: PageSource + ?Sized>(
    source: &S,
    fanout: Fanout,
    node: Node,
    first: u64,
    found: &mut Merged,
) -> Result<ControlFlow<()>> {
    let span = fanout.span(node.level);
    if !found.wants(first, span) {
        return Ok(ControlFlow::Continue(()));
    }
    let Some(pointer) = node.pointer else {
        return Ok(found.push(first, span, ExtentState::Zero));
    };
    if pointer.allocated == span {
        return Ok(found.push(first, span, ExtentState::Data));
    }
    let page = source.page(&pointer, node.level, fanout)?;
    let step = fanout.span(node.level - 1);
    for slot in 0..fanout.entries() {
        let at = first.saturating_add(step.saturating_mul(u64::from(slot)));
        let flow = if node.level == 1 {
            let state = if page.block(slot).is_some() { ExtentState::Data } else { ExtentState::Zero };
            found.push(at, 1, state)
        } else {
            let child = Node { pointer: page.child(slot), level: node.level - 1 };
            walk_states(source, fanout, child, at, found)?
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What a whole subtree came to.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Same,
    All(ExtentState),
    Mixed,
}

/// Two pages, or none where all is zeros, and the level that they are compared at.
type PairKey = (Option<Digest>, Option<Digest>, u8);

/// Pairs that are remembered at once: far more than an honest disk repeats.
const SEEN_MAX: usize = 4096;

/// A comparison of two maps. Pairs of pages that came to one outcome are remembered, so that a few
/// pages that are named over and over cannot keep it busy: what is mixed ends at the limit.
struct Differ<'a, S: ?Sized> {
    source: &'a S,
    fanout: Fanout,
    found: Merged,
    seen: HashMap<PairKey, Outcome>,
}

impl<S: PageSource + ?Sized> Differ<'_, S> {
    fn walk(&mut self, pair: (Node, Node), level: u8, first: u64) -> Result<ControlFlow<(), Outcome>> {
        let span = self.fanout.span(level);
        if pair.0.same(&pair.1) {
            return Ok(ControlFlow::Continue(Outcome::Same));
        }
        if !self.found.wants(first, span) {
            return Ok(ControlFlow::Continue(Outcome::Mixed));
        }
        let digest = |node: Node| node.pointer.map(|pointer| pointer.digest);
        let key = (digest(pair.0), digest(pair.1), level);
        let known = uniform_change(&pair, span).map(Outcome::All).or_else(|| self.seen.get(&key).copied());
        if let Some(outcome) = known {
            return Ok(self.push(first, span, outcome));
        }
        let walked = self.walk_children(pair, level, first)?;
        if let ControlFlow::Continue(outcome) = walked
            && outcome != Outcome::Mixed
            && level > 1
        {
            if self.seen.len() >= SEEN_MAX {
                self.seen.clear();
            }
            self.seen.insert(key, outcome);
        }
        Ok(walked)
    }

    fn walk_children(
        &mut self,
        pair: (Node, Node),
        level: u8,
        first: u64,
    ) -> Result<ControlFlow<(), Outcome>> {
        let from = Children::of(self.source, self.fanout, pair.0, level)?;
        let to = Children::of(self.source, self.fanout, pair.1, level)?;
        let step = self.fanout.span(level - 1);
        let mut sum = None;
        for slot in 0..self.fanout.entries() {
            let at = first.saturating_add(step.saturating_mul(u64::from(slot)));
            let flow = if level == 1 {
                self.push(at, 1, compare(from.block(slot), to.block(slot)))
            } else {
                self.walk((from.child(slot, level - 1), to.child(slot, level - 1)), level - 1, at)?
            };
            let ControlFlow::Continue(outcome) = flow else { return Ok(flow) };
            sum = Some(if sum.is_none_or(|sum| sum == outcome) { outcome } else { Outcome::Mixed });
        }
        Ok(ControlFlow::Continue(sum.unwrap_or(Outcome::Same)))
    }

    fn push(&mut self, first: u64, len: u64, outcome: Outcome) -> ControlFlow<(), Outcome> {
        if let Outcome::All(state) = outcome {
            self.found.push(first, len, state)?;
        }
        ControlFlow::Continue(outcome)
    }
}

fn compare(before: Option<BlockPointer>, after: Option<BlockPointer>) -> Outcome {
    if before.map(|block| block.digest) == after.map(|block| block.digest) {
        return Outcome::Same;
    }
    Outcome::All(if after.is_some() { ExtentState::Data } else { ExtentState::Zero })
}

/// The state that every block gets where one side is empty and the other is full.
fn uniform_change(pair: &(Node, Node), span: u64) -> Option<ExtentState> {
    match (pair.0.pointer, pair.1.pointer) {
        (None, Some(to)) if to.allocated == span => Some(ExtentState::Data),
        (Some(from), None) if from.allocated == span => Some(ExtentState::Zero),
        _ => None,
    }
}

/// Collects extents: clips them to the range, merges neighbours, and stops at the limit.
struct Merged {
    range: Range<u64>,
    limit: usize,
    extents: Vec<Extent>,
    /// The limit was reached, so the rest of the range is not known.
    cut: bool,
}

impl Merged {
    fn new(range: Range<u64>, limit: usize) -> Self {
        Self { range, limit, extents: Vec::new(), cut: false }
    }

    fn wants(&self, first: u64, len: u64) -> bool {
        first < self.range.end && first.saturating_add(len) > self.range.start
    }

    fn push(&mut self, first: u64, len: u64, state: ExtentState) -> ControlFlow<()> {
        let blocks = first.max(self.range.start)..first.saturating_add(len).min(self.range.end);
        if blocks.start >= blocks.end {
            return if first >= self.range.end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        let is_full = self.extents.len() >= self.limit;
        match self.extents.last_mut().filter(|last| last.state == state && last.blocks.end == blocks.start) {
            Some(last) => last.blocks.end = blocks.end,
            None if is_full => {
                self.cut = true;
                return ControlFlow::Break(());
            }
            None => self.extents.push(Extent { blocks, state }),
        }
        ControlFlow::Continue(())
    }

    /// What the tree does not reach has the state `beyond`, if that is given.
    fn finish(mut self, beyond: Option<ExtentState>) -> Vec<Extent> {
        let end = self.extents.last().map_or(self.range.start, |last| last.blocks.end);
        if let Some(state) = beyond.filter(|_| !self.cut && end < self.range.end) {
            let _ = self.push(end, self.range.end - end, state);
        }
        self.extents
    }
}
