//! `pv-xconnect` under test, with a graph file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::container::Container;
use crate::graph::{self, Link};
use crate::process::{self, Process};
use crate::sandbox::Sandbox;
use crate::socket::{Listener, Socket};
use crate::wait::{OrFail, ensure, eventually};
use crate::{http, programs};

/// A running mesh. Killed when dropped.
#[derive(Debug)]
pub struct Mesh {
    child: Child,
    process: Process,
    dir: PathBuf,
    setup: Setup,
}

/// How a mesh is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// So many descriptors at most (soft and hard limit).
    pub nofile: Option<u32>,
    /// The fd store; none without it.
    pub fdstore: Option<PathBuf>,
    /// Logs everything.
    pub verbose: bool,
    /// More arguments.
    pub arguments: Vec<OsString>,
    /// A program with its arguments that starts it, such as one that takes privileges away.
    pub wrapper: Vec<&'static str>,
}

impl Mesh {
    /// Starts it with an empty graph, and waits until its status socket answers.
    #[track_caller]
    #[must_use]
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, None, &[])
    }

    /// Starts it with so many descriptors at most (soft and hard limit), and with these links.
    #[track_caller]
    #[must_use]
    pub fn start_with(sandbox: &Sandbox, nofile: Option<u32>, links: &[Link]) -> Self {
        Self::start_as(sandbox, Setup { nofile, ..Setup::default() }, links)
    }

    /// Starts it as `setup` says, with these links.
    #[track_caller]
    #[must_use]
    pub fn start_as(sandbox: &Sandbox, setup: Setup, links: &[Link]) -> Self {
        let dir = sandbox.path().to_owned();
        fs::write(dir.join("graph.json"), graph::json(links)).or_fail("graph");
        let (child, process) = Self::spawn(&dir, &setup);
        let mesh = Self { child, process, dir, setup };
        mesh.wait_ready();
        mesh
    }

    #[track_caller]
    fn spawn(dir: &std::path::Path, setup: &Setup) -> (Child, Process) {
        let log = File::options().create(true).append(true).open(dir.join("mesh.log")).or_fail("log");
        let limit = setup.nofile.map_or("unlimited".to_owned(), |n| n.to_string());
        let script = if setup.nofile.is_some() { "ulimit -n \"$0\"; exec \"$@\"" } else { "exec \"$@\"" };
        let child = Command::new("sh")
            .args(["-c", script, &limit])
            .args(&setup.wrapper)
            .arg(programs::program("pv-xconnect"))
            .arg("--run-dir")
            .arg(dir.join("run"))
            .arg("--graph")
            .arg(dir.join("graph.json"))
            .arg("--fdstore")
            .arg(setup.fdstore.as_deref().unwrap_or(std::path::Path::new("none")))
            .args(setup.verbose.then_some("-v"))
            .args(&setup.arguments)
            .env("XCONNECT_SANDBOX", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .or_fail("start of pv-xconnect");
        let process = Process::open(child.id()).or_fail("pidfd of pv-xconnect");
        (child, process)
    }

    #[track_caller]
    fn wait_ready(&self) {
        eventually("the status socket answers", || self.get("/links"));
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Its status socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/pv-xconnect")
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("mesh.log")).unwrap_or_default()
    }

    /// A GET over the status socket.
    ///
    /// # Errors
    /// Where it does not answer with 200.
    #[track_caller]
    pub fn get(&self, path: &str) -> Result<http::Response, String> {
        let response = http::request(&self.socket(), "GET", path, b"")?;
        if response.status == 200 { Ok(response) } else { Err(format!("{response:?}")) }
    }

    /// Puts a new graph in place of the old one, at once.
    #[track_caller]
    pub fn apply(&self, links: &[Link]) {
        self.apply_text(graph::json(links));
    }

    /// Puts any text in place of the graph, at once.
    #[track_caller]
    pub fn apply_text(&self, text: impl AsRef<[u8]>) {
        let new = self.dir.join("graph.new");
        fs::write(&new, text).or_fail("graph");
        fs::rename(&new, self.dir.join("graph.json")).or_fail("graph");
    }

    /// The status of all links.
    ///
    /// # Errors
    /// Where the status socket does not answer.
    #[track_caller]
    pub fn links(&self) -> Result<Vec<Value>, String> {
        match self.get("/links")?.json() {
            Value::Array(links) => Ok(links),
            other => Err(format!("not an array: {other}")),
        }
    }

    /// The entry of a link.
    ///
    /// # Errors
    /// Where the status socket does not answer, or has no such link.
    #[track_caller]
    pub fn entry(&self, link: &Link) -> Result<Value, String> {
        let links = self.links()?;
        links.into_iter().find(|entry| link.is(entry)).ok_or_else(|| "no such link".to_owned())
    }

    /// A counter of a link, by its JSON pointer below `counters`.
    #[track_caller]
    #[must_use]
    pub fn counter(&self, link: &Link, pointer: &str) -> u64 {
        let entry = self.entry(link).or_fail(link.target());
        entry["counters"].pointer(pointer).and_then(Value::as_u64).or_fail(pointer)
    }

    /// Waits until a counter of a link has this value.
    #[track_caller]
    pub fn wait_counter(&self, link: &Link, pointer: &str, value: u64) {
        eventually(format_args!("{pointer} of {} is {value}", link.target()), || {
            let count = self.counter(link, pointer);
            ensure(count == value, format_args!("it is {count}"))
        });
    }

    /// What the mesh says of itself.
    #[track_caller]
    #[must_use]
    pub fn status(&self) -> Value {
        self.get("/status").or_fail("/status").json()
    }

    /// Waits until a link is in this state; gives its entry.
    #[track_caller]
    pub fn wait(&self, link: &Link, status: &str) -> Value {
        eventually(format_args!("{} is {status}", link.target()), || {
            let entry = self.entry(link)?;
            ensure(entry["status"] == status, &entry)?;
            Ok::<_, String>(entry)
        })
    }

    /// Waits until a link is in this state for a reason that contains this text.
    #[track_caller]
    pub fn wait_reason(&self, link: &Link, status: &str, reason: &str) -> Value {
        eventually(format_args!("{} is {status}: {reason}", link.target()), || {
            let entry = self.entry(link)?;
            let why = entry["reason"].as_str().unwrap_or_default();
            ensure(entry["status"] == status && why.contains(reason), &entry)?;
            Ok::<_, String>(entry)
        })
    }

    /// Waits until every link is in this state.
    #[track_caller]
    pub fn wait_all(&self, links: &[Link], status: &str) {
        let key = |consumer: &str, name: &str, target: &str| format!("{consumer} {name} {target}");
        eventually(format_args!("{} links are {status}", links.len()), || {
            let shown = self.links()?;
            let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            let by_key: HashMap<_, _> = shown
                .iter()
                .map(|e| (key(&text(e, "consumer"), &text(e, "name"), &text(e, "target")), e))
                .collect();
            let missing = links.iter().find(|link| {
                let entry = by_key.get(&key(link.text("consumer"), link.text("name"), link.target()));
                !entry.is_some_and(|entry| link.is(entry) && entry["status"] == status)
            });
            ensure(missing.is_none(), format_args!("{missing:?}"))
        });
    }

    /// Waits until a link is not in the mesh any more.
    #[track_caller]
    pub fn wait_gone(&self, link: &Link) {
        eventually(format_args!("{} is gone", link.target()), || {
            ensure(!self.links()?.iter().any(|entry| link.is(entry)), "still there")
        });
    }

    /// SIGTERM, and its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.process.signal(Signal::TERM);
        process::wait(&mut self.child).code()
    }

    /// SIGTERM, without waiting for the end.
    pub fn begin_stop(&self) {
        self.process.signal(Signal::TERM);
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        process::wait(&mut self.child);
    }

    /// Starts it again after [`Mesh::stop`] or [`Mesh::kill`], with the graph as it is.
    #[track_caller]
    pub fn start_again(&mut self) {
        (self.child, self.process) = Self::spawn(&self.dir, &self.setup);
        self.wait_ready();
    }

    /// True while it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The smallest useful mesh: one link, up, between two containers.
#[derive(Debug)]
pub struct Pair {
    /// The mesh.
    pub mesh: Mesh,
    /// Who asks.
    pub consumer: Container,
    /// Who serves.
    pub provider: Container,
    /// The link.
    pub link: Link,
    /// The provider's listening socket.
    pub listener: Listener,
}

impl Pair {
    /// A stream link with defaults.
    #[track_caller]
    #[must_use]
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, crate::Kind::Stream, |link| link)
    }

    /// A link as `change` makes it.
    #[track_caller]
    #[must_use]
    pub fn start_with(sandbox: &Sandbox, kind: crate::Kind, change: impl FnOnce(Link) -> Link) -> Self {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        Self::of(sandbox, consumer, provider, kind, change)
    }

    /// The same with defaults, by a mesh that is started so.
    #[track_caller]
    #[must_use]
    pub fn start_as(sandbox: &Sandbox, setup: Setup) -> Self {
        Self::start_as_with(sandbox, setup, |link| link)
    }

    /// The same, with a link as `change` makes it.
    #[track_caller]
    #[must_use]
    pub fn start_as_with(sandbox: &Sandbox, setup: Setup, change: impl FnOnce(Link) -> Link) -> Self {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = change(Link::new("raw", "consumer", "provider").between(&consumer, &provider));
        let listener = provider.listen(link.socket());
        let mesh = Mesh::start_as(sandbox, setup, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        Self { mesh, consumer, provider, link, listener }
    }

    /// A link between these containers.
    #[track_caller]
    #[must_use]
    pub fn of(
        sandbox: &Sandbox,
        consumer: Container,
        provider: Container,
        kind: crate::Kind,
        change: impl FnOnce(Link) -> Link,
    ) -> Self {
        let mut link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        if kind == crate::Kind::Seqpacket {
            link = link.option("socket_type", "seqpacket");
        }
        let link = change(link);
        let listener = provider.listen_with(link.socket(), kind, 4096);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        Self { mesh, consumer, provider, link, listener }
    }

    /// A connection through the mesh: the consumer's end and the provider's.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> (Socket, Socket) {
        (self.consumer.connect(self.link.target()), self.listener.accept())
    }

    /// The same over seqpacket sockets.
    #[track_caller]
    #[must_use]
    pub fn connect_seqpacket(&self) -> (Socket, Socket) {
        let target = self.link.target();
        let client = self.consumer.try_connect(target, crate::Kind::Seqpacket).or_fail(target);
        (client, self.listener.accept())
    }
}
