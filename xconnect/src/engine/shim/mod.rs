//! The shim: a small single-threaded process beside each container, its parent, which outlives the
//! engine and keeps the exit status. It is this same program, executed anew: the runtime library
//! clones processes, which must never happen in a process with threads.

mod create;
mod log;
mod serve;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::runtime::files::{self, ContainerDir};
use super::runtime::{Request, cgroup};
use crate::instance::{self, Held, Holder};
use crate::sys::process;

/// The first argument that makes this program a shim.
const VERB: &str = "shim";

/// Longest report read; what a runtime has to say about an error fits.
const REPORT_MAX: usize = 64 * 1024;

/// Becomes a shim, and never returns, if the program was started as one. Must be the first thing that
/// `main` does: before any thread, any descriptor and any logging.
pub fn run_if_asked() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|verb| verb == VERB)
        && let (Some(dir), Some(id), None) = (args.next(), args.next(), args.next())
    {
        serve::main(Path::new(&dir), &id.to_string_lossy());
    }
}

/// How the engine starts a shim.
#[derive(Debug, Clone)]
pub struct ShimCommand {
    /// The program.
    pub program: PathBuf,
    /// Arguments before the shim's own.
    pub args: Vec<OsString>,
}

impl ShimCommand {
    /// This very program, even if its file was replaced meanwhile.
    #[must_use]
    pub fn current_exe() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), args: vec![VERB.into()] }
    }
}

/// What the shim says once, on the pipe that is its standard error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    /// The program runs: its pid on the host and its start time.
    Started { pid: u32, start: u64 },
    /// It could not be started.
    Error(String),
}

/// Why a container does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot clean up after an earlier run: {0}")]
    CleanUp(io::Error),
    #[error("cannot start the shim: {0}")]
    Spawn(io::Error),
    #[error("cannot read the shim's report: {0}")]
    Report(io::Error),
    #[error("the shim ended without a report{}", detail(.0))]
    Silent(String),
    #[error("{message}{}", detail(.log))]
    Create { message: String, log: String },
}

fn detail(log: &str) -> String {
    match log.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!(" ({line})"),
        None => String::new(),
    }
}

/// A shim that is making its container.
pub(crate) struct Starting {
    report: pipe::Receiver,
    pub(crate) shim: OwnedFd,
    /// The same; whoever reaps it by one of them must not use the other.
    pub(crate) child: Child,
}

/// Starts a shim for `request`, after making an end of any other shim of this container. `known` is
/// told the shim's pid as soon as there is one.
pub(crate) fn spawn(
    command: &ShimCommand,
    dir: &ContainerDir,
    request: &Request,
    known: impl FnOnce(u32),
) -> Result<Starting, Error> {
    let write = |path: PathBuf| move |source| Error::Write { path, source };
    dir.create().map_err(write(dir.path().to_owned()))?;
    clean_up(dir, &request.cgroup_root, &request.name).map_err(Error::CleanUp)?;
    files::write_atomic(&dir.request(), request).map_err(write(dir.request()))?;
    for stale in [dir.running(), dir.exit()] {
        match std::fs::remove_file(&stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(write(stale)(error)),
            _ => {}
        }
    }
    let (read, report) = io::pipe().map_err(Error::Spawn)?;
    let read = pipe::Receiver::from_owned_fd(read.into()).map_err(Error::Spawn)?;
    let mut child = Command::new(&command.program)
        .args(&command.args)
        .arg(dir.path())
        .arg(&request.id)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(report)
        .spawn()
        .map_err(Error::Spawn)?;
    known(child.id());
    // Our own child: until it is waited for, its number cannot be anybody else's.
    match process::open_child(child.id()) {
        Ok(shim) => Ok(Starting { report: read, shim, child }),
        Err(error) => {
            // Nobody could watch it; what it has made by now is cleaned up with everything else.
            let _ = child.kill().and_then(|()| child.wait());
            Err(Error::Spawn(error))
        }
    }
}

impl Starting {
    /// Waits until the container runs, or cannot. Safe to be dropped half-way only together with the
    /// shim.
    pub(crate) async fn wait(&mut self) -> Result<(u32, u64), Error> {
        let mut said = Vec::new();
        let report = loop {
            let text = String::from_utf8_lossy(&said);
            let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(report) = lines.find_map(|line| serde_json::from_str::<Report>(line).ok()) {
                break report;
            }
            let mut buffer = [0; 4096];
            let n = self.report.read(&mut buffer).await.map_err(Error::Report)?;
            if n == 0 || said.len() > REPORT_MAX {
                return Err(Error::Silent(text.into_owned()));
            }
            said.extend_from_slice(&buffer[..n]);
        };
        match report {
            Report::Started { pid, start } => Ok((pid, start)),
            Report::Error(message) => {
                let log = String::from_utf8_lossy(&said);
                // The library logs causes that its errors leave out.
                let incomplete = message.starts_with("failed to");
                let log =
                    log.lines().find(|line| incomplete && serde_json::from_str::<Report>(line).is_err());
                Err(Error::Create { message, log: log.unwrap_or_default().to_owned() })
            }
        }
    }
}

/// How long the end of a former shim may take.
const EVICTION: Duration = Duration::from_secs(5);

/// How often its lock is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Makes an end of whatever shim holds the container's lock, so that the next one is alone.
fn evict(dir: &ContainerDir, cgroup: &str) -> io::Result<()> {
    let deadline = Instant::now() + EVICTION;
    loop {
        let held = instance::look(&dir.lock())?;
        if held != Held::Free && Instant::now() >= deadline {
            return Err(io::Error::other(format!("{} stays locked", dir.lock().display())));
        }
        match held {
            Held::Free => return Ok(()),
            Held::By(Holder { pid, start }) => end_shim(pid, start, dir.path())?,
            Held::After(Holder { pid, start }) => {
                // A half-made container holds a duplicate of the lock until it executes its program. It
                // is in its shim's session until it is in its cgroup.
                process::kill_session(pid, start)?;
                cgroup::kill(cgroup)?;
                std::thread::sleep(LOOK_AGAIN);
            }
            // Its holder is about to write down who it is.
            Held::Unnamed => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

fn end_shim(pid: u32, start: u64, dir: &Path) -> io::Result<()> {
    let pidfd = match process::open_verified(pid, start) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    tracing::warn!(pid, dir = %dir.display(), "ending a shim that nobody waits for");
    process::send_signal(&pidfd, libc::SIGKILL)?;
    process::wait_exit(&pidfd, EVICTION)
}

/// Removes all that a run of a container left behind, killing what is left of it. Blocks for a while.
pub(crate) fn clean_up(dir: &ContainerDir, cgroup_root: &str, name: &str) -> io::Result<()> {
    // First: from here on a late shim of that run finds that it is not wanted, and one that has found
    // that it is holds the lock.
    match std::fs::remove_file(dir.request()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let folder = cgroup::folder(cgroup_root, name);
    cgroup::kill(&folder)?;
    evict(dir, &folder)?;
    cgroup::remove(&folder)?;
    dir.remove_run();
    Ok(())
}
