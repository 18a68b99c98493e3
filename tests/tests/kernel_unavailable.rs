//! Where the kernel cannot be used for what was asked of it: the link works in user space, and says why.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use xconnect_tests::mesh::{Pair, Setup};
use xconnect_tests::{programs, run};

/// The object that `cargo xtask build-ebpf` made, or that of `XCONNECT_TEST_BPF_OBJECT`.
fn object() -> Option<PathBuf> {
    let built = || {
        programs::program("pv-xconnect").parent()?.parent().map(|it| it.join("ebpf/object/xconnect.bpf.o"))
    };
    let object = std::env::var_os("XCONNECT_TEST_BPF_OBJECT").map(PathBuf::from).or_else(built);
    let object = object.filter(|object| object.exists());
    if object.is_none() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "no eBPF object: cargo xtask build-ebpf"
        );
        println!("SKIP: there is no eBPF object");
    }
    object
}

fn arguments(object: &Path) -> Vec<OsString> {
    vec!["--bpf-object".into(), object.into()]
}

/// A link that asks for the kernel, of a mesh that is started so, works, and gives a reason with this in it.
#[track_caller]
fn works_without(sandbox: &xconnect_tests::Sandbox, setup: Setup, part: &str) -> String {
    let pair = Pair::start_as_with(sandbox, setup, |link| link.option("forward", "kernel"));
    let _server = pair.listener.echo();
    pair.consumer.connect(pair.link.target()).echo(b"through user space");
    let entry = pair.mesh.wait(&pair.link, "up");
    assert_eq!(entry["path"], json!("user"), "{entry}");
    let reason = entry["path_reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains(part), "{reason}");
    assert!(reason.len() < 500 && !reason.contains('\n'), "{reason}");
    let status = pair.mesh.status()["kernel_path"].clone();
    assert_eq!((&status["available"], &status["reason"]), (&json!(false), &json!(reason)), "{status}");
    assert!(pair.mesh.log().contains(&reason), "{}", pair.mesh.log());
    reason
}

#[test]
fn without_the_capabilities() {
    run(|sandbox| {
        let Some(object) = object() else { return };
        let wrapper = vec!["setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin,-net_admin"];
        let setup = Setup { arguments: arguments(&object), wrapper, ..Setup::default() };
        let reason = works_without(sandbox, setup, "not permitted");
        assert!(reason.contains("CAP_BPF"), "{reason}");
    });
}

#[test]
fn switched_off() {
    run(|sandbox| {
        let setup = Setup { arguments: vec!["--kernel-flows".into(), "0".into()], ..Setup::default() };
        works_without(sandbox, setup, "switched off");
    });
}

#[test]
fn with_a_file_that_is_no_object() {
    run(|sandbox| {
        let file = sandbox.path().join("broken.o");
        fs::write(&file, b"\x7fELF, and nothing else of an object").unwrap();
        let setup = Setup { arguments: arguments(&file), ..Setup::default() };
        works_without(sandbox, setup, "the eBPF object is broken");
    });
}

#[test]
fn with_no_file() {
    run(|sandbox| {
        let setup = Setup { arguments: arguments(Path::new("/nowhere/x.o")), ..Setup::default() };
        works_without(sandbox, setup, "cannot read the eBPF object /nowhere/x.o: No such file");
    });
}

#[test]
fn with_half_an_object() {
    run(|sandbox| {
        let Some(object) = object() else { return };
        let mut bytes = fs::read(object).unwrap();
        bytes.truncate(bytes.len() / 2);
        let file = sandbox.path().join("half.o");
        fs::write(&file, bytes).unwrap();
        let setup = Setup { arguments: arguments(&file), ..Setup::default() };
        works_without(sandbox, setup, "the eBPF object is broken");
    });
}

#[test]
fn with_a_program_that_the_verifier_refuses() {
    run(|sandbox| {
        let Some(object) = object() else { return };
        let mut bytes = fs::read(object).unwrap();
        spoil(&mut bytes);
        let file = sandbox.path().join("refused.o");
        fs::write(&file, bytes).unwrap();
        let setup = Setup { arguments: arguments(&file), ..Setup::default() };
        works_without(sandbox, setup, "the kernel refused the program verdict");
    });
}

#[test]
fn with_messages_or_by_wish() {
    run(|sandbox| {
        let Some(object) = object() else { return };
        let setup = Setup { arguments: arguments(&object), ..Setup::default() };
        let pair = Pair::start_as_with(sandbox, setup, |link| link.option("forward", "user"));
        let entry = pair.mesh.wait(&pair.link, "up");
        assert_eq!((&entry["path"], entry.get("path_reason")), (&json!("user"), None), "{entry}");
        let status = pair.mesh.status()["kernel_path"].clone();
        if status["available"] == json!(false) {
            println!("SKIP: no path through this kernel: {status}");
            return;
        }
        let messages = pair.link.clone().option("forward", "kernel").option("socket_type", "seqpacket");
        pair.mesh.apply(std::slice::from_ref(&messages));
        let reason = "seqpacket: only streams can go through the kernel";
        xconnect_tests::eventually("the reason is shown", || {
            let entry = pair.mesh.entry(&messages)?;
            xconnect_tests::wait::ensure(entry["path_reason"] == json!(reason), &entry)
        });
    });
}

#[test]
fn with_fewer_flows_than_connections() {
    run(|sandbox| {
        let Some(object) = object() else { return };
        let mut arguments = arguments(&object);
        arguments.extend(["--kernel-flows".into(), "2".into()]);
        let setup = Setup { arguments, ..Setup::default() };
        let pair = Pair::start_as_with(sandbox, setup, |link| link.option("forward", "kernel"));
        let _server = pair.listener.echo();
        let clients: Vec<_> = (0..8).map(|_| pair.consumer.connect(pair.link.target())).collect();
        for _ in 0..3 {
            for client in &clients {
                client.echo(b"whichever way");
            }
        }
    });
}

/// Makes the first instruction of the verdict read a register that nobody has set.
fn spoil(object: &mut [u8]) {
    let word = |at: usize, len: usize| {
        object[at..at + len].iter().rev().fold(0usize, |word, byte| word << 8 | usize::from(*byte))
    };
    // The ELF header and the section headers (elf(5)).
    let (sections, count) = (word(40, 8), word(60, 2));
    let header = |section: usize| sections + 64 * section;
    let names = word(header(word(62, 2)) + 24, 8);
    let is_verdict =
        |section: &usize| object[names + word(header(*section), 4)..].starts_with(b"sk_skb/stream_verdict");
    let at = word(header((0..count).find(is_verdict).expect("the section of the verdict")) + 24, 8);
    // r0 = r9
    object[at..at + 8].copy_from_slice(&[0xbf, 0x90, 0, 0, 0, 0, 0, 0]);
}
