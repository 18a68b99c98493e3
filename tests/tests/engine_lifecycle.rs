//! Start, stop, restart, recovery and groups of containers, over the control socket.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use xconnect_tests::http::Response;
use xconnect_tests::process::Process;
use xconnect_tests::scene::TARGET;
use xconnect_tests::{Engine, OrFail, Scene, State, ensure, eventually, run};

#[track_caller]
fn refused(response: &Response, status: u16, text: &str) {
    assert_eq!((response.status, response.error().as_str()), (status, text));
}

#[track_caller]
fn done(response: &Response) {
    assert_eq!((response.status, response.body.as_str()), (200, ""));
}

#[test]
fn every_refusal_of_an_action_has_pantavisors_code_and_text() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        state.add("fixed", |run| run["restart_policy"] = json!("system"));
        let scene = Scene::of(sandbox, state);
        let engine = &scene.engine;
        let fixed = engine.running("fixed");
        let pids = scene.pids();
        let put = |path: &str, body: &str| engine.call("PUT", path, body);
        for action in ["start", "stop", "restart"] {
            let text = "Container has restart_policy 'system' and cannot be controlled via API";
            refused(&engine.action("containers/fixed", action), 403, text);
            refused(&engine.action("containers/nobody", action), 404, "Container not found");
        }
        let action = r#"{"action":"restart"}"#;
        refused(&put("/containers/", action), 400, "Missing container name");
        refused(&put("/containers", action), 400, "Missing container name");
        refused(&put("/containers/client", ""), 400, "No data");
        refused(&put("/containers/client", "restart"), 400, "Invalid JSON");
        refused(&put("/containers/client", r#"{"action":"restart","now":true}"#), 400, "Invalid JSON");
        refused(&put("/containers/client", "{}"), 400, "Missing 'action' field");
        let text = "Invalid action. Use 'start', 'stop', or 'restart'";
        refused(&put("/containers/client", r#"{"action":"pause"}"#), 400, text);
        refused(&put("/containers/client", r#"{"action":7}"#), 400, text);
        let long = format!("{{\"action\":\"restart\"{}}}", " ".repeat(1024));
        refused(&put("/containers/client", &long), 413, "Body is larger than 1024 bytes");
        refused(
            &engine.call("PATCH", "/containers/client", action),
            400,
            "Method not supported for this endpoint",
        );
        refused(&engine.call("GET", "/containers/client", ""), 400, "Method not supported for this endpoint");
        assert_eq!((engine.running("fixed"), scene.pids()), (fixed, pids), "nothing was done");
    });
}

#[test]
fn a_stopped_container_stays_stopped_until_it_is_started() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (client, server) = scene.pids();
        done(&scene.engine.action("containers/server", "start"));
        done(&scene.engine.action("containers/server", "stop"));
        let entry = scene.engine.wait_container("server", "STOPPED");
        assert_eq!((&entry["user_stopped"], &entry["pid"]), (&json!("true"), &json!(-1)), "{entry}");
        assert_eq!((&entry["uptime_secs"], &entry["last_exit"]), (&json!(0), &json!("killed by signal 9")));
        let link = scene.engine.wait_link("client", "waiting");
        assert!(link["reason"].as_str().is_some_and(|why| why.contains("not running")), "{link}");
        assert_eq!(link["provider_pid"], -1);
        // A new revision brings nothing back that an operator stopped.
        scene.state.add("other", |_| {});
        scene.engine.running("other");
        assert_eq!(scene.engine.find("/containers", "server").unwrap()["status"], "STOPPED");
        done(&scene.engine.action("containers/server", "stop"));

        done(&scene.engine.action("containers/server", "start"));
        let again = scene.engine.running("server");
        assert_ne!(again, server);
        assert_eq!(scene.engine.find("/containers", "server").unwrap()["user_stopped"], "false");
        scene.serve();
        let link = scene.engine.wait_link("client", "up");
        assert_eq!((&link["provider_pid"], &link["consumer_pid"]), (&json!(again), &json!(client)));
        scene.echoes();
    });
}

#[test]
fn a_restart_gives_another_process_and_its_link_comes_back_to_it() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (client, server) = scene.pids();
        let held = Process::open(server).unwrap();
        done(&scene.engine.action("containers/server", "restart"));
        assert!(held.ends());
        eventually("another server runs", || ensure(scene.engine.running("server") != server, "the old one"));
        scene.serve();
        let link = scene.engine.wait_link("client", "up");
        assert_eq!(link["provider_pid"], scene.engine.running("server"));
        scene.echoes();

        let connection = scene.connect();
        done(&scene.engine.action("containers/client", "restart"));
        assert!(connection.ends(), "the old consumer's connection is cut");
        eventually("another client runs", || ensure(scene.engine.running("client") != client, "the old one"));
        eventually("the link is planted in it", || {
            let link = scene.engine.wait_link("client", "up");
            ensure(link["consumer_pid"] == scene.engine.running("client"), link)
        });
        scene.echoes();
        assert_eq!(scene.engine.find("/containers", "client").unwrap()["user_stopped"], "false");
    });
}

#[test]
fn the_exit_code_of_a_container_is_shown_and_without_a_policy_it_stays_ended() {
    run(|sandbox| {
        let state = State::new(sandbox);
        for name in ["seven", "zero"] {
            state.add(name, |_| {});
        }
        let engine = Engine::start(sandbox, &state);
        for (name, code, text) in [("seven", 7, "exit code 7"), ("zero", 0, "exit code 0")] {
            engine.agent(name).exit(code);
            let entry = engine.wait_container(name, "STOPPED");
            assert_eq!(entry["last_exit"], text);
            assert_eq!(entry["user_stopped"], "false");
        }
        let seven = engine.find("/containers", "seven").unwrap();
        assert_eq!(seven["auto_recovery"]["current_retries"], 0);
    });
}

#[test]
fn uptime_is_counted_from_the_start_of_the_process() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        eventually("a second passes", || {
            let uptime = scene.engine.find("/containers", "client")?["uptime_secs"].clone();
            ensure(uptime.as_u64() >= Some(1), uptime)
        });
        scene.engine.kill();
        scene.engine.start_again();
        let entry = scene.engine.find("/containers", "client").unwrap();
        assert!(entry["uptime_secs"].as_u64() >= Some(1), "an adopted one keeps it: {entry}");
    });
}

#[test]
fn an_operators_stop_survives_a_crash_of_the_engine() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        done(&scene.engine.action("containers/server", "stop"));
        scene.engine.wait_container("server", "STOPPED");
        scene.engine.kill();
        scene.engine.start_again();
        scene.engine.running("client");
        let entry = scene.engine.wait_container("server", "STOPPED");
        assert_eq!(entry["user_stopped"], "true");
        done(&scene.engine.action("containers/server", "start"));
        scene.serve();
        scene.echoes();
    });
}

#[test]
fn containers_have_namespaces_a_volatile_root_and_a_log() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (client, server) = scene.pids();
        for kind in ["mnt", "pid", "net", "ipc", "uts"] {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).or_fail(kind);
            let all = [of("self"), of(&client.to_string()), of(&server.to_string())];
            assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{kind}: {all:?}");
        }
        let agent = scene.engine.agent("client");
        agent.write("/etc/scratch", "x");
        scene.engine.agent("server").stat("/etc/scratch").expect_err("each has its own layer");
        done(&scene.engine.action("containers/client", "restart"));
        eventually("another client runs", || ensure(scene.engine.running("client") != client, "the old one"));
        scene.engine.agent("client").stat("/etc/scratch").expect_err("the layer goes with the run");
        eventually("its output is in its log", || {
            let log =
                fs::read_to_string(sandbox.run_dir().join("logs/client.log")).map_err(|e| e.to_string())?;
            ensure(log.contains("serving"), log)
        });
        scene.engine.wait_link("client", "up");
        assert!(scene.engine.agent("client").stat(TARGET).unwrap().is_socket());
    });
}

#[test]
fn a_process_that_hangs_is_ended_all_the_same() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (client, _) = scene.pids();
        let held = Process::open(client).unwrap();
        held.signal(Signal::STOP);
        done(&scene.engine.action("containers/client", "stop"));
        assert!(held.ends());
        let entry = scene.engine.wait_container("client", "STOPPED");
        assert_eq!(entry["last_exit"], "killed by signal 9");
        let link = scene.engine.wait_link("client", "waiting");
        assert_eq!(link["consumer_pid"], -1);
        assert_eq!(link["counters"].get("connections").map(Value::is_object), Some(true), "{link}");
    });
}

#[test]
fn a_stop_asks_first_and_kills_after_the_grace() {
    run(|sandbox| {
        let state = State::new(sandbox);
        // A shell, with the host's programs: it has handlers of its own.
        let add = |name: &str, script: &str| {
            state.add(name, |run| {
                run["exec"] = json!(["/usr/bin/sh", "-c", script]);
                for dir in ["/usr", "/lib", "/lib64"].into_iter().filter(|dir| fs::exists(dir).unwrap_or(false)) {
                    let bind = json!({"destination": dir, "type": "bind", "source": dir, "options": ["rbind", "ro"]});
                    run["mounts"].as_array_mut().or_fail("mounts").push(bind);
                }
            });
        };
        add("polite", "trap 'exit 9' TERM; echo set; sleep 1000 & wait");
        add("stubborn", "trap '' TERM; echo set; while :; do sleep 1000; done");
        let engine = Engine::start(sandbox, &state);
        for (name, end) in [("polite", "exit code 9"), ("stubborn", "killed by signal 9")] {
            eventually("its handler is set", || {
                let log = fs::read_to_string(sandbox.run_dir().join(format!("logs/{name}.log")));
                ensure(log.is_ok_and(|log| log.contains("set")), name)
            });
            done(&engine.action(&format!("containers/{name}"), "stop"));
            assert_eq!(engine.wait_container(name, "STOPPED")["last_exit"], end);
        }
    });
}
