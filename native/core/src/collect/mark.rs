//! Finding the records that revisions need, by walking their block maps.

use std::collections::{HashMap, HashSet};

use crate::bits::Bits;
use crate::error::Result;
use crate::job::Control;
use crate::map::{MapRoot, PageSource, Place};
use crate::records::Records;
use crate::segment::RECORD_COUNT_MAX;
use crate::units::SegmentId;

/// Records that a revision needs, by segment; only segments that are there.
pub(crate) struct Live {
    segments: HashMap<SegmentId, Bits>,
}

impl Live {
    fn new(segments: &[SegmentId]) -> Self {
        Self { segments: segments.iter().map(|&id| (id, Bits::default())).collect() }
    }

    /// A record that is not there is damage of its revision's, which keeps nothing else.
    fn insert(&mut self, place: Place) {
        if let Some(bits) = self.segments.get_mut(&place.segment).filter(|_| is_possible(place)) {
            bits.insert(place.ordinal.0);
        }
    }

    /// Of all segments.
    pub(super) fn count(&self) -> u64 {
        self.segments.values().map(|bits| u64::from(bits.count())).sum()
    }

    /// Of one segment, where it is one of those that are there.
    pub(crate) fn get(&self, id: SegmentId) -> Option<&Bits> {
        self.segments.get(&id)
    }

    /// Of one segment, which is then forgotten.
    pub(super) fn take(&mut self, id: SegmentId) -> Bits {
        self.segments.remove(&id).unwrap_or_default()
    }
}

/// Pages whose subtrees were walked. Apart from [`Live`], since the second copy of a page is live
/// without having been walked, and a liar's pointer may name a page as a block.
struct Walked {
    by_segment: HashMap<SegmentId, Bits>,
    odd: HashSet<Place>,
}

impl Walked {
    /// False where it was walked before.
    fn enter(&mut self, place: Place) -> bool {
        if !is_possible(place) {
            return self.odd.insert(place);
        }
        self.by_segment.entry(place.segment).or_default().insert(place.ordinal.0)
    }
}

/// Whether a segment can have such a record at all: bounds what pages of liars can make us hold.
fn is_possible(place: Place) -> bool {
    place.ordinal.0 < RECORD_COUNT_MAX
}

/// Walks `maps`, each page once, however many maps share it.
///
/// # Errors
/// For the first page of which no copy can be read; `Cancelled`.
pub(crate) fn live(
    records: &Records,
    maps: &[MapRoot],
    segments: &[SegmentId],
    control: &Control,
) -> Result<Live> {
    let mut live = Live::new(segments);
    let mut walked = Walked { by_segment: HashMap::new(), odd: HashSet::new() };
    control.set_total(None);
    control.set_done(0);
    for map in maps {
        walk(records, map, &mut live, &mut walked, control)?;
    }
    Ok(live)
}

fn walk(
    records: &Records,
    map: &MapRoot,
    live: &mut Live,
    walked: &mut Walked,
    control: &Control,
) -> Result<()> {
    let mut open = Vec::new();
    open.extend(map.root.map(|root| (root, map.height)));
    while let Some((pointer, level)) = open.pop() {
        live.insert(pointer.place);
        if let Some(copy) = pointer.copy {
            live.insert(copy);
        }
        if !walked.enter(pointer.place) {
            continue;
        }
        control.check()?;
        let page = records.page(&pointer, level, map.fanout)?;
        control.add_done(page.memory_len() as u64);
        control.add_read(page.memory_len() as u64);
        if level == 1 {
            let blocks = (0..map.fanout.entries()).filter_map(|slot| page.block(slot));
            blocks.for_each(|block| block.places().for_each(|place| live.insert(place)));
        } else {
            // The leftmost is taken first, in the order in which pages were written.
            let children = (0..map.fanout.entries()).rev().filter_map(|slot| page.child(slot));
            open.extend(children.map(|child| (child, level - 1)));
        }
    }
    Ok(())
}
