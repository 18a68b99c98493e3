//! A Unix stream socket on an edge thread's event loop.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::register::register;
use crate::sys::scm::{self, Sender};
use crate::sys::socket;

/// The send buffer of a socket that was full once, in bytes: room for a whole read, so that there are fewer wake-ups.
const SEND_BUFFER: usize = 1 << 20;

/// One end of a connection.
///
/// Watched for reading only: watched for room as well, a socket would wake the thread each time that its peer
/// reads. Where a write does not go through, a duplicate of the descriptor is watched for room until the writer
/// says that it has no more (`relax`).
pub(super) struct Stream {
    socket: AsyncFd<OwnedFd>,
    room: Option<AsyncFd<OwnedFd>>,
    sender: Option<Sender>,
    /// It was full once, and has got a larger send buffer.
    grown: bool,
    /// A read takes all that there is: none stops behind a descriptor, as there are none.
    whole: bool,
}

impl Stream {
    /// `sender`: who the bytes say they are from, where the peer asks (`SO_PASSCRED`).
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub(super) fn new(socket: OwnedFd, sender: Option<Sender>) -> io::Result<Self> {
        // Nobody takes descriptors here. Kernels that cannot refuse them close them when the bytes are read.
        let whole = socket::refuse_rights(socket.as_fd()).is_ok();
        Ok(Self { socket: register(socket, Interest::READABLE)?, room: None, sender, grown: false, whole })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    /// Waits until a read would say something.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read_ready(cx).map_ok(drop)
    }

    /// Reads; 0 at the end of the stream.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            match socket::receive_plain(self.fd(), into) {
                Ok(length) => {
                    // Less than there is room for: that was all, and more makes another event.
                    if self.whole && length > 0 && length < into.len() {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(length));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes some of `bytes`.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            if self.room.is_none() && !std::mem::replace(&mut self.grown, true) {
                // Without the privilege the system's limit holds: slower, not wrong.
                let _ = socket::grow_send_buffer(self.fd(), SEND_BUFFER);
            }
            ready!(self.room()?.poll_write_ready(cx))?.clear_ready();
        }
    }

    /// Ready when the peer has closed its socket, not only its sending side. `poll_readable` cannot tell: once the
    /// peer has ended its sending side it is ready for ever.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.is_gone() {
                return Poll::Ready(());
            }
            let Ok(room) = self.room() else { return Poll::Pending };
            let Ok(mut guard) = ready!(room.poll_write_ready(cx)) else { return Poll::Ready(()) };
            if guard.ready().is_write_closed() {
                return Poll::Ready(());
            }
            guard.clear_ready();
        }
    }

    /// A duplicate that is watched for room, and for the peer's end.
    fn room(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        if self.room.is_none() {
            let duplicate = self.fd().try_clone_to_owned()?;
            self.room = Some(register(duplicate, Interest::WRITABLE)?);
        }
        self.room.as_ref().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match scm::send(self.fd(), bytes, &[], self.sender) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// No more is written for a while.
    pub(super) fn relax(&mut self) {
        self.room = None;
    }

    /// Nothing more will be written: the peer reads what there is, then the end of the stream.
    pub(super) fn end(&self) {
        socket::end_sending(self.fd());
    }

    fn is_gone(&self) -> bool {
        socket::is_gone(self.fd())
    }

    /// Whether nothing has come since the last read, as far as the event loop has been told.
    pub(super) fn is_quiet(&self) -> bool {
        self.socket.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Whether nothing has come, as the kernel knows.
    pub(super) fn is_quiet_now(&self) -> bool {
        let seen = scm::peek(self.fd(), &mut [0]);
        seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
