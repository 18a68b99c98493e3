//! The graph as it comes from a file: as large as it likes, as broken as it likes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xconnect_tests::mesh::Pair;
use xconnect_tests::wait::ensure;
use xconnect_tests::{Link, Mesh, eventually, graph, hostile, process, run};

/// Waits until the mesh has read a graph without a mistake.
#[track_caller]
fn wait_good(mesh: &Mesh) {
    eventually("the graph is good", || {
        let status = mesh.status();
        ensure(status["graph"]["error"].is_null(), &status["graph"])
    });
}

/// Waits until the mesh names a mistake; gives its words.
#[track_caller]
fn wait_bad(mesh: &Mesh) -> String {
    eventually("the mistake is named", || {
        let error = mesh.status()["graph"]["error"].clone();
        error.as_str().map(str::to_owned).ok_or("no error")
    })
}

/// A link that must not notice anything, with a connection that is open all the time.
struct Bystander {
    pair: Pair,
    open: xconnect_tests::Socket,
    server: xconnect_tests::Socket,
    before: Value,
}

impl Bystander {
    fn new(pair: Pair) -> Self {
        let (open, server) = pair.connect();
        let mut bystander = Self { pair, open, server, before: Value::Null };
        bystander.before = bystander.entry();
        bystander
    }

    /// All that is known of the link but what was counted.
    #[track_caller]
    fn entry(&self) -> Value {
        let mut entry = self.pair.mesh.wait(&self.pair.link, "up");
        entry["counters"] = Value::Null;
        json!([entry, self.pair.consumer.stat(self.pair.link.target()).ok().map(|stat| stat.inode)])
    }

    #[track_caller]
    fn assert_unmoved(&self, what: &str) {
        assert_eq!(self.entry(), self.before, "{what}");
        self.open.send(b"x");
        assert_eq!(self.server.recv(1).bytes, b"x", "{what}");
        let (client, server) = self.pair.connect();
        client.send(b"y");
        assert_eq!(server.recv(1).bytes, b"y", "{what}");
    }
}

#[test]
fn texts_that_are_no_graph_change_nothing() {
    run(|sandbox| {
        let bystander = Bystander::new(Pair::start(sandbox));
        let mesh = &bystander.pair.mesh;
        let good = graph::json(std::slice::from_ref(&bystander.pair.link));
        let mut texts = hostile::documents();
        texts.push(("an object", b"{}".to_vec()));
        texts.push(("cut off in the middle", good.as_bytes()[..good.len() / 2].to_vec()));
        texts.push(("more after the end", [good.as_bytes(), b"]"].concat()));
        texts.push(("a control character in a name", good.replace("consumer", "\u{1}").into_bytes()));
        let mut not_utf8 = good.clone().into_bytes();
        let at = good.find("provider").unwrap();
        not_utf8[at] = 0xff;
        texts.push(("invalid UTF-8 in a name", not_utf8));
        texts.push(("10 MiB of numbers", format!("[1{}]", ",1".repeat(5 << 20)).into_bytes()));
        texts.push(("10 MiB of lists", format!("[[]{}]", ",[]".repeat(3 << 20)).into_bytes()));
        for (what, text) in texts {
            mesh.apply_text(&text);
            let error = wait_bad(mesh);
            assert!(error.contains("not a graph"), "{what}: {error}");
            assert!(error.len() < 1000, "{what}: the error has {} bytes", error.len());
            bystander.assert_unmoved(what);
            mesh.apply_text(&good);
            wait_good(mesh);
        }
        assert!(mesh.log().contains("going on with the last one: not a graph"));
    });
}

#[test]
fn a_file_that_is_removed_changes_nothing() {
    run(|sandbox| {
        let bystander = Bystander::new(Pair::start(sandbox));
        let mesh = &bystander.pair.mesh;
        let good = graph::json(std::slice::from_ref(&bystander.pair.link));
        let file = sandbox.path().join("graph.json");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        std::fs::remove_dir(&file).unwrap();
        bystander.assert_unmoved("removed");
        mesh.apply_text(&good);
        wait_good(mesh);
        bystander.assert_unmoved("there again");
    });
}

#[test]
fn fields_of_a_wrong_type_leave_their_link_as_it_is() {
    run(|sandbox| {
        let bystander = Bystander::new(Pair::start(sandbox));
        let (mesh, link) = (&bystander.pair.mesh, &bystander.pair.link);
        let fields = ["type", "name", "consumer", "consumer_pid", "provider", "target", "socket", "options"];
        let numbers = ["consumer_pid", "provider_pid", "consumer_start"];
        for field in fields {
            let values = hostile::values().into_iter().filter(|value| {
                // What would be fine: no pid, another name, all options missing.
                let fine = match field {
                    "consumer_pid" => value.is_null() || value.as_i64().is_some(),
                    "options" => value.is_null() || value == &json!({}) || value == &json!([]),
                    _ => value.is_string(),
                };
                !fine
            });
            for value in values {
                mesh.apply(&[link.clone().with(field, value.clone())]);
                let error = wait_bad(mesh);
                assert!(error.starts_with("[0]"), "{field}: {value}: {error}");
                bystander.assert_unmoved(&format!("{field}: {value}"));
                mesh.apply(std::slice::from_ref(link));
                wait_good(mesh);
            }
        }
        for field in numbers {
            mesh.apply(&[link.clone().with(field, "1")]);
            assert!(wait_bad(mesh).starts_with(&format!("[0].{field}: invalid type: string")));
            bystander.assert_unmoved(field);
        }
        assert!(mesh.log().contains("the graph has entries that cannot be served: [0].type"));
    });
}

#[test]
fn values_that_make_no_sense_leave_their_link_as_it_is() {
    run(|sandbox| {
        let bystander = Bystander::new(Pair::start(sandbox));
        let (mesh, link) = (&bystander.pair.mesh, &bystander.pair.link);
        let wrong: [(&str, Value); 6] = [
            ("type", "pipe".into()),
            ("provider", "a/b".into()),
            ("socket", "relative".into()),
            ("socket", "/srv/../x".into()),
            ("role", "a b".into()),
            ("socket", format!("/{}", "x".repeat(5000)).into()),
        ];
        for (field, value) in wrong {
            mesh.apply(&[link.clone().with(field, value.clone())]);
            let error = wait_bad(mesh);
            assert!(error.starts_with(&format!("[0].{field}: ")), "{error}");
            bystander.assert_unmoved(&format!("{field}: {value}"));
            mesh.apply(std::slice::from_ref(link));
            wait_good(mesh);
        }
        for (option, value) in
            [("uid", json!(-1)), ("connect_timeout", json!(-1)), ("forward", json!("fast"))]
        {
            mesh.apply(&[link.clone().option(option, value)]);
            let error = wait_bad(mesh);
            assert!(error.starts_with(&format!("[0].options.{option}: ")), "{error}");
            bystander.assert_unmoved(option);
            mesh.apply(std::slice::from_ref(link));
            wait_good(mesh);
        }
    });
}

#[test]
fn a_bad_entry_does_not_take_the_others_with_it() {
    run(|sandbox| {
        let bystander = Bystander::new(Pair::start(sandbox));
        let (mesh, link) = (&bystander.pair.mesh, &bystander.pair.link);
        let bad = Link::new("bad", "consumer", "provider").with("type", "pipe");
        let fresh = Link::new("fresh", "consumer", "provider");
        mesh.apply(&[bad.clone(), link.clone(), fresh.clone()]);
        assert_eq!(wait_bad(mesh), "[0].type: there is no type \"pipe\"");
        mesh.wait(&fresh, "waiting");
        bystander.assert_unmoved("one bad");
        // One that is not in the text any more is ended, whatever else is wrong.
        mesh.apply(&[link.clone(), bad]);
        mesh.wait_gone(&fresh);
        bystander.assert_unmoved("one bad, one removed");
    });
}

#[test]
fn of_two_entries_for_one_link_the_first_stands() {
    run(|sandbox| {
        let bystander = Bystander::new(Pair::start(sandbox));
        let (mesh, link) = (&bystander.pair.mesh, &bystander.pair.link);
        mesh.apply(&[link.clone(), link.clone().with("socket", "/srv/other.sock")]);
        assert!(wait_bad(mesh).starts_with("[1]: is the same link as entry 0"));
        bystander.assert_unmoved("twice");
    });
}

#[test]
fn unknown_keys_pass() {
    run(|sandbox| {
        let bystander = Bystander::new(Pair::start(sandbox));
        let (mesh, link) = (&bystander.pair.mesh, &bystander.pair.link);
        let fresh = Link::new("fresh", "consumer", "provider").with("future", json!({"a": [1, {"b": null}]}));
        mesh.apply(&[link.clone().with("colour", "blue"), fresh.clone()]);
        mesh.wait(&fresh, "waiting");
        wait_good(mesh);
        bystander.assert_unmoved("unknown keys");
    });
}

#[test]
fn a_link_of_a_type_that_is_not_served_says_so() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let links = ["dbus", "drm", "wayland", "tcp", "http"].map(|kind| {
            Link::new(kind, "consumer", "provider").with("type", kind).between(&pair.consumer, &pair.provider)
        });
        pair.mesh.apply(&links);
        for link in &links {
            pair.mesh.wait_reason(link, "failed", "are not served by this build");
        }
        assert!(pair.consumer.list("/run/pv/services").is_empty());
    });
}

#[test]
fn a_link_that_is_refused_by_policy_says_so() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let refused = pair.link.clone().option("refused", "role \"any\" is not granted");
        pair.mesh.apply(std::slice::from_ref(&refused));
        pair.mesh.wait_reason(&refused, "failed", "role \"any\" is not granted");
        assert!(pair.consumer.list("/run/pv/services").is_empty());
        pair.mesh.apply(std::slice::from_ref(&pair.link));
        pair.mesh.wait(&pair.link, "up");
    });
}

#[test]
fn ten_thousand_links_are_read_and_shown() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let mut links: Vec<_> = (0..10_000)
            .map(|n| Link::new(&format!("service-{n}"), &format!("consumer-{}", n % 500), "provider"))
            .collect();
        links.push(pair.link.clone());
        let before = process::rss_kib(pair.mesh.pid());
        pair.mesh.apply(&links);
        eventually("all are shown", || {
            let links = pair.mesh.status()["links"].clone();
            ensure(links == json!({"waiting": 10_000, "up": 1}), &links)
        });
        let shown = pair.mesh.links().unwrap();
        let by_name: BTreeMap<_, _> = shown.iter().map(|entry| (entry["name"].as_str(), entry)).collect();
        assert!(links.iter().all(|link| by_name.get(&Some(link.text("name"))).is_some_and(|e| link.is(e))));
        assert!(pair.mesh.get("/metrics").unwrap().body.contains("service-9999"));

        let _server = pair.listener.echo();
        pair.consumer.connect(pair.link.target()).echo(b"it serves as before");
        let grown = process::rss_kib(pair.mesh.pid()).saturating_sub(before);
        assert!(grown < 200 * 1024, "10,000 links take {grown} KiB");

        pair.mesh.apply(std::slice::from_ref(&pair.link));
        eventually("all are gone", || {
            let links = pair.mesh.status()["links"].clone();
            ensure(links == json!({"up": 1}), &links)
        });
        pair.consumer.connect(pair.link.target()).echo(b"it serves as before");
    });
}
