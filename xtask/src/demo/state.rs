//! Assembles a state directory from `examples/`: manifests, and a root file system of one program.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::workspace::Workspace;

/// Writes every example container below `state`.
pub(crate) fn assemble(workspace: &Workspace, state: &Path) -> anyhow::Result<()> {
    for (name, source) in workspace.examples()? {
        let directory = state.join(&name);
        let program = directory.join("rootfs/bin").join(&name);
        fs::create_dir_all(directory.join("rootfs/bin")).with_context(|| directory.display().to_string())?;
        copy(&workspace.examples_static().join(&name), &program)?;
        for manifest in ["args.json", "services.json", "run.json"] {
            let from = source.join(manifest);
            if from.exists() {
                copy(&from, &directory.join(manifest))?;
            }
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    Ok(())
}
