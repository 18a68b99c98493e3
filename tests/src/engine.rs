//! `pv-appengine` under test, with a state directory, and `pv-xconnect` as its managed daemon.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::http::Response;
use crate::pod::client::Agent;
use crate::process::{self, Process};
use crate::sandbox::Sandbox;
use crate::wait::{DEADLINE, OrFail, ensure, eventually, eventually_within};
use crate::{cgroup, http, programs, rootfs};

/// A state directory.
#[derive(Debug)]
pub struct State {
    /// The directory.
    pub dir: PathBuf,
    rootfs: PathBuf,
    mark: String,
}

impl State {
    /// An empty one.
    #[track_caller]
    #[must_use]
    pub fn new(sandbox: &Sandbox) -> Self {
        let mark = sandbox.path().display().to_string();
        Self { dir: sandbox.new_dir("state"), rootfs: rootfs::make(sandbox), mark }
    }

    /// Writes one file, at once.
    #[track_caller]
    pub fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.dir.join(file);
        fs::create_dir_all(path.parent().or_fail(file)).or_fail(file);
        // Outside of the directory, so that the engine sees nothing but the new file.
        let new = self.dir.with_extension("new");
        fs::write(&new, text).or_fail(file);
        fs::rename(&new, &path).or_fail(file);
    }

    /// The run.json of a container that serves its test until it is told to end.
    #[must_use]
    pub fn run_json(&self, name: &str) -> Value {
        json!({
            "#spec": "service-manifest-run@1",
            "name": name,
            "type": "oci",
            "rootfs": self.rootfs,
            "exec": ["/pod", "serve", rootfs::CONTROL, self.mark],
            "env": [format!("XCONNECT_SANDBOX={}", self.mark)],
            "mounts": [{"destination": "/run", "type": "tmpfs", "source": "tmpfs"}],
            "restart_policy": "container",
        })
    }

    /// Adds a container; `change` completes its run.json.
    #[track_caller]
    pub fn add(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut run = self.run_json(name);
        change(&mut run);
        self.write(&format!("{name}/run.json"), run.to_string());
    }

    /// Adds a container that provides these services.
    #[track_caller]
    pub fn add_provider(&self, name: &str, services: &Value) {
        let manifest = json!({"#spec": "service-manifest-xconnect@1", "services": services});
        self.write(&format!("{name}/services.json"), manifest.to_string());
        self.add(name, |_| {});
    }

    /// Adds a container that requires these services.
    #[track_caller]
    pub fn add_consumer(&self, name: &str, required: &Value) {
        self.add(name, |run| run["services"] = json!({"required": required}));
    }

    /// The usual two: `server` provides `raw` at `/run/raw.sock`, `client` wants it at `/run/in.sock`.
    #[track_caller]
    #[must_use]
    pub fn pair(sandbox: &Sandbox) -> Self {
        let state = Self::new(sandbox);
        state.add_provider("server", &json!([{"name": "raw", "type": "unix", "socket": "/run/raw.sock"}]));
        state.add_consumer("client", &json!([{"name": "raw", "target": "/run/in.sock"}]));
        state
    }
}

/// A running engine. When it is dropped, all that it started is killed.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    process: Process,
    dir: PathBuf,
    state: PathBuf,
    cgroup: String,
}

impl Engine {
    /// Starts it, and waits until the control socket answers.
    #[track_caller]
    #[must_use]
    pub fn start(sandbox: &Sandbox, state: &State) -> Self {
        let (dir, cgroup) = (sandbox.path().to_owned(), sandbox.cgroup_name());
        let (child, process) = spawn(&dir, &state.dir, &cgroup);
        let engine = Self { child, process, dir, state: state.dir.clone(), cgroup };
        engine.wait_ready();
        engine
    }

    #[track_caller]
    fn wait_ready(&self) {
        eventually("the control socket answers", || {
            let response = self.try_call("GET", "/containers", b"")?;
            ensure(response.status == 200, format_args!("{response:?}"))
        });
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/pv-ctrl")
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("engine.log")).unwrap_or_default()
    }

    /// A request to the control socket.
    ///
    /// # Errors
    /// Where no response comes.
    #[track_caller]
    pub fn try_call(&self, method: &str, path: &str, body: &[u8]) -> Result<Response, String> {
        http::request(&self.socket(), method, path, body)
    }

    /// A request to the control socket.
    #[track_caller]
    #[must_use]
    pub fn call(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.try_call(method, path, body.as_ref()).or_fail(format_args!("{method} {path}"))
    }

    /// The JSON of a GET.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        let response = self.call("GET", path, "");
        assert_eq!(response.status, 200, "{path}: {response:?}");
        response.json()
    }

    /// An action on a container (`containers/NAME`) or a daemon (`daemons/NAME`).
    #[track_caller]
    #[must_use]
    pub fn action(&self, what: &str, action: &str) -> Response {
        self.call("PUT", &format!("/{what}"), json!({"action": action}).to_string())
    }

    /// The entry of that name in a list.
    ///
    /// # Errors
    /// Where the engine does not answer, or has none of that name.
    #[track_caller]
    pub fn find(&self, list: &str, name: &str) -> Result<Value, String> {
        let response = self.try_call("GET", list, b"")?;
        let entries = response.json();
        let entry = entries.as_array().into_iter().flatten().find(|entry| entry["name"] == name);
        entry.cloned().ok_or_else(|| format!("no {name} in {entries}"))
    }

    /// Waits until a container has this status; gives its entry.
    #[track_caller]
    pub fn wait_container(&self, name: &str, status: &str) -> Value {
        eventually(format_args!("container {name} is {status}"), || {
            let entry = self.find("/containers", name)?;
            ensure(entry["status"] == status, &entry)?;
            Ok::<_, String>(entry)
        })
    }

    /// Waits until a container runs; gives its process number.
    #[track_caller]
    pub fn running(&self, name: &str) -> u32 {
        let pid = self.wait_container(name, "STARTED")["pid"].as_u64();
        pid.and_then(|pid| u32::try_from(pid).ok()).or_fail(format_args!("pid of {name}"))
    }

    /// The process in a container, once it serves.
    #[track_caller]
    #[must_use]
    pub fn agent(&self, name: &str) -> Agent {
        let pid = self.running(name);
        eventually(format_args!("container {name} serves its test"), || {
            Agent::of_process(pid, rootfs::CONTROL)
        })
    }

    /// Waits until the link that this consumer asked for has this status; gives its entry.
    #[track_caller]
    pub fn wait_link(&self, consumer: &str, status: &str) -> Value {
        eventually(format_args!("link of {consumer} is {status}"), || {
            let graph = self.try_call("GET", "/xconnect-graph", b"")?.json();
            let link = graph.as_array().into_iter().flatten().find(|link| link["consumer"] == consumer);
            let link = link.ok_or_else(|| format!("no link of {consumer} in {graph}"))?;
            ensure(link["status"] == status, link)?;
            Ok::<_, String>(link.clone())
        })
    }

    /// The process number of a managed daemon, once it runs.
    #[track_caller]
    #[must_use]
    pub fn daemon(&self, name: &str) -> Process {
        eventually(format_args!("daemon {name} runs"), || {
            let pid = self.find("/daemons", name)?["pid"].as_u64().unwrap_or(0);
            let pid = u32::try_from(pid).map_err(|e| e.to_string())?;
            Process::open(pid).map_err(|e| format!("{pid}: {e}"))
        })
    }

    /// The processes of this sandbox that run this program, by its command line's first word; the
    /// engine's helpers are other invocations of its program and not counted.
    #[must_use]
    pub fn instances(&self, program: &str) -> Vec<u32> {
        let all = process::marked(&self.dir).into_iter();
        all.filter(|pid| {
            let line = process::command_line(*pid);
            let first = line.split(' ').next().unwrap_or_default();
            Path::new(first).file_name().is_some_and(|name| name == program)
                && (program != "pv-appengine" || line.contains(" --state "))
        })
        .collect()
    }

    /// SIGTERM, and its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.process.signal(Signal::TERM);
        eventually_within(DEADLINE * 2, "the engine ends", || {
            self.child.try_wait().or_fail("wait").ok_or("runs on")
        })
        .code()
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        process::wait(&mut self.child);
    }

    /// Starts it again after [`Engine::kill`] or [`Engine::stop`], as a service manager would.
    #[track_caller]
    pub fn start_again(&mut self) {
        (self.child, self.process) = spawn(&self.dir, &self.state, &self.cgroup);
        self.wait_ready();
    }
}

/// The command line of an engine.
#[track_caller]
#[must_use]
pub fn command(dir: &Path, state: &Path, cgroup: &str) -> Command {
    let mut command = Command::new(programs::program("pv-appengine"));
    command.arg("--state").arg(state).arg("--run-dir").arg(dir.join("run"));
    command.arg("--xconnect").arg(programs::program("pv-xconnect"));
    command.args(["--cgroup-root", cgroup]).env("XCONNECT_SANDBOX", dir);
    command
}

#[track_caller]
fn spawn(dir: &Path, state: &Path, cgroup: &str) -> (Child, Process) {
    let log = File::options().create(true).append(true).open(dir.join("engine.log")).or_fail("log");
    let mut command = command(dir, state, cgroup);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let child = command.spawn().or_fail("start of pv-appengine");
    let process = Process::open(child.id()).or_fail("pidfd of pv-appengine");
    (child, process)
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
        let _ = self.child.wait();
        // Twice: what is being started while the first pass looks is seen by the second.
        for _ in 0..2 {
            cgroup::remove(&self.cgroup);
            process::kill_marked(&self.dir);
        }
    }
}
