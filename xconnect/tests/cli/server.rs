//! A server that does exactly what a test says, and a runner of the programs.

#![expect(clippy::unwrap_used, reason = "part of a test: a panic is a failure of that test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A request's head, and the connection behind it.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: String,
    pub(crate) stream: BufReader<UnixStream>,
}

impl Request {
    pub(crate) fn reply(&mut self, bytes: impl AsRef<[u8]>) {
        // A client that has gone is part of some tests.
        drop(self.stream.get_mut().write_all(bytes.as_ref()));
    }

    pub(crate) fn json(&mut self, status: u16, body: &str) {
        self.reply(format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn exact(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The body, by its Content-Length.
    pub(crate) fn body(&mut self) -> String {
        let length = self.header("content-length").map_or(0, |length| length.parse().unwrap());
        String::from_utf8(self.exact(length)).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }
}

/// A directory with sockets in it.
pub(crate) struct Server {
    dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A control socket with this handler.
    pub(crate) fn control(handler: impl Fn(&mut Request) + Send + Sync + 'static) -> Self {
        let server = Self::new();
        server.listen("pv-ctrl", handler);
        server
    }

    /// A control socket with this one answer.
    pub(crate) fn raw(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::control(move |request| request.reply(answer.as_ref()))
    }

    /// Handles every connection to a socket of this name on a thread of its own.
    pub(crate) fn listen(&self, name: &str, handler: impl Fn(&mut Request) + Send + Sync + 'static) {
        let listener = UnixListener::bind(self.path(name)).unwrap();
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let handler = Arc::clone(&handler);
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    stream.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if stream.read_line(&mut head).unwrap() == 0 {
                            return;
                        }
                    }
                    let mut words = head.split(' ');
                    let (method, target) =
                        (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
                    handler(&mut Request { method, target, head, stream });
                });
            }
        });
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `pvcontrol` on this server's control socket.
    pub(crate) fn pvcontrol(&self, arguments: &[&str]) -> Ran {
        run(&mut self.pvcontrol_command(arguments))
    }

    pub(crate) fn pvcontrol_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvcontrol"));
        command.arg("-s").arg(self.path("pv-ctrl")).args(arguments);
        command
    }

    /// `pvcurl` on this server's control socket.
    pub(crate) fn pvcurl(&self, arguments: &[&str]) -> Ran {
        run(&mut self.pvcurl_command(arguments))
    }

    pub(crate) fn pvcurl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvcurl"));
        command.arg("--unix-socket").arg(self.path("pv-ctrl")).args(arguments);
        command
    }
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn run(command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).env_remove("XCONNECT_RUN_DIR").output().unwrap().into()
}

/// Starts a program with pipes.
pub(crate) fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("XCONNECT_RUN_DIR")
        .spawn()
        .unwrap()
}
