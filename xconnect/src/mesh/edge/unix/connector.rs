//! The thread of a link that waits for room in the provider's backlog: only a blocking connect(2) is
//! queued there, poll(2) tells nothing.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::shared::LinkShared;
use crate::mesh::edge::workers::{Command, Inbox, Key};
use crate::mesh::inject::ProviderSocket;
use crate::mesh::inject::role::{self, Blocking};

/// A thread without work ends after so long.
const IDLE: Duration = Duration::from_secs(2);
/// The longest single wait: after it a removed link's thread notices that.
const SLICE: Duration = Duration::from_millis(500);
/// It makes two system calls.
const STACK: usize = 128 * 1024;

/// One connect.
pub(super) struct Job {
    pub(super) link: Arc<LinkShared>,
    pub(super) provider: Arc<ProviderSocket>,
    pub(super) consumer: Key,
    pub(super) deadline: Instant,
    pub(super) inbox: Arc<Inbox>,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    running: bool,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread when there is work, which few links ever have.
#[derive(Default)]
pub(super) struct Connector(Option<Arc<Shared>>);

impl Connector {
    /// Gives the thread its next job; the answer comes as [`Command::Connected`]. One job at a time.
    ///
    /// # Errors
    /// Where the thread cannot be started; the job is dropped.
    pub(super) fn submit(&mut self, job: Job) -> io::Result<()> {
        let shared = self.0.get_or_insert_default();
        let mut state = shared.lock();
        state.job = Some(job);
        if state.running {
            shared.changed.notify_one();
            return Ok(());
        }
        let shared = shared.clone();
        let started = std::thread::Builder::new()
            .name("connect".to_owned())
            .stack_size(STACK)
            .spawn(move || run(&shared));
        state.running = started.is_ok();
        if started.is_err() {
            state.job = None;
        }
        started.map(drop)
    }

    /// Lets the thread end after what it does.
    pub(super) fn close(&self) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.lock();
        state.closed = true;
        state.job = None;
        shared.changed.notify_one();
    }
}

fn run(shared: &Shared) {
    let prepared = role::prepare_thread();
    while let Some(job) = next(shared) {
        let result = match &prepared {
            Ok(()) => connect(&job),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let command = Command::Connected { link: job.link.number, consumer: job.consumer, result };
        job.inbox.post(command);
    }
}

/// The next job; `None` (decided under the lock, so that no job is left behind): end.
fn next(shared: &Shared) -> Option<Job> {
    let state = shared.lock();
    let waits = |state: &mut State| state.job.is_none() && !state.closed;
    let (mut state, _) =
        shared.changed.wait_timeout_while(state, IDLE, waits).unwrap_or_else(PoisonError::into_inner);
    let job = state.job.take();
    state.running = job.is_some();
    job
}

fn connect(job: &Job) -> io::Result<OwnedFd> {
    loop {
        let left = job.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || job.link.is_cut() {
            return Err(ErrorKind::TimedOut.into());
        }
        // A timeout of 0 would mean none at all (socket(7)).
        let slice = Blocking::Timeout(left.clamp(Duration::from_millis(1), SLICE));
        match job.link.connect(&job.provider, slice) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            result => return result,
        }
    }
}
