//! `kernels`: black-box tests on Debian's older kernels, in QEMU without hardware virtualization.

mod cpio;
mod ending;
mod guest;
mod initramfs;
mod modules;
mod packages;
mod qemu;
mod target;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::executables::Executable;
use crate::stop::Stop;
use crate::workspace::Workspace;
use crate::{build, ebpf, setup};
use packages::Packages;
use qemu::{Machine, Qemu};
use watch::{Report, Watch};

/// The series that run where none is named.
const SERIES: [&str; 2] = ["6.1", "6.12"];
/// The test targets (files of `tests/tests`) that run where none is named.
const TESTS: [&str; 5] = ["kernel_features", "kernel_smoke", "unix_bytes", "unix_descriptors", "injection"];
/// How long one test program may take in the guest.
const TEST_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Options of `kernels`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A series of kernels that apt offers, like 6.1; may be given several times.
    #[arg(long = "kernel", value_name = "SERIES", default_values = SERIES)]
    series: Vec<String>,
    /// Keep the log also where every test passed.
    #[arg(long)]
    keep_log: bool,
    /// Minutes until one kernel's run counts as failed.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Test targets, files of tests/tests without `.rs`, instead of the usual ones.
    #[arg(value_name = "TEST", default_values = TESTS)]
    tests: Vec<String>,
}

/// A kernel with what it needs to start.
#[derive(Debug)]
struct Kernel {
    series: String,
    package: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "the kernels are for x86-64, and so must be the programs");
    target::check(workspace, &options.tests)?;
    let stop = Stop::on_signals()?;
    let packages = Packages::of(workspace)?;
    let (qemu, busybox, kernels) = fetch(&packages, &options.series)?;
    stop.check()?;
    setup::build_tools()?;
    ebpf::before_programs(workspace)?;
    build::programs(workspace)?;
    build::examples(workspace)?;
    let pod = target::static_pod(workspace)?;
    let targets = target::build(workspace, &options.tests)?;
    stop.check()?;
    let mut failed = Vec::new();
    for kernel in &kernels {
        let watch = Watch {
            series: &kernel.series,
            log: packages.directory().join(format!("{}.log", kernel.series)),
            limit: Duration::from_secs(options.timeout * 60),
            test_seconds: TEST_LIMIT.as_secs(),
            stop: &stop,
        };
        let script = guest::script(workspace, &pod, &targets, &arguments(options), TEST_LIMIT.as_secs())?;
        let machine = machine(&packages, kernel, &busybox, &script)?;
        match watch.run(&qemu, &machine) {
            Ok(report) if passed(&report, &targets) => {
                show(&kernel.series, &report);
                if !options.keep_log {
                    fs::remove_file(&watch.log).with_context(|| watch.log.display().to_string())?;
                }
                continue;
            }
            Ok(report) => show(&kernel.series, &report),
            Err(error) if stop.requested() => return Err(error),
            Err(error) => println!("{error:#}"),
        }
        failed.push(format!("{} ({})", kernel.series, watch.log.display()));
    }
    if !failed.is_empty() {
        bail!("not all is well on {}", failed.join(", "));
    }
    Ok(())
}

/// Fetches all that a later run needs from the network, and nothing that is there.
pub(crate) fn prepare(workspace: &Workspace) -> anyhow::Result<()> {
    fetch(&Packages::of(workspace)?, &SERIES.map(str::to_owned)).map(|_| ())
}

fn fetch(packages: &Packages, series: &[String]) -> anyhow::Result<(Qemu, PathBuf, Vec<Kernel>)> {
    let qemu = Qemu::find(packages)?;
    let busybox = packages.unpacked_file("busybox-static", &["bin/busybox", "usr/bin/busybox"])?;
    let kernels = series
        .iter()
        .map(|series| Ok(Kernel { series: series.clone(), package: packages.kernel(series)? }))
        .collect::<anyhow::Result<_>>()?;
    Ok((qemu, busybox, kernels))
}

/// Writes what the guest is started with.
fn machine(packages: &Packages, kernel: &Kernel, busybox: &Path, script: &str) -> anyhow::Result<Machine> {
    let file = |end: &str| packages.directory().join(format!("{}.{end}", kernel.series));
    let (script_path, initramfs) = (file("guest.sh"), file("initramfs"));
    fs::write(&script_path, script).with_context(|| script_path.display().to_string())?;
    let archive = initramfs::build(busybox, &Machine::modules_of(&kernel.package)?, &script_path)
        .with_context(|| format!("kernel {}", kernel.series))?;
    fs::write(&initramfs, archive).with_context(|| initramfs.display().to_string())?;
    Ok(Machine { kernel: Machine::kernel_of(&kernel.package)?, initramfs })
}

/// Arguments of the test programs. No colours: the output is read.
fn arguments(options: &Options) -> String {
    let filter = options.filter.as_deref().map(|filter| format!(" {filter}")).unwrap_or_default();
    format!("--color never --show-output{filter}")
}

/// Every program ran and passed, and at least one test did.
fn passed(report: &Report, targets: &[Executable]) -> bool {
    let all = report.done.len() == targets.len() && report.done.iter().all(|done| done.result == "passed");
    all && report.tally.failed == 0 && report.tally.passed > 0
}

fn show(series: &str, report: &Report) {
    println!("\nkernel {series} ({})", report.release);
    for done in &report.done {
        println!("  {:<20} {:>5} s  {}", done.name, done.seconds, done.result);
    }
    for line in report.tally.failures.iter().map(|name| format!("failed: {name}")) {
        println!("  {line}");
    }
    for line in &report.tally.skips {
        println!("  {line}");
    }
    println!("  {} passed, {} failed", report.tally.passed, report.tally.failed);
}
