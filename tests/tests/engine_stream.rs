//! `GET /xconnect-graph?watch=1`: the desired state as a stream of lines.

use serde_json::{Value, json};
use xconnect_tests::scene::{revision, wait_revision_after};
use xconnect_tests::{Engine, OrFail, Scene, State, Stream, run};

fn pid(graph: &Value, end: &str) -> i64 {
    graph[0][end].as_i64().or_fail(end)
}

#[test]
fn the_stream_gives_the_graph_at_once_and_on_every_change_without_status() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let engine = &scene.engine;
        let (client, server) = scene.pids();
        let mut stream = Stream::open(&engine.socket());
        let first = stream.next().unwrap();
        assert_eq!(
            (pid(&first, "consumer_pid"), pid(&first, "provider_pid")),
            (client.into(), server.into())
        );
        assert_eq!(first[0]["revision"], revision(engine).as_str());
        for field in ["status", "reason", "path", "since", "counters"] {
            assert!(first[0].get(field).is_none(), "{field} in {first}");
        }

        assert_eq!(engine.action("containers/server", "stop").status, 200);
        stream.until_graph(|graph| pid(graph, "provider_pid") == -1);
        assert_eq!(engine.action("containers/server", "start").status, 200);
        let (back, _) = stream.until_graph(|graph| pid(graph, "provider_pid") > 0);
        assert_ne!(pid(&back, "provider_pid"), i64::from(server));

        scene.state.add_consumer("second", &json!([{"name": "raw", "target": "/run/in.sock"}]));
        stream.until_graph(|graph| graph.as_array().unwrap().len() == 2);
        std::fs::remove_dir_all(scene.state.dir.join("second")).unwrap();
        stream.until_graph(|graph| graph.as_array().unwrap().len() == 1);
    });
}

#[test]
fn a_reader_that_is_slow_gets_the_newest_graph_and_not_every_one() {
    run(|sandbox| {
        const CHANGES: usize = 12;
        let state = State::new(sandbox);
        let provider = json!({"services": [{"name": "raw", "type": "unix", "socket": "/run/raw.sock"}]});
        state.write("server/services.json", provider.to_string());
        state.write("server/run.json", json!({"type": "external"}).to_string());
        let consumer = |round: usize| {
            // Lines of which no socket's buffer holds two.
            let needs: Vec<_> = (0..1000)
                .map(|i| json!({"name": "raw", "target": format!("/run/{round}/{i}.sock")}))
                .collect();
            state.write(
                "client/run.json",
                json!({"type": "external", "services": {"required": needs}}).to_string(),
            );
        };
        consumer(0);
        let engine = Engine::start(sandbox, &state);
        let mut stream = Stream::open(&engine.socket());
        let mut present = revision(&engine);
        for round in 1..=CHANGES {
            consumer(round);
            present = wait_revision_after(&engine, &present);
        }
        let (_, lines) = stream.until_graph(|graph| graph[0]["revision"] == present.as_str());
        assert!(lines <= CHANGES / 2, "{lines} lines for {CHANGES} changes");
    });
}

#[test]
fn the_stream_ends_when_the_engine_stops() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let mut stream = Stream::open(&scene.engine.socket());
        assert!(stream.next().is_some());
        let mut other = Stream::open(&scene.engine.socket());
        assert_eq!(scene.engine.stop(), Some(0));
        for stream in [&mut stream, &mut other] {
            while stream.next().is_some() {}
        }
    });
}
