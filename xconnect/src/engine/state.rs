//! The state directory: its manifests as bytes, its changes as events, and the last state that was
//! applied, kept so that a bad edit never takes a running system down, not even over a restart.

mod applied;
mod read;
mod watch;

pub(super) use applied::Applied;
pub(super) use read::{Files, read};
pub(super) use watch::Watch;

use std::path::{Path, PathBuf};

/// The engine's own folder in the state directory; no container has a name that begins with a dot.
const OWN: &str = ".xconnect";

/// The engine's own folder, unless the operator names another place.
#[must_use]
pub fn default_data_dir(state: &Path) -> PathBuf {
    state.join(OWN)
}
