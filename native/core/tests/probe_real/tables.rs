//! Partition tables by sfdisk and sgdisk.

use crate::lab::{self, Lab, Loop, MIB};
use cairn_core::probe::{Survey, TableKind};
use serde_json::Value;
use std::path::Path;

const TOOLS: &[&str] = &["sfdisk", "sgdisk", "losetup", "mkfs.ext4"];

const GPT: &str = r#"label: gpt
label-id: 1BA884CB-9C92-8C40-88E4-169AF6A0950F
size=20M, type=U, name="EFI \x22system\x22 \x5c \x60\x24HOME\x60 \xc3\xa9\xe4\xb8\x80\xf0\x9f\x98\x80"
size=20M, type=L, name="a, b;c #d : start=1", attrs="RequiredPartition,LegacyBIOSBootable,GUID:60,63"
5: size=10M, type=E6D6D379-F507-44C2-A23C-238F2A3DF928, name="two\x0alines"
128: size=1M, type=S
"#;

const MBR: &str = "label: dos
label-id: 0x0234abcd
size=20M, type=c, bootable
3: size=100M, type=f
4: size=3M, type=0
5: size=10M, type=83
6: size=10M, type=82
7: type=8e
";

/// The dump without what names the device.
fn dump(device: &str) -> String {
    let text = lab::run("sfdisk", &["--dump", device]);
    let mut neutral = String::new();
    for line in text.lines().filter(|line| !line.starts_with("device: ")) {
        match line.strip_prefix(device).map(|rest| rest.trim_start_matches('p')) {
            Some(rest) => neutral.push_str(&format!("disk{rest}\n")),
            None => neutral.push_str(&format!("{line}\n")),
        }
    }
    neutral
}

fn assert_same_as_sfdisk(survey: &Survey, device: &str) {
    let json: Value = serde_json::from_str(&lab::run("sfdisk", &["--json", device])).unwrap();
    let json = &json["partitiontable"];
    let table = survey.table.as_ref().unwrap();
    let sector = json["sectorsize"].as_u64().unwrap();
    assert_eq!(u64::from(table.sector_size_bytes), sector);
    let id = json["id"].as_str().unwrap();
    assert_eq!(table.disk_id, id.strip_prefix("0x").unwrap_or(id));
    let rows = json["partitions"].as_array().unwrap();
    assert_eq!(survey.partitions.len(), rows.len());
    for (partition, row) in survey.partitions.iter().zip(rows) {
        let node = row["node"].as_str().unwrap().strip_prefix(device).unwrap();
        assert_eq!(partition.number.to_string(), node.trim_start_matches('p'));
        assert_eq!(partition.offset_bytes, row["start"].as_u64().unwrap() * sector);
        assert_eq!(partition.size_bytes, row["size"].as_u64().unwrap() * sector);
        assert_eq!(partition.type_id, row["type"].as_str().unwrap());
        if table.kind == TableKind::Gpt {
            assert_eq!(partition.partition_id.as_deref(), row["uuid"].as_str());
        }
        assert_eq!(partition.name.as_deref(), row["name"].as_str());
    }
    assert_eq!(table.sfdisk, dump(device));
}

/// Puts the survey's text onto a fresh image and compares both tables as sfdisk sees them.
fn assert_restores(lab: &Lab, survey: &Survey, device: &str, options: &[&str], size_bytes: u64) {
    let image = lab.image("restored.img", size_bytes);
    let restored = Loop::attach(&image, options);
    lab::feed("sfdisk", &["--quiet", "--no-reread", "--no-tell-kernel", restored.device()], &sfdisk(survey));
    assert_eq!(dump(restored.device()), dump(device));
}

fn sfdisk(survey: &Survey) -> String {
    survey.table.as_ref().unwrap().sfdisk.clone()
}

/// Both sector sizes: partition the device, then read the image as the survey of a backup would.
fn assert_round_trip(script: &str, size_bytes: u64) {
    if !lab::has(TOOLS) || !lab::has_loops() {
        return;
    }
    for options in [&["-b", "512"], &["-b", "4096"]] {
        let lab = Lab::new();
        let image = lab.image("disk.img", size_bytes);
        let device = Loop::attach(&image, options);
        let quiet = ["--quiet", "--no-reread", "--no-tell-kernel", device.device()];
        lab::feed("sfdisk", &quiet, script);
        let file_system = lab.image("ext4.img", 8 * MIB);
        lab::run("mkfs.ext4", &["-q", &file_system.display().to_string()]);
        embed_in_last(&file_system, &image, &dump(device.device()), options[1].parse().unwrap());
        let survey = lab::survey_whole(&image);
        assert_same_as_sfdisk(&survey, device.device());
        assert_restores(&lab, &survey, device.device(), options, size_bytes);
        let kinds: Vec<&str> = survey
            .partitions
            .iter()
            .filter_map(|partition| partition.file_system.as_ref())
            .map(|file_system| file_system.kind.as_str())
            .collect();
        assert_eq!(kinds, ["ext4"]);
    }
}

/// A file system in the first plain partition, by which an MBR's sector size can be told.
fn embed_in_last(file_system: &Path, image: &Path, dump: &str, sector: u64) {
    let line = dump.lines().find(|line| line.starts_with("disk1 ")).unwrap();
    let start = line.split_once("start=").unwrap().1.split(',').next().unwrap();
    lab::embed(file_system, image, start.trim().parse::<u64>().unwrap() * sector);
}

#[test]
fn a_gpt_comes_back_as_sfdisk_made_it() {
    assert_round_trip(GPT, 200 * MIB);
}

#[test]
fn a_gpt_of_unusual_size_comes_back() {
    assert_round_trip(
        "label: gpt\ntable-length: 256\nfirst-lba: 2100\nlast-lba: 20000\nsize=9M, type=L\n",
        200 * MIB,
    );
    assert_round_trip("label: gpt\ntable-length: 16\nsize=9M, type=L\n", 200 * MIB);
}

#[test]
fn an_mbr_with_logical_partitions_comes_back() {
    assert_round_trip(MBR, 800 * MIB);
}

#[test]
fn an_mbr_of_old_alignment_comes_back() {
    let old = "label: dos\nlabel-id: 0x1\n\
               1: start=2048, size=40960, type=83\n2: start=60000, size=100000, type=5\n\
               5: start=60063, size=2000, type=83\n6: start=70063, size=2000, type=83\n";
    if !lab::has(TOOLS) {
        return;
    }
    let lab = Lab::new();
    let image = lab.image("disk.img", 200 * MIB);
    let path = image.display().to_string();
    lab::feed("sfdisk", &["--quiet", &path], old);
    lab::run("sfdisk", &["--quiet", "--delete", &path, "5"]);
    assert_same_as_sfdisk(&lab::survey_whole(&image), &path);
}

#[test]
fn a_table_by_sgdisk_is_read() {
    if !lab::has(TOOLS) {
        return;
    }
    let lab = Lab::new();
    let image = lab.image("disk.img", 64 * MIB + 512 * 3);
    let path = image.display().to_string();
    lab::run("sgdisk", &["-n", "3:0:+9M", "-c", "3:three", "-n", "1:0:0", "-A", "1:set:2", &path]);
    assert_same_as_sfdisk(&lab::survey_whole(&image), &path);
}

type Damage<'a> = &'a dyn Fn(&Path);

/// Makes a GPT on an image, damages it, and surveys.
fn damaged(sector: u64, damage: impl Fn(&Path)) -> Option<(Survey, Survey)> {
    if !lab::has(TOOLS) || !lab::has_loops() {
        return None;
    }
    let lab = Lab::new();
    let image = lab.image("disk.img", 200 * MIB);
    let device = Loop::attach(&image, &["-b", &sector.to_string()]);
    lab::feed("sfdisk", &["--quiet", "--no-reread", "--no-tell-kernel", device.device()], GPT);
    drop(device);
    let whole = lab::survey_whole(&image);
    damage(&image);
    Some((whole, lab::survey(&image)))
}

#[test]
fn the_backup_stands_in_for_a_damaged_primary() {
    for sector in [512, 4096] {
        let zeros = vec![0u8; 256 << 10];
        let damages: [(&str, Damage<'_>); 4] = [
            ("header", &|image| lab::write_at(image, sector, &zeros[..512])),
            ("one bit", &|image| lab::write_at(image, sector + 57, b"?")),
            ("entries", &|image| lab::write_at(image, sector * 2 + 128, &zeros[..64])),
            ("everything", &|image| lab::write_at(image, 0, &zeros)),
        ];
        for (what, damage) in damages {
            let Some((whole, survey)) = damaged(sector, damage) else { return };
            let table = survey.table.unwrap();
            assert!(table.from_backup, "{what}");
            assert!(survey.problems[0].contains("backup"), "{what}: {:?}", survey.problems);
            assert_eq!(survey.partitions, whole.partitions, "{what}");
            assert_eq!(table.sfdisk, whole.table.unwrap().sfdisk, "{what}");
        }
    }
}

#[test]
fn partitions_that_a_truncated_disk_lost_are_told() {
    let Some((whole, survey)) = damaged(512, |image| {
        let file = std::fs::OpenOptions::new().write(true).open(image).unwrap();
        file.set_len(30 * MIB).unwrap();
    }) else {
        return;
    };
    assert_eq!(whole.partitions.len(), 4);
    assert_eq!(survey.partitions.len(), 2);
    assert_eq!(survey.partitions[1].size_bytes, 9 * MIB);
    assert_eq!(survey.problems.len(), 3, "{:?}", survey.problems);
}

#[test]
fn an_empty_disk_and_an_empty_table_are_no_problem() {
    if !lab::has(TOOLS) {
        return;
    }
    let lab = Lab::new();
    let image = lab.image("disk.img", 20 * MIB);
    assert_eq!(lab::survey(&image), Survey::default());
    let path = image.display().to_string();
    lab::feed("sfdisk", &["--quiet", &path], "label: dos\nlabel-id: 0xabcd\n");
    let survey = lab::survey_whole(&image);
    assert_eq!(survey.table.as_ref().unwrap().kind, TableKind::Mbr);
    assert!(survey.partitions.is_empty());
    assert_eq!(sfdisk(&survey), dump(&path));
}
