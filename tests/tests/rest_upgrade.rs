//! Requests that become something else: after 101 the bytes are the two ends' own, both ways, to both ends.

use xconnect_tests::rest::{Client, Rest, Step};
use xconnect_tests::{Sandbox, payload, run};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\nX-A: b\r\n\r\n";
const ASK: &str = "Connection: upgrade\r\nUpgrade: tunnel\r\n";

fn start(sandbox: &Sandbox) -> Rest {
    let rest = Rest::start(sandbox);
    rest.provider.on("/up", vec![Step::Send(SWITCH.into()), Step::Relay, Step::Close]);
    rest
}

fn upgrade(client: &mut Client) {
    let answer = client.call("GET", "/up", ASK);
    assert_eq!(answer.status, 101);
    assert_eq!(answer.head.get("upgrade"), Some("tunnel"));
    assert_eq!(answer.head.get("x-a"), Some("b"));
    assert!(answer.head.all("connection").any(|value| value.eq_ignore_ascii_case("upgrade")), "{answer:?}");
}

#[test]
fn bytes_pass_both_ways_and_each_end_ends_for_itself() {
    run(|sandbox| {
        let rest = start(sandbox);
        let mut client = rest.connect();
        upgrade(&mut client);
        // What would be a refused request is nothing but bytes.
        client.send(b"GET / HTTP/9.9\r\n\0\n\n");
        assert_eq!(client.exact(19), b"GET / HTTP/9.9\r\n\0\n\n");
        let body = payload::bytes(1, 3_000_000);
        let writer = client.socket().dup();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                payload::send_in_chunks(&writer, &body);
                writer.shutdown_write();
            });
            payload::assert_same("the tunnel", &client.exact(body.len()), &body);
        });
        client.ends();
        rest.assert_identity(rest.provider.records().only("/up"));
    });
}

#[test]
fn bytes_that_came_with_the_request_and_with_the_answer_are_the_tunnels() {
    run(|sandbox| {
        let rest = start(sandbox);
        rest.provider.on("/up", vec![Step::Send(format!("{SWITCH}early")), Step::Relay, Step::Close]);
        let mut client = rest.connect();
        client.send(format!("GET /up HTTP/1.1\r\nHost: a\r\n{ASK}\r\neager"));
        assert_eq!(client.answer().status, 101);
        assert_eq!(client.exact(10), b"earlyeager");
        client.shutdown();
        client.ends();
    });
}

#[test]
fn the_provider_may_end_first() {
    run(|sandbox| {
        let rest = start(sandbox);
        let steps = vec![Step::Send(format!("{SWITCH}bye")), Step::Shutdown, Step::Hang];
        rest.provider.on("/up", steps);
        let mut client = rest.connect();
        upgrade(&mut client);
        assert_eq!(client.exact(3), b"bye");
        client.ends();
        // The other way is open still.
        client.send("still here");
        rest.provider.wait("what came late", |records| records.0[0].raw.ends_with("still here"));
        client.shutdown();
        rest.provider.wait("the end", |records| records.0[0].ended);
    });
}

#[test]
fn a_provider_that_refuses_answers_as_usual() {
    run(|sandbox| {
        let rest = start(sandbox);
        let mut client = rest.connect();
        let answer = client.call("GET", "/plain", ASK);
        assert_eq!(answer.status, 200);
        rest.assert_reported(&answer.json());
        client.get("/next");
    });
}

#[test]
fn a_tunnel_survives_its_time_limits_as_long_as_it_is_used() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| {
            let times = ["header_timeout", "body_timeout", "response_timeout"];
            times.into_iter().fold(link, |link, name| link.rest(name, 1))
        });
        rest.provider.on("/up", vec![Step::Send(SWITCH.into()), Step::Relay, Step::Close]);
        let mut client = rest.connect();
        upgrade(&mut client);
        // Longer than each of them.
        std::thread::sleep(std::time::Duration::from_millis(2500));
        client.send("x");
        assert_eq!(client.exact(1), b"x");
    });
}
