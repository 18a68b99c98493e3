//! A socket in its place, with the edge behind it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::Notify;

use super::super::board::Place;
use super::super::edge::rest::RestWorkers;
use super::super::edge::unix::ProviderEnd;
use super::super::edge::{AnyEdge, AnySpec, rest, unix};
use super::super::fdstore;
use super::super::inject::{self, Container, Placed, ProviderSocket, SocketSpec, Watch};
use super::super::ledger;
use super::super::limiter::{Limiter, limited};
use super::super::own::Reach;
use super::Shared;
use crate::graph::{Forward, Grant, Identity, Limits, Link, RestOptions, ServiceType, UnixOptions};
use crate::ids::{ContainerName, LinkKey};
use crate::sys::fs::InodeId;

/// What an edge was started with; another of these needs another edge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    kind: ServiceType,
    provider: ContainerName,
    reach: Reach,
    grant: Grant,
    limits: Limits,
    unix: UnixOptions,
    rest: RestOptions,
}

impl Terms {
    fn of(link: &Link) -> Option<Self> {
        let grant = link.grant.as_ref().ok()?.clone();
        Some(Self {
            kind: link.kind,
            provider: link.provider.name.clone(),
            reach: Reach::of(link),
            grant,
            limits: link.limits,
            unix: link.unix,
            rest: link.rest,
        })
    }
}

/// A socket in its place, with the edge behind it.
pub(super) struct Planted {
    key: LinkKey,
    container: Arc<Container>,
    entry: ledger::Place,
    pub(super) inode: InodeId,
    edge: AnyEdge,
    /// Edges whose socket lost its place: their connections go on.
    retired: Vec<AnyEdge>,
    terms: Option<Terms>,
    provider: Option<Arc<ProviderSocket>>,
    pub(super) stale: Arc<Notify>,
    pub(super) watch: Watch,
    limiter: Arc<Limiter>,
}

impl Planted {
    /// True if this serves `link` as it is wanted, in that container.
    pub(super) fn fits(&self, link: &Link, container: &Arc<Container>) -> bool {
        Arc::ptr_eq(&self.container, container) && self.terms == Terms::of(link)
    }

    /// Puts a listening socket at the link's target and starts the edge behind it. `before` is the former
    /// one of the same link, which lost its place; its open connections are kept.
    ///
    /// # Errors
    /// Why it could not be put there, with `before` given back.
    pub(super) async fn plant(
        shared: &Shared,
        link: &Link,
        container: &Arc<Container>,
        place: &Place,
        before: Option<Self>,
    ) -> Result<Self, (inject::Error, Option<Self>)> {
        // Before anything is planted: a socket with nobody behind it would hold its consumers.
        let workers = match link.kind {
            ServiceType::Rest => match shared.rest.get() {
                Ok(workers) => Some(workers),
                Err(source) => return Err((inject::Error::Threads { source }, before)),
            },
            _ => None,
        };
        let entry = ledger::Place::new(container.identity(), &link.key.target);
        // The watch comes first: what happens from here on is noticed.
        let watch = shared.watcher.watch(container, &link.key.target);
        let (listener, inode) = match obtain(shared, link, container, &entry, before.is_none()).await {
            Ok(socket) => socket,
            Err(error) => return Err((error, before)),
        };
        shared.leftovers.settle(&entry);
        let (provider, stale, retired) = match before {
            None => (None, Arc::new(Notify::new()), Vec::new()),
            Some(before) => {
                before.edge.stop_accepting();
                let mut retired = before.retired;
                retired.retain(|edge| edge.open() > 0);
                retired.push(before.edge);
                (before.provider, before.stale, retired)
            }
        };
        let terms = Terms::of(link);
        let spec = spec_of(shared, link, place, workers, listener);
        let own = Arc::clone(&shared.own);
        let end = ProviderEnd { socket: provider.clone(), stale: Arc::clone(&stale), own };
        let edge = AnyEdge::start(&shared.workers, spec, end, Arc::clone(&place.counters), &shared.budget);
        let meta = fdstore::Meta { place: entry.clone(), inode, socket_type: link.unix.socket_type };
        match edge.listener_dup() {
            Ok(listener) => shared.fdstore.put(link.key.id(), meta, listener),
            Err(error) => {
                limited!(warn, place.limiter, "save", link = %link.key, %error,
                    "cannot save the listener for a successor");
            }
        }
        Ok(Self {
            key: link.key.clone(),
            container: Arc::clone(container),
            entry,
            inode,
            edge,
            retired,
            terms,
            provider,
            stale,
            watch,
            limiter: Arc::clone(&place.limiter),
        })
    }

    /// Tells the edges where the provider is.
    pub(super) fn publish(&mut self, socket: Option<Arc<ProviderSocket>>) {
        let same = match (&self.provider, &socket) {
            (None, None) => true,
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if !same {
            for edge in self.retired.iter().chain([&self.edge]) {
                edge.set_provider(socket.clone());
            }
            self.provider = socket;
        }
    }

    /// Takes the socket out and cuts every connection.
    pub(super) async fn pull_out(self, shared: &Shared) {
        self.take_away(shared).await;
        for edge in self.retired {
            edge.cut().await;
        }
        self.edge.cut().await;
    }

    /// Takes the socket out, lets connections end by themselves for a while, then cuts them.
    pub(super) async fn drain(self, shared: &Shared) {
        self.take_away(shared).await;
        for edge in &self.retired {
            edge.drain(shared.drain).await;
        }
        self.edge.drain(shared.drain).await;
    }

    async fn take_away(&self, shared: &Shared) {
        self.edge.stop_accepting();
        if let Err(error) = self.container.unplant(&self.key.target, &self.inode).await
            && !super::is_gone(&error)
        {
            limited!(warn, self.limiter, "remove", link = %self.key, error = %crate::mesh::chain(&error),
                "cannot remove the injected socket");
        }
        shared.ledger.forget(&self.entry);
        shared.fdstore.del(self.key.id());
    }
}

/// What the link's edge is to do.
fn spec_of(
    shared: &Shared,
    link: &Link,
    place: &Place,
    rest: Option<RestWorkers>,
    listener: OwnedFd,
) -> AnySpec {
    let limiter = Arc::clone(&place.limiter);
    match (rest, &link.grant) {
        (Some(workers), Ok(grant)) => {
            let spec = rest::EdgeSpec {
                key: link.key.clone(),
                provider: link.provider.name.clone(),
                reach: Reach::of(link),
                listener,
                grant: grant.clone(),
                limits: link.limits,
                options: link.rest,
                limiter,
            };
            AnySpec::Rest(spec, workers)
        }
        (_, grant) => AnySpec::Unix(unix::EdgeSpec {
            id: link.key.id(),
            consumer: link.key.consumer.clone(),
            provider: link.provider.name.clone(),
            service: link.key.service.clone(),
            listener,
            socket_type: link.unix.socket_type,
            identity: grant.as_ref().map_or(Identity::NOBODY, Grant::identity),
            limits: link.limits,
            limiter,
            plain: link.unix.forward != Forward::User,
            kernel: shared.offload.share(link),
        }),
    }
}

/// A listening socket at the link's target: the one that a former mesh left, where it is still in its
/// place (`may_adopt`), else a new one.
async fn obtain(
    shared: &Shared,
    link: &Link,
    container: &Arc<Container>,
    entry: &ledger::Place,
    may_adopt: bool,
) -> Result<(OwnedFd, InodeId), inject::Error> {
    if may_adopt && let Some(socket) = take_over(shared, link, container, entry).await? {
        return Ok(socket);
    }
    let spec = SocketSpec::new(link.unix.socket_type);
    let planted = container.plant(&link.key.target, &spec, &shared.ledger.known(entry)).await?;
    shared.ledger.put(entry.clone(), planted.inode);
    Ok((planted.listener, planted.inode))
}

/// The listener that a former mesh left for the link, where its socket is still in its place. Where it is
/// not, the store is told to close it: nobody would ever accept from it.
async fn take_over(
    shared: &Shared,
    link: &Link,
    container: &Container,
    entry: &ledger::Place,
) -> Result<Option<(OwnedFd, InodeId)>, inject::Error> {
    let id = link.key.id();
    let Some((meta, listener)) = shared.fdstore.adopt(id) else { return Ok(None) };
    let fits = meta.place == *entry && meta.socket_type == link.unix.socket_type;
    let placed = if fits { container.check(&link.key.target, &meta.inode).await } else { Ok(Placed::Other) };
    match placed {
        Ok(Placed::Ours) => {
            tracing::info!(link = %link.key, "going on with the listener that the former mesh left");
            shared.ledger.put(entry.clone(), meta.inode);
            Ok(Some((listener, meta.inode)))
        }
        Ok(Placed::Missing | Placed::Other)
        | Err(inject::Error::NotADirectory { .. } | inject::Error::LinkLoop { .. }) => {
            shared.fdstore.del(id);
            Ok(None)
        }
        Err(error) => {
            // For the next try: those who wait in it have done nothing wrong.
            shared.fdstore.give_back(id, meta, listener);
            Err(error)
        }
    }
}
