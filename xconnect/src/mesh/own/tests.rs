use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::graph::wire;
use crate::mesh::KernelOptions;

fn config(run_dir: &Path, graph: GraphFrom) -> Config {
    Config {
        run_dir: run_dir.to_owned(),
        graph,
        status_socket: run_dir.join("pv-xconnect"),
        fdstore: None,
        drain: Duration::ZERO,
        workers: None,
        kernel: KernelOptions { object: None, flows: 0, send_buffers: None },
    }
}

fn of_engine(run_dir: &Path) -> OwnSockets {
    let (socket, poll_interval) = (run_dir.join("pv-ctrl"), Duration::from_secs(1));
    OwnSockets::of(&config(run_dir, GraphFrom::ControlSocket { socket, poll_interval }))
}

/// A link like the engine's to the control socket, with this much of it changed.
fn link(from: &str, to: &str) -> Arc<Link> {
    let entry = r#"[{"type":"rest","name":"pv-ctrl","consumer":"web","consumer_pid":1,"provider":"_pv_",
        "provider_pid":0,"role":"any","interface":"rest","target":"/pantavisor/pv-ctrl","socket":"/run/x/pv-ctrl-links"}]"#;
    let graph = wire::parse(entry.replace(from, to).as_bytes()).unwrap();
    graph.links.into_values().next().unwrap()
}

#[test]
fn only_a_host_side_rest_link_of_that_name_is_one_to_the_control_socket() {
    assert_eq!(Reach::of(&link("", "")), Reach::Control);
    for (from, to) in [
        (r#""type":"rest""#, r#""type":"unix""#),
        ("\"pv-ctrl\"", "\"pv-ctrl2\""),
        (r#""_pv_""#, r#""house""#),
        (r#""provider_pid":0"#, r#""provider_pid":-1"#),
        (r#""_pv_""#, r#""EXTERNAL""#),
    ] {
        assert_eq!(Reach::of(&link(from, to)), Reach::Services, "{to}");
    }
}

#[test]
fn a_link_to_the_control_socket_reaches_the_socket_for_links_and_no_other_link_does() {
    let dir = tempfile::tempdir().unwrap();
    let own = of_engine(dir.path());
    let bound: Vec<_> = ["pv-ctrl", CONTROL_LINKS, "pv-xconnect", "fdstore", "other"]
        .map(|name| (name, dir.path().join(name)))
        .map(|(name, path)| (name, UnixListener::bind(&path).unwrap(), entry_at_path(&path).unwrap().inode))
        .into();
    for (name, _, inode) in &bound {
        let services = own.objection(inode, Reach::Services);
        let control = own.objection(inode, Reach::Control);
        match *name {
            CONTROL_LINKS => assert!(matches!(services, Some(Objection::Never(_))) && control.is_none()),
            "other" => assert!(services.is_none() && matches!(control, Some(Objection::NotYet(_)))),
            _ => {
                assert!(matches!(services, Some(Objection::Never(_))), "{name}: {services:?}");
                assert!(matches!(control, Some(Objection::Never(_))), "{name}: {control:?}");
            }
        }
    }
}

#[test]
fn without_our_engine_there_is_no_link_to_the_control_socket() {
    let dir = tempfile::tempdir().unwrap();
    let engine = of_engine(dir.path());
    assert_eq!(engine.lacks(&link("", "")), None);
    assert_eq!(engine.lacks(&link("\"pv-ctrl\"", "\"api\"")), None);
    let pantavisors = engine.lacks(&link("/run/x/pv-ctrl-links", "/pv/pv-ctrl")).unwrap();
    assert!(pantavisors.contains("only pv-appengine has; bind-mount pv-ctrl"), "{pantavisors}");
    let file = OwnSockets::of(&config(dir.path(), GraphFrom::File(dir.path().join("graph.json"))));
    assert!(file.lacks(&link("", "")).unwrap().contains("the graph comes from a file"));
    let links = dir.path().join(CONTROL_LINKS);
    let _listener = UnixListener::bind(&links).unwrap();
    let inode = entry_at_path(&links).unwrap().inode;
    assert!(file.objection(&inode, Reach::Control).is_some(), "no graph of the engine's, no exception");
}
