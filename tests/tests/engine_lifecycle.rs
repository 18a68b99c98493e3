//! Start, stop, restart, recovery and groups of containers, over the control socket.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use xconnect_tests::http::Response;
use xconnect_tests::process::Process;
use xconnect_tests::scene::{TARGET, call_from, with_control_socket};
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
fn a_container_that_waits_for_its_group_can_be_neither_started_nor_restarted() {
    run(|sandbox| {
        let state = State::new(sandbox);
        let groups = json!({"groups": [{"name": "first", "status_goal": "READY", "timeout": 600}, {"name": "second"}]});
        state.write("device.json", groups.to_string());
        state.add("early", |run| run["group"] = json!("first"));
        state.add("late", |run| run["group"] = json!("second"));
        let engine = Engine::start(sandbox, &state);
        engine.running("early");
        let text = "Container must be in STOPPED, STOPPING, or RECOVERING state to start";
        refused(&engine.action("containers/late", "start"), 400, text);
        refused(&engine.action("containers/late", "restart"), 400, "Container state does not allow restart");
        assert_eq!(engine.find("/containers", "late").unwrap()["pid"], -1);
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
fn on_failure_restarts_after_an_error_and_not_after_success() {
    run(|sandbox| {
        let state = State::new(sandbox);
        state.add("job", |run| run["auto_recovery"] = json!({"policy": "on-failure"}));
        let engine = Engine::start(sandbox, &state);
        for retries in 1..=2 {
            let pid = engine.running("job");
            engine.agent("job").exit(3);
            eventually("it runs again", || {
                let entry = engine.find("/containers", "job")?;
                ensure(entry["status"] == "STARTED" && entry["pid"] != pid, &entry)?;
                assert_eq!(entry["auto_recovery"]["current_retries"], retries, "{entry}");
                Ok::<_, String>(())
            });
        }
        let pid = engine.running("job");
        Process::open(pid).unwrap().kill();
        eventually("it runs again after a signal", || {
            let entry = engine.find("/containers", "job")?;
            ensure(entry["status"] == "STARTED" && entry["pid"] != pid, &entry)?;
            assert_eq!(entry["last_exit"], "killed by signal 9");
            Ok::<_, String>(())
        });
        engine.agent("job").exit(0);
        let entry = engine.wait_container("job", "STOPPED");
        assert_eq!((&entry["last_exit"], &entry["pid"]), (&json!("exit code 0"), &json!(-1)));
        done(&engine.action("containers/job", "start"));
        engine.running("job");
        let entry = engine.find("/containers", "job").unwrap();
        assert_eq!(entry["auto_recovery"]["current_retries"], 0, "an operator's start begins anew");
    });
}

#[test]
fn used_up_retries_leave_a_container_stopped_and_say_so() {
    run(|sandbox| {
        let state = State::new(sandbox);
        state.add("broken", |run| {
            run["exec"] = json!(["/pod", "exit", "9", sandbox.path()]);
            run["auto_recovery"] = json!({"policy": "always", "max_retries": 2, "backoff_policy": "never"});
        });
        state.add("absent", |run| run["exec"] = json!(["/no/such/program"]));
        let engine = Engine::start(sandbox, &state);
        eventually("it is given up", || {
            let entry = engine.find("/containers", "broken")?;
            ensure(entry["reason"] == "retries used up: exit code 9", &entry)?;
            assert_eq!(entry["auto_recovery"]["current_retries"], 2);
            ensure(entry["status"] == "STOPPED", &entry)
        });
        let entry = engine.wait_container("absent", "STOPPED");
        assert_eq!(entry["last_exit"], "could not be created");
        assert!(entry["reason"].as_str().is_some_and(|why| why.contains("/no/such/program")), "{entry}");
    });
}

#[test]
fn a_container_in_recovery_can_be_started_at_once_and_stopped_for_good() {
    run(|sandbox| {
        let state = State::new(sandbox);
        for name in ["one", "two"] {
            state.add(name, |run| {
                run["auto_recovery"] = json!({"policy": "on-failure", "retry_delay": "1h", "max_delay": "2h"})
            });
        }
        let engine = Engine::start(sandbox, &state);
        for name in ["one", "two"] {
            engine.agent(name).exit(1);
            engine.wait_container(name, "RECOVERING");
        }
        done(&engine.action("containers/one", "start"));
        engine.running("one");
        done(&engine.action("containers/two", "stop"));
        assert_eq!(engine.wait_container("two", "STOPPED")["user_stopped"], "true");
    });
}

#[test]
fn groups_start_in_order_and_a_goal_of_ready_waits_for_the_signal() {
    run(|sandbox| {
        let state = State::new(sandbox);
        let groups = json!({"groups": [
            {"name": "first", "status_goal": "READY", "timeout": 600},
            {"name": "second", "timeout": 600},
        ]});
        state.write("device.json", groups.to_string());
        let add = |name: &str, group: &str| {
            state.add(name, |run| {
                run["group"] = json!(group);
                with_control_socket(run, sandbox);
            });
        };
        add("early", "first");
        add("late", "second");
        let engine = Engine::start(sandbox, &state);
        let early = engine.agent("early");
        let late = engine.find("/containers", "late").unwrap();
        assert_eq!(late["pid"], -1, "{late}");
        assert!(["INSTALLED", "BLOCKED"].contains(&late["status"].as_str().unwrap()), "{late}");
        assert_eq!(engine.find("/groups", "first").unwrap()["status"], "STARTED");

        let signal = |agent, body: &str| call_from(agent, "POST", "/signal", body);
        let bad = signal(&early, r#"{"type":"alive","payload":""}"#);
        refused(&bad, 400, "Signal has bad format");
        assert_eq!(engine.find("/containers", "early").unwrap()["status"], "STARTED");
        done(&signal(&early, r#"{"type":"ready","payload":""}"#));
        engine.wait_container("early", "READY");
        engine.running("late");
        assert_eq!(engine.find("/groups", "first").unwrap()["status"], "READY");
        done(&signal(&early, r#"{"type":"ready","payload":""}"#));

        let text = "Signal not expected from this platform";
        refused(&signal(&engine.agent("late"), r#"{"type":"ready","payload":""}"#), 500, text);
        refused(&engine.call("POST", "/signal", r#"{"type":"ready","payload":""}"#), 500, text);
        assert_eq!(engine.find("/containers", "late").unwrap()["status"], "STARTED");
    });
}

#[test]
fn a_group_that_is_late_does_not_stop_the_next_one() {
    run(|sandbox| {
        let state = State::new(sandbox);
        let groups = json!({"groups": [{"name": "first", "status_goal": "READY", "timeout": 0.2}, {"name": "second"}]});
        state.write("device.json", groups.to_string());
        state.add("early", |run| run["group"] = json!("first"));
        state.add("late", |run| run["group"] = json!("second"));
        let engine = Engine::start(sandbox, &state);
        engine.running("late");
        assert_eq!(engine.find("/containers", "early").unwrap()["status"], "STARTED");
    });
}

#[test]
fn readiness_survives_a_crash_of_the_engine() {
    run(|sandbox| {
        let state = State::new(sandbox);
        state.add("early", |run| {
            run["status_goal"] = json!("READY");
            with_control_socket(run, sandbox);
        });
        let mut engine = Engine::start(sandbox, &state);
        let agent = engine.agent("early");
        done(&call_from(&agent, "POST", "/signal", r#"{"type":"ready","payload":""}"#));
        let pid = engine.wait_container("early", "READY")["pid"].clone();
        engine.kill();
        engine.start_again();
        assert_eq!(engine.wait_container("early", "READY")["pid"], pid);
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
fn a_process_that_ignores_sigterm_is_killed_after_the_grace() {
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
