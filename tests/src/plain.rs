//! Links whose provider promises a plain protocol, so that the kernel may forward: what their tests share.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use crate::mesh::Pair;
use crate::socket::Socket;
use crate::wait::{OrFail, ensure, eventually};

/// Version of the kernel that runs.
#[track_caller]
#[must_use]
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").or_fail("the kernel's version");
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Since 6.16 a socket can refuse descriptors (`SO_PASSRIGHTS`).
#[track_caller]
#[must_use]
pub fn refuses_descriptors() -> bool {
    kernel_version() >= (6, 16)
}

/// Whether the link may go through the kernel here. On a kernel that can refuse descriptors it must: there its absence
/// is a failure, and nothing to skip.
#[track_caller]
#[must_use]
pub fn has_kernel_path(pair: &Pair) -> bool {
    let entry = pair.mesh.entry(&pair.link).or_fail("the link");
    let (there, why) = (entry["path"] != "user", &entry["path_reason"]);
    assert!(there || !refuses_descriptors(), "no kernel path: {why}");
    if !there {
        println!("SKIP: the kernel path is not there: {why}");
    }
    there
}

/// Bytes that the kernel has forwarded on the link.
#[track_caller]
#[must_use]
pub fn kernel_bytes(pair: &Pair) -> u64 {
    pair.mesh.counter(&pair.link, "/kernel/bytes")
}

/// Both ways once.
#[track_caller]
pub fn exchange(client: &Socket, server: &Socket) {
    client.send(b"ping");
    assert_eq!(server.recv_exact(4).bytes, b"ping");
    server.send(b"pong!");
    assert_eq!(client.recv_exact(5).bytes, b"pong!");
}

/// A connection that the kernel forwards, both ways.
#[track_caller]
#[must_use]
pub fn handed_over(pair: &Pair) -> (Socket, Socket) {
    let (client, server) = pair.connect();
    let before = kernel_bytes(pair);
    eventually("the kernel forwards both ways", || {
        exchange(&client, &server);
        thread::sleep(Duration::from_millis(5));
        ensure(kernel_bytes(pair) >= before + 18, "not yet")
    });
    (client, server)
}

/// All that comes until the end, or until the connection is cut.
#[track_caller]
#[must_use]
pub fn to_end_or_reset(reader: &Socket) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        match reader.try_recv(64 * 1024) {
            Ok(message) if message.bytes.is_empty() => return got,
            Ok(message) => got.extend(message.bytes),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return got,
            Err(error) => panic!("{error}"),
        }
    }
}
