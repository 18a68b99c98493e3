//! The last applied state as one file: what the engine comes up with when the directory has become
//! invalid, and what the next change is compared with.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::runtime::files::write_durable;

/// A state that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Applied {
    /// Its revision (SHA-256 in hexadecimal).
    pub(in crate::engine) revision: String,
    /// When it was applied (RFC 3339, UTC).
    pub(in crate::engine) since: String,
    /// Its manifests by relative name.
    pub(in crate::engine) files: BTreeMap<String, String>,
}

fn path(data: &Path) -> PathBuf {
    data.join("applied.json")
}

impl Applied {
    /// What was written last into the engine's own folder; `None` where there is nothing, or nothing that
    /// can be read.
    pub(in crate::engine) fn load(data: &Path) -> Option<Self> {
        let path = path(data);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the last applied state");
                return None;
            }
        };
        serde_json::from_slice(&bytes)
            .inspect_err(
                |error| tracing::warn!(path = %path.display(), %error, "the last applied state is damaged"),
            )
            .ok()
    }

    /// Keeps it, in place of the former one. The folder is made where another directory has taken the
    /// place of the one that it was in.
    pub(in crate::engine) fn store(&self, data: &Path) -> io::Result<()> {
        fs::create_dir_all(data)?;
        write_durable(&path(data), self)
    }

    /// The manifests as bytes.
    pub(in crate::engine) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect()
    }
}
