//! One job of one row: connections that are warm, a run, and what it cost the relay.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context as _;

use super::client::{self, Gets, Until};
use super::figures::{Figure, Framed, Job, Way, What};
use super::subject::Subject;
use super::wire::Framing;
use crate::bench::stats::percentile;

/// Of a body that goes first on its connection, so that buffers are there.
const WARM: u64 = 64 << 20;
const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1 << 20) as f64;

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amounts {
    /// Of small requests.
    pub(super) run: Duration,
    /// Bytes of a body.
    pub(super) body: u64,
}

/// Runs it, and gives what was read off.
pub(super) fn run(subject: &Subject, job: Job, amounts: Amounts) -> anyhow::Result<Vec<(Figure, f64)>> {
    let figures = match job {
        Job::Get(connections) => gets(subject, connections, amounts.run)?,
        Job::Body(way, framed) => body(subject, way, framed, amounts.body)?,
    };
    Ok(figures.into_iter().map(|(what, value)| ((job, what), value)).collect())
}

fn gets(subject: &Subject, connections: usize, time: Duration) -> anyhow::Result<Vec<(What, f64)>> {
    let mut gets = Gets::connect(&subject.target, connections)?;
    gets.run(Until::Time(time / 4)).context("warm-up")?;
    let before = cpu(subject);
    let served = gets.run(Until::Time(time))?;
    let used = cpu(subject).saturating_sub(before);
    let count = served.waits.len() as f64;
    let mut figures = vec![
        (What::PerSecond, count / served.elapsed.as_secs_f64()),
        (What::P50Us, percentile(&served.waits, 0.5)),
        (What::P99Us, percentile(&served.waits, 0.99)),
    ];
    if subject.relay.is_some() {
        figures.push((What::RelayPerRequests, used.as_secs_f64() / count * 1e5));
    }
    Ok(figures)
}

fn body(subject: &Subject, way: Way, framed: Framed, bytes: u64) -> anyhow::Result<Vec<(What, f64)>> {
    let mut stream = client::connect(&subject.target)?;
    transfer(&mut stream, way, framed, WARM.min(bytes)).context("warm-up")?;
    let before = cpu(subject);
    let elapsed = transfer(&mut stream, way, framed, bytes)?;
    let used = cpu(subject).saturating_sub(before);
    let mut figures = vec![(What::MibPerSecond, bytes as f64 / MIB / elapsed.as_secs_f64())];
    if subject.relay.is_some() {
        figures.push((What::RelayPerGib, used.as_secs_f64() / (bytes as f64 / GIB)));
    }
    Ok(figures)
}

/// Sends or receives one body.
pub(super) fn transfer(
    stream: &mut UnixStream,
    way: Way,
    framed: Framed,
    bytes: u64,
) -> io::Result<Duration> {
    let framing = match framed {
        Framed::Length => Framing::Length(bytes),
        Framed::Chunked => Framing::Chunked,
    };
    match way {
        Way::Upload => client::upload(stream, framing, bytes),
        Way::Download => client::download(stream, framing, bytes),
    }
}

/// What the relay has used so far.
fn cpu(subject: &Subject) -> Duration {
    subject.relay.map_or(Duration::ZERO, |relay| relay.run_time())
}
