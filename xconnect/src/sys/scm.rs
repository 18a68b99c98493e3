//! Descriptors and credentials that travel with bytes over Unix sockets (unix(7), cmsg(3)).
//!
//! A descriptor belongs to the socket buffer it was sent with. Reading plain bytes and then that buffer
//! in one call would move it to an earlier byte, so there are peeks here that tell where it begins.
#![expect(
    unsafe_code,
    reason = "control messages and a read that stops at a buffer's boundary have no safe wrapper"
)]

use std::io::{Error, Result};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// The most descriptors that one message can carry (`SCM_MAX_FD`, include/net/scm.h).
pub const MAX_FDS: usize = 253;

/// Bytes of a control message's header, padded (`CMSG_ALIGN(sizeof(struct cmsghdr))`).
const HEADER: usize = size_of::<libc::cmsghdr>();
/// Room for the descriptors of one message and for credentials, in words.
const CONTROL_WORDS: usize = (2 * HEADER + MAX_FDS * 4 + size_of::<libc::ucred>() + 16) / 8 + 1;

/// Room for credentials alone, in words.
const CREDENTIAL_WORDS: usize = (HEADER + size_of::<libc::ucred>() + 8) / 8 + 1;

/// A control buffer, aligned as `struct cmsghdr` wants it.
type Control = [u64; CONTROL_WORDS];

/// Who a message says it is from (`struct ucred`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Process id in our PID namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What a peek saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peeked {
    /// Bytes. For `SOCK_SEQPACKET` the true length of the next message.
    pub len: usize,
    /// There was something that belongs into a control buffer.
    pub control: bool,
}

/// What a read took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes.
    pub len: usize,
    /// Control data was lost: the message must not be passed on.
    pub control_lost: bool,
}

fn message(iov: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: `msghdr` is plain data for which all zeroes means "nothing there".
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = iov.as_mut_ptr();
    header.msg_iovlen = iov.len() as _;
    header
}

fn iovec(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
}

fn check(result: libc::c_long) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

/// Looks at the bytes that wait, up to the buffer's size, without taking them or any descriptor.
///
/// On a stream the kernel walks the whole queue up to the first buffer with descriptors even when the
/// memory given is full (`unix_stream_read_generic`, net/unix/af_unix.c), so `control` is about all that
/// is queued. With `SO_PASSCRED` set, `control` is true for every message.
///
/// # Errors
/// `EAGAIN` where nothing waits, `ECONNRESET` once after the peer closed with bytes unread.
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Peeked> {
    peek_with(socket, &mut [iovec(buffer)], libc::MSG_PEEK)
}

/// The next message of a `SOCK_SEQPACKET` socket: its true length, nothing copied.
///
/// # Errors
/// As for [`peek`].
pub fn peek_length(socket: BorrowedFd<'_>) -> Result<Peeked> {
    peek_with(socket, &mut [], libc::MSG_PEEK | libc::MSG_TRUNC)
}

fn peek_with(socket: BorrowedFd<'_>, iov: &mut [libc::iovec], flags: libc::c_int) -> Result<Peeked> {
    let mut header = message(iov);
    // SAFETY: every iovec describes memory that the caller lends exclusively (or a page that nobody can
    // write); no control buffer is given, so no descriptor is installed.
    // Not by the C library's wrapper: as a cancellation point it costs a tenth of the peek, which is what
    // every message of a stream waits for.
    let len = check(unsafe {
        libc::syscall(libc::SYS_recvmsg, socket.as_raw_fd(), &raw mut header, flags | libc::MSG_DONTWAIT)
    })?;
    Ok(Peeked { len, control: header.msg_flags & libc::MSG_CTRUNC != 0 })
}

/// Looks at whole socket buffers only, as many as fit into `buffer`, up to and with the first one that
/// carries descriptors.
///
/// `control` true: `len` is where the first buffer with descriptors ends. False: `len` bytes are plain
/// and `len` is a boundary. `None`: the first socket buffer alone is larger than `buffer`.
///
/// How: behind the memory lies one byte on a page that cannot be written. Copying the socket buffer that
/// does not fit fails, and the kernel returns what it had copied before.
///
/// # Errors
/// As for [`peek`]; `ENOMEM` where no page can be mapped.
pub fn peek_whole(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<Peeked>> {
    let wall = libc::iovec { iov_base: wall()?.0.cast(), iov_len: 1 };
    match peek_with(socket, &mut [iovec(buffer), wall], libc::MSG_PEEK) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(None),
        other => other.map(Some),
    }
}

/// A page that nobody can write.
#[derive(Clone, Copy)]
struct Wall(*mut u8);

// SAFETY: the pointer is never read or written through; it names an address for the kernel to fail at.
unsafe impl Send for Wall {}
// SAFETY: as above.
unsafe impl Sync for Wall {}

fn wall() -> Result<Wall> {
    static WALL: OnceLock<Wall> = OnceLock::new();
    if let Some(wall) = WALL.get() {
        return Ok(*wall);
    }
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
    let page = unsafe {
        libc::mmap(std::ptr::null_mut(), 1, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if page == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    Ok(*WALL.get_or_init(|| Wall(page.cast())))
}

/// Takes bytes and the descriptors that come with them; every descriptor is owned and close-on-exec
/// before anything is judged.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<Received> {
    let mut control: Control = [0; CONTROL_WORDS];
    let mut iov = [iovec(buffer)];
    let mut header = message(&mut iov);
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the iovec and the control buffer are exclusively ours and as long as said.
    let len = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) } as libc::c_long)?;
    // SAFETY: `header` describes `control`, which the kernel has filled.
    unsafe { own_descriptors(&header, fds) };
    Ok(Received { len, control_lost: header.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 })
}

/// # Safety
/// `header` must be as recvmsg(2) left it, its control buffer alive, and this its only reader.
unsafe fn own_descriptors(header: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: by this function's contract the CMSG macros walk initialized memory; the kernel has
    // installed each descriptor for us, and nobody else knows its number.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(header);
        while !entry.is_null() {
            if (*entry).cmsg_level == libc::SOL_SOCKET && (*entry).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*entry).cmsg_len as usize - HEADER;
                let data = libc::CMSG_DATA(entry).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            entry = libc::CMSG_NXTHDR(header, entry);
        }
    }
}

/// Sends bytes, at most [`MAX_FDS`] descriptors, and a word on who they are from. With a result above 0
/// on a stream the descriptors have gone, whatever part of the bytes has.
///
/// # Errors
/// Those of sendmsg(2); never raises `SIGPIPE`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[OwnedFd], sender: Option<Sender>) -> Result<usize> {
    if fds.is_empty() && sender.is_none() {
        let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
        return Ok(rustix::net::send(socket, bytes, flags)?);
    }
    if fds.len() > MAX_FDS {
        return Err(Error::from_raw_os_error(libc::EINVAL));
    }
    // Credentials alone are the hot case: do not clear a kilobyte for them.
    if fds.is_empty() {
        send_with(socket, bytes, fds, sender, &mut [0; CREDENTIAL_WORDS])
    } else {
        send_with(socket, bytes, fds, sender, &mut [0; CONTROL_WORDS])
    }
}

fn send_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[OwnedFd],
    sender: Option<Sender>,
    control: &mut [u64],
) -> Result<usize> {
    let mut iov = [libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }];
    let mut header = message(&mut iov);
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(control) as _;
    let mut used = 0;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the control buffer is zeroed, aligned and has room for both entries (its two sizes above);
    // sendmsg reads `bytes` and the control buffer, both borrowed for the call and as long as said.
    check(unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(&raw const header);
        if let Some(Sender { pid, uid, gid }) = sender {
            let value = libc::ucred { pid: pid.cast_signed(), uid, gid };
            used += put(entry, libc::SCM_CREDENTIALS, size_of::<libc::ucred>());
            libc::CMSG_DATA(entry).cast::<libc::ucred>().write_unaligned(value);
            entry = libc::CMSG_NXTHDR(&raw const header, entry);
        }
        if !fds.is_empty() {
            used += put(entry, libc::SCM_RIGHTS, size_of_val(fds));
            let data = libc::CMSG_DATA(entry).cast::<RawFd>();
            for (index, fd) in fds.iter().enumerate() {
                data.add(index).write_unaligned(fd.as_raw_fd());
            }
        }
        header.msg_controllen = used as _;
        // As in `peek_with`.
        libc::syscall(libc::SYS_sendmsg, socket.as_raw_fd(), &raw const header, flags)
    })
}

/// Writes an entry's header; returns the bytes it takes, padding included.
///
/// # Safety
/// `entry` must point into a control buffer with room for `length` bytes of data.
unsafe fn put(entry: *mut libc::cmsghdr, kind: libc::c_int, length: usize) -> usize {
    // Both lengths are below the control buffer's, which is a kilobyte.
    let length = u32::try_from(length).unwrap_or(0);
    // SAFETY: by this function's contract.
    unsafe {
        (*entry).cmsg_level = libc::SOL_SOCKET;
        (*entry).cmsg_type = kind;
        (*entry).cmsg_len = libc::CMSG_LEN(length) as _;
        libc::CMSG_SPACE(length) as usize
    }
}

/// Whether the next byte of a stream is out of band.
pub(super) fn at_mark(socket: BorrowedFd<'_>) -> Result<bool> {
    /// include/uapi/asm-generic/sockios.h; the libc crate has no name for it.
    const SIOCATMARK: libc::c_ulong = 0x8905;
    let mut mark: libc::c_int = 0;
    // SAFETY: SIOCATMARK writes one int, which is there for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCATMARK as _, &raw mut mark) }.into())?;
    Ok(mark == 1)
}
