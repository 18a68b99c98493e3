//! The process at the other end of a connection, pinned so that its number cannot become another's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys::peer;

/// A namespace, as nsfs names it (namespaces(7)): device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamespaceId {
    dev: u64,
    ino: u64,
}

impl NamespaceId {
    /// The mount namespace of the process at `/proc/<process>`, `self` for our own.
    ///
    /// # Errors
    /// No such process, or no leave to look at it.
    pub fn mount_of(process: &str) -> io::Result<Self> {
        let meta = std::fs::metadata(Path::new("/proc").join(process).join("ns/mnt"))?;
        Ok(Self { dev: meta.dev(), ino: meta.ino() })
    }
}

/// Who connected.
#[derive(Debug)]
pub struct Peer {
    credentials: peer::Credentials,
    pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Looks at a connected socket.
    ///
    /// # Errors
    /// `SO_PEERCRED` fails.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let credentials = peer::credentials(&socket)?;
        let pidfd = match peer::pidfd(&socket) {
            Ok(Some(fd)) => Some(fd),
            // Before Linux 6.5: the number may be another's already; the check of the user in
            // `mount_namespace` narrows that.
            Ok(None) => credentials
                .pid
                .and_then(|pid| Pid::from_raw(pid.cast_signed()))
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            Err(_gone) => None,
        };
        Ok(Self { credentials, pidfd })
    }

    /// Its pid; `None` where it lives in a PID namespace that we do not see.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.credentials.pid
    }

    /// Its effective user when it connected.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.credentials.uid
    }

    /// Its mount namespace; `None` where the process is not visible or gone.
    #[must_use]
    pub fn mount_namespace(&self) -> Option<NamespaceId> {
        let pid = self.credentials.pid?.to_string();
        let namespace = NamespaceId::mount_of(&pid).ok()?;
        // Only a process that is alive after the look is the one that was looked at.
        self.is_alive().then_some(namespace)
    }

    /// True for root in the mount namespace `host`. Root in a container without a user namespace has the
    /// same number, and opens any socket that it sees.
    #[must_use]
    pub fn is_root_of(&self, host: NamespaceId) -> bool {
        self.uid() == 0 && self.mount_namespace() == Some(host)
    }

    /// True while the very process that connected has not exited.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let Some(pidfd) = &self.pidfd else { return false };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        // A pidfd becomes readable when its process exits (pidfd_open(2)).
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready == 0)
    }
}
