//! A pv-appengine of our own in private directories: started, kept for later, ended without a trace.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{leftovers, state};
use crate::cmd::Cmd;
use crate::process::Process;
use crate::stop::wait_until;
use crate::workspace::Workspace;

/// Longer than the engine's own grace for containers (5 s) and for open links (5 s).
const END: Duration = Duration::from_secs(20);
/// Lines of a log that are shown when it went wrong.
const TAIL: usize = 20;

/// A running engine, and all that must be gone after it.
#[derive(Debug)]
pub(crate) struct Session {
    record: Record,
    /// Ours to reap; none where a former run of this program started it.
    child: Option<Child>,
    /// The program to ask with.
    pub(crate) pvcontrol: PathBuf,
    /// The program to ask the mesh itself with.
    pvcurl: PathBuf,
}

/// What a later `demo --stop` has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    engine: Process,
    run_dir: PathBuf,
    state: PathBuf,
    cgroup_root: String,
}

impl Session {
    /// Starts an engine on a fresh state directory made of the examples.
    pub(crate) fn start(workspace: &Workspace) -> anyhow::Result<Self> {
        let base = workspace.target().join("demo");
        fs::create_dir_all(&base).with_context(|| base.display().to_string())?;
        // The state stays out of /run, which may be mounted noexec; sockets need a short path.
        let state_dir = tempfile::Builder::new().prefix("state-").tempdir_in(&base)?;
        let short = [Path::new("/run"), &std::env::temp_dir()]
            .into_iter()
            .find_map(|base| tempfile::Builder::new().prefix("xc-demo-").tempdir_in(base).ok());
        let run_dir = short.context("no private directory can be made in /run")?;
        state::assemble(workspace, state_dir.path())?;
        let id = run_dir.path().file_name().and_then(|name| name.to_str()).unwrap_or("xc-demo").to_owned();
        let log = File::create(run_dir.path().join("engine.log"))?;
        let mut command = Cmd::new(workspace.program("pv-appengine"))
            .arg("--state")
            .arg(state_dir.path())
            .arg("--run-dir")
            .arg(run_dir.path())
            .arg("--xconnect")
            .arg(workspace.program("pv-xconnect"))
            .args(["--cgroup-root", &id])
            .into_command();
        // A group of its own: Ctrl-C reaches us alone, and we end it in order.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("pv-appengine")?;
        let engine = Process::of(child.id())?;
        // From here on `end` removes the directories.
        let record = Record { engine, run_dir: run_dir.keep(), state: state_dir.keep(), cgroup_root: id };
        Ok(Self {
            record,
            child: Some(child),
            pvcontrol: workspace.program("pvcontrol"),
            pvcurl: workspace.program("pvcurl"),
        })
    }

    /// The engine's run directory.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.record.run_dir
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.record.run_dir.join("pv-ctrl")
    }

    /// The ends of all logs: what the engine and pv-xconnect say, and every container.
    pub(crate) fn tail(&self) -> String {
        let mut logs = vec![self.record.run_dir.join("engine.log")];
        if let Ok(entries) = fs::read_dir(self.record.run_dir.join("logs")) {
            logs.extend(entries.flatten().map(|entry| entry.path()));
        }
        let mut shown = String::new();
        for path in logs {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            let lines: Vec<_> = text.lines().collect();
            shown += &format!("--- {} (last lines)\n", path.display());
            shown += &lines[lines.len().saturating_sub(TAIL)..].join("\n");
            shown += "\n";
        }
        shown
    }

    /// An answer of the control API, as JSON.
    pub(crate) fn ask(&self, words: &[&str]) -> anyhow::Result<String> {
        Cmd::new(&self.pvcontrol)
            .arg("-s")
            .arg(self.socket())
            .args(["-o", "json"])
            .args(words)
            .quiet()
            .output()
    }

    /// An answer of the mesh's own socket.
    pub(crate) fn ask_mesh(&self, path: &str) -> anyhow::Result<String> {
        Cmd::new(&self.pvcurl)
            .args(["-s", "-S", "-f", "--unix-socket"])
            .arg(self.run_dir().join("pv-xconnect"))
            .arg(path)
            .quiet()
            .output()
    }

    /// An error once the engine has ended.
    pub(crate) fn check_runs(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
            bail!("pv-appengine ended by itself: {}", status?);
        }
        Ok(())
    }

    /// Leaves it running, and says how to go on.
    pub(crate) fn keep(self, workspace: &Workspace) -> anyhow::Result<()> {
        let path = record_path(workspace);
        fs::write(&path, serde_json::to_vec_pretty(&self.record)?)
            .with_context(|| path.display().to_string())?;
        let (pvcontrol, socket) = (self.pvcontrol.display(), self.socket());
        let (socket, run_dir) = (socket.display(), self.record.run_dir.display());
        println!("it keeps running. Look around:");
        for words in ["graph watch", "graph ls", "containers ls", "containers restart pv-example-unix-server"]
        {
            println!("    {pvcontrol} -s {socket} {words}");
        }
        println!("    tail -f {run_dir}/logs/*.log {run_dir}/engine.log");
        println!("    $EDITOR {}/pv-example-unix-client/args.json", self.record.state.display());
        println!("stop it:\n    cargo xtask demo --stop");
        Ok(())
    }

    /// Ends the engine and its containers; an error names what was left (and is removed).
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let Record { engine, run_dir, state, cgroup_root } = &self.record;
        engine.signal(Signal::TERM)?;
        let ended = wait_until(END, Duration::from_millis(10), || {
            let reaped = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            reaped || !engine.runs()
        });
        let mut found = Vec::new();
        if !ended {
            found.push(format!("pv-appengine did not end within {} s of SIGTERM", END.as_secs()));
            engine.signal(Signal::KILL)?;
            if let Some(child) = &mut self.child {
                child.wait()?;
            }
        }
        found.extend(leftovers::remove(&[run_dir, state], cgroup_root));
        for directory in [run_dir, state] {
            if let Err(error) = fs::remove_dir_all(directory) {
                found.push(format!("{}: {error}", directory.display()));
            }
        }
        if !found.is_empty() {
            bail!("left behind after SIGTERM: {}", found.join("; "));
        }
        Ok(())
    }
}

/// Ends what `demo --keep` left running.
pub(crate) fn stop_kept(workspace: &Workspace) -> anyhow::Result<()> {
    let path = record_path(workspace);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("no demo was kept running");
            return Ok(());
        }
        other => other.with_context(|| path.display().to_string())?,
    };
    let record: Record = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    fs::remove_file(&path).with_context(|| path.display().to_string())?;
    let session = Session {
        record,
        child: None,
        pvcontrol: workspace.program("pvcontrol"),
        pvcurl: workspace.program("pvcurl"),
    };
    session.end()?;
    println!("stopped; no process, mount, cgroup or file is left");
    Ok(())
}

/// An error where a kept demo still runs: its record would be lost.
pub(crate) fn refuse_second(workspace: &Workspace) -> anyhow::Result<()> {
    let text = fs::read_to_string(record_path(workspace)).unwrap_or_default();
    match serde_json::from_str::<Record>(&text) {
        Ok(record) if record.engine.runs() => {
            bail!("a demo runs already (pid {}); end it by `cargo xtask demo --stop`", record.engine.pid)
        }
        _ => Ok(()),
    }
}

fn record_path(workspace: &Workspace) -> PathBuf {
    workspace.target().join("demo/kept.json")
}
