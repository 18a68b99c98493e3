//! What follows the end of a container, and in which order containers start.

use serde_json::json;
use xconnect_tests::http::Response;
use xconnect_tests::process::Process;
use xconnect_tests::scene::{call_from, with_control_socket};
use xconnect_tests::{Engine, State, ensure, eventually, run};

#[track_caller]
fn refused(response: &Response, status: u16, text: &str) {
    assert_eq!((response.status, response.error().as_str()), (status, text));
}

#[track_caller]
fn done(response: &Response) {
    assert_eq!((response.status, response.body.as_str()), (200, ""));
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
                run["auto_recovery"] =
                    json!({"policy": "on-failure", "retry_delay": "1h", "max_delay": "2h"});
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
