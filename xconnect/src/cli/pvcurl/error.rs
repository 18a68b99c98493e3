//! Why a transfer failed, with curl's exit codes (libcurl-errors(3)).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    #[error("the protocol \"{scheme}\" is not supported: only http over a Unix socket is")]
    Protocol { scheme: String },
    #[error("{0}")]
    Usage(String),
    #[error("malformed URL: {0}")]
    Url(&'static str),
    #[error("could not connect to {}", socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the answer is not HTTP: {0}")]
    Weird(&'static str),
    #[error("the answer ended too early: {0}")]
    Partial(String),
    #[error("the requested URL returned error: {0}")]
    Status(u16),
    #[error("could not write {target}")]
    Write {
        target: String,
        #[source]
        source: io::Error,
    },
    #[error("could not read {what}")]
    Read {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("timed out after {} ms with {received} bytes received", after.as_millis())]
    TimedOut { after: Duration, received: u64 },
    #[error("timed out after {} ms while connecting to {}", after.as_millis(), socket.display())]
    ConnectTimedOut { socket: PathBuf, after: Duration },
    #[error("empty reply from the server")]
    Empty,
    #[error("could not send")]
    Send(#[source] io::Error),
    #[error("could not receive")]
    Receive(#[source] io::Error),
    #[error("cannot set up")]
    Runtime(#[source] io::Error),
}

impl Error {
    /// The exit code.
    pub(in crate::cli) fn code(&self) -> u8 {
        match self {
            Self::Protocol { .. } => 1,
            Self::Usage(_) | Self::Runtime(_) => 2,
            Self::Url(_) => 3,
            Self::Connect { .. } => 7,
            Self::Weird(_) => 8,
            Self::Partial(_) => 18,
            Self::Status(_) => 22,
            Self::Write { .. } => 23,
            Self::Read { .. } => 26,
            Self::TimedOut { .. } | Self::ConnectTimedOut { .. } => 28,
            Self::Empty => 52,
            Self::Send(_) => 55,
            Self::Receive(_) => 56,
        }
    }
}
