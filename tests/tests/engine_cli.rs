//! `pvcontrol` and `pvcurl` against a real engine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use xconnect_tests::process::{self, Process};
use xconnect_tests::scene::{
    TARGET, call_from, printed, pvcontrol, revision, wait_audit, wait_refused, with_control_socket,
};
use xconnect_tests::{Container, Engine, OrFail, Scene, State, ensure, eventually, programs, run};

fn json_of(engine: &Engine, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(engine, arguments)).or_fail(format_args!("{arguments:?}"))
}

#[test]
fn graph_ls_shows_the_link_in_every_form() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (client, server) = scene.pids();
        scene.connect().echo(&[1; 2048]);
        let engine = &scene.engine;
        let piped = json_of(engine, &["graph", "ls"]);
        assert_eq!(piped[0]["status"], "up");
        assert_eq!((&piped[0]["consumer_pid"], &piped[0]["provider_pid"]), (&json!(client), &json!(server)));
        assert_eq!(json_of(engine, &["-o", "json", "graph", "ls"])[0]["target"], TARGET);

        let table = printed(engine, &["-o", "table", "graph", "ls"]);
        let row = table.lines().nth(1).or_fail(&table);
        for word in ["unix", "raw", "client", "server", "any", "up", "user"] {
            assert!(row.split_whitespace().any(|cell| cell == word), "no {word} in {table}");
        }
        assert!(table.lines().next().is_some_and(|head| head.contains("SERVICE")), "{table}");

        let wide = printed(engine, &["-o", "wide", "graph", "ls", "--sample", "0"]);
        for part in [TARGET, "/run/raw.sock", &client.to_string(), &server.to_string()] {
            assert!(wide.contains(part), "no {part} in {wide}");
        }
        for dot in [printed(engine, &["graph", "dot"]), printed(engine, &["-o", "dot", "graph", "ls"])] {
            assert!(dot.starts_with("digraph"), "{dot}");
            assert!(dot.contains("\"client\" -> \"server\""), "{dot}");
        }

        assert_eq!(engine.action("containers/server", "stop").status, 200);
        engine.wait_link("client", "waiting");
        let table = printed(engine, &["-o", "table", "graph", "ls"]);
        assert!(table.contains("raw of client (from server): waiting: "), "{table}");
    });
}

#[test]
fn lists_of_containers_groups_and_daemons_are_tables_and_the_apis_json() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let engine = &scene.engine;
        let (client, _) = scene.pids();
        for command in [&["containers", "ls"][..], &["ls"]] {
            let names: Vec<_> =
                json_of(engine, command).as_array().unwrap().iter().map(|e| e["name"].clone()).collect();
            assert_eq!(names, ["client", "server"]);
        }
        let table = printed(engine, &["-o", "wide", "containers", "ls"]);
        let row = table.lines().find(|line| line.contains("client")).or_fail(&table);
        assert!(row.contains("STARTED") && row.contains(&client.to_string()), "{table}");
        let mesh = scene.mesh();
        assert_eq!(
            json_of(engine, &["daemons", "ls"]),
            json!([{"name": "pv-xconnect", "pid": mesh, "respawn": true}])
        );
        assert!(printed(engine, &["-o", "table", "daemons", "ls"]).contains(&mesh.to_string()));
        assert_eq!(json_of(engine, &["groups", "ls"]).as_array().unwrap().len(), 4);
        assert!(printed(engine, &["-o", "table", "groups", "ls"]).contains("platform"));
        assert!(printed(engine, &["buildinfo"]).starts_with("xconnect "));
        assert_eq!(json_of(engine, &["config", "ls"])["system.statedir"], scene.state.dir.to_str().unwrap());
        assert_eq!(json_of(engine, &["conf", "ls"])["PV_SYSTEM_RUNDIR"], sandbox.run_dir().to_str().unwrap());
        assert!(printed(engine, &["metrics"]).ends_with("# EOF\n"));
        let file = sandbox.path().join("out.json");
        assert_eq!(printed(engine, &["-f", file.to_str().unwrap(), "ls"]), "");
        let text = fs::read(&file).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap().as_array().map(Vec::len), Some(2));
    });
}

#[test]
fn actions_are_done_or_refused_with_255_and_the_apis_body() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (client, server) = scene.pids();
        let _ = printed(&scene.engine, &["containers", "stop", "server"]);
        scene.engine.wait_container("server", "STOPPED");
        let _ = printed(&scene.engine, &["containers", "start", "server"]);
        assert_ne!(scene.engine.running("server"), server);
        scene.serve();
        scene.echoes();
        let _ = printed(&scene.engine, &["containers", "restart", "client"]);
        eventually("another client runs", || ensure(scene.engine.running("client") != client, "the old one"));
        let mesh = scene.mesh();
        let _ = printed(&scene.engine, &["daemons", "restart", "pv-xconnect"]);
        assert_ne!(scene.mesh(), mesh);
        scene.echoes();
        for arguments in [["containers", "restart", "nobody"], ["daemons", "stop", "nobody"]] {
            let output = pvcontrol(&scene.engine, &arguments);
            assert_eq!(output.status.code(), Some(255), "{output:?}");
            let error: Value = serde_json::from_slice(&output.stderr).unwrap();
            assert!(error["Error"].as_str().unwrap().ends_with(" not found"), "{error}");
        }
        assert_eq!(pvcontrol(&scene.engine, &["signal", "ready"]).status.code(), Some(255));
        assert_eq!(pvcontrol(&scene.engine, &["-o", "dot", "ls"]).status.code(), Some(2));
    });
}

#[test]
fn revision_and_audit_tell_what_is_in_force_and_what_is_refused() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let engine = &scene.engine;
        assert_eq!(json_of(engine, &["revision"])["revision"], revision(engine));
        scene.state.write("client/run.json", "{}");
        wait_refused(engine);
        let output = pvcontrol(engine, &["revision"]);
        assert_eq!(output.status.code(), Some(70), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("client/run.json: type: is missing"), "{told}");
        wait_audit(engine, 2);
        let all = json_of(engine, &["audit"]);
        assert_eq!(all.as_array().unwrap().len(), 2);
        assert_eq!(json_of(engine, &["audit", "--since", "1"])[0]["event"], "refused");
        let table = printed(engine, &["-o", "table", "audit"]);
        assert!(table.contains("refused") && table.contains("applied"), "{table}");
        assert_eq!(pvcontrol(engine, &["audit", "--since", "yesterday"]).status.code(), Some(255));
    });
}

#[test]
fn a_container_is_registered_and_taken_off_by_command() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let external = Container::start(sandbox);
        let manifests = sandbox.new_dir("manifests");
        let run = json!({"services": {"required": [{"name": "raw", "target": TARGET}]}});
        fs::write(manifests.join("run.json"), run.to_string()).unwrap();
        let (pid, dir) = (external.pid().to_string(), manifests.to_str().unwrap());
        let start = process::start_time(external.pid());
        let register = |start: u64| {
            let start = start.to_string();
            pvcontrol(
                &scene.engine,
                &["containers", "register", "ext", "--pid", &pid, "--start", &start, "--manifests", dir],
            )
        };
        assert_eq!(register(start + 1).status.code(), Some(255));
        let output = register(start);
        assert!(output.status.success(), "{output:?}");
        scene.engine.wait_link("ext", "up");
        external.connect(TARGET).echo(b"registered");
        let _ = printed(&scene.engine, &["containers", "unregister", "ext"]);
        eventually("it is gone", || ensure(scene.engine.find("/containers", "ext").is_err(), "listed"));
        fs::write(manifests.join("run.json"), "{\"services\": 7}").unwrap();
        assert_eq!(register(start).status.code(), Some(70));
    });
}

#[test]
fn graph_watch_in_a_pipe_gives_a_line_for_each_change() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        for arguments in [&["graph", "watch", "--desired"][..], &["graph", "watch", "--interval", "0.05"]] {
            let mut command = Command::new(programs::program("pvcontrol"));
            command
                .arg("-s")
                .arg(scene.engine.socket())
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped());
            let mut watch = command.env("XCONNECT_SANDBOX", sandbox.path()).spawn().unwrap();
            let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
            let mut until = |pid: i64| loop {
                let line = lines.next().or_fail("a line").unwrap();
                let graph: Value = serde_json::from_str(&line).unwrap();
                if graph[0]["provider_pid"] == pid {
                    return;
                }
            };
            until(scene.engine.running("server").into());
            assert_eq!(scene.engine.action("containers/server", "stop").status, 200);
            until(-1);
            assert_eq!(scene.engine.action("containers/server", "start").status, 200);
            until(scene.engine.running("server").into());
            Process::open(watch.id()).unwrap().signal(rustix::process::Signal::KILL);
            process::wait(&mut watch);
        }
    });
}

#[test]
fn pvcurl_asks_the_control_socket() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let curl = |arguments: &[&str]| {
            let mut command = Command::new(programs::program("pvcurl"));
            command.arg("--unix-socket").arg(scene.engine.socket()).args(arguments).stdin(Stdio::null());
            let output = command.output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        let (code, body) = curl(&["-s", "http://localhost/xconnect-graph"]);
        assert_eq!(code, Some(0));
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()[0]["status"], "up");
        let stop =
            ["-X", "PUT", "--data", r#"{"action":"stop"}"#, "-w", "%{http_code}", "/containers/server"];
        assert_eq!(curl(&stop), (Some(0), "200".to_owned()));
        scene.engine.wait_container("server", "STOPPED");
        let (code, body) = curl(&["-f", "-X", "PUT", "--data", "{}", "/containers/server"]);
        assert_eq!((code, body.as_str()), (Some(22), ""));
    });
}

#[test]
fn a_container_asks_for_the_control_socket_by_its_manifest() {
    run(|sandbox| {
        let state = State::new(sandbox);
        state.add("asks", |run| {
            run["services"] = json!({"required": [{"name": "pv-ctrl"}]});
            with_control_socket(run, sandbox);
        });
        let engine = Engine::start(sandbox, &state);
        let agent = engine.agent("asks");
        assert_eq!(call_from(&agent, "GET", "/containers", "").status, 403);
        let link = engine.wait_link("asks", "up");
        assert_eq!((&link["type"], &link["provider"]), (&json!("rest"), &json!("_pv_")), "{link}");
        assert_eq!(
            (&link["target"], &link["provider_pid"]),
            (&json!("/pantavisor/pv-ctrl"), &json!(0)),
            "{link}"
        );
        let listed = printed(&engine, &["graph", "ls"]);
        assert!(listed.contains("/pantavisor/pv-ctrl"), "{listed}");
    });
}
