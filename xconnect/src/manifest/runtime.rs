//! How a container is run: an OCI bundle, or a root file system with a program.

use std::collections::HashSet;

use super::getters;
use super::policy::ID_MAX;
use super::reader::{Object, Value};
use crate::ids::{HostPath, InsidePath};

/// How a container is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// By its own OCI configuration.
    Oci {
        /// The folder of `config.json`.
        bundle: Source,
    },
    /// By what run.json says.
    Rootfs(Box<Rootfs>),
    /// Not by the engine: somebody else runs it, and registers it.
    External,
}

/// A place on the host, as run.json names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Below the container's folder in the state directory, without `..`; empty for the folder itself.
    Below(String),
    /// Anywhere.
    Host(HostPath),
}

impl Source {
    fn new(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return HostPath::new(text).map(Self::Host).map_err(|error| error.to_string());
        }
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        match HostPath::new(format!("/{text}")) {
            Ok(path) => Ok(Self::Below(path.as_str()[1..].to_owned())),
            // `.` and the like name the container's own folder.
            Err(crate::ids::PathError::Root) => Ok(Self::Below(String::new())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The path as text, given the container's folder.
    #[must_use]
    pub fn below(&self, folder: &str) -> String {
        match self {
            Self::Below(path) if path.is_empty() => folder.to_owned(),
            Self::Below(path) => format!("{}/{path}", folder.trim_end_matches('/')),
            Self::Host(path) => path.as_str().to_owned(),
        }
    }
}

/// A root file system and the program to run in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    rootfs: Source,
    readonly: bool,
    exec: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<InsidePath>,
    uid: u32,
    gid: u32,
    mounts: Vec<Mount>,
    user_namespace: Option<UserNamespace>,
}

getters! { Rootfs:
    /// The folder that becomes the root.
    by_ref rootfs: Source;
    /// Whether the container sees it read-only.
    copy readonly: bool;
    /// The program and its arguments; never empty.
    slice exec: [String];
    /// The environment, in order, each name once.
    slice env: [(String, String)];
    /// The working directory; `None`: the root.
    opt cwd: InsidePath;
    /// The program's user, in the container.
    copy uid: u32;
    /// The program's group, in the container.
    copy gid: u32;
    /// Mounts beyond the usual ones.
    slice mounts: [Mount];
    /// Id maps, where the container has a user namespace of its own.
    opt user_namespace: UserNamespace;
}

/// A mount, with the words of an OCI configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    destination: InsidePath,
    kind: String,
    source: String,
    options: Vec<String>,
}

getters! { Mount:
    /// Where in the container.
    by_ref destination: InsidePath;
    /// The file system's type; `bind` for bind mounts.
    by_ref kind: String;
    /// What is mounted: for bind mounts an absolute path of the host, or one below the container's folder.
    by_ref source: String;
    /// Mount options.
    slice options: [String];
}

impl Mount {
    /// The source as a path of the host, given the container's folder; as it stands where the mount is
    /// not a bind mount.
    #[must_use]
    pub fn source_below(&self, folder: &str) -> String {
        match Source::new(&self.source) {
            Ok(source) if self.is_bind() => source.below(folder),
            _ => self.source.clone(),
        }
    }

    /// Whether it shows a folder or file of the host.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        self.kind == "bind" || self.options.iter().any(|option| option == "bind" || option == "rbind")
    }
}

/// The id maps of a user namespace (user_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserNamespace {
    uid_map: Vec<IdRange>,
    gid_map: Vec<IdRange>,
}

getters! { UserNamespace:
    /// Users; never empty, 0 is mapped.
    slice uid_map: [IdRange];
    /// Groups; never empty, 0 is mapped.
    slice gid_map: [IdRange];
}

/// A range of ids and what it is on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    container_id: u32,
    host_id: u32,
    size: u32,
}

getters! { IdRange:
    /// First id in the container.
    copy container_id: u32;
    /// First id on the host.
    copy host_id: u32;
    /// How many; at least 1.
    copy size: u32;
}

/// Reads the runtime's part of run.json, type `oci`.
pub(super) fn read_oci(object: &Object<'_>) -> Option<Runtime> {
    let rootfs_keys = ["rootfs", "exec", "env", "mounts", "cwd", "user", "readonly", "user_namespace"];
    let Some(bundle) = object.get("bundle") else {
        if object.get("rootfs").is_none() && object.get("exec").is_none() {
            object.at().error("type \"oci\" needs \"bundle\", or \"rootfs\" and \"exec\"");
            return None;
        }
        return read_rootfs(object).map(|rootfs| Runtime::Rootfs(Box::new(rootfs)));
    };
    for value in rootfs_keys.iter().filter_map(|key| object.get(key)) {
        value.error("has no meaning beside \"bundle\": the bundle's config.json decides");
    }
    Some(Runtime::Oci { bundle: bundle.parse(Source::new)? })
}

/// What args.json alone means: an OCI bundle where there is a `config.json`, else the folder `rootfs`
/// with the program `/init`.
pub(super) fn from_folder(has_config: bool) -> Runtime {
    if has_config {
        return Runtime::Oci { bundle: Source::Below(String::new()) };
    }
    Runtime::Rootfs(Box::new(Rootfs {
        rootfs: Source::Below("rootfs".to_owned()),
        readonly: false,
        exec: vec!["/init".to_owned()],
        env: Vec::new(),
        cwd: None,
        uid: 0,
        gid: 0,
        mounts: Vec::new(),
        user_namespace: None,
    }))
}

fn read_rootfs(object: &Object<'_>) -> Option<Rootfs> {
    let rootfs = object.require("rootfs").and_then(|value| value.parse(Source::new));
    let exec = object.require("exec").and_then(|value| {
        let words = value.list(|word| word.text().map(str::to_owned))?;
        if words.first().is_none_or(String::is_empty) {
            value.error("must name a program");
        }
        Some(words)
    });
    let env = object.get("env").and_then(|value| read_env(&value));
    let cwd = object.get("cwd").filter(|value| !value.is_string() || value.string() != Some("/"));
    let cwd = cwd.and_then(|value| value.parse(InsidePath::new));
    let user = object.get("user").and_then(|value| value.object());
    let id = |key: &str| {
        user.as_ref().and_then(|user| user.get(key)).and_then(|value| value.narrow(0..=ID_MAX)).unwrap_or(0)
    };
    Some(Rootfs {
        uid: id("uid"),
        gid: id("gid"),
        readonly: object.get("readonly").and_then(|value| value.bool()).unwrap_or(false),
        mounts: object.get("mounts").and_then(|value| value.list(read_mount)).unwrap_or_default(),
        user_namespace: object.get("user_namespace").and_then(|value| read_user_namespace(&value)),
        rootfs: rootfs?,
        exec: exec?,
        env: env.unwrap_or_default(),
        cwd,
    })
}

/// The environment as an object, or as OCI's list of `NAME=VALUE`.
fn read_env(value: &Value<'_>) -> Option<Vec<(String, String)>> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut names = HashSet::new();
    let mut add = |at: &Value<'_>, name: &str, text: &str| {
        if name.is_empty() || name.contains(['=', '\0']) {
            at.error("the name of a variable must not be empty, nor contain = or NUL");
        } else if !names.insert(name.to_owned()) {
            at.error(format_args!("variable {name:?} is there twice"));
        } else {
            env.push((name.to_owned(), text.to_owned()));
        }
    };
    if value.is_array() {
        for item in value.array()? {
            let Some(text) = item.text() else { continue };
            match text.split_once('=') {
                Some((name, text)) => add(&item, name, text),
                None => item.error("must be NAME=VALUE"),
            }
        }
    } else if value.is_object() {
        for (name, item) in value.object()?.members() {
            if let Some(text) = item.text() {
                add(&item, name, text);
            }
        }
    } else {
        value.error("must be an object of names and values, or a list of NAME=VALUE");
    }
    Some(env)
}

fn read_mount(value: &Value<'_>) -> Option<Mount> {
    let object = value.object()?;
    let destination = object.require("destination").and_then(|value| value.parse(InsidePath::new));
    let options = object.get("options").and_then(|value| value.list(|word| word.text().map(str::to_owned)));
    let kind = object.get("type").map(|value| value.text().filter(|text| !text.is_empty()));
    let source = object.get("source").map(|value| (value.text(), value));
    let kind = kind.map_or(Some("bind"), |kind| kind)?.to_owned();
    let options = options.unwrap_or_default();
    let mut mount = Mount { destination: destination?, kind, source: String::new(), options };
    match source {
        Some((text, at)) => {
            text?.clone_into(&mut mount.source);
            if mount.is_bind() {
                Source::new(&mount.source).map_err(|error| at.error(error)).ok()?;
            }
        }
        None if mount.is_bind() => {
            object.require("source");
            return None;
        }
        None => mount.source.clone_from(&mount.kind),
    }
    Some(mount)
}

fn read_user_namespace(value: &Value<'_>) -> Option<UserNamespace> {
    let object = value.object()?;
    let uid_map = object.require("uid_map").and_then(|map| read_id_map(&map));
    let gid_map = object.get("gid_map").map(|map| read_id_map(&map));
    let uid_map = uid_map?;
    let gid_map = gid_map.unwrap_or_else(|| Some(uid_map.clone()))?;
    Some(UserNamespace { uid_map, gid_map })
}

fn read_id_map(value: &Value<'_>) -> Option<Vec<IdRange>> {
    let items = value.array()?;
    let ranges: Vec<_> = items.iter().filter_map(read_id_range).collect();
    if ranges.len() < items.len() {
        return None;
    }
    // UID_GID_MAP_MAX_EXTENTS (linux/user_namespace.h).
    if ranges.len() > 340 {
        value.error("must not have more than 340 ranges");
        return None;
    }
    if !ranges.iter().any(|range| range.container_id == 0) {
        value.error("must map id 0: the container's root owns what the mesh puts there");
        return None;
    }
    let overlap = |first: fn(&IdRange) -> u32| {
        let mut spans: Vec<_> = ranges.iter().map(|range| (first(range), range.size)).collect();
        spans.sort_unstable();
        spans.windows(2).any(|pair| pair[1].0 - pair[0].0 < pair[0].1)
    };
    if overlap(|range| range.container_id) || overlap(|range| range.host_id) {
        value.error("must not have ranges that overlap");
        return None;
    }
    Some(ranges)
}

fn read_id_range(value: &Value<'_>) -> Option<IdRange> {
    let object = value.object()?;
    let id = |ours: &str, oci: &str| {
        let value = object.get(ours).or_else(|| object.get(oci)).or_else(|| object.require(ours))?;
        value.narrow::<u32>(0..=ID_MAX)
    };
    let container_id = id("container_id", "containerID");
    let host_id = id("host_id", "hostID");
    let size = object.require("size").and_then(|size| size.narrow::<u32>(1..=ID_MAX + 1));
    let (container_id, host_id, size) = (container_id?, host_id?, size?);
    let last = u64::from(container_id.max(host_id)) + u64::from(size) - 1;
    if last > ID_MAX {
        value.error(format_args!("must not go beyond id {ID_MAX}"));
        return None;
    }
    Some(IdRange { container_id, host_id, size })
}
