//! LVM2 volumes by LVM's own tools, which write metadata without any device mapper.
//!
//! A file system is spread over a volume's extents as `lvs` reports them, and must then be found.

use crate::lab::{self, Lab, Loop, MIB};
use cairn_core::probe::{Piece, Survey, Volume};
use serde_json::Value;
use std::path::{Path, PathBuf};

const TOOLS: &[&str] = &["pvcreate", "vgcreate", "lvcreate", "lvextend", "lvs", "losetup", "mkfs.ext4"];
const EXTENT: u64 = 4 * MIB;
const GPT: &str = "label: gpt\nsize=100M, type=V\nsize=8M, type=L\nsize=100M, type=V\n";

/// A disk whose physical volumes are loop devices over parts of it.
struct Host {
    lab: Lab,
    disk: PathBuf,
    physical: Vec<(Loop, u64)>,
}

impl Host {
    /// `parts` are offset and length in MiB; `None` without the tools.
    fn new(size_mib: u64, table: Option<&str>, parts: &[(u64, u64)]) -> Option<Self> {
        if !lab::has(TOOLS) || !lab::has_loops() {
            return None;
        }
        let lab = Lab::new();
        let disk = lab.image("disk.img", size_mib * MIB);
        if let Some(table) = table {
            lab::feed("sfdisk", &["--quiet", &disk.display().to_string()], table);
        }
        let attach = |&(offset, size): &(u64, u64)| {
            let (start, limit) = (format!("{}", offset * MIB), format!("{}", size * MIB));
            (Loop::attach(&disk, &["-o", &start, "--sizelimit", &limit]), offset * MIB)
        };
        let physical = parts.iter().map(attach).collect();
        Some(Self { lab, disk, physical })
    }

    fn device(&self, index: usize) -> &str {
        self.physical[index].0.device()
    }

    /// Runs an LVM tool that sees these devices and no others.
    fn lvm(&self, tool: &str, arguments: &[&str]) -> String {
        let mine: Vec<String> =
            self.physical.iter().map(|(device, _)| format!("\"a|^{}$|\"", device.device())).collect();
        let quiet = "backup{backup=0 archive=0}";
        let config = format!("devices{{filter=[{},\"r|.*|\"]}} {quiet}", mine.join(","));
        let text = lab::run(tool, &[arguments, &["--driverloaded", "n", "--config", &config]].concat());
        self.flush();
        text
    }

    fn create(&self, name: &str, arguments: &[&str]) {
        let fixed = ["-y", "-an", "-Zn", "-Wn", "-n", name];
        self.lvm("lvcreate", &[&fixed, arguments].concat());
    }

    /// What a loop device was written lies in its cache; the image is read beside it.
    fn flush(&self) {
        for (device, _) in &self.physical {
            lab::run("blockdev", &["--flushbufs", device.device()]);
        }
    }

    /// Where the first extent of a physical volume begins on the disk.
    fn extents_of(&self, device: &str) -> u64 {
        let fields = ["--noheadings", "--units", "b", "--nosuffix", "-o", "pe_start", device];
        let within: u64 = self.lvm("pvs", &fields).trim().parse().unwrap();
        self.physical.iter().find(|(own, _)| own.device() == device).unwrap().1 + within
    }

    /// The pieces of a volume as LVM reports them, neighbours not merged.
    fn reported(&self, group: &str, name: &str) -> Vec<Piece> {
        let fields = "seg_size,stripe_size,seg_pe_ranges";
        let volume = format!("{group}/{name}");
        let format = ["--units", "b", "--nosuffix", "--reportformat", "json", "--segments"];
        let text = self.lvm("lvs", &[&format[..], &["-o", fields, &volume]].concat());
        let report: Value = serde_json::from_str(&text).unwrap();
        let mut segments = report["report"][0]["seg"].as_array().unwrap().clone();
        segments.dedup();
        segments.iter().map(|segment| self.piece(segment)).collect()
    }

    fn piece(&self, segment: &Value) -> Piece {
        let number = |key: &str| segment[key].as_str().unwrap().parse::<u64>().unwrap();
        let start = |range: &str| {
            let (device, extents) = range.split_once(':').unwrap();
            let first: u64 = extents.split_once('-').unwrap().0.parse().unwrap();
            self.extents_of(device) + first * EXTENT
        };
        let offsets: Vec<u64> = segment["seg_pe_ranges"].as_str().unwrap().split(' ').map(start).collect();
        match offsets.as_slice() {
            [offset] => Piece::Linear { offset_bytes: *offset, size_bytes: number("seg_size") },
            _ => Piece::Striped {
                stripe_size_bytes: number("stripe_size"),
                offsets_bytes: offsets,
                size_bytes: number("seg_size"),
            },
        }
    }

    /// Spreads a file system over the reported pieces.
    fn fill(&self, group: &str, name: &str, tool: &str) {
        let pieces = self.reported(group, name);
        let size_bytes = pieces.iter().map(Piece::size_bytes).sum();
        let image = self.lab.image("volume.img", size_bytes);
        lab::run(tool, &["-L", name, &image.display().to_string()]);
        let bytes = std::fs::read(&image).unwrap();
        let mut rest = bytes.as_slice();
        for piece in &pieces {
            let (own, after) = rest.split_at(piece.size_bytes() as usize);
            spread(piece, own, &self.disk);
            rest = after;
        }
    }

    fn survey(&self) -> Survey {
        self.flush();
        lab::survey(&self.disk)
    }
}

fn spread(piece: &Piece, bytes: &[u8], disk: &Path) {
    match piece {
        Piece::Linear { offset_bytes, .. } => lab::write_at(disk, *offset_bytes, bytes),
        Piece::Striped { stripe_size_bytes, offsets_bytes, .. } => {
            let count = offsets_bytes.len();
            for (number, stripe) in bytes.chunks(*stripe_size_bytes as usize).enumerate() {
                let turn = (number / count) as u64;
                lab::write_at(disk, offsets_bytes[number % count] + turn * stripe_size_bytes, stripe);
            }
        }
    }
}

fn volume<'a>(survey: &'a Survey, group: &str, name: &str) -> &'a Volume {
    survey.volumes.iter().find(|volume| volume.group == group && volume.name == name).unwrap()
}

fn assert_filled(host: &Host, survey: &Survey, group: &str, name: &str, kind: &str) {
    let found = volume(survey, group, name);
    let file_system = found.file_system.as_ref().unwrap();
    assert_eq!(file_system.kind, kind);
    assert_eq!(file_system.label.as_deref(), Some(name));
    assert_eq!(file_system.size_bytes, Some(found.size_bytes));
    assert_eq!(found.size_bytes, host.reported(group, name).iter().map(Piece::size_bytes).sum::<u64>());
}

#[test]
fn linear_and_split_volumes_on_a_bare_disk() {
    let Some(host) = Host::new(300, None, &[(0, 300)]) else { return };
    host.lvm("pvcreate", &["-q", host.device(0)]);
    host.lvm("vgcreate", &["-q", "vg-0", host.device(0)]);
    host.create("root", &["-L", "20M", "vg-0"]);
    host.create("home-x", &["-L", "12M", "vg-0"]);
    host.lvm("lvextend", &["-L", "40M", "vg-0/root"]);
    host.lvm("lvextend", &["-L", "60M", "vg-0/root"]);
    host.fill("vg-0", "root", "mkfs.ext4");
    host.fill("vg-0", "home-x", "mkfs.ext4");
    let survey = host.survey();
    assert_eq!(survey.problems, Vec::<String>::new());
    assert_eq!(survey.partitions[0].file_system.as_ref().unwrap().kind, "lvm2");
    assert_filled(&host, &survey, "vg-0", "root", "ext4");
    assert_filled(&host, &survey, "vg-0", "home-x", "ext4");
    assert_eq!(volume(&survey, "vg-0", "home-x").pieces, host.reported("vg-0", "home-x"));
    assert_eq!(volume(&survey, "vg-0", "root").pieces.len(), 2, "the last extension adjoins the one before");
}

#[test]
fn stripes_over_two_partitions_of_one_disk() {
    let Some(host) = Host::new(220, Some(GPT), &[(1, 100), (109, 100)]) else { return };
    host.lvm("pvcreate", &["-q", "--dataalignment", "3M", host.device(0), host.device(1)]);
    host.lvm("vgcreate", &["-q", "data", host.device(0), host.device(1)]);
    host.create("fast", &["-L", "64M", "-i", "2", "-I", "16k", "data"]);
    host.create("tail", &["-l", "100%FREE", "data"]);
    host.fill("data", "fast", "mkfs.ext4");
    host.fill("data", "tail", "mkfs.ext4");
    let survey = host.survey();
    assert_eq!(survey.problems, Vec::<String>::new());
    assert_filled(&host, &survey, "data", "fast", "ext4");
    assert_filled(&host, &survey, "data", "tail", "ext4");
    assert_eq!(volume(&survey, "data", "fast").pieces, host.reported("data", "fast"));
    assert!(matches!(volume(&survey, "data", "fast").pieces[..], [Piece::Striped { .. }]));
}

#[test]
fn volumes_whose_physical_volume_is_elsewhere_are_told() {
    let Some(mut host) = Host::new(150, None, &[(0, 150)]) else { return };
    let other = host.lab.image("other.img", 150 * MIB);
    host.physical.push((Loop::attach(&other, &[]), 0));
    host.lvm("pvcreate", &["-q", host.device(0), host.device(1)]);
    host.lvm("vgcreate", &["-q", "vg", host.device(0), host.device(1)]);
    let here = host.device(0).to_owned();
    let there = host.device(1).to_owned();
    host.create("here", &["-L", "20M", "vg", &here]);
    host.create("there", &["-L", "20M", "vg", &there]);
    host.create("both", &["-L", "40M", "-i", "2", "vg"]);
    let survey = host.survey();
    let names: Vec<&str> = survey.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["here"]);
    assert_eq!(survey.problems.len(), 2, "{:?}", survey.problems);
    for (problem, name) in survey.problems.iter().zip(["both", "there"]) {
        assert!(problem.contains(&format!("{name:?}")) && problem.contains("not on this disk"), "{problem}");
    }
}

#[test]
fn the_newest_metadata_counts() {
    let Some(host) = Host::new(220, Some(GPT), &[(1, 100), (109, 100)]) else { return };
    host.lvm("pvcreate", &["-q", host.device(0), host.device(1)]);
    host.lvm("vgcreate", &["-q", "vg", host.device(0), host.device(1)]);
    host.create("old", &["-L", "20M", "vg"]);
    let stale: Vec<Vec<u8>> = (0..2).map(|index| metadata(&host, index)).collect();
    host.lvm("lvrename", &["vg", "old", "new"]);
    for (index, stale) in stale.iter().enumerate() {
        let fresh = metadata(&host, index);
        lab::write_at(&host.disk, host.physical[index].1, stale);
        let survey = host.survey();
        assert_eq!(survey.volumes.len(), 1);
        assert_eq!(survey.volumes[0].name, "new");
        lab::write_at(&host.disk, host.physical[index].1, &fresh);
    }
}

/// The first MiB of a physical volume.
fn metadata(host: &Host, index: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; MIB as usize];
    std::fs::File::open(&host.disk).unwrap().read_exact_at(&mut bytes, host.physical[index].1).unwrap();
    bytes
}

#[test]
fn the_ring_of_metadata_goes_around() {
    let Some(host) = Host::new(100, None, &[(0, 100)]) else { return };
    host.lvm("pvcreate", &["-q", "--metadatasize", "60k", "--pvmetadatacopies", "2", host.device(0)]);
    host.lvm("vgcreate", &["-q", "vg", host.device(0)]);
    for number in 0..40 {
        host.create(&format!("volume{number:02}"), &["-l", "1", "vg"]);
        let survey = host.survey();
        assert_eq!(survey.problems, Vec::<String>::new());
        assert_eq!(survey.volumes.len(), (number % 20) + 1);
        if number % 20 == 19 {
            host.lvm("lvremove", &["-q", "-y", "vg"]);
        }
    }
}

/// Redundant, thin and snapshot volumes need device mapper to be made; vgcfgrestore checks and writes
/// metadata that describes them.
#[test]
fn volumes_that_are_no_plain_stretches_are_told() {
    let Some(host) = Host::new(300, None, &[(0, 300)]) else { return };
    host.lvm("pvcreate", &["-q", host.device(0)]);
    host.lvm("vgcreate", &["-q", "vg", host.device(0)]);
    host.create("origin", &["-L", "12M", "vg"]);
    host.create("store", &["-L", "8M", "vg"]);
    host.create("nothing", &["--type", "zero", "-L", "8M", "vg"]);
    let backup = host.lab.path("vg.txt").display().to_string();
    host.lvm("vgcfgbackup", &["-q", "-f", &backup, "vg"]);
    let text = std::fs::read_to_string(&backup).unwrap();
    let (head, tail) = text.rsplit_once("\n\t}\n").unwrap();
    std::fs::write(&backup, format!("{head}\n{EXOTIC}\n\t}}\n{tail}")).unwrap();
    host.lvm("vgcfgrestore", &["-q", "--force", "-y", "-f", &backup, "vg"]);
    let survey = host.survey();
    let names: Vec<&str> = survey.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["origin"]);
    let told = ["\"mirrored\"", "\"nothing\"", "\"pool\"", "\"store\"", "\"thin\""];
    assert_eq!(survey.problems.len(), told.len(), "{:?}", survey.problems);
    for (problem, name) in survey.problems.iter().zip(told) {
        assert!(problem.contains(name), "{problem}");
    }
}

const EXOTIC: &str = include_str!("exotic.txt");
