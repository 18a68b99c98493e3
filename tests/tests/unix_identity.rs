//! Who the provider sees: the role's user and group, never the mesh.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{UCred, sockopt};
use xconnect_tests::mesh::Pair;
use xconnect_tests::wait::{Raise, ensure};
use xconnect_tests::{Kind, Link, Socket, eventually, programs, run, sys};

fn ids(who: &UCred) -> (u32, u32) {
    (who.uid.as_raw(), who.gid.as_raw())
}

#[test]
fn the_provider_sees_nobody_by_default() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let (_client, server) = pair.connect();
        assert_eq!(ids(&server.peer()), (65534, 65534));
        assert_eq!(sys::peer_groups(&server).unwrap(), [0; 0]);
    });
}

#[test]
fn the_provider_sees_the_roles_user_and_group() {
    run(|sandbox| {
        for kind in [Kind::Stream, Kind::Seqpacket] {
            let role = |link: Link| {
                let link =
                    if kind == Kind::Seqpacket { link.option("socket_type", "seqpacket") } else { link };
                link.option("uid", 1001).option("gid", 2002)
            };
            let pair = Pair::start_with(sandbox, kind, role);
            let _client = pair.consumer.try_connect(pair.link.target(), kind).unwrap();
            let server = pair.listener.accept();
            assert_eq!(ids(&server.peer()), (1001, 2002));
            assert_eq!(sys::peer_groups(&server).unwrap(), [0; 0]);
        }
    });
}

#[test]
fn a_role_may_be_root_where_the_graph_says_so() {
    run(|sandbox| {
        let pair = Pair::start_with(sandbox, Kind::Stream, |link| link.option("uid", 0).option("gid", 0));
        let (_client, server) = pair.connect();
        assert_eq!(ids(&server.peer()), (0, 0));
        assert_eq!(sys::peer_groups(&server).unwrap(), [0; 0]);
    });
}

#[test]
fn links_of_different_roles_do_not_lend_each_other_their_users() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let links: Vec<_> = (0..6)
            .map(|number| {
                Link::new(&format!("s{number}"), "consumer", "provider")
                    .between(&pair.consumer, &pair.provider)
                    .option("uid", 3000 + number)
                    .option("gid", 4000 + number)
            })
            .collect();
        let listeners: Vec<_> = links.iter().map(|link| pair.provider.listen(link.socket())).collect();
        pair.mesh.apply(&links);
        pair.mesh.wait_all(&links, "up");
        for _ in 0..20 {
            for (number, (link, listener)) in (0..).zip(links.iter().zip(&listeners)) {
                let _client = pair.consumer.connect(link.target());
                assert_eq!(ids(&listener.accept().peer()), (3000 + number, 4000 + number));
            }
        }
    });
}

#[test]
fn another_user_in_the_graph_is_seen_by_the_next_connection() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let before = pair.consumer.stat(pair.link.target()).unwrap();
        let changed = pair.link.clone().option("uid", 77).option("gid", 78);
        pair.mesh.apply(std::slice::from_ref(&changed));
        // The old socket goes and a new one comes, so that none of the former role is left.
        eventually("another socket is there", || {
            let now = pair.consumer.stat(changed.target()).map_err(|e| e.to_string())?;
            ensure(now.inode != before.inode, "the same")
        });
        let (_client, server) = pair.connect();
        assert_eq!(ids(&server.peer()), (77, 78));
    });
}

/// All messages must come with these ids.
fn sees(server: &Socket, length: usize, who: (u32, u32)) {
    let mut got = 0;
    while got < length {
        let message = server.recv(65536);
        assert_eq!(message.credentials.as_ref().map(ids), Some(who), "after {got} bytes");
        assert!(!message.bytes.is_empty(), "the end after {got} bytes");
        got += message.bytes.len();
    }
}

#[test]
fn every_message_tells_the_role_to_a_provider_that_asks() {
    run(|sandbox| {
        let role = |link: Link| link.option("uid", 1001).option("gid", 2002);
        let pair = Pair::start_with(sandbox, Kind::Stream, role);
        let (client, server) = pair.connect();
        sockopt::set_socket_passcred(&server, true).unwrap();
        for _ in 0..100 {
            client.send(b"short");
            sees(&server, 5, (1001, 2002));
        }
        std::thread::scope(|scope| {
            scope.spawn(|| client.send(&vec![7; 3_000_000]));
            sees(&server, 3_000_000, (1001, 2002));
        });
    });
}

#[test]
fn what_was_sent_before_the_provider_asked_tells_the_role_too() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let client = pair.consumer.connect(pair.link.target());
        client.send(b"early");
        pair.mesh.wait_counter(&pair.link, "/bytes/to_provider", 5);
        let server = pair.listener.accept();
        sockopt::set_socket_passcred(&server, true).unwrap();
        sees(&server, 5, (65534, 65534));
    });
}

#[test]
fn every_packet_tells_the_role_to_a_provider_that_asks() {
    run(|sandbox| {
        let role =
            |link: Link| link.option("socket_type", "seqpacket").option("uid", 1001).option("gid", 2002);
        let pair = Pair::start_with(sandbox, Kind::Seqpacket, role);
        let (client, server) = pair.connect_seqpacket();
        sockopt::set_socket_passcred(&server, true).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for fds in [&[][..], &[std::os::fd::AsFd::as_fd(&file)][..]] {
            client.try_send(b"packet", fds).unwrap();
            let message = server.recv(64);
            assert_eq!(message.credentials.as_ref().map(ids), Some((1001, 2002)));
            assert_eq!(message.fds.len(), fds.len());
        }
    });
}

#[test]
fn a_socket_that_only_root_may_use_is_reached_as_the_role() {
    run(|sandbox| {
        use std::os::unix::fs::PermissionsExt;
        let pair = Pair::start(sandbox);
        let file = pair.provider.host_path(pair.link.socket());
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
        let (client, server) = pair.connect();
        assert_eq!(ids(&server.peer()), (65534, 65534));
        client.send(b"x");
        assert_eq!(server.recv(1).bytes, b"x");
    });
}

#[test]
fn a_process_of_the_roles_user_cannot_signal_the_mesh() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let program = sandbox.copy_of(&programs::pod());
        let mesh = pair.mesh.pid();
        let _server = pair.listener.echo();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let agent = pair.consumer.another();
            let (over, target) = (&over, pair.link.target());
            scope.spawn(move || {
                // Connections go on until all threads were aimed at.
                while !over.load(Ordering::Relaxed) && agent.churn(target, 50).is_ok() {}
            });
            let _over = Raise(over);
            for _ in 0..5 {
                let threads = std::fs::read_dir(format!("/proc/{mesh}/task")).unwrap();
                for thread in threads {
                    let thread = thread.unwrap().file_name();
                    let status =
                        Command::new(&program).arg("kill").arg(thread).uid(65534).gid(65534).status();
                    let code = status.unwrap().code();
                    // ESRCH: that thread has ended meanwhile.
                    assert!(matches!(code, Some(libc::EPERM | libc::ESRCH)), "kill gave {code:?}");
                }
            }
        });
        assert!(pair.mesh.is_alive());
    });
}
