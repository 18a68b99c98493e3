//! One connection under torture: its two ends, its two directions, and what went wrong first.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{SendFlags, Shutdown};

use super::dice::Dice;
use super::flow::Flow;
use super::words::THREADS;

/// An end of a link; also the direction that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Who connects.
    Consumer,
    /// Who accepts.
    Provider,
}

impl End {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Consumer => Self::Provider,
            Self::Provider => Self::Consumer,
        }
    }

    /// The direction that it sends.
    pub(crate) fn direction(self) -> &'static str {
        match self {
            Self::Consumer => "to the provider",
            Self::Provider => "to the consumer",
        }
    }
}

/// The connection is over, for a reason that it has noted.
#[derive(Debug)]
pub(crate) struct Over;

/// What ended a connection before its time.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// An end saw the end of the stream, or a reset, before the sender was done.
    Cut(String),
    /// Bytes, or the end, were not delivered though nothing else came.
    Stalled(String),
    /// The end came, though the sender had written more in this direction before it ended it.
    Truncated(End),
    /// Anything else that should not happen.
    Error(String),
}

/// How long an end waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A blocked call looks up so often.
    pub(crate) tick: Duration,
    /// What takes longer is a stall.
    pub(crate) stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tick: Duration::from_millis(500), stall: Duration::from_secs(5) }
    }
}

/// How an end's disappearance is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cuts {
    /// As a fault.
    Wrong,
    /// The link may end a connection early, and what had not arrived is part of the cut.
    Allowed,
}

type Slot = Mutex<Option<Arc<OwnedFd>>>;

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    /// Its number within the scenario.
    pub(crate) number: u64,
    /// What its dice are made of.
    pub(crate) seed: u64,
    pub(crate) patience: Patience,
    pub(crate) cuts: Cuts,
    slots: [Slot; 2],
    flows: [Flow; 2],
    over: AtomicBool,
    killed: AtomicBool,
    trouble: OnceLock<Trouble>,
}

impl Conn {
    /// Without its sockets yet.
    pub(crate) fn new(number: u64, seed: u64, cuts: Cuts, patience: Patience) -> Self {
        // 4,096 connections side by side are told apart by the numbers of their threads.
        let base = (number % 4096) as u16 * (2 * THREADS as u16);
        Self {
            number,
            seed,
            patience,
            cuts,
            slots: Default::default(),
            flows: [Flow::new(base), Flow::new(base + THREADS as u16)],
            over: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            trouble: OnceLock::new(),
        }
    }

    /// The numbers that this connection draws.
    pub(crate) fn dice(&self) -> Dice {
        Dice::new(self.seed)
    }

    /// The direction that this end sends.
    pub(crate) fn flow(&self, from: End) -> &Flow {
        &self.flows[from as usize]
    }

    /// What went wrong first.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.get()
    }

    /// Takes an end's socket.
    pub(crate) fn set(&self, end: End, socket: OwnedFd) -> Result<(), Over> {
        for id in [Timeout::Recv, Timeout::Send] {
            let set = sockopt::set_socket_timeout(&socket, id, Some(self.patience.tick));
            set.map_err(|error| self.error(format!("set a timeout: {error}")))?;
        }
        *self.slot(end) = Some(Arc::new(socket));
        Ok(())
    }

    fn slot(&self, end: End) -> std::sync::MutexGuard<'_, Option<Arc<OwnedFd>>> {
        self.slots[end as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection for all who still use it.
    fn shut(&self) {
        for end in [End::Consumer, End::Provider] {
            if let Some(socket) = &*self.slot(end) {
                let _ = rustix::net::shutdown(socket, Shutdown::Both);
            }
        }
    }

    /// An end's socket.
    pub(crate) fn socket(&self, end: End) -> Result<Arc<OwnedFd>, Over> {
        self.slot(end).clone().ok_or(Over)
    }

    /// Takes an end's socket away: whoever gets it is its only holder.
    pub(crate) fn take(&self, end: End) -> Result<OwnedFd, Over> {
        let socket = self.slot(end).take().ok_or(Over)?;
        Arc::into_inner(socket).ok_or_else(|| self.error("closed while in use: the test is wrong".to_owned()))
    }

    /// close(2) of an end that has sent all that it wants to.
    pub(crate) fn close(&self, end: End) -> Result<(), Over> {
        self.flow(end).finish_sending();
        drop(self.take(end)?);
        self.flow(end).set_closed();
        Ok(())
    }

    /// shutdown(2) of the sending side of an end that has sent all that it wants to.
    pub(crate) fn half_close(&self, end: End) -> Result<(), Over> {
        self.flow(end).finish_sending();
        let socket = self.socket(end)?;
        rustix::net::shutdown(&socket, Shutdown::Write)
            .map_err(|error| self.error(format!("shutdown: {error}")))?;
        self.flow(end).set_closed();
        Ok(())
    }

    /// From here on the connection may end at any time: one of its ends is about to be killed.
    pub(crate) fn expect_death(&self) {
        self.killed.store(true, Ordering::SeqCst);
    }

    /// Whether an end was to be killed.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    /// Notes a trouble, if it is the first, and ends the connection for all its threads.
    pub(crate) fn fail(&self, trouble: Trouble) -> Over {
        if !self.over.swap(true, Ordering::SeqCst) {
            let _ = self.trouble.set(trouble);
        }
        self.shut();
        Over
    }

    /// Notes an error that should not happen.
    pub(crate) fn error(&self, text: String) -> Over {
        self.fail(Trouble::Error(text))
    }

    /// The stream of this sender has ended: what that means depends on whether it was done.
    pub(crate) fn gone(&self, sender: End, how: &str) -> Over {
        let flow = self.flow(sender);
        let text = || format!("{how} {} after {} bytes", sender.direction(), flow.received());
        if self.is_killed() {
            return Over;
        }
        match (flow.is_done(), flow.is_short()) {
            (false, _) => self.fail(Trouble::Cut(text())),
            // A cut may come as a reset even after the last byte.
            (true, _) if self.cuts == Cuts::Allowed => self.fail(Trouble::Cut(text())),
            (true, true) => self.fail(Trouble::Truncated(sender)),
            (true, false) => self.error(text()),
        }
    }

    /// Writes all bytes from this end, as one thread's words.
    pub(crate) fn write(&self, from: End, thread: usize, socket: &OwnedFd, bytes: &[u8]) -> Result<(), Over> {
        let flow = self.flow(from);
        flow.begin(bytes.len());
        let mut rest = bytes;
        let mut blocked: Option<(Instant, u64)> = None;
        while !rest.is_empty() {
            match rustix::net::send(socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    rest = &rest[count..];
                    blocked = None;
                }
                Err(rustix::io::Errno::AGAIN) => {
                    // While others get through, this thread has only had bad luck.
                    let received = flow.received();
                    let since = match blocked {
                        Some((since, then)) if then == received => since,
                        _ => Instant::now(),
                    };
                    blocked = Some((since, received));
                    // A slow reader may keep a sender waiting, but none here does so for as long.
                    if since.elapsed() >= self.patience.stall {
                        let text = format!("a write {} is blocked", from.direction());
                        return Err(self.fail(Trouble::Stalled(text)));
                    }
                }
                Err(error) => return Err(self.write_failed(from, &error.into())),
            }
        }
        flow.wrote(thread, (bytes.len() / super::words::WORD) as u64);
        Ok(())
    }

    fn write_failed(&self, from: End, error: &io::Error) -> Over {
        let gone = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        match gone {
            true if self.is_killed() => Over,
            true => self.fail(Trouble::Cut(format!("a write {} failed: {error}", from.direction()))),
            false => self.error(format!("a write {} failed: {error}", from.direction())),
        }
    }
}

/// Runs two halves of a scenario at the same time.
pub(crate) fn both<A: Send, B>(
    first: impl FnOnce() -> Result<A, Over> + Send,
    second: impl FnOnce() -> Result<B, Over>,
) -> Result<(A, B), Over> {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((first?, second?))
    })
}
