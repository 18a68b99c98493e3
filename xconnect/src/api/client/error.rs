//! Why an exchange with a control socket failed, and what to do next.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::Answer;

/// A socket that did not take the connection.
#[derive(Debug)]
pub struct Attempt {
    /// Its path.
    pub socket: PathBuf,
    /// What connect(2) said.
    pub error: io::Error,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.socket.display();
        match self.error.kind() {
            io::ErrorKind::NotFound => write!(f, "{socket} (not there)"),
            io::ErrorKind::ConnectionRefused => write!(f, "{socket} (there, but nobody listens)"),
            io::ErrorKind::PermissionDenied => write!(f, "{socket} (permission denied)"),
            _ => write!(f, "{socket} ({})", self.error),
        }
    }
}

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket took the connection.
    #[error("{}", no_socket(tried))]
    NoSocket {
        /// What was tried, in order.
        tried: Vec<Attempt>,
    },
    /// The request's path cannot stand in an HTTP request.
    #[error("\"{target}\" cannot be asked for")]
    Target {
        /// The path with its query.
        target: String,
        /// What is wrong with it.
        #[source]
        source: hyper::http::Error,
    },
    /// No whole answer in time.
    #[error("{what}: no whole answer within {} s; its daemon may hang: look into its log", after.as_secs_f32())]
    Late {
        /// Method, path and socket.
        what: String,
        /// The bound.
        after: Duration,
    },
    /// The answer is not HTTP, or ends too early.
    #[error("{what}: the answer is cut off or is not HTTP")]
    Broken {
        /// Method, path and socket.
        what: String,
        /// What exactly.
        #[source]
        source: hyper::Error,
    },
    /// The answer exceeds the bound.
    #[error("{what}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// Method, path and socket.
        what: String,
        /// The bound in bytes.
        limit: usize,
    },
    /// A stream was asked for, and something else came.
    #[error("{} answered with status {}", answer.socket.display(), answer.status)]
    Refused {
        /// What came.
        answer: Box<Answer>,
    },
}

fn no_socket(tried: &[Attempt]) -> String {
    let list = tried.iter().map(Attempt::to_string).collect::<Vec<_>>().join(", ");
    let is = |kind| tried.iter().any(|attempt| attempt.error.kind() == kind);
    let next = if is(io::ErrorKind::PermissionDenied) {
        "run this as root, or name another socket with -s"
    } else if is(io::ErrorKind::TimedOut) {
        "its daemon does not take connections: look into its log"
    } else {
        "is pv-appengine running? Name its socket with -s, or its directory in XCONNECT_RUN_DIR"
    };
    format!("no control socket: {next}; tried {list}")
}
