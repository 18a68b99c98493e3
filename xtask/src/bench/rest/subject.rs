//! What carries requests between client and origin: nothing, another proxy, or a rest link of this mesh.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use rustix::process::Signal;

use super::{client, references};
use crate::bench::START;
use crate::bench::mesh::{Link, Mesh, Service};
use crate::bench::pod::Part;
use crate::cmd::Cmd;
use crate::process::Process;
use crate::stop::wait_until;

/// Between two looks whether something has come up or ended.
const PAUSE: Duration = Duration::from_millis(5);

/// A row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Row {
    /// Nothing in between.
    Direct,
    /// nginx.
    Nginx,
    /// haproxy.
    Haproxy,
    /// A link of type rest.
    Ours,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |it| it.get_name()))
    }
}

/// Where the load is.
pub(super) struct Ends<'a> {
    pub(super) mesh: &'a Mesh,
    pub(super) provider: &'a Part,
    pub(super) consumer: &'a Part,
    /// The origin's socket.
    pub(super) origin: &'a Path,
    /// Processors in use.
    pub(super) cpus: usize,
}

/// One way from the client to the origin.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) row: Row,
    /// The socket to connect to.
    pub(super) target: PathBuf,
    /// The process in between.
    pub(super) relay: Option<Process>,
    /// Kept running as long as this.
    part: Option<Part>,
}

impl Subject {
    /// Starts what the row needs, and waits until a request has been answered through it.
    pub(super) fn start(ends: &Ends<'_>, row: Row) -> anyhow::Result<Self> {
        let target = ends.mesh.path(&format!("{row}.sock"));
        match row {
            Row::Direct => {
                Self { row, target: ends.origin.to_owned(), relay: None, part: None }.up(|| Ok(()))
            }
            Row::Nginx => {
                let config = ends.mesh.path("nginx.conf");
                let text = references::nginx(&ends.mesh.path(""), &target, ends.origin, ends.cpus);
                let log = ends.mesh.path("nginx.log");
                let program = installed(row)?.arg("-e").arg(&log).arg("-c").arg(&config);
                reference(row, target, &config, &text, program)
            }
            Row::Haproxy => {
                let config = ends.mesh.path("haproxy.cfg");
                let text = references::haproxy(&target, ends.origin, ends.cpus);
                let program = installed(row)?.args(["-db", "-q", "-f"]).arg(&config);
                reference(row, target, &config, &text, program)
            }
            Row::Ours => link(ends, &target),
        }
    }

    /// Waits until it passes requests on; `check` says why it never will.
    fn up(self, check: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let mut last = None;
        let mut hopeless = None;
        let up = wait_until(START, PAUSE, || {
            last = client::once(&self.target).err();
            hopeless = last.as_ref().and_then(|_| check().err());
            last.is_none() || hopeless.is_some()
        });
        match (up, hopeless, last) {
            (_, Some(why), _) => Err(why),
            (false, _, Some(error)) => Err(error).with_context(|| format!("{}: no answer", self.row)),
            _ => Ok(self),
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // In order: workers of a master that is killed would stay.
        if let Some(part) = &self.part {
            let _ = part.process.signal(Signal::TERM);
            wait_until(START, PAUSE, || !part.process.runs());
        }
    }
}

/// The program of this name, if it can be run.
fn installed(row: Row) -> anyhow::Result<Cmd> {
    let name = row.to_string();
    ensure!(
        Cmd::new(&name).arg("-v").quiet().succeeds(),
        "not installed (`cargo xtask setup --bench` installs it)"
    );
    Ok(Cmd::new(name))
}

fn reference(row: Row, target: PathBuf, config: &Path, text: &str, program: Cmd) -> anyhow::Result<Subject> {
    fs::write(config, text).with_context(|| config.display().to_string())?;
    let part = Part::spawn(program.into_command(), Stdio::null())?;
    let process = part.process;
    Subject { row, target, relay: Some(process), part: Some(part) }.up(|| {
        ensure!(process.runs(), "{row} has ended");
        Ok(())
    })
}

/// A link through a real pv-xconnect between two mount namespaces.
fn link(ends: &Ends<'_>, target: &Path) -> anyhow::Result<Subject> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("path is no text");
    ends.mesh.graph(&[Link {
        name: "bench-rest".to_owned(),
        consumer: ("consumer".to_owned(), ends.consumer),
        provider: ("provider".to_owned(), ends.provider),
        target: text(target)?,
        socket: text(ends.origin)?,
        service: Service::Rest,
    }])?;
    let relay = Some(ends.mesh.daemon.process);
    let subject = Subject { row: Row::Ours, target: target.to_owned(), relay, part: None };
    let failed = || {
        // Not there before the daemon has read the graph.
        let link = ends.mesh.link(target).unwrap_or_default();
        if link["status"] == "failed" {
            bail!("the link failed: {}", link["reason"].as_str().unwrap_or("no reason"));
        }
        Ok(())
    };
    subject.up(failed)
}
