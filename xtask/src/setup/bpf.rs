//! What building for the kernel needs beyond the rest: a compiler for BPF, its LLVM, and a linker made with that.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::{linker, packages};
use crate::cmd::Cmd;
use crate::ebpf::toolchain::{self, Kind, OLDEST, Toolchain};
use crate::workspace::Workspace;

/// Debian's compiler for browsers, newer than the release's own, and `core` for BPF. It is /usr/bin/rustc, and
/// nothing but the object is built with it.
const COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// What LLVM's libraries are linked with.
const LIBRARIES: [&str; 3] = ["libzstd-dev", "zlib1g-dev", "libxml2-dev"];

/// The tool chain for the kernel.
#[derive(Debug)]
pub(crate) struct BpfTools {
    pub(crate) toolchain: Toolchain,
    /// Where LLVM is installed.
    pub(crate) llvm: PathBuf,
    /// The program bpf-linker.
    pub(crate) linker: PathBuf,
}

/// Finds the tool chain; what is missing is installed, or the error says how to.
pub(crate) fn bpf_tools(workspace: &Workspace) -> anyhow::Result<BpfTools> {
    ensure!(cfg!(target_endian = "little"), "the object is for machines with little-endian byte order");
    let toolchain = match choose() {
        Ok(toolchain) => toolchain,
        Err(why) => {
            compiler().with_context(|| no_compiler(&why))?;
            choose().map_err(|why| anyhow::anyhow!(no_compiler(&why)))?
        }
    };
    if let Kind::Distribution { rustc } = &toolchain.kind {
        warn_of_order(rustc);
    }
    let prefix = llvm(toolchain.llvm)?;
    let linker = linker::linker(workspace, toolchain.llvm, &prefix)?;
    Ok(BpfTools { toolchain, llvm: prefix, linker })
}

fn choose() -> Result<Toolchain, Vec<String>> {
    let found = toolchain::find(|llvm| llvm_prefix(llvm).is_some());
    toolchain::choose(&found, |llvm| linker::LLVM.contains(&llvm))
}

/// rustup's cargo takes the first `rustc` of PATH, and where /usr/bin precedes rustup's directory a package that
/// is there for the object alone would build everything.
fn warn_of_order(distributions: &Path) {
    let path = env::var_os("PATH").unwrap_or_default();
    let first = |name: &str| env::split_paths(&path).map(|it| it.join(name)).find(|it| it.exists());
    let (Some(rustc), Some(cargo)) = (first("rustc"), first("cargo")) else { return };
    let is_distributions = rustc.canonicalize().ok() == distributions.canonicalize().ok();
    if is_distributions && rustc.parent() != cargo.parent() {
        let (rustc, cargo) = (rustc.display(), cargo.display());
        eprintln!(
            "warning: {rustc} precedes {cargo} in PATH and compiles everything: put rustup's directory first"
        );
    }
}

fn no_compiler(why: &[String]) -> String {
    let mut text = String::from("no compiler for BPF");
    for (index, why) in why.iter().enumerate() {
        text.push_str(if index == 0 { ": " } else { "; " });
        text.push_str(why);
    }
    text
}

/// Installs Debian's compiler.
fn compiler() -> anyhow::Result<()> {
    if !packages::are_debians() {
        bail!("install rustup's nightly with rust-src, and the libraries of its LLVM");
    }
    packages::update()?;
    let version = packages::candidate(COMPILER[0]).with_context(|| format!("no package {}", COMPILER[0]))?;
    ensure!(
        minor(&version).is_some_and(|minor| minor >= OLDEST),
        "{} is {version} here, older than 1.{OLDEST}: are Debian's security updates among apt's sources?",
        COMPILER[0]
    );
    packages::install(&COMPILER)
}

/// Where LLVM of this major version is, with its headers and libraries.
fn llvm(major: u32) -> anyhow::Result<PathBuf> {
    if packages::are_debians() {
        let package = format!("llvm-{major}-dev");
        let polly = format!("libpolly-{major}-dev");
        let wanted: Vec<_> = [&*package, &polly].into_iter().chain(LIBRARIES).collect();
        packages::ensure(&wanted)?;
    }
    llvm_prefix(major).with_context(|| format!("LLVM {major} with its headers is not there"))
}

fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let debians = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    if debians.join("include/llvm-c").exists() {
        return Some(debians);
    }
    [format!("llvm-config-{major}"), "llvm-config".to_owned()].iter().find_map(|program| {
        let ask = |what| Cmd::new(program).arg(what).quiet().output().ok();
        let version = ask("--version")?;
        let same = version.split('.').next()?.parse() == Ok(major);
        same.then(|| ask("--prefix"))?.map(|prefix| PathBuf::from(prefix.trim()))
    })
}

/// The second number of a package's version: 96 of `1.96.0+dfsg1-1~deb12u2`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packages_version_has_a_minor_number() {
        assert_eq!(minor("1.96.0+dfsg1-1~deb12u2"), Some(96));
        assert_eq!(minor("2:1.96"), None);
        assert_eq!(minor(""), None);
    }

    #[test]
    fn every_reason_is_told() {
        assert_eq!(no_compiler(&[]), "no compiler for BPF");
        assert_eq!(no_compiler(&["a".to_owned(), "b".to_owned()]), "no compiler for BPF: a; b");
    }
}
