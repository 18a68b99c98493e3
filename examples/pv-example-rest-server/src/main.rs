//! Example container: a small HTTP/1.1 server on a Unix socket, which tells every client what it saw of it.
//!
//! The container's root file system is this one static program, which runs as PID 1: the kernel gives
//! that process no default action for SIGTERM (pid_namespaces(7)), so it installs a handler.

mod answer;
mod request;

use std::io::{self, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;
use std::{env, fs, process, thread};

use answer::{Answer, describe};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use request::Request;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Where `services.json` says the service is.
const SOCKET: &str = "/run/nm/api.sock";
/// Chunks of the answer to `/stream`.
const CHUNKS: usize = 5;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(40);

/// The identity that the mesh gave a connection: the role's, not the mesh's own.
#[derive(Debug, Clone, Copy)]
struct Peer {
    uid: u32,
    gid: u32,
}

fn main() {
    let socket = env::args().nth(1).unwrap_or_else(|| SOCKET.to_owned());
    if let Err(error) = run(Path::new(&socket)) {
        eprintln!("pv-example-rest-server: {socket}: {error}");
        process::exit(1);
    }
}

fn run(socket: &Path) -> io::Result<()> {
    stop_on_signal()?;
    let listener = listen(socket)?;
    println!("listening on {}", socket.display());
    for (number, stream) in (1_u64..).zip(listener.incoming()) {
        let stream = stream?;
        thread::Builder::new().spawn(move || match welcome(&stream, number) {
            Ok(requests) => println!("connection {number}: closed, {requests} requests answered"),
            Err(error) => println!("connection {number}: {error}"),
        })?;
    }
    Ok(())
}

/// Binds, also where a former run of this container left its socket.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = socket.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(socket),
    }
}

/// One connection, from the first to the last request.
fn welcome(stream: &UnixStream, number: u64) -> io::Result<u64> {
    let peer = peer(stream)?;
    println!("connection {number}: open, peer is uid {} gid {}", peer.uid, peer.gid);
    serve(stream, peer)
}

fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let peer = getsockopt(stream, PeerCredentials)?;
    Ok(Peer { uid: peer.uid(), gid: peer.gid() })
}

/// Answers request after request until the client has no more, and says how many there were.
fn serve(stream: &UnixStream, peer: Peer) -> io::Result<u64> {
    let mut reader = BufReader::new(stream);
    let mut number = 0;
    loop {
        let request = match Request::read(&mut reader, &mut &*stream) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(number),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Answer::text(400, &error.to_string()).write(stream, false, false)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        number += 1;
        let is_head = request.method == "HEAD";
        let method = if is_head { "GET" } else { &request.method };
        match (method, request.path()) {
            ("GET", "/" | "/identity") | ("POST", "/echo") => {
                Answer::json(200, describe(&request, peer, number)).write(stream, is_head, request.keeps)?;
            }
            ("GET", "/secret") => {
                Answer::text(200, "what only some roles may read\n").write(stream, is_head, request.keeps)?;
            }
            ("GET", "/stream") if !is_head => send_stream(stream, request.keeps)?,
            (_, "/" | "/identity" | "/echo" | "/secret" | "/stream") => {
                Answer::text(405, "not so\n").write(stream, is_head, request.keeps)?;
            }
            _ => Answer::text(404, "not here\n").write(stream, is_head, request.keeps)?,
        }
        if !request.keeps {
            return Ok(number);
        }
    }
}

/// Chunk after chunk, so that a client can see whether the first comes before the last is made.
fn send_stream(mut stream: &UnixStream, keeps: bool) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: {}\r\n\r\n",
        if keeps { "keep-alive" } else { "close" }
    );
    stream.write_all(head.as_bytes())?;
    for number in 1..=CHUNKS {
        let line = format!("line {number}\n");
        stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
        thread::sleep(PAUSE);
    }
    stream.write_all(b"0\r\n\r\n")
}

fn stop_on_signal() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().spawn(move || {
        if let Some(signal) = signals.forever().next() {
            println!("stopping on signal {signal}");
            process::exit(0);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::Shutdown;

    use super::*;

    /// What the server sends for these bytes, after which the client has no more to say.
    fn answers(sent: &str) -> String {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || drop(serve(&theirs, Peer { uid: 7, gid: 8 })));
        (&ours).write_all(sent.as_bytes()).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        (&ours).read_to_string(&mut text).unwrap();
        server.join().unwrap();
        text
    }

    #[test]
    fn tells_what_it_saw() {
        let text =
            answers("GET /identity?x HTTP/1.1\r\nHost: a\r\nX-PV-Client: web\r\nX-PV-Role: any\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let json = r#"{"client":"web","role":"any","link_id":"","uid":7,"gid":8,"request":1,"fields":["Host: a","X-PV-Client: web","X-PV-Role: any"],"trailers":[],"body":""}"#;
        assert!(text.ends_with(json), "{text}");
    }

    #[test]
    fn answers_one_request_after_another() {
        let text = answers(
            "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\n\"a\
             POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\nb\r\n2\r\ncd\r\n0\r\nX-T: 1\r\n\r\n\
             HEAD / HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\nDELETE /echo HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        );
        assert!(
            text.contains(r#""body":"\"a""#) && text.contains(r#""trailers":["X-T: 1"],"body":"bcd""#),
            "{text}"
        );
        let statuses: Vec<_> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["200", "200", "200", "404", "405"]);
    }

    #[test]
    fn streams_in_chunks() {
        let text = answers("GET /stream HTTP/1.1\r\n\r\n");
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert!(body.starts_with("7\r\nline 1\n\r\n") && body.ends_with("line 5\n\r\n0\r\n\r\n"), "{body}");
    }

    #[test]
    fn refuses_what_is_no_request() {
        for sent in [
            "hello\r\n\r\n",
            "GET / HTTP/1.1\r\nno field\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ] {
            let text = answers(sent);
            assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("Connection: close"), "{text}");
        }
    }

    #[test]
    fn binds_over_a_socket_left_behind() {
        let directory = env::temp_dir().join(format!("pv-example-rest-server-{}", process::id()));
        let socket = directory.join("deep/api.sock");
        drop(listen(&socket).unwrap());
        assert!(socket.exists());
        drop(listen(&socket).unwrap());
        fs::remove_dir_all(directory).unwrap();
    }
}
