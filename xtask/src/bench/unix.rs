//! `bench unix`: the user-space relay beside a direct socket and other relays, all on one CPU, in
//! interleaved rounds, so that what slows the machine slows every row.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use super::mesh::Mesh;
use super::stats::median;
use super::subject::{self, Subject};
use super::{load, pod, report};
use crate::stop::Stop;
use crate::workspace::Workspace;

/// What is aimed at, as ratios to a direct socket: throughput, round trip, connections.
const AIM: [f64; 3] = [0.5, 2.7, 0.36];

/// Options of `bench unix`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds; each row is the median over them.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// MiB of a throughput run.
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Round trips of a run.
    #[arg(long, default_value_t = 20_000)]
    round_trips: usize,
    /// Milliseconds of a run that opens connections.
    #[arg(long, default_value_t = 1000)]
    connect_ms: u64,
}

/// Measures of one subject, one a round.
#[derive(Debug, Default)]
struct Samples {
    throughput: Vec<f64>,
    round_trip: Vec<f64>,
    connections: Vec<f64>,
    /// Of the relay during the throughput runs.
    cpu: Duration,
}

pub(crate) fn run(workspace: &Workspace, stop: &Stop, options: &Options) -> anyhow::Result<()> {
    let cpu = pin_to_one_cpu()?;
    let mesh = Mesh::start(workspace, &[])?;
    let server = mesh.path("server.sock");
    let provider = pod::start(pod::Run::Shared, std::slice::from_ref(&server))?;
    let consumer = pod::start(pod::Run::Shared, &[])?;
    let (subjects, skipped) = subject::all(&mesh, &provider, &consumer, &server)?;
    let mut samples: Vec<Samples> = subjects.iter().map(|_| Samples::default()).collect();
    for round in 0..options.rounds {
        // Another one is first each time: what a row leaves in caches and frequencies is not always the
        // same one's luck.
        for turn in 0..subjects.len() {
            let index = (turn + round as usize) % subjects.len();
            let subject = &subjects[index];
            stop.check()?;
            eprintln!("round {} of {}: {}", round + 1, options.rounds, subject.name);
            measure(subject, &mut samples[index], options).with_context(|| subject.name)?;
        }
    }
    let rows: Vec<_> =
        subjects.iter().zip(&samples).map(|(it, of)| row(it, of, &samples[0], options)).collect();
    print(&rows, &skipped);
    let system = rustix::system::uname();
    let document = json!({
        "bench": "unix", "kernel": system.release().to_string_lossy(), "machine": system.machine().to_string_lossy(),
        "cpu": cpu, "rounds": options.rounds, "mib": options.mib, "write": 65536, "message": 64,
        "rows": rows, "skipped": skipped,
    });
    drop(subjects);
    mesh.end()?;
    report::write(workspace, "unix", &document)
}

/// Children inherit it, so that client, server and relay share one CPU.
fn pin_to_one_cpu() -> anyhow::Result<usize> {
    let allowed = sched_getaffinity(None).context("sched_getaffinity")?;
    let cpu = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("no CPU is allowed")?;
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).context("sched_setaffinity")?;
    Ok(cpu)
}

fn measure(subject: &Subject, samples: &mut Samples, options: &Options) -> anyhow::Result<()> {
    let cpu = || subject.relay.map_or(Ok(Duration::ZERO), |relay| relay.cpu());
    let before = cpu()?;
    let (throughput, connection) = load::throughput(&subject.target, options.mib * 1024 * 1024)?;
    samples.throughput.push(throughput);
    samples.cpu += cpu()?.saturating_sub(before);
    drop(connection);
    samples.round_trip.push(median(&load::round_trips(&subject.target, options.round_trips)?));
    let limit = Duration::from_millis(options.connect_ms);
    samples.connections.push(load::connections(&subject.target, limit)?);
    Ok(())
}

fn row(subject: &Subject, samples: &Samples, direct: &Samples, options: &Options) -> Value {
    // Of each round for itself: what slows the machine for a while slows both.
    let ratio = |own: &[f64], direct: &[f64]| {
        median(&own.iter().zip(direct).map(|(own, direct)| own / direct).collect::<Vec<_>>())
    };
    let gib = options.mib as f64 / 1024.0 * f64::from(options.rounds);
    json!({
        "name": subject.name,
        "throughput_mib_s": median(&samples.throughput),
        "round_trip_p50_us": median(&samples.round_trip),
        "connections_per_s": median(&samples.connections),
        "ratio": {
            "throughput_mib_s": ratio(&samples.throughput, &direct.throughput),
            "round_trip_p50_us": ratio(&samples.round_trip, &direct.round_trip),
            "connections_per_s": ratio(&samples.connections, &direct.connections),
        },
        "relay_cpu_s_per_gib": subject.relay.map(|_| samples.cpu.as_secs_f64() / gib),
        "samples": {
            "throughput_mib_s": samples.throughput,
            "round_trip_p50_us": samples.round_trip,
            "connections_per_s": samples.connections,
        },
    })
}

fn print(rows: &[Value], skipped: &[String]) {
    let columns = ["throughput_mib_s", "round_trip_p50_us", "connections_per_s"];
    let number = |row: &Value, column: &str| row[column].as_f64().unwrap_or(f64::NAN);
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut cells = vec![row["name"].as_str().unwrap_or_default().to_owned()];
            for (column, digits) in columns.iter().zip([0, 2, 0]) {
                let value = number(row, column);
                cells.push(format!("{value:.digits$}"));
                cells.push(format!("{:.2}", number(&row["ratio"], column)));
            }
            cells.push(row["relay_cpu_s_per_gib"].as_f64().map_or("-".to_owned(), |it| format!("{it:.3}")));
            cells
        })
        .collect();
    let head = ["", "MiB/s", "ratio", "64 B p50 us", "ratio", "connections/s", "ratio", "relay CPU s/GiB"];
    report::table(&head, &lines);
    println!(
        "one CPU; medians; ratios to direct in the same round; aimed at: bulk >= {}, round trip <= {}, connections >= {}",
        AIM[0], AIM[1], AIM[2]
    );
    for name in skipped {
        println!("SKIPPED: {name}");
    }
}
