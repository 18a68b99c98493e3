//! Manifests of a revision → what the supervisor is to run.

use std::path::{Path, PathBuf};

use super::{ContainerSpec, Desired, GroupSpec, IdMapping, MountSpec, NetworkMode, RootfsSpec, RuntimeSpec};
use crate::manifest::{self, ContainerManifest, Group, IdRange, Revision, Runtime};

/// What is wanted by `revision`, whose containers' folders lie in `state_dir`.
#[must_use]
pub fn desired(revision: &Revision, state_dir: &Path) -> Desired {
    Desired {
        groups: revision.device().groups().iter().map(group).collect(),
        containers: revision.containers().values().map(|manifest| container(manifest, state_dir)).collect(),
    }
}

fn group(group: &Group) -> GroupSpec {
    GroupSpec {
        name: group.name().to_owned(),
        status_goal: group.status_goal(),
        restart_policy: group.restart_policy(),
        recovery: group.auto_recovery().map(Into::into).unwrap_or_default(),
        timeout: group.timeout(),
    }
}

fn container(manifest: &ContainerManifest, state_dir: &Path) -> ContainerSpec {
    let folder = state_dir.join(manifest.name().as_str());
    let folder = folder.to_string_lossy();
    let runtime = match manifest.runtime() {
        Runtime::Oci { bundle } => RuntimeSpec::Bundle(PathBuf::from(bundle.below(&folder))),
        Runtime::Rootfs(spec) => RuntimeSpec::Rootfs(rootfs(spec, &folder)),
        Runtime::External => RuntimeSpec::External,
    };
    ContainerSpec {
        group: manifest.group().clone(),
        status_goal: manifest.status_goal(),
        restart_policy: manifest.restart_policy(),
        recovery: manifest.auto_recovery().into(),
        roles: manifest.roles().to_vec(),
        network: match manifest.network().map(manifest::Network::mode) {
            None | Some(manifest::NetworkMode::None) => NetworkMode::None,
            Some(manifest::NetworkMode::Host) => NetworkMode::Host,
            Some(manifest::NetworkMode::Pool) => NetworkMode::Pool,
        },
        hostname: manifest.network().and_then(|network| network.hostname()).cloned(),
        ..ContainerSpec::new(manifest.name().clone(), runtime)
    }
}

fn rootfs(spec: &manifest::Rootfs, folder: &str) -> RootfsSpec {
    let map = |ranges: &[IdRange]| ranges.iter().map(mapping).collect();
    let ids = spec.user_namespace();
    RootfsSpec {
        rootfs: PathBuf::from(spec.rootfs().below(folder)),
        exec: spec.exec().to_vec(),
        env: spec.env().iter().map(|(name, value)| format!("{name}={value}")).collect(),
        cwd: spec.cwd().map(|path| path.as_str().to_owned()).unwrap_or_default(),
        mounts: spec.mounts().iter().map(|mount| further(mount, folder)).collect(),
        read_only: spec.readonly(),
        user: (spec.uid(), spec.gid()),
        uid_map: ids.map(|ids| map(ids.uid_map())).unwrap_or_default(),
        gid_map: ids.map(|ids| map(ids.gid_map())).unwrap_or_default(),
    }
}

fn further(mount: &manifest::Mount, folder: &str) -> MountSpec {
    MountSpec {
        target: mount.destination().clone(),
        kind: mount.kind().clone(),
        source: mount.source_below(folder),
        options: mount.options().to_vec(),
    }
}

fn mapping(range: &IdRange) -> IdMapping {
    IdMapping { inside: range.container_id(), outside: range.host_id(), count: range.size() }
}
