//! Who asks: found out by the kernel's word about the peer, never by the peer's own.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::api::server::{NamespaceId, Peer};
use crate::engine::hub::Hub;
use crate::graph::MANAGEMENT_ROLE;
use crate::ids::{ContainerName, Role};
use crate::instance;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Caller {
    /// The host's root.
    Host,
    /// The mesh. It connects to whatever path a container's provider names, as whoever the role says: what
    /// comes from it may come from any consumer, and is no word of the host's root.
    Mesh,
    /// A process in a container.
    Container(ContainerName),
    /// A container whose request came over its link to the control socket, and the link's role.
    Link(ContainerName, Role),
    /// Anybody else: why it is nobody.
    Stranger(&'static str),
}

impl Caller {
    /// The container that asks, if one does.
    pub(in crate::engine) fn container(&self) -> Option<&ContainerName> {
        match self {
            Self::Container(name) | Self::Link(name, _) => Some(name),
            Self::Host | Self::Mesh | Self::Stranger(_) => None,
        }
    }
}

/// Tells callers apart.
pub(in crate::engine) struct Callers {
    hub: Arc<Hub>,
    host: NamespaceId,
    mesh_lock: PathBuf,
}

impl Callers {
    /// # Errors
    /// Our own mount namespace cannot be looked at.
    pub(in crate::engine) fn new(hub: Arc<Hub>, mesh_lock: PathBuf) -> io::Result<Self> {
        Ok(Self { hub, host: NamespaceId::mount_of("self")?, mesh_lock })
    }

    /// Who the peer is.
    pub(in crate::engine) fn of(&self, peer: &Peer) -> Caller {
        let Some(pid) = peer.pid() else { return Caller::Stranger("its process is not visible from here") };
        // Ancestors are looked at as well: a container's process that joined the host's mount namespace,
        // or made itself another one, stays that container's.
        if let Some(name) = self.hub.supervisor().container_of(pid) {
            let gone = Caller::Stranger("its process has ended");
            return if peer.is_alive() { Caller::Container(name) } else { gone };
        }
        let Some(namespace) = peer.mount_namespace() else {
            return Caller::Stranger("its process has ended");
        };
        if namespace != self.host {
            return Caller::Stranger("its mount namespace is neither the host's nor a known container's");
        }
        if self.is_mesh(pid) {
            return Caller::Mesh;
        }
        if peer.uid() == 0 { Caller::Host } else { Caller::Stranger("it is not root") }
    }

    fn is_mesh(&self, pid: u32) -> bool {
        // An error: somebody holds the lock, and it is not known yet who. A mesh that has just started has
        // no links.
        instance::find_holder(&self.mesh_lock).is_ok_and(|holder| holder.is_some_and(|it| it.pid == pid))
    }

    fn has_role_mgmt(&self, name: &ContainerName) -> bool {
        let manifests = self.hub.manifests();
        manifests.containers().get(name).is_some_and(|container| container.has_role(MANAGEMENT_ROLE))
    }

    /// True if a container of this name is in the revision in force.
    pub(in crate::engine) fn knows(&self, name: &ContainerName) -> bool {
        self.hub.manifests().containers().contains_key(name)
    }

    /// True for those who may do everything.
    pub(in crate::engine) fn is_manager(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Host => true,
            Caller::Container(name) => self.has_role_mgmt(name),
            // The link's role alone would do: the graph gives it to no other. Who says so is the mesh.
            Caller::Link(name, role) => role.as_str() == MANAGEMENT_ROLE && self.has_role_mgmt(name),
            Caller::Mesh | Caller::Stranger(_) => false,
        }
    }
}
