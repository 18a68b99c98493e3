//! What a run cost: CPU time of everybody who took part, and the memory that the relay's sockets may take.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

use crate::process::{Process, bound_kworkers_run_time};

/// CPU time used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Of the client, the server and the relay.
    processes: Duration,
    /// Of the relay alone.
    pub(super) relay: Duration,
    /// Of the workers in the kernel, whoever they worked for: the direct row shows what was not for us.
    pub(super) kworkers: Duration,
}

impl Usage {
    /// The threads that took part have to live still.
    pub(super) fn now(server: Process, relay: Option<Process>) -> Self {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec.unsigned_abs(), u32::try_from(own.tv_nsec).unwrap_or(0));
        let relay = relay.map_or(Duration::ZERO, |it| it.run_time());
        Self { processes: own + server.run_time() + relay, relay, kworkers: bound_kworkers_run_time() }
    }

    /// What was used since.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            processes: self.processes.saturating_sub(before.processes),
            relay: self.relay.saturating_sub(before.relay),
            kworkers: self.kworkers.saturating_sub(before.kworkers),
        }
    }

    /// Of all.
    pub(super) fn total(self) -> Duration {
        self.processes + self.kworkers
    }
}

/// The sum of the sizes (`SO_SNDBUF`, as the kernel counts it) of a process's sockets: the most that
/// what it has on its way can take.
pub(super) fn send_buffers(process: Process) -> u64 {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return 0 };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return 0 };
    let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { return 0 };
    let sockets = entries.flatten().filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    });
    let numbers = sockets.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let sizes = numbers.filter_map(|number| {
        let fd = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).ok()?;
        rustix::net::sockopt::socket_send_buffer_size(&fd).ok()
    });
    sizes.map(|size| size as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let own = Process::of(std::process::id()).unwrap();
        let before = Usage::now(own, None);
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(20) {}
        let used = Usage::now(own, None).since(before);
        assert!(used.total() > Duration::from_millis(5) && used.relay == Duration::ZERO);
    }

    #[test]
    fn sockets_have_buffers() {
        let own = Process::of(std::process::id()).unwrap();
        let _pair = std::os::unix::net::UnixStream::pair().unwrap();
        // Needs a kernel with pidfd_getfd (5.6) that lets us look at ourselves.
        assert!(send_buffers(own) > 0);
    }
}
