//! What the kernel says of block devices in /sys, where that is mounted: names and serial numbers, and
//! who is built upon whom.

use std::fs;
use std::path::{Path, PathBuf};

/// `major:minor`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u32, pub(crate) u32);

/// Without /sys all is empty.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) serial: Option<String>,
    pub(crate) model: Option<String>,
    /// The file that a loop device shows.
    pub(crate) backing_file: Option<PathBuf>,
    /// Names of device-mapper and md devices that are built on it or on a partition of it.
    pub(crate) holders: Vec<String>,
    /// Its partitions, or the disk that it is a partition of.
    pub(crate) relatives: Vec<Number>,
    pub(crate) is_partition: bool,
}

impl Number {
    pub(crate) fn of(rdev: u64) -> Self {
        Self(rustix::fs::major(rdev), rustix::fs::minor(rdev))
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    pub(crate) fn facts(self) -> Facts {
        let found = fs::canonicalize(format!("/sys/dev/block/{}:{}", self.0, self.1));
        let Ok(dir) = found else { return Facts::default() };
        let is_partition = dir.join("partition").exists();
        let whole = if is_partition { dir.parent().unwrap_or(&dir).to_owned() } else { dir.clone() };
        let parts: Vec<PathBuf> = entries(&dir).filter(|entry| entry.join("partition").exists()).collect();
        let related = if is_partition { vec![whole.clone()] } else { parts.clone() };
        let holders =
            [dir].iter().chain(&parts).flat_map(|part| entries(&part.join("holders"))).collect::<Vec<_>>();
        Facts {
            serial: first_text(&whole, &["serial", "device/serial"]).or_else(|| vital_serial(&whole)),
            model: first_text(&whole, &["device/model", "dm/name"]),
            backing_file: first_text(&whole, &["loop/backing_file"]).map(PathBuf::from),
            holders: holders
                .iter()
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect(),
            relatives: related.iter().filter_map(|dir| number_in(dir)).collect(),
            is_partition,
        }
    }
}

/// Every loop device that shows a file, with that file.
pub(crate) fn loops() -> Vec<(String, PathBuf)> {
    let all = entries(Path::new("/sys/block"));
    all.filter_map(|dir| {
        let file = first_text(&dir, &["loop/backing_file"])?;
        Some((dir.file_name()?.to_string_lossy().into_owned(), PathBuf::from(file)))
    })
    .collect()
}

fn number_in(dir: &Path) -> Option<Number> {
    Number::parse(fs::read_to_string(dir.join("dev")).ok()?.trim())
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn first_text(dir: &Path, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| meaningful(&String::from_utf8_lossy(&fs::read(dir.join(name)).ok()?)))
}

/// The unit serial number page of SCSI and SATA disks: four bytes of header, then text.
fn vital_serial(dir: &Path) -> Option<String> {
    let page = fs::read(dir.join("device/vpd_pg80")).ok()?;
    let text: String = page.get(4..)?.iter().copied().map(char::from).collect();
    meaningful(&text)
}

/// Firmware pads with blanks and NULs; a text of nothing else says nothing.
fn meaningful(text: &str) -> Option<String> {
    let text = text.replace('\0', " ");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
