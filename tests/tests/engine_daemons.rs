//! The mesh as a managed daemon: listed, stopped, started, started again when it dies.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use xconnect_tests::process::Process;
use xconnect_tests::scene::TARGET;
use xconnect_tests::{Engine, Kind, Scene, ensure, eventually, run};

const NAME: &str = "pv-xconnect";

fn act(engine: &Engine, action: &str) {
    let response = engine.action(&format!("daemons/{NAME}"), action);
    assert_eq!((response.status, response.body.as_str()), (200, ""), "{action}");
}

#[test]
fn a_stopped_daemon_takes_its_links_along_and_stays_stopped_until_it_is_started() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (pids, mesh) = (scene.pids(), scene.mesh());
        assert_eq!(scene.engine.get("/daemons"), json!([{"name": NAME, "pid": mesh, "respawn": true}]));
        let connection = scene.connect();
        act(&scene.engine, "start");
        assert_eq!(scene.mesh(), mesh, "a running one is left alone");

        act(&scene.engine, "stop");
        assert_eq!(scene.engine.get("/daemons"), json!([{"name": NAME, "pid": -1, "respawn": false}]));
        assert!(Process::open(mesh).is_err() || !Process::open(mesh).unwrap().is_alive());
        assert!(connection.ends());
        let client = scene.engine.agent("client");
        assert!(!client.exists(TARGET), "the socket is removed");
        assert!(client.try_connect(TARGET, Kind::Stream).is_err());
        let link = scene.link();
        assert_eq!(link["status"], "declared");
        assert!(
            link["reason"].as_str().is_some_and(|why| why.starts_with("pv-xconnect does not answer: ")),
            "{link}"
        );
        // A restart of a container, of which the mesh would hear, starts no daemon.
        assert_eq!(scene.engine.action("containers/server", "restart").status, 200);
        eventually("another server runs", || ensure(scene.engine.running("server") != pids.1, "the old one"));
        assert_eq!(scene.engine.instances(NAME), [0; 0]);
        act(&scene.engine, "stop");

        act(&scene.engine, "start");
        assert_ne!(scene.mesh(), mesh);
        scene.serve();
        scene.echoes();
        assert_eq!(scene.pids().0, pids.0);
        assert_eq!(scene.engine.get("/daemons")[0]["respawn"], true);
    });
}

#[test]
fn a_restart_gives_another_mesh_with_the_same_links() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (pids, mesh) = (scene.pids(), scene.mesh());
        act(&scene.engine, "restart");
        assert_ne!(scene.mesh(), mesh);
        scene.echoes();
        assert_eq!(scene.pids(), pids);
        assert_eq!(scene.engine.instances(NAME), [scene.mesh()]);
    });
}

#[test]
fn a_killed_daemon_is_started_again_and_again_each_time_after_a_longer_wait() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        for least in [100, 200, 400] {
            let mesh = scene.engine.daemon(NAME);
            let killed = Instant::now();
            mesh.kill();
            eventually("another one runs", || {
                ensure(scene.engine.daemon(NAME).pid != mesh.pid, "the dead one is shown")
            });
            assert!(killed.elapsed() >= Duration::from_millis(least), "started at once");
            scene.echoes();
        }
        assert_eq!(scene.engine.instances(NAME), [scene.mesh()]);
    });
}

#[test]
fn a_daemon_that_waits_for_its_next_start_can_be_started_at_once_or_stopped() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        scene.engine.daemon(NAME).kill();
        act(&scene.engine, "start");
        scene.echoes();
        scene.engine.daemon(NAME).kill();
        act(&scene.engine, "stop");
        assert_eq!(scene.engine.get("/daemons")[0]["respawn"], false);
        act(&scene.engine, "restart");
        scene.echoes();
    });
}

#[test]
fn a_stopped_daemon_is_what_the_next_engine_starts() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        act(&scene.engine, "stop");
        scene.engine.kill();
        scene.engine.start_again();
        scene.echoes();
    });
}

#[test]
fn an_unknown_daemon_or_action_is_refused_and_nothing_is_done() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let mesh = scene.mesh();
        let engine = &scene.engine;
        let check = |response: xconnect_tests::http::Response, status, text: &str| {
            assert_eq!((response.status, response.error().as_str()), (status, text));
        };
        check(engine.action("daemons/nobody", "stop"), 404, "Daemon not found");
        check(engine.action("daemons/", "stop"), 400, "Missing daemon name");
        let text = "Invalid action. Use 'start', 'stop', or 'restart'";
        check(engine.action(&format!("daemons/{NAME}"), "kill"), 400, text);
        check(engine.call("PUT", "/daemons/pv-xconnect", "{}"), 400, "Missing 'action' field");
        check(
            engine.call("DELETE", "/daemons/pv-xconnect", ""),
            400,
            "Method not supported for this endpoint",
        );
        assert_eq!(scene.mesh(), mesh);
        scene.echoes();
    });
}

#[test]
fn a_mesh_that_hangs_does_not_hang_the_control_socket() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let mesh = scene.engine.daemon(NAME);
        mesh.signal(Signal::STOP);
        let link = scene.link();
        assert_eq!(link["status"], "declared");
        assert!(
            link["reason"].as_str().is_some_and(|why| why.starts_with("pv-xconnect does not answer: ")),
            "{link}"
        );
        let metrics = scene.engine.call("GET", "/metrics", "");
        assert_eq!(metrics.body.matches("# EOF").count(), 1, "{metrics:?}");
        assert!(metrics.body.contains("pv_appengine_graph_links 1"), "{metrics:?}");
        mesh.signal(Signal::CONT);
        scene.echoes();
        assert_eq!(scene.mesh(), mesh.pid);
    });
}
