//! On the kernel that runs, as root, with the embedded object or that of `XCONNECT_TEST_BPF_OBJECT`.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use xconnect_common::REDIRECT;

use super::*;
use crate::mesh::offload::object::for_tests as object;

#[test]
fn the_programs_are_loaded_and_found_to_work() {
    let Some(object) = object() else { return };
    let path = KernelPath::load(&object, 4).unwrap();
    assert_eq!(path.flows(), 4);
    assert_ne!(path.secret, [0, 0]);
    // A flow, as the hand-over makes one.
    let pair = || UnixStream::pair().unwrap();
    let ((mut sender, source), (sink, mut receiver)) = (pair(), pair());
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let [from, via, to] = [&sender, &source, &sink].map(|socket| cookie(socket).unwrap());
    path.gate(3).word.store(REDIRECT, Ordering::SeqCst);
    path.add_target(to, sink.as_fd()).unwrap();
    path.add_flow(from, &Flow { sink: to, hold: 0, slot: 3, reserved: 0 }).unwrap();
    path.trace(to, [NO_SLOT, 3]).unwrap();
    path.add_source(via, source.as_fd()).unwrap();
    sender.write_all(b"12345").unwrap();
    let mut read = [0; 5];
    receiver.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"12345");
    assert_eq!(path.gate(3).word.load(Ordering::SeqCst), REDIRECT | 5);
    path.remove_flow(from);
    path.forget(to);
    path.forget(to);
}

#[test]
fn every_gate_can_be_reached() {
    let Some(object) = object() else { return };
    let path = KernelPath::load(&object, 2000).unwrap();
    for slot in 0..path.flows() {
        path.region().reach(slot as usize).unwrap().messages.store(u64::from(slot), Ordering::SeqCst);
    }
    assert!((0..path.flows()).all(|slot| path.gate(slot).messages.load(Ordering::SeqCst) == u64::from(slot)));
}

#[test]
fn a_full_map_takes_no_more() {
    let Some(object) = object() else { return };
    let path = KernelPath::load(&object, 2).unwrap();
    let full = |result: io::Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::E2BIG));
    let flow = Flow { sink: 1, hold: 2, slot: 0, reserved: 0 };
    // The one beyond is the self-test's, which is over.
    (1..=3).for_each(|sender| path.add_flow(sender, &flow).unwrap());
    full(path.add_flow(4, &flow));
    path.remove_flow(1);
    path.add_flow(4, &flow).unwrap();
    let pairs: Vec<_> = (0..5).map(|_| UnixStream::pair().unwrap()).collect();
    for (number, (socket, _)) in pairs.iter().enumerate() {
        let added = path.add_source(cookie(socket).unwrap(), socket.as_fd());
        if number < 3 { added.unwrap() } else { full(added) }
    }
    // Closing is how a source leaves.
    drop(pairs);
    let (socket, _peer) = UnixStream::pair().unwrap();
    path.add_source(cookie(&socket).unwrap(), socket.as_fd()).unwrap();
}

/// Why a target that the map refuses cannot simply be left to user space.
#[test]
fn a_target_that_the_full_map_refuses_has_its_verdict_all_the_same() {
    let Some(object) = object() else { return };
    let path = KernelPath::load(&object, 1).unwrap();
    let fill: Vec<_> = (0..2).map(|_| UnixStream::pair().unwrap()).collect();
    for (socket, _) in &fill {
        path.add_source(cookie(socket).unwrap(), socket.as_fd()).unwrap();
    }
    for target in [false, true] {
        let ((mut sender, source), (hold, held)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let [from, via, to] = [&sender, &source, &hold].map(|socket| cookie(socket).unwrap());
        path.add_target(to, hold.as_fd()).unwrap();
        path.add_flow(from, &Flow { sink: 0, hold: to, slot: 0, reserved: 0 }).unwrap();
        if target {
            path.add_target(via, source.as_fd()).unwrap();
        }
        let added = path.add_source(via, source.as_fd());
        assert_eq!(added.err().and_then(|error| error.raw_os_error()), (!target).then_some(libc::E2BIG));
        sender.write_all(b"12345").unwrap();
        let mut reader = if target { &held } else { &source };
        reader.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut read = [0; 5];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"12345");
        path.remove_flow(from);
    }
}

#[test]
fn what_was_no_source_is_taken_out_of_the_targets_whole() {
    let Some(object) = object() else { return };
    let path = KernelPath::load(&object, 1).unwrap();
    let mut alive = Vec::new();
    for _ in 0..100 {
        let (mut sender, mut target) = UnixStream::pair().unwrap();
        sender.write_all(b"12").unwrap();
        let key = cookie(&target).unwrap();
        path.add_target(key, target.as_fd()).unwrap();
        sender.write_all(b"34").unwrap();
        path.remove_target(key);
        sender.write_all(b"5").unwrap();
        let mut read = [0; 5];
        target.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"12345");
        // It would take room from others otherwise, as long as it lives.
        alive.push((sender, target));
    }
}

#[test]
fn a_fence_of_an_unknown_sink_never_comes() {
    let Some(object) = object() else { return };
    let path = KernelPath::load(&object, 1).unwrap();
    for _ in 0..1000 {
        path.fence(u64::MAX).unwrap();
    }
}

#[test]
fn without_the_kernels_types_it_says_what_is_missing() {
    let Some(object) = object() else { return };
    let reason = |types: &Path| KernelPath::load_with(&object, 1, types).unwrap_err().reason();
    let nowhere = reason(Path::new("/nowhere/vmlinux"));
    assert!(nowhere.contains("/nowhere/vmlinux") && nowhere.contains("CONFIG_DEBUG_INFO_BTF"), "{nowhere}");
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(reason(file.path()).contains("not the BTF"));
}

#[test]
fn a_broken_object_is_told_from_a_refused_one() {
    let Some(mut object) = object() else { return };
    let reason = |object: &[u8]| KernelPath::load(object, 1).unwrap_err();
    for broken in [&b""[..], b"no object", &object[..64], &object[..object.len() / 2]] {
        assert!(matches!(reason(broken), Unavailable::BrokenObject(_)), "{:?}", reason(broken));
    }
    // The verdict's first instructions become a jump into nowhere; it is the only program of its section.
    spoil(&mut object);
    let refused = reason(&object);
    assert!(matches!(refused, Unavailable::Refused { program: "verdict", .. }), "{refused:?}");
    let text = refused.reason();
    assert!(text.len() < 300 && !text.contains('\n'), "{text}");
}

/// Replaces the first instruction of each program of a stream by one that reads a register nobody has set.
fn spoil(object: &mut [u8]) {
    let word = |at: usize, len: usize| {
        object[at..at + len].iter().rev().fold(0usize, |word, byte| word << 8 | usize::from(*byte))
    };
    // The ELF header and the section headers (elf(5)).
    let (sections, count, names) = (word(40, 8), word(60, 2), word(62, 2));
    let header = |section: usize| sections + 64 * section;
    let names = word(header(names) + 24, 8);
    let at = (0..count)
        .find(|section| {
            let name = names + word(header(*section), 4);
            object[name..].starts_with(b"sk_skb/stream_verdict")
        })
        .map(|section| word(header(section) + 24, 8))
        .unwrap();
    // r0 = r9
    object[at..at + 8].copy_from_slice(&[0xbf, 0x90, 0, 0, 0, 0, 0, 0]);
}
