//! The containers and the mesh of a run: some pairs of containers, each with one link for every scenario.

use std::os::fd::OwnedFd;

use serde_json::Value;

use super::options::Options;
use super::scenario::Scenario;
use super::stage::Stage;
use crate::container::Container;
use crate::graph::Link;
use crate::mesh::{Mesh, Setup};
use crate::sandbox::Sandbox;
use crate::socket::{Kind, Listener};
use crate::wait::{OrFail, ensure, eventually};

/// One scenario between one pair of containers.
pub(crate) struct Track {
    pub(crate) link: Link,
    listener: Listener,
}

/// One pair of containers.
pub(crate) struct Lane {
    consumer: Container,
    _provider: Container,
    /// In the order of the scenarios.
    pub(crate) tracks: Vec<Track>,
}

/// All of it.
pub(crate) struct Rig {
    pub(crate) mesh: Mesh,
    pub(crate) lanes: Vec<Lane>,
    mark: std::path::PathBuf,
}

impl Rig {
    /// Starts it; returns once all links are up.
    pub(crate) fn start(sandbox: &Sandbox, options: &Options, scenarios: &[Scenario]) -> Self {
        let lanes: Vec<_> = (0..options.lanes)
            .map(|lane| {
                let (consumer, provider) = (Container::start(sandbox), Container::start(sandbox));
                let track = |scenario: &Scenario| {
                    let name = format!("{}-{lane}", scenario.name);
                    let link = Link::new(&name, &format!("consumer{lane}"), &format!("provider{lane}"))
                        .between(&consumer, &provider)
                        .option("forward", options.forward.as_str());
                    let listener = provider.listen(link.socket());
                    Track { link, listener }
                };
                let tracks = scenarios.iter().map(track).collect();
                Lane { consumer, _provider: provider, tracks }
            })
            .collect();
        let links: Vec<_> =
            lanes.iter().flat_map(|lane| &lane.tracks).map(|track| track.link.clone()).collect();
        // What is tried is the hand-over, of every connection, be they 500 at once.
        let arguments = vec!["--kernel-send-buffers".into(), "65536".into()];
        let mesh = Mesh::start_as(sandbox, Setup { arguments, ..Setup::default() }, &links);
        mesh.wait_all(&links, "up");
        Self { mesh, lanes, mark: sandbox.path().to_owned() }
    }

    /// Where a scenario's connections on this lane come from.
    pub(crate) fn stage<'a>(&self, lane: &'a Lane, track: &'a Track) -> Stage<'a> {
        Stage {
            connect: Box::new(|| {
                lane.consumer.try_connect(track.link.target(), Kind::Stream).map(OwnedFd::from)
            }),
            accept: Box::new(|| track.listener.try_accept().map(OwnedFd::from)),
            mark: self.mark.clone(),
        }
    }

    /// Drops what an earlier connection that failed left behind: it is none of the next one's.
    pub(crate) fn clear(&self, track: &Track) {
        while !track.listener.is_idle() {
            drop(track.listener.try_accept());
        }
    }

    /// What the mesh says of a link.
    pub(crate) fn status(&self, link: &Link) -> Value {
        self.mesh.entry(link).unwrap_or_else(Value::String)
    }

    /// Waits until the mesh has closed all connections, and gives the entries of the scenarios' links.
    pub(crate) fn settled(&self) -> Vec<Vec<Value>> {
        eventually("the mesh has closed all connections", || {
            let open = self.mesh.links()?.iter().map(open).sum::<u64>();
            ensure(open == 0, format_args!("{open} are open"))
        });
        let entries = self.mesh.links().or_fail("status");
        let count = self.lanes.first().map_or(0, |lane| lane.tracks.len());
        (0..count)
            .map(|number| {
                let links = self.lanes.iter().map(|lane| &lane.tracks[number].link);
                links.filter_map(|link| entries.iter().find(|entry| link.is(entry))).cloned().collect()
            })
            .collect()
    }
}

fn open(entry: &Value) -> u64 {
    entry["counters"]["connections"]["open"].as_u64().unwrap_or(0)
}
