//! Against real mount and user namespaces.

mod containers;
mod planting;
mod race;
mod roles;
mod watching;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::graph::ProcessId;
use crate::ids::InsidePath;
use crate::sys::fs::sandbox::{Sandbox, Users, privileged};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(10);

fn inside(path: &str) -> InsidePath {
    InsidePath::new(path).unwrap()
}

async fn open(sandbox: &Sandbox) -> Arc<Container> {
    Container::open(ProcessId { pid: sandbox.pid(), start: None }).await.unwrap()
}

/// A container with an empty root of its own, or `None` where the test must be skipped.
async fn container(users: Users) -> Option<(Sandbox, Arc<Container>)> {
    if !privileged() {
        return None;
    }
    let sandbox = Sandbox::new(users).unwrap();
    let container = open(&sandbox).await;
    Some((sandbox, container))
}

fn spec() -> SocketSpec {
    SocketSpec::new(SocketType::Stream)
}

/// Connects as nobody, on a thread prepared for it.
fn connect(socket: OwnedFd) -> std::io::Result<OwnedFd> {
    use crate::graph::Identity;
    let thread = std::thread::spawn(move || {
        role::prepare_thread()?;
        let wait = role::Blocking::Timeout(SOON);
        role::connect(std::os::fd::AsFd::as_fd(&socket), SocketType::Stream, Identity::NOBODY, wait)
    });
    thread.join().unwrap()
}

/// Names of all entries below a directory, links not followed.
fn names(at: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(at).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            names.extend(self::names(&entry.path()));
        }
    }
    names.sort();
    names
}
