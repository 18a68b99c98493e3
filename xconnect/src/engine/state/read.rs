//! All manifests of a state directory as bytes. Nothing in it can make the engine wait or run out of memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::engine::regular;
use crate::manifest::{self, Error, Errors};

/// Most manifests.
const MAX_FILES: usize = 30_000;
/// Largest sum of all manifests, bytes.
const MAX_TOTAL: u64 = 256 * 1024 * 1024;

/// The manifests of one moment, by name relative to the state directory (`web/run.json`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::engine) struct Files {
    /// What they hold.
    pub(in crate::engine) contents: BTreeMap<String, Vec<u8>>,
    /// Who owns them (user ids).
    pub(in crate::engine) owners: BTreeMap<String, u32>,
}

/// Reads the manifests of the state directory `dir`.
///
/// # Errors
/// Every file that cannot be read or is too large, and the directory itself.
pub(in crate::engine) fn read(dir: &Path) -> Result<Files, Errors> {
    let mut files = Files::default();
    let mut errors = Vec::new();
    match names(dir) {
        Ok(names) => {
            let mut total = 0;
            if names.len() > MAX_FILES {
                errors.push(Error::new("", "", format_args!("more than {MAX_FILES} manifests")));
            }
            for name in names.into_iter().take(MAX_FILES) {
                match regular::read(&dir.join(&name)) {
                    // Gone between the listing and the look: an event tells of it.
                    Ok(None) => {}
                    Ok(Some((bytes, owner))) => {
                        total += bytes.len() as u64;
                        if total > MAX_TOTAL {
                            let limit = MAX_TOTAL / (1024 * 1024);
                            errors.push(Error::new(
                                &name,
                                "",
                                format_args!("all manifests up to this one are larger than {limit} MiB"),
                            ));
                            break;
                        }
                        files.owners.insert(name.clone(), owner);
                        files.contents.insert(name, bytes);
                    }
                    Err(error) => errors.push(Error::new(&name, "", error)),
                }
            }
        }
        Err(error) => {
            errors.push(Error::new(
                dir.to_string_lossy(),
                "",
                format_args!("cannot read the state directory: {error}"),
            ));
        }
    }
    Errors::check(errors)?;
    Ok(files)
}

/// Names of all files that are manifests, sorted.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if manifest::classify(&name).is_some() {
            names.push(name);
            continue;
        }
        for file in [manifest::RUN, manifest::ARGS, manifest::SERVICES, manifest::CONFIG] {
            let file = format!("{name}/{file}");
            if manifest::classify(&file).is_some() && fs::symlink_metadata(dir.join(&file)).is_ok() {
                names.push(file);
            }
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn texts(dir: &Path) -> Vec<String> {
        read(dir).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn manifests_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        };
        for file in [
            "device.json",
            "web/run.json",
            "web/services.json",
            "web/rootfs/run.json",
            "web/README",
            "x.json",
            ".xconnect/run.json",
            "bsp/run.json",
        ] {
            write(file);
        }
        let files = read(dir.path()).unwrap();
        let names: Vec<_> = files.contents.keys().map(String::as_str).collect();
        assert_eq!(names, ["device.json", "web/run.json", "web/services.json"]);
        assert_eq!(files.contents["web/run.json"], b"web/run.json");
        assert_eq!(files.owners["web/run.json"], rustix::process::geteuid().as_raw());
    }

    #[test]
    fn what_cannot_be_read_is_named_all_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["big", "dir", "fifo", "link", "fine"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let at = |name: &str| dir.path().join(name).join("run.json");
        File::create(at("big")).unwrap().set_len(regular::MAX + 1).unwrap();
        fs::create_dir(at("dir")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", at("link")).unwrap();
        fs::write(at("fine"), "{}").unwrap();
        assert_eq!(
            texts(dir.path()),
            [
                "big/run.json: is larger than 4 MiB",
                "dir/run.json: must be a regular file",
                "fifo/run.json: must be a regular file",
                "link/run.json: is a symbolic link to nothing",
            ]
        );
        let gone = dir.path().join("gone");
        assert!(texts(&gone)[0].contains("cannot read the state directory: No such file"));
    }
}
