//! Disks, loop devices, mounts and tools. Whatever is attached or mounted goes with its guard, also when a
//! test fails.

use cairn_core::io::ReadAt;
use cairn_core::probe::{self, Survey};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1 << 20;

/// A directory of disk images that goes when the test ends.
pub(crate) struct Lab(TempDir);

impl Lab {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An image of zeros.
    pub(crate) fn image(&self, name: &str, size_bytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(size_bytes).unwrap();
        path
    }
}

struct FileDisk(File);

impl ReadAt for FileDisk {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match FileExt::read_at(&self.0, &mut into[done..], offset + done as u64)? {
                0 => break,
                copied => done += copied,
            }
        }
        Ok(done)
    }
}

pub(crate) fn survey(path: &Path) -> Survey {
    let file = File::open(path).unwrap();
    let size_bytes = file.metadata().unwrap().len();
    probe::survey(&FileDisk(file), size_bytes)
}

/// As [`survey`], where nothing may be amiss.
pub(crate) fn survey_whole(path: &Path) -> Survey {
    let survey = survey(path);
    assert_eq!(survey.problems, Vec::<String>::new());
    survey
}

pub(crate) fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Copies the image `from` into the image `to` at `offset`.
pub(crate) fn embed(from: &Path, to: &Path, offset: u64) {
    let seek = format!("seek={offset}");
    let (from, to) = (format!("if={}", from.display()), format!("of={}", to.display()));
    run("dd", &[&from, &to, &seek, "bs=1M", "oflag=seek_bytes", "conv=notrunc,sparse", "status=none"]);
}

/// Standard output of a tool that must succeed.
pub(crate) fn run(tool: &str, arguments: &[&str]) -> String {
    feed(tool, arguments, "")
}

/// As [`run`], with text for its standard input.
pub(crate) fn feed(tool: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(tool)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether all `tools` are installed; otherwise says in one line what is left out.
pub(crate) fn has(tools: &[&str]) -> bool {
    let directories: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let missing = tools.iter().find(|tool| !directories.iter().any(|dir| dir.join(tool).exists()));
    if let Some(tool) = missing {
        println!("skipped: {tool} is not installed");
    }
    missing.is_none()
}

/// Whether loop devices can be made; otherwise says in one line that they cannot.
pub(crate) fn has_loops() -> bool {
    let may = OpenOptions::new().read(true).write(true).open("/dev/loop-control").is_ok();
    if !may {
        println!("skipped: loop devices need root");
    }
    may
}

/// An attached loop device.
pub(crate) struct Loop(String);

impl Loop {
    pub(crate) fn attach(image: &Path, options: &[&str]) -> Self {
        let image = image.display().to_string();
        let arguments = [&["-f", "--show"], options, &[image.as_str()]].concat();
        Self(run("losetup", &arguments).trim().to_owned())
    }

    pub(crate) fn device(&self) -> &str {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

/// A mounted file system.
pub(crate) struct Mounted {
    directory: TempDir,
}

impl Mounted {
    /// `None` with a line that says so where the kernel does not know the file system.
    pub(crate) fn new(device: &str) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let output = Command::new("mount").arg(device).arg(directory.path()).output().unwrap();
        if !output.status.success() {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(Self { directory })
    }

    /// Writes a file and waits until it is on the device.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let mut file = File::create(self.directory.path().join(name)).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_all().unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.directory.path()).status();
    }
}
