//! `bench unix`: a link's two paths beside a direct socket and other relays, in interleaved rounds, so that
//! what slows the machine slows every row; on one CPU, and on all.

mod figures;
mod measure;
mod subject;
mod tables;
mod usage;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum as _};
use serde_json::{Value, json};

use self::figures::{Figures, Measure};
use self::measure::{Job, Sheet, Times};
use self::subject::{Ends, Row, Subject};
use super::mesh::Mesh;
use super::placement::{Pinned, Placement};
use super::{pod, report};
use crate::stop::Stop;
use crate::workspace::Workspace;

/// Options of `bench unix`.
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
    /// Connections at once, in turn.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64], value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: Vec<u16>,
    /// Only on one CPU.
    #[arg(long, conflicts_with = "unpinned")]
    pinned: bool,
    /// Only on all CPUs.
    #[arg(long)]
    unpinned: bool,
    /// Milliseconds of a run.
    #[arg(long, default_value_t = 500)]
    run_ms: u64,
    /// Milliseconds of bulk before it counts.
    #[arg(long, default_value_t = 1000)]
    warm_ms: u64,
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

    fn placements(&self) -> &'static [Placement] {
        match (self.pinned, self.unpinned) {
            (true, _) => &[Placement::OneCpu],
            (_, true) => &[Placement::AllCpus],
            _ => &[Placement::OneCpu, Placement::AllCpus],
        }
    }

    fn rounds(&self) -> u32 {
        if self.quick { 2 } else { self.rounds.max(1) }
    }

    fn times(&self) -> Times {
        let (run, warm) = if self.quick { (150, 300) } else { (self.run_ms, self.warm_ms) };
        Times { run: Duration::from_millis(run), warm: Duration::from_millis(warm) }
    }

    /// Measures with the number of connections.
    fn jobs(&self) -> Vec<(Measure, usize)> {
        let counts = |measure| match measure {
            Measure::Paced | Measure::Waits => vec![1],
            _ => self.connections.iter().map(|&count| usize::from(count)).collect(),
        };
        let with = |&measure: &Measure| counts(measure).into_iter().map(move |count| (measure, count));
        self.measures().iter().flat_map(with).collect()
    }
}

/// What came of one placement.
struct Outcome {
    placement: Placement,
    cpus: Vec<usize>,
    rows: Vec<(Row, Figures)>,
    /// What is to be said beside the figures.
    notes: Vec<String>,
    kernel_path: Value,
    /// Measures that broke off.
    failed: usize,
}

pub(crate) fn run(workspace: &Workspace, stop: &Stop, options: &Options) -> anyhow::Result<()> {
    let mut outcomes = Vec::new();
    for &placement in options.placements() {
        let outcome = one_placement(workspace, stop, options, placement)?;
        tables::print(placement, &outcome.rows, &options.jobs());
        println!();
        for line in tables::aims(placement, &outcome.rows).iter().chain(&outcome.notes) {
            println!("{placement}: {line}");
        }
        outcomes.push(outcome);
    }
    println!(
        "medians; ratios to direct and to the reference in the same round; CPU of client, server, relay and \
         the kernel's workers of each CPU"
    );
    let system = rustix::system::uname();
    let document = json!({
        "bench": "unix", "kernel": system.release().to_string_lossy(), "machine": system.machine().to_string_lossy(),
        "rounds": options.rounds(), "run_ms": options.times().run.as_millis(), "quick": options.quick,
        "placements": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    });
    report::write(workspace, "unix", &document)?;
    match outcomes.iter().map(|it| it.failed).sum::<usize>() {
        0 => Ok(()),
        failed => bail!("{failed} measures broke off"),
    }
}

impl Outcome {
    fn json(&self) -> Value {
        let (direct, reference) =
            (tables::of(&self.rows, Row::Direct), tables::of(&self.rows, Row::Reference));
        let row = |(row, figures): &(Row, Figures)| json!({"name": row.to_string(), "figures": figures.json(direct, reference), "waits": figures.waits_json()});
        json!({
            "placement": self.placement.to_string(), "cpus": self.cpus, "kernel_path": self.kernel_path,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(), "notes": self.notes,
            "aims": tables::aims(self.placement, &self.rows),
        })
    }
}

fn one_placement(
    workspace: &Workspace,
    stop: &Stop,
    options: &Options,
    placement: Placement,
) -> anyhow::Result<Outcome> {
    let pinned = Pinned::to(placement)?;
    let mesh = Mesh::start(workspace, &[])?;
    let server = mesh.path("server.sock");
    let provider = pod::start(pod::Run::Shared, std::slice::from_ref(&server))?;
    let consumer = pod::start(pod::Run::Shared, &[])?;
    let ends = Ends {
        mesh: &mesh,
        provider: &provider,
        consumer: &consumer,
        server: &server,
        cpus: pinned.cpus.len(),
    };
    let (subjects, skipped) = subject::some(&ends, options.rows())?;
    let mut outcome = Outcome {
        placement,
        cpus: pinned.cpus.clone(),
        rows: subjects.iter().map(|it| (it.row, Figures::default())).collect(),
        notes: skipped.into_iter().map(|name| format!("SKIPPED: {name}")).collect(),
        kernel_path: mesh.status()?["kernel_path"].take(),
        failed: 0,
    };
    for subject in &subjects {
        if subject.is_link() && subject.row != Row::User && !subject.takes_kernel() {
            let why = mesh.link(&subject.target)?["path_reason"].take();
            outcome.notes.push(format!("{} goes through user space: {why}", subject.row));
        }
    }
    for round in 0..options.rounds() {
        eprintln!("{placement}: round {} of {}", round + 1, options.rounds());
        one_round(stop, options, &ends, &subjects, round, &mut outcome)?;
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
    for (measure, connections) in options.jobs() {
        // Another one is first each time: what a row leaves in caches and frequencies is not always the
        // same one's luck.
        for turn in 0..subjects.len() {
            stop.check()?;
            let index = (turn + round as usize) % subjects.len();
            let subject = &subjects[index];
            let (mut outside, figures) = (0, &mut outcome.rows[index].1);
            let job = Job { ends, subject, measure, connections, times: options.times() };
            let result = job.run(&mut Sheet { round, figures, outside: &mut outside });
            let place = format!("{}, {measure:?}, {connections}, round {}", subject.row, round + 1);
            if outside > 0 {
                outcome.notes.push(format!("{place}: not all connections got into the kernel"));
            }
            if let Err(error) = result {
                outcome.failed += 1;
                outcome.notes.push(format!("FAILED: {place}: {error:#}{}", said(ends, subject)));
            }
        }
    }
    Ok(())
}

/// What the daemon has to say about a link whose measure broke off.
fn said(ends: &Ends<'_>, subject: &Subject) -> String {
    if !subject.is_link() {
        return String::new();
    }
    let counters =
        ends.mesh.link(&subject.target).map(|mut link| link["counters"].take()).unwrap_or_default();
    format!("\ncounters {counters}\n{}", ends.mesh.log())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

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
    fn everything_is_measured_unless_told_otherwise() {
        let all = options(&[]);
        assert_eq!((all.rows().len(), all.measures().len()), (7, 5));
        assert_eq!(all.placements(), [Placement::OneCpu, Placement::AllCpus]);
        assert_eq!(all.jobs().len(), 8);
    }

    #[test]
    fn a_subset_can_be_chosen() {
        let some = options(&["--rows", "kernel,direct", "--measures=rtt,paced", "--pinned", "--quick"]);
        assert_eq!(some.rows(), [Row::Kernel, Row::Direct]);
        assert_eq!(some.placements(), [Placement::OneCpu]);
        assert_eq!(some.jobs(), [(Measure::Rtt, 1), (Measure::Rtt, 64), (Measure::Paced, 1)]);
        assert_eq!(some.rounds(), 2);
        assert!(Line::try_parse_from(["bench", "--pinned", "--unpinned"]).is_err());
    }
}
