//! Debian packages, downloaded by apt and unpacked below `target/kernels`: nothing is installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{FlockOperation, flock};

use crate::cmd::Cmd;
use crate::setup;
use crate::workspace::Workspace;

/// Where packages are unpacked, each once.
#[derive(Debug)]
pub(super) struct Packages {
    directory: PathBuf,
    /// Held for as long as we use the directory.
    _lock: File,
}

impl Packages {
    /// The directory `kernels` below the target directory.
    pub(super) fn of(workspace: &Workspace) -> anyhow::Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            ensure!(
                Cmd::new(program).arg("--version").quiet().succeeds(),
                "the kernels are Debian's packages, and {program}, which fetches them, is missing"
            );
        }
        let directory = workspace.target().join("kernels");
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let lock = File::create(directory.join(".lock")).context("lock file")?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("{}: another run uses it", directory.display());
        }
        Ok(Self { directory, _lock: lock })
    }

    /// The directory that all is kept in.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The newest kernel of a series, unpacked.
    pub(super) fn kernel(&self, series: &str) -> anyhow::Result<PathBuf> {
        let mut names = offered()?;
        if newest_kernel(series, &names).is_none() {
            setup::update_lists()?;
            names = offered()?;
        }
        let Some(package) = newest_kernel(series, &names) else {
            bail!("apt offers no kernel {series}, but {}", all_series(&names).join(", "));
        };
        self.unpacked(package, &[package.to_owned()])
    }

    /// A program and the packages that it needs and that are not installed here.
    pub(super) fn program(&self, package: &str) -> anyhow::Result<PathBuf> {
        let unpacked = self.directory.join(package);
        if unpacked.is_dir() {
            return Ok(unpacked);
        }
        let plan = || {
            Cmd::new("apt-get")
                .args(["--simulate", "--no-install-recommends", "install", package])
                .quiet()
                .output()
        };
        let plan = match plan() {
            Ok(plan) => plan,
            // A machine whose lists have never been fetched knows no package.
            Err(_) => setup::update_lists().and_then(|()| plan())?,
        };
        let mut packages = to_install(&plan);
        if !packages.iter().any(|name| name == package) {
            // Installed, but not where it was looked for.
            packages.push(package.to_owned());
        }
        self.unpacked(package, &packages)
    }

    /// A file of a package that needs no other: at the first of these paths that there is.
    pub(super) fn unpacked_file(&self, package: &str, paths: &[&str]) -> anyhow::Result<PathBuf> {
        let root = self.unpacked(package, &[package.to_owned()])?;
        let found = paths.iter().map(|path| root.join(path)).find(|path| path.exists());
        found.with_context(|| format!("{}: none of {}", root.display(), paths.join(", ")))
    }

    /// Downloads and unpacks packages into the directory `name`, whole or not at all.
    fn unpacked(&self, name: &str, packages: &[String]) -> anyhow::Result<PathBuf> {
        let (done, new) = (self.directory.join(name), self.directory.join(format!(".{name}.new")));
        if done.is_dir() {
            return Ok(done);
        }
        if new.exists() {
            fs::remove_dir_all(&new).with_context(|| new.display().to_string())?;
        }
        let archives = new.join(".archives");
        fs::create_dir_all(&archives).with_context(|| archives.display().to_string())?;
        // Its own user for downloads could not write into our directory.
        let download = || {
            Cmd::new("apt-get")
                .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
                .args(packages)
                .directory(&archives)
                .run()
        };
        if download().is_err() {
            setup::update_lists()?;
            download()?;
        }
        for entry in archives.read_dir().with_context(|| archives.display().to_string())? {
            Cmd::new("dpkg-deb").arg("--extract").args([&entry?.path(), &new]).quiet().run()?;
        }
        fs::remove_dir_all(&archives).with_context(|| archives.display().to_string())?;
        fs::rename(&new, &done).with_context(|| done.display().to_string())?;
        Ok(done)
    }
}

/// The names of the packages that may be kernels.
fn offered() -> anyhow::Result<Vec<String>> {
    let names = Cmd::new("apt-cache").args(["pkgnames", "linux-image-"]).quiet().output()?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// The newest ordinary kernel of a series like "6.1" among packages' names.
fn newest_kernel<'a>(series: &str, names: &'a [String]) -> Option<&'a str> {
    let kernels = names.iter().filter_map(|name| Some((release(name)?, name.as_str())));
    kernels
        .filter(|(release, _)| series_of(release).is_some_and(|it| it == series))
        .max_by_key(|(release, _)| numbers(release))
        .map(|(_, name)| name)
}

/// The series that there are kernels of, oldest first.
fn all_series(names: &[String]) -> Vec<String> {
    let mut all: Vec<_> = names.iter().filter_map(|name| series_of(release(name)?)).collect();
    all.sort_by_key(|series| numbers(series));
    all.dedup();
    all
}

/// `linux-image-6.1.0-56-amd64` holds the release `6.1.0-56`; the flavours (cloud, rt), the unsigned and
/// the debug packages, and the metapackages are none.
fn release(package: &str) -> Option<&str> {
    let release = package.strip_prefix("linux-image-")?.strip_suffix("-amd64")?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // 6.1.0-56, or with the release of Debian that it was built for: 6.12.117+deb12.
    let (version, suffix) = release.split_once(['-', '+'])?;
    let suffix = suffix.strip_prefix("deb").unwrap_or(suffix);
    (version.split('.').count() == 3 && version.split('.').all(digits) && suffix.split('.').all(digits))
        .then_some(release)
}

/// `6.1.0-56` belongs to `6.1`.
fn series_of(release: &str) -> Option<String> {
    let mut numbers = release.split('.');
    Some(format!("{}.{}", numbers.next()?, numbers.next()?))
}

/// All numbers in a text, to be compared as numbers.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The packages that `apt-get --simulate install` would install: lines `Inst NAME (VERSION …`.
fn to_install(plan: &str) -> Vec<String> {
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        let names = "linux-image-6.1.0-9-amd64 linux-image-6.1.0-56-amd64 linux-image-6.1.0-56-cloud-amd64 \
                     linux-image-6.1.0-57-rt-amd64 linux-image-6.1.0-58-amd64-unsigned linux-image-amd64 \
                     linux-image-6.1.0-58-amd64-dbg linux-image-6.12.99+deb12-amd64 linux-image-6.12-amd64 \
                     linux-image-6.12.117+deb12-amd64 linux-image-6.12.118+deb12-cloud-amd64 linux-image-rt-amd64";
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_newest_ordinary_kernel_is_chosen() {
        let names = names();
        assert_eq!(newest_kernel("6.1", &names), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest_kernel("6.12", &names), Some("linux-image-6.12.117+deb12-amd64"));
        for none in ["6", "6.", "6.11", "", "6.1.0"] {
            assert_eq!(newest_kernel(none, &names), None, "{none:?}");
        }
        assert_eq!(all_series(&names), ["6.1", "6.12"]);
    }

    #[test]
    fn the_plan_names_what_is_missing() {
        let plan = "Reading package lists...\nRemv old-tool [1.0]\nInst libnl-3-200 (3.7.0 Debian:12 [amd64])\n\
                    Inst qemu-system-x86 (1:7.2 Debian:12 [amd64])\nConf libnl-3-200 (3.7.0)\n";
        assert_eq!(to_install(plan), ["libnl-3-200", "qemu-system-x86"]);
    }
}
