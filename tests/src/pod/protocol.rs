//! The messages between a test and the process in its container: one JSON object a packet, and at
//! most one descriptor with it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::socket::{Kind, Socket};

/// Longest packet, in bytes: below the default send buffer of a socket.
const PACKET_MAX: usize = 128 * 1024;

/// What the process shall do. Paths are the container's.
#[derive(Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the arguments of the system calls")]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Serve the socket that comes along too, in a thread of its own.
    Channel,
    /// Bind and listen; gives the listener.
    Listen { path: String, kind: Kind, backlog: i32 },
    /// Listen, and send back what comes, from within the container until it ends.
    Echo { path: String },
    /// Connect; gives the connection.
    Connect { path: String, kind: Kind },
    /// Connect again and again, send `bytes` and expect them back, then close.
    Churn { path: String, rounds: u64 },
    /// Make a directory and its parents.
    Mkdir { path: String },
    /// Remove a file, or a directory with all in it.
    Remove { path: String },
    /// Make a symbolic link at `path`.
    Symlink { to: String, path: String },
    /// Rename.
    Rename { from: String, to: String },
    /// Exchange two names in one step: renameat2(2) with `RENAME_EXCHANGE`.
    Exchange { one: String, other: String },
    /// Write a file.
    Write { path: String, text: String },
    /// Read a file.
    Read { path: String },
    /// lstat(2).
    Stat { path: String },
    /// The names in a directory, sorted.
    List { path: String },
    /// Mount an empty tmpfs.
    MountTmpfs { path: String },
    /// Swap `target`'s directory with a symbolic link to `elsewhere`, and back, `swaps` times; and
    /// delete `target` each time, so that it has to be planted again.
    Race { target: String, elsewhere: String, swaps: u64 },
    /// Run a program to its end, with these bytes as its input; gives what it printed.
    Run { program: Vec<String>, input: String },
    /// Start a program that runs on; what it prints goes to a file.
    Start { program: Vec<String>, log: String },
    /// Listen, and serve as [`crate::rest::Provider`], from within the container until it ends.
    RestProvider { path: String, plan: crate::rest::Plan },
    /// Write what that provider has seen to a file, as lines of JSON.
    RestRecords { path: String, file: String },
    /// End the process.
    Exit { code: i32 },
}

/// What lstat(2) said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Device and inode.
    pub inode: (u64, u64),
    /// `st_mode` with the type's bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed, as far as a packet takes it.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Stat {
    /// True for a socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFSOCK
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "an error's number and text explain themselves")]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done; a descriptor comes along where one was asked for.
    Done,
    /// The file's text.
    Text(String),
    /// The file's metadata.
    Stat(Stat),
    /// The directory's names.
    Names(Vec<String>),
    /// The program has ended.
    Ran(Ran),
    /// The system said no.
    Failed { errno: i32, text: String },
}

/// Sends one message.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(socket: &Socket, message: &impl Serialize, fd: Option<&OwnedFd>) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let fds: Vec<_> = fd.map(AsFd::as_fd).into_iter().collect();
    socket.try_send(&bytes, &fds)?;
    Ok(())
}

/// Receives one message.
///
/// # Errors
/// Those of recvmsg(2), and `UnexpectedEof` once the other side is gone.
pub fn receive<T: DeserializeOwned>(socket: &Socket) -> io::Result<(T, Option<OwnedFd>)> {
    let mut message = socket.try_recv(PACKET_MAX)?;
    if message.bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&message.bytes)?, message.fds.pop()))
}

/// How long a server waits for the next command: as long as a test may take.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(3600);
