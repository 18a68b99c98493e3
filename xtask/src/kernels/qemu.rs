//! QEMU: where it is, how it is called, and the lines that come out of a running guest.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{env, fs, thread};

use anyhow::Context as _;

use super::packages::Packages;
use crate::cmd::Cmd;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// What the kernel gets to know. A panic restarts, which `-no-reboot` makes QEMU's end.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 oops=panic loglevel=5 mitigations=off";

/// The emulator: installed, or unpacked from its packages.
#[derive(Debug)]
pub(super) enum Qemu {
    /// Found in PATH.
    Installed,
    /// Below this directory.
    Unpacked(PathBuf),
}

/// A kernel to run.
#[derive(Debug)]
pub(super) struct Machine {
    /// The kernel's image.
    pub(super) kernel: PathBuf,
    /// The initramfs.
    pub(super) initramfs: PathBuf,
}

/// A line that came out of the guest.
#[derive(Debug)]
pub(super) enum Line {
    /// Of the kernel, or of QEMU itself.
    Console(String),
    /// Of the scripts and tests in the guest.
    Guest(String),
}

/// A guest that runs; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// What it says, until it has ended.
    pub(super) lines: Receiver<Line>,
}

impl Qemu {
    /// The installed one, else that of the distribution, without installing it.
    pub(super) fn find(packages: &Packages) -> anyhow::Result<Self> {
        if Cmd::new(PROGRAM).arg("--version").quiet().succeeds() {
            return Ok(Self::Installed);
        }
        Ok(Self::Unpacked(packages.program(PACKAGE)?))
    }

    fn command(&self) -> Cmd {
        // The kernel ends it with us, even where we are killed: setpriv becomes QEMU and is no process more.
        let cmd = Cmd::new("setpriv").args(["--pdeathsig", "KILL"]);
        match self {
            Self::Installed => cmd.arg(PROGRAM),
            Self::Unpacked(root) => {
                let libraries = ["usr/lib", "lib"].map(|it| root.join(it).join("x86_64-linux-gnu"));
                let firmware = ["usr/share/qemu", "usr/share/seabios"].map(|it| root.join(it));
                let path = env::join_paths(&libraries).unwrap_or_default();
                let cmd = cmd.arg(root.join("usr/bin").join(PROGRAM)).env("LD_LIBRARY_PATH", path);
                let cmd = cmd.env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
                firmware.iter().fold(cmd, |cmd, directory| cmd.arg("-L").arg(directory))
            }
        }
    }

    /// Starts a machine.
    pub(super) fn start(&self, machine: &Machine) -> anyhow::Result<Running> {
        let cmd = self
            .command()
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .arg("-kernel")
            .arg(&machine.kernel)
            .arg("-initrd")
            .arg(&machine.initramfs)
            .args(["-append", KERNEL_ARGUMENTS])
            // ttyS0: the kernel's console. ttyS1: what the guest's programs print, undisturbed by the kernel.
            .args(["-serial", "file:/dev/stderr"])
            .args(["-chardev", "stdio,id=guest,signal=off", "-serial", "chardev:guest"])
            .args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"])
            .args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        let mut child = cmd
            .into_command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(PROGRAM)?;
        let (sender, lines) = channel();
        if let (Some(guest), Some(console)) = (child.stdout.take(), child.stderr.take()) {
            let of_console = sender.clone();
            thread::spawn(move || forward(guest, &sender, Line::Guest));
            thread::spawn(move || forward(console, &of_console, Line::Console));
        }
        Ok(Running { child, lines })
    }
}

impl Running {
    /// Its exit status, once [`Running::lines`] are at their end.
    pub(super) fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().context(PROGRAM)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has ended, and that is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends lines on until the guest has ended, or nobody listens.
fn forward(output: impl Read, to: &Sender<Line>, wrap: fn(String) -> Line) {
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if to.send(wrap(line)).is_err() {
            return;
        }
    }
}

impl Machine {
    /// The only kernel of an unpacked package, with an initramfs written to `initramfs`.
    pub(super) fn kernel_of(package: &Path) -> anyhow::Result<PathBuf> {
        only(&package.join("boot"), "vmlinuz-")
    }

    /// The directory of its modules.
    pub(super) fn modules_of(package: &Path) -> anyhow::Result<PathBuf> {
        let below = |directory: &str| package.join(directory).join("modules");
        let directory = ["lib", "usr/lib"].map(below).into_iter().find(|path| path.is_dir());
        only(&directory.with_context(|| format!("{}: no modules", package.display()))?, "")
    }
}

/// The only entry of a directory whose name begins so.
fn only(directory: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("{}: nothing begins with {prefix:?}", directory.display())
}
