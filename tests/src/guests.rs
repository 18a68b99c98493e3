//! Programs of the host that tests run inside of containers: clients and servers as others wrote them.

use std::path::Path;

use crate::container::Container;
use crate::sandbox::Sandbox;
use crate::wait::OrFail;

/// What a program needs of the host: itself and its libraries.
const DIRECTORIES: [&str; 3] = ["/usr", "/lib", "/lib64"];

/// A container that sees the host's programs.
#[track_caller]
#[must_use]
pub fn container(sandbox: &Sandbox) -> Container {
    let there = DIRECTORIES.into_iter().filter(|dir| Path::new(dir).is_dir());
    let binds: Vec<_> = there.map(|dir| (Path::new(dir), dir)).collect();
    Container::start_with(sandbox, false, &binds)
}

/// The path of a program, the same on the host and in such a container. Without it a test is skipped, but for
/// CI, where `cargo xtask setup` has installed it.
#[track_caller]
#[must_use]
pub fn find(program: &str) -> Option<String> {
    let path = format!("/usr/bin/{program}");
    if Path::new(&path).exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no {path}: run cargo xtask setup");
    println!("SKIP: there is no {path}");
    None
}

/// Writes a script into a container; gives its path.
#[track_caller]
#[must_use]
pub fn script(container: &Container, name: &str, text: &str) -> String {
    let path = format!("/tmp/{name}");
    container.write(&path, text);
    path
}

/// Runs a program there, which must succeed; gives what it printed.
#[track_caller]
#[must_use]
pub fn printed(container: &Container, program: &[&str], input: &str) -> String {
    let ran = container.run(program, input);
    assert_eq!(ran.code, Some(0), "{program:?}: {ran:?}");
    ran.out
}

/// The same, as JSON.
#[track_caller]
#[must_use]
pub fn json(container: &Container, program: &[&str], input: &str) -> serde_json::Value {
    let out = printed(container, program, input);
    serde_json::from_str(&out).or_fail(format_args!("JSON of {program:?}: {out:?}"))
}
