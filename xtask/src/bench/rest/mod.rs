//! `bench rest`: a rest link beside a direct socket, nginx and haproxy, in interleaved rounds, so that what slows the
//! machine slows every row; all on one CPU, or on all.

mod client;
mod figures;
mod measure;
mod memory;
pub(crate) mod origin;
mod references;
mod subject;
mod tables;
mod wire;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum as _};
use serde_json::{Value, json};

use self::figures::{Job, Measure, Sheet};
use self::measure::Amounts;
use self::memory::{Growth, Load};
use self::subject::{Ends, Row, Subject};
use super::mesh::Mesh;
use super::placement::{Pinned, Placement};
use super::{pod, report};
use crate::stop::Stop;
use crate::torture;
use crate::workspace::Workspace;

/// Options of `bench rest`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds; each figure is the median over them.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Only these rows.
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Only these measures.
    #[arg(long, value_enum, value_delimiter = ',')]
    measures: Vec<Measure>,
    /// Connections at once of small requests, in turn.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32], value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: Vec<u16>,
    /// On all CPUs instead of one.
    #[arg(long)]
    unpinned: bool,
    /// Milliseconds of a run of small requests.
    #[arg(long, default_value_t = 500)]
    run_ms: u64,
    /// MiB of a body.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    body_mib: u64,
    /// Requests of the measure of memory.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Bytes of each of its two bodies (with k, M, G or T for the powers of 1000).
    #[arg(long, value_name = "SIZE", default_value_t = 10 << 30, value_parser = torture::size)]
    bytes: u64,
    /// Two rounds of short runs: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
}

impl Options {
    fn rows(&self) -> &[Row] {
        if self.rows.is_empty() { Row::value_variants() } else { &self.rows }
    }

    fn measures(&self) -> &[Measure] {
        if self.measures.is_empty() { Measure::value_variants() } else { &self.measures }
    }

    fn placement(&self) -> Placement {
        if self.unpinned { Placement::AllCpus } else { Placement::OneCpu }
    }

    fn rounds(&self) -> u32 {
        if self.quick { 2 } else { self.rounds.max(1) }
    }

    fn amounts(&self) -> Amounts {
        let (run, mib) = if self.quick { (150, 64) } else { (self.run_ms, self.body_mib) };
        Amounts { run: Duration::from_millis(run), body: mib << 20 }
    }

    /// What the measure of memory sends, if it is wanted.
    fn load(&self) -> Option<Load> {
        let load = Load { requests: self.requests, bytes: self.bytes };
        let short = Load { requests: load.requests.min(50_000), bytes: load.bytes.min(256 << 20) };
        self.measures().contains(&Measure::Memory).then_some(if self.quick { short } else { load })
    }

    fn jobs(&self) -> Vec<Job> {
        self.measures().iter().flat_map(|measure| measure.jobs(&self.connections)).collect()
    }
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    sheet: Sheet,
    memory: Vec<Growth>,
    /// Rows that could not run, jobs that broke off, and why.
    failures: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, stop: &Stop, options: &Options) -> anyhow::Result<()> {
    let (placement, load) = (options.placement(), options.load());
    let pinned = Pinned::to(placement)?;
    let outcome = measured(workspace, stop, options, pinned.cpus.len())?;
    tables::print(placement, &outcome.sheet, &options.jobs());
    if let Some(load) = load {
        memory::print(load, &outcome.memory);
    }
    println!("\nmedians; ratios to direct, and to the better of nginx and haproxy, in the same round");
    for line in &outcome.failures {
        println!("FAILED: {line}");
    }
    let system = rustix::system::uname();
    let document = json!({
        "bench": "rest", "kernel": system.release().to_string_lossy(), "machine": system.machine().to_string_lossy(),
        "placement": placement.to_string(), "cpus": pinned.cpus, "rounds": options.rounds(), "quick": options.quick,
        "run_ms": options.amounts().run.as_millis(), "body_bytes": options.amounts().body,
        "rows": outcome.sheet.json(), "failures": outcome.failures,
        "memory": load.map(|load| memory_json(load, &outcome.memory)),
    });
    report::write(workspace, "rest", &document)?;
    match outcome.failures.len() {
        0 => Ok(()),
        failed => bail!("{failed} rows or measures failed"),
    }
}

fn memory_json(load: Load, all: &[Growth]) -> Value {
    let rows: Vec<_> = all.iter().map(Growth::json).collect();
    json!({"requests": load.requests, "bytes": load.bytes, "rows": rows})
}

fn measured(workspace: &Workspace, stop: &Stop, options: &Options, cpus: usize) -> anyhow::Result<Outcome> {
    let mesh = Mesh::start(workspace, &[])?;
    let origin = mesh.path("origin.sock");
    let provider = pod::origin(&origin)?;
    let consumer = pod::start(pod::Run::Shared, &[])?;
    let ends = Ends { mesh: &mesh, provider: &provider, consumer: &consumer, origin: &origin, cpus };
    let mut outcome = Outcome::default();
    let mut subjects = Vec::new();
    for &row in options.rows() {
        stop.check()?;
        match Subject::start(&ends, row) {
            Ok(subject) => subjects.push(subject),
            Err(error) => outcome.failures.push(format!("{row}: {error:#}")),
        }
    }
    outcome.sheet = Sheet::new(subjects.iter().map(|it| it.row));
    for round in 0..options.rounds() {
        eprintln!("{}: round {} of {}", options.placement(), round + 1, options.rounds());
        one_round(stop, options, &ends, &subjects, round, &mut outcome)?;
    }
    if let Some(load) = options.load() {
        for subject in &subjects {
            let Some(relay) = subject.relay else { continue };
            eprintln!("memory of {}", subject.row);
            match Growth::measure(stop, subject, relay, load) {
                Ok(growth) => outcome.memory.push(growth),
                Err(error) => outcome.failures.push(broken(&ends, subject, "memory", &error)),
            }
            stop.check()?;
        }
    }
    drop(subjects);
    mesh.end()?;
    Ok(outcome)
}

fn one_round(
    stop: &Stop,
    options: &Options,
    ends: &Ends<'_>,
    subjects: &[Subject],
    round: u32,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    for job in options.jobs() {
        // Another one is first each time: what a row leaves in caches and frequencies is not always the
        // same one's luck.
        for turn in 0..subjects.len() {
            stop.check()?;
            let subject = &subjects[(turn + round as usize) % subjects.len()];
            match measure::run(subject, job, options.amounts()) {
                Ok(figures) => {
                    for (figure, value) in figures {
                        outcome.sheet.add(subject.row, round, figure, value);
                    }
                }
                Err(error) => {
                    let place = format!("{job}, round {}", round + 1);
                    outcome.failures.push(broken(ends, subject, &place, &error));
                }
            }
        }
        outcome.sheet.add_differences(round, job);
    }
    Ok(())
}

/// What broke off and, of a link, what the daemon has to say about it.
fn broken(ends: &Ends<'_>, subject: &Subject, place: &str, error: &anyhow::Error) -> String {
    let mut text = format!("{}, {place}: {error:#}", subject.row);
    if subject.row == Row::Ours {
        let counters = ends.mesh.link(&subject.target).map(|mut link| link["counters"].take());
        text += &format!("\ncounters {}\n{}", counters.unwrap_or_default(), ends.mesh.log());
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::figures::{Framed, Way};
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> Options {
        Line::try_parse_from([&["bench"], line].concat()).unwrap().options
    }

    #[test]
    fn everything_is_measured_on_one_cpu_unless_told_otherwise() {
        let all = options(&[]);
        assert_eq!((all.rows().len(), all.measures().len(), all.jobs().len()), (4, 5, 6));
        assert_eq!(all.placement(), Placement::OneCpu);
        assert_eq!(all.amounts().body, 1 << 30);
        let load = all.load().unwrap();
        assert_eq!((load.requests, load.bytes), (1_000_000, 10 << 30));
    }

    #[test]
    fn a_subset_can_be_chosen() {
        let some =
            options(&["--rows", "ours,nginx", "--measures=get,upload", "--connections=4", "--unpinned"]);
        assert_eq!(some.rows(), [Row::Ours, Row::Nginx]);
        assert_eq!(some.jobs(), [Job::Get(4), Job::Body(Way::Upload, Framed::Length)]);
        assert_eq!(some.placement(), Placement::AllCpus);
        assert!(some.load().is_none());
    }

    #[test]
    fn quick_is_less_of_everything() {
        let quick = options(&["--quick", "--bytes=5G", "--requests=7"]);
        assert_eq!((quick.rounds(), quick.amounts().body), (2, 64 << 20));
        let load = quick.load().unwrap();
        assert_eq!((load.requests, load.bytes), (7, 256 << 20));
    }
}
