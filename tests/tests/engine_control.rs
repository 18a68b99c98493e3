//! `pv-appengine` end to end: containers run, their bytes cross the mesh, the control socket tells of it.

use std::fs;

use serde_json::json;
use xconnect_tests::scene::{self, SERVICE, TARGET};
use xconnect_tests::{Engine, OrFail, Scene, State, ensure, eventually, run};

#[test]
fn bytes_cross_between_containers_under_the_identity_of_the_role() {
    run(|sandbox| {
        let state = State::new(sandbox);
        let roles = json!({"reader": {"uid": 1001, "gid": 1002}});
        let service = json!([{"name": "raw", "type": "unix", "socket": SERVICE, "roles": roles}]);
        state.add_provider("server", &service);
        state.add_consumer("client", &json!([{"name": "raw", "role": "reader", "target": TARGET}]));
        let engine = Engine::start(sandbox, &state);
        let listener = engine.agent("server").listen(SERVICE);
        assert_eq!(engine.wait_link("client", "up")["role"], "reader");
        let client = engine.agent("client").connect(TARGET);
        client.send(b"question");
        let server = listener.accept();
        let peer = server.peer();
        assert_eq!((peer.uid.as_raw(), peer.gid.as_raw()), (1001, 1002));
        let mesh = engine.daemon("pv-xconnect").pid;
        assert_eq!(peer.pid.as_raw_nonzero().get().cast_unsigned(), mesh);
        assert_eq!(server.recv_exact(8).bytes, b"question");
        server.send(b"answer");
        assert_eq!(client.recv_exact(6).bytes, b"answer");
        server.shutdown_write();
        assert!(client.recv_to_end().is_empty());
        client.send(b"after the half-close");
        assert_eq!(server.recv_exact(20).bytes, b"after the half-close");
    });
}

#[test]
fn a_consumer_without_the_role_gets_a_link_that_says_why_it_failed() {
    run(|sandbox| {
        let state = State::new(sandbox);
        let roles = json!({"reader": {"uid": 1001}, "writer": {"consumers": ["other-*"]}});
        let service = json!([{"name": "raw", "type": "unix", "socket": SERVICE, "roles": roles}]);
        state.add_provider("server", &service);
        state.add_consumer("nobody", &json!([{"name": "raw", "target": TARGET}]));
        state.add_consumer("client", &json!([{"name": "raw", "role": "writer", "target": TARGET}]));
        let engine = Engine::start(sandbox, &state);
        let _listener = engine.agent("server").listen(SERVICE);
        for consumer in ["nobody", "client"] {
            let link = engine.wait_link(consumer, "failed");
            assert!(link["reason"].as_str().is_some_and(|why| why.contains("role")), "{link}");
            assert!(!engine.agent(consumer).exists(TARGET), "{consumer} has a socket");
        }
    });
}

#[test]
fn graph_entries_begin_with_upstreams_fields_in_their_order() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (client, server) = scene.pids();
        let link = scene.link();
        let (revision, since) = (scene::revision(&scene.engine), link["since"].as_str().or_fail("since"));
        let body = scene.engine.call("GET", "/xconnect-graph", "").body;
        let expected = format!(
            "[{{\"type\":\"unix\",\"name\":\"raw\",\"consumer\":\"client\",\"consumer_pid\":{client},\
            \"provider\":\"server\",\"provider_pid\":{server},\"role\":\"any\",\"interface\":\"unix\",\
            \"target\":\"{TARGET}\",\"socket\":\"{SERVICE}\",\"status\":\"up\",\"reason\":null,\
            \"path\":\"user\",\"revision\":\"{revision}\",\"since\":\"{since}\",\
            \"counters\":{{\"connections\":{{\"open\":0,\"total\":0,\"refused\":0,\"failed\":0}},\
            \"bytes\":{{\"to_provider\":0,\"to_consumer\":0}},"
        );
        assert!(body.starts_with(&expected), "{body}\nis not\n{expected}");
    });
}

#[test]
fn counters_tell_what_crossed() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let connection = scene.connect();
        connection.echo(&[7; 1000]);
        eventually("the bytes are counted", || {
            let counters = scene.link()["counters"].clone();
            let bytes = &counters["bytes"];
            ensure(bytes["to_provider"] == 1000 && bytes["to_consumer"] == 1000, &counters)?;
            let connections = &counters["connections"];
            ensure(connections["open"] == 1 && connections["total"] == 1, &counters)
        });
        drop(connection);
        eventually("the end is counted", || {
            let connections = scene.link()["counters"]["connections"].clone();
            ensure(connections["open"] == 0 && connections["total"] == 1, connections)
        });
    });
}

#[test]
fn containers_are_listed_with_state_services_and_recovery() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        let recovery = json!({"policy": "on-failure", "max_retries": 3, "retry_delay": 2, "backoff_factor": 1.5,
            "reset_window": 60, "stable_timeout": 3600, "backoff_policy": "5min"});
        state.add("client", |run| {
            run["services"] = json!({"required": [{"name": "raw", "target": TARGET}],
                "optional": [{"name": "absent", "role": "writer"}]});
            run["roles"] = json!(["mgmt"]);
            run["auto_recovery"] = recovery;
        });
        let scene = Scene::of(sandbox, state);
        let (client, _) = scene.pids();
        let entry = scene.engine.find("/containers", "client").unwrap();
        assert!(entry["uptime_secs"].is_u64(), "{entry}");
        let backoff_policy = entry["auto_recovery"]["backoff_policy"].clone();
        let expected = json!({
            "name": "client", "group": "app", "status": "STARTED", "status_goal": "STARTED",
            "restart_policy": "container", "pid": client, "uptime_secs": entry["uptime_secs"],
            "roles": ["mgmt"], "user_stopped": "false",
            "auto_recovery": {"policy": "on-failure", "type": "on-failure", "max_retries": 3,
                "current_retries": 0, "retry_delay": 2, "backoff_factor": 1.5, "reset_window": 60,
                "stable_timeout": 3600, "is_stable": "false", "backoff_policy": backoff_policy},
            "provides": [],
            "consumes": [
                {"name": "raw", "type": "unix", "requirement": "required", "role": "any", "target": TARGET},
                {"name": "absent", "requirement": "optional", "role": "writer",
                    "target": "/run/pv/services/absent.sock"},
            ],
        });
        assert_eq!(entry, expected);
        let server = scene.engine.find("/containers", "server").unwrap();
        assert_eq!(server["provides"], json!([{"name": "raw", "type": "unix", "socket": SERVICE}]));
    });
}

#[test]
fn groups_are_pantavisors_where_the_state_names_none() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let groups = scene.engine.get("/groups");
        let seen: Vec<_> = groups
            .as_array()
            .unwrap()
            .iter()
            .map(|group| {
                let text = |field: &str| group[field].as_str().unwrap_or_default().to_owned();
                assert_eq!(group["auto_recovery"]["policy"], "no");
                [text("name"), text("status_goal"), text("restart_policy"), text("status")]
            })
            .collect();
        assert_eq!(
            seen,
            [
                ["data", "MOUNTED", "system", "MOUNTED"],
                ["root", "STARTED", "system", "STARTED"],
                ["platform", "STARTED", "system", "STARTED"],
                ["app", "STARTED", "container", "STARTED"],
            ]
        );
    });
}

#[test]
fn buildinfo_and_both_forms_of_the_configuration_are_served() {
    run(|sandbox| {
        let state = State::new(sandbox);
        let engine = Engine::start(sandbox, &state);
        let info = engine.call("GET", "/buildinfo", "");
        assert!(info.head.contains("content-type: text/plain"), "{info:?}");
        assert!(info.body.starts_with("xconnect "), "{info:?}");
        let (dotted, upper) = (engine.get("/config"), engine.get("/config2"));
        assert_eq!(dotted["system.rundir"], sandbox.run_dir().to_str().unwrap());
        assert_eq!(upper["PV_SYSTEM_STATEDIR"], state.dir.to_str().unwrap());
        assert_eq!(upper["PV_XCONNECT_CGROUP_ROOT"], sandbox.cgroup_name());
        assert_eq!(dotted.as_object().unwrap().len(), upper.as_object().unwrap().len());
    });
}

#[test]
fn metrics_of_engine_and_mesh_are_one_text_with_one_end() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        scene.connect().echo(b"counted");
        let response = scene.engine.call("GET", "/metrics", "");
        assert!(response.head.contains("content-type: application/openmetrics-text"), "{}", response.head);
        let text = response.body;
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1, "{text}");
        let mut families = Vec::new();
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(comment) = line.strip_prefix("# ") {
                if let Some(family) = comment.strip_prefix("TYPE ") {
                    let name = family.split(' ').next().unwrap().to_owned();
                    assert!(!families.contains(&name), "{name} is declared twice");
                    families.push(name);
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').or_fail(line);
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let family = families.last().or_fail(line);
            assert!(series.starts_with(family.as_str()), "{line} stands below {family}");
        }
        for series in [
            "pv_appengine_container_status{name=\"client\",status=\"STARTED\"} 1",
            "pv_appengine_daemon_up{name=\"pv-xconnect\"} 1",
            "pv_appengine_graph_links 1",
            "pv_appengine_revision_refused 0",
        ] {
            assert!(text.lines().any(|line| line == series), "no {series} in {text}");
        }
        let mesh = text.lines().any(|line| line.starts_with("xconnect_link_up{consumer=\"client\""));
        assert!(mesh, "nothing of the mesh's links in {text}");
    });
}

#[test]
fn the_fd_store_holds_a_listener_for_each_link_and_is_closed_to_others() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let path = sandbox.run_dir().join("fdstore");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let store = xconnect_tests::Socket::connect(xconnect_tests::Kind::Seqpacket, &path).unwrap();
        store.send(br#"{"op":"list"}"#);
        let first = store.recv(65536);
        assert_eq!(first.fds.len(), 1, "{first:?}");
        let entry: serde_json::Value = serde_json::from_slice(&first.bytes).unwrap();
        assert_eq!(entry["meta"]["place"]["target"], TARGET, "{entry}");
        assert_eq!(store.recv(65536).bytes, br#"{"end":true}"#);
        scene.echoes();
    });
}

#[test]
fn a_container_with_a_user_namespace_consumes_and_provides() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        let map = json!({"uid_map": [{"container_id": 0, "host_id": 300_000, "size": 65536}]});
        state.add("server", |run| run["user_namespace"] = map.clone());
        state.add("client", |run| {
            run["user_namespace"] = map;
            run["services"] = json!({"required": [{"name": "raw", "target": TARGET}]});
        });
        let scene = Scene::of(sandbox, state);
        scene.echoes();
        let (client, server) = scene.pids();
        for pid in [client, server] {
            let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}")).unwrap());
            assert_eq!(uid, 300_000);
        }
        let planted = scene.engine.agent("client").stat(TARGET).unwrap();
        assert_eq!((planted.uid, planted.gid), (0, 0), "owned by the container's root");
    });
}

#[test]
fn twenty_containers_with_forty_links_all_come_up() {
    run(|sandbox| {
        const COUNT: usize = 20;
        let state = State::new(sandbox);
        let name = |i: usize| format!("c{:02}", i % COUNT);
        for i in 0..COUNT {
            let need = |n: usize| json!({"name": name(i + n), "target": format!("/run/in{n}.sock")});
            let service = json!({"name": name(i), "type": "unix", "socket": SERVICE});
            let manifest = json!({"#spec": "service-manifest-xconnect@1", "services": [service]});
            state.write(&format!("{}/services.json", name(i)), manifest.to_string());
            state.add_consumer(&name(i), &json!([need(1), need(2)]));
        }
        let engine = Engine::start(sandbox, &state);
        let agents: Vec<_> = (0..COUNT).map(|i| engine.agent(&name(i))).collect();
        let _servers: Vec<_> = agents.iter().map(|agent| agent.listen(SERVICE).echo()).collect();
        eventually("all links are up", || {
            let graph = engine.get("/xconnect-graph");
            let links = graph.as_array().unwrap();
            let down: Vec<_> = links.iter().filter(|link| link["status"] != "up").collect();
            ensure(
                links.len() == 2 * COUNT && down.is_empty(),
                format_args!("{} of {}: {down:?}", down.len(), links.len()),
            )
        });
        for agent in &agents {
            for n in 1..=2 {
                agent.connect(&format!("/run/in{n}.sock")).echo(b"hello");
            }
        }
    });
}
