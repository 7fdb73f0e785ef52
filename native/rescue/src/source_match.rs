//! Whether a target is what a disk is backed up from. Where in doubt it is: that only asks for care.

use cairn_core::manifest::Manifest;

use crate::target::{Place, PlaceKind};

pub(crate) fn is_source(place: &Place, manifest: &Manifest, disk_id: Option<&str>) -> bool {
    let field = |name: &str| manifest.source.get(name).and_then(|value| value.as_str());
    let path = place.path.to_str();
    if path.is_some() && (field("path") == path || field("backingFile") == path) {
        return true;
    }
    let PlaceKind::Device { facts, .. } = &place.kind else { return false };
    let backing = facts.backing_file.as_ref().and_then(|file| file.to_str());
    if backing.is_some() && (field("path") == backing || field("backingFile") == backing) {
        return true;
    }
    if field("kind") != Some("device") {
        return false;
    }
    // Two partitions of one disk are two things.
    let is_apart = facts.is_partition && manifest.source.get("partition").is_some_and(|part| !part.is_null());
    let serial = facts.serial.as_deref();
    (disk_id.is_some() && field("diskId") == disk_id)
        || (serial.is_some() && field("serial") == serial && !is_apart)
}
