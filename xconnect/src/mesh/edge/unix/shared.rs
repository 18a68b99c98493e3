//! What every part of a link knows, and the proof that a consumer was let in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::graph::{Identity, Limits, SocketType};
use crate::ids::{ContainerName, LinkId, ServiceName};
use crate::mesh::edge::budget::{ConnectionPermit, LinkShare};
use crate::mesh::edge::counters::LinkCounters;
use crate::mesh::inject::ProviderSocket;
use crate::mesh::inject::role::{self, Blocking};
use crate::mesh::limiter::limited_in;
use crate::mesh::offload::KernelShare;
use crate::mesh::{Limiter, OwnSockets, Reach};
use crate::sys::scm::Sender;

/// What every part of a link knows.
pub(in crate::mesh::edge) struct LinkShared {
    /// Never used again in this process.
    pub(in crate::mesh::edge) number: u64,
    pub(super) id: LinkId,
    pub(super) consumer: ContainerName,
    pub(super) provider: ContainerName,
    pub(super) service: ServiceName,
    pub(super) socket_type: SocketType,
    pub(super) identity: Identity,
    /// What is sent to the provider says that it is from here: a thread that sends as another user than
    /// it is shows its real ids, the mesh's own.
    pub(super) role: Sender,
    pub(in crate::mesh::edge) limits: Limits,
    /// The provider promises a plain protocol: no descriptors, no half-close while the other side streams.
    pub(super) plain: bool,
    /// Where connections are handed to once they have shown that they last.
    pub(super) kernel: Option<Arc<KernelShare>>,
    pub(super) own: Arc<OwnSockets>,
    pub(super) counters: Arc<LinkCounters>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) share: Arc<LinkShare>,
    pub(super) open: AtomicUsize,
    /// Notified when `open` falls to 0.
    pub(super) empty: Notify,
    pub(super) cut: AtomicBool,
}

impl LinkShared {
    /// Whether nothing of this link may go on.
    pub(in crate::mesh::edge) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Whether its connections may be handed to the kernel.
    pub(in crate::mesh::edge) fn hands_over(&self) -> bool {
        self.kernel.is_some()
    }

    /// What messages about this link are told in. Made anew for each: most links never have one, and a
    /// span that is kept costs more than all else that is known here.
    pub(in crate::mesh::edge) fn span(&self) -> tracing::Span {
        let (consumer, provider) = (self.consumer.as_str(), self.provider.as_str());
        tracing::info_span!(parent: None, "link", id = %self.id, consumer, provider, service = self.service.as_str())
    }

    /// Connects to the provider as the role.
    pub(super) fn connect(&self, provider: &ProviderSocket, blocking: Blocking) -> io::Result<OwnedFd> {
        self.own.refuse(&provider.inode, Reach::Services)?;
        role::connect(provider.fd.as_fd(), self.socket_type, self.identity, blocking)
    }

    /// Counts and tells of a connection that could not be made.
    pub(in crate::mesh::edge) fn failed(&self, what: &'static str, error: &dyn std::error::Error) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        limited_in!(warn, &self.span(), self.limiter, what, %error, "{what}");
    }
}

/// Proof that a consumer was let in; what it holds is given back when it is dropped.
pub(super) struct Admission {
    link: Arc<LinkShared>,
    number: u64,
    _permit: ConnectionPermit,
}

impl Admission {
    pub(super) fn new(link: &Arc<LinkShared>, permit: ConnectionPermit) -> Self {
        link.open.fetch_add(1, Ordering::AcqRel);
        link.counters.open.fetch_add(1, Ordering::Relaxed);
        let number = link.counters.total.fetch_add(1, Ordering::Relaxed) + 1;
        Self { link: link.clone(), number, _permit: permit }
    }

    pub(in crate::mesh::edge) fn link(&self) -> &Arc<LinkShared> {
        &self.link
    }

    pub(super) fn share(&self) -> &Arc<LinkShare> {
        &self.link.share
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.link.counters.open.fetch_sub(1, Ordering::Relaxed);
        if self.link.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.link.empty.notify_waiters();
        }
    }
}

/// The number of the next link.
pub(in crate::mesh::edge) fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}
