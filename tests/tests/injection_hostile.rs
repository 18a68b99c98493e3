//! Consumers that mean no good: whatever they make of the target's path, nothing outside of their root
//! is touched, and inside nothing but an entry of the target's name.

use std::fs;
use std::path::{Path, PathBuf};

use xconnect_tests::mesh::{Pair, Setup};
use xconnect_tests::wait::ensure;
use xconnect_tests::{Container, Kind, Link, Mesh, OrFail, Sandbox, eventually, run};

/// A directory of the host with a file in it, which must stay as it is.
struct Host {
    dir: PathBuf,
}

impl Host {
    fn new(sandbox: &Sandbox) -> Self {
        let dir = sandbox.new_dir("outside");
        fs::write(dir.join("sentinel"), "the host's own").or_fail("sentinel");
        Self { dir }
    }

    fn path(&self) -> &str {
        self.dir.to_str().or_fail("a path of the sandbox")
    }

    #[track_caller]
    fn assert_untouched(&self) {
        let entries = fs::read_dir(&self.dir).or_fail("outside");
        let names: Vec<_> = entries.map(|entry| entry.or_fail("entry").file_name()).collect();
        assert_eq!(names, ["sentinel"], "something outside was touched");
        assert_eq!(fs::read_to_string(self.dir.join("sentinel")).or_fail("sentinel"), "the host's own");
    }
}

/// A mesh with one link to a provider that echoes; the consumer is as `prepare` makes it.
fn prepared(sandbox: &Sandbox, prepare: impl FnOnce(&Container)) -> (Mesh, Container, Container, Link) {
    let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
    let link = Link::new("raw", "consumer", "provider")
        .with("target", "/run/dir/x.sock")
        .between(&consumer, &provider);
    provider.echo(link.socket());
    prepare(&consumer);
    let setup = Setup { verbose: true, ..Setup::default() };
    let mesh = Mesh::start_as(sandbox, setup, std::slice::from_ref(&link));
    (mesh, consumer, provider, link)
}

#[test]
fn an_absolute_link_to_a_path_of_the_host_leads_nowhere() {
    run(|sandbox| {
        let host = Host::new(sandbox);
        let (mesh, consumer, _provider, link) = prepared(sandbox, |consumer| {
            consumer.symlink(host.path(), "/run/dir");
        });
        let entry = mesh.wait_reason(&link, "failed", "/run/dir is a symbolic link");
        assert!(entry["reason"].as_str().unwrap().contains("/run/dir/x.sock"), "{entry}");
        host.assert_untouched();
        assert!(consumer.try_connect("/run/dir/x.sock", Kind::Stream).is_err());
        // With the link gone it is tried again.
        consumer.remove("/run/dir");
        mesh.wait(&link, "up");
        consumer.connect(link.target()).echo(b"x");
        host.assert_untouched();
    });
}

#[test]
fn a_link_upwards_leads_no_higher_than_the_containers_root() {
    run(|sandbox| {
        let host = Host::new(sandbox);
        let up = format!("../../../../../../../..{}", host.path());
        let (mesh, consumer, _provider, link) = prepared(sandbox, |consumer| {
            consumer.symlink(&up, "/run/dir");
        });
        mesh.wait_reason(&link, "failed", "symbolic link");
        host.assert_untouched();
        // The same path inside is the container's own affair.
        consumer.mkdir(host.path());
        mesh.wait(&link, "up");
        assert_eq!(consumer.list(host.path()), ["x.sock"]);
        host.assert_untouched();
    });
}

#[test]
fn a_loop_of_links_fails_clearly() {
    run(|sandbox| {
        let (mesh, _consumer, _provider, link) = prepared(sandbox, |consumer| {
            consumer.symlink("/run/other", "/run/dir");
            consumer.symlink("/run/dir", "/run/other");
        });
        mesh.wait_reason(&link, "failed", "loops through symbolic links");
    });
}

#[test]
fn a_magic_link_of_proc_is_not_followed() {
    run(|sandbox| {
        let host = Host::new(sandbox);
        // The container sees the host's processes through a bind of the host's /proc.
        let consumer = Container::start_with(sandbox, false, &[(Path::new("/proc"), "/hostproc")]);
        let provider = Container::start(sandbox);
        let root = format!("/hostproc/{}/root{}", std::process::id(), host.path());
        consumer.symlink(&root, "/run/dir");
        let link = Link::new("raw", "consumer", "provider")
            .with("target", "/run/dir/x.sock")
            .between(&consumer, &provider);
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait_reason(&link, "failed", "magic link");
        host.assert_untouched();
    });
}

#[test]
fn a_directory_turned_into_a_link_under_a_planted_socket_leads_nowhere() {
    run(|sandbox| {
        let host = Host::new(sandbox);
        let (mesh, consumer, _provider, link) = prepared(sandbox, |_| {});
        mesh.wait(&link, "up");
        let open = consumer.connect(link.target());
        // In one step: the mesh makes a directory that is missing again, at once.
        consumer.symlink(host.path(), "/run/away");
        consumer.exchange("/run/dir", "/run/away");
        mesh.wait(&link, "failed");
        open.echo(b"connections go on");
        host.assert_untouched();
        // Removal does not follow the link either.
        mesh.apply(&[]);
        mesh.wait_gone(&link);
        host.assert_untouched();
    });
}

#[test]
fn what_is_at_the_target_already_is_not_replaced() {
    run(|sandbox| {
        type Prepare = fn(&Container);
        let cases: [(&str, &str, Prepare); 4] = [
            ("a file", "is taken by a file", |consumer| {
                consumer.mkdir("/run/dir");
                consumer.write("/run/dir/x.sock", "precious");
            }),
            ("a directory", "is taken by a directory", |consumer| consumer.mkdir("/run/dir/x.sock")),
            ("a foreign socket", "is taken by a socket", |consumer| drop(consumer.listen("/run/dir/x.sock"))),
            ("a link", "is taken by a symbolic link", |consumer| {
                consumer.mkdir("/run/dir");
                consumer.symlink("/run/elsewhere", "/run/dir/x.sock");
            }),
        ];
        for (what, reason, prepare) in cases {
            let (mesh, consumer, _provider, link) = prepared(sandbox, prepare);
            let before = consumer.stat(link.target()).unwrap();
            let entry = mesh.wait_reason(&link, "failed", reason);
            assert!(entry["reason"].as_str().unwrap().contains("/run/dir/x.sock"), "{entry}");
            mesh.apply(&[]);
            mesh.wait_gone(&link);
            assert_eq!(consumer.stat(link.target()).unwrap(), before, "{what}");
            assert_eq!(consumer.list("/run/dir"), ["x.sock"], "{what}");
            assert!(!consumer.exists("/run/elsewhere"));
        }
    });
}

#[test]
fn what_a_consumer_puts_in_the_place_of_the_socket_is_not_replaced() {
    run(|sandbox| {
        let (mesh, consumer, _provider, link) = prepared(sandbox, |_| {});
        mesh.wait(&link, "up");
        consumer.write("/run/file", "precious");
        consumer.rename("/run/file", link.target());
        mesh.wait_reason(&link, "failed", "is taken by a file");
        mesh.apply(&[]);
        mesh.wait_gone(&link);
        assert_eq!(consumer.read(link.target()).unwrap(), "precious");
        assert_eq!(consumer.list("/run/dir"), ["x.sock"]);
    });
}

#[test]
fn a_parent_that_is_a_file_fails_clearly() {
    run(|sandbox| {
        let (mesh, consumer, _provider, link) = prepared(sandbox, |consumer| {
            consumer.write("/run/dir", "precious");
        });
        mesh.wait_reason(&link, "failed", "a parent is not a directory");
        assert_eq!(consumer.read("/run/dir").unwrap(), "precious");
    });
}

#[test]
fn a_target_in_a_kernel_file_system_is_refused() {
    run(|sandbox| {
        let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
        let mesh = Mesh::start(sandbox);
        for target in ["/proc/x.sock", "/sys/x.sock", "/run/../etc/x.sock", "run/x.sock"] {
            let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
            mesh.apply(&[link.with("target", target)]);
            eventually(format_args!("{target} is named"), || {
                let error = mesh.status()["graph"]["error"].to_string();
                ensure(error.contains("[0].target"), error)
            });
        }
        assert!(mesh.links().unwrap().is_empty());
    });
}

#[test]
fn a_planted_socket_that_is_moved_is_not_followed() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        pair.consumer.mkdir("/run/elsewhere");
        pair.consumer.rename(pair.link.target(), "/run/elsewhere/moved.sock");
        eventually("a new one is planted", || ensure(pair.consumer.exists(pair.link.target()), "not yet"));
        pair.mesh.apply(&[]);
        pair.mesh.wait_gone(&pair.link);
        // It is the container's now, and nobody listens there.
        assert_eq!(pair.consumer.list("/run/elsewhere"), ["moved.sock"]);
        assert!(pair.consumer.try_connect("/run/elsewhere/moved.sock", Kind::Stream).is_err());
    });
}

#[test]
fn a_planted_socket_whose_directory_is_moved_is_dead() {
    run(|sandbox| {
        let pair = Pair::start(sandbox);
        pair.consumer.rename("/run/pv", "/run/away");
        eventually("a new one is planted", || ensure(pair.consumer.exists(pair.link.target()), "not yet"));
        pair.mesh.wait(&pair.link, "up");
        let moved = "/run/away/services/raw.sock";
        assert!(pair.consumer.try_connect(moved, Kind::Stream).is_err());
        pair.mesh.apply(&[]);
        pair.mesh.wait_gone(&pair.link);
        assert!(!pair.consumer.exists(pair.link.target()));
        assert!(pair.consumer.exists(moved));
    });
}

/// How often the mesh has to plant while the consumer swaps, and how often it swaps each time. The race
/// within the process is longer by far; this one has all of the program in it.
const ROUNDS: usize = 50;
const SWAPS: u64 = 100;

fn race(elsewhere: impl Fn(&str) -> String, occupied: bool) {
    run(|sandbox| {
        let host = Host::new(sandbox);
        let (mesh, consumer, _provider, link) = prepared(sandbox, |_| {});
        mesh.wait(&link, "up");
        // The same path inside: with a file of the target's name, which is not the mesh's.
        consumer.mkdir(host.path());
        let precious = format!("{}/x.sock", host.path());
        if occupied {
            consumer.write(&precious, "precious");
        }
        for _ in 0..ROUNDS {
            consumer.race(link.target(), &elsewhere(host.path()), SWAPS);
            consumer.eventually_echoes(link.target());
        }
        let planted = mesh.log().matches("injecting it again").count();
        assert!(planted >= ROUNDS, "the mesh planted {planted} times");
        host.assert_untouched();
        if occupied {
            assert!(consumer.read(&precious).is_ok_and(|text| text == "precious"));
        }
        // Where there was room, a socket that was planted there in between may be left, under its name.
        assert!(consumer.list(host.path()).iter().all(|name| name == "x.sock"));
        assert_eq!(consumer.list("/run/dir"), ["x.sock"]);
        mesh.apply(&[]);
        mesh.wait_gone(&link);
        host.assert_untouched();
        assert_eq!(consumer.list("/run"), ["dir"]);
        assert!(consumer.list("/run/dir").is_empty());
    });
}

#[test]
fn a_race_with_an_absolute_link_touches_nothing_else() {
    race(str::to_owned, true);
}

#[test]
fn a_race_with_a_link_upwards_touches_nothing_else() {
    race(|path| format!("../../../../../..{path}"), true);
}

#[test]
fn a_race_with_a_link_to_nothing_touches_nothing_else() {
    race(|path| format!("{path}/missing"), true);
}

#[test]
fn a_race_with_a_link_to_an_empty_directory_touches_nothing_else() {
    race(str::to_owned, false);
}
