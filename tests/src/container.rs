//! A container without any container runtime: namespaces, a root of its own, one process.

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::pod::client::Agent;
use crate::pod::namespaces::{Progress, Setup};
use crate::pod::protocol::{receive, send};
use crate::process::Process;
use crate::sandbox::Sandbox;
use crate::socket::{Kind, Socket};
use crate::wait::{OrFail, ensure, eventually};
use crate::{process, programs};

/// The user of the host that is root in a container with a user namespace.
pub const MAPPED_ROOT: u32 = 200_000;

/// A running container. Ends when dropped. Its [`Agent`] acts inside.
#[derive(Debug)]
pub struct Container {
    agent: Agent,
    outer: Child,
    process: Process,
}

impl Deref for Container {
    type Target = Agent;
    fn deref(&self) -> &Agent {
        &self.agent
    }
}

impl Container {
    /// Starts a container as the host's root.
    #[track_caller]
    #[must_use]
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, false, &[])
    }

    /// Starts a container whose root is an unprivileged user of the host.
    #[track_caller]
    #[must_use]
    pub fn start_in_user_namespace(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, true, &[])
    }

    /// Starts a container that sees directories of the host.
    #[track_caller]
    #[must_use]
    pub fn start_with(sandbox: &Sandbox, user_namespace: bool, binds: &[(&Path, &str)]) -> Self {
        let root = sandbox.new_dir("root").display().to_string();
        let binds = binds.iter().map(|(host, inside)| (host.display().to_string(), (*inside).to_owned()));
        let setup = Setup { root, user_namespace, binds: binds.collect() };
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .or_fail("socketpair");
        let outer = Command::new(programs::pod())
            .arg("outer")
            .arg(serde_json::to_string(&setup).or_fail("setup"))
            .env("XCONNECT_SANDBOX", sandbox.path())
            .stdin(Stdio::from(theirs))
            .spawn()
            .or_fail("start of the container's process");
        let control = Socket::from(ours);
        let pid = loop {
            let (progress, _) = receive(&control).or_fail("the container's process");
            match progress {
                Progress::Child(pid) => break pid,
                Progress::WantMaps => {
                    for map in ["uid_map", "gid_map"] {
                        let path = format!("/proc/{}/{map}", outer.id());
                        fs::write(&path, format!("0 {MAPPED_ROOT} 65536\n")).or_fail(path);
                    }
                    send(&control, &(), None).or_fail("maps are written");
                }
            }
        };
        let process = Process::open(pid).or_fail("pidfd of the container");
        let agent = Agent::new(control);
        // It has left the host's root once it answers.
        agent.mkdir("/run");
        Self { agent, outer, process }
    }

    /// Starts many containers at once.
    #[track_caller]
    #[must_use]
    pub fn start_many(sandbox: &Sandbox, count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::start(sandbox)).collect()
    }

    /// The process, by its number on the host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Connects until somebody is there who sends back what comes.
    #[track_caller]
    pub fn eventually_echoes(&self, target: &str) {
        eventually(format_args!("{target} is there and serves"), || {
            let text = |error: std::io::Error| error.to_string();
            let client = self.try_connect(target, Kind::Stream).map_err(text)?;
            client.try_send(b"ping", &[]).map_err(text)?;
            let got = client.try_recv(4).map_err(text)?.bytes;
            ensure(got == b"ping", format_args!("{got:?}"))
        });
    }

    /// A path of the container, for looking at it from the host.
    #[must_use]
    pub fn host_path(&self, inside: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join("root").join(inside.trim_start_matches('/'))
    }

    /// Kills the container and waits for its end, as when it is dropped.
    pub fn kill(self) {}
}

impl Drop for Container {
    fn drop(&mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        let _ = self.process.ends();
        let _ = self.outer.kill();
        if !std::thread::panicking() {
            process::wait(&mut self.outer);
        }
    }
}
