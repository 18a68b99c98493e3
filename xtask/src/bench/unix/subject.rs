//! What carries the load between client and server: nothing, this mesh, or another relay.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::bench::mesh::{Link, Mesh, Service};
use crate::bench::pod::{self, Part};
use crate::bench::{START, load};
use crate::cmd::Cmd;
use crate::process::Process;
use crate::stop::wait_until;

/// A row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Row {
    /// Nothing in between.
    Direct,
    /// A link with `"forward": "kernel"`.
    Kernel,
    /// A link with `"forward": "user"`.
    User,
    /// A link with `"forward": "auto"`.
    Auto,
    /// The frozen relay of the bench.
    Reference,
    /// socat.
    Socat,
    /// haproxy.
    Haproxy,
}

impl Row {
    /// What a link of this row declares.
    fn forward(self) -> Option<&'static str> {
        match self {
            Self::Kernel => Some("kernel"),
            Self::User => Some("user"),
            Self::Auto => Some("auto"),
            Self::Direct | Self::Reference | Self::Socat | Self::Haproxy => None,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |it| it.get_name()))
    }
}

/// One way from the client to the server.
#[derive(Debug)]
pub(super) struct Subject {
    /// Its row.
    pub(super) row: Row,
    /// The socket to connect to.
    pub(super) target: PathBuf,
    /// The process in between, whose CPU time counts.
    pub(super) relay: Option<Process>,
    /// What the daemon says about the path of its connections.
    pub(super) path: Option<String>,
    /// Kept running as long as this.
    _part: Option<Part>,
}

impl Subject {
    /// Whether its connections are meant to get into the kernel.
    pub(super) fn takes_kernel(&self) -> bool {
        self.path.as_deref() == Some("kernel")
    }

    /// Whether the daemon counts what goes through it.
    pub(super) fn is_link(&self) -> bool {
        self.path.is_some()
    }
}

/// Where the load is.
pub(super) struct Ends<'a> {
    pub(super) mesh: &'a Mesh,
    pub(super) provider: &'a Part,
    pub(super) consumer: &'a Part,
    /// A socket of the provider.
    pub(super) server: &'a Path,
    /// Processors in use.
    pub(super) cpus: usize,
}

/// These ways to the server; and the names of those that cannot be tried, with why.
pub(super) fn some(ends: &Ends<'_>, rows: &[Row]) -> anyhow::Result<(Vec<Subject>, Vec<String>)> {
    let (mut subjects, mut skipped) = (Vec::new(), Vec::new());
    links(ends, rows)?;
    for &row in rows {
        let plain = |target: PathBuf, part: Option<Part>| Subject {
            row,
            target,
            relay: part.as_ref().map(|part| part.process),
            path: None,
            _part: part,
        };
        match row {
            Row::Direct => subjects.push(plain(ends.server.to_owned(), None)),
            Row::Kernel | Row::User | Row::Auto => subjects.push(through_mesh(ends, row)?),
            Row::Reference => {
                let target = ends.mesh.path("reference.sock");
                let part = pod::relay(&target, ends.server)?;
                subjects.push(plain(target, Some(part)));
            }
            Row::Socat | Row::Haproxy => {
                let name = row.to_string();
                if !Cmd::new(&name).arg("-h").quiet().succeeds()
                    && !Cmd::new(&name).arg("-v").quiet().succeeds()
                {
                    skipped.push(format!("{name} (not installed: `cargo xtask setup --bench`)"));
                    continue;
                }
                let (target, part) = if row == Row::Socat { socat(ends) } else { haproxy(ends) }?;
                if !wait_until(START, Duration::from_millis(5), || load::once(&target).is_ok()) {
                    bail!("{name} does not pass connections on");
                }
                subjects.push(plain(target, Some(part)));
            }
        }
    }
    Ok((subjects, skipped))
}

/// Links through a real pv-xconnect between two mount namespaces. The pods share the host's /run, so that
/// every subject is reached by a path of the same kind.
fn links(ends: &Ends<'_>, rows: &[Row]) -> anyhow::Result<()> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("path is no text");
    let link = |&row: &Row| {
        let forward = row.forward()?;
        let texts = || Ok((text(&target(ends, row))?, text(ends.server)?));
        Some(texts().map(|(target, socket)| Link {
            name: format!("bench-{row}"),
            consumer: ("consumer".to_owned(), ends.consumer),
            provider: ("provider".to_owned(), ends.provider),
            target,
            socket,
            service: Service::Unix { forward },
        }))
    };
    ends.mesh.graph(&rows.iter().filter_map(link).collect::<anyhow::Result<Vec<_>>>()?)
}

fn target(ends: &Ends<'_>, row: Row) -> PathBuf {
    ends.mesh.path(&format!("{row}.sock"))
}

fn through_mesh(ends: &Ends<'_>, row: Row) -> anyhow::Result<Subject> {
    let (mesh, target) = (ends.mesh, target(ends, row));
    if !wait_until(START, Duration::from_millis(5), || load::once(&target).is_ok()) {
        bail!("the link does not come up: {}", mesh.log());
    }
    let link = mesh.link(&target)?;
    let path = link["path"].as_str().unwrap_or("none").to_owned();
    Ok(Subject { row, target, relay: Some(mesh.daemon.process), path: Some(path), _part: None })
}

fn socat(ends: &Ends<'_>) -> anyhow::Result<(PathBuf, Part)> {
    let target = ends.mesh.path("socat.sock");
    let command = Cmd::new("socat")
        .args(["-b", "262144"])
        .arg(format!("UNIX-LISTEN:{},fork,backlog=1024", target.display()))
        .arg(format!("UNIX-CONNECT:{}", ends.server.display()))
        .into_command();
    Ok((target, Part::spawn(command, Stdio::null())?))
}

fn haproxy(ends: &Ends<'_>) -> anyhow::Result<(PathBuf, Part)> {
    let target = ends.mesh.path("haproxy.sock");
    let config = ends.mesh.path("haproxy.cfg");
    // At its best: a CPU wants one thread, bulk wants buffers as large as everybody's here.
    let text = format!(
        "global\n  nbthread {}\n  maxconn 4096\n  tune.bufsize 262144\ndefaults\n  mode tcp\n  timeout connect 10s\n  \
         timeout client 1m\n  timeout server 1m\nlisten bench\n  bind unix@{}\n  server s unix@{}\n",
        ends.cpus,
        target.display(),
        ends.server.display()
    );
    fs::write(&config, text).with_context(|| config.display().to_string())?;
    let command = Cmd::new("haproxy").args(["-db", "-f"]).arg(config).into_command();
    Ok((target, Part::spawn(command, Stdio::null())?))
}
