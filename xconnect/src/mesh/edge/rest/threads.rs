//! The threads of rest links: each has an event loop of its own, and may connect as any role.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

use super::accept;
use super::connection;
use super::http1::{Fields, Seed};
use super::local::{Local, Scratch};
use super::shared::{Admission, LinkShared};
use crate::mesh::inject::ProviderSocket;
use crate::mesh::inject::role;
use crate::mesh::limiter::limited_in;

/// Something for a thread to do.
pub(super) enum Command {
    /// A link begins; the thread that gets its listener accepts for it.
    Open {
        link: Arc<LinkShared>,
        listener: Option<Arc<OwnedFd>>,
        provider: Option<Arc<ProviderSocket>>,
        stale: Arc<Notify>,
    },
    Provider {
        link: u64,
        socket: Option<Arc<ProviderSocket>>,
    },
    /// A consumer that another thread has accepted.
    Consumer {
        link: u64,
        socket: OwnedFd,
        admission: Admission,
    },
    StopAccepting {
        link: u64,
        done: oneshot::Sender<()>,
    },
    Drain {
        link: u64,
    },
    /// The thread ends.
    End,
    /// Closes everything of a link. Dropping `done` says that all is closed.
    Cut {
        link: u64,
        done: oneshot::Sender<()>,
    },
}

/// One thread, as the others see it.
pub(super) struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    /// Connections that it serves.
    pub(super) load: AtomicUsize,
}

impl Worker {
    pub(super) fn post(&self, command: Command) {
        // Its thread ends with the process only.
        let _ = self.commands.send(command);
    }
}

/// The threads, running.
#[derive(Clone)]
pub struct RestWorkers(pub(super) Arc<[Arc<Worker>]>);

impl std::fmt::Debug for RestWorkers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads", self.0.len())
    }
}

/// The threads of rest links, which start with the first one.
pub struct RestThreads {
    count: usize,
    started: Mutex<Option<RestWorkers>>,
}

impl std::fmt::Debug for RestThreads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestThreads").field("count", &self.count).finish_non_exhaustive()
    }
}

impl RestThreads {
    /// `count` threads (at least one), none of them started yet.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { count: count.max(1), started: Mutex::default() }
    }

    /// The threads, which are started if need be.
    ///
    /// # Errors
    /// Where that is not possible: no descriptors or threads, or no leave to act as other users.
    pub fn get(&self) -> io::Result<RestWorkers> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(workers) = &*started {
            return Ok(workers.clone());
        }
        let mut workers = Vec::new();
        let mut queues = Vec::new();
        for _ in 0..self.count {
            let (commands, queue) = mpsc::unbounded_channel();
            workers.push(Arc::new(Worker { commands, load: AtomicUsize::new(0) }));
            queues.push(queue);
        }
        let workers: Arc<[Arc<Worker>]> = workers.into();
        for (index, queue) in queues.into_iter().enumerate() {
            if let Err(error) = start(index, workers.clone(), queue) {
                // Those that run would wait for each other for ever.
                workers.iter().for_each(|worker| worker.post(Command::End));
                return Err(error);
            }
        }
        Ok(started.insert(RestWorkers(workers)).clone())
    }
}

fn start(
    index: usize,
    workers: Arc<[Arc<Worker>]>,
    queue: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    let (ready, prepared) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name(format!("rest-{index}")).spawn(move || {
        let runtime = role::prepare_thread()
            .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
        match runtime {
            Err(error) => drop(ready.send(Err(error))),
            Ok(runtime) => {
                drop(ready.send(Ok(())));
                let guard = AbortOnPanic;
                let local = LocalSet::new();
                local.block_on(&runtime, Thread::new(index, workers).run(queue));
                std::mem::forget(guard);
            }
        }
    })?;
    prepared.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

/// A thread that is gone would leave its links hanging: better the whole process starts again.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!("a thread of the rest links panicked");
        std::process::abort();
    }
}

/// One thread, from the inside.
struct Thread {
    index: usize,
    workers: Arc<[Arc<Worker>]>,
    links: HashMap<u64, Link>,
    scratch: Rc<RefCell<Scratch>>,
}

struct Link {
    local: Rc<Local>,
    accepting: Option<tokio::task::JoinHandle<()>>,
}

impl Thread {
    fn new(index: usize, workers: Arc<[Arc<Worker>]>) -> Self {
        let seed = Seed::new(index as u64 ^ u64::from(std::process::id()));
        let scratch = Rc::new(RefCell::new(Scratch { fields: Fields::default(), seed }));
        Self { index, workers, links: HashMap::new(), scratch }
    }

    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = queue.recv().await {
            match command {
                Command::End => return,
                Command::Open { link, listener, provider, stale } => {
                    self.open(link, listener, provider, stale);
                }
                Command::Provider { link, socket } => {
                    if let Some(link) = self.links.get(&link) {
                        link.local.set_provider(socket);
                    }
                }
                Command::Consumer { link, socket, admission } => {
                    if let Some(link) = self.links.get(&link) {
                        serve(&link.local, &self.workers[self.index], socket, admission);
                    }
                }
                Command::StopAccepting { link, done } => {
                    if let Some(accepting) = self.links.get_mut(&link).and_then(|link| link.accepting.take())
                    {
                        accepting.abort();
                        // It is over, with the listener, when this returns.
                        let _ = accepting.await;
                    }
                    drop(done);
                }
                Command::Drain { link } => {
                    if let Some(link) = self.links.get(&link) {
                        link.local.drain();
                    }
                }
                Command::Cut { link, done } => {
                    if let Some(mut link) = self.links.remove(&link) {
                        if let Some(accepting) = link.accepting.take() {
                            accepting.abort();
                            let _ = accepting.await;
                        }
                        link.local.cut();
                        while link.local.connections() > 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    drop(done);
                }
            }
        }
    }

    fn open(
        &mut self,
        shared: Arc<LinkShared>,
        listener: Option<Arc<OwnedFd>>,
        provider: Option<Arc<ProviderSocket>>,
        stale: Arc<Notify>,
    ) {
        let number = shared.number;
        let local = Local::new(shared, self.scratch.clone(), provider, stale);
        let accepting = listener.map(|listener| {
            let (local, workers, index) = (local.clone(), self.workers.clone(), self.index);
            tokio::task::spawn_local(accept::run(local, listener, workers, index))
        });
        self.links.insert(number, Link { local, accepting });
    }
}

/// Serves a consumer on this thread.
pub(super) fn serve(local: &Rc<Local>, worker: &Arc<Worker>, socket: OwnedFd, admission: Admission) {
    let load = Load::of(worker);
    if local.shared.is_cut() {
        return;
    }
    if let Err(error) = connection::start(local, socket, admission, load) {
        local.count_failed();
        let link = &local.shared;
        limited_in!(warn, &link.span(), link.limiter, "watch", %error, "cannot watch a connection");
    }
}

/// A connection that counts as load of its thread.
pub(super) struct Load(Arc<Worker>);

impl Load {
    fn of(worker: &Arc<Worker>) -> Self {
        worker.load.fetch_add(1, Ordering::Relaxed);
        Self(worker.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A descriptor of the listening socket for one event loop alone: others hold duplicates, too.
pub(super) fn duplicate(listener: &Arc<OwnedFd>) -> io::Result<OwnedFd> {
    listener.as_fd().try_clone_to_owned()
}
