//! The test's end: methods that act inside a container.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use super::protocol::{Ran, Reply, Request, Stat, receive, send};
use crate::rest::{Plan, Records, from_lines};
use crate::socket::{Kind, Listener, Socket};
use crate::wait::{OrFail, patient};

/// A channel to the process in a container. One request at a time; [`Agent::another`] opens more.
#[derive(Debug)]
pub struct Agent {
    channel: Socket,
}

/// How long one request may take: a race of 10,000 rounds is one.
const REQUEST: Duration = Duration::from_secs(120);

impl Agent {
    /// Speaks over this socket.
    #[track_caller]
    #[must_use]
    pub fn new(channel: Socket) -> Self {
        channel.set_timeout(patient(REQUEST));
        Self { channel }
    }

    fn call(&self, request: &Request, fd: Option<&OwnedFd>) -> io::Result<(Reply, Option<OwnedFd>)> {
        send(&self.channel, request, fd)?;
        match receive(&self.channel)? {
            (Reply::Failed { errno, text }, _) => {
                let error = io::Error::from_raw_os_error(errno);
                Err(io::Error::new(error.kind(), Refused { errno, text }))
            }
            done => Ok(done),
        }
    }

    #[track_caller]
    fn must(&self, request: &Request) -> Reply {
        self.call(request, None).or_fail(format_args!("{request:?}")).0
    }

    /// A second channel, for another thread.
    #[track_caller]
    #[must_use]
    pub fn another(&self) -> Self {
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .or_fail("socketpair");
        self.call(&Request::Channel, Some(&theirs)).or_fail("another channel");
        Self::new(Socket::from(ours))
    }

    /// Listens at a path in the container; makes the directories above it.
    #[track_caller]
    #[must_use]
    pub fn listen_with(&self, path: &str, kind: Kind, backlog: i32) -> Listener {
        let request = Request::Listen { path: path.to_owned(), kind, backlog };
        let (_, fd) = self.call(&request, None).or_fail(format_args!("{request:?}"));
        Listener::from(fd.or_fail("no listener came"))
    }

    /// Listens for streams with a roomy backlog.
    #[track_caller]
    #[must_use]
    pub fn listen(&self, path: &str) -> Listener {
        self.listen_with(path, Kind::Stream, 4096)
    }

    /// Has the container itself listen and send back what comes.
    #[track_caller]
    pub fn echo(&self, path: &str) {
        self.must(&Request::Echo { path: path.to_owned() });
    }

    /// Connects to a path in the container.
    ///
    /// # Errors
    /// Those of open(2) and connect(2).
    #[track_caller]
    pub fn try_connect(&self, path: &str, kind: Kind) -> io::Result<Socket> {
        let (_, fd) = self.call(&Request::Connect { path: path.to_owned(), kind }, None)?;
        Ok(Socket::from(fd.or_fail("no connection came")))
    }

    /// Connects a stream to a path in the container.
    #[track_caller]
    #[must_use]
    pub fn connect(&self, path: &str) -> Socket {
        self.try_connect(path, Kind::Stream).or_fail(format_args!("connect to {path}"))
    }

    /// Connects, has 64 bytes echoed and closes, `rounds` times.
    ///
    /// # Errors
    /// The first failure.
    pub fn churn(&self, path: &str, rounds: u64) -> io::Result<()> {
        self.call(&Request::Churn { path: path.to_owned(), rounds }, None).map(|_| ())
    }

    /// Makes a directory and its parents.
    #[track_caller]
    pub fn mkdir(&self, path: &str) {
        self.must(&Request::Mkdir { path: path.to_owned() });
    }

    /// Removes a file, or a directory with all in it.
    #[track_caller]
    pub fn remove(&self, path: &str) {
        self.must(&Request::Remove { path: path.to_owned() });
    }

    /// Makes a symbolic link.
    #[track_caller]
    pub fn symlink(&self, to: &str, path: &str) {
        self.must(&Request::Symlink { to: to.to_owned(), path: path.to_owned() });
    }

    /// Renames.
    #[track_caller]
    pub fn rename(&self, from: &str, to: &str) {
        self.must(&Request::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    /// Exchanges two names in one step, so that nobody finds either of them missing.
    #[track_caller]
    pub fn exchange(&self, one: &str, other: &str) {
        self.must(&Request::Exchange { one: one.to_owned(), other: other.to_owned() });
    }

    /// Writes a file.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        self.must(&Request::Write { path: path.to_owned(), text: text.to_owned() });
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Those of open(2) and read(2).
    pub fn read(&self, path: &str) -> io::Result<String> {
        match self.call(&Request::Read { path: path.to_owned() }, None)?.0 {
            Reply::Text(text) => Ok(text),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// lstat(2).
    ///
    /// # Errors
    /// Those of lstat(2).
    pub fn stat(&self, path: &str) -> io::Result<Stat> {
        match self.call(&Request::Stat { path: path.to_owned() }, None)?.0 {
            Reply::Stat(stat) => Ok(stat),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// True where something is at the path, a dangling link included.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.stat(path).is_ok()
    }

    /// The names in a directory, sorted.
    #[track_caller]
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<String> {
        match self.must(&Request::List { path: path.to_owned() }) {
            Reply::Names(names) => names,
            other => panic!("{other:?}"),
        }
    }

    /// Mounts an empty tmpfs.
    #[track_caller]
    pub fn mount_tmpfs(&self, path: &str) {
        self.must(&Request::MountTmpfs { path: path.to_owned() });
    }

    /// See [`Request::Race`].
    #[track_caller]
    pub fn race(&self, target: &str, elsewhere: &str, swaps: u64) {
        self.must(&Request::Race { target: target.to_owned(), elsewhere: elsewhere.to_owned(), swaps });
    }

    /// Runs a program in the container to its end.
    #[track_caller]
    #[must_use]
    pub fn run(&self, program: &[&str], input: &str) -> Ran {
        let program = program.iter().map(|word| (*word).to_owned()).collect();
        match self.must(&Request::Run { program, input: input.to_owned() }) {
            Reply::Ran(ran) => ran,
            other => panic!("{other:?}"),
        }
    }

    /// Starts a program in the container, which ends with it.
    #[track_caller]
    pub fn start_program(&self, program: &[&str], log: &str) {
        let program = program.iter().map(|word| (*word).to_owned()).collect();
        self.must(&Request::Start { program, log: log.to_owned() });
    }

    /// Has the container itself be a provider of a rest link.
    #[track_caller]
    pub fn rest_provider(&self, path: &str, plan: Plan) {
        self.must(&Request::RestProvider { path: path.to_owned(), plan });
    }

    /// What that provider has seen.
    #[track_caller]
    #[must_use]
    pub fn rest_records(&self, path: &str) -> Records {
        const FILE: &str = "/tmp/rest-records";
        self.must(&Request::RestRecords { path: path.to_owned(), file: FILE.to_owned() });
        from_lines(&self.read(FILE).or_fail(FILE))
    }

    /// Ends the process with this code.
    #[track_caller]
    pub fn exit(&self, code: i32) {
        send(&self.channel, &Request::Exit { code }, None).or_fail("exit");
    }

    /// Connects to the socket at which a server process listens inside a container of the engine.
    ///
    /// # Errors
    /// Where the process is gone or does not listen.
    #[track_caller]
    pub fn of_process(pid: u32, path: &str) -> io::Result<Self> {
        let file = Path::new("/proc").join(pid.to_string()).join("root").join(path.trim_start_matches('/'));
        Ok(Self::new(Socket::from(super::files::connect(&file, Kind::Seqpacket)?)))
    }
}

/// An error of the process in the container.
#[derive(Debug)]
struct Refused {
    errno: i32,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (errno {})", self.text, self.errno)
    }
}

impl std::error::Error for Refused {}
