//! `bench footprint`: a thousand links over a hundred containers, and what connections hold.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::mesh::{Link, Mesh, Service};
use super::pod::{self, Part};
use super::{START, load, report};
use crate::stop::{Stop, wait_until};
use crate::workspace::Workspace;

const SOCKET: &str = "/run/example/raw.sock";
/// Times that an unchanged graph is written again.
const REWRITES: u32 = 20;
/// Nothing has changed for so long: the daemon is idle.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Options of `bench footprint`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Containers.
    #[arg(long, default_value_t = 100)]
    containers: usize,
    /// Links of each as a consumer.
    #[arg(long, default_value_t = 10)]
    links: usize,
    /// Connections, one after another, that must leave nothing behind.
    #[arg(long, default_value_t = 100_000)]
    connections: usize,
}

/// What the daemon holds at one moment.
#[derive(Debug, Clone, Copy)]
struct Held {
    rss_kib: u64,
    descriptors: usize,
}

pub(crate) fn run(workspace: &Workspace, stop: &Stop, options: &Options) -> anyhow::Result<()> {
    raise_descriptor_limit()?;
    let empty = {
        let mesh = Mesh::start(workspace, &[])?;
        let held = Held::of(&mesh)?;
        mesh.end()?;
        held
    };
    let mut pods = Vec::new();
    for _ in 0..options.containers {
        stop.check()?;
        pods.push(pod::start(pod::Run::Private, &[SOCKET.into()])?);
    }
    let links = links(&pods, options.links);
    let targets: Vec<_> = links.iter().map(|link| pod::inside(link.consumer.1, &link.target)).collect();

    let begin = Instant::now();
    let mesh = Mesh::start(workspace, &links)?;
    let started = begin.elapsed();
    let all = || targets.iter().all(|target| target.exists());
    ensure!(wait_until(START, LOOK, all), "not all links come up: {}", mesh.log());
    let cold = begin.elapsed();
    let idle = Held::settled(&mesh)?;
    for target in &targets {
        load::once(target).with_context(|| target.display().to_string())?;
    }
    eprintln!("{} links up after {:.0} ms", targets.len(), cold.as_secs_f64() * 1e3);
    stop.check()?;
    let rewrite = rewrites(&mesh, &links)?;
    let (open, closed) = open_all(&mesh, &targets)?;
    stop.check()?;
    let (before, after) = one_after_another(&mesh, &targets[0], stop, options.connections)?;
    mesh.end()?;

    let held = [
        ("no links", empty),
        ("all links, idle", idle),
        ("one connection open on each link", open),
        ("these closed", closed),
        ("before the connections in a row", before),
        ("after the connections in a row", after),
    ];
    let rows: Vec<_> = held
        .iter()
        .map(|(name, it)| {
            let mib = it.rss_kib as f64 / 1024.0;
            vec![(*name).to_owned(), format!("{mib:.1}"), it.descriptors.to_string()]
        })
        .collect();
    report::table(&["pv-xconnect", "RSS MiB", "descriptors"], &rows);
    println!(
        "aimed at: no links < 10 MiB, a thousand connections < 30 MiB, no growth after them\n\
         {} links over {} containers from cold: {:.0} ms ({:.0} ms of it until the daemon answers; aimed at: < 1000)\n\
         an unchanged graph, written again: {:.2} ms CPU each\n{} connections in a row",
        targets.len(),
        pods.len(),
        cold.as_secs_f64() * 1e3,
        started.as_secs_f64() * 1e3,
        rewrite,
        options.connections
    );
    let held: Vec<Value> = held
        .iter()
        .map(|(name, it)| json!({"when": name, "rss_kib": it.rss_kib, "descriptors": it.descriptors}))
        .collect();
    let document = json!({
        "bench": "footprint", "containers": pods.len(), "links": targets.len(), "cold_ms": cold.as_secs_f64() * 1e3,
        "daemon_start_ms": started.as_secs_f64() * 1e3, "unchanged_graph_cpu_ms": rewrite,
        "connections": options.connections, "held": held,
    });
    report::write(workspace, "footprint", &document)
}

impl Held {
    fn of(mesh: &Mesh) -> anyhow::Result<Self> {
        let daemon = mesh.daemon.process;
        Ok(Self { rss_kib: daemon.memory_kib(false)?, descriptors: daemon.descriptors()? })
    }

    /// Once the threads and descriptors of the work before are gone: none has ended for a while.
    fn settled(mesh: &Mesh) -> anyhow::Result<Self> {
        let daemon = mesh.daemon.process;
        let mut last = None;
        wait_until(START, QUIET, || {
            let seen = daemon.threads().ok().zip(daemon.descriptors().ok());
            std::mem::replace(&mut last, seen) == seen
        });
        Self::of(mesh)
    }
}

/// A thousand connections need more than the usual soft limit; children inherit it.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("setrlimit")
}

/// Every container provides one service, and requires those of the next ones in a ring.
fn links(pods: &[Part], each: usize) -> Vec<Link<'_>> {
    let name = |index: usize| format!("pod-{index}");
    let ring = |index: usize, step: usize| (index + step) % pods.len();
    let one = |index: usize, step: usize| Link {
        name: format!("service-{}", ring(index, step)),
        consumer: (name(index), &pods[index]),
        provider: (name(ring(index, step)), &pods[ring(index, step)]),
        target: format!("/run/pv/services/service-{step}.sock"),
        socket: SOCKET.to_owned(),
        service: Service::Unix { forward: "user" },
    };
    (0..pods.len())
        .flat_map(|index| (1..=each).map(move |step| (index, step)))
        .map(|(i, s)| one(i, s))
        .collect()
}

/// Milliseconds of CPU that the daemon takes for a graph that says nothing new.
fn rewrites(mesh: &Mesh, links: &[Link<'_>]) -> anyhow::Result<f64> {
    let daemon = mesh.daemon.process;
    let before = daemon.cpu()?;
    for _ in 0..REWRITES {
        mesh.graph(links)?;
        // Nothing observable follows from an unchanged graph: a pause keeps writes from being coalesced.
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok((daemon.cpu()?.saturating_sub(before)).as_secs_f64() * 1e3 / f64::from(REWRITES))
}

/// Opens a connection on every link, and closes them.
fn open_all(mesh: &Mesh, targets: &[PathBuf]) -> anyhow::Result<(Held, Held)> {
    let before = Held::of(mesh)?.descriptors;
    let connect = |target: &PathBuf| load::connect_echo(target).with_context(|| target.display().to_string());
    let streams = targets.iter().map(connect).collect::<anyhow::Result<Vec<_>>>()?;
    let open = Held::of(mesh)?;
    drop(streams);
    settle(mesh, before)?;
    Ok((open, Held::settled(mesh)?))
}

fn one_after_another(mesh: &Mesh, target: &Path, stop: &Stop, count: usize) -> anyhow::Result<(Held, Held)> {
    let before = Held::of(mesh)?;
    for number in 1..=count {
        load::once(target).with_context(|| format!("connection {number}"))?;
        if number % 10_000 == 0 {
            stop.check()?;
            eprintln!("{number} of {count} connections");
        }
    }
    settle(mesh, before.descriptors)?;
    Ok((before, Held::of(mesh)?))
}

/// Waits until the daemon has closed what its peers closed.
fn settle(mesh: &Mesh, descriptors: usize) -> anyhow::Result<()> {
    let closed = || Held::of(mesh).is_ok_and(|held| held.descriptors <= descriptors);
    if !wait_until(START, LOOK, closed) {
        let held = Held::of(mesh)?.descriptors;
        eprintln!("warning: {held} descriptors are open, {descriptors} were before");
    }
    Ok(())
}
