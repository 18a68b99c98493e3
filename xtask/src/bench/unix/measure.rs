//! One measure of one row: connections that are warm, a run, and what it cost.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::figures::{Figure, Figures, Measure, What};
use super::subject::{Ends, Subject};
use super::tables::{MESSAGES, SLOW, WRITES};
use super::usage::{Usage, send_buffers};
use crate::bench::load::{Echo, Sink, once};
use crate::bench::stats::percentile;

/// Longer than the daemon takes to look at what the kernel has moved.
const LOOK: Duration = Duration::from_millis(300);
/// Of a run that finds out how much fits into the time of one.
const TRIAL: u64 = 16 << 20;
/// Fresh connections of a measure of waits, and how long each lives.
const FRESH: (usize, Duration) = (16, Duration::from_millis(60));
const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1 << 20) as f64;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) run: Duration,
    /// Of bulk before it counts: the kernel path's buffers grow.
    pub(super) warm: Duration,
}

/// Where samples go.
pub(super) struct Sheet<'a> {
    pub(super) round: u32,
    pub(super) figures: &'a mut Figures,
    /// Connections of which not all got into the kernel though their link asks for it.
    pub(super) outside: &'a mut u32,
}

/// A measure of a row.
pub(super) struct Job<'a> {
    pub(super) ends: &'a Ends<'a>,
    pub(super) subject: &'a Subject,
    pub(super) measure: Measure,
    pub(super) connections: usize,
    pub(super) times: Times,
}

impl Job<'_> {
    pub(super) fn run(&self, sheet: &mut Sheet<'_>) -> anyhow::Result<()> {
        match self.measure {
            Measure::Bulk => self.bulk(sheet),
            Measure::Rtt => self.round_trips(sheet),
            Measure::Connect => self.connect(sheet),
            Measure::Paced => self.paced(sheet),
            Measure::Waits => self.waits(sheet),
        }
    }

    fn bulk(&self, sheet: &mut Sheet<'_>) -> anyhow::Result<()> {
        let mut sinks = self.sinks(self.connections)?;
        self.warm_up(sheet, || sinks.iter_mut().try_for_each(|it| it.send(&[0; 64], 64, 0).map(drop)))?;
        send_for(&mut sinks, WRITES[1], self.times.warm)?;
        for size in WRITES {
            let bytes = fitting(send_all(&mut sinks, size, TRIAL)?, self.times.run);
            let counted = self.counted(size == WRITES[1])?;
            let before = self.usage();
            let elapsed = send_all(&mut sinks, size, bytes)?;
            let used = self.usage().since(before);
            let gib = bytes as f64 / GIB;
            let mut add = |what, value| self.add(sheet, size, what, value);
            add(What::MibPerSecond, bytes as f64 / MIB / elapsed.as_secs_f64());
            add(What::CpuSecondsPerGib, used.total().as_secs_f64() / gib);
            add(What::KworkersMsPerGib, used.kworkers.as_secs_f64() * 1e3 / gib);
            if let Some(relay) = self.subject.relay {
                add(What::RelayMsPerGib, used.relay.as_secs_f64() * 1e3 / gib);
                add(What::SendBuffersMib, send_buffers(relay) as f64 / MIB);
            }
            self.add_share(sheet, size, counted)?;
        }
        Ok(())
    }

    fn round_trips(&self, sheet: &mut Sheet<'_>) -> anyhow::Result<()> {
        let connect = |_| Echo::connect(&self.subject.target);
        let mut echoes = (0..self.connections).map(connect).collect::<io::Result<Vec<_>>>()?;
        let mut answer = [0; 64];
        self.warm_up(sheet, || {
            echoes.iter_mut().try_for_each(|it| it.round_trip(&[0; 64], &mut answer).map(drop))
        })?;
        for size in MESSAGES {
            trips_of_all(&mut echoes, size, self.times.run / 8)?;
            let counted = self.counted(size == MESSAGES[0])?;
            let samples = trips_of_all(&mut echoes, size, self.times.run)?;
            self.add(sheet, size, What::P50Us, percentile(&samples, 0.5));
            self.add(sheet, size, What::P99Us, percentile(&samples, 0.99));
            self.add_share(sheet, size, counted)?;
        }
        Ok(())
    }

    fn connect(&self, sheet: &mut Sheet<'_>) -> anyhow::Result<()> {
        let target = &self.subject.target;
        let begin = Instant::now();
        let client = || -> io::Result<u64> {
            let mut count = 0;
            while begin.elapsed() < self.times.run {
                once(target)?;
                count += 1;
            }
            Ok(count)
        };
        let counts = if self.connections == 1 { vec![client()?] } else { at_once(self.connections, client)? };
        let elapsed = begin.elapsed().as_secs_f64();
        self.add(sheet, 1, What::PerSecond, counts.iter().sum::<u64>() as f64 / elapsed);
        Ok(())
    }

    fn paced(&self, sheet: &mut Sheet<'_>) -> anyhow::Result<()> {
        let mut sinks = self.sinks(2)?;
        self.warm_up(sheet, || sinks.iter_mut().try_for_each(|it| it.send(&[0; 64], 64, 0).map(drop)))?;
        let [slow, fast] = &mut sinks[..] else { anyhow::bail!("not two connections") };
        let block = vec![0x5a; WRITES[1]];
        send_for(std::slice::from_mut(fast), block.len(), self.times.warm)?;
        let time = self.times.run.max(Duration::from_millis(500));
        let bytes = (SLOW as f64 * time.as_secs_f64()) as u64;
        let over = AtomicBool::new(false);
        let (slow, fast) = thread::scope(|scope| {
            let slow = scope.spawn(|| {
                let elapsed = slow.send(&block, bytes, SLOW);
                over.store(true, Ordering::Relaxed);
                elapsed
            });
            let begin = Instant::now();
            let mut sent = 0;
            let mut failed = None;
            while !over.load(Ordering::Relaxed) && failed.is_none() {
                failed = fast.send(&block, TRIAL, 0).err();
                sent += TRIAL;
            }
            let rate = sent as f64 / MIB / begin.elapsed().as_secs_f64();
            (joined(slow), failed.map_or(Ok(rate), Err))
        });
        self.add(sheet, block.len(), What::SlowMbPerSecond, bytes as f64 / 1e6 / slow?.as_secs_f64());
        self.add(sheet, block.len(), What::FastMibPerSecond, fast?);
        if let Some(relay) = self.subject.relay {
            self.add(sheet, block.len(), What::SendBuffersMib, send_buffers(relay) as f64 / MIB);
        }
        Ok(())
    }

    fn waits(&self, sheet: &mut Sheet<'_>) -> anyhow::Result<()> {
        let (mut trips, mut ends) = (Vec::new(), Vec::new());
        let (small, large) = (vec![0x5a; 64], vec![0x5a; 16 * 1024]);
        let mut answer = vec![0; large.len()];
        for number in 0..FRESH.0 {
            let begin = Instant::now();
            let mut echo = Echo::connect(&self.subject.target)?;
            let mut count = 0;
            while begin.elapsed() < FRESH.1 {
                let message = if count % 8 == 7 { &large } else { &small };
                trips.push(microseconds(echo.round_trip(message, &mut answer)?));
                count += 1;
                // Half of them pause, so that the hand-over meets quiet ones, too.
                if number % 2 == 1 {
                    thread::sleep(Duration::from_micros(100));
                }
            }
            ends.push(microseconds(echo.end()?));
        }
        for (what, samples, share) in [
            (What::P50Us, &trips, 0.5),
            (What::P99Us, &trips, 0.99),
            (What::P999Us, &trips, 0.999),
            (What::MaxUs, &trips, 1.0),
            (What::EndP50Us, &ends, 0.5),
            (What::EndP99Us, &ends, 0.99),
        ] {
            self.add(sheet, 64, what, percentile(samples, share));
        }
        for wait in trips.iter().chain(&ends) {
            sheet.figures.count_wait(*wait);
        }
        Ok(())
    }

    fn sinks(&self, count: usize) -> io::Result<Vec<Sink>> {
        (0..count).map(|_| Sink::connect(&self.subject.target)).collect()
    }

    /// Exchanges a message on every connection until all are where they are meant to be: what a link for
    /// the kernel moves then moves there.
    fn warm_up(
        &self,
        sheet: &mut Sheet<'_>,
        mut exchange: impl FnMut() -> io::Result<()>,
    ) -> anyhow::Result<()> {
        if !self.subject.takes_kernel() {
            return (0..8).try_for_each(|_| exchange()).context("warm-up");
        }
        for _ in 0..10 {
            for _ in 0..8 {
                exchange().context("warm-up")?;
                thread::sleep(Duration::from_millis(4));
            }
            thread::sleep(LOOK);
            let before = self.counters()?;
            exchange().context("warm-up")?;
            thread::sleep(LOOK);
            if share(&before, &self.counters()?, "messages").is_some_and(|share| share > 0.99) {
                return Ok(());
            }
        }
        *sheet.outside += 1;
        Ok(())
    }

    fn usage(&self) -> Usage {
        Usage::now(self.ends.provider.process, self.subject.relay)
    }

    /// The link's counters with all that was moved, where they are of interest.
    fn counted(&self, wanted: bool) -> anyhow::Result<Option<Value>> {
        if !wanted || !self.subject.is_link() {
            return Ok(None);
        }
        if self.subject.takes_kernel() {
            thread::sleep(LOOK);
        }
        self.counters().map(Some)
    }

    fn add_share(&self, sheet: &mut Sheet<'_>, size: usize, before: Option<Value>) -> anyhow::Result<()> {
        let Some(before) = before else { return Ok(()) };
        if let Some(after) = self.counted(true)?
            && let Some(share) = share(&before, &after, "bytes")
        {
            self.add(sheet, size, What::KernelShare, share);
        }
        Ok(())
    }

    fn counters(&self) -> anyhow::Result<Value> {
        Ok(self.ends.mesh.link(&self.subject.target)?["counters"].take())
    }

    fn add(&self, sheet: &mut Sheet<'_>, size: usize, what: What, value: f64) {
        let figure = Figure { measure: self.measure, size, connections: self.connections, what };
        sheet.figures.add(sheet.round, figure, value);
    }
}

/// The kernel's part of what moved between two looks at a link's counters.
fn share(before: &Value, after: &Value, unit: &str) -> Option<f64> {
    let moved = |path: &str| Some(after[path][unit].as_u64()?.saturating_sub(before[path][unit].as_u64()?));
    let (kernel, user) = (moved("kernel")?, moved("user")?);
    (kernel + user > 0).then(|| kernel as f64 / (kernel + user) as f64)
}

/// So many bytes as take so long at the rate of a trial.
fn fitting(trial: Duration, run: Duration) -> u64 {
    let bytes = TRIAL as f64 * run.as_secs_f64() / trial.as_secs_f64().max(1e-6);
    (bytes as u64).max(TRIAL)
}

/// Sends so many bytes over all connections at once.
fn send_all(sinks: &mut [Sink], size: usize, bytes: u64) -> io::Result<Duration> {
    let block = vec![0x5a; size];
    if let [one] = sinks {
        return one.send(&block, bytes, 0);
    }
    let each = bytes / sinks.len() as u64;
    let begin = Instant::now();
    thread::scope(|scope| {
        let block = &block;
        let jobs: Vec<_> = sinks.iter_mut().map(|it| scope.spawn(move || it.send(block, each, 0))).collect();
        jobs.into_iter().try_for_each(|job| joined(job).map(drop))
    })?;
    Ok(begin.elapsed())
}

fn send_for(sinks: &mut [Sink], size: usize, time: Duration) -> io::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        send_all(sinks, size, TRIAL)?;
    }
    Ok(())
}

/// Microseconds of round trips on all connections at once.
fn trips_of_all(echoes: &mut [Echo], size: usize, time: Duration) -> io::Result<Vec<f64>> {
    if let [one] = echoes {
        return trips(one, size, time);
    }
    thread::scope(|scope| {
        let jobs: Vec<_> = echoes.iter_mut().map(|it| scope.spawn(move || trips(it, size, time))).collect();
        let mut all = Vec::new();
        for job in jobs {
            all.extend(joined(job)?);
        }
        Ok(all)
    })
}

fn trips(echo: &mut Echo, size: usize, time: Duration) -> io::Result<Vec<f64>> {
    let (message, mut answer) = (vec![0x5a; size], vec![0; size]);
    let mut samples = Vec::with_capacity(1 << 16);
    let begin = Instant::now();
    while begin.elapsed() < time {
        samples.push(microseconds(echo.round_trip(&message, &mut answer)?));
    }
    Ok(samples)
}

fn at_once<T: Send>(count: usize, job: impl Fn() -> io::Result<T> + Sync) -> io::Result<Vec<T>> {
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..count).map(|_| scope.spawn(&job)).collect();
        jobs.into_iter().map(joined).collect()
    })
}

fn joined<T>(job: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    job.join().unwrap_or_else(|_| Err(io::Error::other("a client panicked")))
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_kernels_share_is_of_what_moved_meanwhile() {
        let counters = |kernel: u64, user: u64| json!({"kernel": {"bytes": kernel}, "user": {"bytes": user}});
        assert_eq!(share(&counters(10, 10), &counters(40, 20), "bytes"), Some(0.75));
        assert_eq!(share(&counters(10, 10), &counters(10, 10), "bytes"), None);
        assert_eq!(share(&json!({}), &counters(10, 10), "bytes"), None);
    }

    #[test]
    fn a_run_has_as_many_bytes_as_fit() {
        let second = Duration::from_secs(1);
        assert_eq!(fitting(second / 4, second), 4 * TRIAL);
        assert_eq!(fitting(second * 4, second), TRIAL);
    }
}
