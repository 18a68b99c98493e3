//! One read from a source and one write to a sink, with every descriptor kept at its byte.

use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::scratch::{BUFFER, FdSearch, Scratch};
use super::trouble::{MESSAGE_MAX, Trouble};
use crate::graph::SocketType;
use crate::mesh::edge::budget::{InFlight, LinkShare};
use crate::sys::scm::{self, MAX_FDS, Sender};
use crate::sys::socket;

/// A peek of so many bytes costs next to nothing; reads that fill it are taken for bulk.
const SMALL: usize = 4096;
/// The most that is read at once where all shall be taken: more than senders' buffers usually hold.
const WHOLE: usize = 16 * 1024 * 1024;
/// A send buffer with room for [`BUFFER`] bytes and what the kernel charges beside them.
const SEND_BUFFER: usize = 1024 * 1024;

/// What one step has moved.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) bytes: usize,
    pub(super) fds: usize,
    /// The source has nothing more; an event tells of more.
    pub(super) emptied: bool,
}

/// How one step ended.
pub(super) enum Carried {
    /// Read and written.
    Moved(Moved),
    /// Read, but the sink took only a part: the rest is in [`Lane::held`].
    HeldBack(Moved),
    /// The source has nothing.
    Starved,
    /// The source has ended.
    Ended,
    /// The sink is gone.
    SinkGone,
    /// Something that passes without an event is short (descriptors' room, kernel memory): try again later.
    Later,
    /// The two sockets can no longer be kept exactly in step.
    Broken(Trouble),
}

/// What a sink has not taken yet.
pub(super) struct Held {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
    /// The descriptors' place in the budget.
    room: Option<InFlight>,
}

/// One direction's IO: what it holds back and what it has learned of its source.
pub(super) struct Lane {
    pub(super) held: Option<Held>,
    /// Sends say that they are from here; `None`: from ourselves.
    sender: Option<Sender>,
    kind: SocketType,
    bulk: bool,
    /// Out-of-band bytes were seen: a short read proves nothing, as reads stop at them.
    pub(super) urgent: bool,
    /// The provider promises that no descriptors come.
    plain: bool,
    /// The last read took all that was there: it has not ended within a socket buffer.
    pub(super) at_boundary: bool,
    /// Reads shall take all that is there.
    pub(super) whole: bool,
    /// Step by step: bytes up to the end of the first socket buffer with descriptors.
    fd_end: usize,
    grown: bool,
}

enum Read {
    Plain { len: usize, emptied: bool },
    WithFds { len: usize, fds: Vec<OwnedFd>, room: InFlight },
    Urgent(u8),
}

/// How a read can fail to give something.
enum NoRead {
    Starved,
    Ended,
    Later,
    Broken(Trouble),
}

impl From<io::Error> for NoRead {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Self::Starved,
            // The peer closed with bytes unread: all it had sent was read before this error.
            ErrorKind::ConnectionReset => Self::Ended,
            _ if is_shortage(&error) => Self::Later,
            _ => Self::Broken(Trouble::Read(error)),
        }
    }
}

/// Kernel memory, or descriptors in flight (unix(7), `ETOOMANYREFS`).
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS | libc::ETOOMANYREFS))
}

impl Lane {
    pub(super) fn new(kind: SocketType, sender: Option<Sender>, plain: bool) -> Self {
        Self {
            held: None,
            sender,
            kind,
            bulk: false,
            urgent: false,
            plain,
            at_boundary: true,
            whole: false,
            fd_end: 0,
            grown: false,
        }
    }

    /// Reads once and writes what was read.
    pub(super) fn transfer(
        &mut self,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
        share: &Arc<LinkShare>,
        scratch: &mut Scratch,
    ) -> Carried {
        let mut read = self.read(source, share, scratch);
        if self.urgent
            && matches!(read, Err(NoRead::Starved))
            && socket::waiting(source).is_ok_and(|it| it > 0)
        {
            // Where it meets what is left of an out-of-band byte, a read of 6.1 takes that away and says `EAGAIN`,
            // whatever comes behind it (net/unix/af_unix.c, `manage_oob`); and no event tells of that again.
            read = self.read(source, share, scratch);
        }
        match read {
            Ok(Read::Plain { len, emptied }) => {
                self.bulk = len >= SMALL;
                self.at_boundary = emptied;
                let moved = Moved { bytes: len, fds: 0, emptied: emptied && !self.urgent };
                self.write(sink, scratch, moved, Vec::new(), None)
            }
            Ok(Read::WithFds { .. }) if self.plain => Carried::Broken(Trouble::Descriptors),
            Ok(Read::WithFds { len, fds, room }) => {
                let moved = Moved { bytes: len, fds: fds.len(), emptied: false };
                self.write(sink, scratch, moved, fds, Some(room))
            }
            Ok(Read::Urgent(byte)) => self.pass_urgent(byte, sink),
            Err(NoRead::Starved) => Carried::Starved,
            Err(NoRead::Ended) => Carried::Ended,
            Err(NoRead::Later) => Carried::Later,
            Err(NoRead::Broken(trouble)) => Carried::Broken(trouble),
        }
    }

    fn read(
        &mut self,
        source: BorrowedFd<'_>,
        share: &Arc<LinkShare>,
        scratch: &mut Scratch,
    ) -> Result<Read, NoRead> {
        match self.kind {
            SocketType::Stream => self.read_stream(source, share, scratch),
            SocketType::Seqpacket => self.read_message(source, share, scratch),
        }
    }

    fn read_stream(
        &mut self,
        source: BorrowedFd<'_>,
        share: &Arc<LinkShare>,
        scratch: &mut Scratch,
    ) -> Result<Read, NoRead> {
        if self.urgent && socket::at_mark(source)? {
            match socket::receive_urgent(source) {
                Ok(byte) => return Ok(Read::Urgent(byte)),
                // The mark of one that was taken: the read below steps over it.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Counted before the peek: what comes after it is not known to be plain.
        let most = if self.whole { WHOLE } else { BUFFER };
        let waiting = if self.bulk { socket::waiting(source)?.min(most) } else { 0 };
        if waiting > BUFFER {
            scratch.fit(waiting);
        }
        let peeked = scm::peek(source, &mut scratch.buffer[..if waiting == 0 { SMALL } else { 1 }])?;
        if peeked.len == 0 {
            return Err(NoRead::Ended);
        }
        if peeked.control || scratch.search == FdSearch::Blind {
            return match scratch.search {
                FdSearch::Boundary => Self::read_to_boundary(source, share, scratch),
                FdSearch::Step | FdSearch::Blind => self.read_step(source, share, scratch),
            };
        }
        let plain = if waiting == 0 { peeked.len } else { waiting };
        let len = socket::receive_plain(source, &mut scratch.buffer[..plain])?;
        let emptied = len == plain && plain < if waiting == 0 { SMALL } else { most };
        Ok(Read::Plain { len, emptied })
    }

    /// The plain bytes before the first descriptor, or that descriptor's whole socket buffer.
    fn read_to_boundary(
        source: BorrowedFd<'_>,
        share: &Arc<LinkShare>,
        scratch: &mut Scratch,
    ) -> Result<Read, NoRead> {
        let buffer = &mut scratch.buffer[..];
        let (plain, end) = match scm::peek_whole(source, buffer)? {
            // One socket buffer is longer than all our memory: a read ends within it.
            None => (0, buffer.len()),
            Some(seen) if !seen.control => (seen.len, seen.len),
            // With room for all but the last byte, the one with the descriptors does not fit.
            Some(seen) => {
                (scm::peek_whole(source, &mut buffer[..seen.len - 1])?.map_or(0, |seen| seen.len), seen.len)
            }
        };
        if plain > 0 {
            let len = socket::receive_plain(source, &mut buffer[..plain])?;
            return Ok(Read::Plain { len, emptied: false });
        }
        receive(source, &mut buffer[..end], share)
    }

    /// The next byte; where it comes with descriptors, the rest of their socket buffer too.
    fn read_step(
        &mut self,
        source: BorrowedFd<'_>,
        share: &Arc<LinkShare>,
        scratch: &mut Scratch,
    ) -> Result<Read, NoRead> {
        if self.fd_end == 0 {
            self.fd_end = scm::peek(source, &mut scratch.buffer)?.len;
        }
        let mut read = receive(source, &mut scratch.buffer[..1], share)?;
        self.fd_end -= 1;
        if let Read::WithFds { len, .. } = &mut read {
            let rest = std::mem::take(&mut self.fd_end);
            if rest > 0 {
                *len += socket::receive_plain(source, &mut scratch.buffer[1..=rest])?;
            }
        }
        Ok(read)
    }

    fn read_message(
        &mut self,
        source: BorrowedFd<'_>,
        share: &Arc<LinkShare>,
        scratch: &mut Scratch,
    ) -> Result<Read, NoRead> {
        let next = scm::peek_length(source)?;
        if next.len == 0 && !next.control && !socket::is_empty_message(source)? {
            return Err(NoRead::Ended);
        }
        if next.len > MESSAGE_MAX {
            return Err(NoRead::Broken(Trouble::MessageTooLong(next.len)));
        }
        scratch.fit(next.len);
        if next.control {
            receive(source, &mut scratch.buffer[..next.len], share)
        } else {
            let len = socket::receive_plain(source, &mut scratch.buffer[..next.len])?;
            Ok(Read::Plain { len, emptied: false })
        }
    }

    fn write(
        &mut self,
        sink: BorrowedFd<'_>,
        scratch: &mut Scratch,
        moved: Moved,
        fds: Vec<OwnedFd>,
        room: Option<InFlight>,
    ) -> Carried {
        match self.send(sink, &scratch.buffer[..moved.bytes], &fds) {
            Ok(sent) if sent == moved.bytes => Carried::Moved(moved),
            Ok(sent) => {
                self.make_room(sink);
                // The descriptors have gone with the first byte.
                let bytes = scratch.copy_of(sent, moved.bytes);
                self.held = Some(Held { bytes, sent: 0, fds: Vec::new(), room: None });
                Carried::HeldBack(moved)
            }
            Err(error) => {
                let outcome = refused(error);
                if matches!(outcome, Carried::HeldBack(_) | Carried::Later) {
                    self.make_room(sink);
                    let bytes = scratch.copy_of(0, moved.bytes);
                    self.held = Some(Held { bytes, sent: 0, fds, room });
                    return Carried::HeldBack(moved);
                }
                outcome
            }
        }
    }

    /// Writes what is held back. `Moved`: all of it has gone (and was counted when it was read).
    pub(super) fn flush(&mut self, sink: BorrowedFd<'_>, scratch: &mut Scratch) -> Carried {
        let Some(mut held) = self.held.take() else { return Carried::Moved(Moved::default()) };
        match self.send(sink, &held.bytes[held.sent..], &held.fds) {
            Ok(sent) if held.sent + sent == held.bytes.len() => {
                scratch.recycle(held.bytes);
                Carried::Moved(Moved::default())
            }
            Ok(sent) => {
                held.sent += sent;
                if sent > 0 {
                    held.fds.clear();
                    held.room = None;
                }
                self.held = Some(held);
                Carried::HeldBack(Moved::default())
            }
            Err(error) => {
                self.held = Some(held);
                refused(error)
            }
        }
    }

    fn send(&self, sink: BorrowedFd<'_>, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<usize> {
        let result = scm::send(sink, bytes, fds, self.sender);
        match result {
            // The whole message has to fit into the send buffer, and its bookkeeping too.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                socket::grow_send_buffer(sink, bytes.len() + bytes.len() / 8 + 4096)?;
                scm::send(sink, bytes, fds, self.sender)
            }
            other => other,
        }
    }

    /// A sink that was full once gets a buffer for a whole read: fewer wake-ups for bulk.
    fn make_room(&mut self, sink: BorrowedFd<'_>) {
        if !std::mem::replace(&mut self.grown, true) {
            // Without the privilege the system's limit holds: slower, not wrong.
            let _ = socket::grow_send_buffer(sink, SEND_BUFFER);
        }
    }

    /// Passes an out-of-band byte as one.
    fn pass_urgent(&mut self, byte: u8, sink: BorrowedFd<'_>) -> Carried {
        match socket::send_urgent(sink, byte) {
            Ok(()) => Carried::Moved(Moved { bytes: 1, ..Moved::default() }),
            Err(error) => match refused(error) {
                // It may lose its urgency where the sink is full, not its place.
                Carried::HeldBack(_) | Carried::Later => {
                    self.held = Some(Held { bytes: vec![byte], sent: 0, fds: Vec::new(), room: None });
                    Carried::HeldBack(Moved { bytes: 1, ..Moved::default() })
                }
                other => other,
            },
        }
    }
}

fn receive(source: BorrowedFd<'_>, buffer: &mut [u8], share: &Arc<LinkShare>) -> Result<Read, NoRead> {
    let Some(mut room) = share.message() else { return Err(NoRead::Later) };
    let mut fds = Vec::new();
    let received = scm::receive(source, buffer, &mut fds)?;
    room.shrink(fds.len());
    if received.control_lost {
        return Err(NoRead::Broken(Trouble::ControlLost));
    }
    debug_assert!(fds.len() <= MAX_FDS, "the kernel's limit for one message");
    if fds.is_empty() {
        return Ok(Read::Plain { len: received.len, emptied: false });
    }
    Ok(Read::WithFds { len: received.len, fds, room })
}

fn refused(error: io::Error) -> Carried {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Carried::HeldBack(Moved::default()),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => Carried::SinkGone,
        _ if is_shortage(&error) => Carried::Later,
        _ => Carried::Broken(Trouble::Write(error)),
    }
}
