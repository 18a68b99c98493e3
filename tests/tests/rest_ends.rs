//! Ends of connections: who has ended its sending side still waits and still is waited for, and costs nothing
//! meanwhile; who is gone leaves nothing behind; a mesh that stops ends what rests.

use xconnect_tests::mesh::Setup;
use xconnect_tests::process::cpu_ticks;
use xconnect_tests::rest::{Answer, Client, Plan, Rest, Step, Trouble, generated};
use xconnect_tests::wait::ensure;
use xconnect_tests::{Container, Mesh, Sandbox, eventually, payload, run};

/// Ticks (of 10 ms) that a mesh may use while it waits for two seconds; one that spins uses some 200.
const NEXT_TO_NOTHING: u64 = 40;
/// A time that no test waits for, in seconds.
const NEVER: u64 = 3600;

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\n";
const ASK: &str = "Connection: upgrade\r\nUpgrade: tunnel\r\n";

fn gate(name: &str) -> Step {
    Step::Gate(name.to_owned())
}

/// Does something that takes seconds, during which the mesh does next to nothing.
#[track_caller]
fn at_rest<T>(mesh: &Mesh, wait: impl FnOnce() -> T) -> T {
    let before = cpu_ticks(mesh.pid());
    let result = wait();
    let used = cpu_ticks(mesh.pid()) - before;
    assert!(used < NEXT_TO_NOTHING, "{used} ticks");
    result
}

#[track_caller]
fn wait_all_ended(rest: &Rest) {
    rest.provider.wait("the end", |records| records.0.iter().all(|record| record.ended));
}

#[test]
fn a_half_closed_consumer_of_a_silent_provider_gets_504_in_time() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("response_timeout", 2));
        rest.provider.on("/silent", vec![Step::Body, Step::Hang]);
        for request in [
            "GET /silent HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "POST /silent HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            let mut client = rest.connect();
            client.send(request);
            client.shutdown();
            let answer = at_rest(&rest.mesh, || client.answer());
            assert_eq!(answer.status, 504, "{request}: {answer:?}");
            client.ends();
        }
        wait_all_ended(&rest);
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}

#[test]
fn a_half_closed_consumer_that_does_not_read_is_cut_in_time() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("body_timeout", 2));
        rest.provider.on("/big", generated(1, 64 << 20));
        let mut client = rest.connect();
        client.ask("GET", "/big", "");
        client.shutdown();
        rest.provider.wait_for("/big");
        at_rest(&rest.mesh, || wait_all_ended(&rest));
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
        let mut answer = Answer::default();
        assert_eq!(client.try_answer("GET", &mut answer), Err(Trouble::Cut));
        assert_eq!(answer.status, 200);
    });
}

#[test]
fn a_half_closed_consumer_gets_all_of_a_late_and_long_answer() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let mut steps = vec![Step::Body, gate("go")];
        steps.extend(generated(3, 8 << 20).into_iter().skip(1));
        rest.provider.on("/late", steps);
        let mut client = rest.connect();
        client.ask("GET", "/late", "");
        client.shutdown();
        rest.provider.wait_for("/late");
        rest.provider.open("go");
        let (status, _) = client.head().unwrap_or_else(|trouble| panic!("{trouble:?}"));
        assert_eq!(status, 200);
        assert_eq!(client.skip_body(8 << 20), Ok(()));
        client.ends();
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}

#[test]
fn a_tunnel_whose_consumer_has_ended_its_side_carries_the_other_way_until_it_idles() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.option("idle_timeout", 2));
        let steps = vec![Step::Send(SWITCH.into()), gate("late"), Step::Send("late".into()), gate("never")];
        rest.provider.on("/up", steps);
        let mut client = rest.connect();
        assert_eq!(client.call("GET", "/up", ASK).status, 101);
        client.shutdown();
        at_rest(&rest.mesh, || {
            rest.provider.open("late");
            assert_eq!(client.exact(4), b"late");
            // The provider does not end it.
            client.ends();
        });
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}

#[test]
fn a_tunnel_whose_provider_has_ended_its_side_carries_the_other_way_until_it_idles() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.option("idle_timeout", 2));
        rest.provider.on("/up", vec![Step::Send(SWITCH.into()), Step::Shutdown, Step::Hang]);
        let mut client = rest.connect();
        assert_eq!(client.call("GET", "/up", ASK).status, 101);
        client.ends();
        at_rest(&rest.mesh, || {
            client.send("still here");
            rest.provider.wait("what came late", |records| records.0[0].raw.ends_with("still here"));
            // The consumer does not end it.
            wait_all_ended(&rest);
        });
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}

#[test]
fn a_consumer_that_leaves_a_half_closed_tunnel_ends_it() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        // The consumer had ended its side before.
        let steps = vec![Step::Send(SWITCH.into()), gate("go"), Step::Generate(1, 1 << 40)];
        rest.provider.on("/consumer", steps);
        let mut client = rest.connect();
        assert_eq!(client.call("GET", "/consumer", ASK).status, 101);
        client.shutdown();
        drop(client);
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
        rest.provider.open("go");
        wait_all_ended(&rest);
        // The provider had.
        rest.provider.on("/provider", vec![Step::Send(SWITCH.into()), Step::Shutdown, Step::Hang]);
        let mut client = rest.connect();
        assert_eq!(client.call("GET", "/provider", ASK).status, 101);
        client.ends();
        drop(client);
        wait_all_ended(&rest);
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}

#[test]
fn a_consumer_that_does_not_wait_for_a_provider_leaves_no_request() {
    run(|sandbox| {
        let mut rest = Rest::start_with(sandbox, |link| link.option("connect_timeout", NEVER));
        rest.stop_provider();
        let half = format!("Content-Length: 3000000\r\n\r\n{}", "x".repeat(50_000));
        for (method, rest_of_it) in [
            ("GET", "\r\n"),
            ("POST", "Content-Length: 5\r\n\r\nhello"),
            ("POST", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            ("PUT", &half),
            ("GET", &format!("{ASK}\r\n")),
        ] {
            for half_closed in [false, true] {
                let client = rest.connect();
                client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{rest_of_it}"));
                rest.mesh.wait_counter(&rest.link, "/http/requests/open", 1);
                if half_closed {
                    client.shutdown();
                }
                drop(client);
                rest.mesh.wait_counter(&rest.link, "/http/requests/open", 0);
                rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
            }
        }
        // Who stays is served, half-closed or not.
        let mut client = rest.connect();
        client.send("POST /stays HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        client.shutdown();
        rest.mesh.wait_counter(&rest.link, "/http/requests/open", 1);
        rest.start_provider(Plan::new());
        assert_eq!(client.answer().json()["length"], 5);
        client.ends();
        assert_eq!(rest.provider.records().requests().count(), 1);
    });
}

#[test]
fn a_consumer_that_does_not_wait_for_its_upgrade_leaves_no_request() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.rest("response_timeout", NEVER));
        rest.provider.on("/up", vec![Step::Body, Step::Hang]);
        for early in ["", "the other protocol's first bytes"] {
            let client = rest.connect();
            client.send(format!("GET /up HTTP/1.1\r\nHost: a\r\n{ASK}\r\n{early}"));
            rest.mesh.wait_counter(&rest.link, "/http/requests/open", 1);
            drop(client);
            rest.mesh.wait_counter(&rest.link, "/http/requests/open", 0);
            rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
            wait_all_ended(&rest);
        }
    });
}

/// A link of a mesh that would wait very long for connections to end by themselves.
fn patient_mesh(sandbox: &Sandbox) -> Rest {
    let arguments = vec!["--drain".into(), NEVER.to_string().into()];
    let setup = Setup { arguments, ..Setup::default() };
    Rest::start_as(sandbox, setup, Container::start(sandbox), Container::start(sandbox), |link| link)
}

#[track_caller]
fn wait_over(rest: &mut Rest) {
    eventually("the mesh ends", || ensure(!rest.mesh.is_alive(), "it is there"));
    assert_eq!(rest.mesh.stop(), Some(0));
}

#[test]
fn a_mesh_that_stops_does_not_wait_for_connections_between_two_requests() {
    run(|sandbox| {
        let mut rest = patient_mesh(sandbox);
        let mut clients: Vec<_> = (0..10).map(|_| rest.connect()).collect();
        for client in &mut clients[..5] {
            client.get("/");
        }
        rest.mesh.wait_counter(&rest.link, "/connections/open", 10);
        rest.mesh.begin_stop();
        for client in &mut clients {
            client.ends();
        }
        wait_over(&mut rest);
        wait_all_ended(&rest);
    });
}

/// Reads so many blocks of an answer; with its head, where it has not come yet.
#[track_caller]
fn take(client: &mut Client, with_head: bool, blocks: u64) {
    if with_head {
        let (status, _) = client.head().unwrap_or_else(|trouble| panic!("{trouble:?}"));
        assert_eq!(status, 200);
    }
    let block = payload::bytes(5, BLOCK);
    for _ in 0..blocks {
        payload::assert_same("the answer", &client.exact(BLOCK), &block);
    }
}

/// What [`Step::Generate`] repeats.
const BLOCK: usize = 65536;

/// A mesh is told to stop when so many blocks of an answer have come to its consumer; the others come then.
#[track_caller]
fn deliver_while_stopping(sandbox: &Sandbox, before: u64, after: u64) {
    let mut rest = patient_mesh(sandbox);
    let bytes = |blocks: u64| Step::Generate(5, blocks * BLOCK as u64);
    let length = (before + after) * BLOCK as u64;
    let head = Step::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
    let begun = before > 0;
    let steps = if begun {
        vec![Step::Body, head, bytes(before), gate("go"), bytes(after)]
    } else {
        vec![Step::Body, gate("go"), head, bytes(after)]
    };
    rest.provider.on("/held", steps);
    let (mut busy, mut resting) = (rest.connect(), rest.connect());
    busy.get("/");
    resting.get("/");
    busy.ask("GET", "/held", "");
    rest.provider.wait_for("/held");
    take(&mut busy, begun, before);
    rest.mesh.begin_stop();
    // The drain has begun: what rested is over.
    resting.ends();
    assert!(rest.mesh.is_alive());
    rest.provider.open("go");
    take(&mut busy, !begun, after);
    // The consumer has not ended it.
    busy.ends();
    wait_over(&mut rest);
    wait_all_ended(&rest);
}

#[test]
fn a_mesh_that_stops_delivers_an_answer_that_begins_late_and_ends_with_it() {
    run(|sandbox| deliver_while_stopping(sandbox, 0, 64));
}

#[test]
fn a_mesh_that_stops_delivers_an_answer_that_has_begun_and_ends_with_it() {
    run(|sandbox| deliver_while_stopping(sandbox, 32, 64));
}
