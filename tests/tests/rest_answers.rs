//! What providers answer that is no proper answer: the consumer gets 502, or sees that an answer was cut; nothing that
//! two readers could read in two ways reaches it.

use xconnect_tests::rest::{Answer, Rest, Step, Trouble, answer, chunked};
use xconnect_tests::{Sandbox, run};

/// Answers that are refused, each with what is wrong with it.
const BAD: [(&str, &str); 34] = [
    ("both framings", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "both framings, the other order",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
    ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
    ("a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello"),
    ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello"),
    ("a length beyond numbers", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello"),
    ("gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello"),
    (
        "chunked twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("LF alone", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    ("LF alone within the head", "HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 5\r\n\r\nhello"),
    ("CR alone within a value", "HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 5\r\n\r\nhello"),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 5\r\n\r\nhello"),
    ("a control character in a value", "HTTP/1.1 200 OK\r\nX-A: \x1b[2J\r\nContent-Length: 5\r\n\r\nhello"),
    ("a folded line", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello"),
    ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
    ("no colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 5\r\n\r\nhello"),
    ("an empty name", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 5\r\n\r\nhello"),
    ("no status", "HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
    ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("a status below all", "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("a status that is no number", "HTTP/1.1 2O0 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("another version", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("another protocol", "RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("no head at all", "hello\r\n\r\n"),
    ("a greeting", "220 mail.example ESMTP\r\n\r\n"),
    ("a control character in the reason", "HTTP/1.1 200 O\x07K\r\nContent-Length: 5\r\n\r\nhello"),
    (
        "101 that nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
    ),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
];

#[test]
fn an_answer_that_is_none_becomes_502() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let mut failed = Vec::new();
        for (number, (name, bytes)) in BAD.iter().enumerate() {
            let path = format!("/bad/{number}");
            rest.provider.on(&path, [answer(bytes), vec![Step::Shutdown, Step::Hang]].concat());
            let mut client = rest.connect();
            client.ask("GET", &path, "");
            let mut got = Answer::default();
            let whole = client.try_answer("GET", &mut got);
            if whole.is_err() || got.status != 502 {
                failed.push(format!("{name}: {whole:?} {got:?}"));
                continue;
            }
            assert!(got.json()["error"].is_string(), "{name}: {got:?}");
            rest.provider
                .wait("the end of the connection", |records| records.0.iter().all(|record| record.ended));
        }
        assert!(failed.is_empty(), "{failed:#?}");
        rest.connect().get("/fine");
    });
}

#[test]
fn a_head_of_an_answer_that_is_too_large_becomes_502() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let big = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(70_000));
        rest.provider.on("/big", answer(big));
        assert_eq!(rest.connect().call("GET", "/big", "").status, 502);
        let large = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(60_000));
        rest.provider.on("/large", answer(large));
        assert_eq!(rest.connect().get("/large").head.get("x-a").map(str::len), Some(60_000));
    });
}

#[test]
fn an_answer_with_too_many_options_of_its_connection_becomes_502() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let with = |options: &str| {
            answer(format!("HTTP/1.1 200 OK\r\nConnection: {options}\r\nP: q\r\nContent-Length: 0\r\n\r\n"))
        };
        let most = "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p";
        rest.provider.on("/most", with(most));
        assert_eq!(rest.connect().get("/most").head.get("p"), None);
        for (path, options) in [
            ("/more", format!("{most}, q")),
            ("/twice", format!("{most}\r\nConnection: q")),
            ("/many", "a,".repeat(30_000)),
        ] {
            rest.provider.on(path, with(&options));
            let answer = rest.connect().call("GET", path, "");
            assert_eq!(answer.status, 502, "{path}: {answer:?}");
            assert!(answer.json()["error"].is_string(), "{path}: {answer:?}");
        }
    });
}

#[test]
fn bytes_behind_an_answer_are_no_answer_to_the_next_request() {
    run(|sandbox| {
        let rest = Rest::start(sandbox);
        let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
        for body in ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\n"] {
            rest.provider.on("/first", answer(format!("{body}{forged}")));
            let mut client = rest.connect();
            assert!(client.call("GET", "/first", "").status < 300);
            let mut next = Answer::default();
            client.ask("GET", "/next", "");
            // The connection may be cut for it, or a fresh one to the provider is used.
            match client.try_answer("GET", &mut next) {
                Ok(()) => assert!(next.body != "forged", "{next:?}"),
                Err(trouble) => assert!(matches!(trouble, Trouble::End | Trouble::Cut), "{trouble:?}"),
            }
        }
    });
}

/// Asks; gives what came of the answer and how it ended.
fn broken(sandbox: &Sandbox, steps: Vec<Step>) -> (Answer, Result<(), Trouble>) {
    let rest = Rest::start(sandbox);
    rest.provider.on("/broken", steps);
    let mut client = rest.connect();
    client.ask("GET", "/broken", "");
    let mut got = Answer::default();
    let ended = client.try_answer("GET", &mut got);
    (got, ended)
}

#[test]
fn an_answer_by_length_that_ends_early_is_seen_to_be_cut() {
    run(|sandbox| {
        let steps =
            [answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), vec![Step::Close]].concat();
        let (got, ended) = broken(sandbox, steps);
        assert_eq!((got.status, got.body.as_str(), ended), (200, "hello", Err(Trouble::Cut)));
    });
}

#[test]
fn an_answer_by_chunks_that_ends_early_is_seen_to_be_cut() {
    run(|sandbox| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for rest in ["5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n5\r\n"] {
            let steps = [answer(format!("{head}{rest}")), vec![Step::Close]].concat();
            let (got, ended) = broken(sandbox, steps);
            assert_eq!((got.status, got.body.as_str(), ended), (200, "hello", Err(Trouble::Cut)), "{rest:?}");
        }
    });
}

#[test]
fn a_broken_chunk_of_an_answer_cuts_it() {
    run(|sandbox| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        let broken_parts = [
            "zz\r\n",
            "-1\r\n",
            "5 \r\n",
            "5\nhello\n",
            "3\r\nhello\r\n",
            "ffffffffffffffff\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: \0\r\n\r\n",
        ];
        for part in broken_parts {
            let steps = [answer(format!("{head}{part}")), vec![Step::Hang]].concat();
            let (got, ended) = broken(sandbox, steps);
            // The mistake may have come together with the head.
            if got.status == 502 {
                assert_eq!(ended, Ok(()), "{part:?}: {got:?}");
                continue;
            }
            assert_eq!((got.status, ended), (200, Err(Trouble::Cut)), "{part:?}: {got:?}");
            assert!("hellohel".starts_with(&got.body), "{part:?}: {got:?}");
        }
    });
}

#[test]
fn trailers_of_answers_that_frame_do_not_pass() {
    run(|sandbox| {
        let trailers = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\nX-Fine: yes\r\n";
        let (got, ended) = broken(sandbox, chunked(&["hello"], trailers));
        assert_eq!((got.body.as_str(), ended), ("hello", Ok(())));
        assert_eq!(got.trailers, [("X-Fine".to_owned(), "yes".to_owned())]);
    });
}

#[test]
fn a_provider_that_ends_without_an_answer_gives_503() {
    run(|sandbox| {
        let (got, ended) = broken(sandbox, vec![Step::Body, Step::Close]);
        assert_eq!((got.status, ended), (503, Ok(())));
        assert_eq!(got.head.get("retry-after"), Some("1"));
        assert!(got.json()["error"].is_string(), "{got:?}");
    });
}
