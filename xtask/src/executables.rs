//! The programs that cargo builds out of tests, found in its messages.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::build;
use crate::cmd::Cmd;
use crate::workspace::Workspace;

/// A test program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The name of its target: of a file of `tests`, without `.rs`, or of the library.
    pub(crate) name: String,
    /// The program.
    pub(crate) program: PathBuf,
}

/// Builds test programs, those that these arguments of `cargo test` mean.
pub(crate) fn of(
    workspace: &Workspace,
    arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
) -> anyhow::Result<Vec<Executable>> {
    let messages = workspace
        .cargo("test")
        .arg("--no-run")
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .messages()?;
    programs(&messages)
}

/// Builds the static process of containers that an engine starts.
pub(crate) fn build_static_pod(workspace: &Workspace) -> anyhow::Result<Cmd> {
    Ok(workspace
        .cargo("build")
        .args(["--locked", "--package", "xconnect-tests", "--bin", "xconnect-tests-pod"])
        .args(["--target", &build::host_triple()?, "--target-dir"])
        .arg(workspace.target().join("static"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))
}

/// Where it is then.
pub(crate) fn static_pod(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let triple = build::host_triple()?;
    Ok(workspace.target().join("static").join(triple).join("debug/xconnect-tests-pod"))
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
fn programs(messages: &str) -> anyhow::Result<Vec<Executable>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("cargo's messages")?;
        if let (Some(target), Some(program)) = (message.target, message.executable)
            && target.kind.iter().any(|kind| kind == "test" || kind == "lib")
        {
            found.push(Executable { name: target.name, program });
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
{"reason":"compiler-artifact","target":{"name":"own","kind":["lib"]},"executable":"/t/debug/deps/own-1"}
{"reason":"compiler-artifact","target":{"name":"crash","kind":["test"]},"executable":"/t/debug/deps/crash-1"}
{"reason":"build-finished","success":true}
"#;
        let program = |name: &str| Executable {
            name: name.to_owned(),
            program: format!("/t/debug/deps/{name}-1").into(),
        };
        assert_eq!(programs(messages).unwrap(), [program("own"), program("crash")]);
        assert!(programs("").is_err());
    }
}
