//! From a volume's segments to stretches of the disk.

use super::Place;
use super::group::{Group, Logical, Segment};
use super::label::PvId;
use crate::probe::model::Piece;
use std::collections::BTreeMap;

/// Why a volume is not shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotShown {
    #[error("a segment of it is of type {0:?}")]
    Type(String),
    #[error("it holds a snapshot's differences, not a state of its own")]
    SnapshotStore,
    #[error("its physical volume {0:?} is not on this disk")]
    PhysicalMissing(String),
    #[error("it is built on {0:?}, which is not a physical volume")]
    Stacked(String),
    #[error("it reaches beyond its physical volume {0:?}")]
    OutOfBounds(String),
    #[error("its segments do not follow each other without gaps")]
    Gaps,
    #[error("its metadata is not understood")]
    Malformed,
    #[error("there are too many volumes or segments")]
    TooMany,
}

/// The volume's pieces in its order, neighbours merged. Every stretch lies within its [`Place`].
pub(super) fn of(
    logical: &Logical,
    group: &Group,
    found: &BTreeMap<PvId, Place>,
) -> Result<Vec<Piece>, NotShown> {
    if logical.is_snapshot_store {
        return Err(NotShown::SnapshotStore);
    }
    let segments = logical.segments.as_ref().filter(|segments| !segments.is_empty());
    let mut pieces: Vec<Piece> = Vec::new();
    let mut next_extent = 0u64;
    for segment in segments.ok_or(NotShown::Malformed)? {
        if segment.first_extent != next_extent {
            return Err(NotShown::Gaps);
        }
        next_extent = next_extent.checked_add(segment.extents).ok_or(NotShown::Malformed)?;
        push_merged(&mut pieces, piece(segment, group, found)?);
    }
    Ok(pieces)
}

fn piece(segment: &Segment, group: &Group, found: &BTreeMap<PvId, Place>) -> Result<Piece, NotShown> {
    if segment.kind != "striped" && segment.kind != "linear" {
        return Err(NotShown::Type(segment.kind.chars().take(32).collect()));
    }
    let count = segment.stripes.len() as u64;
    let extents_each = segment.extents.checked_div(count).ok_or(NotShown::Malformed)?;
    if segment.extents == 0 || extents_each.checked_mul(count) != Some(segment.extents) {
        return Err(NotShown::Malformed);
    }
    let offsets_bytes = segment
        .stripes
        .iter()
        .map(|(name, extent)| stretch(name, *extent, extents_each, group, found))
        .collect::<Result<Vec<u64>, NotShown>>()?;
    let size_bytes = segment.extents.checked_mul(group.extent_bytes).ok_or(NotShown::Malformed)?;
    if let [offset_bytes] = offsets_bytes.as_slice() {
        return Ok(Piece::Linear { offset_bytes: *offset_bytes, size_bytes });
    }
    let each_bytes = extents_each.checked_mul(group.extent_bytes).ok_or(NotShown::Malformed)?;
    if each_bytes.checked_rem(segment.stripe_bytes) != Some(0) {
        return Err(NotShown::Malformed);
    }
    Ok(Piece::Striped { stripe_size_bytes: segment.stripe_bytes, offsets_bytes, size_bytes })
}

/// Where `extents` extents of the physical volume `name` begin on the disk.
fn stretch(
    name: &str,
    extent: u64,
    extents: u64,
    group: &Group,
    found: &BTreeMap<PvId, Place>,
) -> Result<u64, NotShown> {
    let shown = || name.chars().take(128).collect::<String>();
    let physical = group.physical.get(name).ok_or_else(|| NotShown::Stacked(shown()))?;
    let place = found.get(&physical.id).ok_or_else(|| NotShown::PhysicalMissing(shown()))?;
    let fit = || {
        extent.checked_add(extents).filter(|&end| end <= physical.extents)?;
        let start = extent.checked_mul(group.extent_bytes)?.checked_add(physical.data_offset_bytes)?;
        let end = extents.checked_mul(group.extent_bytes)?.checked_add(start)?;
        (end <= place.size_bytes).then_some(())?;
        place.offset_bytes.checked_add(start)
    };
    fit().ok_or_else(|| NotShown::OutOfBounds(shown()))
}

fn push_merged(pieces: &mut Vec<Piece>, piece: Piece) {
    if let (
        Some(Piece::Linear { offset_bytes, size_bytes }),
        Piece::Linear { offset_bytes: next_offset, size_bytes: next_size },
    ) = (pieces.last_mut(), &piece)
        && offset_bytes.checked_add(*size_bytes) == Some(*next_offset)
    {
        *size_bytes = size_bytes.saturating_add(*next_size);
        return;
    }
    pieces.push(piece);
}
