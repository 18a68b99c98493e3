use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::mpsc;

use super::server::{Request, Server, run, spawn};

const URL: &str = "http://localhost/x?y";

fn echo(request: &mut Request) {
    let body = request.body();
    let text = format!("{}|{body}", request.head.replace("\r\n", "|"));
    request.reply(format!("HTTP/1.1 200 OK\r\nX-Case: Kept\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
}

#[test]
fn requests_as_curl_makes_them() {
    let server = Server::control(echo);
    let agent = concat!("User-Agent: pvcurl/", env!("CARGO_PKG_VERSION"));
    let plain = server.pvcurl(&[URL]);
    assert_eq!((plain.code, plain.err.as_str()), (0, ""));
    assert_eq!(plain.out, format!("GET /x?y HTTP/1.1|Host: localhost|{agent}|Accept: */*|||"));
    assert_eq!(server.pvcurl(&["/x?y", "--no-progress-meter"]).out, plain.out);

    let post = server.pvcurl(&["-s", "-d", "a", "--data", "b", "-H", "Accept:", "-H", "X: y", URL]).out;
    assert_eq!(
        post,
        format!(
            "POST /x?y HTTP/1.1|Host: localhost|{agent}|Content-Type: application/json|Content-Length: 3|X: y|||a&b"
        )
    );
    fs::write(server.path("f"), "1\r\n2\n").unwrap();
    let file = format!("@{}", server.path("f").display());
    assert!(server.pvcurl(&["-X", "PUT", "--data", &file, URL]).out.ends_with("||12"));
    assert!(server.pvcurl(&["--data-binary", &file, "--data-raw", "@x", URL]).out.ends_with("||1\r\n2\n&@x"));
    let mut child = spawn(&mut server.pvcurl_command(&["-d", "@-", URL]));
    child.stdin.take().unwrap().write_all(b"from stdin\n").unwrap();
    assert!(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().ends_with("||from stdin"));
    let put = server.pvcurl(&["-T", server.path("f").to_str().unwrap(), URL]).out;
    assert!(
        put.starts_with("PUT /x?y ") && put.contains("|Content-Length: 5|") && put.ends_with("||1\r\n2\n"),
        "{put}"
    );
}

#[test]
fn heads_in_the_output_and_on_standard_error() {
    let server = Server::raw(
        "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nX-Case: Kept\r\nContent-Length: 2\r\n\r\nhi",
    );
    let all =
        "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nX-Case: Kept\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(server.pvcurl(&["-i", URL]).out, format!("{all}hi"));
    let ran = server.pvcurl(&["-v", URL]);
    assert_eq!(ran.out, "hi");
    assert!(ran.err.contains("> GET /x?y HTTP/1.1\n> Host: localhost\n"), "{ran:?}");
    assert!(ran.err.contains("\n< HTTP/1.1 200 OK\n< X-Case: Kept\n< Content-Length: 2\n< \n"), "{ran:?}");
    let head = Server::raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    let ran = head.pvcurl(&["-I", URL]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"));
}

#[test]
fn every_framing_of_a_body() {
    for answer in [
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello and more",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    ] {
        let ran = Server::raw(answer).pvcurl(&["-w", "%{size_download}", URL]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "hello5"), "{answer}");
    }
    let ran = Server::raw("HTTP/1.1 204 No\r\n\r\n").pvcurl(&[URL, "-w", "%{http_code}"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "204"));
}

#[test]
fn exit_codes() {
    let code = |answer: &'static str, arguments: &[&str]| {
        let ran = Server::raw(answer).pvcurl(&[arguments, &[URL]].concat());
        assert!(ran.err.starts_with(&format!("pvcurl: ({}) ", ran.code)), "{ran:?}");
        (ran.code, ran.out)
    };
    let out = |code: i32, text: &str| (code, text.to_owned());
    assert_eq!(code("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", &[]), out(18, "abc"));
    assert_eq!(
        code("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", &[]),
        out(18, "abc")
    );
    assert_eq!(code("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", &[]), out(8, ""));
    assert_eq!(code("HTTP/1.1 200 OK\r\nConten", &[]), out(18, ""));
    assert_eq!(code("hello\r\n", &[]), out(8, ""));
    assert_eq!(code("", &[]), out(52, ""));
    assert_eq!(
        code("HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nabc", &["-f", "-w", "%{http_code} %{exitcode}"]),
        out(22, "404 22")
    );
    assert_eq!(code("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", &["-o", "/nowhere/x"]), out(23, ""));
    assert_eq!(code("", &["-T", "/nowhere/x"]), out(26, ""));
    assert_eq!(code("", &["-d", "@/nowhere/x"]), out(26, ""));
    assert_eq!(code("", &["-H", "no colon"]), out(2, ""));

    let server = Server::new();
    let ran = server.pvcurl(&["-w", "%{http_code}", URL]);
    assert_eq!((ran.code, ran.out.as_str()), (7, "000"));
    assert!(ran.err.contains("could not connect to ") && ran.err.contains("No such file"), "{ran:?}");
    assert_eq!(server.pvcurl(&["-s", URL]).err, "");
    assert!(server.pvcurl(&["-sS", URL]).err.starts_with("pvcurl: (7) "));
    assert_eq!(server.pvcurl(&["http:///x"]).code, 3);
    assert_eq!(server.pvcurl(&["https://localhost/"]).code, 1);
    assert_eq!(server.pvcurl(&["--nonsense", URL]).code, 2);
    assert_eq!(run(Command::new(env!("CARGO_BIN_EXE_pvcurl")).arg(URL)).code, 2);
}

#[test]
fn time_outs() {
    let server = Server::control(|request| {
        request.reply("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        // Until the client has gone.
        drop(request.stream.read(&mut [0]));
    });
    let ran = server.pvcurl(&["--max-time", "0.2", "-w", "%{http_code} %{size_download}", URL]);
    assert_eq!((ran.code, ran.out.as_str()), (28, "abc200 3"));
    assert!(ran.err.contains("with 3 bytes received"), "{ran:?}");

    let full = Server::new();
    let listener = UnixListener::bind(full.path("pv-ctrl")).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _taken = std::os::unix::net::UnixStream::connect(full.path("pv-ctrl")).unwrap();
    let ran = full.pvcurl(&["--connect-timeout", "0.1", URL]);
    assert_eq!(ran.code, 28);
    assert!(ran.err.contains("while connecting to"), "{ran:?}");
}

#[test]
fn uploads_stream_while_they_are_read() {
    let (saw, seen) = mpsc::channel();
    let server = Server::control(move |request| {
        assert_eq!(request.header("transfer-encoding").as_deref(), Some("chunked"));
        assert_eq!(request.header("expect").as_deref(), Some("100-continue"));
        request.reply("HTTP/1.1 100 Continue\r\n\r\n");
        let mut all = Vec::new();
        loop {
            let size = usize::from_str_radix(request.line().trim(), 16).unwrap();
            let piece = request.exact(size);
            request.line();
            if size == 0 {
                break;
            }
            all.extend(piece);
            saw.send(all.len()).unwrap();
        }
        request.reply(format!("HTTP/1.1 200 OK\r\n\r\n{}", all.len()));
    });
    let mut child = spawn(&mut server.pvcurl_command(&["-T", "-", "-w", " %{size_upload}", URL]));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"first").unwrap();
    // It arrives although the input has not ended.
    assert_eq!(seen.recv().unwrap(), 5);
    stdin.write_all(&vec![b'x'; 3_000_000]).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "3000005 3000005");
}

#[test]
fn an_early_refusal_stops_the_upload() {
    let server = Server::control(|request| {
        request.reply("HTTP/1.1 413 Large\r\nContent-Length: 4\r\n\r\nlong");
        assert_eq!(request.stream.read(&mut [0]).unwrap_or(0), 0);
    });
    let ran =
        server.pvcurl(&["-T", "/dev/zero", "--max-time", "20", "-w", " %{http_code} %{size_upload}", URL]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "long 413 0"));
}

#[test]
fn a_promised_length_is_kept() {
    let server = Server::control(echo);
    let headers = ["-H", "Content-Length: 4", "-H", "Transfer-Encoding: identity", "-T", "-", URL];
    let send = |bytes: &[u8]| {
        let mut child = spawn(&mut server.pvcurl_command(&headers));
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = send(b"abcdef");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.ends_with("||abcd") && text.contains("|Content-Length: 4|") && !text.contains("chunked"),
        "{text}"
    );
    assert_eq!(send(b"ab").status.code(), Some(26));
}

#[test]
fn answers_stream_while_they_come() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = Server::control(move |request| {
        request.reply("HTTP/1.1 200 OK\r\n\r\nfirst");
        wait.lock().unwrap().recv().unwrap();
        request.reply("second");
    });
    let mut child = spawn(&mut server.pvcurl_command(&[URL]));
    let mut first = [0; 5];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first");
    go.send(()).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("second", Some(0)));
}

#[test]
fn output_to_a_file() {
    let server = Server::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let file = server.path("out");
    let name = file.to_str().unwrap();
    let ran = server.pvcurl(&["-o", name, "-w", "'\\n%{http_code}'", URL]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "\n200"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "hi");
    let empty = Server::raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(empty.pvcurl(&["-o", name, URL]).code, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
}

#[test]
fn a_reader_that_goes_is_a_write_error() {
    let server = Server::control(|request| {
        request.reply("HTTP/1.1 200 OK\r\n\r\n");
        request.reply(vec![b'x'; 10_000_000]);
    });
    let mut child = spawn(&mut server.pvcurl_command(&[URL]));
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(23));
    assert!(err.starts_with("pvcurl: (23) could not write standard output"), "{err}");
}
