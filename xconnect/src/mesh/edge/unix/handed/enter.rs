//! How a connection gets into the kernel's maps, and out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use xconnect_common::Flow as Entry;

use super::flow::Flow;
use super::{Buffers, Handed, PAUSE};
use crate::mesh::edge::LinkShare;
use crate::mesh::offload::{KernelShare, Peers};
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
    /// The kernel's worker would be told for the sender.
    #[error("a peer asks for the credentials of each message (SO_PASSCRED), which would be the kernel's")]
    Credentials,
    /// A map did not take it.
    #[error("the kernel refused an entry of its maps")]
    Map(#[source] io::Error),
    /// No descriptors, no memory.
    #[error("cannot make a socket pair")]
    Pair(#[source] io::Error),
}

/// What came of entering.
#[derive(Debug)]
pub(in crate::mesh::edge::unix) enum Entered {
    /// Bytes wait, which are better read before.
    NotNow,
    /// It is to stay in user space after all.
    Refused(NotEntered),
    /// Both directions are in the maps.
    Whole,
    /// The map did not take a source: that direction is relayed as long as it does not, which is tried again.
    InPart(NotEntered),
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
        let gates = kernel.gates().ok_or(NotEntered::Full)?;
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
            entered: false,
            pause: PAUSE,
            _hold_permit: hold_permit,
        };
        handed.fill(fds, holds, slots).map_err(NotEntered::Map)?;
        for side in [0, 1] {
            handed.flows[side].gate.arm();
            if handed.kernel.features().traced
                && handed.flows[1 - side].gate.look_for_credentials(fds[side]).map_err(NotEntered::Peer)?
            {
                return Err(NotEntered::Credentials);
            }
        }
        Ok(handed)
    }

    /// Puts both directions into the maps, in hold mode. Nothing of the connection may be in our memory.
    /// Where bytes wait again and again they are taken over.
    ///
    /// A direction that the map refuses is treated as one in hold mode, too. Whether its source has its verdict
    /// cannot be told ([`add_source`](crate::mesh::offload::KernelPath::add_source)), and both is right: what the verdict holds is read from the
    /// hold pair, and what it does not get stays in the source's queue, which is read with the lock.
    pub(in crate::mesh::edge::unix) fn enter(&mut self, sockets: &[OwnedFd; 2], now: Instant) -> Entered {
        // Seen since it was prepared, when we sent something.
        if self.flows.iter().any(|flow| flow.gate.asks_for_credentials()) {
            return Entered::Refused(NotEntered::Credentials);
        }
        let waits = |socket: &OwnedFd| socket::waiting(socket.as_fd()).is_ok_and(|bytes| bytes > 0);
        if self.tries < TRIES && sockets.iter().any(waits) {
            self.tries += 1;
            return Entered::NotNow;
        }
        let mut entered = Entered::Whole;
        self.entered = true;
        for (side, socket) in sockets.iter().enumerate() {
            self.flows[side].begin();
            let added = self.kernel.add_source(self.sockets[side], socket.as_fd());
            self.flows[side].outside = added.is_err();
            if let Err(error) = added {
                entered = Entered::InPart(NotEntered::Map(error));
            }
        }
        self.looked = now;
        entered
    }

    /// Tries again where the map did not take a source. True: it has.
    pub(super) fn enter_again(&mut self, socket: BorrowedFd<'_>, side: usize) -> bool {
        let enters =
            self.flows[side].may_enter() && self.kernel.add_source(self.sockets[side], socket).is_ok();
        if enters {
            self.flows[side].outside = false;
        }
        enters
    }

    fn fill(&mut self, fds: [BorrowedFd<'_>; 2], holds: [u64; 2], slots: [u32; 2]) -> io::Result<()> {
        for side in [0, 1] {
            self.kernel.add_target(self.sockets[side], fds[side])?;
            self.kernel.add_target(holds[side], self.hold[side].as_fd())?;
            self.kernel.trace(self.sockets[side], [slots[side], slots[1 - side]])?;
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
    /// Sockets leave their maps when they are closed; the rest is taken out here, and what has not entered.
    fn drop(&mut self) {
        for cookie in self.sockets {
            self.kernel.forget(cookie);
            if !self.entered {
                // These two live on, and would take room from others.
                self.kernel.remove_target(cookie);
            }
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
