//! The audit log: who changed what, and when.

use std::fs;

use serde_json::{Value, json};
use xconnect_tests::scene::{revision, wait_audit, wait_revision_after};
use xconnect_tests::{Scene, State, run};

/// A container that runs beside the pair.
fn extra(state: &State, name: &str) -> String {
    state.run_json(name).to_string()
}

#[test]
fn the_audit_log_says_who_changed_what_and_only_grows() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (engine, state) = (&scene.engine, &scene.state);
        let log = state.dir.join(".xconnect/audit.log");
        wait_audit(engine, 1);
        let (first, lines) = (revision(engine), fs::read(&log).unwrap());
        let mut run = state.run_json("client");
        run["services"] = json!({"required": [{"name": "raw", "target": "/run/other.sock"}]});
        let new = sandbox.path().join("new.json");
        fs::write(&new, run.to_string()).unwrap();
        std::os::unix::fs::chown(&new, Some(4711), Some(4711)).unwrap();
        fs::rename(&new, state.dir.join("client/run.json")).unwrap();
        let second = wait_revision_after(engine, &first);
        state.write("third/run.json", extra(state, "third"));
        let third = wait_revision_after(engine, &second);

        let entries = wait_audit(engine, 3);
        let numbers: Vec<_> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let step = |at: usize| (entries[at]["from"].clone(), entries[at]["to"].clone());
        assert_eq!(step(0), (Value::Null, json!(first)));
        assert_eq!(step(1), (json!(first), json!(second)));
        assert_eq!(step(2), (json!(second), json!(third)));
        assert_eq!(
            entries[0]["files"]["added"],
            json!(["client/run.json", "server/run.json", "server/services.json"])
        );
        assert_eq!(entries[0]["links"]["added"], json!(["client:/run/in.sock (raw)"]));
        let changed = &entries[1];
        assert_eq!(changed["event"], "applied");
        assert_eq!(changed["author"], json!({"via": "state directory", "uids": [4711]}));
        assert_eq!(changed["files"], json!({"added": [], "removed": [], "changed": ["client/run.json"]}));
        assert_eq!(changed["containers"], json!({"added": [], "removed": [], "changed": ["client"]}));
        assert_eq!(
            changed["links"],
            json!({"added": ["client:/run/other.sock (raw)"], "removed": ["client:/run/in.sock (raw)"], "changed": []})
        );

        let since = |text: &str| -> Vec<u64> {
            let entries = engine.get(&format!("/audit?since={text}"));
            entries.as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
        };
        assert_eq!(since("1"), [2, 3]);
        assert_eq!(since("3"), [0; 0]);
        assert_eq!(since("1970-01-01T00:00:00Z"), [1, 2, 3]);
        assert_eq!(since(changed["time"].as_str().unwrap()), [3]);
        assert_eq!(engine.call("GET", "/audit?since=yesterday", "").status, 400);

        assert!(fs::read(&log).unwrap().starts_with(&lines), "what was written stays");
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 3);
    });
}

#[test]
fn the_audit_log_goes_on_over_a_crash_that_cut_its_last_line() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let log = scene.state.dir.join(".xconnect/audit.log");
        wait_audit(&scene.engine, 1);
        scene.engine.kill();
        let mut text = fs::read(&log).unwrap();
        text.extend_from_slice(br#"{"seq":2,"time":"2026-01-0"#);
        fs::write(&log, &text).unwrap();
        scene.engine.start_again();
        let before = revision(&scene.engine);
        scene.state.write("more/run.json", extra(&scene.state, "more"));
        wait_revision_after(&scene.engine, &before);
        let entries = wait_audit(&scene.engine, 2);
        assert_eq!(entries[1]["seq"], 2, "{entries:?}");
        assert!(fs::read(&log).unwrap().starts_with(&text));
    });
}
