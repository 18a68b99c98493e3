//! The handle of one link's edge.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::accept::Listener;
use super::link::LinkState;
use super::shared::{LinkShared, next_number};
use crate::graph::{Identity, Limits, SocketType};
use crate::ids::{ContainerName, LinkId, ServiceName};
use crate::mesh::edge::workers::{Command, Inbox};
use crate::mesh::edge::{FdBudget, LinkCounters, Workers};
use crate::mesh::inject::ProviderSocket;
use crate::mesh::limiter::limited_in;
use crate::mesh::offload::KernelShare;
use crate::mesh::{Limiter, OwnSockets};
use crate::sys::scm::Sender;
use crate::sys::sockctl;

/// What an edge is to do.
#[derive(Debug)]
pub struct EdgeSpec {
    /// The link.
    pub id: LinkId,
    /// The consumer's name, for logs.
    pub consumer: ContainerName,
    /// The provider's name, for logs.
    pub provider: ContainerName,
    /// The service's name, for logs.
    pub service: ServiceName,
    /// Listening, non-blocking, close-on-exec.
    pub listener: OwnedFd,
    /// The type of both sockets.
    pub socket_type: SocketType,
    /// Who the provider sees.
    pub identity: Identity,
    /// Limits.
    pub limits: Limits,
    /// For what is logged about the link.
    pub limiter: Arc<Limiter>,
    /// The provider promises a plain protocol: no descriptors, no half-close while the other side streams.
    pub plain: bool,
    /// Hands connections to the kernel.
    pub(crate) kernel: Option<Arc<KernelShare>>,
}

/// Where the provider is.
#[derive(Debug)]
pub struct ProviderEnd {
    /// Its socket; `None`: consumers are held.
    pub socket: Option<Arc<ProviderSocket>>,
    /// Notified when nobody listens on that socket: it may have been replaced.
    pub stale: Arc<Notify>,
    /// What is never connected to, should it be the provider's socket.
    pub own: Arc<OwnSockets>,
}

/// A running edge. Dropping it closes all its connections, without waiting for that.
#[derive(Debug)]
pub struct Edge {
    link: Handle,
    home: Arc<Inbox>,
    inboxes: Arc<[Arc<Inbox>]>,
    listener: Mutex<Option<Arc<OwnedFd>>>,
}

#[derive(Clone)]
struct Handle(Arc<LinkShared>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.id)
    }
}

impl Edge {
    /// Starts accepting.
    #[must_use]
    pub fn start(
        workers: &Workers,
        spec: EdgeSpec,
        provider: ProviderEnd,
        counters: Arc<LinkCounters>,
        budget: &Arc<FdBudget>,
    ) -> Self {
        let ProviderEnd { socket, stale, own } = provider;
        // Older kernels cannot: there the relay refuses what comes. The listener may be a former link's.
        let _ = sockctl::pass_rights(spec.listener.as_fd(), !spec.plain);
        let shared = Arc::new(LinkShared {
            number: next_number(),
            id: spec.id,
            consumer: spec.consumer,
            provider: spec.provider,
            service: spec.service,
            socket_type: spec.socket_type,
            identity: spec.identity,
            role: Sender { pid: std::process::id(), uid: spec.identity.uid, gid: spec.identity.gid },
            limits: spec.limits,
            limiter: spec.limiter,
            plain: spec.plain,
            kernel: spec.kernel,
            own,
            counters,
            share: budget.share(),
            open: AtomicUsize::new(0),
            empty: Notify::new(),
            cut: AtomicBool::new(false),
        });
        let listener = Arc::new(spec.listener);
        let home = workers.home();
        let state = LinkState::new(shared.clone(), Listener::new(listener.clone()), socket, stale);
        home.post(Command::Open(Box::new(state)));
        Self { link: Handle(shared), home, inboxes: workers.inboxes(), listener: Mutex::new(Some(listener)) }
    }

    /// Says that the provider's socket is another one; it is tried at once.
    pub fn set_provider(&self, socket: Option<Arc<ProviderSocket>>) {
        self.home.post(Command::Provider { link: self.link.0.number, socket });
    }

    /// Accepts no more and closes our copy of the listening socket; open connections go on.
    pub fn stop_accepting(&self) {
        drop(self.request_stop());
    }

    fn request_stop(&self) -> oneshot::Receiver<()> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, stopped) = oneshot::channel();
        self.home.post(Command::StopAccepting { link: self.link.0.number, done });
        stopped
    }

    /// Accepts no more, lets open connections end by themselves for `grace`, then closes them.
    pub async fn drain(&self, grace: Duration) {
        // The error is the signal: the worker has dropped its end.
        let _ = self.request_stop().await;
        let link = &self.link.0;
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
        // First: a connection on its way between two workers must see it.
        self.link.0.cut.store(true, Ordering::Release);
        let mut signals = Vec::new();
        // The home first: it is where new ones come from.
        let others = self.inboxes.iter().filter(|inbox| !Arc::ptr_eq(inbox, &self.home));
        for inbox in std::iter::once(&self.home).chain(others) {
            let (done, signal) = oneshot::channel();
            inbox.post(Command::Cut { link: self.link.0.number, done });
            signals.push(signal);
        }
        signals
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

    /// Connections that are open or held.
    #[must_use]
    pub fn open(&self) -> usize {
        self.link.0.open.load(Ordering::Acquire)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if !self.link.0.is_cut() {
            drop(self.request_cut());
        }
    }
}
