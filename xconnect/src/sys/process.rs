//! Processes of our own: start times, signals, namespaces and descriptors of a single-threaded helper.
#![expect(
    unsafe_code,
    reason = "signal dispositions, close_range, unshare and network ioctls have no safe wrapper"
)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Reads the start time of a process, in clock ticks since boot (`/proc/PID/stat` field 22, proc(5)).
///
/// # Errors
/// `NotFound` if there is no such process, `InvalidData` if the line is not understood.
pub fn start_time(pid: u32) -> io::Result<u64> {
    stat_field(pid, 22)
}

/// Reads the parent of a process (`/proc/PID/stat` field 4, proc(5)).
///
/// # Errors
/// As [`start_time`].
pub fn parent(pid: u32) -> io::Result<u32> {
    stat_field(pid, 4).map(|pid| u32::try_from(pid).unwrap_or(0))
}

fn stat_field(pid: u32, number: usize) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    let stat = String::from_utf8_lossy(&stat);
    // The second field is the command's name in brackets, which may hold spaces and brackets.
    let rest = stat.rfind(')').and_then(|end| stat.get(end + 2..));
    rest.and_then(|rest| rest.split(' ').nth(number - 3)).and_then(|field| field.parse().ok()).ok_or_else(
        || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: no field {number}")),
    )
}

/// True if the process is there, started at `start` and is not a zombie.
#[must_use]
pub fn is_alive(pid: u32, start: u64) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rfind(')').and_then(|end| stat.as_bytes().get(end + 2)).copied();
    start_time(pid).is_ok_and(|found| found == start) && !matches!(state, None | Some(b'Z' | b'X'))
}

/// Opens a pidfd of a process and proves afterwards that it is the one that started at `start`.
///
/// # Errors
/// `NotFound` if that process is gone, else pidfd_open(2)'s error.
pub fn open_verified(pid: u32, start: u64) -> io::Result<OwnedFd> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let fd = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Err(io::ErrorKind::NotFound.into()),
        result => result?,
    };
    if is_alive(pid, start) { Ok(fd) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Sends a signal by number to the process behind a pidfd; a process that is gone is no error.
///
/// # Errors
/// pidfd_send_signal(2)'s error.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    // Not rustix's: it knows no real-time signals, which some first processes want.
    // SAFETY: the descriptor is open, and a null siginfo means what kill(2) would send.
    let result = unsafe {
        let none: *const libc::siginfo_t = std::ptr::null();
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, none, 0)
    };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// Opens a pidfd of a child of this process that nobody waited for yet.
///
/// # Errors
/// pidfd_open(2)'s error.
pub fn open_child(pid: u32) -> io::Result<OwnedFd> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(rustix::process::pidfd_open(number, PidfdFlags::empty())?)
}

/// A process whose end can be awaited.
#[derive(Debug)]
pub struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// Watches the process behind a pidfd. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// epoll_ctl(2)'s error.
    pub fn new(pidfd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an OwnedFd stays open until it is dropped, and this type lends shared references only.
        Ok(Self(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?))
    }

    /// Waits for the process's end: its pidfd is readable from then on (pidfd_open(2)).
    pub async fn ended(&self) {
        if self.0.readable().await.is_err() {
            // Only when the runtime is shutting down.
            std::future::pending::<()>().await;
        }
    }

    /// Reaps the process if it is a dead child of ours.
    pub fn reap(&self) {
        // ECHILD: somebody else's.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = rustix::process::waitid(WaitId::PidFd(self.as_fd()), options);
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

/// Waits until the process behind a pidfd ended, as far as `timeout`.
///
/// # Errors
/// `TimedOut`, or poll(2)'s error.
pub fn wait_exit(pidfd: impl AsFd, timeout: Duration) -> io::Result<()> {
    let timeout =
        Timespec { tv_sec: timeout.as_secs().cast_signed(), tv_nsec: timeout.subsec_nanos().into() };
    loop {
        match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills every process of the session that the process `leader` had made, which started at `start` and
/// is gone. A session's number is not given to anybody else while a process is in it.
///
/// # Errors
/// `/proc` cannot be read.
pub fn kill_session(leader: u32, start: u64) -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let in_session = |pid| stat_field(pid, 6).is_ok_and(|session| session == u64::from(leader));
        if !in_session(pid) || start_time(pid).is_ok_and(|found| found < start) {
            continue;
        }
        let Ok(pidfd) = open_child(pid) else { continue };
        if in_session(pid) {
            send_signal(&pidfd, libc::SIGKILL)?;
        }
    }
    Ok(())
}

/// True if the process neither catches, ignores nor blocks the signal, so that its default action is
/// due. The kernel withholds that from the first process of a PID namespace (pid_namespaces(7)).
#[must_use]
pub fn takes_default_action(pid: u32, signal: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let Some(bit) = u32::try_from(signal - 1).ok().and_then(|n| 1u64.checked_shl(n)) else { return false };
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
    };
    ["SigCgt:", "SigIgn:", "SigBlk:"].into_iter().all(|name| set(name).is_some_and(|mask| mask & bit == 0))
}

/// Makes the descriptor number of `target` mean what `with` means; it closes on execve(2).
///
/// # Errors
/// dup3(2)'s error.
pub fn replace(target: impl AsFd, with: impl AsFd) -> io::Result<()> {
    // SAFETY: both are open descriptors; the number of `target` stays owned by its owner.
    let result = unsafe { libc::dup3(with.as_fd().as_raw_fd(), target.as_fd().as_raw_fd(), libc::O_CLOEXEC) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How long ago a process started, by its start time in clock ticks.
///
/// # Errors
/// `/proc/uptime` cannot be read.
pub fn age(start: u64) -> io::Result<Duration> {
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now_ticks = u64::try_from(now.tv_sec).unwrap_or(0) * ticks
        + u64::try_from(now.tv_nsec).unwrap_or(0) * ticks / 1_000_000_000;
    Ok(Duration::from_millis(now_ticks.saturating_sub(start) * 1000 / ticks))
}

/// How many threads this process has.
///
/// # Errors
/// `/proc/self/task` cannot be read.
pub fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Gives all signals back their default action, for a program that is about to be executed: an ignored signal
/// stays ignored over execve(2). The standard library ignores SIGPIPE, nohup(1) SIGHUP, a shell that starts
/// something in the background SIGINT and SIGQUIT.
pub fn default_signals() {
    for signal in 1..32 {
        // SAFETY: signal(2) with SIG_DFL installs no handler, so nothing of ours can be called by it. It fails for
        // SIGKILL and SIGSTOP, which have no other action.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Ignores what asks a process to end politely: for one whose end is decided by something else.
pub fn ignore_polite_signals() {
    for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: signal(2) with SIG_IGN installs no handler.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Closes every descriptor from `first` on. Only for a process that has just been executed and holds
/// no `OwnedFd` yet.
pub fn close_from(first: u32) {
    // SAFETY: by the contract above no object of this process owns a descriptor in the range.
    unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, 0);
    }
}

/// Gives the memory back that was needed once (malloc_trim(3)).
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets all threads allocate from few heaps, instead of each from one of its own that is never given back:
/// for a program whose threads are many and allocate little. Call it before there are any.
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt sets a number inside the allocator (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Moves this process into a mount namespace of its own.
///
/// # Errors
/// unshare(2)'s error; `Other` if the process has more than one thread.
pub fn unshare_mounts() -> io::Result<()> {
    if thread_count()? != 1 {
        return Err(io::Error::other("a process with threads must not leave its mount namespace"));
    }
    // SAFETY: NEWNS does not touch the descriptor table, which is what makes unshare unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    Ok(())
}

/// Sets `lo` up in the network namespace of another process. The calling thread enters it and comes
/// back; it must be the only one of its process.
///
/// # Errors
/// The error of setns(2), socket(2) or ioctl(2). If the way back fails, the process is in the wrong
/// namespace and must not go on.
pub fn loopback_up(pid: u32) -> io::Result<()> {
    let home = fs::File::open("/proc/thread-self/ns/net")?;
    let there = fs::File::open(format!("/proc/{pid}/ns/net"))?;
    rustix::thread::move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))?;
    let done = set_up(b"lo");
    rustix::thread::move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
    done
}

fn set_up(name: &[u8]) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain old data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    // SAFETY: the request is a valid ifreq that outlives both calls (netdevice(7)); the union's member
    // for the *IFFLAGS requests is ifru_flags.
    let result = unsafe {
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) == 0 {
            request.ifr_ifru.ifru_flags |= i16::try_from(libc::IFF_UP).unwrap_or(1);
            libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
        } else {
            -1
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the test binary be a shim: its own `main` has threads by the time it runs a test.
#[cfg(all(test, feature = "engine"))]
mod before_main {
    // SAFETY: the loader calls each entry of this section once, before `main` and any thread
    // (gABI, "Initialization and Termination Functions"); the standard library's own entry, which keeps
    // the arguments, has a number and therefore comes before.
    #[unsafe(link_section = ".init_array")]
    #[used]
    static ENTRY: extern "C" fn() = enter;

    extern "C" fn enter() {
        crate::engine::shim::run_if_asked();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself() {
        let me = std::process::id();
        let start = start_time(me).unwrap();
        assert!(is_alive(me, start));
        assert!(!is_alive(me, start + 1));
        assert_eq!(open_verified(me, start + 1).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(open_verified(me, start).is_ok());
        assert!(age(start).unwrap() < Duration::from_secs(3600));
        assert!(parent(me).unwrap() > 0);
    }

    #[test]
    fn nothing_there_is_not_found() {
        assert!(start_time(u32::MAX).is_err());
        assert!(!is_alive(u32::MAX, 0));
    }
}
