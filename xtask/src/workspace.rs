//! Where things are: the sources, the target directory, and what is built into it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::cmd::Cmd;

/// The four programs, in the order in which they are shown.
pub(crate) const PROGRAMS: [&str; 4] = ["pv-appengine", "pv-xconnect", "pvcontrol", "pvcurl"];

/// The workspace that this task runner belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

impl Workspace {
    /// Asks cargo, which knows about `CARGO_TARGET_DIR` and configuration files.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let manifest =
            env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let json = Cmd::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
            .arg(Path::new(&manifest).join("Cargo.toml"))
            .quiet()
            .output()?;
        let metadata: Metadata = serde_json::from_str(&json).context("output of cargo metadata")?;
        Ok(Self { root: metadata.workspace_root, target: metadata.target_directory })
    }

    /// The directory of the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the package `xconnect-tests`.
    pub(crate) fn tests(&self) -> PathBuf {
        self.root.join("tests")
    }

    /// Cargo's target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// `cargo SUBCOMMAND` in the workspace's root.
    pub(crate) fn cargo(&self, subcommand: &str) -> Cmd {
        Cmd::new("cargo").arg(subcommand).directory(&self.root)
    }

    /// The same, for a time when something else runs that has its deadlines: what that needs, it gets first.
    pub(crate) fn cargo_behind(&self, subcommand: &str) -> Cmd {
        Cmd::new("nice").args(["-n", "19", "cargo", subcommand]).directory(&self.root)
    }

    /// Where the release programs are.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target.join("release")
    }

    /// One release program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    /// Where the eBPF object is built, by a compiler of its own.
    pub(crate) fn ebpf(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// The eBPF object, where the build script of `xconnect` looks for it; alone in its directory.
    pub(crate) fn bpf_object(&self) -> PathBuf {
        self.ebpf().join("object/xconnect.bpf.o")
    }

    /// Where the static example programs are.
    pub(crate) fn examples_static(&self) -> PathBuf {
        self.target.join("examples-static")
    }

    /// Man pages and completions.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// Tools that lint and build-ebpf use, installed for this workspace alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The example containers: directories of `examples/` that hold a run.json, by name.
    pub(crate) fn examples(&self) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let directory = self.root.join("examples");
        let mut found = Vec::new();
        for entry in directory.read_dir().with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if let (true, Some(name)) =
                (path.join("run.json").is_file(), path.file_name().and_then(|name| name.to_str()))
            {
                found.push((name.to_owned(), path.clone()));
            }
        }
        ensure!(!found.is_empty(), "{}: no example has a run.json", directory.display());
        found.sort();
        Ok(found)
    }
}
