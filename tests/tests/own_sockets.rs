//! A provider that names a socket of the daemons as its service: the mesh, which may connect to all of
//! them, does not do so for a container.

use std::os::fd::AsFd;

use xconnect_tests::mesh::Setup;
use xconnect_tests::{Container, FdStore, Kind, Link, Listener, Mesh, Sandbox, http, run};

/// A provider that sees the run directory, and a link to it as root.
fn seeing(sandbox: &Sandbox) -> (Container, Container, Link) {
    let provider = Container::start_with(sandbox, false, &[(&sandbox.run_dir(), "/host")]);
    let consumer = Container::start(sandbox);
    let link = Link::new("raw", "consumer", "provider").between(&consumer, &provider);
    (provider, consumer, link.option("uid", 0).option("gid", 0).option("connect_timeout", 1))
}

#[test]
fn a_socket_of_the_daemons_is_no_service() {
    run(|sandbox| {
        let (provider, consumer, link) = seeing(sandbox);
        let store = FdStore::start(&sandbox.run_dir().join("fdstore"));
        let control = Listener::bind(Kind::Stream, &sandbox.run_dir().join("pv-ctrl"), 16).unwrap();
        provider.mkdir("/srv");
        provider.symlink("/host/pv-xconnect", "/srv/raw.sock");
        let link = |name: &str, socket: &str| {
            link.clone().with("name", name).with("target", format!("/run/{name}")).with("socket", socket)
        };
        let links = [
            link("status", "/host/pv-xconnect"),
            link("symlink", "/srv/raw.sock"),
            link("control", "/host/pv-ctrl"),
            link("store", "/host/fdstore").option("socket_type", "seqpacket"),
        ];
        let setup = Setup { fdstore: Some(store.path().to_owned()), ..Setup::default() };
        let mesh = Mesh::start_as(sandbox, setup, &links);
        for link in &links {
            mesh.wait_reason(link, "failed", "a socket of the daemons");
        }
        for link in &links[..3] {
            let client = consumer.connect(link.target());
            assert!(http::over(&client, "GET", "/links", b"").is_err());
            mesh.wait_counter(link, "/connections/failed", 1);
        }
        assert!(control.is_idle());
        assert_eq!(store.connections(), 1, "the mesh itself");
        // Another socket in its place is served.
        provider.remove("/srv/raw.sock");
        let _server = provider.listen("/srv/raw.sock").echo();
        mesh.wait(&links[1], "up");
        consumer.connect(links[1].target()).echo(b"x");
    });
}

#[test]
fn a_socket_that_becomes_one_of_the_daemons_is_not_connected_to() {
    run(|sandbox| {
        let (provider, consumer, link) = seeing(sandbox);
        let link = link.with("socket", "/host/x.sock");
        let listener = provider.listen(link.socket());
        let mesh = Mesh::start_with(sandbox, None, std::slice::from_ref(&link));
        mesh.wait(&link, "up");
        let dir = sandbox.run_dir();
        // As an engine does that binds its socket anew: under another name first.
        std::fs::hard_link(dir.join("x.sock"), dir.join("pv-ctrl")).unwrap();
        assert!(consumer.connect(link.target()).ends());
        mesh.wait_counter(&link, "/connections/failed", 1);
        mesh.wait_reason(&link, "failed", "a socket of the daemons");
        assert!(listener.is_idle(), "{:?}", listener.as_fd());
    });
}
