//! Mounting: by mount(2) where that is allowed, else by the program fusermount3 (fuse(4),
//! fusermount3(1)). Unmounting is not done here: whoever owns the mount does it from another process,
//! and serving ends when the kernel lets go.

use std::ffi::{CString, OsStr};
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

use crate::MountOptions;

const DEVICE: &str = "/dev/fuse";

/// The longest read that the kernel sends in one request: its own limit of 256 pages.
pub(crate) const REQUEST_BYTES_MAX: u32 = 1 << 20;

/// Why mounting failed, in the system's words.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A call failed.
    #[error("{action}: {source}")]
    System {
        /// What was done.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// fusermount3 refused.
    #[error("fusermount3: {0}")]
    Fusermount(String),
    /// The path of the mount point holds a zero byte.
    #[error("the path of the mount point is not valid")]
    Path,
}

/// Names the action of a failed call.
pub(crate) fn during<E: Into<std::io::Error>>(action: &'static str) -> impl Fn(E) -> MountError {
    move |error| MountError::System { action, source: error.into() }
}

/// Mounts; the kernel's requests come through the descriptor.
pub(crate) fn mount(options: &MountOptions) -> Result<OwnedFd, MountError> {
    if !rustix::process::geteuid().is_root() {
        return mount_by_fusermount(options);
    }
    let device = open_device().map_err(during("opening /dev/fuse"))?;
    match mount_by_kernel(options, &device) {
        // Root of a user namespace may not mount everywhere.
        Err(Errno::PERM) => mount_by_fusermount(options),
        Err(error) => Err(during("mount(2)")(error)),
        Ok(()) => Ok(device),
    }
}

/// Whether each thread can have a device of its own, which takes opening it again.
pub(crate) fn can_open_device() -> bool {
    open_device().is_ok()
}

fn open_device() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn mount_by_kernel(options: &MountOptions, device: &OwnedFd) -> Result<(), Errno> {
    let data = [
        format!("fd={}", device.as_raw_fd()),
        "rootmode=40000".to_owned(),
        format!("user_id={}", rustix::process::getuid().as_raw()),
        format!("group_id={}", rustix::process::getgid().as_raw()),
        common_options(options),
    ]
    .join(",");
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    if options.scratch_dir.is_none() {
        flags |= MountFlags::RDONLY;
    }
    rustix::mount::mount("cairn", &options.mountpoint, "fuse.cairn", flags, data.as_c_str())
}

fn common_options(options: &MountOptions) -> String {
    let others = if options.allow_other { ",allow_other" } else { "" };
    format!("default_permissions,max_read={REQUEST_BYTES_MAX}{others}")
}

/// fusermount3 mounts for users and sends the descriptor over a socket, which it gets as its standard
/// input.
fn mount_by_fusermount(options: &MountOptions) -> Result<OwnedFd, MountError> {
    if options.mountpoint.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(MountError::Path);
    }
    let kind = SocketType::STREAM;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(during("making a socket"))?;
    let access = if options.scratch_dir.is_none() { "ro" } else { "rw" };
    let words = format!("{access},nosuid,nodev,fsname=cairn,subtype=cairn,{}", common_options(options));
    let child = start_fusermount(&words, &options.mountpoint, theirs)?;
    let received = receive_descriptor(&ours);
    let said = wait_for(child);
    received.map_err(during("receiving the device from fusermount3"))?.ok_or(MountError::Fusermount(said))
}

fn start_fusermount(words: &str, mountpoint: &Path, socket: OwnedFd) -> Result<Child, MountError> {
    let mut command = Command::new("fusermount3");
    command.args([OsStr::new("-o"), OsStr::new(words), OsStr::new("--"), mountpoint.as_os_str()]);
    command.env("_FUSE_COMMFD", "0").env("LC_ALL", "C");
    command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().map_err(during("starting fusermount3"))
}

/// The descriptor, or none when the other side closed without sending one.
fn receive_descriptor(socket: &OwnedFd) -> rustix::io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::io::retry_on_intr(|| {
        recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

/// What a program said on its standard error until it ended.
fn wait_for(mut child: Child) -> String {
    let mut said = String::new();
    if let Some(stderr) = child.stderr.as_mut() {
        let _ = stderr.take(4096).read_to_string(&mut said);
    }
    let ended = child.wait();
    match (said.trim(), ended) {
        ("", Ok(status)) => format!("it ended with {status} and said nothing"),
        ("", Err(error)) => error.to_string(),
        (said, _) => said.to_owned(),
    }
}
