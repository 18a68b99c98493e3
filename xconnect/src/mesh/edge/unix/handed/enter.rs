//! How a connection gets into the kernel's maps, and out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use xconnect_common::{Flow as Entry, Traced};

use super::flow::Flow;
use super::{Buffers, Handed};
use crate::mesh::edge::LinkShare;
use crate::mesh::offload::{Gates, KernelShare, Peers};
use crate::sys::scm::Sender;
use crate::sys::socket;

/// How often a moment without bytes under way is awaited.
const TRIES: u32 = 32;

/// Why a connection stays in user space.
#[derive(Debug, thiserror::Error)]
pub(in crate::mesh::edge::unix) enum NotEntered {
    /// All gates are in use.
    #[error("as many flows are in the kernel as the link may have (--kernel-flows)")]
    Full,
    /// The hold pair would be too much.
    #[error("the other links need the descriptors that are left")]
    Descriptors,
    /// Not even the first size fits.
    #[error("as much memory is given to send buffers as the link may have (--kernel-send-buffers)")]
    SendBuffers,
    /// Who is at the other end cannot be told.
    #[error("cannot find the peer's socket")]
    Peer(#[source] io::Error),
    /// It has not accepted the connection yet, or has hung up meanwhile.
    #[error("the peer has no socket yet, or none any more")]
    NoPeer,
    /// A map did not take it.
    #[error("the kernel refused an entry of its maps")]
    Map(#[source] io::Error),
    /// No descriptors, no memory.
    #[error("cannot make a socket pair")]
    Pair(#[source] io::Error),
}

impl Handed {
    /// Prepares all that takes time, so that little can arrive while the connection enters the maps.
    pub(in crate::mesh::edge::unix) fn prepare(
        kernel: &KernelShare,
        descriptors: &LinkShare,
        sockets: &[OwnedFd; 2],
        role: Sender,
        peers: &mut Peers,
        now: Instant,
    ) -> Result<Self, NotEntered> {
        let fds = [sockets[0].as_fd(), sockets[1].as_fd()];
        let mut senders = [0; 2];
        for (sender, fd) in senders.iter_mut().zip(fds) {
            *sender = peers.cookie_of_peer(fd).map_err(NotEntered::Peer)?.ok_or(NotEntered::NoPeer)?;
        }
        let Gates { gates, taken } = kernel.gates().ok_or(NotEntered::Full)?;
        let slots = [gates[0].slot(), gates[1].slot()];
        let hold_permit = descriptors.hold_pair().ok_or(NotEntered::Descriptors)?;
        let hold = pair().map_err(NotEntered::Pair)?;
        let buffers = Buffers::first(kernel.buffers(), fds, [hold[0].as_fd(), hold[1].as_fd()], now)
            .ok_or(NotEntered::SendBuffers)?;
        let cookie = |fd: BorrowedFd<'_>| socket::cookie(fd).map_err(NotEntered::Map);
        let cookies = [cookie(fds[0])?, cookie(fds[1])?];
        let holds = [cookie(hold[0].as_fd())?, cookie(hold[1].as_fd())?];
        let [to_provider, to_consumer] = gates;
        // From here on dropping it takes out what was put in.
        let mut handed = Self {
            kernel: kernel.path().clone(),
            flows: [Flow::new(to_provider, Some(role), now), Flow::new(to_consumer, None, now)],
            hold,
            senders,
            sockets: cookies,
            watched: [EventFlags::empty(); 2],
            buffers,
            looked: now,
            tries: 0,
            _flows: taken,
            _hold_permit: hold_permit,
        };
        handed.fill(fds, holds, slots).map_err(NotEntered::Map)?;
        handed.flows.iter().for_each(|flow| flow.gate.arm());
        Ok(handed)
    }

    /// Puts both directions into the maps, in hold mode. Nothing of the connection may be in our memory.
    /// False: not now, bytes wait, which are better read before; if that goes on and on they are taken over.
    ///
    /// # Errors
    /// The connection has to be cut: with a source in the maps it cannot be taken out again.
    pub(in crate::mesh::edge::unix) fn enter(
        &mut self,
        sockets: &[OwnedFd; 2],
        now: Instant,
    ) -> io::Result<bool> {
        let waits = |socket: &OwnedFd| socket::waiting(socket.as_fd()).is_ok_and(|bytes| bytes > 0);
        if self.tries < TRIES && sockets.iter().any(waits) {
            self.tries += 1;
            return Ok(false);
        }
        for (side, socket) in sockets.iter().enumerate() {
            self.flows[side].begin();
            self.kernel.add_source(self.sockets[side], socket.as_fd())?;
        }
        self.looked = now;
        Ok(true)
    }

    fn fill(&mut self, fds: [BorrowedFd<'_>; 2], holds: [u64; 2], slots: [u32; 2]) -> io::Result<()> {
        for side in [0, 1] {
            self.kernel.add_target(self.sockets[side], fds[side])?;
            self.kernel.add_target(holds[side], self.hold[side].as_fd())?;
            let traced = Traced { source_slot: slots[side], sink_slot: slots[1 - side] };
            self.kernel.trace(self.sockets[side], &traced)?;
            let entry =
                Entry { sink: self.sockets[1 - side], hold: holds[side], slot: slots[side], reserved: 0 };
            self.kernel.add_flow(self.senders[side], &entry)?;
        }
        Ok(())
    }

    /// Puts a socket into the maps again that has left them though its peer may still send.
    pub(super) fn rejoin(&self, sockets: &[OwnedFd; 2], side: usize) {
        let (cookie, fd) = (self.sockets[side], sockets[side].as_fd());
        // It fails where the socket is in it still, or its peer is gone: nothing is lost by that.
        let _ = self.kernel.add_target(cookie, fd);
        let _ = self.kernel.add_source(cookie, fd);
    }
}

impl Drop for Handed {
    /// Sockets leave their maps when they are closed; the rest is taken out here.
    fn drop(&mut self) {
        for cookie in self.sockets {
            self.kernel.forget(cookie);
        }
        for sender in self.senders {
            self.kernel.remove_flow(sender);
        }
    }
}

fn pair() -> io::Result<[OwnedFd; 2]> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok([one, other])
}
