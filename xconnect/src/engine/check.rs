//! A look at a state directory without an engine: what would become of it.

use std::path::Path;

use super::hub::valid;
use super::state;
use crate::manifest::Errors;

/// What a valid state directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The revision's id.
    pub revision: String,
    /// Containers.
    pub containers: usize,
    /// Links.
    pub links: usize,
}

/// Reads a state directory as the engine would.
///
/// # Errors
/// Everything for which the engine would refuse it.
pub fn check(state: &Path) -> Result<Checked, Errors> {
    let revision = valid(&state::read(state)?)?;
    let graph = crate::graph::resolve(&revision, &|_| crate::graph::Presence::NotRunning);
    Ok(Checked {
        revision: revision.id().clone(),
        containers: revision.containers().len(),
        links: graph.links.len(),
    })
}
