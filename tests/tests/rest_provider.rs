//! Connections to the provider: each belongs to one consumer's connection, is used again, and its end is not the
//! consumer's trouble where a request can be repeated.

use std::collections::{BTreeMap, BTreeSet};

use xconnect_tests::rest::{Client, Plan, Provider, Rest, Step, fixed};
use xconnect_tests::wait::ensure;
use xconnect_tests::{Container, eventually, run};

/// Has all connections of the provider closed while they wait for requests, and gives how many it had.
fn close_idle(rest: &Rest) -> usize {
    rest.provider.cut();
    eventually("the provider's connections end", || {
        ensure(rest.provider.open_connections() == 0, "some are open")
    });
    rest.provider.connections()
}

#[test]
fn a_request_that_can_be_repeated_survives_a_stale_connection() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let mut client = rest.connect();
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            client.get("/warm");
            close_idle(&rest);
            let answer = client.call(method, &format!("/{method}"), "");
            assert_eq!(answer.status, 200, "{method}");
            rest.assert_identity(rest.provider.records().only(&format!("/{method}")));
        }
    });
}

#[test]
fn a_request_whose_connection_ends_under_it_is_repeated_once() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        // The provider takes the request on its old connection and ends it; on the new one it answers no better.
        rest.provider.on("/die", vec![Step::Body, Step::Close]);
        let mut client = rest.connect();
        client.get("/warm");
        let failed = client.call("GET", "/die", "");
        assert_eq!((failed.status, failed.head.get("retry-after")), (503, Some("1")));
        let records = rest.provider.records();
        assert_eq!(records.requests().filter(|seen| seen.path() == "/die").count(), 2, "{records:?}");
        // On a fresh connection there is no reason to try again.
        assert_eq!(rest.connect().call("GET", "/die", "").status, 503);
        let records = rest.provider.records();
        assert_eq!(records.requests().filter(|seen| seen.path() == "/die").count(), 3, "{records:?}");
    });
}

#[test]
fn a_request_that_may_have_been_carried_out_is_not_repeated() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/die", vec![Step::Body, Step::Close]);
        for (method, fields, body) in
            [("POST", "Content-Length: 5\r\n", "hello"), ("POST", "", ""), ("PATCH", "Content-Length: 0\r\n", "")]
        {
            let before = rest.provider.records().requests().filter(|seen| seen.path() == "/die").count();
            let mut client = rest.connect();
            client.get("/warm");
            client.ask(method, "/die", fields);
            client.send(body);
            let failed = client.answer();
            assert_eq!(failed.status, 503, "{method} {fields}: {failed:?}");
            let records = rest.provider.records();
            let count = records.requests().filter(|seen| seen.path() == "/die").count() - before;
            assert_eq!(count, 1, "{method} {fields}");
        }
    });
}

#[test]
fn a_post_on_a_stale_connection_reaches_the_provider_at_most_once() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        for number in 0..10 {
            let mut client = rest.connect();
            client.get("/warm");
            close_idle(&rest);
            client.ask("POST", &format!("/post{number}"), "Content-Length: 5\r\n");
            client.send("hello");
            let answer = client.answer();
            let count =
                rest.provider.records().requests().filter(|seen| seen.path() == format!("/post{number}")).count();
            assert!(matches!((answer.status, count), (200, 1) | (503, 0)), "{} and {count} times", answer.status);
        }
    });
}

#[test]
fn a_provider_that_was_replaced_is_found_by_connections_that_were_idle() {
    run(|sandbox| {
        let mut rest = Rest::start(sandbox);
        let mut clients: Vec<_> = (0..5).map(|_| rest.connect()).collect();
        for client in &mut clients {
            client.get("/old");
        }
        rest.stop_provider();
        rest.start_provider(Plan::new());
        for client in &mut clients {
            rest.assert_reported(&client.get("/new").json());
        }
        assert_eq!(rest.provider.records().requests().count(), 5);
    });
}

#[test]
fn no_two_consumers_share_a_connection() {
    run(|sandbox| {
        const CONSUMERS: usize = 3;
        const EACH: usize = 4;
        const ROUNDS: usize = 25;
        let rest = Rest::start(sandbox);
        let containers = Container::start_many(sandbox, CONSUMERS);
        let links: Vec<_> = containers
            .iter()
            .enumerate()
            .map(|(number, inside)| Rest::link("api", &format!("c{number}"), inside, &rest.house))
            .map(|link| link.with("socket", rest.link.socket()))
            .collect();
        rest.mesh.apply(&links);
        rest.mesh.wait_all(&links, "up");
        std::thread::scope(|scope| {
            for (container, link) in containers.iter().zip(&links) {
                for _ in 0..EACH {
                    let agent = container.another();
                    scope.spawn(move || {
                        let mut client = Client::from(agent.connect(link.target()));
                        for _ in 0..ROUNDS {
                            let report = client.get("/").json();
                            assert_eq!(report["identity"]["x-pv-client"], link.text("consumer"));
                        }
                    });
                }
            }
        });
        let records = rest.provider.records();
        assert_eq!(records.requests().count(), CONSUMERS * EACH * ROUNDS);
        let mut of_connection: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
        for seen in records.requests() {
            of_connection.entry(seen.connection).or_default().insert(seen.head.get("x-pv-client").unwrap());
        }
        assert!(of_connection.values().all(|clients| clients.len() == 1), "{of_connection:?}");
        assert_eq!(of_connection.len(), CONSUMERS * EACH, "a connection for each of the consumers'");
    });
}

#[test]
fn a_consumer_that_goes_away_takes_its_request_along() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/held", vec![Step::Body, Step::Hang]);
        let client = rest.connect();
        client.ask("GET", "/held", "");
        rest.provider.wait_for("/held");
        drop(client);
        rest.provider.wait("the end", |records| records.0[0].ended);
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}

#[test]
fn a_socket_that_only_root_may_use_is_reached_as_the_role() {
    run(|sandbox| {
        use std::os::unix::fs::PermissionsExt;
        let rest = Rest::start(sandbox);
        let file = rest.house.host_path(rest.link.socket());
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
        rest.assert_reported(&rest.connect().get("/").json());
    });
}

#[test]
fn a_mesh_that_is_stopped_lets_the_request_under_way_end() {
    run(|sandbox| {
        let mut rest = Rest::start(sandbox);
        rest.provider.on("/held", [vec![Step::Gate("go".into())], fixed("200 OK", "", "done")].concat());
        let mut client = rest.connect();
        client.ask("GET", "/held", "");
        rest.provider.wait_for("/held");
        let mut other = rest.connect();
        other.get("/");
        rest.mesh.begin_stop();
        // The idle connection ends, so that nothing new begins.
        other.ends();
        rest.provider.open("go");
        assert_eq!(client.answer().body, "done");
        client.ends();
        assert_eq!(rest.mesh.stop(), Some(0));
    });
}

#[test]
fn a_link_that_is_removed_cuts_the_request_under_way() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        rest.provider.on("/held", vec![Step::Body, Step::Hang]);
        let mut client = rest.connect();
        client.ask("GET", "/held", "");
        rest.provider.wait_for("/held");
        rest.mesh.apply(&[]);
        client.ends();
        rest.provider.wait("the end", |records| records.0[0].ended);
        rest.mesh.wait_gone(&rest.link);
    });
}

#[test]
fn a_provider_container_that_is_killed_and_comes_back_is_used_again() {
    run(|sandbox| {
        let mut rest = Rest::start_with(sandbox, |link| link.option("connect_timeout", 60));
        let mut client = rest.connect();
        client.get("/");
        let house = std::mem::replace(&mut rest.house, Container::start(sandbox));
        house.kill();
        rest.provider = Provider::start(&rest.house.listen(rest.link.socket()), Plan::new());
        rest.link = rest.link.clone().between(&rest.consumer, &rest.house);
        rest.mesh.apply(std::slice::from_ref(&rest.link));
        rest.mesh.wait(&rest.link, "up");
        rest.assert_reported(&rest.connect().get("/").json());
    });
}
