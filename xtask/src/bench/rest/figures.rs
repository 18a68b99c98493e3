//! What is measured, and how rows stand to each other.

use std::fmt;

use serde_json::{Value, json};

use super::subject::Row;
use crate::bench::samples::Samples;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Measure {
    /// Small GETs over connections that are kept: requests a second, latency, the relay's CPU time.
    Get,
    /// A large body with Content-Length to the provider.
    Upload,
    /// A large body with Content-Length from the provider.
    Download,
    /// Both again, chunked.
    Chunked,
    /// The relay's memory before and after many requests and very large bodies.
    Memory,
}

/// A job of each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// Small GETs on so many connections at once.
    Get(usize),
    /// One large body.
    Body(Way, Framed),
}

/// Where a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Upload,
    Download,
}

/// How it is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Framed {
    Length,
    Chunked,
}

impl Measure {
    /// Its jobs in a round.
    pub(super) fn jobs(self, connections: &[u16]) -> Vec<Job> {
        match self {
            Self::Get => connections.iter().map(|&count| Job::Get(usize::from(count))).collect(),
            Self::Upload => vec![Job::Body(Way::Upload, Framed::Length)],
            Self::Download => vec![Job::Body(Way::Download, Framed::Length)],
            Self::Chunked => [Way::Upload, Way::Download].map(|way| Job::Body(way, Framed::Chunked)).into(),
            Self::Memory => Vec::new(),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(1) => f.write_str("get, 1 connection"),
            Self::Get(count) => write!(f, "get, {count} connections"),
            Self::Body(way, framed) => {
                f.write_str(if *way == Way::Upload { "upload" } else { "download" })?;
                f.write_str(if *framed == Framed::Chunked { ", chunked" } else { "" })
            }
        }
    }
}

/// What was read off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    PerSecond,
    P50Us,
    P99Us,
    /// What the relay adds to the median of the direct socket in the same round.
    AddedP50Us,
    /// CPU seconds of the relay for 100,000 requests.
    RelayPerRequests,
    MibPerSecond,
    /// CPU seconds of the relay for a GiB.
    RelayPerGib,
}

impl What {
    /// Its name in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "requests_per_s",
            Self::P50Us => "p50_us",
            Self::P99Us => "p99_us",
            Self::AddedP50Us => "added_p50_us",
            Self::RelayPerRequests => "relay_cpu_s_per_100k_requests",
            Self::MibPerSecond => "mib_per_s",
            Self::RelayPerGib => "relay_cpu_s_per_gib",
        }
    }

    /// Whether more of it is better.
    fn is_rate(self) -> bool {
        matches!(self, Self::PerSecond | Self::MibPerSecond)
    }
}

/// One figure.
pub(super) type Figure = (Job, What);

/// The rows with their samples.
#[derive(Debug, Default)]
pub(super) struct Sheet(Vec<(Row, Samples<Figure>)>);

impl Sheet {
    pub(super) fn new(rows: impl Iterator<Item = Row>) -> Self {
        Self(rows.map(|row| (row, Samples::default())).collect())
    }

    /// In their order.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        self.0.iter().map(|(row, _)| *row)
    }

    pub(super) fn add(&mut self, row: Row, round: u32, figure: Figure, value: f64) {
        if let Some((_, samples)) = self.0.iter_mut().find(|(it, _)| *it == row) {
            samples.add(round, figure, value);
        }
    }

    /// What each relay added to the direct socket's latency in this round.
    pub(super) fn add_differences(&mut self, round: u32, job: Job) {
        let of = |row: Row| Some((row, self.of(row)?.of_round(round, (job, What::P50Us))?));
        let Some((_, direct)) = of(Row::Direct) else { return };
        let relays = self.rows().filter(|row| *row != Row::Direct).filter_map(of).collect::<Vec<_>>();
        for (row, p50) in relays {
            self.add(row, round, (job, What::AddedP50Us), p50 - direct);
        }
    }

    pub(super) fn median(&self, row: Row, figure: Figure) -> Option<f64> {
        self.of(row)?.median(figure)
    }

    /// To another row, in the same round.
    pub(super) fn ratio(&self, row: Row, figure: Figure, to: Option<Row>) -> Option<f64> {
        self.of(row)?.ratio(figure, self.of(to?))
    }

    /// The better of the two references in this figure, by their medians.
    pub(super) fn better(&self, figure: Figure) -> Option<Row> {
        let median = |row| Some((row, self.median(row, figure)?));
        let medians = [Row::Nginx, Row::Haproxy].into_iter().filter_map(median);
        let sign = if figure.1.is_rate() { -1.0 } else { 1.0 };
        medians.min_by(|(_, one), (_, other)| (sign * one).total_cmp(&(sign * other))).map(|(row, _)| row)
    }

    pub(super) fn json(&self) -> Value {
        let figure = |row: Row, figure: Figure, samples: Vec<f64>| {
            let better = self.better(figure);
            json!({
                "measure": figure.0.to_string(), "what": figure.1.name(), "median": self.median(row, figure),
                "to_direct": self.ratio(row, figure, Some(Row::Direct)), "to_better": self.ratio(row, figure, better),
                "better": better.map(|it| it.to_string()), "samples": samples,
            })
        };
        let row = |(row, samples): &(Row, Samples<Figure>)| {
            let figures: Vec<_> = samples.iter().map(|(it, samples)| figure(*row, it, samples)).collect();
            json!({"name": row.to_string(), "figures": figures})
        };
        self.0.iter().map(row).collect()
    }

    fn of(&self, wanted: Row) -> Option<&Samples<Figure>> {
        self.0.iter().find(|(row, _)| *row == wanted).map(|(_, samples)| samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: Job = Job::Get(1);

    fn sheet(what: What, values: [f64; 4]) -> Sheet {
        let rows = [Row::Direct, Row::Nginx, Row::Haproxy, Row::Ours];
        let mut sheet = Sheet::new(rows.into_iter());
        for (row, value) in rows.into_iter().zip(values) {
            sheet.add(row, 0, (JOB, what), value);
        }
        sheet
    }

    #[test]
    fn the_better_reference_has_the_higher_rate_or_the_lower_cost() {
        let rates = sheet(What::PerSecond, [100.0, 50.0, 40.0, 60.0]);
        assert_eq!(rates.better((JOB, What::PerSecond)), Some(Row::Nginx));
        assert_eq!(rates.ratio(Row::Ours, (JOB, What::PerSecond), Some(Row::Nginx)), Some(1.2));
        let costs = sheet(What::P50Us, [1.0, 5.0, 4.0, 6.0]);
        assert_eq!(costs.better((JOB, What::P50Us)), Some(Row::Haproxy));
        assert_eq!(costs.better((JOB, What::P99Us)), None);
    }

    #[test]
    fn what_is_added_is_added_to_the_direct_socket() {
        let mut sheet = sheet(What::P50Us, [4.0, 10.0, 12.0, 9.0]);
        sheet.add_differences(0, JOB);
        let added = |row| sheet.median(row, (JOB, What::AddedP50Us));
        assert_eq!(sheet.rows().map(added).collect::<Vec<_>>(), [None, Some(6.0), Some(8.0), Some(5.0)]);
    }

    #[test]
    fn json_names_the_better_one() {
        let json = sheet(What::MibPerSecond, [8.0, 2.0, 4.0, 6.0]).json();
        let ours = &json[3]["figures"][0];
        assert_eq!((&ours["better"], &ours["to_better"]), (&json!("haproxy"), &json!(1.5)));
        assert_eq!((&ours["what"], &ours["to_direct"]), (&json!("mib_per_s"), &json!(0.75)));
    }

    #[test]
    fn measures_have_jobs() {
        assert_eq!(Measure::Get.jobs(&[1, 32]), [Job::Get(1), Job::Get(32)]);
        let names: Vec<_> = Measure::Chunked.jobs(&[1]).iter().map(Job::to_string).collect();
        assert_eq!(names, ["upload, chunked", "download, chunked"]);
        assert!(Measure::Memory.jobs(&[1]).is_empty());
    }
}
