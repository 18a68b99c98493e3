//! Hands the eBPF object to the compiler: `cfg(xconnect_bpf_object)`, and a copy in `OUT_DIR`.
//!
//! `cargo xtask build-ebpf` makes the object and puts it into the target directory. Without it the
//! programs are built all the same, and forward everything in user space.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, io};

/// Names another object; empty: none.
const VARIABLE: &str = "XCONNECT_BPF_OBJECT";

fn main() -> io::Result<()> {
    println!("cargo::rustc-check-cfg=cfg(xconnect_bpf_object)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?);
    let object = match env::var_os(VARIABLE) {
        Some(path) if path.is_empty() => None,
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            Some(PathBuf::from(path))
        }
        None => built(&out),
    };
    if let Some(object) = object {
        fs::copy(&object, out.join("xconnect.bpf.o"))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", object.display())))?;
        println!("cargo::rustc-cfg=xconnect_bpf_object");
    }
    Ok(())
}

/// The object that the task runner built, if it did.
fn built(out: &Path) -> Option<PathBuf> {
    let directory = target(out)?.join("ebpf/object");
    // Cargo runs this script before every build while something that it watches is missing. So it watches
    // the directory, which holds the object and nothing else; an old date, for it is no news by itself.
    if !directory.exists() && fs::create_dir_all(&directory).is_ok() {
        let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        File::open(&directory).and_then(|it| it.set_times(old)).ok();
    }
    println!("cargo::rerun-if-changed={}", directory.display());
    let object = directory.join("xconnect.bpf.o");
    object.exists().then_some(object)
}

/// The target directory: `OUT_DIR` is `TARGET_DIR[/TRIPLE]/PROFILE/build/NAME/out`.
fn target(out: &Path) -> Option<&Path> {
    let above = out.ancestors().nth(4)?;
    let triple = env::var_os("TARGET");
    if above.file_name() == triple.as_deref() { above.parent() } else { Some(above) }
}
