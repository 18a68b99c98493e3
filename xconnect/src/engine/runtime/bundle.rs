//! OCI bundles of others: what is taken over, what is made ours, what is refused.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Error, Request, oci};
use crate::engine::container::NetworkMode;
use crate::engine::regular;

/// A bundle's configuration, and the directory that its root is made from.
pub(crate) struct Bundle {
    pub(crate) config: Value,
    pub(crate) rootfs: PathBuf,
    /// The container's root user and group on the host.
    pub(crate) owner: (u32, u32),
}

/// Reads `config.json` and refuses what the runtime cannot do.
pub(crate) fn load(bundle: &Path) -> Result<Bundle, Error> {
    let path = bundle.join("config.json");
    let bytes = read(&path).map_err(Error::path("read", &path))?;
    let wrong = |message: &str| Error::Config { path: path.clone(), message: message.to_owned() };
    let config: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
    if !config["linux"].is_object() {
        return Err(wrong("linux: missing"));
    }
    if !config["linux"]["seccomp"].is_null() {
        return Err(wrong("linux.seccomp: this runtime is built without libseccomp; remove the section"));
    }
    let args = config["process"]["args"].as_array();
    if args.and_then(|args| args.first()).and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(wrong("process.args: must name a program"));
    }
    let root = config["root"]["path"].as_str().ok_or_else(|| wrong("root.path: missing"))?;
    let rootfs = bundle.join(root);
    let owner = (host_id(&config["linux"]["uidMappings"]), host_id(&config["linux"]["gidMappings"]));
    Ok(Bundle { config, rootfs, owner })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (bytes, _) = regular::read(path)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(bytes)
}

/// The signal that ends a bundle's program politely, as image converters note it down (OCI image
/// specification, annotations made of the configuration). Blocks where the file's disk does.
pub(crate) fn stop_signal(bundle: &Path) -> Option<i32> {
    let config: Value = serde_json::from_slice(&read(&bundle.join("config.json")).ok()?).ok()?;
    signal_number(config["annotations"]["org.opencontainers.image.stopSignal"].as_str()?)
}

fn signal_number(name: &str) -> Option<i32> {
    let number = match name.trim().trim_start_matches("SIG") {
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "QUIT" => libc::SIGQUIT,
        "KILL" => libc::SIGKILL,
        "USR1" => libc::SIGUSR1,
        "USR2" => libc::SIGUSR2,
        "TERM" => libc::SIGTERM,
        "WINCH" => libc::SIGWINCH,
        "PWR" => libc::SIGPWR,
        other => return real_time(other).or_else(|| other.parse().ok().filter(|n| (1..=64).contains(n))),
    };
    Some(number)
}

/// `RTMIN+3` is what systemd as a container's first process wants.
fn real_time(name: &str) -> Option<i32> {
    let plus = name.strip_prefix("RTMIN+")?.parse::<i32>().ok()?;
    Some(libc::SIGRTMIN() + plus).filter(|number| *number <= libc::SIGRTMAX())
}

/// The id on the host of id 0 inside.
fn host_id(mappings: &Value) -> u32 {
    let zero = mappings.as_array().into_iter().flatten().find(|map| map["containerID"] == 0);
    zero.and_then(|map| map["hostID"].as_u64()).and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}

/// Makes the configuration ours: our root, our cgroup, output to the log instead of a terminal, and at
/// least the namespaces that tell containers apart.
pub(crate) fn adapt(request: &Request, bundle_dir: &Path, bundle: &mut Bundle, root: &str) {
    let config = &mut bundle.config;
    config["root"]["path"] = json!(root);
    config["process"]["terminal"] = json!(false);
    let missing: Vec<Value> = {
        let has = |kind: &Value| {
            config["linux"]["namespaces"]
                .as_array()
                .is_some_and(|all| all.iter().any(|n| n["type"] == kind["type"]))
        };
        let wanted = oci::namespaces(NetworkMode::Host, false);
        wanted.as_array().into_iter().flatten().filter(|kind| !has(kind)).cloned().collect()
    };
    match config["linux"]["namespaces"].as_array_mut() {
        Some(namespaces) => namespaces.extend(missing),
        None => config["linux"]["namespaces"] = Value::Array(missing),
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        let options = mount["options"].as_array();
        let is_bind = mount["type"] == "bind"
            || options
                .is_some_and(|options| options.iter().any(|option| option == "bind" || option == "rbind"));
        if let (true, Some(source)) = (is_bind, mount["source"].as_str())
            && !source.starts_with('/')
        {
            mount["source"] = json!(bundle_dir.join(source).display().to_string());
        }
    }
    oci::finish(request, config);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn bundle(config: &Value) -> (tempfile::TempDir, Result<Bundle, Error>) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let loaded = load(dir.path());
        (dir, loaded)
    }

    #[test]
    fn a_seccomp_section_is_refused_by_name() {
        let config = json!({"root": {"path": "rootfs"}, "process": {"args": ["/x"]},
                            "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}});
        let error = bundle(&config).1.err().unwrap().to_string();
        assert!(error.contains("config.json: linux.seccomp"), "{error}");
    }

    #[test]
    fn stop_signals_have_names_and_numbers() {
        for (name, number) in [("SIGINT", 2), ("TERM", 15), ("9", 9), ("SIGRTMIN+3", 37)] {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
        for name in ["", "SIGNAL", "0", "65", "RTMIN+99"] {
            assert_eq!(signal_number(name), None, "{name}");
        }
    }

    #[test]
    fn a_configuration_that_is_no_file_is_neither_waited_for_nor_read_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (tx, rx) = std::sync::mpsc::channel();
        let bundle = dir.path().to_owned();
        std::thread::spawn(move || tx.send((stop_signal(&bundle), load(&bundle).err())));
        let (signal, error) = rx.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        assert_eq!(signal, None);
        assert!(error.unwrap().to_string().ends_with("must be a regular file"));
        fs::remove_file(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(64 * 1024 * 1024).unwrap();
        assert!(load(dir.path()).err().unwrap().to_string().ends_with("is larger than 4 MiB"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (config, place) in [
            (json!({}), "linux: missing"),
            (json!({"linux": {}}), "process.args"),
            (json!({"linux": {}, "process": {"args": ["/x"]}}), "root.path"),
        ] {
            let error = bundle(&config).1.err().unwrap().to_string();
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn relative_sources_are_the_bundles() {
        let config = json!({"root": {"path": "rootfs"}, "process": {"args": ["/x"], "terminal": true}, "linux": {},
            "mounts": [{"destination": "/data", "source": "data", "options": ["rbind"]},
                       {"destination": "/proc", "source": "proc", "type": "proc"}]});
        let (dir, loaded) = bundle(&config);
        let mut loaded = loaded.unwrap();
        let request = Request {
            id: String::new(),
            name: "web".to_owned(),
            runtime: crate::engine::container::RuntimeSpec::Bundle(dir.path().to_owned()),
            network: NetworkMode::None,
            hostname: "web".to_owned(),
            cgroup_root: "xconnect".to_owned(),
            log: PathBuf::new(),
        };
        adapt(&request, dir.path(), &mut loaded, "/root");
        assert_eq!(loaded.config["mounts"][0]["source"], dir.path().join("data").display().to_string());
        assert_eq!(loaded.config["mounts"][1]["source"], "proc");
        assert_eq!(loaded.config["process"]["terminal"], false);
        assert_eq!(loaded.config["linux"]["cgroupsPath"], "/xconnect/web");
        assert_eq!(loaded.config["linux"]["namespaces"].as_array().unwrap().len(), 4);
    }
}
