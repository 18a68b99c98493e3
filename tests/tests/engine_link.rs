//! Containers on the control socket by a link of their own: whose a request is, what it may do, and that
//! nobody else gets to the socket which the engine has for such links.

use std::path::Path;

use serde_json::{Value, json};
use xconnect_tests::scene::{self, CONTROL_DIR, printed, with_control_socket};
use xconnect_tests::{
    Agent, Engine, Kind, Link, Mesh, OrFail, Sandbox, Scene, Socket, State, ensure, eventually, http, run,
};

/// Where a container finds the control socket.
const TARGET: &str = "/pantavisor/pv-ctrl";
/// The engine's socket for links, in its run directory.
const LINKS: &str = "pv-ctrl-links";
const REFUSAL: &str = "Request not sent from mgmt platform";
const READY: &str = r#"{"type":"ready"}"#;

/// A state with the pair, `plain` and `manager`, which both ask for the control socket.
fn state(sandbox: &Sandbox) -> State {
    let state = State::pair(sandbox);
    state.add("plain", |run| asks(run, &json!({"name": "pv-ctrl"})));
    state.add("manager", |run| {
        run["roles"] = json!(["mgmt"]);
        asks(run, &json!({"name": "pv-ctrl"}));
    });
    state
}

fn asks(run: &mut Value, need: &Value) {
    run["services"] = json!({"required": [need]});
}

/// A request over the container's link.
#[track_caller]
fn ask(agent: &Agent, method: &str, path: &str, body: &str) -> http::Response {
    http::over(&agent.connect(TARGET), method, path, body.as_bytes()).or_fail(format_args!("{method} {path}"))
}

/// The same with fields of the container's own in its head.
#[track_caller]
fn ask_as(agent: &Agent, fields: &[&str], method: &str, path: &str, body: &str) -> http::Response {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    http::raw(&agent.connect(TARGET), request.as_bytes()).or_fail(request)
}

/// The agent of a container whose link is up.
#[track_caller]
fn linked(engine: &Engine, name: &str) -> Agent {
    engine.wait_link(name, "up");
    engine.agent(name)
}

#[test]
fn a_plain_container_signals_over_its_link_and_manages_nothing() {
    run(|sandbox| {
        let state = state(sandbox);
        state.add("waits", |run| {
            run["status_goal"] = json!("READY");
            asks(run, &json!({"name": "pv-ctrl"}));
        });
        let scene = Scene::of(sandbox, state);
        let plain = linked(&scene.engine, "plain");
        let (pids, mesh) = (scene.pids(), scene.mesh());
        for (method, path, body) in [
            ("GET", "/containers", ""),
            ("GET", "/xconnect-graph", ""),
            ("GET", "/config", ""),
            ("PUT", "/containers/server", r#"{"action":"stop"}"#),
            ("PUT", "/daemons/pv-xconnect", r#"{"action":"stop"}"#),
            ("DELETE", "/containers/server", ""),
        ] {
            let answer = ask(&plain, method, path, body);
            assert_eq!((answer.status, answer.error().as_str()), (403, REFUSAL), "{method} {path}");
        }
        assert_eq!(ask(&plain, "GET", "/nothing", "").status, 404);
        // A signal that it is not waited for, and one that is: each counts for the container that sent it.
        assert_eq!(ask(&plain, "POST", "/signal", READY).error(), "Signal not expected from this platform");
        let waits = linked(&scene.engine, "waits");
        assert_eq!(scene.engine.find("/containers", "waits").unwrap()["status"], "STARTED");
        assert_eq!(ask(&waits, "POST", "/signal", "{}").status, 400);
        assert_eq!(ask(&waits, "POST", "/signal", READY).status, 200);
        scene.engine.wait_container("waits", "READY");
        assert_eq!((scene.pids(), scene.mesh()), (pids, mesh));

        let link = scene.engine.wait_link("plain", "up");
        assert_eq!((&link["type"], &link["provider"]), (&json!("rest"), &json!("_pv_")), "{link}");
        assert_eq!((&link["target"], &link["provider_pid"]), (&json!(TARGET), &json!(0)), "{link}");
        assert!(link["counters"]["http"]["requests"]["total"].as_u64() >= Some(8), "{link}");
    });
}

#[test]
fn a_container_with_the_role_mgmt_manages_over_its_link() {
    run(|sandbox| {
        let mut scene = Scene::of(sandbox, state(sandbox));
        let manager = linked(&scene.engine, "manager");
        let listed = ask(&manager, "GET", "/containers", "").json();
        let names: Vec<_> =
            listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["client", "manager", "plain", "server"]);
        for path in ["/xconnect-graph", "/daemons", "/groups", "/revision", "/metrics", "/audit"] {
            assert_eq!(ask(&manager, "GET", path, "").status, 200, "{path}");
        }
        let before = scene.engine.running("server");
        assert_eq!(ask(&manager, "PUT", "/containers/server", r#"{"action":"restart"}"#).status, 200);
        eventually("another process runs", || {
            ensure(scene.engine.running("server") != before, "the old one does")
        });
        scene.serve();
        scene.echoes();
        // A graph that is watched comes whole and at once, and goes on.
        let watch = manager.connect(TARGET);
        watch.send(b"GET /xconnect-graph?watch=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_for(&watch, "\"revision\"");
        assert_eq!(ask(&manager, "PUT", "/containers/server", r#"{"action":"stop"}"#).status, 200);
        wait_for(&watch, "\"provider\":\"server\",\"provider_pid\":-1");

        // The role goes with the revision, and a role that is not asked for is none.
        for roles in [json!([]), json!(["mgmt"])] {
            let before = scene::revision(&scene.engine);
            scene.state.add("manager", |run| {
                run["roles"] = roles;
                asks(run, &json!({"name": "pv-ctrl", "role": "any"}));
            });
            scene::wait_revision_after(&scene.engine, &before);
            let manager = linked(&scene.engine, "manager");
            assert_eq!(ask(&manager, "GET", "/containers", "").error(), REFUSAL);
        }
    });
}

/// Reads until this text has come.
#[track_caller]
fn wait_for(socket: &Socket, text: &str) {
    let mut got = String::new();
    while !got.contains(text) {
        let part = socket.recv(65536).bytes;
        assert!(!part.is_empty(), "ended before {text}: {got}");
        got += &String::from_utf8_lossy(&part);
    }
}

#[test]
fn a_role_that_is_not_the_containers_is_no_link() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        state.add("plain", |run| asks(run, &json!({"name": "pv-ctrl", "role": "mgmt"})));
        let scene = Scene::of(sandbox, state);
        let link = scene.engine.wait_link("plain", "failed");
        assert_eq!(link["reason"], "role \"mgmt\" is not granted to this container");
        assert!(!scene.engine.agent("plain").exists(TARGET));
    });
}

#[test]
fn fields_of_the_containers_own_change_nothing() {
    run(|sandbox| {
        let state = state(sandbox);
        state.add("waits", |run| run["status_goal"] = json!("READY"));
        state.add("bound", |run| with_control_socket(run, sandbox));
        let scene = Scene::of(sandbox, state);
        let (plain, manager) = (linked(&scene.engine, "plain"), linked(&scene.engine, "manager"));
        let bound = scene.engine.agent("bound");
        for fields in [
            &["X-PV-Client: manager", "X-PV-Role: mgmt", "X-PV-Link-Id: 0000000000000000"][..],
            &["x-pv-client: manager", "x-pv-role: mgmt"],
            &["X_PV_Client: manager", "X.PV.Role: mgmt"],
            &["Connection: X-PV-Client, X-PV-Role"],
            &["X-PV-Role: any", "X-PV-Role: mgmt"],
        ] {
            let answer = ask_as(&plain, fields, "GET", "/containers", "");
            assert_eq!((answer.status, answer.error().as_str()), (403, REFUSAL), "{fields:?}");
            assert_eq!(ask_as(&manager, fields, "GET", "/containers", "").status, 200, "{fields:?}");
            let fields = [fields, &["Host: a", "Connection: close"]].concat();
            let request = format!("GET /containers HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n"));
            let control = bound.connect(&format!("{CONTROL_DIR}/pv-ctrl"));
            let answer = http::raw(&control, request.as_bytes());
            assert_eq!(answer.map(|answer| answer.status), Ok(403), "{fields:?}");
        }
        // A signal for another.
        let fields = ["X-PV-Client: waits", "X-PV-Role: any"];
        assert_eq!(ask_as(&plain, &fields, "POST", "/signal", READY).status, 500);
        assert_eq!(scene.engine.find("/containers", "waits").unwrap()["status"], "STARTED");
    });
}

#[test]
fn nobody_but_the_mesh_gets_anything_of_the_socket_for_links() {
    run(|sandbox| {
        let state = state(sandbox);
        let services = json!([
            {"name": "sly", "type": "unix", "socket": format!("{CONTROL_DIR}/{LINKS}")},
            {"name": "slyer", "type": "rest", "socket": format!("{CONTROL_DIR}/{LINKS}")},
        ]);
        state.write("bound/services.json", json!({"services": services}).to_string());
        state.add("bound", |run| with_control_socket(run, sandbox));
        let needs = |name: &str| json!({"name": name, "target": "/run/sly.sock"});
        state.add("sly", |run| asks(run, &needs("sly")));
        state.add("slyer", |run| asks(run, &needs("slyer")));
        let scene = Scene::of(sandbox, state);
        let head = "Host: a\r\nX-PV-Client: manager\r\nX-PV-Role: mgmt\r\nX-PV-Link-Id: 2c523ec1d881237b\r\n";
        let request = format!("GET /containers HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
        let refused = |socket: &Socket| {
            let answer = http::raw(socket, request.as_bytes()).unwrap();
            assert_eq!((answer.status, answer.error().as_str()), (403, "Request not sent over a link"));
        };
        let links = sandbox.run_dir().join(LINKS);
        assert_eq!(mode(&links), 0o600);
        refused(&Socket::connect(Kind::Stream, &links).unwrap());
        refused(&scene.engine.agent("bound").connect(&format!("{CONTROL_DIR}/{LINKS}")));
        for consumer in ["sly", "slyer"] {
            let link = scene.engine.wait_link(consumer, "failed");
            let reason = link["reason"].as_str().unwrap();
            assert!(reason.contains(&format!("{LINKS}, a socket of the daemons")), "{reason}");
            let answer =
                http::raw(&scene.engine.agent(consumer).connect("/run/sly.sock"), request.as_bytes());
            assert!(answer.as_ref().map_or(true, |answer| answer.status == 503), "{answer:?}");
        }
        assert_eq!(scene.engine.call("GET", "/containers", "").status, 200);
        assert_eq!(ask(&linked(&scene.engine, "manager"), "GET", "/containers", "").status, 200);
    });
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).or_fail(path.display()).permissions().mode() & 0o777
}

#[test]
fn the_link_works_after_an_end_of_the_engine_of_the_mesh_and_of_both() {
    run(|sandbox| {
        let mut scene = Scene::of(sandbox, state(sandbox));
        let (plain, manager) = (linked(&scene.engine, "plain"), linked(&scene.engine, "manager"));
        let works = |scene: &Scene| {
            for name in ["plain", "manager"] {
                scene.engine.wait_link(name, "up");
            }
            assert_eq!(ask(&manager, "GET", "/containers", "").status, 200);
            assert_eq!(ask(&plain, "POST", "/signal", READY).status, 500);
            assert_eq!(ask(&plain, "GET", "/containers", "").status, 403);
        };
        works(&scene);
        let mesh = scene.mesh();
        scene.engine.kill();
        // Held until there is an engine.
        let held = manager.connect(TARGET);
        held.send(b"GET /containers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        scene.engine.start_again();
        wait_for(&held, "\"manager\"");
        assert_eq!(scene.mesh(), mesh, "the mesh runs on");
        works(&scene);

        let kill_mesh = |scene: &Scene| {
            scene.engine.daemon("pv-xconnect").kill();
            eventually("another mesh runs", || ensure(scene.mesh() != mesh, "the dead one is shown"));
        };
        kill_mesh(&scene);
        works(&scene);
        assert_eq!(scene.engine.action("daemons/pv-xconnect", "restart").status, 200);
        works(&scene);

        scene.engine.kill();
        for mesh in scene.engine.instances("pv-xconnect") {
            xconnect_tests::process::Process::open(mesh).unwrap().kill();
        }
        scene.engine.start_again();
        works(&scene);
    });
}

#[test]
fn a_plain_container_has_little_room_and_takes_nobody_elses() {
    run(|sandbox| {
        const OTHER: &str = "/run/control";
        let state = state(sandbox);
        state.add("plain", |run| {
            let needs = json!([{"name": "pv-ctrl"}, {"name": "pv-ctrl", "target": OTHER}]);
            run["services"] = json!({"required": needs});
        });
        let scene = Scene::of(sandbox, state);
        let (plain, manager) = (linked(&scene.engine, "plain"), linked(&scene.engine, "manager"));
        eventually("the other link is there", || plain.try_connect(OTHER, Kind::Stream));
        // Each with a body that does not come.
        let hold = || {
            let socket = plain.connect(TARGET);
            let _ = socket.try_send(b"POST /signal HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", &[]);
            socket
        };
        let held: Vec<_> = (0..64).map(|_| hold()).collect();
        let other = |body: &str| http::over(&plain.connect(OTHER), "POST", "/signal", body.as_bytes());
        eventually("the container has as many requests as it may", || {
            let answer = other(READY)?;
            ensure(answer.status == 503, format_args!("{answer:?}"))?;
            assert_eq!(answer.error(), "Too many requests of plain are under way: ask again");
            Ok::<_, String>(())
        });
        for _ in 0..20 {
            assert_eq!(ask(&manager, "GET", "/containers", "").status, 200);
        }
        drop(held);
        let large = format!("{{\"type\":\"{}\"}}", "x".repeat(8192));
        let answer = eventually("there is room again", || {
            let answer = other(&large)?;
            ensure(answer.status != 503, answer.status)?;
            Ok::<_, String>(answer)
        });
        assert_eq!((answer.status, answer.error().as_str()), (413, "Body is larger than 4096 bytes"));
    });
}

#[test]
fn a_mesh_without_our_engine_says_that_there_is_no_such_link() {
    run(|sandbox| {
        let consumer = xconnect_tests::Container::start(sandbox);
        let link = |socket: &str| {
            let link = Link::new("pv-ctrl", "consumer", "_pv_").with("type", "rest").with("target", TARGET);
            link.with("consumer_pid", consumer.pid()).with("provider_pid", 0).with("socket", socket)
        };
        let links = sandbox.run_dir().join(LINKS);
        let _listener = xconnect_tests::Listener::bind(Kind::Stream, &links, 16).unwrap();
        let link = link(links.to_str().unwrap());
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        let why =
            "the graph comes from a file, and no engine is behind it; bind-mount pv-ctrl into the container";
        mesh.wait_reason(&link, "failed", why);
        assert!(!consumer.exists(TARGET));
    });
}

#[test]
fn changes_over_a_link_are_noted_as_the_containers() {
    run(|sandbox| {
        let scene = Scene::of(sandbox, state(sandbox));
        let manager = linked(&scene.engine, "manager");
        let outside = xconnect_tests::Container::start(sandbox);
        let start = xconnect_tests::process::start_time(outside.pid());
        let body = |start: Option<u64>| {
            json!({"pid": outside.pid(), "start": start, "manifests": {"run.json": {"type": "external"}}})
                .to_string()
        };
        assert_eq!(ask(&manager, "POST", "/containers/new", &body(None)).status, 409, "numbers may differ");
        let answer = ask(&manager, "POST", "/containers/new", &body(Some(start)));
        assert_eq!(answer.status, 200, "{answer:?}");
        let entry = eventually("the change is noted", || {
            let entries = scene.engine.get("/audit");
            let entry = entries.as_array().into_iter().flatten().find(|it| it["event"] == "registered");
            entry.cloned().ok_or_else(|| entries.to_string())
        });
        assert_eq!(entry["author"], json!({"via": "link", "uids": [], "container": "manager"}), "{entry}");
        assert!(printed(&scene.engine, &["audit"]).contains("manager"));
        assert_eq!(call_status(&scene.engine, "new"), "STARTED");
    });
}

fn call_status(engine: &Engine, name: &str) -> String {
    let entry = engine.find("/containers", name).or_fail(name);
    entry["status"].as_str().unwrap_or_default().to_owned()
}
