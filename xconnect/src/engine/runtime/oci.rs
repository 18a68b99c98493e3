//! The OCI configuration of a container that is a directory and a command, with the defaults that
//! podman and runc users know.

use serde_json::{Value, json};

use super::Request;
use crate::engine::container::{IdMapping, MountSpec, NetworkMode, RootfsSpec};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// podman's default capabilities.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Files below /proc and /sys that tell or change what belongs to the whole host.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Writes the configuration of a container whose root is at `root`.
pub(crate) fn config(request: &Request, spec: &RootfsSpec, root: &str) -> Value {
    let mut env = spec.env.clone();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push(DEFAULT_PATH.to_owned());
    }
    let user_namespace = !spec.uid_map.is_empty();
    let capabilities = json!(CAPABILITIES);
    let mut linux = json!({
        "namespaces": namespaces(request.network, user_namespace),
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
    });
    if user_namespace {
        linux["uidMappings"] = mappings(&spec.uid_map);
        linux["gidMappings"] = mappings(&spec.gid_map);
    }
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": spec.user.0, "gid": spec.user.1 },
            "args": spec.exec,
            "env": env,
            "cwd": if spec.cwd.is_empty() { "/" } else { spec.cwd.as_str() },
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "noNewPrivileges": true,
        },
        "root": { "path": root, "readonly": spec.read_only },
        "mounts": mounts(request.network, spec, user_namespace),
        "linux": linux,
    });
    finish(request, &mut config);
    config
}

/// Sets what is ours to decide in any configuration: the cgroup, no other device than the usual ones,
/// and the host name.
pub(crate) fn finish(request: &Request, config: &mut Value) {
    config["linux"]["cgroupsPath"] = json!(super::cgroup::folder(&request.cgroup_root, &request.name));
    let devices = &mut config["linux"]["resources"]["devices"];
    if devices.is_null() {
        *devices = json!([{ "allow": false, "access": "rwm" }]);
    }
    if config["hostname"].is_null() {
        config["hostname"] = json!(request.hostname);
    }
}

/// The namespaces that every container has.
pub(crate) fn namespaces(network: NetworkMode, user: bool) -> Value {
    let mut kinds = vec!["pid", "mount", "ipc", "uts"];
    if network != NetworkMode::Host {
        kinds.push("network");
    }
    if user {
        kinds.push("user");
    }
    kinds.into_iter().map(|kind| json!({ "type": kind })).collect()
}

fn mappings(map: &[IdMapping]) -> Value {
    let entry = |m: &IdMapping| json!({ "containerID": m.inside, "hostID": m.outside, "size": m.count });
    map.iter().map(entry).collect()
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": kind, "options": options })
}

fn mounts(network: NetworkMode, spec: &RootfsSpec, user_namespace: bool) -> Value {
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if !user_namespace
        || spec.gid_map.iter().any(|map| (map.inside..map.inside.saturating_add(map.count)).contains(&5))
    {
        pts.push("gid=5");
    }
    let sys = if user_namespace && network == NetworkMode::Host {
        // The kernel lets only the owner of the network namespace mount sysfs.
        json!({ "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] })
    } else {
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
    };
    let mut all = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &pts),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
        mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
    ];
    all.extend(spec.mounts.iter().map(further));
    Value::Array(all)
}

fn further(mount: &MountSpec) -> Value {
    let mut options = mount.options.clone();
    let kind = if mount.kind == "bind" { "none" } else { mount.kind.as_str() };
    if mount.kind == "bind" && !options.iter().any(|option| option == "bind" || option == "rbind") {
        options.push("rbind".to_owned());
    }
    json!({ "destination": mount.target.as_str(), "type": kind, "source": mount.source, "options": options })
}
