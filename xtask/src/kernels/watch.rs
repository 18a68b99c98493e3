//! Follows one guest: keeps its log, shows what matters, counts, and ends it when its time is over.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::ending::Ending;
use super::guest::{Line as Said, status};
use super::qemu::{Line, Machine, Qemu};
use crate::stop::Stop;
use crate::test::tally::{Counter, Tally};

/// Until the host's file system is the guest's root; seen: 15 s on an idle machine.
const BOOT: Duration = Duration::from_secs(180);
/// Between two looks at the clock and at Ctrl-C.
const LOOK: Duration = Duration::from_millis(200);
/// So many lines of the log are shown where the guest did not come to an end of its own.
const TAIL: usize = 25;

/// What shall be seen of a guest.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    /// The series, for messages.
    pub(super) series: &'a str,
    /// Where the log goes.
    pub(super) log: PathBuf,
    /// How long the whole may take.
    pub(super) limit: Duration,
    /// How long one test program may take, in seconds.
    pub(super) test_seconds: u64,
    /// Asked for by the user.
    pub(super) stop: &'a Stop,
}

/// What came of a test program: its name, in words how it ended, and how long it took.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) name: String,
    pub(super) result: String,
    pub(super) seconds: u64,
}

/// What came of a guest.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The kernel's release, once it is up.
    pub(super) release: String,
    /// The test programs that ended.
    pub(super) done: Vec<Done>,
    /// The results of single tests.
    pub(super) tally: Tally,
}

/// Where a guest is.
#[derive(Debug)]
struct State {
    report: Report,
    counter: Counter,
    running: Option<String>,
    broken: Option<String>,
    tail: Vec<String>,
    log: File,
    begin: Instant,
}

impl Watch<'_> {
    /// Runs a machine to its end.
    pub(super) fn run(&self, qemu: &Qemu, machine: &Machine) -> anyhow::Result<Report> {
        let mut guest = qemu.start(machine)?;
        let mut state = State::new(&self.log)?;
        eprintln!("{}: starts; log: {}", self.series, self.log.display());
        loop {
            self.stop.check()?;
            match guest.lines.recv_timeout(LOOK) {
                Ok(line) => self.take(&mut state, &line)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Some(late) = self.late(&state) {
                bail!("{}: {late}\n{}", self.series, state.tail());
            }
        }
        // Ctrl-C reaches QEMU too, which then ends as after a panic.
        self.stop.check()?;
        let ending = Ending::of(guest.wait()?);
        self.judge(ending, state)
    }

    /// What is not done in time.
    fn late(&self, state: &State) -> Option<String> {
        let elapsed = state.begin.elapsed();
        if state.report.release.is_empty() && elapsed > BOOT {
            return Some(format!("the guest is not up within {} s", BOOT.as_secs()));
        }
        (elapsed > self.limit).then(|| {
            let running = state.running.as_deref().unwrap_or("nothing");
            let minutes = self.limit.as_secs() / 60;
            format!("not done within {minutes} minutes (see --timeout); what ran: {running}")
        })
    }

    fn take(&self, state: &mut State, line: &Line) -> anyhow::Result<()> {
        let (source, text) = match line {
            Line::Console(text) => ("console", text),
            Line::Guest(text) => ("guest", text),
        };
        state.keep(source, text)?;
        if let Line::Guest(text) = line {
            self.hear(state, text);
        }
        Ok(())
    }

    fn hear(&self, state: &mut State, text: &str) {
        let series = self.series;
        match Said::of(text) {
            Said::Ready(release) => {
                eprintln!("{series}: {release} is up after {} s", state.begin.elapsed().as_secs());
                release.clone_into(&mut state.report.release);
            }
            Said::Begin(name) => {
                eprintln!("{series}: {name}");
                state.running = Some(name.to_owned());
            }
            Said::End { name, status: code, seconds } => {
                let result = status(code, self.test_seconds);
                eprintln!("{series}: {name}: {result}, {seconds} s");
                state.report.done.push(Done { name: name.to_owned(), result, seconds });
                state.running = None;
            }
            Said::Broken(why) => state.broken = Some(why.to_owned()),
            Said::Output(text) => {
                if state.counter.line(text) && state.running.is_some() && !text.is_empty() {
                    println!("{text}");
                }
            }
        }
    }

    fn judge(&self, ending: Ending, mut state: State) -> anyhow::Result<Report> {
        let tail = state.tail();
        let series = self.series;
        let running = state.running.as_deref().map(|name| format!(" while {name} ran")).unwrap_or_default();
        match ending {
            Ending::Passed | Ending::Failed => {
                state.report.tally = state.counter.finish();
                Ok(state.report)
            }
            Ending::Broken => {
                let why = state.broken.as_deref().unwrap_or("it does not say why");
                bail!("{series}: the guest cannot run tests: {why}\n{tail}")
            }
            Ending::Panicked => bail!("{series}: the kernel panicked or restarted{running}\n{tail}"),
            Ending::Qemu(status) => bail!("{series}: QEMU ended{running}: {status}\n{tail}"),
        }
    }
}

impl State {
    fn new(log: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            report: Report::default(),
            counter: Counter::default(),
            running: None,
            broken: None,
            tail: Vec::new(),
            log: File::create(log).with_context(|| log.display().to_string())?,
            begin: Instant::now(),
        })
    }

    /// Into the log, with the time since the start.
    fn keep(&mut self, source: &str, text: &str) -> anyhow::Result<()> {
        let line = format!("{:8.2} {source:<7} {text}", self.begin.elapsed().as_secs_f64());
        writeln!(self.log, "{line}").context("the log")?;
        if self.tail.len() == TAIL {
            self.tail.remove(0);
        }
        self.tail.push(line);
        Ok(())
    }

    fn tail(&self) -> String {
        self.tail.join("\n")
    }
}
