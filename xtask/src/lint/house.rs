//! House rules that no tool checks: file length, where unsafe code may be, no paths of one machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;

use crate::cmd::Cmd;
use crate::workspace::Workspace;

/// Lines of a source file beyond which it tells more than one thing.
const TOO_LONG: usize = 600;
/// The directory names below which unsafe code may be: the system calls; what talks to the kernel from
/// inside, and through shared maps. Under `tests/` the compiler's own lint judges; programs that tests build and
/// run are not ours to fence.
const UNSAFE_HOMES: [&str; 4] = ["sys", "xconnect-ebpf", "xconnect-common", "tests"];
// In pieces: this file is checked too.
const UNSAFE: [&str; 4] = [
    concat!("un", "safe {"),
    concat!("un", "safe fn"),
    concat!("un", "safe impl"),
    concat!("un", "safe extern"),
];
const ALLOW: [&str; 2] = [concat!("#[al", "low("), concat!("#![al", "low(")];

/// Every broken rule, as `file:line: what`.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let machine = machine_paths(workspace.root());
    let mut broken = Vec::new();
    for file in files(workspace)? {
        let path = workspace.root().join(&file);
        let bytes = match fs::read(&path) {
            // Deleted, and not yet committed as such.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.with_context(|| path.display().to_string())?,
        };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        check_file(&file, &text, &machine, &mut broken);
    }
    Ok(broken)
}

fn check_file(file: &Path, text: &str, machine: &BTreeSet<String>, broken: &mut Vec<String>) {
    let rust = file.extension().is_some_and(|it| it == "rs");
    let unsafe_home = file.components().any(|it| UNSAFE_HOMES.iter().any(|home| it.as_os_str() == *home));
    if rust && text.lines().count() > TOO_LONG {
        broken.push(format!("{}: longer than {TOO_LONG} lines", file.display()));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let mut tell = |what: &str| broken.push(format!("{}:{number}: {what}", file.display()));
        let code = line.split("//").next().unwrap_or_default();
        if rust && !unsafe_home && UNSAFE.iter().any(|it| code.contains(it)) {
            tell("unsafe code outside sys/");
        }
        if rust && ALLOW.iter().any(|it| code.contains(it)) {
            tell("an allowed lint: say #[expect(…, reason = \"…\")]");
        }
        if let Some(path) = machine.iter().find(|path| mentions(line, path)) {
            tell(&format!("names {path}, a path of this machine"));
        }
    }
}

/// The files under version control, and the new ones.
fn files(workspace: &Workspace) -> anyhow::Result<Vec<PathBuf>> {
    let list = Cmd::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .directory(workspace.root())
        .quiet()
        .output()?;
    Ok(list.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

/// Directories that exist because of where this checkout lies: it, its parent, the user's home.
fn machine_paths(root: &Path) -> BTreeSet<String> {
    let common = ["/", "/tmp", "/root", "/home", "/usr", "/run", "/var", "/opt", "/src", "/build"];
    let home = env::var_os("HOME").map(PathBuf::from);
    [Some(root.to_owned()), root.parent().map(Path::to_owned), home]
        .into_iter()
        .flatten()
        .filter_map(|path| path.to_str().map(str::to_owned))
        .filter(|path| !common.contains(&path.as_str()))
        .map(|path| path + "/")
        .collect()
}

/// Whether the line has this path as a path of its own: `/build/` is not part of `/usr/build/`.
fn mentions(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "/._-}>*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(file: &str, text: &str) -> Vec<String> {
        let mut broken = Vec::new();
        check_file(Path::new(file), text, &["/build/mesh/".to_owned()].into(), &mut broken);
        broken
    }

    #[test]
    fn each_rule_is_seen() {
        let code = format!("{} x }}", UNSAFE[0]);
        assert_eq!(broken("a/b.rs", &code), ["a/b.rs:1: unsafe code outside sys/"]);
        assert_eq!(broken("a/sys/b.rs", &code), [""; 0]);
        assert_eq!(broken("README.md", &code), [""; 0]);
        assert_eq!(broken("a/b.rs", &format!("{}dead_code)]", ALLOW[0])).len(), 1);
        assert_eq!(broken("a/b.rs", &"\n".repeat(TOO_LONG + 1)).len(), 1);
    }

    #[test]
    fn a_path_counts_where_it_starts() {
        assert_eq!(broken("a.md", "see /build/mesh/x").len(), 1);
        assert_eq!(broken("a.md", "see `/build/mesh/x`").len(), 1);
        assert_eq!(broken("a.md", "see DIR/build/mesh/x"), [""; 0]);
    }
}
