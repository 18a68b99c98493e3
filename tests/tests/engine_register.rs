//! Containers that something else runs: registered over the control socket, watched, never started.

use serde_json::{Value, json};
use xconnect_tests::process::{self, Process};
use xconnect_tests::scene::{SERVICE, TARGET, wait_audit};
use xconnect_tests::{Container, Engine, Scene, State, ensure, eventually, run};

fn provides(name: &str) -> Value {
    json!({"services.json": {"services": [{"name": name, "type": "unix", "socket": "/srv/ext.sock"}]}})
}

fn requires(name: &str) -> Value {
    json!({"run.json": {"services": {"required": [{"name": name, "target": TARGET}]}}})
}

#[track_caller]
fn post(engine: &Engine, name: &str, pid: u32, manifests: &Value) -> xconnect_tests::http::Response {
    engine.call(
        "POST",
        &format!("/containers/{name}"),
        json!({"pid": pid, "manifests": manifests}).to_string(),
    )
}

#[track_caller]
fn register(engine: &Engine, name: &str, pid: u32, manifests: &Value) {
    let response = post(engine, name, pid, manifests);
    assert_eq!((response.status, response.body.as_str()), (200, ""), "{name}");
}

#[track_caller]
fn unregister(engine: &Engine, name: &str) {
    let response = engine.call("DELETE", &format!("/containers/{name}"), "");
    assert_eq!((response.status, response.body.as_str()), (200, ""), "{name}");
}

#[track_caller]
fn wait_gone(engine: &Engine, name: &str) {
    eventually(format_args!("{name} is gone"), || {
        ensure(engine.find("/containers", name).is_err(), "it is listed")?;
        let graph = engine.get("/xconnect-graph").to_string();
        ensure(!graph.contains(&format!("\"{name}\"")), graph)
    });
}

#[test]
fn a_registered_container_consumes_until_it_is_taken_off() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let engine = &scene.engine;
        for external in [Container::start(sandbox), Container::start_in_user_namespace(sandbox)] {
            register(engine, "ext", external.pid(), &requires("raw"));
            let link = engine.wait_link("ext", "up");
            assert_eq!(link["consumer_pid"], external.pid());
            let entry = engine.find("/containers", "ext").unwrap();
            assert_eq!((&entry["status"], &entry["pid"]), (&json!("STARTED"), &json!(external.pid())));
            let connection = external.connect(TARGET);
            connection.echo(b"from outside");
            unregister(engine, "ext");
            wait_gone(engine, "ext");
            assert!(connection.ends(), "its connections are cut");
            eventually("the socket is removed", || ensure(!external.exists(TARGET), "it is there"));
            assert!(process::start_time(external.pid()) > 0, "it runs on");
        }
        let events: Vec<_> = wait_audit(engine, 5).iter().map(|e| e["event"].clone()).collect();
        assert_eq!(events, ["applied", "registered", "unregistered", "registered", "unregistered"]);
        let entry = &engine.get("/audit")[1];
        assert_eq!(entry["author"], json!({"via": "control socket", "uids": [0], "pid": std::process::id()}));
        assert_eq!(entry["containers"]["added"], json!(["ext"]));
        scene.echoes();
    });
}

#[test]
fn a_registered_container_provides_and_its_death_makes_the_link_wait() {
    run(|sandbox| {
        let state = State::new(sandbox);
        state.add("client", |run| run["services"] = json!({"optional": [{"name": "ext", "target": TARGET}]}));
        let engine = Engine::start(sandbox, &state);
        engine.running("client");
        assert_eq!(engine.get("/xconnect-graph"), json!([]));
        let external = Container::start(sandbox);
        let _server = external.listen("/srv/ext.sock").echo();
        register(&engine, "ext", external.pid(), &provides("ext"));
        engine.wait_link("client", "up");
        engine.agent("client").connect(TARGET).echo(b"to outside");

        external.kill();
        let link = engine.wait_link("client", "waiting");
        assert_eq!(link["provider_pid"], -1);
        let entry = engine.wait_container("ext", "STOPPED");
        assert_eq!((&entry["pid"], &entry["last_exit"]), (&json!(-1), &json!("exit status unknown")));

        let next = Container::start(sandbox);
        let _server = next.listen("/srv/ext.sock").echo();
        register(&engine, "ext", next.pid(), &provides("ext"));
        assert_eq!(engine.wait_link("client", "up")["provider_pid"], next.pid());
        engine.agent("client").connect(TARGET).echo(b"to the next one");
        unregister(&engine, "ext");
        wait_gone(&engine, "ext");
    });
}

#[test]
fn registered_containers_survive_a_crash_of_the_engine() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (stays, dies) = (Container::start(sandbox), Container::start(sandbox));
        register(&scene.engine, "stays", stays.pid(), &requires("raw"));
        register(&scene.engine, "dies", dies.pid(), &requires("raw"));
        scene.engine.wait_link("stays", "up");
        scene.engine.wait_link("dies", "up");
        let connection = stays.connect(TARGET);
        scene.engine.kill();
        dies.kill();
        connection.echo(b"without an engine");
        scene.engine.start_again();
        let link = scene.engine.wait_link("stays", "up");
        assert_eq!(link["consumer_pid"], stays.pid());
        connection.echo(b"under the next engine");
        assert!(scene.engine.find("/containers", "dies").is_err(), "a dead one is forgotten");
        unregister(&scene.engine, "stays");
        wait_gone(&scene.engine, "stays");
        scene.engine.kill();
        scene.engine.start_again();
        scene.engine.running("client");
        assert!(scene.engine.find("/containers", "stays").is_err(), "who was taken off stays so");
    });
}

#[test]
fn a_container_of_type_external_is_the_state_directorys_and_registered_without_manifests() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        let run = json!({"type": "external", "services": {"required": [{"name": "raw", "target": TARGET}]}});
        state.write("lxc/run.json", run.to_string());
        let mut scene = Scene::of(sandbox, state);
        scene.engine.wait_link("lxc", "waiting");
        let external = Container::start(sandbox);
        assert_eq!(post(&scene.engine, "lxc", external.pid(), &requires("raw")).status, 409);
        register(&scene.engine, "lxc", external.pid(), &json!({}));
        scene.engine.wait_link("lxc", "up");
        let connection = external.connect(TARGET);
        connection.echo(b"linked");
        scene.engine.kill();
        scene.engine.start_again();
        scene.engine.wait_link("lxc", "up");
        connection.echo(b"adopted");
        assert_eq!(scene.engine.action("containers/lxc", "stop").status, 409);
        unregister(&scene.engine, "lxc");
        assert_eq!(scene.engine.wait_link("lxc", "waiting")["consumer_pid"], -1);
        assert!(Process::open(external.pid()).unwrap().is_alive());
    });
}

#[test]
fn contradictions_are_conflicts_and_change_nothing() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let engine = &scene.engine;
        let external = Container::start(sandbox);
        let refused = |response: xconnect_tests::http::Response, status: u16, part: &str| {
            assert_eq!(response.status, status, "{response:?}");
            assert!(response.error().contains(part), "{response:?} lacks {part}");
        };
        refused(post(engine, "client", external.pid(), &json!({})), 422, "no manifests are sent");
        refused(post(engine, "client", external.pid(), &requires("raw")), 409, "is in the state directory");
        let gone = Container::start(sandbox);
        let pid = gone.pid();
        gone.kill();
        refused(post(engine, "ext", pid, &requires("raw")), 409, &format!("process {pid}"));
        let body = json!({"pid": external.pid(), "start": 1, "manifests": requires("raw")});
        refused(engine.call("POST", "/containers/ext", body.to_string()), 409, "process");
        refused(post(engine, "ext", 0, &requires("raw")), 409, "process 0");
        refused(engine.call("DELETE", "/containers/client", ""), 409, "is run by this engine");
        refused(engine.call("DELETE", "/containers/ext", ""), 404, "Container not found");
        assert!(engine.find("/containers", "ext").is_err());
        scene.echoes();
    });
}

#[test]
fn refused_manifests_are_told_with_file_and_place() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let engine = &scene.engine;
        let external = Container::start(sandbox);
        let refused = |name: &str, manifests: Value, part: &str| {
            let response = post(engine, name, external.pid(), &manifests);
            assert_eq!(response.status, 422, "{response:?}");
            assert!(response.error().contains(part), "{response:?} lacks {part}");
        };
        let both = json!({
            "services.json": {"services": [{"name": "x", "type": "unix", "socket": "srv"}]},
            "run.json": {"services": {"required": [{"name": "raw", "target": "/proc/x"}]}},
        });
        refused("ext", both.clone(), "ext/services.json: services[0].socket: must be absolute");
        refused("ext", both, "ext/run.json: services.required[0].target: ");
        refused("ext", requires("nobody-provides-this"), "ext/run.json: services.required[0]");
        refused("ext", provides("raw"), "raw");
        refused("ext", json!({"device.json": {}}), "ext/device.json: is no manifest");
        refused("ext", json!({"../client/run.json": {}}), "is no manifest");
        refused("ext", json!({"run.json": {"name": "other"}}), "must be the name of its folder");
        refused("_pv_", requires("raw"), "stands for the host");
        refused("a%2Fb", requires("raw"), "name");
        refused("%20", requires("raw"), "name");
        assert!(engine.find("/containers", "ext").is_err());
        wait_audit(engine, 1);
        assert_eq!(scene.link()["status"], "up");
        assert_eq!(engine.agent("server").list("/run"), ["pod.sock", SERVICE.trim_start_matches("/run/")]);
    });
}

#[test]
fn a_registered_container_gives_way_to_the_state_directory_and_can_come_back() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let engine = &scene.engine;
        let external = Container::start(sandbox);
        register(engine, "ext", external.pid(), &requires("raw"));
        engine.wait_link("ext", "up");
        scene.state.add_consumer("ext", &json!([{"name": "raw", "target": TARGET}]));
        eventually("the engine's own runs", || {
            ensure(engine.running("ext") != external.pid(), "the registered one")?;
            let link = engine.wait_link("ext", "up");
            ensure(link["consumer_pid"] == engine.running("ext"), link)
        });
        assert!(Process::open(external.pid()).unwrap().is_alive());
        eventually("the registered one has lost its socket", || {
            ensure(!external.exists(TARGET), "it is there")
        });
        assert_eq!(engine.call("DELETE", "/containers/ext", "").status, 409);

        std::fs::remove_dir_all(scene.state.dir.join("ext")).unwrap();
        wait_gone(engine, "ext");
        register(engine, "ext", external.pid(), &requires("raw"));
        assert_eq!(engine.wait_link("ext", "up")["consumer_pid"], external.pid());
        unregister(engine, "ext");
        wait_gone(engine, "ext");
    });
}
