//! `build`: the eBPF object, the four programs, the static example programs, man pages and shell completions.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::cmd::Cmd;
use crate::workspace::{PROGRAMS, Workspace};
use crate::{ebpf, setup};

pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    setup::build_tools()?;
    ebpf::before_programs(workspace)?;
    programs(workspace)?;
    examples(workspace)?;
    dist(workspace)?;
    for name in PROGRAMS {
        print_size(workspace, &workspace.program(name))?;
    }
    for (name, _) in workspace.examples()? {
        print_size(workspace, &workspace.examples_static().join(name))?;
    }
    Ok(())
}

/// The release programs.
pub(crate) fn programs(workspace: &Workspace) -> anyhow::Result<()> {
    some_programs(workspace, &PROGRAMS)
}

/// Some of the release programs.
pub(crate) fn some_programs(workspace: &Workspace, names: &[&str]) -> anyhow::Result<()> {
    compile_programs(workspace, names).run()
}

/// What compiles them.
pub(crate) fn compile_programs(workspace: &Workspace, names: &[&str]) -> Cmd {
    let names = names.iter().flat_map(|name| ["--bin", name]);
    workspace.cargo("build").args(["--release", "--locked", "--package", "xconnect"]).args(names)
}

/// The example programs, linked statically with glibc: a container's root file system holds no library.
pub(crate) fn examples(workspace: &Workspace) -> anyhow::Result<()> {
    compile_examples(workspace)?.run()?;
    place_examples(workspace)
}

/// What compiles them.
pub(crate) fn compile_examples(workspace: &Workspace) -> anyhow::Result<Cmd> {
    let examples = workspace.examples()?;
    let packages = examples.iter().flat_map(|(name, _)| ["--package", name]);
    Ok(workspace
        .cargo("build")
        .args(["--profile", "example", "--locked", "--target", &host_triple()?])
        .args(packages)
        // Other flags mean other artifacts: a directory of its own keeps both warm.
        .arg("--target-dir")
        .arg(workspace.target().join("examples"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))
}

/// Puts them, once compiled, where they are looked for.
pub(crate) fn place_examples(workspace: &Workspace) -> anyhow::Result<()> {
    let (examples, host, built) =
        (workspace.examples()?, host_triple()?, workspace.target().join("examples"));
    let directory = workspace.examples_static();
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    for (name, _) in &examples {
        let from = built.join(&host).join("example").join(name);
        let (to, new) = (directory.join(name), directory.join(format!(".{name}.new")));
        // By rename: a container that still runs the old file keeps it.
        fs::copy(&from, &new).with_context(|| format!("{} to {}", from.display(), new.display()))?;
        fs::rename(&new, &to).with_context(|| to.display().to_string())?;
    }
    Ok(())
}

/// Man pages and completions, written by the program that knows its own arguments.
fn dist(workspace: &Workspace) -> anyhow::Result<()> {
    let pvcontrol = workspace.program("pvcontrol");
    let completions = workspace.dist().join("completions");
    let pages = workspace.dist().join("man");
    for directory in [&completions, &pages] {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    for program in ["pvcontrol", "pvcurl"] {
        for (shell, prefix, suffix) in [("bash", "", ".bash"), ("zsh", "_", ""), ("fish", "", ".fish")] {
            let text =
                Cmd::new(&pvcontrol).args(["completions", "--program", program, shell]).quiet().output()?;
            let path = completions.join(format!("{prefix}{program}{suffix}"));
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
    }
    Cmd::new(&pvcontrol).args(["man", "--dir"]).arg(&pages).run()?;
    println!("{}: man pages and completions", workspace.dist().display());
    Ok(())
}

/// The target that this compiler builds for by default.
pub(crate) fn host_triple() -> anyhow::Result<String> {
    let version = Cmd::new("rustc").arg("-vV").quiet().output()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn print_size(workspace: &Workspace, path: &Path) -> anyhow::Result<()> {
    let size = fs::metadata(path).with_context(|| path.display().to_string())?.len();
    let shown = path.strip_prefix(workspace.target()).unwrap_or(path).display().to_string();
    println!("{shown:<48} {:>8.1} MiB", size as f64 / 1024.0 / 1024.0);
    Ok(())
}
