//! Looking at and ending processes, by descriptors where it matters: a number can be recycled.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::wait::{DEADLINE, OrFail, ensure, eventually, patient};

/// A process, held by a pidfd.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    fd: OwnedFd,
}

impl Process {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// `ESRCH` where there is none.
    pub fn open(pid: u32) -> io::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { pid, fd: rustix::process::pidfd_open(raw, PidfdFlags::empty())? })
    }

    /// Sends a signal; a process that has ended is fine.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.fd, signal);
    }

    /// True once the process has ended, or does so within the deadline.
    #[must_use]
    pub fn ends(&self) -> bool {
        let timeout = Timespec { tv_sec: patient(DEADLINE).as_secs().cast_signed(), tv_nsec: 0 };
        let mut poll = [PollFd::new(&self.fd, PollFlags::IN)];
        matches!(rustix::event::poll(&mut poll, Some(&timeout)), Ok(1))
    }

    /// True while it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut poll = [PollFd::new(&self.fd, PollFlags::IN)];
        !matches!(rustix::event::poll(&mut poll, Some(&Timespec::default())), Ok(1))
    }

    /// SIGKILL, and waits for the end.
    #[track_caller]
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        assert!(self.ends(), "process {} does not end", self.pid);
    }
}

/// Waits for a child's end.
#[track_caller]
pub fn wait(child: &mut Child) -> ExitStatus {
    eventually("the end of a child", || child.try_wait().or_fail("wait").ok_or("runs on"))
}

fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).or_fail(format_args!("{file} of {pid}"));
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .or_fail(format_args!("no {name} in {file} of {pid}"))
}

/// Resident memory, in KiB.
#[track_caller]
#[must_use]
pub fn rss_kib(pid: u32) -> u64 {
    field(pid, "status", "VmRSS:")
}

/// Highest resident memory so far, in KiB.
#[track_caller]
#[must_use]
pub fn peak_kib(pid: u32) -> u64 {
    field(pid, "status", "VmHWM:")
}

/// How many descriptors are open.
#[track_caller]
#[must_use]
pub fn fd_count(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).or_fail(format_args!("descriptors of {pid}")).count()
}

/// Fields of `/proc/PID/stat` from the third on (proc(5)).
#[track_caller]
fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).or_fail(format_args!("stat of {pid}"));
    let rest = text.rsplit(") ").next().unwrap_or_default();
    rest.split_whitespace().map(str::to_owned).collect()
}

/// CPU time used so far by all threads, in clock ticks.
#[track_caller]
#[must_use]
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = stat(pid);
    stat[11].parse::<u64>().or_fail("utime") + stat[12].parse::<u64>().or_fail("stime")
}

/// CPU time that all threads use within a second, in clock ticks (a hundred).
#[track_caller]
#[must_use]
pub fn ticks_in_a_second(pid: u32) -> u64 {
    let before = cpu_ticks(pid);
    std::thread::sleep(std::time::Duration::from_secs(1));
    cpu_ticks(pid) - before
}

/// When the process began, in clock ticks since boot.
#[track_caller]
#[must_use]
pub fn start_time(pid: u32) -> u64 {
    stat(pid)[19].parse().or_fail("start time")
}

/// The processes with this text in their arguments or environment.
#[must_use]
pub fn marked(mark: &Path) -> Vec<u32> {
    let mark = mark.as_os_str().as_bytes();
    let own = std::process::id();
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && is_marked(*pid, mark))
        .collect()
}

fn is_marked(pid: u32, mark: &[u8]) -> bool {
    ["cmdline", "environ"].iter().any(|file| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|bytes| bytes.windows(mark.len()).any(|window| window == mark))
    })
}

/// What a process was called with, for messages.
#[must_use]
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Kills the processes with this text in their arguments or environment, checked again once each is
/// held by its pidfd.
pub fn kill_marked(mark: &Path) {
    for pid in marked(mark) {
        if let Ok(process) = Process::open(pid)
            && is_marked(pid, mark.as_os_str().as_bytes())
        {
            process.signal(Signal::KILL);
        }
    }
}

/// Mount points below a directory, deepest last, in the test's own mount namespace.
#[must_use]
pub fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(dir)).collect()
}

/// Waits until a process has this many descriptors at most: what it closes, it closes on its own time.
#[track_caller]
pub fn wait_fds_at_most(pid: u32, most: usize) {
    eventually("descriptors are closed", || {
        let count = fd_count(pid);
        ensure(count <= most, format_args!("{count} descriptors, at most {most} wanted"))
    });
}
