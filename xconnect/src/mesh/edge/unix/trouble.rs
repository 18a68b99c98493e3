//! Why a connection had to be closed.

use std::io;

/// A message of a `SOCK_SEQPACKET` link may not be longer: it is in memory as a whole.
pub(super) const MESSAGE_MAX: usize = 16 * 1024 * 1024;

/// Why a connection had to be closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("descriptors were lost in reception (is the limit of open files reached?)")]
    ControlLost,
    #[error("a message of {0} bytes is longer than {MESSAGE_MAX}")]
    MessageTooLong(usize),
    #[error("cannot read")]
    Read(#[source] io::Error),
    #[error("cannot write")]
    Write(#[source] io::Error),
}
