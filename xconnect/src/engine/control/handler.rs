//! Every request: who asks, what for, and the answer.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::merge::MeshStatus;
use super::route::{Access, Action, Route};
use super::settings::Settings;
use super::{metrics, views};
use crate::api::error::ApiError;
use crate::api::server::{Handler, NamespaceId, Peer, Request, Response};
use crate::api::types::ActionName;
use crate::engine::chain;
use crate::engine::container::{self, ActionError};
use crate::engine::daemon::Daemon;
use crate::engine::hub::{Hub, RegisterError};
use crate::graph::{MANAGEMENT_ROLE, wire};
use crate::ids::ContainerName;

/// What the control socket is made of.
pub(in crate::engine) struct Setup {
    pub(in crate::engine) hub: Arc<Hub>,
    pub(in crate::engine) daemons: Vec<Daemon>,
    /// The mesh's own socket.
    pub(in crate::engine) mesh_socket: PathBuf,
    pub(in crate::engine) settings: Settings,
}

/// The handler of the control socket.
pub(in crate::engine) struct Control {
    hub: Arc<Hub>,
    daemons: BTreeMap<String, Daemon>,
    mesh: MeshStatus,
    settings: Settings,
    host: NamespaceId,
}

/// Who asks.
enum Caller {
    /// The host's root.
    Host,
    /// A process in a container.
    Container(ContainerName),
    /// Anybody else.
    Stranger,
}

impl Control {
    /// # Errors
    /// Our own mount namespace cannot be looked at.
    pub(in crate::engine) fn new(setup: Setup) -> io::Result<Self> {
        let daemons = setup.daemons.into_iter().map(|daemon| (daemon.name().to_owned(), daemon));
        Ok(Self {
            hub: setup.hub,
            daemons: daemons.collect(),
            mesh: MeshStatus::new(setup.mesh_socket),
            settings: setup.settings,
            host: NamespaceId::mount_of("self")?,
        })
    }

    fn caller(&self, peer: &Peer) -> Caller {
        // Ancestors are looked at as well: a container's process that joined the host's mount namespace,
        // or made itself another one, stays that container's.
        if let Some(name) = peer.pid().and_then(|pid| self.hub.supervisor().container_of(pid)) {
            return if peer.is_alive() { Caller::Container(name) } else { Caller::Stranger };
        }
        match peer.mount_namespace() {
            Some(namespace) if namespace == self.host && peer.uid() == 0 => Caller::Host,
            _ => Caller::Stranger,
        }
    }

    fn is_manager(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Host => true,
            Caller::Container(name) => {
                let manifests = self.hub.manifests();
                manifests.containers().get(name).is_some_and(|container| container.has_role(MANAGEMENT_ROLE))
            }
            Caller::Stranger => false,
        }
    }

    async fn answer(&self, peer: &Peer, request: Request) -> Result<Response, ApiError> {
        let route = Route::of(&request.method, &request.path)?;
        let caller = self.caller(peer);
        if route.access() == Access::Management && !self.is_manager(&caller) {
            return Err(ApiError::NotManagement);
        }
        let action = route.action(request.query.as_deref(), &request.body)?;
        self.act(action, &caller, peer).await
    }

    async fn act(&self, action: Action, caller: &Caller, peer: &Peer) -> Result<Response, ApiError> {
        let supervisor = self.hub.supervisor();
        Ok(match action {
            Action::Graph => {
                let graph = self.hub.graph();
                Response::json(&self.mesh.merged(wire::desired(&graph)).await)
            }
            Action::WatchGraph => Response::lines("application/x-ndjson", self.hub.lines()),
            Action::ListDaemons => {
                Response::json(&self.daemons.values().map(Daemon::status).collect::<Vec<_>>())
            }
            Action::Daemon(name, action) => {
                let daemon = self.daemons.get(&name).ok_or(ApiError::DaemonNotFound)?;
                let failed = |error: io::Error| ApiError::Internal(format!("Daemon {name}: {error}"));
                daemon.act(action).await.map_err(failed)?;
                Response::empty()
            }
            Action::ListContainers => {
                Response::json(&views::containers(&supervisor.snapshot(), &self.hub.manifests()))
            }
            Action::Container(name, action) => {
                let name = ContainerName::new(name).map_err(|_| ApiError::ContainerNotFound)?;
                supervisor.action(&name, wish(action)).map_err(refusal)?;
                Response::empty()
            }
            Action::Register(name, request) => {
                self.hub.register(&name, request, peer).map_err(registration)?;
                Response::empty()
            }
            Action::Unregister(name) => {
                self.hub.unregister(&name, peer).map_err(registration)?;
                Response::empty()
            }
            Action::ListGroups => Response::json(&views::groups(&supervisor.groups())),
            Action::Ready => {
                let Caller::Container(name) = caller else { return Err(ApiError::UnexpectedSignal) };
                supervisor.signal_ready(name).map_err(|_| ApiError::UnexpectedSignal)?;
                Response::empty()
            }
            Action::BuildInfo => Response::text("text/plain; charset=utf-8", super::settings::build_info()),
            Action::Config => Response::json(&self.settings.dotted()),
            Action::Config2 => Response::json(&self.settings.upper()),
            Action::Revision => Response::json(&self.hub.revision()),
            Action::Metrics => {
                let own = metrics::text(&self.hub, self.daemons.values());
                Response::text(metrics::CONTENT_TYPE, self.mesh.with_metrics(own).await)
            }
            Action::Audit(since) => {
                let failed = |error| ApiError::Internal(chain(&error));
                Response::json(&self.hub.audit().read(since).map_err(failed)?)
            }
        })
    }
}

impl Handler for Control {
    async fn handle(&self, peer: Arc<Peer>, request: Request) -> Response {
        match self.answer(&peer, request).await {
            Ok(response) => response,
            Err(error) => Response::error(&error),
        }
    }
}

fn wish(action: ActionName) -> container::Action {
    match action {
        ActionName::Start => container::Action::Start,
        ActionName::Stop => container::Action::Stop,
        ActionName::Restart => container::Action::Restart,
    }
}

fn refusal(error: ActionError) -> ApiError {
    match error {
        ActionError::NotFound => ApiError::ContainerNotFound,
        ActionError::System => ApiError::SystemContainer,
        ActionError::NotStartable => ApiError::CannotStart,
        ActionError::NotRestartable => ApiError::CannotRestart,
        ActionError::External => ApiError::Conflict(error.to_string()),
    }
}

fn registration(error: RegisterError) -> ApiError {
    match error {
        RegisterError::Refused(errors) => ApiError::Refused(errors.to_string()),
        RegisterError::Conflict(text) => ApiError::Conflict(text),
        RegisterError::NotFound => ApiError::ContainerNotFound,
    }
}
