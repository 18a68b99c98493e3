//! Where sockets are planted: long paths, links inside a container, and places that are taken away
//! again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use xconnect_tests::container::MAPPED_ROOT;
use xconnect_tests::mesh::Pair;
use xconnect_tests::{Container, Kind, Link, Listener, Mesh, ensure, eventually_within, run};

#[test]
fn the_socket_is_open_to_every_user_and_its_directories_to_none_but_root() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let socket = pair.consumer.stat(pair.link.target()).unwrap();
        assert!(socket.is_socket());
        assert_eq!((socket.mode & 0o7777, socket.uid, socket.gid), (0o666, 0, 0));
        for dir in ["/run/pv", "/run/pv/services"] {
            let dir = pair.consumer.stat(dir).unwrap();
            assert_eq!((dir.mode & 0o7777, dir.uid, dir.gid), (0o755, 0, 0));
        }
        assert_eq!(pair.consumer.list("/run/pv/services"), ["raw.sock"]);
    });
}

#[test]
fn paths_longer_than_a_socket_address_work() {
    run(|sandbox| {
        let deep = |prefix: &str| format!("/run/{prefix}/{}x.sock", "deep-directory/".repeat(14));
        let pair = Pair::start_with(sandbox, Kind::Stream, |link| {
            link.with("target", deep("consumer")).with("socket", deep("provider"))
        });
        assert!(pair.link.target().len() > 200 && pair.link.socket().len() > 200);
        let _server = pair.listener.echo();
        pair.consumer.connect(pair.link.target()).echo(b"far away");
    });
}

#[test]
fn a_file_name_longer_than_a_socket_address_works() {
    run(|sandbox| {
        let target = format!("/run/{}", "n".repeat(250));
        let pair = Pair::start_with(sandbox, Kind::Stream, |link| link.with("target", target.as_str()));
        let _server = pair.listener.echo();
        pair.consumer.connect(&target).echo(b"x");
        pair.mesh.apply(&[]);
        pair.mesh.wait_gone(&pair.link);
        assert!(pair.consumer.list("/run").is_empty());
    });
}

#[test]
fn an_absolute_link_in_the_providers_path_stays_in_the_provider() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        // The same path leads to a socket of the host, and to nothing in the container.
        let path = sandbox.new_dir("host").join("x.sock");
        let trap = Listener::bind(Kind::Stream, &path, 16).unwrap();
        let path = path.to_str().unwrap();
        provider.mkdir("/srv");
        provider.symlink(path, "/srv/raw.sock");
        let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        let link = link.option("connect_timeout", 600);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait_reason(&link, "waiting", "has no socket");
        let client = consumer.connect(link.target());
        client.send(b"x");
        let listener = provider.listen(path);
        assert_eq!(listener.accept().recv_exact(1).bytes, b"x");
        mesh.wait(&link, "up");
        assert!(trap.is_idle());
    });
}

#[test]
fn a_link_upwards_in_the_providers_path_stays_in_the_provider() {
    run(|sandbox| {
        let path = sandbox.new_dir("host").join("x.sock");
        let trap = Listener::bind(Kind::Stream, &path, 16).unwrap();
        let path = path.to_str().unwrap();
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        provider.mkdir("/srv");
        provider.symlink(&format!("../../../../../..{path}"), "/srv/raw.sock");
        let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "waiting");
        let _server = provider.listen(path).echo();
        mesh.wait(&link, "up");
        consumer.connect(link.target()).echo(b"x");
        assert!(trap.is_idle());
    });
}

#[test]
fn a_link_in_the_targets_directory_stays_in_the_consumer() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let outside = sandbox.new_dir("outside");
        let inside = outside.to_str().unwrap();
        consumer.mkdir(inside);
        consumer.symlink(inside, "/run/pv");
        let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        let _server = provider.listen(link.socket()).echo();
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        consumer.connect(link.target()).echo(b"x");
        assert_eq!(consumer.list(inside), ["services"]);
        assert_eq!(consumer.list(&format!("{inside}/services")), ["raw.sock"]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something of the host was touched");
        mesh.apply(&[]);
        mesh.wait_gone(&link);
        assert!(consumer.list(&format!("{inside}/services")).is_empty());
    });
}

#[test]
fn a_link_may_lead_over_another_link() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let third = Container::start(sandbox);
        let second = Link::new("again", "third", "consumer")
            .between(&third, &pair.consumer)
            .with("socket", pair.link.target());
        pair.mesh.apply(&[pair.link.clone(), second.clone()]);
        pair.mesh.wait(&second, "up");
        let _server = pair.listener.echo();
        let client = third.connect(second.target());
        let file = fs::File::open("/dev/null").unwrap();
        client.send_with(b"x", &[std::os::fd::AsFd::as_fd(&file)]);
        assert_eq!(client.recv(1).fds.len(), 1);
        client.shutdown_write();
        assert!(client.recv_to_end().is_empty());
    });
}

#[test]
fn a_socket_that_the_consumer_deletes_comes_back() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let _server = pair.listener.echo();
        let open = pair.consumer.connect(pair.link.target());
        for _ in 0..20 {
            pair.consumer.remove(pair.link.target());
            pair.consumer.eventually_echoes(pair.link.target());
        }
        open.echo(b"connections go on");
        assert_eq!(pair.consumer.list("/run/pv/services"), ["raw.sock"]);
    });
}

#[test]
fn a_directory_that_the_consumer_deletes_or_renames_comes_back() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let _server = pair.listener.echo();
        pair.consumer.remove("/run/pv");
        pair.consumer.eventually_echoes(pair.link.target());
        pair.consumer.rename("/run/pv", "/run/away");
        pair.consumer.eventually_echoes(pair.link.target());
        assert_eq!(pair.consumer.list("/run/pv/services"), ["raw.sock"]);
    });
}

#[test]
fn a_file_system_mounted_over_the_target_gets_the_socket() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        let _server = pair.listener.echo();
        let open = pair.consumer.connect(pair.link.target());
        for mount in ["/run", "/run/pv", "/run/pv/services", "/run"] {
            pair.consumer.mount_tmpfs(mount);
            pair.consumer.eventually_echoes(pair.link.target());
        }
        open.echo(b"connections go on");
        pair.mesh.apply(&[]);
        pair.mesh.wait_gone(&pair.link);
        assert!(!pair.consumer.exists(pair.link.target()));
        assert!(open.ends());
    });
}

#[test]
fn containers_with_user_namespaces_are_served() {
    run(|sandbox| {
        for (mapped_consumer, mapped_provider) in [(true, true), (true, false), (false, true)] {
            let start = |mapped| {
                if mapped { Container::start_in_user_namespace(sandbox) } else { Container::start(sandbox) }
            };
            let (consumer, provider) = (start(mapped_consumer), start(mapped_provider));
            let role = |link: Link| link.option("uid", MAPPED_ROOT + 7).option("gid", MAPPED_ROOT + 8);
            let pair = Pair::of(sandbox, consumer, provider, Kind::Stream, role);
            let (client, server) = pair.connect();
            client.send(b"x");
            assert_eq!(server.recv(1).bytes, b"x");
            let peer = server.peer();
            assert_eq!((peer.uid.as_raw(), peer.gid.as_raw()), (MAPPED_ROOT + 7, MAPPED_ROOT + 8));
            let socket = pair.consumer.stat(pair.link.target()).unwrap();
            assert_eq!(
                (socket.mode & 0o777, socket.uid, socket.gid),
                (0o666, 0, 0),
                "root, seen from inside"
            );
            let seen = fs::metadata(pair.consumer.host_path("/run/pv/services")).unwrap();
            assert_eq!(seen.uid(), if mapped_consumer { MAPPED_ROOT } else { 0 });
            pair.consumer.remove(pair.link.target());
            let _server = pair.listener.echo();
            pair.consumer.eventually_echoes(pair.link.target());
        }
    });
}

#[test]
fn an_unmapped_role_is_nobody_to_a_provider_with_a_user_namespace() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start_in_user_namespace(sandbox));
        let pair = Pair::of(sandbox, consumer, provider, Kind::Stream, |link| link);
        let (_client, server) = pair.connect();
        assert_eq!(server.peer().uid.as_raw(), 65534);
    });
}

#[test]
fn one_consumer_may_have_many_links() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let links: Vec<_> = (0..200)
            .map(|n| Link::new(&format!("s{n}"), "consumer", "provider").between(&consumer, &provider))
            .map(|link| link.with("socket", "/srv/one.sock"))
            .collect();
        let _server = provider.listen("/srv/one.sock").echo();
        let mesh = Mesh::start_with(sandbox, None, &links);
        mesh.wait_all(&links, "up");
        for link in &links {
            consumer.connect(link.target()).echo(b"x");
        }
        mesh.apply(&links[..1]);
        for link in &links[1..] {
            mesh.wait_gone(link);
        }
        assert_eq!(consumer.list("/run/pv/services"), ["s0.sock"]);
    });
}

#[test]
fn a_link_comes_up_when_what_was_in_its_way_goes_not_when_its_back_off_is_over() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
        provider.echo(link.socket());
        consumer.mkdir("/run/pv/services");
        consumer.write(link.target(), "in its way");
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        // It is tried ever more rarely, until there is a pause of more than 12 s, of which 7 are over.
        let (mut since, mut seen) = (mesh.wait(&link, "failed")["since"].clone(), Instant::now());
        eventually_within(Duration::from_secs(40), "a long pause", || {
            let present = mesh.entry(&link)?["since"].clone();
            if present != since {
                (since, seen) = (present, Instant::now());
            }
            ensure(seen.elapsed() > Duration::from_secs(7), "not yet")
        });
        consumer.remove(link.target());
        eventually_within(Duration::from_secs(4), "it is up", || {
            let entry = mesh.entry(&link)?;
            ensure(entry["status"] == "up", entry)
        });
        consumer.connect(link.target()).echo(b"x");
    });
}
