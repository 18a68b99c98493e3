//! The test programs: names checked against the sources, built by cargo, found in its messages.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::build;
use crate::workspace::Workspace;

/// A file of `tests/tests`, built.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The name of the file, without `.rs`.
    pub(super) name: String,
    /// The program.
    pub(super) program: PathBuf,
}

/// Fails where a name is none of a file in `tests/tests`.
pub(super) fn check(workspace: &Workspace, names: &[String]) -> anyhow::Result<()> {
    let directory = workspace.root().join("tests/tests");
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
pub(super) fn build(workspace: &Workspace, names: &[String]) -> anyhow::Result<Vec<Target>> {
    let messages = workspace
        .cargo("test")
        .args(["--locked", "--no-run", "--package", "xconnect-tests"])
        .args(names.iter().flat_map(|name| ["--test", name]))
        .arg("--message-format=json-render-diagnostics")
        .messages()?;
    let built = programs(&messages)?;
    let find = |name: &String| built.iter().find(|target| target.name == *name);
    names
        .iter()
        .map(|name| {
            let Target { name, program } = find(name).with_context(|| format!("cargo built no {name}"))?;
            Ok(Target { name: name.clone(), program: program.clone() })
        })
        .collect()
}

/// The static process of containers that an engine starts: the guest has no compiler's time to spend.
pub(super) fn static_pod(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let (triple, target) = (build::host_triple()?, workspace.target().join("static"));
    workspace
        .cargo("build")
        .args(["--locked", "--package", "xconnect-tests", "--bin", "xconnect-tests-pod", "--target", &triple])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .run()?;
    Ok(target.join(triple).join("debug/xconnect-tests-pod"))
}

#[derive(Deserialize)]
struct Message {
    target: Option<MessageTarget>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct MessageTarget {
    name: String,
    kind: Vec<String>,
}

/// The test programs in cargo's messages, one JSON object a line.
fn programs(messages: &str) -> anyhow::Result<Vec<Target>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("cargo's messages")?;
        if let (Some(target), Some(program)) = (message.target, message.executable)
            && target.kind.iter().any(|kind| kind == "test")
        {
            found.push(Target { name: target.name, program });
        }
    }
    if found.is_empty() {
        bail!("cargo named no test program");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"libc","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"pod","kind":["bin"]},"executable":"/t/debug/pod"}
{"reason":"compiler-artifact","target":{"name":"crash","kind":["test"]},"executable":"/t/debug/deps/crash-1"}
{"reason":"build-finished","success":true}
"#;
        let expected = Target { name: "crash".to_owned(), program: "/t/debug/deps/crash-1".into() };
        assert_eq!(programs(messages).unwrap(), [expected]);
        assert!(programs("").is_err());
    }
}
