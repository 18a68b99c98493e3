//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::wait::OrFail;

/// The folder of the build that this test belongs to (`target/debug`).
#[track_caller]
#[must_use]
pub fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().or_fail("path of the test");
    let dir = test.ancestors().find(|dir| dir.file_name().is_some_and(|name| name == "deps"));
    dir.and_then(Path::parent).or_fail("the test does not lie in target/PROFILE/deps").to_owned()
}

/// One of the programs: in `XCONNECT_BIN_DIR`, else in `target/release`.
#[track_caller]
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("XCONNECT_BIN_DIR")
        .map_or_else(|| profile_dir().with_file_name("release"), PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: build it, or set XCONNECT_BIN_DIR", path.display());
    path
}

/// The process for [`crate::Container`].
#[track_caller]
#[must_use]
pub fn pod() -> PathBuf {
    let path = profile_dir().join("xconnect-tests-pod");
    assert!(path.exists(), "{} is missing: build the whole package", path.display());
    path
}

/// The same program, linked statically: a root file system needs nothing else. Taken from
/// `XCONNECT_TESTS_POD`, else built once into a target directory of its own.
#[track_caller]
#[must_use]
pub fn static_pod() -> PathBuf {
    if let Some(path) = std::env::var_os("XCONNECT_TESTS_POD") {
        return PathBuf::from(path);
    }
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT.get_or_init(build_static_pod).clone()
}

/// Copies a program by a process of its own: a descriptor of ours that is open for writing would be passed
/// on by every fork of another test's thread, and execve(2) gives `ETXTBSY` as long as one is open.
#[track_caller]
pub fn copy(program: &Path, to: &Path) {
    let status = Command::new("cp").arg(program).arg(to).status().or_fail("cp");
    assert!(status.success(), "cp {} {}: {status}", program.display(), to.display());
}

fn build_static_pod() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
    let target_dir = profile_dir().with_file_name("static");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // With --target the flags reach neither build scripts nor procedural macros, which cannot be static.
    let status = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["build", "--quiet", "--package", "xconnect-tests", "--bin", "xconnect-tests-pod"])
        .arg("--manifest-path")
        .arg(workspace)
        .arg("--target-dir")
        .arg(&target_dir)
        .args(["--target", &triple])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .or_fail("cargo");
    assert!(status.success(), "cargo build of the static process: {status}");
    target_dir.join(triple).join("debug/xconnect-tests-pod")
}
