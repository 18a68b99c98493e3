//! The daemon's process: spawned by us, or found by its lock.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Spec;
use crate::instance::Holder;
use crate::sys::process::{self, Watched};
use crate::sys::session;

/// A log larger than this is moved to `<name>.1` when the daemon starts, bytes.
const MAX_LOG: u64 = 16 * 1024 * 1024;

/// A running daemon, pinned by its pidfd.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: u32,
    watched: Watched,
    child: Option<Child>,
}

impl Running {
    /// Starts the program: own session, log as its output, nothing that ties its life to ours.
    pub(super) fn spawn(spec: &Spec) -> io::Result<Self> {
        let log = open_log(&spec.log)?;
        let mut command = Command::new(&spec.program);
        command.args(&spec.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
        let mut child = session::own_session(&mut command).spawn()?;
        let pid = child.id();
        // The child is ours and not reaped: its number cannot become another's.
        let watched = process::open_child(pid)
            .and_then(Watched::new)
            .inspect_err(|_| drop(child.kill().and_then(|()| child.wait())));
        Ok(Self { pid, watched: watched?, child: Some(child) })
    }

    /// Takes over a process that an earlier manager started.
    pub(super) fn adopt(holder: Holder) -> io::Result<Self> {
        let pidfd = process::open_verified(holder.pid, holder.start)?;
        Ok(Self { pid: holder.pid, watched: Watched::new(pidfd)?, child: None })
    }

    /// Waits for its end; says how it ended where we are its parent. Cancel-safe.
    pub(super) async fn exited(&mut self) -> String {
        self.watched.ended().await;
        match self.child.as_mut().map(Child::wait) {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => format!("cannot be waited for: {error}"),
            None => "ended".to_owned(),
        }
    }

    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        process::send_signal(&self.watched, signal)
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_LOG) {
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        std::fs::rename(path, old)?;
    }
    File::options().append(true).create(true).open(path)
}
