//! A pv-xconnect of the bench's own, fed by a graph file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::START;
use super::http::http;
use super::pod::Part;
use crate::cmd::Cmd;
use crate::stop::wait_until;
use crate::workspace::Workspace;

/// The daemon, its run directory and its graph.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// The daemon's process.
    pub(crate) daemon: Part,
    directory: TempDir,
}

/// One link of a graph.
#[derive(Debug, Clone)]
pub(crate) struct Link<'a> {
    pub(crate) name: String,
    pub(crate) consumer: (String, &'a Part),
    pub(crate) provider: (String, &'a Part),
    pub(crate) target: String,
    pub(crate) socket: String,
    /// What the provider declares.
    pub(crate) service: Service,
}

/// What a provider declares.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Service {
    /// A byte stream.
    Unix {
        /// `user`, `kernel` or `auto`.
        forward: &'static str,
    },
    /// HTTP, with everything allowed and the default limits.
    Rest,
}

impl Link<'_> {
    fn json(&self) -> Value {
        let (kind, options) = self.service.json();
        json!({
            "type": kind, "name": self.name, "consumer": self.consumer.0, "consumer_pid": self.consumer.1.process.pid,
            "provider": self.provider.0, "provider_pid": self.provider.1.process.pid, "role": "any",
            "interface": kind, "target": self.target, "socket": self.socket,
            "consumer_start": self.consumer.1.process.start, "provider_start": self.provider.1.process.start,
            "options": options,
        })
    }
}

impl Service {
    /// The type's name, and the link's options.
    fn json(self) -> (&'static str, Value) {
        let mut options = json!({
            "uid": 65534, "gid": 65534, "refused": null,
            "max_connections": 4096, "idle_timeout": null, "connect_timeout": 10,
        });
        let Self::Unix { forward } = self else { return ("rest", options) };
        options["forward"] = forward.into();
        options["socket_type"] = "stream".into();
        options["lossy_fds"] = false.into();
        ("unix", options)
    }
}

impl Mesh {
    /// Starts the daemon on this graph, and waits until its status socket is there.
    pub(crate) fn start(workspace: &Workspace, links: &[Link<'_>]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("xc-bench-").tempdir_in("/run")?;
        write(&directory.path().join("graph.json"), &document(links)?)?;
        let log = fs::File::create(directory.path().join("log"))?;
        let mut command = Cmd::new(workspace.program("pv-xconnect"))
            .arg("--run-dir")
            .arg(directory.path())
            .arg("--graph")
            .arg(directory.path().join("graph.json"))
            .args(["--fdstore", "none"])
            .into_command();
        command.stderr(log.try_clone()?);
        let daemon = Part::spawn(command, Stdio::from(log))?;
        let mesh = Self { daemon, directory };
        let status = mesh.status_socket();
        if !wait_until(START, Duration::from_millis(5), || status.exists()) {
            bail!("pv-xconnect does not come up: {}", mesh.log());
        }
        Ok(mesh)
    }

    /// A private directory with a short path, seen by the host and by pods with a shared /run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces the graph at once, as an editor or a control plane would.
    pub(crate) fn graph(&self, links: &[Link<'_>]) -> anyhow::Result<()> {
        write(&self.directory.path().join("graph.json"), &document(links)?)
    }

    /// The entry of `/links` of the link with this target.
    pub(crate) fn link(&self, target: &Path) -> anyhow::Result<Value> {
        let links: Value = serde_json::from_str(&http(&self.status_socket(), "GET", "/links", "")?)?;
        let mut all = links.as_array().into_iter().flatten();
        let ours = all.find(|link| link["target"].as_str().map(Path::new) == Some(target));
        ours.cloned().with_context(|| format!("{}: no such link", target.display()))
    }

    /// The daemon's `/status`.
    pub(crate) fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&http(&self.status_socket(), "GET", "/status", "")?)?)
    }

    fn status_socket(&self) -> PathBuf {
        self.directory.path().join("pv-xconnect")
    }

    /// What the daemon said, for errors.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Ends the daemon in order.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        let log = self.log();
        self.daemon.terminate().with_context(|| format!("pv-xconnect\n{log}"))
    }
}

fn document(links: &[Link<'_>]) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&links.iter().map(Link::json).collect::<Vec<_>>())?)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| new.display().to_string())?;
    fs::rename(&new, path).with_context(|| path.display().to_string())
}
