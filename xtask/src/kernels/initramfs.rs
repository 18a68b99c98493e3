//! The guest's initramfs: busybox, the modules, and a script that makes the host's file system the root.

use std::path::Path;

use anyhow::Context as _;

use super::cpio::Archive;
use super::modules::Modules;

const INIT: &str = include_str!("init.sh");
/// What the start needs, and what the programs and tests may ask the kernel for: nothing loads a module
/// later, as the guest has no modprobe.
const MODULES: [&str; 10] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "fuse",
    "unix_diag",
    "inet_diag",
    "tcp_diag",
    "veth",
    "tun",
];

/// Makes it from the kernel's modules (`lib/modules/RELEASE`); it goes on with `script`, a path of the host.
pub(super) fn build(busybox: &Path, modules: &Path, script: &Path) -> anyhow::Result<Vec<u8>> {
    let modules = Modules::find(modules)?.in_order(&MODULES)?;
    let busybox = std::fs::read(busybox).with_context(|| busybox.display().to_string())?;
    let mut archive = Archive::default();
    archive.directory("bin");
    archive.file("bin/busybox", 0o755, &busybox);
    archive.directory("modules");
    for module in &modules {
        archive.file(&format!("modules/{}.ko", module.name), 0o644, &module.object);
    }
    let order: String = modules.iter().map(|module| module.name.clone() + "\n").collect();
    archive.file("modules/order", 0o644, order.as_bytes());
    archive.file("script", 0o644, script.to_str().context("a path that is no text")?.as_bytes());
    archive.file("init", 0o755, INIT.as_bytes());
    Ok(archive.finish())
}
