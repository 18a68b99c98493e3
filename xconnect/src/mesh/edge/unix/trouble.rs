//! Why a connection had to be closed.

use std::io;

use super::handed::NotEntered;

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
    #[error(
        "descriptors were sent on a link whose provider promises none: set \"forward\" to \"user\" in its manifest"
    )]
    Descriptors,
    #[error(
        "one end has half-closed while the kernel still had bytes for it: such a protocol needs \"forward\": \"user\" in the provider's manifest"
    )]
    LostAtHalfClose,
    #[error(
        "several threads have sent at once and one was held up: the order of their bytes is not certain; \"forward\": \"user\" in the provider's manifest avoids this"
    )]
    Overtaken,
    #[error("it cannot be handed to the kernel")]
    HandOver(#[source] NotEntered),
    #[error(
        "out-of-band bytes were sent on a link whose provider promises none: set \"forward\" to \"user\" in its manifest"
    )]
    Urgent,
    #[error(
        "a thread has sent while another one shut the socket down, and the kernel has dropped what it sent: such a protocol needs \"forward\": \"user\" in the provider's manifest"
    )]
    LostAtShutdown,
    #[error(
        "the receiver asks for the credentials of each message (SO_PASSCRED), which the kernel would make its own: set \"forward\" to \"user\" in the provider's manifest"
    )]
    Credentials,
    #[error("the sender was in the middle of a message for too long")]
    LockedOut,
    #[error("the kernel could not send what it had taken over: bytes are lost (is memory short?)")]
    KernelFailed(#[source] io::Error),
    #[error("the kernel could neither forward nor hold bytes")]
    Stranded,
}
