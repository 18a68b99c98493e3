//! One run of a container: its first process and its shim, held by pidfd.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::Duration;

use tokio::time::Instant;

use crate::graph::ProcessId;
use crate::sys::process::{self, Watched};

/// How long a shim may take to clean up after its container.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// A run that is known to have existed.
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) process: ProcessId,
    init: Option<Watched>,
    shim: Option<Shim>,
    /// Set while the shim is cleaning up.
    clean_up_until: Option<Instant>,
}

struct Shim {
    pid: u32,
    watched: Watched,
}

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its first process ended; the shim is cleaning up.
    InitGone,
    /// Its shim was killed; the container runs on.
    ShimGone,
    /// It is over and the shim cleaned up.
    Over,
    /// It is over, and somebody else has to clean up.
    OverAlone,
}

impl Instance {
    /// A run with what is still there of it. A first process that is gone already is fine where there
    /// is a shim to tell about it.
    pub(crate) fn open(id: String, pid: u32, start: u64, shim: Option<(u32, OwnedFd)>) -> io::Result<Self> {
        let watch = |(pid, shim)| Ok::<_, io::Error>(Shim { pid, watched: Watched::new(shim)? });
        let shim = shim.map(watch).transpose()?;
        let init = match process::open_verified(pid, start) {
            Ok(fd) => Some(Watched::new(fd)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound && shim.is_some() => None,
            Err(error) => return Err(error),
        };
        let clean_up_until = init.is_none().then(|| Instant::now() + CLEAN_UP);
        Ok(Self { id, process: ProcessId { pid, start: Some(start) }, init, shim, clean_up_until })
    }

    /// True while its first process is there, as far as it was seen.
    pub(crate) fn is_running(&self) -> bool {
        self.clean_up_until.is_none()
    }

    /// The pid of its shim, as long as there is one.
    pub(crate) fn shim(&self) -> Option<u32> {
        self.shim.as_ref().map(|shim| shim.pid)
    }

    /// Sends a signal to the first process.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match &self.init {
            Some(init) => process::send_signal(init, signal),
            None => Ok(()),
        }
    }

    /// Waits for the next event. Can be dropped and called again.
    pub(crate) async fn event(&mut self) -> Event {
        let is_alive =
            |process: ProcessId| process.start.is_some_and(|start| process::is_alive(process.pid, start));
        match (&self.shim, self.clean_up_until) {
            (Some(shim), None) => tokio::select! {
                biased;
                () = shim.watched.ended() => {
                    shim.watched.reap();
                    self.shim = None;
                    if is_alive(self.process) {
                        return Event::ShimGone;
                    }
                    self.clean_up_until = Some(Instant::now());
                    Event::Over
                }
                () = optional(self.init.as_ref()) => {
                    self.clean_up_until = Some(Instant::now() + CLEAN_UP);
                    Event::InitGone
                }
            },
            (Some(shim), Some(deadline)) => {
                let over = tokio::time::timeout_at(deadline, shim.watched.ended()).await;
                if over.is_ok() { Event::Over } else { Event::OverAlone }
            }
            (None, _) => {
                optional(self.init.as_ref()).await;
                Event::OverAlone
            }
        }
    }

    /// Reaps the shim, if it is a dead child of ours.
    pub(crate) fn finish(&self) {
        if let Some(shim) = &self.shim {
            shim.watched.reap();
        }
    }
}

async fn optional(fd: Option<&Watched>) {
    match fd {
        Some(fd) => fd.ended().await,
        None => std::future::pending().await,
    }
}

/// Lets a shim that could not make its container clean up, and makes sure of its end.
pub(crate) async fn outlive(shim: OwnedFd, child: Child) {
    if let Ok(shim) = Watched::new(shim) {
        // In any case it is killed below.
        let _ = tokio::time::timeout(CLEAN_UP, shim.ended()).await;
    }
    end(child).await;
}

/// Kills a shim and reaps it. Nobody may have waited for it, so that its number is still its own.
pub(crate) async fn end(mut child: Child) {
    let pid = child.id();
    let ended = tokio::task::spawn_blocking(move || child.kill().and_then(|()| child.wait())).await;
    if let Err(error) = ended.map_err(io::Error::other).and_then(|ended| ended) {
        tracing::warn!(pid, %error, "cannot make an end of a shim");
    }
}
