//! Whether the kernel does what the path is made of: a connection between sockets of our own, within some
//! seconds.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use xconnect_common::{Flow, MARKER_LEN, NO_SLOT, REDIRECT};

use super::super::unavailable::Unavailable;
use super::{Features, KernelPath, cookie, marker_bytes};
use crate::sys::diag::DiagSocket;
use crate::sys::{scm, socket};

/// What one write of a program's is at most, as a rule: most of it is outside of the socket buffer's head, where
/// kernels before 6.5 send page by page (`sendpage`), which their tracepoint may not tell of.
const LONG: usize = 64 * 1024;
/// Most that each step may take; a few microseconds are usual.
const PATIENCE: Duration = Duration::from_secs(5);

type Result<T> = std::result::Result<T, Unavailable>;

/// The sockets of one flow: sender and source, sink and receiver, the hold pair.
struct Flowing<'a> {
    path: &'a KernelPath,
    slot: u32,
    sender: UnixStream,
    source: UnixStream,
    sink: UnixStream,
    receiver: UnixStream,
    hold: UnixStream,
    held: UnixStream,
}

/// Tries each step of a flow's life.
pub(super) fn run(path: &KernelPath) -> Result<Features> {
    let flow = Flowing::new(path)?;
    flow.find_peer()?;
    flow.hand_over().map_err(|error| failed("a flow cannot be put into the maps", &error))?;
    flow.hold()?;
    let redirected = flow.redirect()?;
    flow.fence()?;
    let traced = path.features.traced && flow.traced(redirected);
    if path.features.traced && !traced {
        tracing::info!("the kernel's tracepoints for sockets do not tell what they should");
    }
    if traced && !flow.sees_credentials()? {
        tracing::warn!(
            "whether a receiver asks for the credentials of each message (SO_PASSCRED) cannot be seen on this kernel: \
             such a provider must not declare \"forward\": \"kernel\""
        );
    }
    Ok(Features { refuses_rights: refuses_rights()?, traced })
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Unavailable {
    Unavailable::NotForwarding(format!("{what}: {error}"))
}

fn pair() -> Result<(UnixStream, UnixStream)> {
    let pair = UnixStream::pair().and_then(|(a, b)| {
        for end in [&a, &b] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
        }
        Ok((a, b))
    });
    pair.map_err(|error| Unavailable::call("make a pair of sockets", error))
}

/// Reads these bytes, and no others. A socket in a map gives up waiting whatever it is woken for, also where
/// nothing has come (`unix_bpf_recvmsg` waits once): so it is asked again.
fn expect(mut from: &UnixStream, bytes: &[u8], what: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let (mut read, mut len) = (vec![0; bytes.len()], 0);
    while len < read.len() {
        match from.read(&mut read[len..]) {
            Ok(0) => return Err(failed(what, &"the end came")),
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(what, &error)),
        }
    }
    if read == bytes { Ok(()) } else { Err(failed(what, &"other bytes came")) }
}

impl<'a> Flowing<'a> {
    fn new(path: &'a KernelPath) -> Result<Self> {
        let ((sender, source), (sink, receiver), (hold, held)) = (pair()?, pair()?, pair()?);
        Ok(Self { path, slot: path.count, sender, source, sink, receiver, hold, held })
    }

    /// The sender of a real flow is in another process: its cookie must be found from the source.
    fn find_peer(&self) -> Result<()> {
        let found = DiagSocket::open().and_then(|diag| diag.peer_cookie(self.source.as_fd()));
        match found {
            Ok(found) if found == Some(cookie(&self.sender)?) => Ok(()),
            Ok(_) => Err(failed("a socket's peer is not found", &"sock_diag tells another one")),
            Err(error) => Err(failed("a socket's peer is not found (sock_diag, UNIX_DIAG)", &error)),
        }
    }

    fn hand_over(&self) -> std::io::Result<()> {
        let path = self.path;
        let [sender, source, sink, hold] =
            [&self.sender, &self.source, &self.sink, &self.hold].map(|it| socket::cookie(it.as_fd()));
        let (sender, source, sink, hold) = (sender?, source?, sink?, hold?);
        path.add_target(sink, self.sink.as_fd())?;
        path.add_target(hold, self.hold.as_fd())?;
        path.add_flow(sender, &Flow { sink, hold, slot: self.slot, reserved: 0 })?;
        path.trace(source, [self.slot, NO_SLOT])?;
        path.trace(sink, [NO_SLOT, self.slot])?;
        if path.features.traced {
            // Without a verdict yet: so the programs see how such a socket is told that something came.
            self.write(b"plain").map_err(std::io::Error::other)?;
            (&self.source).read_exact(&mut [0; 5])?;
            path.arm(self.slot);
        }
        path.add_source(source, self.source.as_fd())
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        (&self.sender).write_all(bytes).map_err(|error| failed("a socket in a map takes no bytes", &error))
    }

    fn hold(&self) -> Result<()> {
        const BYTES: &[u8] = b"hold";
        self.write(BYTES)?;
        expect(&self.held, BYTES, "bytes are not held")?;
        let word = &self.path.gate(self.slot).word;
        word.compare_exchange(BYTES.len() as u64, REDIRECT, Ordering::SeqCst, Ordering::SeqCst)
            .map(drop)
            .map_err(|word| failed("bytes are miscounted", &format_args!("{word:#x}")))
    }

    /// Gives how many bytes.
    fn redirect(&self) -> Result<u64> {
        let what = "bytes are not redirected";
        self.write(b"redirect")?;
        expect(&self.receiver, b"redirect", what)?;
        // No byte is as the one a page before or after it.
        let long: Vec<u8> = (0..LONG).map(|at| (at % 251) as u8).collect();
        self.write(&long)?;
        expect(&self.receiver, &long, what)?;
        let redirected = (b"redirect".len() + LONG) as u64;
        match self.path.gate(self.slot).redirected() {
            counted if counted == redirected => Ok(redirected),
            counted => Err(failed("bytes are miscounted", &format_args!("{counted} of {redirected}"))),
        }
    }

    fn fence(&self) -> Result<()> {
        let what = "a marker does not come back";
        let marker = self.path.fence(cookie(&self.sink)?).map_err(|error| failed(what, &error))?;
        let bytes: [u8; MARKER_LEN] = marker_bytes(&marker);
        expect(&self.sink, &bytes, what)
    }

    /// The marker has come: so all bytes before it were counted, and nobody is inside.
    fn traced(&self, redirected: u64) -> bool {
        let gate = self.path.gate(self.slot);
        let (inside, overlaps) = (gate.inside.load(Ordering::SeqCst), gate.overlaps());
        let delivered = gate.delivered.load(Ordering::SeqCst);
        let plain = self.path.control().plain_handler().load(Ordering::SeqCst);
        tracing::debug!(inside, overlaps, delivered, redirected, plain, "traced in the self-test");
        // A verdict without an entry before it is an overlap.
        plain != 0 && inside == 0 && overlaps == 0 && delivered == redirected
    }

    /// Whether a receiver that asks for credentials is seen to do so, and another one is not.
    fn sees_credentials(&self) -> Result<bool> {
        let look = || {
            let looked = self.path.look_for_credentials(self.slot, self.sink.as_fd());
            looked.map_err(|error| Unavailable::call("look at a socket", error))
        };
        let before = look()?;
        rustix::net::sockopt::set_socket_passcred(&self.receiver, true)
            .map_err(|error| Unavailable::call("ask for credentials", error.into()))?;
        Ok(!before && look()?)
    }
}

impl Drop for Flowing<'_> {
    fn drop(&mut self) {
        for socket in [&self.sender, &self.source, &self.sink] {
            if let Ok(cookie) = socket::cookie(socket.as_fd()) {
                self.path.remove_flow(cookie);
                self.path.forget(cookie);
            }
        }
    }
}

/// Whether descriptors sent to a socket that refuses them fail where they are sent.
fn refuses_rights() -> Result<bool> {
    let (sender, refusing) = pair()?;
    if socket::refuse_rights(refusing.as_fd()).is_err() {
        return Ok(false);
    }
    let null = File::open("/dev/null").map_err(|error| Unavailable::call("open /dev/null", error))?;
    let sent = scm::send(sender.as_fd(), b"x", &[null.into()], None);
    Ok(sent.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)))
}
