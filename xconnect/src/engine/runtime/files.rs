//! The files of one container below the run directory, and how they are written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::container::Exit;

/// `<run-dir>/containers/<name>`.
#[derive(Debug, Clone)]
pub(crate) struct ContainerDir(PathBuf);

impl ContainerDir {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Creates the directory. It can be traversed by anyone: the root of a user namespace is somebody
    /// else on the host and must reach its file system through it.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&self.0)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What the engine knows; written by the engine.
    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// What the shim is to run; written by the engine.
    pub(crate) fn request(&self) -> PathBuf {
        self.0.join("request.json")
    }

    /// Held locked by the shim for its life.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("shim.lock")
    }

    /// Where the container is; written by the shim.
    pub(crate) fn running(&self) -> PathBuf {
        self.0.join("shim.json")
    }

    /// How it ended; written by the shim.
    pub(crate) fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// The runtime's own state.
    pub(crate) fn oci_state(&self) -> PathBuf {
        self.0.join("oci")
    }

    /// The bundle that the runtime is given.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }

    /// The mount point of the volatile file system; empty outside the shim's mount namespace.
    pub(crate) fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }

    /// Removes what a run needed and keeps what tells about it.
    pub(crate) fn remove_run(&self) {
        for path in [self.oci_state(), self.bundle(), self.layers()] {
            if let Err(error) = fs::remove_dir_all(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove what a container left");
            }
        }
    }
}

/// `shim.json`: who runs the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) shim_pid: u32,
    pub(crate) shim_start: u64,
    /// The container's first process, from the moment it exists.
    pub(crate) pid: Option<u32>,
    pub(crate) start: Option<u64>,
    /// True once the program itself was executed.
    pub(crate) executed: bool,
}

/// `exit.json`: how the container ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) exit: Exit,
    pub(crate) pid: u32,
    pub(crate) start: u64,
    /// Seconds since 1970.
    pub(crate) time: f64,
}

/// Writes a file so that a reader sees the old or the new content, whenever either dies.
pub(crate) fn write_atomic(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write(path, value, |_| Ok(()))
}

/// As [`write_atomic`], and the disk has it when this returns: after a loss of power a reader sees the
/// old or the new content as well.
pub(crate) fn write_durable(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write(path, value, File::sync_data)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_data())
}

fn write(path: &Path, value: &impl Serialize, done: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    done(&file)?;
    fs::rename(&new, path)
}

/// Reads a file that [`write_atomic`] wrote; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
