//! Makes the container: namespaces in a first process, root and mounts in its child, which is the
//! first of its PID namespace and serves the test.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::thread::{Gid, Uid, UnshareFlags};

use super::protocol::{receive, send};
use crate::socket::Socket;
use crate::sys;

/// What the first process needs to know, as its only argument.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Setup {
    /// An empty directory on which the root is mounted, in the container's namespace alone.
    pub root: String,
    /// A user namespace too; the test writes the maps.
    pub user_namespace: bool,
    /// Directories of the host, and where they appear.
    pub binds: Vec<(String, String)>,
}

/// What the first process tells the test.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum Progress {
    /// The user namespace is there: write the maps, then answer.
    WantMaps,
    /// The child, by its number on the host.
    Child(u32),
}

fn control() -> io::Result<Socket> {
    Ok(Socket::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// First process: makes the namespaces, starts the child and waits for its end.
///
/// # Errors
/// What the kernel refuses.
pub fn outer(setup: &Setup) -> io::Result<i32> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let control = control()?;
    if setup.user_namespace {
        sys::unshare(UnshareFlags::NEWUSER)?;
        send(&control, &Progress::WantMaps, None)?;
        let ((), _) = receive(&control)?;
        rustix::thread::set_thread_res_gid(Some(Gid::ROOT), Some(Gid::ROOT), Some(Gid::ROOT))?;
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_uid(Some(Uid::ROOT), Some(Uid::ROOT), Some(Uid::ROOT))?;
    }
    sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWNET | UnshareFlags::NEWUTS)?;
    let mut child = Command::new("/proc/self/exe")
        .arg("inner")
        .arg(serde_json::to_string(setup)?)
        .stdin(Stdio::from(control.as_fd().try_clone_to_owned()?))
        .spawn()?;
    send(&control, &Progress::Child(child.id()), None)?;
    drop(control);
    Ok(child.wait()?.code().unwrap_or(1))
}

/// The child: mounts a root of its own, leaves the host's and serves.
///
/// # Errors
/// What the kernel refuses.
pub fn inner(setup: &Setup) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let control = control()?;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let root = Path::new(&setup.root);
    rustix::mount::mount("tmpfs", root, "tmpfs", MountFlags::empty(), Some(c"mode=755"))?;
    for dir in ["proc", "dev", "run", "tmp", "etc", "old"] {
        fs::create_dir(root.join(dir))?;
    }
    rustix::mount::mount("proc", root.join("proc"), "proc", MountFlags::empty(), None)?;
    for device in ["null", "zero", "urandom"] {
        let inside = root.join("dev").join(device);
        fs::write(&inside, "")?;
        rustix::mount::mount_bind(Path::new("/dev").join(device), &inside)?;
    }
    for (host, inside) in &setup.binds {
        let inside = root.join(inside.trim_start_matches('/'));
        fs::create_dir_all(&inside)?;
        rustix::mount::mount_bind(host.as_str(), &inside)?;
    }
    rustix::process::pivot_root(root, root.join("old"))?;
    rustix::process::chdir("/")?;
    rustix::mount::unmount("/old", UnmountFlags::DETACH)?;
    fs::remove_dir("/old")?;
    rustix::system::sethostname(b"pod")?;
    super::server::serve(&control);
    Ok(())
}
