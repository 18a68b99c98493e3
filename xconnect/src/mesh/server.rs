//! The mesh's own socket: `GET /status`, `/links` and `/metrics`, for pv-appengine, pvcontrol and scrapers.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hyper::Method;
use serde::Serialize;
use tokio::sync::watch;

use super::board::{Board, Place};
use super::edge::FdBudget;
use super::offload::{Features, Offload};
use super::source::Health;
use super::{metrics, staying};
use crate::api::error::ApiError;
use crate::api::server::{
    self, BindError, Bound, Handler, Limits, NamespaceId, Peer, Request, Response, StopSignal, Trust,
};
use crate::api::time::rfc3339;
use crate::graph::wire::{self, LinkEntry};

/// Root only: what links exist is nobody else's business.
const MODE: u32 = 0o600;

/// What the socket shows.
#[derive(Debug)]
pub(super) struct View {
    board: Arc<Board>,
    health: watch::Receiver<Health>,
    budget: Arc<FdBudget>,
    offload: Arc<Offload>,
    started: Instant,
    host: NamespaceId,
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    pid: u32,
    uptime_secs: u64,
    graph: GraphStatus,
    links: BTreeMap<&'static str, usize>,
    descriptors: Descriptors,
    kernel_path: KernelPath,
}

#[derive(Serialize)]
struct GraphStatus {
    source: &'static str,
    received: u64,
    error: Option<String>,
}

#[derive(Serialize)]
struct Descriptors {
    used: usize,
    limit: usize,
}

#[derive(Serialize)]
struct KernelPath {
    available: bool,
    reason: Option<String>,
    flows: Option<u32>,
    flows_used: usize,
    /// Bytes that may be held.
    send_buffers: SendBuffers,
    refuses_rights: Option<bool>,
    traced: Option<bool>,
}

#[derive(Serialize)]
struct SendBuffers {
    used: usize,
    limit: usize,
}

impl KernelPath {
    fn of(offload: &Offload) -> Self {
        let (reason, flows, features) = match offload.path() {
            Ok(path) => (None, Some(path.flows()), Some(path.features())),
            Err(reason) => (Some(reason.to_owned()), None, None),
        };
        let (refuses_rights, traced) =
            features.map(|Features { refuses_rights, traced }| (refuses_rights, traced)).unzip();
        let limits = offload.limits();
        Self {
            available: flows.is_some(),
            reason,
            flows,
            flows_used: limits.flows_used(),
            send_buffers: SendBuffers { used: limits.buffers_used(), limit: limits.buffers_limit() },
            refuses_rights,
            traced,
        }
    }
}

impl View {
    /// # Errors
    /// Our own mount namespace cannot be looked at.
    pub(super) fn new(
        board: Arc<Board>,
        health: watch::Receiver<Health>,
        budget: Arc<FdBudget>,
        offload: Arc<Offload>,
    ) -> io::Result<Self> {
        let host = NamespaceId::mount_of("self")?;
        Ok(Self { board, health, budget, offload, started: Instant::now(), host })
    }

    fn status(&self) -> Status {
        let mut links = BTreeMap::new();
        for place in self.board.all() {
            *links.entry(place.standing().status.as_str()).or_default() += 1;
        }
        let health = self.health.borrow().clone();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_secs: self.started.elapsed().as_secs(),
            graph: GraphStatus { source: health.mode, received: health.received, error: health.error },
            links,
            descriptors: Descriptors { used: self.budget.used(), limit: self.budget.capacity() },
            kernel_path: KernelPath::of(&self.offload),
        }
    }

    fn links(&self) -> Vec<LinkEntry> {
        let revision = self.board.revision();
        self.board.all().iter().map(|place| entry(place, &self.offload, revision.as_deref())).collect()
    }
}

fn entry(place: &Place, offload: &Offload, revision: Option<&str>) -> LinkEntry {
    let link = place.link();
    let standing = place.standing();
    let counters = metrics::counters(&place.counters.snapshot());
    let (path, path_reason) = match offload.decide(&link) {
        Ok(_) => (wire::Path::Kernel, staying::text(&counters)),
        Err(reason) => (wire::Path::User, reason),
    };
    LinkEntry {
        status: Some(standing.status),
        reason: standing.reason,
        path: (standing.status == wire::Status::Up).then_some(path),
        since: Some(rfc3339(standing.since)),
        counters: Some(counters),
        path_reason,
        ..LinkEntry::desired(&link, revision)
    }
}

impl Handler for View {
    fn trust(&self, peer: &Peer) -> Trust {
        if peer.is_root_of(self.host) { Trust::Operator } else { Trust::Guest(format!("uid {}", peer.uid())) }
    }

    fn handle(&self, peer: Arc<Peer>, request: Request) -> impl Future<Output = Response> + Send {
        let known = matches!(request.path.as_str(), "/status" | "/links" | "/metrics");
        let response = match (known, &request.method, request.path.as_str()) {
            _ if !peer.is_root_of(self.host) => Response::error(&ApiError::NotManagement),
            (false, ..) => Response::error(&ApiError::UnknownEndpoint),
            (true, &Method::GET, "/status") => Response::json(&self.status()),
            (true, &Method::GET, "/links") => Response::json(&self.links()),
            (true, &Method::GET, _) => {
                Response::text(metrics::CONTENT_TYPE, metrics::text(&self.board, &self.offload))
            }
            _ => Response::error(&ApiError::MethodNotSupported),
        };
        std::future::ready(response)
    }
}

/// Binds the status socket. Whatever a dead mesh left there is replaced.
pub(super) fn bind(path: &Path) -> Result<Bound, BindError> {
    Bound::new(path, rustix::net::SocketType::STREAM, MODE)
}

/// Serves the status socket until `stop`.
pub(super) async fn serve(bound: Bound, view: View, stop: StopSignal) {
    if let Err(error) = server::serve(bound, Arc::new(view), Limits::default(), stop).await {
        tracing::error!(%error, "the status socket is not served any more");
    }
}
