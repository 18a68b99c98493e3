//! What the client expects of its link, one function each.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::http::{Answer, Connection};

/// The name of the container, which is the program's.
const NAME: &str = env!("CARGO_PKG_NAME");
/// Role and user of the link, as the two manifests say.
const ROLE: &str = "any";
const UID: u32 = 1001;
/// A value that must not arrive.
const FORGED: &str = "forged-by-the-consumer";

/// Why a check is no success.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be made: the provider or the mesh is not there. Worth another try.
    NotYet(String),
    /// The link does what it must not do.
    Wrong(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Wrong(error.to_string()),
            _ => Self::NotYet(error.to_string()),
        }
    }
}

/// What was seen, for people.
type Outcome = Result<String, Failure>;

type Check = fn(&Path) -> Outcome;

pub(super) const CHECKS: [(&str, Check); 7] = [
    ("identity", identity),
    ("forged fields", forged_fields),
    ("forged trailers", forged_trailers),
    ("a forbidden path", forbidden),
    ("a smuggled request", smuggled),
    ("keep-alive", keep_alive),
    ("a stream", streamed),
];

fn ask(socket: &Path, request: &str) -> Result<Answer, Failure> {
    judged(Connection::open(socket)?.ask(request)?)
}

/// An answer of the provider, or of the mesh about the request.
fn judged(answer: Answer) -> Result<Answer, Failure> {
    match answer.status {
        502..=504 => Err(Failure::NotYet(format!("status {}: {}", answer.status, answer.body))),
        _ => Ok(answer),
    }
}

fn expect(answer: &Answer, status: u16) -> Result<(), Failure> {
    if answer.status == status { Ok(()) } else { Err(wrong(&format!("not {status}"), answer)) }
}

fn wrong(what: &str, answer: &Answer) -> Failure {
    Failure::Wrong(format!("{what}: status {}, {}", answer.status, answer.body.trim()))
}

/// The provider knows us by name and role, and by the role's user.
fn expect_identity(answer: &Answer) -> Result<(), Failure> {
    expect(answer, 200)?;
    for part in [format!(r#""client":"{NAME}""#), format!(r#""role":"{ROLE}""#), format!(r#""uid":{UID},"#)] {
        if !answer.body.contains(&part) {
            return Err(wrong(&format!("the provider did not see {part}"), answer));
        }
    }
    if answer.body.contains(r#""link_id":"""#) {
        return Err(wrong("the provider saw no link", answer));
    }
    Ok(())
}

fn identity(socket: &Path) -> Outcome {
    let answer = ask(socket, "GET /identity HTTP/1.1\r\nHost: network-manager\r\n\r\n")?;
    expect_identity(&answer)?;
    Ok(format!("the provider saw {NAME} as role {ROLE}, uid {UID}"))
}

fn forged_fields(socket: &Path) -> Outcome {
    let spellings =
        ["X-PV-Role", "x-pv-client", "x_pv_client", "X.PV.Role", "X-PV-Link-Id", "X-Forwarded-For"];
    let fields: String = spellings.iter().map(|name| format!("{name}: {FORGED}\r\n")).collect();
    let request =
        format!("GET /identity HTTP/1.1\r\nHost: network-manager\r\n{fields}Connection: X-PV-Role\r\n\r\n");
    let answer = ask(socket, &request)?;
    expect_identity(&answer)?;
    if answer.body.contains(FORGED) {
        return Err(wrong("a forged field reached the provider", &answer));
    }
    Ok(format!("none of {} reached the provider", spellings.len()))
}

fn forged_trailers(socket: &Path) -> Outcome {
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: network-manager\r\nTransfer-Encoding: chunked\r\nTrailer: X-PV-Role\r\n\r\n\
         5\r\nhello\r\n0\r\nX-PV-Role: {FORGED}\r\nx_pv_role: {FORGED}\r\nAuthorization: {FORGED}\r\nX-Note: kept\r\n\r\n"
    );
    let answer = ask(socket, &request)?;
    expect_identity(&answer)?;
    if answer.body.contains(FORGED) {
        return Err(wrong("a forged trailer reached the provider", &answer));
    }
    if !answer.body.contains(r#""trailers":["X-Note: kept"],"body":"hello""#) {
        return Err(wrong("body or trailer did not arrive", &answer));
    }
    Ok("the body and the harmless trailer arrived alone".to_owned())
}

fn forbidden(socket: &Path) -> Outcome {
    let paths =
        ["/secret", "/secret?x=/identity", "/%73ecret", "/identity/../secret", "/identity/%2e%2e/secret"];
    for path in paths {
        let answer = ask(socket, &format!("GET {path} HTTP/1.1\r\nHost: network-manager\r\n\r\n"))?;
        expect(&answer, 403)?;
    }
    let answer = ask(socket, "DELETE /identity HTTP/1.1\r\nHost: network-manager\r\n\r\n")?;
    expect(&answer, 403)?;
    Ok("/secret is refused, however it is written".to_owned())
}

/// Two servers in a row that find the end of a request in different places would let a second one through.
fn smuggled(socket: &Path) -> Outcome {
    let inner = "GET /secret HTTP/1.1\r\nHost: network-manager\r\n\r\n";
    let length = inner.len();
    for framing in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Content-Length: 0\r\nContent-Length: {length}"),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".to_owned(),
        format!("Content-Length: +{length}"),
    ] {
        let request = format!("POST /echo HTTP/1.1\r\nHost: network-manager\r\n{framing}\r\n\r\n{inner}");
        let answer = ask(socket, &request)?;
        expect(&answer, 400)?;
    }
    Ok("a request with an ambiguous length is refused".to_owned())
}

fn keep_alive(socket: &Path) -> Outcome {
    const REQUESTS: usize = 3;
    let mut connection = Connection::open(socket)?;
    for number in 0..REQUESTS {
        let word = format!("word {number}");
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: network-manager\r\nContent-Length: {}\r\n\r\n{word}",
            word.len()
        );
        let answer = judged(connection.ask(&request)?)?;
        expect_identity(&answer)?;
        if !answer.body.contains(&format!(r#""body":"{word}""#)) {
            return Err(wrong("another body came back", &answer));
        }
        if !answer.keeps {
            return Err(wrong("the connection is not kept", &answer));
        }
    }
    Ok(format!("{REQUESTS} requests over one connection"))
}

fn streamed(socket: &Path) -> Outcome {
    // The server takes 200 ms to make it. A busy host can deliver it late once, and so all at once.
    for _ in 0..3 {
        let answer = ask(socket, "GET /stream HTTP/1.1\r\nHost: network-manager\r\n\r\n")?;
        expect(&answer, 200)?;
        let lines: String = (1..=5).map(|number| format!("line {number}\n")).collect();
        if answer.body != lines {
            return Err(wrong("not every line came", &answer));
        }
        if answer.took > Duration::from_millis(50) {
            return Ok("its lines came as they were made".to_owned());
        }
    }
    Err(Failure::Wrong("the answer is held back until it is whole".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::{env, fs, process, thread};

    use super::*;

    /// What a check says where every request gets the same answer.
    fn outcome(name: &str, check: Check, status: u16, body: &str) -> Outcome {
        let socket = env::temp_dir().join(format!("pv-example-rest-client-{}-{name}", process::id()));
        let listener = UnixListener::bind(&socket).unwrap();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                drop(stream.read(&mut [0; 4096]));
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        let outcome = check(&socket);
        fs::remove_file(socket).unwrap();
        outcome
    }

    fn is_wrong(outcome: &Outcome) -> bool {
        matches!(outcome, Err(Failure::Wrong(_)))
    }

    const GOOD: &str =
        r#"{"client":"pv-example-rest-client","role":"any","link_id":"7","uid":1001,"gid":1001}"#;

    #[test]
    fn only_the_right_identity_is_good() {
        assert!(outcome("good", identity, 200, GOOD).is_ok());
        for (number, (ours, theirs)) in
            [("\"any\"", "\"root\""), ("client\",", "other\","), (":1001,\"g", ":0,\"g"), ("\"7\"", "\"\"")]
                .into_iter()
                .enumerate()
        {
            let outcome =
                outcome(&format!("identity-{number}"), identity, 200, &GOOD.replacen(ours, theirs, 1));
            assert!(is_wrong(&outcome), "{theirs}: {outcome:?}");
        }
    }

    #[test]
    fn what_gets_through_is_noticed() {
        let forged = GOOD.replace('}', &format!(r#","fields":["x_pv_client: {FORGED}"]}}"#));
        assert!(outcome("fields", forged_fields, 200, GOOD).is_ok());
        assert!(is_wrong(&outcome("forged", forged_fields, 200, &forged)));
        assert!(is_wrong(&outcome("trailers", forged_trailers, 200, &forged)));
        assert!(is_wrong(&outcome("secret", forbidden, 200, "what only some roles may read")));
        assert!(outcome("forbidden", forbidden, 403, "{}").is_ok());
        assert!(is_wrong(&outcome("smuggled", smuggled, 200, GOOD)));
        assert!(is_wrong(&outcome("closed", keep_alive, 200, &GOOD.replace('}', r#","body":"word 0"}"#))));
    }

    #[test]
    fn who_is_not_there_is_no_failure() {
        let nobody = identity(Path::new("/nowhere/api.sock"));
        assert!(matches!(nobody, Err(Failure::NotYet(_))), "{nobody:?}");
        let starting = outcome("starting", forbidden, 503, "{}");
        assert!(matches!(starting, Err(Failure::NotYet(_))), "{starting:?}");
    }
}
