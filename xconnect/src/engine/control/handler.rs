//! Every request: who asks, what for, and the answer.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::caller::{Caller, Callers};
use super::merge::MeshStatus;
use super::route::{Access, Action, Route};
use super::settings::Settings;
use super::{metrics, views};
use crate::api::error::ApiError;
use crate::api::server::{Handler, Peer, Request, Response, Trust};
use crate::api::types::{ActionName, Author};
use crate::engine::chain;
use crate::engine::container::{self, ActionError};
use crate::engine::daemon::Daemon;
use crate::engine::hub::{Hub, RegisterError};
use crate::graph::wire;
use crate::ids::ContainerName;

/// What the control socket is made of.
pub(in crate::engine) struct Setup {
    pub(in crate::engine) hub: Arc<Hub>,
    pub(in crate::engine) callers: Arc<Callers>,
    pub(in crate::engine) daemons: Vec<Daemon>,
    /// The mesh's own socket.
    pub(in crate::engine) mesh_socket: PathBuf,
    pub(in crate::engine) settings: Settings,
}

/// The handler of the control socket; that of the socket for links asks it too.
pub(in crate::engine) struct Control {
    hub: Arc<Hub>,
    callers: Arc<Callers>,
    daemons: BTreeMap<String, Daemon>,
    mesh: MeshStatus,
    settings: Settings,
}

impl Control {
    pub(in crate::engine) fn new(setup: Setup) -> Self {
        let daemons = setup.daemons.into_iter().map(|daemon| (daemon.name().to_owned(), daemon));
        Self {
            hub: setup.hub,
            callers: setup.callers,
            daemons: daemons.collect(),
            mesh: MeshStatus::new(setup.mesh_socket),
            settings: setup.settings,
        }
    }

    pub(super) fn callers(&self) -> &Callers {
        &self.callers
    }

    /// Answers a request of this caller, which came over a connection of `peer`.
    pub(super) async fn answer(
        &self,
        peer: &Arc<Peer>,
        caller: Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let route = Route::of(&request.method, &request.path)?;
        let may = match route.access() {
            Access::AnyContainer => true,
            Access::Graph => caller == Caller::Mesh || self.callers.is_manager(&caller),
            Access::Management => self.callers.is_manager(&caller),
        };
        if !may {
            let (pid, uid) = (peer.pid(), peer.uid());
            tracing::warn!(?caller, pid, uid, method = %request.method, path = request.path, "refused a caller that is no manager");
            return Err(ApiError::NotManagement);
        }
        let action = route.action(request.query.as_deref(), &request.body)?;
        self.act(action, caller, peer).await
    }

    async fn act(&self, action: Action, caller: Caller, peer: &Arc<Peer>) -> Result<Response, ApiError> {
        let supervisor = self.hub.supervisor();
        Ok(match action {
            Action::Graph => {
                let graph = self.hub.graph().ok_or_else(no_revision)?;
                Response::json(&self.mesh.merged(wire::desired(&graph)).await)
            }
            Action::WatchGraph => Response::lines("application/x-ndjson", self.hub.lines()),
            Action::ListDaemons => {
                Response::json(&self.daemons.values().map(Daemon::status).collect::<Vec<_>>())
            }
            Action::Daemon(name, action) => {
                let daemon = self.daemons.get(&name).ok_or(ApiError::DaemonNotFound)?;
                let failed = |error: io::Error| ApiError::Internal(format!("Daemon {name}: {error}"));
                tracing::info!(daemon = name, action = action.as_str(), ?caller, "asked for");
                daemon.act(action).await.map_err(failed)?;
                Response::empty()
            }
            Action::ListContainers => {
                Response::json(&views::containers(&supervisor.snapshot(), &self.hub.manifests()))
            }
            Action::Container(name, action) => {
                let name = ContainerName::new(name).map_err(|_| ApiError::ContainerNotFound)?;
                supervisor.action(&name, wish(action)).map_err(refusal)?;
                tracing::info!(container = %name, action = action.as_str(), ?caller, "asked for");
                Response::empty()
            }
            Action::Register(name, request) => {
                let author = author(&caller, peer);
                self.change(move |hub| hub.register(&name, request, author)).await?;
                Response::empty()
            }
            Action::Unregister(name) => {
                let author = author(&caller, peer);
                self.change(move |hub| hub.unregister(&name, author)).await?;
                Response::empty()
            }
            Action::ListGroups => Response::json(&views::groups(&supervisor.groups())),
            Action::Ready => {
                let name = caller.container().ok_or(ApiError::UnexpectedSignal)?;
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
                let hub = Arc::clone(&self.hub);
                let read = move || hub.audit().read(since);
                let entries = tokio::task::spawn_blocking(read).await.map_err(|error| broken(&error))?;
                Response::json(&entries.map_err(|error| ApiError::Internal(chain(&error)))?)
            }
        })
    }

    /// Changes the desired state, which waits for the disk.
    async fn change(
        &self,
        change: impl FnOnce(&Hub) -> Result<(), RegisterError> + Send + 'static,
    ) -> Result<(), ApiError> {
        let hub = Arc::clone(&self.hub);
        tokio::task::spawn_blocking(move || change(&hub))
            .await
            .map_err(|error| broken(&error))?
            .map_err(registration)
    }
}

fn broken(error: &tokio::task::JoinError) -> ApiError {
    ApiError::Internal(format!("The engine is ending: {error}"))
}

fn no_revision() -> ApiError {
    ApiError::Unavailable("No revision is in force: GET /revision tells why (pvcontrol revision)".to_owned())
}

fn author(caller: &Caller, peer: &Peer) -> Author {
    let container = caller.container().map(ToString::to_string);
    match caller {
        // The peer is the mesh, and which process of the container asks is not known.
        Caller::Link(..) => Author { via: "link".to_owned(), uids: Vec::new(), container, pid: None },
        Caller::Host | Caller::Mesh | Caller::Container(_) | Caller::Stranger(_) => {
            Author { via: "control socket".to_owned(), uids: vec![peer.uid()], container, pid: peer.pid() }
        }
    }
}

impl Handler for Control {
    fn trust(&self, peer: &Peer) -> Trust {
        match self.callers.of(peer) {
            Caller::Mesh => Trust::Operator,
            caller if self.callers.is_manager(&caller) => Trust::Operator,
            Caller::Container(name) | Caller::Link(name, _) => Trust::Guest(name.to_string()),
            Caller::Host | Caller::Stranger(_) => Trust::Guest(format!("uid {}", peer.uid())),
        }
    }

    async fn handle(&self, peer: Arc<Peer>, request: Request) -> Response {
        match self.answer(&peer, self.callers.of(&peer), request).await {
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
