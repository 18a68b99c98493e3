//! Which files of a kernel package must be loaded, and in which order: what depmod(8) would know, read from
//! the modules themselves, as an unpacked package has no modules.dep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cmd::Cmd;

/// The modules of one kernel.
#[derive(Debug, Default)]
pub(super) struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// A module to load.
#[derive(Debug)]
pub(super) struct Module {
    /// Its name as the kernel writes it.
    pub(super) name: String,
    /// The object, not compressed.
    pub(super) object: Vec<u8>,
}

impl Modules {
    /// Looks through `lib/modules/RELEASE` of an unpacked package.
    pub(super) fn find(directory: &Path) -> anyhow::Result<Self> {
        let list = directory.join("modules.builtin");
        let list = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        let builtin = list.lines().filter_map(|line| name(Path::new(line))).collect();
        let mut modules = Self { files: BTreeMap::new(), builtin };
        let mut directories = vec![directory.join("kernel")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path);
                } else if let Some(name) = name(&path) {
                    modules.files.insert(name, path);
                }
            }
        }
        Ok(modules)
    }

    /// These modules and what they depend on, each after what it needs; none that is part of the kernel.
    pub(super) fn in_order(&self, wanted: &[&str]) -> anyhow::Result<Vec<Module>> {
        let mut loaded = Vec::new();
        for name in wanted {
            self.add(name, &mut loaded)?;
        }
        Ok(loaded)
    }

    fn add(&self, name: &str, loaded: &mut Vec<Module>) -> anyhow::Result<()> {
        if self.builtin.contains(name) || loaded.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let path = self.files.get(name).with_context(|| format!("this kernel has no module {name}"))?;
        let object = object(path)?;
        for dependency in depends(&object) {
            // No module of Linux depends on itself through others: depmod refuses that.
            self.add(&dependency, loaded)?;
        }
        loaded.push(Module { name: name.to_owned(), object });
        Ok(())
    }
}

/// `kernel/net/9p/9pnet-virtio.ko.xz` is the module `9pnet_virtio`.
fn name(path: &Path) -> Option<String> {
    let (name, rest) = path.file_name()?.to_str()?.split_once('.')?;
    matches!(rest, "ko" | "ko.xz" | "ko.zst" | "ko.gz").then(|| name.replace('-', "_"))
}

fn object(path: &Path) -> anyhow::Result<Vec<u8>> {
    let program = match path.extension().and_then(|it| it.to_str()) {
        Some("ko") => return fs::read(path).with_context(|| path.display().to_string()),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("{}: compressed in an unknown way", path.display()),
    };
    Cmd::new(program).arg("-dc").arg(path).quiet().bytes()
}

/// The names in the `depends=` of the object's section .modinfo, a list of texts that end with a zero.
fn depends(object: &[u8]) -> Vec<String> {
    let texts = object.split(|byte| *byte == 0);
    let list = texts.filter_map(|text| std::str::from_utf8(text).ok()?.strip_prefix("depends=")).next();
    let names = list.unwrap_or_default().split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        let name = |path: &str| name(Path::new(path));
        assert_eq!(name("kernel/net/9p/9pnet_virtio.ko").as_deref(), Some("9pnet_virtio"));
        assert_eq!(name("kernel/fs/a-b.ko.xz").as_deref(), Some("a_b"));
        assert_eq!(name("modules.order"), None);
        assert_eq!(name("kernel/vdso/vdso64.so"), None);
    }

    #[test]
    fn dependencies_are_read_from_the_object() {
        assert_eq!(depends(b"\x7fELF\0\xff\0depends=9pnet,fs-cache\0intree=Y\0"), ["9pnet", "fs_cache"]);
        assert_eq!(depends(b"\0depends=\0"), [""; 0]);
        assert_eq!(depends(b"no such text"), [""; 0]);
    }

    #[test]
    fn each_module_comes_once_and_after_what_it_needs() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = directory.path().join("kernel/fs");
        fs::create_dir_all(&kernel).unwrap();
        fs::write(directory.path().join("modules.builtin"), "kernel/fs/builtin.ko\n").unwrap();
        for (name, needs) in
            [("top", "left,right,builtin"), ("left", "base"), ("right", "base"), ("base", "")]
        {
            fs::write(kernel.join(format!("{name}.ko")), format!("\0depends={needs}\0")).unwrap();
        }
        let modules = Modules::find(directory.path()).unwrap();
        let order = modules.in_order(&["top", "builtin", "left"]).unwrap();
        let names: Vec<_> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["base", "left", "right", "top"]);
        let error = modules.in_order(&["missing"]).unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no module missing");
    }
}
