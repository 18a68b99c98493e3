//! Messages of sock_diag(7) for Unix sockets, as bytes.
//!
//! Nothing that comes in is trusted to be long enough: what does not fit is an error, never a panic.

use std::io;

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR` (linux/netlink.h).
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `UDIAG_SHOW_PEER`, `UNIX_DIAG_PEER` (linux/unix_diag.h).
const SHOW_PEER: u32 = 4;
const PEER: u16 = 2;
/// Lengths of `struct nlmsghdr` and `struct unix_diag_msg`.
const HEADER: usize = 16;
const BODY: usize = 16;
/// The bits of an attribute's type that are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE_MASK: u16 = 0x3fff;

/// Length of a request: `struct nlmsghdr` and `struct unix_diag_req`.
const REQUEST_LEN: usize = HEADER + 24;

/// Asks for one socket by its inode: cookie and peer.
pub(super) fn request(sequence: u32, inode: u32) -> [u8; REQUEST_LEN] {
    let mut bytes = [0; REQUEST_LEN];
    let mut put = |at: usize, word: u32| bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    put(0, REQUEST_LEN as u32);
    put(8, sequence);
    // States: any; cookie: none expected (`INET_DIAG_NOCOOKIE`).
    put(HEADER + 4, u32::MAX);
    put(HEADER + 8, inode);
    put(HEADER + 12, SHOW_PEER);
    put(HEADER + 16, u32::MAX);
    put(HEADER + 20, u32::MAX);
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    bytes[HEADER] = rustix::net::AddressFamily::UNIX.as_raw() as u8;
    bytes
}

/// What is known about a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) inode: u32,
    pub(super) cookie: u64,
    /// Inode of the peer, where it has one that is in use.
    pub(super) peer: Option<u32>,
}

/// What a message says to the request of that number.
#[derive(Debug)]
pub(super) enum Answer {
    /// The socket.
    Found(Socket),
    /// No such socket, or another error of the kernel's.
    Failed(io::Error),
    /// An answer to another request.
    Stale,
}

/// Reads one message.
///
/// # Errors
/// `InvalidData` for what the kernel does not send.
pub(super) fn parse(bytes: &[u8], sequence: u32) -> io::Result<Answer> {
    let len = word(bytes, 0)? as usize;
    if len < HEADER || len > bytes.len() {
        return Err(odd("its length is wrong"));
    }
    let bytes = &bytes[..len];
    if word(bytes, 8)? != sequence {
        return Ok(Answer::Stale);
    }
    match half(bytes, 4)? {
        ERROR => {
            let code = word(bytes, HEADER)?.cast_signed();
            match code.checked_neg() {
                Some(errno) if errno > 0 => Ok(Answer::Failed(io::Error::from_raw_os_error(errno))),
                _ => Err(odd("an acknowledgement that nobody asked for")),
            }
        }
        BY_FAMILY => socket(&bytes[HEADER..]).map(Answer::Found),
        _ => Err(odd("its type is unknown")),
    }
}

/// Reads `struct unix_diag_msg` and the attributes behind it.
fn socket(body: &[u8]) -> io::Result<Socket> {
    let inode = word(body, 4)?;
    // The lower half comes first on every machine (`sock_diag_save_cookie`, net/core/sock_diag.c).
    let cookie = u64::from(word(body, 8)?) | u64::from(word(body, 12)?) << 32;
    let mut socket = Socket { inode, cookie, peer: None };
    let mut rest = body.get(BODY..).unwrap_or_default();
    while !rest.is_empty() {
        let len = usize::from(half(rest, 0)?);
        if len < 4 || len > rest.len() {
            return Err(odd("an attribute's length is wrong"));
        }
        if half(rest, 2)? & TYPE_MASK == PEER {
            // 0: the peer has been closed (`sock_i_ino` of an orphan).
            socket.peer = Some(word(&rest[..len], 4)?).filter(|inode| *inode != 0);
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(socket)
}

fn word(bytes: &[u8], at: usize) -> io::Result<u32> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|word| u32::from_ne_bytes(*word))
        .ok_or_else(|| odd("it ends too early"))
}

fn half(bytes: &[u8], at: usize) -> io::Result<u16> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|half| u16::from_ne_bytes(*half))
        .ok_or_else(|| odd("it ends too early"))
}

fn odd(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an odd message of sock_diag: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[0..4].copy_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn body(inode: u32, cookie: [u32; 2], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![1, 1, 1, 0];
        for word in [inode, cookie[0], cookie[1]] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        for (kind, value) in attributes {
            bytes.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_socket_is_read_with_its_peer() {
        let peer = 77u32.to_ne_bytes();
        let body = body(5, [1, 2], &[(0, b"abc"), (PEER, &peer)]);
        let Answer::Found(socket) = parse(&message(BY_FAMILY, 9, &body), 9).unwrap() else { panic!() };
        assert_eq!(socket, Socket { inode: 5, cookie: 0x2_0000_0001, peer: Some(77) });
    }

    #[test]
    fn a_closed_peer_is_none() {
        let body = body(5, [1, 2], &[(PEER, &[0; 4])]);
        let Answer::Found(socket) = parse(&message(BY_FAMILY, 9, &body), 9).unwrap() else { panic!() };
        assert_eq!(socket.peer, None);
    }

    #[test]
    fn an_error_is_the_kernels() {
        let error = message(ERROR, 1, &(-libc::ENOENT).to_ne_bytes());
        let Answer::Failed(error) = parse(&error, 1).unwrap() else { panic!() };
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert!(parse(&message(ERROR, 1, &0i32.to_ne_bytes()), 1).is_err());
        assert!(parse(&message(ERROR, 1, &i32::MIN.to_ne_bytes()), 1).is_err());
    }

    #[test]
    fn an_answer_to_another_request_is_stale() {
        assert!(matches!(parse(&message(BY_FAMILY, 8, &body(5, [1, 2], &[])), 9).unwrap(), Answer::Stale));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let whole = message(BY_FAMILY, 9, &body(5, [1, 2], &[(PEER, &[1, 0, 0, 0])]));
        for len in 0..whole.len() {
            let mut cut = whole[..len].to_vec();
            assert!(parse(&cut, 9).is_err(), "{len}");
            if len >= HEADER {
                // Where the header agrees, it is what was there: at most an attribute less.
                cut[0..4].copy_from_slice(&(len as u32).to_ne_bytes());
                let complete = len == HEADER + BODY;
                assert_eq!(parse(&cut, 9).is_ok(), complete, "{len}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), right: bool) {
            if right && bytes.len() >= HEADER {
                let len = bytes.len() as u32;
                bytes[0..4].copy_from_slice(&len.to_ne_bytes());
                bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
                bytes[8..12].copy_from_slice(&7u32.to_ne_bytes());
            }
            let _ = parse(&bytes, 7);
        }
    }
}
