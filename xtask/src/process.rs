//! What `/proc` says about processes: who mentions a path, CPU time, memory, descriptors.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use anyhow::Context as _;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process: its number, and its start time (clock ticks since boot) against reuse of the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// Field 22 of `/proc/PID/stat` (proc(5)).
    pub(crate) start: u64,
}

impl Process {
    /// The process of this number.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        Ok(Self { pid, start: field(pid, 22)? })
    }

    /// Whether it still runs: a zombie does not.
    pub(crate) fn runs(&self) -> bool {
        let state = stat(self.pid).ok().and_then(|fields| fields.first().cloned());
        let dead = matches!(state.as_deref(), None | Some("Z" | "X"));
        !dead && field(self.pid, 22).is_ok_and(|start| start == self.start)
    }

    /// Sends a signal to this process and to none that got its number later.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("pid out of range")?;
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            other => other.with_context(|| format!("pidfd_open {}", self.pid))?,
        };
        if !self.runs() {
            return Ok(());
        }
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal to {}", self.pid)),
        }
    }

    /// CPU time of the process, its threads that ended, its children that were reaped and those that
    /// live (clock ticks of 10 ms).
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let of = |pid| (14..=17).map(|number| field(pid, number)).sum::<anyhow::Result<u64>>();
        // A child that ends meanwhile was idle, or is counted as reaped.
        let ticks = of(self.pid)? + self.children().into_iter().filter_map(|pid| of(pid).ok()).sum::<u64>();
        Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
    }

    /// CPU time of the threads that live, to the nanosecond (the kernel's Documentation/scheduler/sched-stats),
    /// for two looks between which no thread ends. One that ends during the look is left out.
    pub(crate) fn threads_cpu(&self) -> anyhow::Result<Duration> {
        anyhow::ensure!(self.runs(), "process {} does not run any more", self.pid);
        Ok(run_time_of(self.pid))
    }

    /// As [`Self::cpu`], but of the threads that live, exactly (`/proc/PID/task/TID/schedstat`).
    pub(crate) fn run_time(&self) -> Duration {
        self.children().into_iter().map(run_time_of).fold(run_time_of(self.pid), Duration::saturating_add)
    }

    /// The children of its first thread.
    pub(crate) fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(&path).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Resident memory in KiB (`VmRSS`), or with `peak` the most there ever was (`VmHWM`).
    pub(crate) fn memory_kib(&self, peak: bool) -> anyhow::Result<u64> {
        let key = if peak { "VmHWM:" } else { "VmRSS:" };
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| path.clone())?;
        line.split_whitespace().next().and_then(|number| number.parse().ok()).context(path)
    }

    /// Lets the peak of its memory begin anew (proc(5), `clear_refs`).
    pub(crate) fn forget_peak(&self) -> io::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5")
    }

    /// Threads.
    pub(crate) fn threads(&self) -> anyhow::Result<usize> {
        let path = format!("/proc/{}/task", self.pid);
        Ok(fs::read_dir(&path).context(path)?.count())
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> anyhow::Result<usize> {
        let path = format!("/proc/{}/fd", self.pid);
        Ok(fs::read_dir(&path).context(path)?.count())
    }
}

/// Processes whose command line, program or root mentions one of these texts; ourselves left out.
pub(crate) fn mentioning(texts: &[&str]) -> Vec<(u32, String)> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own)
        .filter_map(|pid| {
            let directory = Path::new("/proc").join(pid.to_string());
            let line = fs::read(directory.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let link = |name| fs::read_link(directory.join(name)).unwrap_or_default();
            let (program, root) = (link("exe"), link("root"));
            let of_ours = |text: &&str| {
                line.contains(*text)
                    || program.to_string_lossy().contains(*text)
                    || root.to_string_lossy().contains(*text)
            };
            texts.iter().any(of_ours).then(|| (pid, line.trim().to_owned()))
        })
        .collect()
}

/// CPU time of the kernel's workers that are bound to a processor (`kworker/N:`), which is where a
/// `delayed_work` such as the sockmap's runs (net/core/skmsg.c, `sk_psock_backlog`).
pub(crate) fn bound_kworkers_run_time() -> Duration {
    let Ok(entries) = fs::read_dir("/proc") else { return Duration::ZERO };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let bound = pids.filter(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.strip_prefix("kworker/").is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
    });
    bound.map(run_time_of).fold(Duration::ZERO, Duration::saturating_add)
}

/// Of all threads of one process.
fn run_time_of(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let of = |path: &Path| fs::read_to_string(path.join("schedstat")).ok().as_deref().and_then(nanoseconds);
    threads.flatten().filter_map(|thread| of(&thread.path())).fold(Duration::ZERO, Duration::saturating_add)
}

/// The first number of a `schedstat` (Documentation/scheduler/sched-stats.rst): time on a processor.
fn nanoseconds(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// A field of `/proc/PID/stat` by its number in proc(5), from 3 on.
fn field(pid: u32, number: usize) -> anyhow::Result<u64> {
    let fields = stat(pid).with_context(|| format!("/proc/{pid}/stat"))?;
    let text = fields.get(number - 3).with_context(|| format!("/proc/{pid}/stat is short"))?;
    text.parse().with_context(|| format!("/proc/{pid}/stat field {number}"))
}

/// The fields after the program's name, which may hold blanks and parentheses itself.
fn stat(pid: u32) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_processor_is_the_first_number() {
        assert_eq!(nanoseconds("1500 20 3\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(nanoseconds("\n"), None);
        assert!(run_time_of(std::process::id()) > Duration::ZERO);
    }

    #[test]
    fn a_thread_that_ends_during_the_look_is_no_error() {
        let own = Process::of(std::process::id()).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::spawn(|| ()).join().unwrap();
                }
            });
            let looks: Vec<_> = (0..500).map(|_| own.threads_cpu()).collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(looks.iter().all(Result::is_ok), "{looks:?}");
        });
    }

    #[test]
    fn our_own_process_is_known() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.runs());
        assert!(own.memory_kib(false).unwrap() > 0);
        assert!(own.descriptors().unwrap() >= 3);
        own.cpu().unwrap();
        assert!(own.threads_cpu().unwrap() > Duration::ZERO);
        assert!(!Process { start: own.start + 1, ..own }.runs());
    }
}
