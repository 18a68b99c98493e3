//! The graph as JSON: upstream's fields first, then status and counters, then our own additions.

mod entry;
mod http;
mod parse;
mod rest;
#[cfg(test)]
mod tests;

pub use entry::{
    Connections, Counters, Directions, InKernel, LinkEntry, Moved, Options, Path, Seconds, Status, Stay,
};
pub use http::{Answers, Http, Latency, Requests, Upstream};
pub use parse::{About, EntryError, Parsed, parse, parse_each};
pub use rest::{Rest, Rule};

use super::link::{Graph, Link, Presence, ProcessId};
use entry::{pid_of, start_of};

/// The desired state of a graph: entries without status and counters, in the order of their keys.
#[must_use]
pub fn desired(graph: &Graph) -> Vec<LinkEntry> {
    graph.links.values().map(|link| LinkEntry::desired(link, graph.revision.as_deref())).collect()
}

impl LinkEntry {
    /// The entry of one link, without status and counters.
    #[must_use]
    pub fn desired(link: &Link, revision: Option<&str>) -> Self {
        Self {
            kind: link.kind.as_str().to_owned(),
            name: link.key.service.as_str().to_owned(),
            consumer: link.key.consumer.as_str().to_owned(),
            consumer_pid: pid_of(link.consumer),
            provider: link.provider.name.as_str().to_owned(),
            provider_pid: pid_of(link.provider.presence),
            role: link.role.as_str().to_owned(),
            interface: link.interface.clone(),
            target: link.key.target.as_str().to_owned(),
            socket: link.socket.as_str().to_owned(),
            status: None,
            reason: None,
            path: None,
            revision: revision.map(str::to_owned),
            since: None,
            counters: None,
            consumer_start: start_of(link.consumer),
            provider_start: start_of(link.provider.presence),
            path_reason: None,
            options: Some(Options::of(link)),
        }
    }
}

/// An end of an entry: 0 is the host only where the name says so, anything else below 1 is nowhere.
fn presence(pid: i64, start: Option<u64>, is_host: bool) -> Presence {
    match u32::try_from(pid) {
        Ok(0) if is_host => Presence::Host,
        Ok(pid) if pid > 0 => Presence::Running(ProcessId { pid, start }),
        _ => Presence::NotRunning,
    }
}
