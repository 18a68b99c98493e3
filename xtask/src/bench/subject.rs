//! What carries the load between client and server: nothing, this mesh, or another relay.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::mesh::{Link, Mesh};
use super::pod::{self, Part};
use super::{START, load};
use crate::cmd::Cmd;
use crate::process::Process;
use crate::stop::wait_until;

/// One way from the client to the server.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// The socket to connect to.
    pub(crate) target: PathBuf,
    /// The process in between, whose CPU time counts.
    pub(crate) relay: Option<Process>,
    /// Kept running as long as this.
    _part: Option<Part>,
}

/// All ways to `server`, a socket of `provider`; and the names of those that cannot be tried, with why.
pub(crate) fn all(
    mesh: &Mesh,
    provider: &Part,
    consumer: &Part,
    server: &Path,
) -> anyhow::Result<(Vec<Subject>, Vec<String>)> {
    let direct = Subject { name: "direct", target: server.to_owned(), relay: None, _part: None };
    let mut subjects = vec![direct, through_mesh(mesh, provider, consumer, server)?];
    let target = mesh.path("reference.sock");
    let part = pod::relay(&target, server)?;
    subjects.push(Subject { name: "reference", target, relay: Some(part.process), _part: Some(part) });
    let mut skipped = Vec::new();
    for (name, start) in [("socat", socat as fn(&Mesh, &Path) -> _), ("haproxy", haproxy)] {
        if Cmd::new(name).arg("-h").quiet().succeeds() || Cmd::new(name).arg("-v").quiet().succeeds() {
            let (target, part): (PathBuf, Part) = start(mesh, server)?;
            if !wait_until(START, Duration::from_millis(5), || load::once(&target).is_ok()) {
                bail!("{name} does not pass connections on");
            }
            subjects.push(Subject { name, target, relay: Some(part.process), _part: Some(part) });
        } else {
            skipped.push(format!("{name} (not installed: `cargo xtask setup --bench`)"));
        }
    }
    Ok((subjects, skipped))
}

/// A real pv-xconnect between two mount namespaces. The pods share the host's /run, so that every
/// subject is reached by a path of the same kind.
fn through_mesh(mesh: &Mesh, provider: &Part, consumer: &Part, server: &Path) -> anyhow::Result<Subject> {
    let target = mesh.path("xconnect.sock");
    let text = |path: &Path| path.to_str().map(str::to_owned).context("path is no text");
    mesh.graph(&[Link {
        name: "bench".to_owned(),
        consumer: ("consumer".to_owned(), consumer),
        provider: ("provider".to_owned(), provider),
        target: text(&target)?,
        socket: text(server)?,
    }])?;
    if !wait_until(START, Duration::from_millis(5), || load::once(&target).is_ok()) {
        bail!("the link does not come up: {}", mesh.log());
    }
    Ok(Subject { name: "xconnect", target, relay: Some(mesh.daemon.process), _part: None })
}

fn socat(mesh: &Mesh, server: &Path) -> anyhow::Result<(PathBuf, Part)> {
    let target = mesh.path("socat.sock");
    let command = Cmd::new("socat")
        .args(["-b", "262144"])
        .arg(format!("UNIX-LISTEN:{},fork,backlog=1024", target.display()))
        .arg(format!("UNIX-CONNECT:{}", server.display()))
        .into_command();
    Ok((target, Part::spawn(command, Stdio::null())?))
}

fn haproxy(mesh: &Mesh, server: &Path) -> anyhow::Result<(PathBuf, Part)> {
    let target = mesh.path("haproxy.sock");
    let config = mesh.path("haproxy.cfg");
    // At its best: one CPU wants one thread, bulk wants buffers as large as everybody's here.
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\n  tune.bufsize 262144\ndefaults\n  mode tcp\n  timeout connect 10s\n  \
         timeout client 1m\n  timeout server 1m\nlisten bench\n  bind unix@{}\n  server s unix@{}\n",
        target.display(),
        server.display()
    );
    fs::write(&config, text).with_context(|| config.display().to_string())?;
    let command = Cmd::new("haproxy").args(["-db", "-f"]).arg(config).into_command();
    Ok((target, Part::spawn(command, Stdio::null())?))
}
