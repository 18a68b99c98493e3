//! `bench reaction`: from a change of the graph to a connection that echoes, and from the start of a
//! container to its first echo beside what the runtime alone takes.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::http::http;
use super::mesh::{Link, Mesh, Service};
use super::stats::{median, percentile};
use super::{START, load, pod, report};
use crate::demo::Session;
use crate::stop::{Stop, wait_until};
use crate::workspace::Workspace;

/// Between two looks: well below what is measured, and yet the daemon gets the CPU.
const LOOK: Duration = Duration::from_micros(50);
/// The consumer among the examples.
const CONSUMER: &str = "pv-example-unix-client";
const TARGET: &str = "/run/pv/services/raw-unix.sock";
const SOCKET: &str = "/run/example/raw.sock";

/// Options of `bench reaction`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Changes of the graph.
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Starts of a container; 0: leave out what needs an engine.
    #[arg(long, default_value_t = 50)]
    starts: usize,
}

impl Options {
    /// Whether containers are started, for which all programs and the examples are needed.
    pub(crate) fn starts_containers(&self) -> bool {
        self.starts > 0
    }
}

pub(crate) fn run(workspace: &Workspace, stop: &Stop, options: &Options) -> anyhow::Result<()> {
    let changes = changes(workspace, stop, options.runs)?;
    // What was measured is shown, whatever becomes of the engine.
    let (starts, failed) = match with_engine(workspace, stop, options) {
        Ok(starts) => (starts, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let rows: Vec<Vec<String>> = changes
        .iter()
        .chain(&starts)
        .map(|(name, samples)| {
            let cell = |share| format!("{:.2}", percentile(samples, share));
            vec![(*name).to_owned(), samples.len().to_string(), cell(0.5), cell(0.99), cell(1.0)]
        })
        .collect();
    report::table(&["milliseconds", "runs", "p50", "p99", "max"], &rows);
    println!("aimed at: graph change to first echo, p99 < 50 ms");
    let ratio = match &starts[..] {
        [(_, start), (_, echo)] => Some(median(echo) / median(start)),
        _ => None,
    };
    if let Some(ratio) = ratio {
        println!("first echo takes {ratio:.2} times what create and start alone take");
    }
    let json = |rows: &[(&str, Vec<f64>)]| -> Vec<Value> {
        let row = |(name, samples): &(&str, Vec<f64>)| json!({"name": name, "p50_ms": median(samples), "p99_ms": percentile(samples, 0.99), "samples_ms": samples});
        rows.iter().map(row).collect()
    };
    let document = json!({
        "bench": "reaction", "changes": json(&changes), "starts": json(&starts), "first_echo_to_start_ratio": ratio,
    });
    report::write(workspace, "reaction", &document)?;
    failed.map_or(Ok(()), |error| Err(error.context("starts of a container")))
}

/// The rows that need an engine.
fn with_engine(workspace: &Workspace, stop: &Stop, options: &Options) -> anyhow::Result<Vec<Row>> {
    if !options.starts_containers() {
        return Ok(Vec::new());
    }
    let mut session = Session::start(workspace)?;
    let starts = starts(&mut session, stop, options.starts);
    session.end()?;
    starts
}

/// A row of the table: what was measured, and milliseconds.
type Row = (&'static str, Vec<f64>);

/// Adds and removes a link by the graph file.
fn changes(workspace: &Workspace, stop: &Stop, runs: usize) -> anyhow::Result<Vec<Row>> {
    let mesh = Mesh::start(workspace, &[])?;
    let provider = pod::start(pod::Run::Private, &[SOCKET.into()])?;
    let consumer = pod::start(pod::Run::Private, &[])?;
    let link = Link {
        name: "raw-unix".to_owned(),
        consumer: ("consumer".to_owned(), &consumer),
        provider: ("provider".to_owned(), &provider),
        target: TARGET.to_owned(),
        socket: SOCKET.to_owned(),
        service: Service::Unix { forward: "user" },
    };
    let target = pod::inside(&consumer, TARGET);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        stop.check()?;
        let begin = Instant::now();
        mesh.graph(std::slice::from_ref(&link))?;
        let mut stream = None;
        let works = || {
            stream = load::connect_echo(&target).ok();
            stream.is_some()
        };
        ensure!(wait_until(START, LOOK, works), "the link does not come up: {}", mesh.log());
        up.push(milliseconds(begin));
        let begin = Instant::now();
        mesh.graph(&[])?;
        let gone = || !target.exists();
        ensure!(wait_until(START, LOOK, gone), "the socket stays: {}", mesh.log());
        if let Some(mut stream) = stream {
            // The connection is cut with its link: an end or an error, at once.
            stream.set_read_timeout(Some(START))?;
            let cut = stream.read(&mut [0]);
            let waited = matches!(&cut, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            ensure!(!waited && !matches!(cut, Ok(1..)), "an open connection outlived its link");
        }
        down.push(milliseconds(begin));
    }
    mesh.end()?;
    Ok(vec![("graph change to first echo", up), ("removal to socket gone and connection cut", down)])
}

/// Stops and starts the example consumer, and reads its log.
fn starts(session: &mut Session, stop: &Stop, runs: usize) -> anyhow::Result<Vec<Row>> {
    let log = session.run_dir().join("logs").join(format!("{CONSUMER}.log"));
    let socket = session.socket();
    wait_for_log(&log, 0, "ok:").with_context(|| session.tail())?;
    let (mut runtime, mut echo) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        stop.check()?;
        session.check_runs()?;
        act(&socket, "stop")?;
        let stopped = || status(&socket).is_ok_and(|status| status == "STOPPED");
        ensure!(wait_until(START, Duration::from_millis(2), stopped), "{CONSUMER} does not stop");
        let length = fs::metadata(&log).with_context(|| log.display().to_string())?.len();
        let begin = Instant::now();
        act(&socket, "start")?;
        // The program's first line: created, started, and running.
        wait_for_log(&log, length, "waiting for")?;
        runtime.push(milliseconds(begin));
        wait_for_log(&log, length, "ok:")?;
        echo.push(milliseconds(begin));
    }
    Ok(vec![("container's start to its first line", runtime), ("container's start to its first echo", echo)])
}

/// Waits for a text in what was added to a log.
fn wait_for_log(log: &Path, from: u64, text: &str) -> anyhow::Result<()> {
    let there = || {
        let bytes = fs::read(log).unwrap_or_default();
        let added = usize::try_from(from).ok().and_then(|from| bytes.get(from..));
        // Shorter than before: a new file.
        String::from_utf8_lossy(added.unwrap_or(&bytes)).contains(text)
    };
    ensure!(wait_until(START, LOOK, there), "{}: no {text:?}", log.display());
    Ok(())
}

fn act(socket: &Path, action: &str) -> anyhow::Result<()> {
    let body = json!({"action": action}).to_string();
    http(socket, "PUT", &format!("/containers/{CONSUMER}"), &body).map(drop)
}

fn status(socket: &Path) -> anyhow::Result<String> {
    let containers: Value = serde_json::from_str(&http(socket, "GET", "/containers", "")?)?;
    let mut all = containers.as_array().into_iter().flatten();
    let ours = all.find(|it| it["name"] == CONSUMER).context("the consumer is not listed")?;
    Ok(ours["status"].as_str().unwrap_or_default().to_owned())
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}
