//! The edge of a link, whatever its type.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::rest::RestWorkers;
use super::unix::ProviderEnd;
use super::{FdBudget, LinkCounters, Workers, rest, unix};
use crate::mesh::inject::ProviderSocket;

/// What an edge is to do.
#[derive(Debug)]
pub enum AnySpec {
    /// Bytes and descriptors.
    Unix(unix::EdgeSpec),
    /// HTTP.
    Rest(rest::EdgeSpec, RestWorkers),
}

/// A running edge. Dropping it closes all its connections, without waiting for that.
#[derive(Debug)]
pub enum AnyEdge {
    /// Bytes and descriptors.
    Unix(unix::Edge),
    /// HTTP.
    Rest(rest::Edge),
}

/// Calls the same method of whichever edge it is.
macro_rules! either {
    ($edge:expr, $inner:ident => $call:expr) => {
        match $edge {
            AnyEdge::Unix($inner) => $call,
            AnyEdge::Rest($inner) => $call,
        }
    };
}

impl AnyEdge {
    /// Starts accepting.
    #[must_use]
    pub fn start(
        workers: &Workers,
        spec: AnySpec,
        provider: ProviderEnd,
        counters: Arc<LinkCounters>,
        budget: &Arc<FdBudget>,
    ) -> Self {
        match spec {
            AnySpec::Unix(spec) => Self::Unix(unix::Edge::start(workers, spec, provider, counters, budget)),
            AnySpec::Rest(spec, workers) => {
                Self::Rest(rest::Edge::start(workers, spec, provider, counters, budget))
            }
        }
    }

    /// Says that the provider's socket is another one; it is tried at once.
    pub fn set_provider(&self, socket: Option<Arc<ProviderSocket>>) {
        match self {
            Self::Unix(edge) => edge.set_provider(socket),
            Self::Rest(edge) => edge.set_provider(socket.as_ref()),
        }
    }

    /// Accepts no more and closes our copy of the listening socket; open connections go on.
    pub fn stop_accepting(&self) {
        either!(self, edge => edge.stop_accepting());
    }

    /// Accepts no more, lets open connections end by themselves for `grace`, then closes them.
    pub async fn drain(&self, grace: Duration) {
        either!(self, edge => edge.drain(grace).await);
    }

    /// Closes the listening socket and every connection; all is closed on return.
    pub async fn cut(&self) {
        either!(self, edge => edge.cut().await);
    }

    /// A duplicate of the listening socket, to be kept for whoever comes after this process.
    ///
    /// # Errors
    /// `EMFILE`; `NotConnected` after [`stop_accepting`](Self::stop_accepting).
    pub fn listener_dup(&self) -> io::Result<OwnedFd> {
        either!(self, edge => edge.listener_dup())
    }

    /// Connections that are open or held.
    #[must_use]
    pub fn open(&self) -> usize {
        either!(self, edge => edge.open())
    }
}
