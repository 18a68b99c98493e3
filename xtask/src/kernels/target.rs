//! The test programs for the guest: names checked against the sources, built, in the order of the names.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use crate::executables::{self, Executable};
use crate::workspace::Workspace;

/// Fails where a name is none of a file in `tests/tests`.
pub(super) fn check(workspace: &Workspace, names: &[String]) -> anyhow::Result<()> {
    let directory = workspace.tests().join("tests");
    let mut known = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let file = entry?.file_name();
        known.extend(file.to_str().and_then(|it| it.strip_suffix(".rs")).map(str::to_owned));
    }
    known.sort();
    let unknown: Vec<_> = names.iter().filter(|name| !known.contains(name)).map(String::as_str).collect();
    ensure!(unknown.is_empty(), "no test target {}; there are {}", unknown.join(", "), known.join(", "));
    Ok(())
}

/// Builds test programs, and gives them in the order of the names.
pub(super) fn build(workspace: &Workspace, names: &[String]) -> anyhow::Result<Vec<Executable>> {
    let targets = names.iter().flat_map(|name| ["--test", name]);
    let mut built =
        executables::of(workspace, ["--locked", "--package", "xconnect-tests"].into_iter().chain(targets))?;
    names
        .iter()
        .map(|name| {
            let place = built.iter().position(|built| built.name == *name);
            place.map(|place| built.swap_remove(place)).with_context(|| format!("cargo built no {name}"))
        })
        .collect()
}

/// The static process of containers that an engine starts: the guest has no compiler's time to spend.
pub(super) fn static_pod(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    executables::build_static_pod(workspace)?.run()?;
    executables::static_pod(workspace)
}
