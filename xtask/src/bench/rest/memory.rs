//! Whether a relay's memory stays where it is: resident before and after many requests and very large bodies.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::client::{self, Gets, Until};
use super::figures::{Framed, Way};
use super::measure::transfer;
use super::subject::{Row, Subject};
use crate::bench::report;
use crate::process::Process;
use crate::stop::Stop;

/// Connections at once.
const CONNECTIONS: usize = 32;
/// Requests between two looks whether the user wants an end.
const BATCH: u64 = 50_000;
/// What goes first, so that buffers and pools are there.
const WARM: (u64, u64) = (10_000, 256 << 20);

/// How much goes through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) requests: u64,
    /// Up, and as many down.
    pub(super) bytes: u64,
}

/// Resident memory of a relay with its workers, in KiB.
#[derive(Debug)]
pub(super) struct Growth {
    row: Row,
    before: u64,
    after_requests: u64,
    after_upload: u64,
    after_download: u64,
    /// The most there was since `before`.
    peak: u64,
}

impl Growth {
    /// Sends all of it through, and looks in between.
    pub(super) fn measure(
        stop: &Stop,
        subject: &Subject,
        relay: Process,
        load: Load,
    ) -> anyhow::Result<Self> {
        requests(stop, subject, WARM.0.min(load.requests)).context("warm-up")?;
        for way in [Way::Upload, Way::Download] {
            one_body(subject, way, WARM.1.min(load.bytes)).context("warm-up")?;
        }
        for process in all(relay) {
            process.forget_peak().context("clear_refs")?;
        }
        let before = resident(relay, false)?;
        requests(stop, subject, load.requests).context("requests")?;
        let after_requests = resident(relay, false)?;
        stop.check()?;
        one_body(subject, Way::Upload, load.bytes).context("upload")?;
        let after_upload = resident(relay, false)?;
        stop.check()?;
        one_body(subject, Way::Download, load.bytes).context("download")?;
        let after_download = resident(relay, false)?;
        let peak = resident(relay, true)?;
        Ok(Self { row: subject.row, before, after_requests, after_upload, after_download, peak })
    }

    /// What there is more than before.
    fn kib(&self) -> i64 {
        self.after_download.cast_signed() - self.before.cast_signed()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.row.to_string(), "before_kib": self.before, "after_requests_kib": self.after_requests,
            "after_upload_kib": self.after_upload, "after_download_kib": self.after_download,
            "growth_kib": self.kib(), "peak_kib": self.peak,
        })
    }
}

/// Prints a line for each.
pub(super) fn print(load: Load, all: &[Growth]) {
    let title = format!("{} requests, {} MiB up and down: KiB", load.requests, load.bytes >> 20);
    let lines: Vec<_> = all
        .iter()
        .map(|it| {
            let numbers = [it.before, it.after_requests, it.after_upload, it.after_download];
            let mut cells = vec![it.row.to_string()];
            cells.extend(numbers.map(|number| number.to_string()));
            cells.extend([format!("{:+}", it.kib()), it.peak.to_string()]);
            cells
        })
        .collect();
    let head = [&*title, "before", "after requests", "after upload", "after download", "growth", "peak"];
    report::table(&head, &lines);
}

fn requests(stop: &Stop, subject: &Subject, count: u64) -> anyhow::Result<()> {
    let mut gets = Gets::connect(&subject.target, CONNECTIONS)?;
    let mut left = count;
    while left > 0 {
        stop.check()?;
        let batch = left.min(BATCH);
        gets.run(Until::Requests(batch))?;
        left -= batch;
    }
    Ok(())
}

fn one_body(subject: &Subject, way: Way, bytes: u64) -> anyhow::Result<()> {
    transfer(&mut client::connect(&subject.target)?, way, Framed::Length, bytes)?;
    Ok(())
}

fn resident(relay: Process, peak: bool) -> anyhow::Result<u64> {
    all(relay).map(|process| process.memory_kib(peak)).sum()
}

/// The process and its children.
fn all(relay: Process) -> impl Iterator<Item = Process> {
    let children = relay.children().into_iter().filter_map(|pid| Process::of(pid).ok());
    [relay].into_iter().chain(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_may_be_less_than_none() {
        let row = Row::Ours;
        let growth =
            Growth { row, before: 9, after_requests: 12, after_upload: 8, after_download: 7, peak: 12 };
        assert_eq!(growth.kib(), -2);
        assert_eq!(growth.json()["growth_kib"], json!(-2));
    }

    #[test]
    fn our_own_memory_is_known() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(resident(own, true).unwrap() > 0 && resident(own, false).unwrap() > 0);
    }
}
