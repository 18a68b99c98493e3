//! Who may do what on the control socket.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::json;
use xconnect_tests::scene::{CONTROL_DIR, call_from, with_control_socket};
use xconnect_tests::{Container, Kind, Scene, State, http, programs, run, scene};

/// Every management endpoint, with a body that would be accepted.
const MANAGEMENT: [(&str, &str, &str); 16] = [
    ("GET", "/xconnect-graph", ""),
    ("GET", "/xconnect-graph?watch=1", ""),
    ("GET", "/daemons", ""),
    ("PUT", "/daemons/pv-xconnect", r#"{"action":"stop"}"#),
    ("PUT", "/daemons/nobody", r#"{"action":"stop"}"#),
    ("GET", "/containers", ""),
    ("PUT", "/containers/server", r#"{"action":"stop"}"#),
    ("PUT", "/containers/nobody", r#"{"action":"stop"}"#),
    ("POST", "/containers/new", r#"{"pid":1,"manifests":{"run.json":{}}}"#),
    ("DELETE", "/containers/new", ""),
    ("GET", "/groups", ""),
    ("GET", "/buildinfo", ""),
    ("GET", "/config", ""),
    ("GET", "/revision", ""),
    ("GET", "/metrics", ""),
    ("GET", "/audit", ""),
];

const REFUSAL: &str = "Request not sent from mgmt platform";

#[test]
fn root_of_a_plain_container_manages_nothing() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        state.add("plain", |run| with_control_socket(run, sandbox));
        let scene = Scene::of(sandbox, state);
        let (pids, mesh) = (scene.pids(), scene.mesh());
        let plain = scene.engine.agent("plain");
        for (method, path, body) in MANAGEMENT {
            let response = call_from(&plain, method, path, body);
            assert_eq!((response.status, response.error().as_str()), (403, REFUSAL), "{method} {path}");
        }
        // What is wrong with a request is no manager's secret, and told before who asks.
        assert_eq!(call_from(&plain, "GET", "/nothing", "").status, 404);
        assert_eq!((scene.pids(), scene.mesh()), (pids, mesh));
        scene.echoes();
    });
}

#[test]
fn a_container_that_this_engine_does_not_know_manages_nothing() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let binds = [(sandbox.run_dir(), CONTROL_DIR)];
        let binds: Vec<_> = binds.iter().map(|(host, inside)| (host.as_path(), *inside)).collect();
        for user_namespace in [false, true] {
            let stranger = Container::start_with(sandbox, user_namespace, &binds);
            for (method, path, body) in MANAGEMENT {
                let response = call_from(&stranger, method, path, body);
                assert_eq!((response.status, response.error().as_str()), (403, REFUSAL), "{method} {path}");
            }
            let signal = call_from(&stranger, "POST", "/signal", r#"{"type":"ready"}"#);
            assert_eq!(signal.status, 500, "{signal:?}");
        }
        scene.echoes();
    });
}

#[test]
fn a_container_with_the_role_mgmt_is_a_manager() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        state.add("manager", |run| {
            run["roles"] = json!(["mgmt"]);
            with_control_socket(run, sandbox);
        });
        let scene = Scene::of(sandbox, state);
        let manager = scene.engine.agent("manager");
        for path in
            ["/xconnect-graph", "/daemons", "/containers", "/groups", "/config2", "/revision", "/audit"]
        {
            assert_eq!(call_from(&manager, "GET", path, "").status, 200, "{path}");
        }
        let stop = call_from(&manager, "PUT", "/containers/server", r#"{"action":"stop"}"#);
        assert_eq!((stop.status, stop.body.as_str()), (200, ""));
        scene.engine.wait_container("server", "STOPPED");

        // The role goes with the revision: the very next request is refused.
        let before = scene::revision(&scene.engine);
        scene.state.add("manager", |run| with_control_socket(run, sandbox));
        scene::wait_revision_after(&scene.engine, &before);
        let plain = scene.engine.agent("manager");
        assert_eq!(call_from(&plain, "GET", "/containers", "").status, 403);
    });
}

#[test]
fn a_user_of_the_host_who_is_not_root_manages_nothing() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let pvcurl = sandbox.copy_of(&programs::program("pvcurl"));
        let status = |uid: u32, method: &str, path: &str, body: &str| {
            let mut command = Command::new(&pvcurl);
            command.args(["-s", "-X", method, "-w", "\n%{http_code}", "--max-time", "10", "--unix-socket"]);
            command.arg(scene.engine.socket());
            if !body.is_empty() {
                command.args(["--data", body]);
            }
            let output = command.arg(path).uid(uid).gid(uid).stdin(Stdio::null()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().last().unwrap_or_default().to_owned()
        };
        assert_eq!(status(0, "GET", "/containers", ""), "200", "the same command by root");
        for (method, path, body) in MANAGEMENT {
            assert_eq!(status(65534, method, path, body), "403", "{method} {path}");
        }
        assert_eq!(status(65534, "POST", "/signal", r#"{"type":"ready"}"#), "500");
        scene.echoes();
    });
}

#[test]
fn unknown_endpoints_and_methods_are_told_apart() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let ask = |method: &str, path: &str| {
            let response = scene.engine.call(method, path, "");
            (response.status, response.error())
        };
        for path in [
            "/",
            "/nothing",
            "/xconnect-graph/more",
            "/groups/app",
            "/containers2",
            "/Containers",
            "/revision/1",
        ] {
            assert_eq!(ask("GET", path), (404, "Unknown endpoint".to_owned()), "{path}");
        }
        let unsupported = "Method not supported for this endpoint".to_owned();
        for (method, path) in [
            ("PUT", "/xconnect-graph"),
            ("POST", "/containers2/../groups"),
            ("POST", "/groups"),
            ("DELETE", "/daemons"),
            ("DELETE", "/buildinfo"),
            ("PUT", "/config"),
            ("PUT", "/config2"),
            ("POST", "/metrics"),
            ("DELETE", "/audit"),
            ("PATCH", "/revision"),
            ("GET", "/signal"),
            ("GET", "/containers/client"),
            ("GET", "/daemons/pv-xconnect"),
        ] {
            if path.contains("..") {
                assert_eq!(ask(method, path).0, 404, "{path}");
            } else {
                assert_eq!(ask(method, path), (400, unsupported.clone()), "{method} {path}");
            }
        }
        assert_eq!(ask("GET", "/xconnect-graph?watch=2"), (400, "Invalid query".to_owned()));
        assert_eq!(ask("GET", "/xconnect-graph?wacth=1"), (400, "Invalid query".to_owned()));
        assert_eq!(scene.engine.call("GET", "/xconnect-graph?watch=0", "").status, 200);
    });
}

#[test]
fn root_of_a_plain_container_gets_nothing_of_the_sockets_between_engine_and_mesh() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        state.add("plain", |run| with_control_socket(run, sandbox));
        let scene = Scene::of(sandbox, state);
        let plain = scene.engine.agent("plain");
        let mesh = sandbox.run_dir().join("pv-xconnect");
        for path in ["/links", "/status", "/metrics"] {
            assert_eq!(http::request(&mesh, "GET", path, b"").unwrap().status, 200, "{path} by the host");
            let connection = plain.connect(&format!("{CONTROL_DIR}/pv-xconnect"));
            let response = http::over(&connection, "GET", path, b"").unwrap();
            assert_eq!((response.status, response.error().as_str()), (403, REFUSAL), "{path}");
        }
        // Its listing would give away a listener of every container.
        let store = plain.try_connect(&format!("{CONTROL_DIR}/fdstore"), Kind::Seqpacket).unwrap();
        let _ = store.try_send(br#"{"op":"list"}"#, &[]);
        assert!(store.ends());
        scene.echoes();
    });
}

#[test]
fn a_container_that_holds_connections_without_end_does_not_lock_the_host_out() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        state.add("plain", |run| with_control_socket(run, sandbox));
        let scene = Scene::of(sandbox, state);
        let plain = scene.engine.agent("plain");
        let path = format!("{CONTROL_DIR}/pv-ctrl");
        // More than the server takes in all, and fewer than fit into its backlog as well.
        let held: Vec<_> = (0..600).map(|_| plain.connect(&path)).collect();
        assert_eq!(scene.engine.action("containers/server", "stop").status, 200);
        scene.engine.wait_link("client", "waiting");
        assert_eq!(held.len(), 600);
    });
}
