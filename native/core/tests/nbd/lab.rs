//! QEMU's servers and images. What is started goes with its guard, also when a test fails.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use cairn_core::source::nbd::NbdSource;

/// Whether `tools` are installed; otherwise says in one line what is left out.
pub(crate) fn has(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = tools.iter().find(|tool| !std::env::split_paths(&path).any(|dir| dir.join(tool).exists()));
    if let Some(tool) = missing {
        println!("skipped: {tool} is not installed (packages qemu-utils and qemu-system-x86)");
    }
    missing.is_none()
}

pub(crate) fn run(tool: &str, arguments: &[&str]) {
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes a qcow2 image with a bitmap `changes`.
pub(crate) fn image_with_bitmap(path: &Path, size: &str) {
    let image = path.to_str().unwrap();
    run("qemu-img", &["create", "-q", "-f", "qcow2", image, size]);
    add_bitmap(path);
}

pub(crate) fn add_bitmap(path: &Path) {
    run("qemu-img", &["bitmap", "--add", "-g", "65536", path.to_str().unwrap(), "changes"]);
}

pub(crate) fn remove_bitmap(path: &Path) {
    run("qemu-img", &["bitmap", "--remove", path.to_str().unwrap(), "changes"]);
}

/// Does to a qcow2 image what QEMU would do for a guest.
pub(crate) fn write(path: &Path, commands: &[String]) {
    let mut arguments = vec!["-f", "qcow2"];
    commands.iter().for_each(|command| arguments.extend(["-c", command]));
    arguments.push(path.to_str().unwrap());
    run("qemu-io", &arguments);
}

/// A running server with the export `vm`.
pub(crate) struct Server {
    process: OwnedFd,
    socket: PathBuf,
}

impl Server {
    /// A qemu-nbd; returns when it listens.
    pub(crate) fn start(image: &Path, options: &[&str]) -> Self {
        let (socket, pid_file) = (image.with_extension("sock"), image.with_extension("pid"));
        let [socket_text, pid_text, image_text] =
            [&socket, &pid_file, image].map(|path: &Path| path.to_str().unwrap());
        let fixed = ["--fork", "--pid-file", pid_text, "-k", socket_text, "-x", "vm", "-r", "-t"];
        run("qemu-nbd", &[&fixed, options, &[image_text]].concat());
        Self::running(socket, &pid_file)
    }

    /// A qemu-storage-daemon, which is as near to a running machine as it gets without one: the export can be
    /// written to.
    pub(crate) fn daemon(image: &Path) -> Self {
        let (socket, pid_file) = (image.with_extension("sock"), image.with_extension("pid"));
        let node = format!("driver=file,node-name=disk,filename={}", image.display());
        let server = format!("addr.type=unix,addr.path={}", socket.display());
        let export = "type=nbd,id=export,node-name=disk,name=vm,writable=on";
        let fixed = ["--daemonize", "--pidfile", pid_file.to_str().unwrap()];
        let parts = ["--blockdev", &node, "--nbd-server", &server, "--export", export];
        run("qemu-storage-daemon", &[&fixed[..], &parts].concat());
        Self::running(socket, &pid_file)
    }

    fn running(socket: PathBuf, pid_file: &Path) -> Self {
        let pid = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        Self { process: pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap(), socket }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn source(&self, bitmap: Option<&str>) -> NbdSource {
        NbdSource::open(&self.socket, "vm", bitmap).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        // The image is locked until it is gone.
        let _ = poll(&mut [PollFd::new(&self.process, PollFlags::IN)], None);
    }
}
