//! The handle of one rest link's edge.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::shared::LinkShared;
use super::threads::{Command, RestWorkers, Worker};
use crate::graph::{Grant, Limits, RestOptions};
use crate::ids::{ContainerName, LinkKey};
use crate::mesh::edge::unix::{ProviderEnd, next_number};
use crate::mesh::edge::{FdBudget, LinkCounters};
use crate::mesh::inject::ProviderSocket;
use crate::mesh::limiter::limited_in;
use crate::mesh::{Limiter, Reach};
use crate::sys::scm::Sender;
use crate::sys::sockctl;

/// What a rest edge is to do.
#[derive(Debug)]
pub struct EdgeSpec {
    /// The link.
    pub key: LinkKey,
    /// The provider's name, for logs and answers.
    pub provider: ContainerName,
    /// What it may connect to.
    pub reach: Reach,
    /// Listening, non-blocking, close-on-exec.
    pub listener: OwnedFd,
    /// The role, what it may do, and who the provider sees.
    pub grant: Grant,
    /// Limits of connections.
    pub limits: Limits,
    /// Limits of requests, and what becomes of some fields.
    pub options: RestOptions,
    /// For what is logged about the link.
    pub limiter: Arc<Limiter>,
}

/// A running edge. Dropping it closes all its connections, without waiting for that.
pub struct Edge {
    link: Arc<LinkShared>,
    workers: Arc<[Arc<Worker>]>,
    /// The thread that accepts.
    home: usize,
    listener: Mutex<Option<Arc<OwnedFd>>>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.link.id)
    }
}

impl Edge {
    /// Starts accepting.
    #[must_use]
    pub fn start(
        workers: RestWorkers,
        spec: EdgeSpec,
        provider: ProviderEnd,
        counters: Arc<LinkCounters>,
        budget: &Arc<FdBudget>,
    ) -> Self {
        let RestWorkers(workers) = workers;
        let ProviderEnd { socket, stale, own } = provider;
        let id = spec.key.id();
        let identity = spec.grant.identity();
        // Accepted sockets take this from the listener. Older kernels cannot.
        let _ = sockctl::refuse_rights(spec.listener.as_fd());
        let link = Arc::new(LinkShared {
            number: next_number(),
            identity: LinkShared::identity_lines(&spec.key, &spec.grant, id),
            key: spec.key,
            id,
            provider: spec.provider.to_string(),
            reach: spec.reach,
            sender: Sender { pid: std::process::id(), uid: identity.uid, gid: identity.gid },
            grant: spec.grant,
            limits: spec.limits,
            options: spec.options,
            own,
            counters,
            limiter: spec.limiter,
            share: budget.share(),
            open: AtomicUsize::new(0),
            empty: Notify::new(),
            requests: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            cut: AtomicBool::new(false),
        });
        let listener = Arc::new(spec.listener);
        let home = usize::try_from(link.number).unwrap_or(0) % workers.len();
        // The one that accepts comes last: the others know the link before they are given consumers of it.
        let others = (0..workers.len()).filter(|index| *index != home);
        for index in others.chain([home]) {
            workers[index].post(Command::Open {
                link: link.clone(),
                listener: (index == home).then(|| listener.clone()),
                provider: socket.clone(),
                stale: stale.clone(),
            });
        }
        Self { link, workers, home, listener: Mutex::new(Some(listener)) }
    }

    /// Says that the provider's socket is another one; it is tried at once.
    pub fn set_provider(&self, socket: Option<&Arc<ProviderSocket>>) {
        for worker in self.workers.iter() {
            worker.post(Command::Provider { link: self.link.number, socket: socket.cloned() });
        }
    }

    /// Accepts no more and closes our copy of the listening socket; open connections go on.
    pub fn stop_accepting(&self) {
        drop(self.request_stop());
    }

    fn request_stop(&self) -> oneshot::Receiver<()> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, stopped) = oneshot::channel();
        self.workers[self.home].post(Command::StopAccepting { link: self.link.number, done });
        stopped
    }

    /// Accepts no more, closes connections between two requests, lets the others finish the one that they are at for
    /// `grace`, then closes them.
    pub async fn drain(&self, grace: Duration) {
        // The error is the signal: the thread has dropped its end.
        let _ = self.request_stop().await;
        let link = &self.link;
        link.draining.store(true, Ordering::Relaxed);
        for worker in self.workers.iter() {
            worker.post(Command::Drain { link: link.number });
        }
        let emptied = async {
            loop {
                let empty = link.empty.notified();
                if link.open.load(Ordering::Acquire) == 0 {
                    break;
                }
                empty.await;
            }
        };
        let rest = tokio::time::timeout(grace, emptied).await.map_or_else(|_| self.open(), |()| 0);
        if rest > 0 {
            limited_in!(
                warn,
                &link.span(),
                link.limiter,
                "drain",
                rest,
                "the time to drain is over, closing connections"
            );
        }
        self.cut().await;
    }

    /// Closes the listening socket and every connection; all is closed on return.
    pub async fn cut(&self) {
        for done in self.request_cut() {
            // As in `drain`.
            let _ = done.await;
        }
    }

    fn request_cut(&self) -> Vec<oneshot::Receiver<()>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        // First: a connection on its way between two threads must see it.
        self.link.cut.store(true, Ordering::Release);
        // The home first: it is where new ones come from.
        let home = [&self.workers[self.home]];
        let others = self.workers.iter().enumerate().filter(|(index, _)| *index != self.home);
        home.into_iter()
            .chain(others.map(|(_, worker)| worker))
            .map(|worker| {
                let (done, signal) = oneshot::channel();
                worker.post(Command::Cut { link: self.link.number, done });
                signal
            })
            .collect()
    }

    /// A duplicate of the listening socket, to be kept for whoever comes after this process.
    ///
    /// # Errors
    /// `EMFILE`; `NotConnected` after [`stop_accepting`](Self::stop_accepting).
    pub fn listener_dup(&self) -> io::Result<OwnedFd> {
        match &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(listener) => listener.try_clone(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Consumers' connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.link.open.load(Ordering::Acquire)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if !self.link.is_cut() {
            drop(self.request_cut());
        }
    }
}
