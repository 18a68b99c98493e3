//! Time limits of rest links: what is waited for, how long, and what the consumer hears then.

use std::time::{Duration, Instant};

use xconnect_tests::rest::{Answer, Plan, Rest, Step, Trouble, answer};
use xconnect_tests::{Sandbox, run};

fn with(sandbox: &Sandbox, time: &str, seconds: f64) -> Rest {
    Rest::start_with(sandbox, |link| link.rest(time, seconds))
}

#[test]
fn a_provider_that_is_not_up_is_waited_for_and_then_503() {
    run(|sandbox| {
        let mut rest = Rest::start_with(sandbox, |link| link.option("connect_timeout", 1));
        let mut client = rest.connect();
        client.get("/");
        rest.stop_provider();
        let begin = Instant::now();
        let mut client = rest.connect();
        let refused = client.call("GET", "/", "");
        assert!(begin.elapsed() >= Duration::from_millis(900), "after {:?}", begin.elapsed());
        assert_eq!((refused.status, refused.head.get("retry-after")), (503, Some("1")));
        assert!(refused.json()["error"].is_string(), "{refused:?}");
        client.ends_as_said(&refused);
        rest.start_provider(Plan::new());
        rest.assert_reported(&rest.connect().get("/").json());
    });
}

#[test]
fn a_provider_that_comes_up_in_time_answers_what_waited() {
    run(|sandbox| {
        let mut rest = Rest::start_with(sandbox, |link| link.option("connect_timeout", 60));
        rest.stop_provider();
        let mut clients: Vec<_> = (0..5).map(|_| rest.connect()).collect();
        for client in &clients {
            client.send("POST /waited HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        }
        rest.mesh.wait_counter(&rest.link, "/connections/total", 5);
        rest.start_provider(Plan::new());
        for client in &mut clients {
            let answer = client.answer();
            assert_eq!(answer.status, 200, "{answer:?}");
            rest.assert_reported(&answer.json());
            assert_eq!(answer.json()["length"], 5);
        }
    });
}

#[test]
fn a_provider_that_is_silent_gives_504() {
    run(|sandbox| {
        let rest = with(sandbox, "response_timeout", 1.0);
        rest.provider.on("/silent", vec![Step::Body, Step::Hang]);
        let mut client = rest.connect();
        let silent = client.call("GET", "/silent", "");
        assert_eq!(silent.status, 504, "{silent:?}");
        assert!(silent.json()["error"].is_string());
        client.ends_as_said(&silent);
        rest.provider.wait("the end", |records| records.0.iter().all(|record| record.ended));
    });
}

#[test]
fn a_provider_that_falls_silent_within_its_answer_is_cut() {
    run(|sandbox| {
        let rest = with(sandbox, "response_timeout", 1.0);
        let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
        rest.provider.on("/half", [answer(half), vec![Step::Hang]].concat());
        let mut client = rest.connect();
        client.ask("GET", "/half", "");
        let mut got = Answer::default();
        assert_eq!(client.try_answer("GET", &mut got), Err(Trouble::Cut));
        assert_eq!((got.status, got.body.as_str()), (200, "hello"));
    });
}

#[test]
fn an_answer_that_trickles_is_not_silence() {
    run(|sandbox| {
        let rest = with(sandbox, "response_timeout", 1.0);
        let mut steps = answer("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
        for _ in 0..8 {
            steps.extend([Step::Wait(300), Step::Send("x".into())]);
        }
        rest.provider.on("/slow", steps);
        assert_eq!(rest.connect().get("/slow").body, "xxxxxxxx");
    });
}

#[test]
fn a_head_that_does_not_end_gives_408() {
    run(|sandbox| {
        let rest = with(sandbox, "header_timeout", 1.0);
        let mut client = rest.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-A: ");
        // Bytes that come now and then do not help: the time is the head's.
        let writer = client.socket().dup();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..200 {
                    if writer.try_send(b"x", &[]).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
            let late = client.answer();
            assert_eq!(late.status, 408, "{late:?}");
            assert!(late.json()["error"].is_string());
            client.ends();
            let _ = rustix::net::shutdown(client.socket(), rustix::net::Shutdown::Both);
        });
        assert_eq!(rest.provider.records().requests().count(), 0);
    });
}

#[test]
fn a_connection_without_a_request_is_not_a_late_head() {
    run(|sandbox| {
        let rest = with(sandbox, "header_timeout", 1.0);
        let mut client = rest.connect();
        client.get("/1");
        std::thread::sleep(Duration::from_millis(1500));
        client.get("/2");
    });
}

#[test]
fn a_body_that_stands_still_gives_408() {
    run(|sandbox| {
        let rest = with(sandbox, "body_timeout", 1.0);
        for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
            let mut client = rest.connect();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"));
            let late = client.answer();
            assert_eq!(late.status, 408, "{late:?}");
            assert!(late.json()["error"].is_string());
            client.ends();
        }
        let records = rest.provider.wait("the end", |records| records.0.iter().all(|record| record.ended));
        assert!(records.requests().all(|seen| !seen.complete), "{records:?}");
    });
}

#[test]
fn a_body_that_trickles_does_not_stand_still() {
    run(|sandbox| {
        let rest = with(sandbox, "body_timeout", 1.0);
        let mut client = rest.connect();
        client.ask("POST", "/", "Content-Length: 8\r\n");
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(300));
            client.send("x");
        }
        assert_eq!(client.answer().json()["length"], 8);
    });
}

#[test]
fn a_connection_that_nobody_uses_is_closed_and_one_in_use_is_not() {
    run(|sandbox| {
        let rest = Rest::start_with(sandbox, |link| link.option("idle_timeout", 1));
        rest.provider.on("/slow", vec![Step::Body, Step::Wait(2500), Step::Report]);
        let (mut idle, mut busy, mut new) = (rest.connect(), rest.connect(), rest.connect());
        idle.get("/");
        busy.ask("GET", "/slow", "");
        idle.ends();
        new.ends();
        assert_eq!(busy.answer().status, 200);
        busy.ends();
        rest.mesh.wait_counter(&rest.link, "/connections/open", 0);
    });
}
