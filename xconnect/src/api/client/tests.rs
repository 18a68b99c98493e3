use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Method;

use super::{Bounds, Client, Error};

struct Server {
    dir: tempfile::TempDir,
    thread: JoinHandle<Vec<u8>>,
}

impl Server {
    /// Takes one connection, reads a head, writes `answer`, and holds the connection open when told so.
    fn answering(answer: Vec<u8>, hold: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut byte = [0];
            while !seen.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                seen.push(byte[0]);
            }
            // The client may have seen enough, and be gone.
            drop(stream.write_all(&answer));
            if hold {
                drop(stream.read_to_end(&mut Vec::new()));
            }
            seen
        });
        Self { dir, thread }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }
}

fn client(path: PathBuf) -> Client {
    let bounds = Bounds { connect: Duration::from_secs(5), total: Duration::from_millis(300), body: 1000 };
    Client::new(vec![path], bounds)
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn get(answer: &[u8], hold: bool) -> Result<super::Answer, Error> {
    let server = Server::answering(answer.to_vec(), hold);
    let result = block(client(server.path()).request(&Method::GET, "/x?y=1", None));
    let seen = String::from_utf8(server.thread.join().unwrap()).unwrap();
    assert!(seen.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: localhost\r\n"), "{seen}");
    result
}

#[test]
fn reads_length_chunks_and_until_close() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n[]"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[]",
    ] {
        let answer = get(answer, false).unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"[]"[..]));
        assert_eq!(answer.content_type, "application/json");
    }
}

#[test]
fn an_error_status_is_an_answer() {
    let answer = get(b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n{} ", false).unwrap();
    assert_eq!(answer.status, 404);
}

#[test]
fn malformed_slow_and_huge_answers_have_their_errors() {
    assert!(matches!(get(b"hello\n", false), Err(Error::Broken { .. })));
    assert!(matches!(get(b"", false), Err(Error::Broken { .. })));
    assert!(matches!(
        get(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", false),
        Err(Error::Broken { .. })
    ));
    assert!(matches!(get(b"", true), Err(Error::Late { .. })));
    assert!(matches!(get(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", true), Err(Error::Late { .. })));
    let huge = [b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", &[b' '; 2000][..]].concat();
    let Err(error) = get(&huge, false) else { panic!("taken") };
    assert!(matches!(error, Error::TooLarge { limit: 1000, .. }));
    assert!(error.to_string().starts_with("GET /x?y=1 on /"), "{error}");
}

#[test]
fn lines_arrive_one_by_one_and_the_last_needs_no_newline() {
    let server = Server::answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n4\r\nc\n\nd\r\n0\r\n\r\n"
            .to_vec(),
        true,
    );
    let lines = block(async {
        let mut lines = client(server.path()).lines("/g?watch=1").await.unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(String::from_utf8(line).unwrap());
        }
        all
    });
    server.thread.join().unwrap();
    assert_eq!(lines, ["a", "bc", "", "d"]);
}

#[test]
fn a_line_without_end_is_refused() {
    let answer = [b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 5000][..]].concat();
    let server = Server::answering(answer, true);
    let result = block(async { client(server.path()).lines("/g").await.unwrap().next().await });
    server.thread.join().unwrap();
    assert!(matches!(result, Err(Error::TooLarge { .. })));
}

#[test]
fn a_refused_stream_carries_the_answer() {
    let server = Server::answering(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n{}".to_vec(), false);
    let Err(Error::Refused { answer }) = block(client(server.path()).lines("/g")) else {
        panic!("not refused")
    };
    assert_eq!((answer.status, &answer.body[..]), (403, &b"{}"[..]));
}

#[test]
fn the_first_socket_that_listens_is_asked() {
    let server = Server::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), false);
    let stale = server.dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let sockets = vec![server.dir.path().join("none"), stale, server.path()];
    let answer = block(Client::new(sockets, Bounds::default()).request(&Method::GET, "/", None)).unwrap();
    assert_eq!(answer.socket, server.path());
    server.thread.join().unwrap();
}

#[test]
fn no_socket_names_all_that_was_tried() {
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let client = Client::new(vec![dir.path().join("none"), stale], Bounds::default());
    let error = block(client.request(&Method::GET, "/", None)).unwrap_err().to_string();
    assert!(error.starts_with("no control socket: is pv-appengine running?"), "{error}");
    assert!(error.contains("none (not there)") && error.contains("stale (there, but nobody"), "{error}");
}

#[test]
fn a_full_backlog_is_late_and_a_long_path_works() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full");
    let full = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&full, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&full, 0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let result = block(super::connect(&path, Duration::from_millis(20)));
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::TimedOut);

    let long = dir.path().join("d".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let short = dir.path().join("l");
    std::os::unix::fs::symlink(&long, &short).unwrap();
    let _listener = UnixListener::bind(short.join("s")).unwrap();
    block(super::connect(&long.join("s"), Duration::from_secs(5))).unwrap();
}
