//! Containers that another runtime runs (an OCI hook, LXC, podman): registered over the control socket,
//! and known to the next engine as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Hub, Inner, Remake, effective};
use crate::api::types::{AuditEvent, Author, Changes, RegisterRequest};
use crate::engine::audit::Record;
use crate::engine::container::{ContainerSpec, container, mount_namespace};
use crate::engine::runtime::files;
use crate::engine::supervisor;
use crate::graph::{self, ProcessId};
use crate::ids::ContainerName;
use crate::manifest::{self, ContainerManifest, Error, Errors, Revision, Runtime};

/// Why a container is not registered or unregistered.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine) enum RegisterError {
    /// The name or the manifests are at fault.
    #[error("{0}")]
    Refused(Errors),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// Nobody registered it.
    #[error("Container not found")]
    NotFound,
}

impl From<supervisor::RegisterError> for RegisterError {
    fn from(error: supervisor::RegisterError) -> Self {
        match error {
            supervisor::RegisterError::NotFound => Self::NotFound,
            other => Self::Conflict(other.to_string()),
        }
    }
}

/// A registered container.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    record: Kept,
    /// Its manifests; `None` where the state directory has them.
    pub(super) manifest: Option<ContainerManifest>,
}

/// A registered container as it is kept for the next engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    pid: u32,
    start: Option<u64>,
    manifests: BTreeMap<String, Value>,
}

impl Hub {
    /// Registers a container, or gives it another process or other manifests.
    pub(in crate::engine) fn register(
        &self,
        name: &str,
        request: RegisterRequest,
        author: Author,
    ) -> Result<(), RegisterError> {
        let name = container_name(name)?;
        let mut inner = self.lock();
        self.check_process(&inner, &name, &request, &author)?;
        let mut record = Kept { pid: request.pid, start: request.start, manifests: request.manifests };
        let (spec, manifest) = self.read(&inner, &name, &record)?;
        let process = ProcessId { pid: record.pid, start: record.start };
        self.supervisor.register(spec, process)?;
        // The number alone would be another process's one day.
        record.start = record.start.or_else(|| crate::sys::process::start_time(record.pid).ok());
        let known = inner.registered.insert(name.clone(), Registered { record, manifest }).is_some();
        self.registered_changed(&mut inner);
        drop(inner);
        let mut containers = Changes::default();
        if known { &mut containers.changed } else { &mut containers.added }.push(name.to_string());
        tracing::info!(container = %name, pid = process.pid, "registered a container");
        self.note_registration(AuditEvent::Registered, containers, author);
        Ok(())
    }

    /// Forgets a registered container.
    pub(in crate::engine) fn unregister(&self, name: &str, author: Author) -> Result<(), RegisterError> {
        let name = ContainerName::new(name).map_err(|_| RegisterError::NotFound)?;
        let mut inner = self.lock();
        let known = inner.registered.remove(&name).is_some();
        match self.supervisor.unregister(&name) {
            Err(supervisor::RegisterError::NotFound) if known => {}
            Ok(()) if !known => return Err(RegisterError::NotFound),
            other => other?,
        }
        self.registered_changed(&mut inner);
        drop(inner);
        tracing::info!(container = %name, "unregistered a container");
        let containers = Changes { removed: vec![name.to_string()], ..Changes::default() };
        self.note_registration(AuditEvent::Unregistered, containers, author);
        Ok(())
    }

    /// Refuses processes that are no container's first: what is planted for them would land elsewhere, and
    /// who descends from them would be taken for that container.
    fn check_process(
        &self,
        inner: &Inner,
        name: &ContainerName,
        request: &RegisterRequest,
        author: &Author,
    ) -> Result<(), RegisterError> {
        let pid = request.pid;
        let refuse = |why: String| Err(RegisterError::Conflict(format!("process {pid}: {why}")));
        if author.container.is_some() && request.start.is_none() {
            return refuse(
                "from inside a container \"start\" is needed beside \"pid\": numbers of processes differ there".to_owned(),
            );
        }
        let Some(namespace) = mount_namespace(pid) else { return refuse("no such process".to_owned()) };
        if Some(namespace) == mount_namespace(std::process::id()) {
            return refuse("is in the host's mount namespace, and so is no container".to_owned());
        }
        let other = inner.registered.iter().find(|(other, it)| *other != name && it.record.pid == pid);
        if let Some((other, _)) = other {
            return refuse(format!("is registered as container {other}"));
        }
        match self.supervisor.container_of(pid) {
            Some(other) if other != *name => refuse(format!("is in container {other}")),
            _ => Ok(()),
        }
    }

    /// Spec and manifests of a container that is to be registered, checked against all others.
    fn read(
        &self,
        inner: &Inner,
        name: &ContainerName,
        record: &Kept,
    ) -> Result<(ContainerSpec, Option<ContainerManifest>), RegisterError> {
        let declared = inner.revision.containers().get(name);
        if record.manifests.is_empty() {
            let declared = declared.filter(|declared| *declared.runtime() == Runtime::External);
            let none = || {
                let text = "no manifests are sent, and the state directory has no container of type external of this name";
                RegisterError::Refused(Errors(vec![Error::new(name.as_str(), "", text)]))
            };
            let declared = declared.ok_or_else(none)?;
            return Ok((container(declared, &self.state_dir), None));
        }
        if declared.is_some() {
            let text = format!("container {name} is in the state directory: register it without manifests");
            return Err(RegisterError::Conflict(text));
        }
        let manifest = read_manifests(name, record)?;
        let others: BTreeMap<_, _> = inner
            .registered
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        graph::check(&effective(&inner.revision, &others).with(manifest.clone()))
            .map_err(RegisterError::Refused)?;
        Ok((container(&manifest, &self.state_dir), Some(manifest)))
    }

    /// Forgets the registrations that end with a revision: its own container of the name counts, and a
    /// process that was registered for one of its containers goes with that container.
    pub(super) fn give_way(&self, inner: &mut Inner, revision: &Revision) {
        let before = inner.registered.len();
        inner.registered.retain(|name, it| {
            let declared = revision.containers().get(name);
            let stays = match it.manifest {
                Some(_) => declared.is_none(),
                None => declared.is_some_and(|declared| *declared.runtime() == Runtime::External),
            };
            if !stays {
                tracing::warn!(container = %name, "the state directory has another say of it: it is not registered any more");
            }
            stays
        });
        if inner.registered.len() != before {
            self.keep(inner);
        }
    }

    fn registered_changed(&self, inner: &mut Inner) {
        self.keep(inner);
        inner.effective = Arc::new(effective(&inner.revision, &inner.registered));
        self.remake(inner, Remake::Always);
    }

    /// Keeps what is registered for the next engine.
    fn keep(&self, inner: &Inner) {
        let kept: BTreeMap<_, _> =
            inner.registered.iter().map(|(name, it)| (name.as_str(), &it.record)).collect();
        if let Err(error) = files::write_atomic(&self.registry, &kept) {
            tracing::error!(path = %self.registry.display(), %error, "registered containers are lost if the engine dies");
        }
    }

    fn note_registration(&self, event: AuditEvent, containers: Changes, author: Author) {
        let revision = self.revision().revision;
        self.note(Record {
            event,
            author,
            from: revision.clone(),
            to: revision,
            files: Changes::default(),
            containers,
            links: Changes::default(),
            errors: Vec::new(),
        });
    }
}

/// Registers again what a former engine knew and what still runs. Comes before the first revision is in
/// force, which would take what is left of them for containers that nobody wants any more.
pub(in crate::engine) fn restore_registered(hub: &Hub) {
    let kept: BTreeMap<String, Kept> = match files::read(&hub.registry) {
        Ok(kept) => kept.unwrap_or_default(),
        Err(error) => {
            tracing::error!(path = %hub.registry.display(), %error, "cannot read which containers were registered");
            return;
        }
    };
    let mut inner = hub.lock();
    for (name, record) in kept {
        match restore(hub, &name, record) {
            Ok((name, registered)) => {
                inner.registered.insert(name, registered);
            }
            Err(error) => tracing::warn!(container = name, %error, "a registered container is gone"),
        }
    }
}

fn restore(hub: &Hub, name: &str, record: Kept) -> Result<(ContainerName, Registered), RegisterError> {
    let name = container_name(name)?;
    let mut manifest = None;
    // Without manifests of its own it is the revision's, and the supervisor has its own record of it.
    if !record.manifests.is_empty() {
        let read = read_manifests(&name, &record)?;
        let process = ProcessId { pid: record.pid, start: record.start };
        hub.supervisor.register(container(&read, &hub.state_dir), process)?;
        manifest = Some(read);
    }
    Ok((name, Registered { record, manifest }))
}

fn container_name(name: &str) -> Result<ContainerName, RegisterError> {
    let refused = |text: String| RegisterError::Refused(Errors(vec![Error::new(name, "", text)]));
    let valid = ContainerName::new(name).map_err(|error| refused(format!("the container's name {error}")))?;
    if valid.is_host() {
        return Err(refused("the container's name stands for the host".to_owned()));
    }
    Ok(valid)
}

fn read_manifests(name: &ContainerName, record: &Kept) -> Result<ContainerManifest, RegisterError> {
    let mut unknown = Vec::new();
    let mut files = BTreeMap::new();
    for (file, value) in &record.manifests {
        let path = format!("{name}/{file}");
        match manifest::classify(&path) {
            Some((Some(_), _)) => {
                files.insert(path, value.to_string().into_bytes());
            }
            _ => unknown.push(Error::new(
                path,
                "",
                "is no manifest: expected services.json, run.json or args.json",
            )),
        }
    }
    Errors::check(unknown).map_err(RegisterError::Refused)?;
    let revision = manifest::load_external(&files).map_err(RegisterError::Refused)?;
    let manifest = revision.containers().get(name).cloned();
    manifest.ok_or_else(|| {
        RegisterError::Refused(Errors(vec![Error::new(
            name.as_str(),
            "",
            "the manifests are of another container",
        )]))
    })
}
