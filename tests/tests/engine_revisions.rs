//! From a change of the state directory to a revision: seen however it is made, applied whole or refused
//! whole, recorded.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use xconnect_tests::process::Process;
use xconnect_tests::scene::{self, revision, wait_accepted, wait_audit, wait_refused, wait_revision_after};
use xconnect_tests::{Engine, OrFail, Sandbox, Scene, State, engine, ensure, eventually, run};

/// A container that runs beside the pair.
fn extra(state: &State, name: &str) -> String {
    state.run_json(name).to_string()
}

fn has(engine: &Engine, name: &str) -> bool {
    engine.find("/containers", name).is_ok()
}

fn wait_gone(engine: &Engine, name: &str) {
    eventually(format_args!("{name} is gone"), || ensure(!has(engine, name), "it is there"));
}

#[test]
fn every_way_to_change_the_directory_is_a_revision() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (engine, state) = (&scene.engine, &scene.state);
        let pids = scene.pids();
        let mut present = revision(engine);
        let step = |what: &str, present: &mut String| {
            let next = wait_revision_after(engine, present);
            assert!(!next.is_empty(), "{what}");
            *present = next;
        };

        fs::create_dir(state.dir.join("written")).unwrap();
        fs::write(state.dir.join("written/run.json"), extra(state, "written")).unwrap();
        step("a new folder with a file written into it", &mut present);
        let first = engine.running("written");

        let mut changed = state.run_json("written");
        changed["env"].as_array_mut().unwrap().push(json!("CHANGED=1"));
        fs::write(state.dir.join("written/run.json"), changed.to_string()).unwrap();
        step("a file written over", &mut present);
        eventually("the changed container runs anew", || {
            ensure(engine.running("written") != first, "still the old process")
        });

        let aside = sandbox.path().join("aside.json");
        fs::write(&aside, extra(state, "written")).unwrap();
        fs::rename(&aside, state.dir.join("written/run.json")).unwrap();
        step("a file renamed over another", &mut present);

        fs::write(&aside, extra(state, "linked")).unwrap();
        fs::create_dir(state.dir.join("linked")).unwrap();
        fs::hard_link(&aside, state.dir.join("linked/run.json")).unwrap();
        step("a hard link", &mut present);
        engine.running("linked");

        fs::remove_file(state.dir.join("linked/run.json")).unwrap();
        step("a removed file", &mut present);
        wait_gone(engine, "linked");

        let folder = sandbox.new_dir("folder");
        fs::write(folder.join("run.json"), extra(state, "moved")).unwrap();
        fs::rename(&folder, state.dir.join("moved")).unwrap();
        step("a whole folder moved in", &mut present);
        engine.running("moved");

        fs::remove_dir_all(state.dir.join("moved")).unwrap();
        step("a removed folder", &mut present);
        wait_gone(engine, "moved");

        assert_eq!(scene.pids(), pids, "the others were left alone");
        scene.echoes();
    });
}

#[test]
fn another_directory_in_the_place_of_the_state_is_a_revision() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (engine, state) = (&scene.engine, &scene.state);
        let (before, pids) = (revision(engine), scene.pids());
        let next = sandbox.new_dir("next");
        for name in ["client", "server"] {
            fs::create_dir(next.join(name)).unwrap();
        }
        for file in ["client/run.json", "server/run.json", "server/services.json"] {
            fs::copy(state.dir.join(file), next.join(file)).unwrap();
        }
        fs::create_dir(next.join("more")).unwrap();
        fs::write(next.join("more/run.json"), extra(state, "more")).unwrap();
        let old = sandbox.path().join("old-state");
        fs::rename(&state.dir, &old).unwrap();
        fs::rename(&next, &state.dir).unwrap();
        let after = wait_revision_after(engine, &before);
        engine.running("more");
        assert_eq!(scene.pids(), pids);
        let recorded = wait_audit(engine, 2);
        let recorded: Vec<_> = recorded.iter().map(|entry| entry["to"].clone()).collect();
        assert_eq!(recorded, [before.as_str(), after.as_str()], "the audit log goes along");
        for file in ["audit.log", "applied.json"] {
            assert!(state.dir.join(".xconnect").join(file).exists(), "{file}");
        }
        // The new directory is the one that is watched.
        fs::remove_dir_all(state.dir.join("more")).unwrap();
        assert_eq!(wait_revision_after(engine, &after), before, "the same manifests, the same revision");
    });
}

#[test]
fn an_invalid_change_is_refused_whole_with_every_error_and_mended_again() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (engine, state) = (&scene.engine, &scene.state);
        let (before, pids) = (revision(engine), scene.pids());
        let connection = scene.connect();
        let good = fs::read(state.dir.join("client/run.json")).unwrap();
        state.write("new/run.json", extra(state, "new"));
        let before = { wait_revision_after(engine, &before) };
        engine.running("new");

        // One swap of the directory brings two faults and a change that alone would be fine.
        let bad = sandbox.new_dir("bad");
        for file in ["client/run.json", "server/run.json", "server/services.json"] {
            fs::create_dir_all(bad.join(file).parent().unwrap()).unwrap();
            fs::copy(state.dir.join(file), bad.join(file)).unwrap();
        }
        let mut run = state.run_json("client");
        run["services"] = json!({"required": [{"name": "raw", "target": "run/in.sock"}]});
        fs::write(bad.join("client/run.json"), run.to_string()).unwrap();
        let services =
            json!({"services": [{"name": "raw", "type": "unix", "socket": "/run/raw.sock", "sokcet": 1}]});
        fs::write(bad.join("server/services.json"), services.to_string()).unwrap();
        let good_dir = sandbox.path().join("good-state");
        fs::rename(&state.dir, &good_dir).unwrap();
        fs::rename(&bad, &state.dir).unwrap();

        let errors = wait_refused(engine);
        let place = |start: &str| errors.iter().any(|error| error.starts_with(start));
        assert!(place("client/run.json: services.required[0].target: must be absolute"), "{errors:?}");
        assert!(place("server/services.json: services[0].sokcet: unknown key"), "{errors:?}");
        assert_eq!(revision(engine), before, "the old one stays in force");
        assert!(has(engine, "new"), "nothing of the refused state was done");
        assert_eq!(scene.pids(), pids);
        connection.echo(b"the link works on");
        let refused = wait_audit(engine, 3)[2].clone();
        assert_eq!((&refused["event"], &refused["errors"]), (&json!("refused"), &json!(errors)), "{refused}");
        assert_eq!((&refused["from"], &refused["to"]), (&json!(before), &Value::Null));

        fs::write(
            state.dir.join("server/services.json"),
            fs::read(good_dir.join("server/services.json")).unwrap(),
        )
        .unwrap();
        state.write("client/run.json", good);
        wait_revision_after(engine, &before);
        wait_gone(engine, "new");
        assert_eq!(scene.pids(), pids);
        connection.echo(b"and on");
    });
}

#[test]
fn the_same_content_in_another_layout_is_no_revision_and_restarts_nothing() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (engine, state) = (&scene.engine, &scene.state);
        let (before, pids) = (revision(engine), scene.pids());
        let since = engine.get("/revision")["since"].clone();
        let read = |file: &str| fs::read(state.dir.join(file)).unwrap();
        let (run, server) = (read("client/run.json"), read("server/run.json"));
        // A refused state on the way: that it is accepted again shows that the new layout was looked at.
        state.write("server/run.json", "{");
        wait_refused(engine);
        wait_audit(engine, 2);
        let run: Value = serde_json::from_slice(&run).unwrap();
        state.write("client/run.json", serde_json::to_string_pretty(&run).unwrap());
        state.write("server/run.json", server);
        wait_accepted(engine);
        assert_eq!((&revision(engine), &engine.get("/revision")["since"]), (&before, &since));
        state.write("mark/run.json", extra(state, "mark"));
        wait_revision_after(engine, &before);
        let entries = wait_audit(engine, 3);
        let events: Vec<_> = entries.iter().map(|entry| entry["event"].clone()).collect();
        assert_eq!(events, ["applied", "refused", "applied"], "{entries:?}");
        assert_eq!(entries[2]["containers"], json!({"added": ["mark"], "removed": [], "changed": []}));
        assert_eq!(scene.pids(), pids);
        scene.echoes();
    });
}

#[test]
fn a_change_of_needs_alone_moves_the_link_and_restarts_nothing() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (pids, connection) = (scene.pids(), scene.connect());
        let client = scene.engine.agent("client");
        scene.state.add_consumer("client", &json!([{"name": "raw", "target": "/run/other.sock"}]));
        eventually("the link is where it is wanted", || {
            let link = scene.engine.wait_link("client", "up");
            ensure(link["target"] == "/run/other.sock", link)
        });
        client.connect("/run/other.sock").echo(b"moved");
        assert!(connection.ends(), "the connection of the removed link is cut");
        eventually("the old socket is removed", || ensure(!client.exists(scene::TARGET), "it is there"));
        assert_eq!(scene.pids(), pids);

        let services = json!([{"name": "raw", "type": "unix", "socket": "/run/new.sock"}]);
        let _server = scene.engine.agent("server").listen("/run/new.sock").echo();
        scene.state.add_provider("server", &services);
        eventually("the link leads to the new place", || {
            let link = scene.engine.wait_link("client", "up");
            ensure(link["socket"] == "/run/new.sock", link)
        });
        client.connect("/run/other.sock").echo(b"to the new place");
        assert_eq!(scene.pids(), pids);
    });
}

#[test]
fn a_restart_with_an_invalid_directory_goes_on_with_what_was_applied_last() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (before, pids) = (revision(&scene.engine), scene.pids());
        scene.engine.kill();
        let good = fs::read(scene.state.dir.join("server/run.json")).unwrap();
        scene.state.write("server/run.json", "{");
        scene.engine.start_again();
        let errors = wait_refused(&scene.engine);
        assert!(errors.iter().any(|error| error.starts_with("server/run.json: ")), "{errors:?}");
        assert_eq!(revision(&scene.engine), before);
        assert_eq!(scene.pids(), pids);
        scene.echoes();
        assert_eq!(scene.engine.stop(), Some(0));
        scene.engine.start_again();
        assert_eq!(revision(&scene.engine), before, "also where nothing runs on");
        assert_ne!(scene.pids(), pids);
        scene.serve();
        scene.echoes();
        scene.state.write("server/run.json", good);
        wait_accepted(&scene.engine);
        assert_eq!(revision(&scene.engine), before);
    });
}

#[test]
fn an_engine_whose_first_state_is_invalid_runs_nothing_until_it_is_mended() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        fs::rename(state.dir.join("server"), sandbox.path().join("server")).unwrap();
        let engine = Engine::start(sandbox, &state);
        let errors = wait_refused(&engine);
        assert!(errors[0].starts_with("client/run.json: services.required[0]"), "{errors:?}");
        assert_eq!(engine.get("/revision")["revision"], Value::Null);
        assert_eq!(engine.get("/containers"), json!([]));
        fs::rename(sandbox.path().join("server"), state.dir.join("server")).unwrap();
        wait_accepted(&engine);
        engine.running("client");
    });
}

#[test]
fn sighup_reads_the_directory_again() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        // The file behind a symbolic link lies in no folder that is watched.
        let outside = sandbox.new_dir("outside").join("run.json");
        fs::write(&outside, extra(&state, "linked")).unwrap();
        fs::create_dir(state.dir.join("linked")).unwrap();
        symlink(&outside, state.dir.join("linked/run.json")).unwrap();
        let engine = Engine::start(sandbox, &state);
        let before = revision(&engine);
        let mut run = state.run_json("linked");
        run["roles"] = json!(["mgmt"]);
        fs::write(&outside, run.to_string()).unwrap();
        Process::open(engine.pid()).unwrap().signal(Signal::HUP);
        wait_revision_after(&engine, &before);
        assert_eq!(engine.find("/containers", "linked").unwrap()["roles"], json!(["mgmt"]));
    });
}

fn check(sandbox: &Sandbox, state: &State) -> (Option<i32>, String) {
    let mut command: Command = engine::command(sandbox.path(), &state.dir, &sandbox.cgroup_name());
    let output = command.arg("--check").output().or_fail("pv-appengine");
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).or_fail("text"))
}

#[test]
fn check_tells_whether_a_directory_is_valid_and_starts_nothing() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        let (code, text) = check(sandbox, &state);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(": valid, 2 containers, 1 links, revision "), "{text}");
        let said = text.trim().rsplit(' ').next().unwrap().to_owned();
        state.write("client/run.json", "[]");
        state.write("device.json", json!({"grups": []}).to_string());
        let (code, text) = check(sandbox, &state);
        assert_eq!(code, Some(70), "{text}");
        assert!(text.contains("client/run.json: "), "{text}");
        assert!(text.contains("device.json: grups: unknown key, did you mean \"groups\"?"), "{text}");
        assert_eq!(fs::read_dir(sandbox.run_dir()).unwrap().count(), 0);
        assert!(!state.dir.join(".xconnect").exists());
        fs::remove_file(state.dir.join("device.json")).unwrap();
        state.add_consumer("client", &json!([{"name": "raw", "target": scene::TARGET}]));
        assert_eq!(
            revision(&Engine::start(sandbox, &state)),
            said,
            "the engine's revision is the one that was told"
        );
    });
}
