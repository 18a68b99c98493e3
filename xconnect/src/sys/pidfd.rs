//! Processes held by descriptor (pidfd_open(2)): signals, exit, never a recycled number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process, whatever becomes of its number.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Takes hold of the process that has this number at the moment.
    ///
    /// # Errors
    /// `ESRCH` where there is none, `EINVAL` for 0 and for numbers above `i32::MAX`, `ENOENT` or
    /// `EINVAL` for a thread that leads no process (pidfd_open(2)).
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::INVAL)?;
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// As [`has_exited`].
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn has_exited(&self) -> io::Result<bool> {
        has_exited(self)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `ESRCH` where the process is gone, `EPERM` where it is not ours to signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
    }
}

/// True once the process of a pidfd is a zombie or gone.
///
/// # Errors
/// Those of poll(2).
pub fn has_exited(pidfd: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
    Ok(ready > 0)
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(pidfd: PidFd) -> Self {
        pidfd.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_followed_to_its_end() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pidfd = PidFd::open(child.id()).unwrap();
        assert!(!pidfd.has_exited().unwrap());
        pidfd.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(pidfd.has_exited().unwrap());
        assert_eq!(pidfd.signal(Signal::KILL).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn numbers_that_name_no_process_are_refused() {
        assert!(PidFd::open(0).is_err());
        assert!(PidFd::open(u32::MAX).is_err());
    }
}
