//! The few threads on which one container's file systems are touched.
//!
//! A file system may block for ever (FUSE, a dead NFS server): then these threads hang, and nobody
//! else does. Threads start when there is work and end when there is none for a while.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::sys::cred;

/// Threads of one container.
const THREADS: usize = 2;
/// A thread without work ends after so long.
const IDLE: Duration = Duration::from_secs(1);
/// A second thread starts when work has waited so long: one does for everything that does not block.
const PATIENCE: Duration = Duration::from_millis(20);
/// Far more than is touched, for nothing here recurses or keeps large buffers. But the C library keeps the
/// stacks of ended threads, with what they touched, up to 40 MiB in all: of larger ones it keeps fewer.
const STACK: usize = 1024 * 1024;

/// User and group that own what a thread creates, in the host's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Why a job has no result.
#[derive(Debug)]
pub(super) enum PoolError {
    /// Not finished before its deadline; it still may be, and its result is then dropped.
    Stuck,
    /// No thread could be started or set up.
    Thread(io::Error),
}

type Work = Box<dyn FnOnce(Result<(), &io::Error>) + Send>;

struct Job {
    number: u64,
    work: Work,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    next: u64,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    owner: Option<Owner>,
}

/// Runs closures on threads of its own. Dropping it ends them once their work is done.
pub(super) struct Pool(Arc<Shared>);

thread_local! {
    /// The address of the pool that the thread serves; 0 elsewhere.
    static SERVES: Cell<usize> = const { Cell::new(0) };
}

impl Pool {
    /// `owner`: the ids that own what jobs create, where they are not the program's own.
    pub(super) fn new(owner: Option<Owner>) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), owner }))
    }

    /// Runs `work` and waits for its result, at most until the deadline. Work that has not begun by
    /// then never will; the result of work that has is dropped, and so must undo in its `Drop` what
    /// must not stay.
    pub(super) async fn run<T, F>(&self, deadline: Duration, work: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, mut receiver) = oneshot::channel();
        let number = self.submit(Box::new(move |ready| {
            if sender.is_closed() {
                return;
            }
            // A receiver that is gone by now drops the result.
            let _ = sender.send(match ready {
                Ok(()) => Ok(work()),
                Err(e) => Err(e.raw_os_error().map_or_else(|| e.kind().into(), io::Error::from_raw_os_error)),
            });
        }));
        let number = number.map_err(PoolError::Thread)?;
        let _cancel = CancelOnDrop { pool: &self.0, number };
        let mut result = tokio::time::timeout(PATIENCE.min(deadline), &mut receiver).await;
        if result.is_err() {
            self.0.grow_if_waiting();
            result = tokio::time::timeout(deadline.saturating_sub(PATIENCE), &mut receiver).await;
        }
        match result {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(e))) => Err(PoolError::Thread(e)),
            // The job panicked: its sender was dropped unused.
            Ok(Err(_)) => Err(PoolError::Thread(io::Error::other("the job panicked"))),
            Err(_) => Err(PoolError::Stuck),
        }
    }

    /// Runs `work` some time, with nobody waiting for it; at once where this is a thread of the pool's,
    /// so that what a job undoes is undone before the next one begins.
    pub(super) fn detach(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if SERVES.get() == Arc::as_ptr(&self.0).addr() {
            work();
            return Ok(());
        }
        let run = |ready: Result<(), &io::Error>| {
            if ready.is_ok() {
                work();
            }
        };
        self.submit(Box::new(run)).map(drop)
    }

    fn submit(&self, work: Work) -> io::Result<u64> {
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        state.queue.push_back(Job { number, work });
        if state.idle > 0 {
            self.0.wake.notify_one();
        } else if state.threads == 0
            && let Err(e) = Shared::start(&self.0, &mut state)
        {
            state.queue.retain(|job| job.number != number);
            return Err(e);
        }
        Ok(number)
    }

    /// How many threads there are, for tests.
    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        self.0.lock().threads
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

/// Takes work out of the queue that nobody waits for any more.
struct CancelOnDrop<'a> {
    pool: &'a Shared,
    number: u64,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        // Bound to a name, so that what the work owns is dropped after the lock is released.
        let _job = {
            let mut state = self.pool.lock();
            let at = state.queue.iter().position(|job| job.number == self.number);
            at.and_then(|at| state.queue.remove(at))
        };
    }
}

impl Shared {
    /// A panic elsewhere leaves the queue whole: every change to it is a single step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(shared: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let own = Arc::clone(shared);
        let address = Arc::as_ptr(shared).addr();
        let builder = std::thread::Builder::new().name("container-path".to_owned()).stack_size(STACK);
        builder.spawn(move || {
            SERVES.set(address);
            own.serve();
        })?;
        state.threads += 1;
        Ok(())
    }

    fn grow_if_waiting(self: &Arc<Self>) {
        let mut state = self.lock();
        if !state.queue.is_empty() && state.idle == 0 && state.threads < THREADS {
            // Without a second thread the work waits for the first.
            if let Err(error) = Self::start(self, &mut state) {
                tracing::debug!(%error, "cannot start a second thread for a container's paths");
            }
        }
    }

    /// What each thread does: one job after the other.
    fn serve(&self) {
        let ready = self.prepare();
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                let work = job.work;
                let ready = ready.as_ref().copied();
                // A panic in one job (reported by the panic hook) must not cost the pool a thread.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(ready)));
                state = self.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (next, timeout) = self.wake.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }

    fn prepare(&self) -> Result<(), io::Error> {
        cred::reset_effective()?;
        cred::own_umask()?;
        if let Some(owner) = self.owner {
            cred::keep_capabilities()?;
            cred::set_file_system_ids(owner.uid, owner.gid)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn work_runs_elsewhere_and_gives_its_result() {
        let pool = Pool::new(None);
        let here = std::thread::current().id();
        let there = pool.run(SOON, || std::thread::current().id()).await.unwrap();
        assert_ne!(here, there);
        assert_eq!(pool.run(SOON, || 7).await.unwrap(), 7);
        assert_eq!(pool.threads(), 1);
    }

    #[tokio::test]
    async fn work_that_hangs_is_given_up_and_takes_two_threads_at_most() {
        let pool = Pool::new(None);
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..THREADS {
            let (gate, begun) = (Arc::clone(&gate), begun.clone());
            let hang = pool.run(Duration::from_secs(60), move || {
                begun.send(()).unwrap();
                gate.lock().unwrap().recv().unwrap_or_default();
            });
            tokio::select! {
                ran = hang => panic!("{ran:?}"),
                _ = begins.recv() => {}
            }
        }
        for _ in 0..4 {
            let ran = pool.run(Duration::from_millis(60), || unreachable!("must not begin")).await;
            assert!(matches!(ran, Err::<(), _>(PoolError::Stuck)), "{ran:?}");
        }
        assert_eq!(pool.threads(), THREADS);
        drop(release);
        assert_eq!(pool.run(SOON, || 1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn one_that_hangs_leaves_a_thread_for_the_others() {
        let pool = Pool::new(None);
        let (release, gate) = std::sync::mpsc::channel::<()>();
        pool.detach(move || gate.recv().unwrap_or_default()).unwrap();
        assert_eq!(pool.run(SOON, || 2).await.unwrap(), 2);
        drop(release);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_that_job_only() {
        let pool = Pool::new(None);
        let ran = pool.run(SOON, || std::panic::resume_unwind(Box::new(()))).await;
        assert!(matches!(ran, Err::<(), _>(PoolError::Thread(_))));
        assert_eq!(pool.run(SOON, || 3).await.unwrap(), 3);
    }
}
