//! Containers for benches: a process in a mount namespace of its own, without a runtime.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::cmd::Cmd;
use crate::process::Process;

/// A process that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    child: Child,
    /// Its identity.
    pub(crate) process: Process,
}

impl Part {
    /// Spawns it and waits for its line `ready`.
    pub(crate) fn ready(command: Cmd) -> anyhow::Result<Self> {
        let line = command.line();
        let mut part = Self::spawn(command.quiet().into_command(), Stdio::piped())?;
        let output = part.child.stdout.take().context("no standard output")?;
        let mut answer = String::new();
        BufReader::new(output).read_line(&mut answer).with_context(|| line.clone())?;
        ensure!(answer.trim() == "ready", "{line}: ended before it was ready");
        Ok(part)
    }

    /// Spawns a program that says nothing when it is ready.
    pub(crate) fn spawn(mut command: Command, output: Stdio) -> anyhow::Result<Self> {
        let name = command.get_program().display().to_string();
        let child = command.stdin(Stdio::piped()).stdout(output).spawn().context(name)?;
        let process = Process::of(child.id())?;
        Ok(Self { child, process })
    }

    /// Ends it in order, and says so if it does not end with success.
    pub(crate) fn terminate(mut self) -> anyhow::Result<()> {
        self.process.signal(rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "ended by SIGTERM with {status}");
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already, or gone with this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a pod's `/run` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// The host's: its sockets can be reached from the host by the same path.
    Shared,
    /// An empty file system of its own, as a container has.
    Private,
}

/// Starts a pod that serves the load on these sockets.
pub(crate) fn start(run: Run, sockets: &[PathBuf]) -> anyhow::Result<Part> {
    let command =
        in_namespace()?.arg("pod").args((run == Run::Private).then_some("--private-run")).args(sockets);
    Part::ready(command)
}

/// Starts a pod with a shared `/run` that is the origin of `bench rest`.
pub(crate) fn origin(socket: &Path) -> anyhow::Result<Part> {
    Part::ready(in_namespace()?.arg("origin").arg(socket))
}

/// unshare(1) is essential on Debian; it executes us, so the child is the pod itself.
fn in_namespace() -> anyhow::Result<Cmd> {
    let unshare = Cmd::new("unshare").args(["--mount", "--propagation", "private"]);
    Ok(unshare.arg(itself()?).arg("bench-part"))
}

/// Starts the reference relay.
pub(crate) fn relay(listen: &Path, connect: &Path) -> anyhow::Result<Part> {
    Part::ready(Cmd::new(itself()?).args(["bench-part", "relay"]).arg(listen).arg(connect))
}

/// A path of a pod, as the host sees it.
pub(crate) fn inside(part: &Part, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{path}", part.process.pid))
}

fn itself() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("path of this program")
}
