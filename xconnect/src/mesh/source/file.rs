//! The graph from a file, read again whenever it is written or put in place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Outlet;
use crate::sys::register::register;

const MODE: &str = "file";
/// Wait before a folder that cannot be watched is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Room for the events of one read: each is 16 bytes and a name of at most 256 (inotify(7)).
const EVENTS: usize = 16 * 1024;

pub(super) async fn follow(path: &Path, outlet: &Outlet) {
    loop {
        match watch(path) {
            Ok(events) => {
                if let Err(error) = read_on_change(path, &events, outlet).await {
                    outlet.complain(MODE, format!("lost the watch of {}: {error}", path.display()));
                }
            }
            Err(error) => {
                outlet.complain(MODE, format!("cannot watch the folder of {}: {error}", path.display()));
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Watches the folder, not the file: editors and careful programs put a new file in its place.
fn watch(path: &Path) -> std::io::Result<AsyncFd<std::os::fd::OwnedFd>> {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let kinds = inotify::WatchFlags::CLOSE_WRITE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::DELETE_SELF
        | inotify::WatchFlags::MOVE_SELF
        | inotify::WatchFlags::ONLYDIR;
    inotify::add_watch(&events, folder, kinds)?;
    register(events, Interest::READABLE)
}

async fn read_on_change(
    path: &Path,
    events: &AsyncFd<std::os::fd::OwnedFd>,
    outlet: &Outlet,
) -> std::io::Result<()> {
    read(path, outlet);
    let name = path.file_name().unwrap_or_default();
    let mut room = vec![std::mem::MaybeUninit::uninit(); EVENTS];
    loop {
        let mut ready = events.readable().await?;
        let mut concerned = false;
        let mut lost = false;
        loop {
            let mut reader = inotify::Reader::new(events.get_ref(), &mut room);
            match reader.next() {
                Ok(event) => {
                    let ended = inotify::ReadFlags::IGNORED
                        | inotify::ReadFlags::DELETE_SELF
                        | inotify::ReadFlags::MOVE_SELF;
                    lost |= event.events().intersects(ended);
                    concerned |= event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                    concerned |= event.file_name().is_some_and(|at| OsStr::from_bytes(at.to_bytes()) == name);
                    while !reader.is_buffer_empty() {
                        let event = reader.next()?;
                        lost |= event.events().intersects(ended);
                        concerned |=
                            event.file_name().is_some_and(|at| OsStr::from_bytes(at.to_bytes()) == name);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        if concerned {
            read(path, outlet);
        }
        if lost {
            return Err(std::io::Error::other("its folder was moved or removed"));
        }
    }
}

fn read(path: &Path, outlet: &Outlet) {
    match std::fs::read(path) {
        Ok(json) => outlet.take(MODE, &json),
        Err(error) => outlet.complain(MODE, format!("cannot read {}: {error}", path.display())),
    }
}
