//! Which compiler builds for the kernel: a nightly with the sources of `core`, or a distribution's with `core` for BPF.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cmd::Cmd;

/// The kernel's instruction set, in the byte order of the machines that the mesh runs on.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// Where distributions put their compiler. rustup's stable one is found in PATH, and cannot do this.
const DISTRIBUTIONS: &str = "/usr/bin/rustc";
/// The oldest compiler that takes the workspace.
pub(crate) const OLDEST: u32 = 95;

/// A compiler that can build the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) kind: Kind,
    /// The major version of its LLVM, which must be the linker's too.
    pub(crate) llvm: u32,
}

/// Where a compiler comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of rustup's, by its name; it builds `core` itself.
    Nightly { name: String },
    /// The distribution's, by its path; `core` for BPF is a package.
    Distribution { rustc: PathBuf },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly { name } => f.write_str(name),
            Self::Distribution { rustc } => write!(f, "{}", rustc.display()),
        }
    }
}

/// A compiler that is there, fit or not.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    /// What it said of itself; `None` where it would not run.
    pub(crate) version: Option<Version>,
    /// Whether it has `core` for BPF, or the sources to build it.
    pub(crate) core: bool,
    /// Whether the LLVM that the linker is built with is there.
    pub(crate) llvm: bool,
}

/// What `rustc -vV` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// The second number: 95 of 1.95.0.
    pub(crate) minor: u32,
    /// LLVM's major version.
    pub(crate) llvm: u32,
}

impl Version {
    /// Reads the output of `rustc -vV`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
        let mut release = field("release: ")?.split('.');
        release.next().filter(|major| *major == "1")?;
        let minor = release.next()?.parse().ok()?;
        let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
        Some(Self { minor, llvm })
    }

    fn of(command: Cmd) -> Option<Self> {
        Self::parse(&command.arg("-vV").quiet().output().ok()?)
    }
}

/// The compilers of this machine, those that choose themselves first.
pub(crate) fn find(llvm: impl Fn(u32) -> bool) -> Vec<Found> {
    let list = Cmd::new("rustup").args(["toolchain", "list"]).quiet().output().unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let nightlies = names.filter(|name| name.starts_with("nightly")).map(|name| {
        let rustc = || Cmd::new("rustup").args(["run", name, "rustc"]);
        let sources = rustc().args(["--print", "sysroot"]).quiet().output().is_ok_and(|sysroot| {
            Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
        });
        (Kind::Nightly { name: name.to_owned() }, Version::of(rustc()), sources)
    });
    let rustc = PathBuf::from(DISTRIBUTIONS);
    let distributions = rustc.exists().then(|| {
        let ask = Cmd::new(&rustc).args(["--print", "target-libdir", "--target", TARGET]);
        let core = ask.quiet().output().is_ok_and(|directory| has_core(Path::new(directory.trim())));
        let version = Version::of(Cmd::new(&rustc));
        (Kind::Distribution { rustc }, version, core)
    });
    nightlies
        .chain(distributions)
        .map(|(kind, version, core)| {
            let llvm = version.is_some_and(|version| llvm(version.llvm));
            Found { kind, version, core, llvm }
        })
        .collect()
}

fn has_core(directory: &Path) -> bool {
    let Ok(files) = directory.read_dir() else { return false };
    files.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

/// The first that fits, one whose LLVM is there before others; otherwise why each does not fit.
pub(crate) fn choose(found: &[Found], linkable: impl Fn(u32) -> bool) -> Result<Toolchain, Vec<String>> {
    let judged = found.iter().map(|found| (found.llvm, judge(found, &linkable)));
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for (llvm, verdict) in judged {
        match verdict {
            Ok(toolchain) => fit.push((llvm, toolchain)),
            Err(why) => unfit.push(why),
        }
    }
    let best = fit.iter().position(|(llvm, _)| *llvm).unwrap_or(0);
    fit.into_iter().nth(best).map(|(_, toolchain)| toolchain).ok_or(unfit)
}

fn judge(found: &Found, linkable: impl Fn(u32) -> bool) -> Result<Toolchain, String> {
    let kind = &found.kind;
    let Some(version) = found.version else { return Err(format!("{kind} does not say its version")) };
    if version.minor < OLDEST {
        return Err(format!("{kind} is 1.{}, older than 1.{OLDEST}", version.minor));
    }
    if !linkable(version.llvm) {
        return Err(format!("{kind} uses LLVM {}, which the pinned bpf-linker does not know", version.llvm));
    }
    if !found.core {
        return Err(match kind {
            Kind::Nightly { name } => {
                format!("{kind} has no rust-src (`rustup component add rust-src --toolchain {name}`)")
            }
            Kind::Distribution { .. } => format!("{kind} has no core for {TARGET}"),
        });
    }
    Ok(Toolchain { kind: kind.clone(), llvm: version.llvm })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
        host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    fn nightly(minor: u32, llvm: u32, core: bool, there: bool) -> Found {
        let kind = Kind::Nightly { name: "nightly-x".to_owned() };
        Found { kind, version: Some(Version { minor, llvm }), core, llvm: there }
    }

    fn distribution(minor: u32, llvm: u32, core: bool, there: bool) -> Found {
        let kind = Kind::Distribution { rustc: DISTRIBUTIONS.into() };
        Found { kind, version: Some(Version { minor, llvm }), core, llvm: there }
    }

    fn name(found: &[Found]) -> Result<String, Vec<String>> {
        choose(found, |llvm| (21..=23).contains(&llvm)).map(|chosen| chosen.kind.to_string())
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(Version::parse(SAID), Some(Version { minor: 96, llvm: 22 }));
        let nightly = SAID.replace("release: 1.96.0", "release: 1.97.0-nightly").replace("22.1.8", "23.0");
        assert_eq!(Version::parse(&nightly), Some(Version { minor: 97, llvm: 23 }));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in
            ["", "release: 1.96.0", "release: 2.0.0\nLLVM version: 1", "release: 1.x\nLLVM version: 22"]
        {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_nightly_goes_first_where_both_fit() {
        let (a, b) = (nightly(97, 22, true, true), distribution(96, 22, true, true));
        assert_eq!(name(&[a, b]).unwrap(), "nightly-x");
    }

    #[test]
    fn one_that_can_be_linked_for_goes_first() {
        let (a, b) = (nightly(99, 23, true, false), distribution(96, 22, true, true));
        assert_eq!(name(&[a, b]).unwrap(), DISTRIBUTIONS);
        assert_eq!(name(&[nightly(99, 23, true, false)]).unwrap(), "nightly-x");
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let mute = Found { version: None, ..nightly(97, 22, true, true) };
        let found = [
            mute,
            nightly(97, 22, false, true),
            nightly(99, 24, true, true),
            distribution(85, 22, true, true),
        ];
        let why = name(&found).unwrap_err();
        let parts = ["does not say", "rust-src", "LLVM 24", "1.85, older than 1.95"];
        assert_eq!(why.len(), parts.len());
        for (why, part) in why.iter().zip(parts) {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(name(&[]).unwrap_err(), [""; 0]);
    }
}
