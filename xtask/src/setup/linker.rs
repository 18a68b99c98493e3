//! bpf-linker, which makes an object for the kernel out of LLVM's bitcode: one version, for the compiler's LLVM.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cmd::Cmd;
use crate::workspace::Workspace;

/// The version that objects are built with.
const VERSION: &str = "0.13.0";
/// The major versions of LLVM that it can be built with.
pub(super) const LLVM: RangeInclusive<u32> = 21..=23;

/// The linker for this LLVM, compiled if it is not there.
pub(super) fn linker(workspace: &Workspace, llvm: u32, prefix: &Path) -> anyhow::Result<PathBuf> {
    let (tools, program) = (workspace.tools(), workspace.tools().join("bin/bpf-linker"));
    let installed = fs::read_to_string(tools.join(".crates2.json")).unwrap_or_default();
    // It runs: its LLVM may have been removed.
    if is_for(&installed, llvm) && Cmd::new(&program).arg("--version").quiet().succeeds() {
        return Ok(program);
    }
    workspace
        .cargo("install")
        .args(["--locked", "--force", "--version", VERSION, "--root"])
        .arg(&tools)
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "bpf-linker"])
        .env("LLVM_PREFIX", prefix)
        // Its work is LLVM's, which is compiled already: it need not be fast itself, but be there soon.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .run()?;
    Ok(program)
}

/// Whether cargo's record of what it installed has our version, built for this LLVM.
fn is_for(record: &str, llvm: u32) -> bool {
    #[derive(Deserialize)]
    struct Record {
        installs: BTreeMap<String, Install>,
    }
    #[derive(Deserialize)]
    struct Install {
        features: Vec<String>,
    }
    let Ok(record) = serde_json::from_str::<Record>(record) else { return false };
    let (package, feature) = (format!("bpf-linker {VERSION} "), format!("llvm-{llvm}"));
    record
        .installs
        .iter()
        .any(|(name, install)| name.starts_with(&package) && install.features.contains(&feature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_tells_version_and_llvm() {
        let record = |version: &str| {
            format!(
                r#"{{"installs":{{"bpf-linker {version} (x)":{{"bins":["bpf-linker"],"features":["llvm-22"]}}}}}}"#
            )
        };
        assert!(is_for(&record(VERSION), 22));
        assert!(!is_for(&record(VERSION), 23));
        assert!(!is_for(&record("0.9.0"), 22));
        assert!(!is_for("", 22));
        assert!(!is_for("{}", 22));
    }
}
