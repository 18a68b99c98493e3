//! `build-ebpf`: the object for the kernel, built by a compiler of its own, checked, and loaded where that is permitted.

mod elf;
mod expected;
mod kernel;
pub(crate) mod toolchain;

use std::path::PathBuf;
use std::{env, fs, io};

use anyhow::{Context as _, bail};

use crate::cmd::Cmd;
use crate::setup::{self, BpfTools};
use crate::workspace::Workspace;
use toolchain::{Kind, TARGET};

/// Names the object to embed; empty: none. The build script of `xconnect` reads it.
const OBJECT_VARIABLE: &str = "XCONNECT_BPF_OBJECT";
/// Programs for version 3 of the instruction set (kernel 5.1): 32 bit jumps and atomic operations.
const FLAGS: &str = "-C target-cpu=v3 -C debuginfo=2 -C link-arg=--btf";

/// The verb: without a tool chain it fails.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    setup::build_tools()?;
    make(workspace, &setup::bpf_tools(workspace)?)
}

/// Makes the object that the programs embed. Where there is no tool chain for it they are built without, and
/// an object of other sources must not be embedded instead.
pub(crate) fn before_programs(workspace: &Workspace) -> anyhow::Result<()> {
    if let Some(object) = env::var_os(OBJECT_VARIABLE) {
        eprintln!("eBPF object: {OBJECT_VARIABLE}={}", object.display());
        return Ok(());
    }
    let tools = match setup::bpf_tools(workspace) {
        Ok(tools) => tools,
        // There nobody would read the line, and no test would run on the kernel's path.
        Err(error) if env::var_os("CI").is_some() => return Err(error.context("no eBPF tool chain")),
        Err(error) => {
            eprintln!("built without eBPF: {error:#}");
            return match fs::remove_file(workspace.bpf_object()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).with_context(|| workspace.bpf_object().display().to_string())
                }
                _ => Ok(()),
            };
        }
    };
    make(workspace, &tools)
}

fn make(workspace: &Workspace, tools: &BpfTools) -> anyhow::Result<()> {
    let built = build(workspace, tools)?;
    let bytes = stripped(workspace, tools, built)?;
    let contents = match elf::check(&bytes) {
        Ok(contents) => contents,
        Err(faults) => bail!("the eBPF object is not what it must be: {}", faults.join("; ")),
    };
    let verdicts = kernel::load(&bytes, &contents)?;
    place(workspace, &bytes)?;
    let path = workspace.bpf_object();
    let shown = path.strip_prefix(workspace.target()).unwrap_or(&path);
    println!("{}: {} bytes; maps {}", shown.display(), bytes.len(), contents.maps.join(", "));
    for line in verdicts.lines(&contents) {
        println!("  {line}");
    }
    Ok(())
}

/// Runs the compiler, and returns where the object is.
fn build(workspace: &Workspace, tools: &BpfTools) -> anyhow::Result<PathBuf> {
    let cargo = match &tools.toolchain.kind {
        Kind::Nightly { name } => Cmd::new("rustup")
            .args(["run", name, "cargo", "build", "-Z", "build-std=core"])
            .directory(workspace.root()),
        // Its core is compiled already; unstable features are unlocked as the distribution itself does.
        Kind::Distribution { rustc } => {
            workspace.cargo("build").env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1")
        }
    };
    let directory = workspace.ebpf();
    cargo
        .args(["--locked", "--package", "xconnect-ebpf", "--features", "bpf", "--profile", "ebpf"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&directory)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker)
        .env("RUSTFLAGS", format!("{FLAGS} --cfg bpf_target_arch=\"{}\"", env::consts::ARCH))
        .run()?;
    Ok(directory.join(TARGET).join("ebpf/xconnect-ebpf"))
}

/// The object without DWARF, which was needed to make the BTF and is most of its size.
fn stripped(workspace: &Workspace, tools: &BpfTools, built: PathBuf) -> anyhow::Result<Vec<u8>> {
    let objcopy = tools.llvm.join("bin/llvm-objcopy");
    let small = workspace.ebpf().join("stripped.o");
    let object = if objcopy.exists() {
        Cmd::new(objcopy).arg("--strip-debug").args([&built, &small]).quiet().output()?;
        small
    } else {
        built
    };
    fs::read(&object).with_context(|| object.display().to_string())
}

/// Puts the object where `xconnect` looks for it; a file that is the same already stays, so that nothing is rebuilt.
fn place(workspace: &Workspace, bytes: &[u8]) -> anyhow::Result<()> {
    let path = workspace.bpf_object();
    if fs::read(&path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let directory = path.parent().context("the object's place has no parent")?;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let new = path.with_extension("new");
    fs::write(&new, bytes).with_context(|| new.display().to_string())?;
    fs::rename(&new, &path).with_context(|| path.display().to_string())
}
