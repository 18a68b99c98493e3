//! Root file systems for containers of the engine: one static program, and empty directories.

use std::fs;
use std::path::PathBuf;

use crate::programs;
use crate::sandbox::Sandbox;
use crate::wait::OrFail;

/// Where the process of such a container listens for its test.
pub const CONTROL: &str = "/run/pod.sock";

/// Makes a root file system in the sandbox.
#[track_caller]
#[must_use]
pub fn make(sandbox: &Sandbox) -> PathBuf {
    let root = sandbox.new_dir("rootfs");
    for dir in ["dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir(root.join(dir)).or_fail(dir);
    }
    let program = programs::static_pod();
    programs::copy(&program, &root.join("pod"));
    root
}
