//! Early warnings: what can be seen of a disk at a backup, and should reach a person before it becomes a loss.
//!
//! A revision is compared with the one before it, so a change is told once; what lasts is told each time. All names
//! come from a guest, and are escaped.

use crate::manifest::{Consistency, EarlyWarning, Manifest};
use crate::probe::{FileSystem, Partition, Survey, quoted, visible};
use crate::units::format_bytes;

/// Fewer backups than this have no habit that one could depart from.
const HISTORY_MIN: usize = 5;
/// So many times what a backup changes by habit,
const CHANGED_FACTOR: u64 = 10;
/// and a tenth of the disk: a quiet disk may well be busy for a day.
const CHANGED_SHARE: u64 = 10;
/// A twentieth.
const NEARLY_FULL: u64 = 20;
const NAME_LEN_MAX: usize = 60;

/// What only the caller knows.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// How many bytes each of the last backups found changed; first ones of a disk, which find all of it changed,
    /// left out.
    pub changed_bytes: Vec<u64>,
    /// Where the source, or a part of it, is mounted so that it can be written.
    pub mounted_on: Vec<String>,
}

/// All that is to be told of `manifest`, whose layout is known; `last` is the revision before it.
pub(super) fn look(
    manifest: &Manifest,
    last: Option<&Manifest>,
    background: &Background,
) -> Vec<EarlyWarning> {
    let mut found = Vec::new();
    let mut tell = |kind: &str, message: String| found.push(EarlyWarning { kind: kind.to_owned(), message });
    if let Some(last) = last {
        compare_sizes(last.size_bytes, manifest.size_bytes, &mut tell);
        compare_tables(&last.layout, &manifest.layout, &mut tell);
        compare_file_systems(&last.layout, &manifest.layout, &mut tell);
        weigh_changes(manifest, last, &background.changed_bytes, &mut tell);
    }
    for (place, file_system) in file_systems(&manifest.layout) {
        look_at_room(&place, file_system, &mut tell);
    }
    if manifest.consistency == Consistency::Live && !background.mounted_on.is_empty() {
        let places: Vec<_> = background.mounted_on.iter().map(|place| visible(place, 200)).collect();
        let places = places.join(" and ");
        let message = format!(
            "the source is mounted on {places} and can be written there, so its file systems may contradict themselves in the revision"
        );
        tell("source-mounted", message);
    }
    found
}

fn compare_sizes(last: u64, now: u64, tell: &mut impl FnMut(&str, String)) {
    if last != now {
        let how = if now < last { "shrunk" } else { "grown" };
        let message = format!("the disk has {how} from {last} to {now} bytes since the last revision");
        tell("size-changed", message);
    }
}

fn compare_tables(last: &Survey, now: &Survey, tell: &mut impl FnMut(&str, String)) {
    match (&last.table, &now.table) {
        (Some(last), None) => {
            let id = visible(&last.disk_id, NAME_LEN_MAX);
            tell("table-vanished", format!("the partition table ({id}) that the last revision has is gone"));
        }
        (Some(last), Some(now)) if (&last.disk_id, &last.sfdisk) != (&now.disk_id, &now.sfdisk) => {
            let message = "the partition table is another one than the last revision's";
            tell("table-changed", message.to_owned());
        }
        _ => {}
    }
}

/// Partitions and volumes that are there no more are the table's business, and the guest's: not told here.
fn compare_file_systems(last: &Survey, now: &Survey, tell: &mut impl FnMut(&str, String)) {
    for before in &last.partitions {
        let after = now.partitions.iter().find(|after| is_same(before, after));
        let is_bare = before.number == 0;
        if after.is_some() || is_bare {
            let place = place_of(before);
            let after = after.and_then(|after| after.file_system.as_ref());
            compare_contents(&place, before.file_system.as_ref(), after, tell);
        }
    }
    for before in &last.volumes {
        let name = (&before.group, &before.name);
        if let Some(after) = now.volumes.iter().find(|after| (&after.group, &after.name) == name) {
            let place = place_of_volume(&before.group, &before.name);
            compare_contents(&place, before.file_system.as_ref(), after.file_system.as_ref(), tell);
        }
    }
}

/// A table that was written anew gives other identifiers to partitions that lie where they lay.
fn is_same(before: &Partition, after: &Partition) -> bool {
    let has_same_id = before.partition_id.is_some() && before.partition_id == after.partition_id;
    has_same_id || (before.number, before.offset_bytes) == (after.number, after.offset_bytes)
}

fn compare_contents(
    place: &str,
    before: Option<&FileSystem>,
    after: Option<&FileSystem>,
    tell: &mut impl FnMut(&str, String),
) {
    // Swap is made anew at will and holds nothing.
    let Some(before) = before.filter(|before| before.kind != "swap") else { return };
    let was = called(before);
    match after {
        None => {
            let message = format!("{place} had {was} in the last revision and has no known file system now");
            tell("filesystem-vanished", message);
        }
        Some(after) if after.kind != before.kind => {
            let message = format!("{place} had {was} in the last revision and has {} now", called(after));
            tell("filesystem-vanished", message);
        }
        Some(after) if after.uuid != before.uuid => {
            let message =
                format!("the {was} on {place} was made anew since the last revision: its UUID is another");
            tell("filesystem-changed", message);
        }
        Some(_) => {}
    }
}

/// What was read of the disk's habits may be any number.
fn weigh_changes(manifest: &Manifest, last: &Manifest, history: &[u64], tell: &mut impl FnMut(&str, String)) {
    // Against no map everything is new.
    if manifest.parent.is_none() || history.len() < HISTORY_MIN {
        return;
    }
    let changed = manifest.counters.changed_bytes;
    let allocated = manifest.counters.allocated_bytes.max(last.counters.allocated_bytes);
    let usual = median(history);
    let is_much = changed > usual.saturating_mul(CHANGED_FACTOR) && changed > allocated / CHANGED_SHARE;
    if is_much {
        let message = format!(
            "{} changed since the last revision, {} % of the disk's data; of the last {} backups half had no more than {}",
            format_bytes(changed),
            percent(changed, allocated),
            history.len(),
            format_bytes(usual)
        );
        tell("changed-share", message);
    }
}

/// The lower one of two in the middle.
fn median(numbers: &[u64]) -> u64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

fn look_at_room(place: &str, file_system: &FileSystem, tell: &mut impl FnMut(&str, String)) {
    let named = called(file_system);
    let is_short = |free: u64, all: u64| free < all.div_ceil(NEARLY_FULL);
    if let (Some(free), Some(all)) = (file_system.free_bytes, file_system.size_bytes)
        && is_short(free, all)
    {
        let message = format!(
            "the {named} on {place} is nearly full: {} % of its {} are free",
            percent(free, all),
            format_bytes(all)
        );
        tell("guest-space", message);
    }
    if let (Some(free), Some(all)) = (file_system.free_inodes, file_system.inodes)
        && is_short(free, all)
    {
        let message = format!(
            "the {named} on {place} has nearly no inodes left: {} % of {all} are free",
            percent(free, all)
        );
        tell("guest-inodes", message);
    }
}

fn percent(part: u64, all: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(all.max(1))).unwrap_or(u64::MAX)
}

fn file_systems(layout: &Survey) -> impl Iterator<Item = (String, &FileSystem)> {
    let partitions = layout.partitions.iter().filter_map(|partition| {
        partition.file_system.as_ref().map(|file_system| (place_of(partition), file_system))
    });
    let volumes = layout.volumes.iter().filter_map(|volume| {
        let place = || place_of_volume(&volume.group, &volume.name);
        volume.file_system.as_ref().map(|file_system| (place(), file_system))
    });
    partitions.chain(volumes)
}

fn place_of(partition: &Partition) -> String {
    match partition.number {
        0 => "the bare disk".to_owned(),
        number => format!("partition {number}{}", quoted(partition.name.as_deref())),
    }
}

fn place_of_volume(group: &str, name: &str) -> String {
    format!("volume {}/{}", visible(group, NAME_LEN_MAX), visible(name, NAME_LEN_MAX))
}

/// `ext4 “root”`
fn called(file_system: &FileSystem) -> String {
    format!("{}{}", visible(&file_system.kind, NAME_LEN_MAX), quoted(file_system.label.as_deref()))
}
