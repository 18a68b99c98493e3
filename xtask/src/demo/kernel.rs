//! Shows that links whose provider promises a plain protocol go through the kernel, and what the daemon's
//! part in it costs. Where there is no path through the kernel it says so: the links work all the same.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::goal::{Link, links};
use super::session::Session;
use super::silence::Silence;
use crate::process::Process;
use crate::stop::Stop;
use crate::workspace::Workspace;

/// Part of all bytes, in percent, that the kernel must have forwarded.
const SHARE: f64 = 95.0;
/// Until then: what was forwarded before the hand-over counts too.
const PATIENCE: Duration = Duration::from_secs(15);
/// As long as the daemon is watched at rest.
const WATCHED: Duration = Duration::from_secs(4);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Less than so many bytes in `WATCHED` tell nothing about the cost of a GiB.
const ENOUGH: u64 = 32 << 20;
/// What a GiB may cost, in milliseconds of the daemon's CPU time.
const AIM: f64 = 10.0;

/// What pv-xconnect's `/status` says.
#[derive(Debug, Deserialize)]
struct Status {
    pid: u32,
    kernel_path: KernelPath,
}

#[derive(Debug, Deserialize)]
struct KernelPath {
    available: bool,
    reason: Option<String>,
    refuses_rights: Option<bool>,
}

/// What one link has carried.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Carried {
    kernel: u64,
    user: u64,
    errors: u64,
    cut: u64,
}

/// What is to be done about a link that promises a plain protocol.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It must reach the kernel.
    Expected,
    /// This kernel cannot, for this reason.
    NotHere(String),
    /// The kernel could, and the link is in user space all the same.
    Wrong(String),
}

/// An error where a link could go through the kernel and does not.
pub(super) fn show(workspace: &Workspace, session: &Session, stop: &Stop) -> anyhow::Result<()> {
    let promised = promised(workspace)?;
    let status = status(session)?;
    let ours = |link: &Link| promised.contains(&(link.provider.clone(), link.name.clone()));
    let mut in_kernel = Vec::new();
    for link in links(session)?.into_iter().filter(ours) {
        match judge(&status.kernel_path, &link) {
            Verdict::Expected => in_kernel.push(link.name),
            Verdict::NotHere(reason) => println!("link {} stays in user space here: {reason}", link.name),
            Verdict::Wrong(reason) => bail!("link {} is not in the kernel: {reason}", link.name),
        }
    }
    if in_kernel.is_empty() {
        return Ok(());
    }
    let silence = Silence::of_others(session, stop, &in_kernel)?;
    let shown = in_kernel.iter().try_for_each(|name| show_link(session, stop, name, status.pid));
    silence.end(session, stop)?;
    shown
}

fn show_link(session: &Session, stop: &Stop, name: &str, pid: u32) -> anyhow::Result<()> {
    let carried = wait_for_share(session, stop, name)?;
    println!(
        "link {name}: kernel share {:.2} % ({} of {} MiB; {} errors, {} connections cut)",
        carried.share(),
        carried.kernel >> 20,
        carried.all() >> 20,
        carried.errors,
        carried.cut
    );
    watch_at_rest(session, stop, name, pid)
}

fn judge(path: &KernelPath, link: &Link) -> Verdict {
    let reason = link.path_reason.clone();
    match (path, link.path.as_deref()) {
        (_, Some("kernel")) => Verdict::Expected,
        (KernelPath { available: false, reason: why, .. }, _) => {
            Verdict::NotHere(why.clone().or(reason).unwrap_or_else(|| "no reason given".to_owned()))
        }
        // Descriptors would be lost silently there, and the examples do not accept that.
        (KernelPath { refuses_rights: Some(false), .. }, _) => {
            Verdict::NotHere(reason.unwrap_or_else(|| "this kernel cannot refuse descriptors".to_owned()))
        }
        _ => Verdict::Wrong(reason.unwrap_or_else(|| "no reason given".to_owned())),
    }
}

/// Provider and name of the services that promise a plain protocol.
fn promised(workspace: &Workspace) -> anyhow::Result<BTreeSet<(String, String)>> {
    let mut promised = BTreeSet::new();
    for (provider, directory) in workspace.examples()? {
        let path = directory.join("services.json");
        if !path.exists() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let json: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let services = json.get("services").unwrap_or(&json).as_array().into_iter().flatten();
        let plain = services.filter(|service| matches!(service["forward"].as_str(), Some("kernel" | "auto")));
        promised.extend(plain.filter_map(|it| Some((provider.clone(), it["name"].as_str()?.to_owned()))));
    }
    Ok(promised)
}

fn status(session: &Session) -> anyhow::Result<Status> {
    serde_json::from_str(&session.ask_mesh("/status")?).context("pv-xconnect's /status")
}

/// Waits until nearly all has gone through the kernel.
fn wait_for_share(session: &Session, stop: &Stop, name: &str) -> anyhow::Result<Carried> {
    let begin = Instant::now();
    loop {
        stop.check()?;
        let carried = Carried::of(session, name)?;
        if carried.share() > SHARE {
            return Ok(carried);
        }
        if begin.elapsed() > PATIENCE {
            bail!(
                "link {name}: the kernel has forwarded only {:.1} % after {} s, not more than {SHARE} %: {carried:?}",
                carried.share(),
                PATIENCE.as_secs()
            );
        }
        std::thread::sleep(LOOK);
    }
}

/// The counters must grow while nobody asks; the daemon should hardly notice.
fn watch_at_rest(session: &Session, stop: &Stop, name: &str, pid: u32) -> anyhow::Result<()> {
    let daemon = Process::of(pid)?;
    let before = Carried::of(session, name)?;
    // Between the two questions for the counters, which cost the daemon something, too.
    let (begin, cpu) = (Instant::now(), daemon.threads_cpu()?);
    while begin.elapsed() < WATCHED {
        stop.check()?;
        std::thread::sleep(LOOK);
    }
    let (watched, cpu) = (begin.elapsed(), daemon.threads_cpu()?.saturating_sub(cpu));
    let moved = Carried::of(session, name)?.kernel.saturating_sub(before.kernel);
    ensure!(moved > 0, "link {name}: the kernel's counters stand still");
    let milliseconds = cpu.as_secs_f64() * 1e3;
    let seconds = watched.as_secs_f64();
    print!(
        "pv-xconnect used {milliseconds:.2} ms of CPU in {seconds:.1} s, while the kernel moved {} MiB",
        moved >> 20
    );
    match per_gib(cpu, moved) {
        Some(cost) if cost < AIM => println!(": {cost:.1} ms per GiB"),
        Some(cost) => println!(": {cost:.1} ms per GiB, more than the {AIM} aimed at"),
        None => println!(" (too little to tell what a GiB costs)"),
    }
    Ok(())
}

/// Milliseconds of CPU time that a GiB costs.
fn per_gib(cpu: Duration, moved: u64) -> Option<f64> {
    (moved >= ENOUGH).then(|| cpu.as_secs_f64() * 1e3 * float(1 << 30) / float(moved))
}

impl Carried {
    fn of(session: &Session, name: &str) -> anyhow::Result<Self> {
        let link = links(session)?.into_iter().find(|link| link.name == name);
        let link = link.with_context(|| format!("link {name} is gone"))?;
        Ok(Self::read(&link.counters))
    }

    fn read(counters: &Value) -> Self {
        let count = |pointer: &str| counters.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        Self {
            kernel: count("/kernel/bytes"),
            user: count("/user/bytes"),
            errors: count("/kernel/errors"),
            cut: count("/kernel/cut"),
        }
    }

    fn all(self) -> u64 {
        self.kernel.saturating_add(self.user)
    }

    /// In percent.
    fn share(self) -> f64 {
        if self.all() == 0 { 0.0 } else { float(self.kernel) * 100.0 / float(self.all()) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, who read three digits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn link(path: &str, reason: Option<&str>) -> Link {
        let link = json!({"name": "raw", "consumer": "client", "provider": "server", "status": "up",
            "reason": null, "path": path, "path_reason": reason});
        Link::deserialize(link).unwrap()
    }

    fn path(available: bool, refuses_rights: Option<bool>) -> KernelPath {
        let reason = (!available).then(|| "switched off".to_owned());
        KernelPath { available, reason, refuses_rights }
    }

    #[test]
    fn user_space_is_wrong_only_where_the_kernel_can() {
        let (there, off, old) = (path(true, Some(true)), path(false, None), path(true, Some(false)));
        assert_eq!(judge(&there, &link("kernel", None)), Verdict::Expected);
        assert_eq!(judge(&there, &link("user", Some("x"))), Verdict::Wrong("x".into()));
        assert_eq!(judge(&there, &link("user", None)), Verdict::Wrong("no reason given".into()));
        assert_eq!(judge(&off, &link("user", Some("x"))), Verdict::NotHere("switched off".into()));
        assert_eq!(judge(&old, &link("user", Some("needs 6.16"))), Verdict::NotHere("needs 6.16".into()));
    }

    #[test]
    fn shares_and_costs() {
        let counters = json!({"kernel": {"bytes": 96, "errors": 1, "cut": 2}, "user": {"bytes": 4}});
        let carried = Carried::read(&counters);
        assert_eq!(carried, Carried { kernel: 96, user: 4, errors: 1, cut: 2 });
        assert!((carried.share() - 96.0).abs() < 1e-9);
        assert!(Carried::read(&Value::Null).share() < SHARE);
        assert_eq!(per_gib(Duration::from_millis(1), 1 << 29), Some(2.0));
        assert_eq!(per_gib(Duration::from_millis(1), ENOUGH - 1), None);
    }
}
