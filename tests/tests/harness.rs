//! The harness itself: a test is worth as much as the containers that it runs on are real.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use xconnect_tests::container::MAPPED_ROOT;
use xconnect_tests::{Container, Kind, Socket, process, programs, run, sys};

fn namespace(pid: impl std::fmt::Display, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a helper of these tests").display().to_string()
}

#[test]
fn a_container_has_namespaces_and_a_root_of_its_own() {
    run(|sandbox| {
        let container = Container::start(sandbox);
        for kind in ["mnt", "pid", "net", "uts"] {
            assert_ne!(namespace(container.pid(), kind), namespace("self", kind), "{kind}");
        }
        assert_eq!(namespace(container.pid(), "user"), namespace("self", "user"));
        assert_eq!(container.list("/"), ["dev", "etc", "proc", "run", "tmp"]);
        container.write("/etc/here", "inside");
        assert_eq!(fs::read_to_string(container.host_path("/etc/here")).unwrap(), "inside");
        assert!(!fs::exists("/etc/here").unwrap());
    });
}

#[test]
fn a_container_with_a_user_namespace_is_an_unprivileged_user_of_the_host() {
    run(|sandbox| {
        let container = Container::start_in_user_namespace(sandbox);
        assert_ne!(namespace(container.pid(), "user"), namespace("self", "user"));
        assert_eq!(fs::metadata(format!("/proc/{}", container.pid())).unwrap().uid(), MAPPED_ROOT);
        container.write("/etc/here", "inside");
        assert_eq!(container.stat("/etc/here").unwrap().uid, 0);
        assert_eq!(fs::metadata(container.host_path("/etc/here")).unwrap().uid(), MAPPED_ROOT);
    });
}

#[test]
fn sockets_of_a_container_come_to_the_test() {
    run(|sandbox| {
        for container in [Container::start(sandbox), Container::start_in_user_namespace(sandbox)] {
            for kind in [Kind::Stream, Kind::Seqpacket] {
                let path = format!("/srv/{}/{kind:?}.sock", "deep/".repeat(40));
                let listener = container.listen_with(&path, kind, 1);
                let client = container.try_connect(&path, kind).unwrap();
                let server = listener.accept();
                client.send(b"ping");
                assert_eq!(server.recv(16).bytes, b"ping");
                assert_eq!(server.peer().pid.as_raw_nonzero().get().cast_unsigned(), container.pid());
                assert!(container.stat(&path).unwrap().is_socket());
            }
        }
    });
}

#[test]
fn descriptors_and_groups_cross() {
    run(|sandbox| {
        let container = Container::start(sandbox);
        let listener = container.listen("/srv/x.sock");
        let _server = {
            let file = fs::File::open("/dev/null").unwrap();
            let client = container.connect("/srv/x.sock");
            let server = listener.accept();
            client.send_with(b"x", &[file.as_fd(), file.as_fd()]);
            assert_eq!(server.recv(16).fds.len(), 2);
            assert!(sys::peer_groups(&server).is_ok());
            server
        };
    });
}

#[test]
fn an_echo_server_gives_back_bytes_and_descriptors_and_ends() {
    run(|sandbox| {
        let container = Container::start(sandbox);
        let server = container.listen("/srv/x.sock").echo();
        let client = container.connect("/srv/x.sock");
        let (end, _other) = Socket::pair(Kind::Stream);
        client.send_with(b"hello", &[end.as_fd()]);
        assert_eq!(client.recv(5).fds.len(), 1);
        container.churn("/srv/x.sock", 100).unwrap();
        client.shutdown_write();
        assert!(client.recv_to_end().is_empty());
        drop(server);
        assert!(container.try_connect("/srv/x.sock", Kind::Stream).is_err());
    });
}

#[test]
fn a_race_ends_with_the_directory_in_place() {
    run(|sandbox| {
        let container = Container::start(sandbox);
        container.mkdir("/run/elsewhere");
        container.write("/run/elsewhere/x.sock", "sentinel");
        container.race("/run/dir/x.sock", "/run/elsewhere", 1000);
        assert_eq!(container.list("/run"), ["dir", "elsewhere"]);
        assert_eq!(container.read("/run/elsewhere/x.sock").unwrap(), "sentinel");
    });
}

#[test]
fn a_container_that_a_failing_test_forgets_is_ended() {
    run(|sandbox| {
        let container = Container::start(sandbox);
        let held = process::Process::open(container.pid()).unwrap();
        assert!(process::marked(sandbox.path()).contains(&container.pid()));
        std::mem::forget(container);
        process::kill_marked(sandbox.path());
        assert!(held.ends());
    });
}

#[test]
fn the_static_process_needs_no_library() {
    run(|sandbox| {
        let root = sandbox.new_dir("root");
        fs::copy(programs::static_pod(), root.join("pod")).unwrap();
        let status = std::process::Command::new("chroot").arg(&root).args(["/pod", "exit", "7"]).status();
        assert_eq!(status.unwrap().code(), Some(7));
    });
}
