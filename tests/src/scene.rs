//! The usual scene of an engine's test: two containers, the link between them, a server that echoes.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::engine::{Engine, State};
use crate::http::{self, Response};
use crate::pod::client::Agent;
use crate::programs;
use crate::sandbox::Sandbox;
use crate::socket::{EchoServer, Socket};
use crate::wait::{OrFail, ensure, eventually};

/// Where the server listens.
pub const SERVICE: &str = "/run/raw.sock";
/// Where the client finds it.
pub const TARGET: &str = "/run/in.sock";
/// Where [`with_control_socket`] shows the run directory.
pub const CONTROL_DIR: &str = "/host";

/// An engine with [`State::pair`], whose link is up.
#[derive(Debug)]
pub struct Scene {
    /// The engine.
    pub engine: Engine,
    /// Its state directory.
    pub state: State,
    echo: Option<EchoServer>,
}

impl Scene {
    /// The pair as it is.
    #[track_caller]
    #[must_use]
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::of(sandbox, State::pair(sandbox))
    }

    /// A state with (at least) a `server` and a `client` as in the pair.
    #[track_caller]
    #[must_use]
    pub fn of(sandbox: &Sandbox, state: State) -> Self {
        let engine = Engine::start(sandbox, &state);
        let mut scene = Self { engine, state, echo: None };
        scene.serve();
        scene.engine.wait_link("client", "up");
        scene
    }

    /// Has the server listen, as it must anew after its restart.
    #[track_caller]
    pub fn serve(&mut self) {
        self.echo = Some(self.engine.agent("server").listen(SERVICE).echo());
    }

    /// A connection of the client.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> Socket {
        self.engine.agent("client").connect(TARGET)
    }

    /// Bytes of the client come back.
    #[track_caller]
    pub fn echoes(&self) {
        self.engine.wait_link("client", "up");
        self.connect().echo(b"there and back");
    }

    /// Process numbers of client and server.
    #[track_caller]
    #[must_use]
    pub fn pids(&self) -> (u32, u32) {
        (self.engine.running("client"), self.engine.running("server"))
    }

    /// The process number of the mesh.
    #[track_caller]
    #[must_use]
    pub fn mesh(&self) -> u32 {
        self.engine.daemon("pv-xconnect").pid
    }

    /// The only link.
    #[track_caller]
    #[must_use]
    pub fn link(&self) -> Value {
        let graph = self.engine.get("/xconnect-graph");
        assert_eq!(graph.as_array().map(Vec::len), Some(1), "{graph}");
        graph[0].clone()
    }
}

/// Lets a container see the run directory, and so the control socket.
pub fn with_control_socket(run: &mut Value, sandbox: &Sandbox) {
    let bind = serde_json::json!({
        "destination": CONTROL_DIR, "type": "bind", "source": sandbox.run_dir(), "options": ["rbind"],
    });
    run["mounts"].as_array_mut().or_fail("mounts").push(bind);
}

/// A request that a process in a container sends to the control socket.
#[track_caller]
#[must_use]
pub fn call_from(agent: &Agent, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
    let connection = agent.connect(&format!("{CONTROL_DIR}/pv-ctrl"));
    http::over(&connection, method, path, body.as_ref()).or_fail(format_args!("{method} {path}"))
}

/// Runs `pvcontrol` against an engine.
#[track_caller]
#[must_use]
pub fn pvcontrol(engine: &Engine, arguments: &[&str]) -> Output {
    let mut command = Command::new(programs::program("pvcontrol"));
    command.arg("-s").arg(engine.socket()).args(arguments).stdin(Stdio::null());
    command.output().or_fail("pvcontrol")
}

/// The same, which must succeed; gives what it printed.
#[track_caller]
#[must_use]
pub fn printed(engine: &Engine, arguments: &[&str]) -> String {
    let output = pvcontrol(engine, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).or_fail("output is text")
}

/// The revision in force.
#[track_caller]
#[must_use]
pub fn revision(engine: &Engine) -> String {
    engine.get("/revision")["revision"].as_str().or_fail("a revision").to_owned()
}

/// Waits until another revision than `old` is in force, and none is refused; gives it.
#[track_caller]
pub fn wait_revision_after(engine: &Engine, old: &str) -> String {
    eventually("another revision is in force", || {
        let status = engine.get("/revision");
        ensure(status["refused"].is_null(), &status)?;
        let present = status["revision"].as_str().unwrap_or_default();
        ensure(present != old, "the old one still is")?;
        Ok::<_, String>(present.to_owned())
    })
}

/// Waits until the directory's present state is refused; gives the errors.
#[track_caller]
pub fn wait_refused(engine: &Engine) -> Vec<String> {
    eventually("the directory is refused", || {
        let status = engine.get("/revision");
        let errors = status["refused"]["errors"].as_array().ok_or_else(|| status.to_string())?;
        Ok::<_, String>(errors.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    })
}

/// Waits until the directory's present state is not refused.
#[track_caller]
pub fn wait_accepted(engine: &Engine) {
    eventually("the directory is accepted", || {
        let status = engine.get("/revision");
        ensure(status["refused"].is_null(), status)
    });
}

/// Waits until the audit log has this many entries: an entry is on the disk a little after what it tells
/// of is in force. Gives them.
#[track_caller]
pub fn wait_audit(engine: &Engine, count: usize) -> Vec<Value> {
    eventually(format_args!("{count} entries of the audit log"), || {
        let entries = engine.get("/audit");
        let list = entries.as_array().cloned().unwrap_or_default();
        ensure(list.len() == count, &entries)?;
        Ok::<_, String>(list)
    })
}
