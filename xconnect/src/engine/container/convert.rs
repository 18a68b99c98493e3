//! Manifests of a revision → what the supervisor is to run.

use std::path::{Path, PathBuf};

use super::{ContainerSpec, Desired, GroupSpec, IdMapping, MountSpec, NetworkMode, RootfsSpec, RuntimeSpec};
use crate::manifest::{self, ContainerManifest, Group, IdRange, Revision, Runtime};

/// What is wanted by `revision`, whose containers' folders lie in `state_dir`.
#[must_use]
pub fn desired(revision: &Revision, state_dir: &Path) -> Desired {
    let absolute = std::path::absolute(state_dir);
    let state_dir = absolute.as_deref().unwrap_or(state_dir);
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

pub(crate) fn container(manifest: &ContainerManifest, state_dir: &Path) -> ContainerSpec {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::engine::container::{Policy, StatusGoal};

    #[test]
    fn what_the_manifests_say_is_what_is_run() {
        let run = r##"{"#spec": "service-manifest-run@1", "name": "web", "type": "oci", "rootfs": "files",
            "exec": ["/bin/web", "-v"], "env": {"A": "1"}, "user": {"uid": 7, "gid": 8}, "readonly": true,
            "mounts": [{"destination": "/data", "source": "data", "type": "bind", "options": ["ro"]}],
            "user_namespace": {"uid_map": [{"container_id": 0, "host_id": 5000, "size": 10}],
                               "gid_map": [{"container_id": 0, "host_id": 6000, "size": 10}]},
            "group": "platform", "status_goal": "READY", "network": {"mode": "host"},
            "auto_recovery": {"policy": "always", "retry_delay": 2}}"##;
        let files = BTreeMap::from([("web/run.json".to_owned(), run.as_bytes().to_vec())]);
        let desired = desired(&manifest::load(&files).unwrap(), Path::new("/state"));
        let names: Vec<_> = desired.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["data", "root", "platform", "app"]);
        let [web] = desired.containers.as_slice() else { panic!() };
        assert_eq!(
            (web.group.as_str(), web.status_goal, web.network),
            ("platform", StatusGoal::Ready, NetworkMode::Host)
        );
        assert_eq!((web.recovery.policy, web.recovery.retry_delay), (Policy::Always, Duration::from_secs(2)));
        let RuntimeSpec::Rootfs(spec) = &web.runtime else { panic!() };
        assert_eq!(spec.rootfs, Path::new("/state/web/files"));
        assert_eq!((spec.exec.len(), spec.env.as_slice()), (2, ["A=1".to_owned()].as_slice()));
        assert_eq!((spec.user, spec.read_only), ((7, 8), true));
        assert_eq!(spec.mounts[0].source, "/state/web/data");
        assert_eq!((spec.uid_map[0].outside, spec.gid_map[0].outside), (5000, 6000));
    }
}
