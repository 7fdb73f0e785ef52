//! Early warnings: each is told when it should be, and not otherwise.

use super::*;
use crate::manifest::EarlyWarning;
use crate::probe::{FileSystem, Partition, PartitionTable, Survey, TableKind, Volume};

const MIB: u64 = 1 << 20;

fn file_system(kind: &str, uuid: &str) -> FileSystem {
    FileSystem {
        kind: kind.to_owned(),
        label: Some("root".to_owned()),
        uuid: Some(uuid.to_owned()),
        size_bytes: Some(100 * MIB),
        clean: Some(true),
        free_bytes: Some(50 * MIB),
        inodes: Some(1000),
        free_inodes: Some(500),
    }
}

fn partition(number: u32, file_system: Option<FileSystem>) -> Partition {
    Partition {
        number,
        offset_bytes: u64::from(number) * MIB,
        size_bytes: MIB,
        type_id: "83".to_owned(),
        partition_id: Some(format!("id-{number}")),
        name: None,
        file_system,
    }
}

fn layout(partitions: Vec<Partition>) -> Survey {
    let table = PartitionTable {
        kind: TableKind::Gpt,
        sector_size_bytes: 512,
        disk_id: "ABCD".to_owned(),
        from_backup: false,
        sfdisk: format!("{} partitions", partitions.len()),
    };
    Survey { table: Some(table), partitions, ..Survey::default() }
}

/// A revision after another, both of 100 MiB that are allocated.
fn revision(layout: Survey) -> Manifest {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(1, 10_000)).unwrap();
    let mut manifest = lab.backup().manifest;
    manifest.parent = Some(manifest.revision.clone());
    manifest.size_bytes = 200 * MIB;
    manifest.counters.allocated_bytes = 100 * MIB;
    manifest.counters.changed_bytes = 0;
    manifest.layout = layout;
    manifest
}

fn told(manifest: &Manifest, last: &Manifest, background: &Background) -> Vec<EarlyWarning> {
    early::look(manifest, Some(last), background)
}

fn kinds(last: Survey, now: Survey) -> Vec<String> {
    let found = told(&revision(now), &revision(last), &Background::default());
    found.into_iter().map(|warning| warning.kind).collect()
}

fn root(kind: &str, uuid: &str) -> Survey {
    layout(vec![partition(1, Some(file_system(kind, uuid)))])
}

#[test]
fn what_is_as_it_was_is_not_told() {
    assert!(kinds(root("ext4", "a"), root("ext4", "a")).is_empty());
    assert!(kinds(Survey::default(), root("ext4", "a")).is_empty());
    assert!(early::look(&revision(root("ext4", "a")), None, &Background::default()).is_empty());
}

#[test]
fn a_table_that_vanishes_or_changes_is_told() {
    let now = Survey { partitions: Vec::new(), ..Survey::default() };
    assert_eq!(kinds(root("ext4", "a"), now), ["table-vanished"]);
    let mut now = root("ext4", "a");
    now.table.as_mut().unwrap().disk_id = "EF".to_owned();
    assert_eq!(kinds(root("ext4", "a"), now), ["table-changed"]);
    let two = layout(vec![partition(1, None), partition(2, None)]);
    assert_eq!(kinds(layout(vec![partition(1, None)]), two), ["table-changed"]);
}

#[test]
fn a_file_system_that_vanishes_or_becomes_another_is_told() {
    assert_eq!(kinds(root("ext4", "a"), layout(vec![partition(1, None)])), ["filesystem-vanished"]);
    assert_eq!(kinds(root("ext4", "a"), root("xfs", "b")), ["filesystem-vanished"]);
    assert_eq!(kinds(root("ext4", "a"), root("ext4", "b")), ["filesystem-changed"]);
    assert!(kinds(root("swap", "a"), root("swap", "b")).is_empty());
    assert!(kinds(root("swap", "a"), layout(vec![partition(1, None)])).is_empty());
}

#[test]
fn a_bare_file_system_that_vanishes_is_told() {
    let bare = |file_system| Survey { partitions: vec![partition(0, file_system)], ..Survey::default() };
    assert_eq!(kinds(bare(Some(file_system("xfs", "a"))), Survey::default()), ["filesystem-vanished"]);
    assert_eq!(kinds(bare(Some(file_system("xfs", "a"))), root("ext4", "b")), ["filesystem-vanished"]);
}

#[test]
fn partitions_are_found_again_by_their_place_or_their_id() {
    let mut moved = root("ext4", "a");
    moved.partitions[0].number = 3;
    assert_eq!(kinds(root("ext4", "a"), moved), Vec::<String>::new());
    let mut renamed = layout(vec![partition(1, None)]);
    renamed.partitions[0].partition_id = Some("another".to_owned());
    assert_eq!(kinds(root("ext4", "a"), renamed), ["filesystem-vanished"]);
}

#[test]
fn volumes_are_looked_at_like_partitions() {
    let survey = |kind: Option<&str>| {
        let volume = Volume {
            group: "vg".to_owned(),
            name: "root".to_owned(),
            size_bytes: MIB,
            pieces: Vec::new(),
            file_system: kind.map(|kind| file_system(kind, "a")),
        };
        Survey { volumes: vec![volume], ..Survey::default() }
    };
    assert_eq!(kinds(survey(Some("ext4")), survey(None)), ["filesystem-vanished"]);
    assert!(kinds(survey(Some("ext4")), Survey::default()).is_empty(), "the guest may remove a volume");
    let mut full = survey(Some("ext4"));
    full.volumes[0].file_system.as_mut().unwrap().free_bytes = Some(MIB);
    let found = told(&revision(full), &revision(survey(Some("ext4"))), &Background::default());
    assert_eq!(
        found[0].message,
        "the ext4 “root” on volume vg/root is nearly full: 1 % of its 100 MiB are free"
    );
}

#[test]
fn another_size_is_told_with_both() {
    let (last, mut now) = (revision(Survey::default()), revision(Survey::default()));
    now.size_bytes = 150 * MIB;
    let found = told(&now, &last, &Background::default());
    let message = "the disk has shrunk from 209715200 to 157286400 bytes since the last revision";
    assert_eq!((found[0].kind.as_str(), found[0].message.as_str()), ("size-changed", message));
    assert!(told(&last, &now, &Background::default())[0].message.contains("grown"));
}

#[test]
fn changes_are_told_when_they_are_far_out_of_the_disks_own_history() {
    let last = revision(Survey::default());
    let changing = |changed: u64, history: &[u64]| {
        let mut now = revision(Survey::default());
        now.counters.changed_bytes = changed;
        let background = Background { changed_bytes: history.to_vec(), ..Background::default() };
        told(&now, &last, &background).into_iter().map(|warning| warning.message).collect::<Vec<_>>()
    };
    let quiet = [MIB, 2 * MIB, MIB, 90 * MIB, 2 * MIB];
    let message = "40 MiB changed since the last revision, 40 % of the disk's data; of the last 5 backups half had \
                   no more than 2 MiB";
    assert_eq!(changing(40 * MIB, &quiet), [message]);
    assert!(changing(20 * MIB, &quiet).is_empty(), "ten times is not more than ten times");
    assert!(changing(40 * MIB, &quiet[..4]).is_empty(), "four are no history");
    assert!(changing(10 * MIB, &[0; 5]).is_empty(), "a tenth is not more than a tenth");
    assert_eq!(changing(11 * MIB, &[0; 5]).len(), 1);
    assert!(changing(90 * MIB, &[50 * MIB; 20]).is_empty());
    assert!(changing(u64::MAX, &[u64::MAX; 5]).is_empty());
    let mut first = revision(Survey::default());
    (first.parent, first.counters.changed_bytes) = (None, 99 * MIB);
    let background = Background { changed_bytes: vec![0; 9], ..Background::default() };
    assert!(told(&first, &last, &background).is_empty(), "it was compared with no map");
}

#[test]
fn a_guest_that_runs_out_of_space_or_inodes_is_told_each_time() {
    let with = |free_bytes: u64, free_inodes: u64| {
        let (free_bytes, free_inodes) = (Some(free_bytes), Some(free_inodes));
        let found = FileSystem { free_bytes, free_inodes, ..file_system("ext4", "a") };
        layout(vec![partition(1, Some(found))])
    };
    assert!(kinds(with(5 * MIB, 50), with(5 * MIB, 50)).is_empty());
    assert_eq!(kinds(with(5 * MIB - 1, 50), with(5 * MIB - 1, 50)), ["guest-space"]);
    assert_eq!(kinds(with(0, 49), with(0, 49)), ["guest-space", "guest-inodes"]);
}

#[test]
fn a_mount_is_told_of_a_live_revision_alone() {
    let background = Background { mounted_on: vec!["/mnt\n".to_owned()], ..Background::default() };
    let (last, mut now) = (revision(Survey::default()), revision(Survey::default()));
    now.consistency = Consistency::Snapshot;
    assert!(told(&now, &last, &background).is_empty());
    now.consistency = Consistency::Live;
    let found = told(&now, &last, &background);
    assert_eq!(found[0].kind, "source-mounted");
    assert!(found[0].message.starts_with(r"the source is mounted on /mnt\n and"), "{}", found[0].message);
}

#[test]
fn names_of_a_guest_are_escaped() {
    let mut last = root("ext4", "a");
    last.partitions[0].name = Some("a\u{1b}[31m".to_owned());
    last.partitions[0].file_system.as_mut().unwrap().label = Some("b\n".to_owned());
    let found = told(&revision(layout(vec![partition(1, None)])), &revision(last), &Background::default());
    assert!(
        found[0].message.starts_with(r"partition 1 “a\u{1b}[31m” had ext4 “b\n” in the"),
        "{}",
        found[0].message
    );
}

#[test]
fn they_are_in_the_manifest_and_among_the_warnings_and_an_older_manifest_has_none() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(1, 10_000)).unwrap();
    let first = lab.backup();
    std::fs::write(lab.source(), noise(1, 20_000)).unwrap();
    let second = lab.backup();
    let manifest = lab.disk.manifest(&second.manifest.revision).unwrap();
    assert_eq!(manifest.early_warnings.len(), 1);
    assert_eq!(second.warnings, [manifest.early_warnings[0].message.clone()]);
    let mut json = serde_json::to_value(&first.manifest).unwrap();
    json.as_object_mut().unwrap().remove("earlyWarnings");
    assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), first.manifest);
}
