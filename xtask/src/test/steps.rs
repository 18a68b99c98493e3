//! Steps of a run, some side by side: what each printed, whole, once it has ended, and how long all took.

use std::io::{self, Read as _};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use anyhow::{Context as _, bail, ensure};

use super::tally::{Tally, copy};
use crate::cmd::Cmd;
use crate::stop::wait_until;

/// A step of tests that takes so long hangs; what it has printed until then says where.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long the rest of the output may take once the command itself has ended.
const REST: Duration = Duration::from_secs(5);
/// Between two looks at a command that runs.
const LOOK: Duration = Duration::from_millis(20);

/// The steps of a run, and when they were.
pub(super) struct Steps {
    begin: Instant,
    shown: Mutex<Box<dyn io::Write + Send>>,
    rows: Mutex<Vec<Row>>,
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    name: String,
    began: Duration,
    took: Duration,
}

impl Steps {
    /// What they print goes there.
    pub(super) fn new(shown: impl io::Write + Send + 'static) -> Self {
        Self { begin: Instant::now(), shown: Mutex::new(Box::new(shown)), rows: Mutex::default() }
    }

    /// Since the first step.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// A step of our own that nothing else runs beside: it prints for itself.
    pub(super) fn alone<T>(&self, name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let begin = Instant::now();
        let result = work();
        self.note(name, begin);
        result
    }

    /// Runs a command that must succeed, however long it takes.
    pub(super) fn run(&self, name: &str, cmd: Cmd) -> anyhow::Result<()> {
        let (status, _) = self.step(name, cmd, Duration::MAX)?;
        ensure!(status.success(), "{name}: {status}");
        Ok(())
    }

    /// Runs a command that runs tests, and counts.
    pub(super) fn tests(&self, name: &str, cmd: Cmd) -> Tally {
        let mut fault = Tally { failed: 1, ..Tally::default() };
        match self.step(name, cmd, LIMIT) {
            // It did not compile, or a test program died before its summary.
            Ok((status, tally)) if !status.success() && tally.failed == 0 => {
                fault.failures.push(format!("{name} itself: {status}"));
                fault += tally;
                fault
            }
            Ok((_, tally)) => tally,
            Err(error) => {
                fault.failures.push(format!("{name} itself: {error:#}"));
                fault
            }
        }
    }

    fn step(&self, name: &str, cmd: Cmd, limit: Duration) -> anyhow::Result<(ExitStatus, Tally)> {
        let (begin, line) = (Instant::now(), cmd.line());
        let (ended, output) = run(cmd, limit).with_context(|| name.to_owned())?;
        let took = self.note(name, begin);
        let mut text = format!("\n== {name}: {:.1} s\n$ {line}\n", took.as_secs_f64()).into_bytes();
        let tally = copy(&*output, &mut text).context("output of a step")?;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.write_all(&text).and_then(|()| shown.flush()).context("output")?;
        Ok((ended.with_context(|| name.to_owned())?, tally))
    }

    fn note(&self, name: &str, begin: Instant) -> Duration {
        let took = begin.elapsed();
        let row = Row { name: name.to_owned(), began: begin - self.begin, took };
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        took
    }
}

/// The table: in the order of their begin.
impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.sort_by_key(|row| row.began);
        writeln!(f, "{:>7} {:>7}  step", "at s", "took s")?;
        for Row { name, began, took } in rows.iter() {
            writeln!(f, "{:>7.1} {:>7.1}  {name}", began.as_secs_f64(), took.as_secs_f64())?;
        }
        Ok(())
    }
}

/// Runs a command to its end: how it ended, and what it printed to either stream, in its order.
fn run(cmd: Cmd, limit: Duration) -> anyhow::Result<(anyhow::Result<ExitStatus>, Vec<u8>)> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = cmd.quiet().into_command();
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let child = command.spawn()?;
    // It holds the pipe's other end as long as it lives.
    drop(command);
    let output = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&output);
    let rest = thread::spawn(move || {
        let mut bytes = [0; 8192];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..count]);
        }
    });
    let mut ended = wait(child, limit);
    // A process that a test left behind may hold the pipe open: that must not keep us.
    if !wait_until(REST, LOOK, || rest.is_finished()) && ended.is_ok() {
        ended = Err(anyhow::anyhow!("it has ended, but a process that it started still holds its output"));
    }
    let output = std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((ended, output))
}

fn wait(mut child: Child, limit: Duration) -> anyhow::Result<ExitStatus> {
    let mut ended = None;
    let look = || {
        ended = child.try_wait().transpose();
        ended.is_some()
    };
    if !wait_until(limit, LOOK, look) {
        let _ = child.kill();
        let _ = child.wait();
        bail!("not done within {} s", limit.as_secs());
    }
    Ok(ended.context("no status")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    #[test]
    fn both_streams_are_kept_in_their_order() {
        let (ended, output) = run(shell("echo a; echo b >&2; echo c; exit 3"), LIMIT).unwrap();
        assert_eq!((ended.unwrap().code(), &*output), (Some(3), &b"a\nb\nc\n"[..]));
    }

    #[test]
    fn what_hangs_is_ended_and_its_output_shown() {
        let limit = Duration::from_millis(300);
        let (ended, output) = run(shell("echo here; exec sleep 1000"), limit).unwrap();
        assert_eq!(
            (ended.unwrap_err().to_string(), &*output),
            ("not done within 0 s".to_owned(), &b"here\n"[..])
        );
    }

    #[test]
    fn tests_are_counted_and_a_silent_failure_is_one() {
        let steps = Steps::new(io::sink());
        let tally = steps.tests("a", shell("echo 'test result: ok. 5 passed; 0 failed; 1 ignored'"));
        assert_eq!((tally.passed, tally.failed, tally.ignored), (5, 0, 1));
        let tally = steps.tests("b", shell("exit 101"));
        assert_eq!((tally.failed, &*tally.failures), (1, &["b itself: exit status: 101".to_owned()][..]));
        let tally = steps.tests("c", Cmd::new("/nowhere/at/all"));
        assert!(tally.failed == 1 && tally.failures[0].starts_with("c itself: "), "{tally:?}");
        assert!(steps.run("d", shell("false")).is_err());
    }

    #[test]
    fn the_table_has_every_step_by_its_begin() {
        let steps = Steps::new(io::sink());
        steps.alone("outer", || steps.run("inner", shell("true"))).unwrap();
        let table = steps.to_string();
        let names: Vec<_> = table.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(names, ["outer", "inner"], "{table}");
    }
}
