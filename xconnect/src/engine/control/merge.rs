//! The wanted graph completed by what the mesh says of its links, and its metrics beside ours.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;

use crate::api::client::{Bounds, Client, Error};
use crate::engine::chain;
use crate::graph::wire::{LinkEntry, Status};

/// The mesh's own socket.
#[derive(Debug)]
pub(super) struct MeshStatus {
    client: Client,
}

impl MeshStatus {
    pub(super) fn new(socket: PathBuf) -> Self {
        let (connect, total) = (Duration::from_secs(1), Duration::from_secs(5));
        Self { client: Client::new(vec![socket], Bounds { connect, total, ..Bounds::default() }) }
    }

    /// The wanted links with status and counters. Where the mesh is silent they are `declared`, and
    /// their reason says why nobody knows more.
    pub(super) async fn merged(&self, wanted: Vec<LinkEntry>) -> Vec<LinkEntry> {
        if wanted.is_empty() {
            return wanted;
        }
        match self.links().await {
            Ok(links) => merge(wanted, &links),
            Err(why) => {
                let reason = format!("pv-xconnect does not answer: {why}");
                wanted.into_iter().map(|entry| declared(entry, &reason)).collect()
            }
        }
    }

    async fn links(&self) -> Result<Vec<LinkEntry>, String> {
        let body = self.get("/links").await?;
        serde_json::from_slice(&body).map_err(|error| format!("GET /links: {error}"))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        let answer = self.client.request(&Method::GET, path, None).await.map_err(|error| match error {
            Error::NoSocket { .. } => {
                "nobody listens on its socket (pvcontrol daemons ls tells whether it runs)".to_owned()
            }
            other => chain(&other),
        })?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(format!("GET {path} is answered by {}", answer.status))
        }
    }

    /// `own` metrics and the mesh's in one exposition, which has one end mark (OpenMetrics).
    pub(super) async fn with_metrics(&self, own: String) -> String {
        match self.get("/metrics").await {
            Ok(body) => {
                let theirs = String::from_utf8_lossy(&body);
                let theirs = theirs.trim_end().trim_end_matches("# EOF").trim_end();
                format!("{theirs}\n{own}")
            }
            Err(error) => {
                tracing::debug!(error, "metrics without the mesh's");
                own
            }
        }
    }
}

fn key(entry: &LinkEntry) -> (&str, &str, &str) {
    (&entry.consumer, &entry.name, &entry.target)
}

fn merge(wanted: Vec<LinkEntry>, links: &[LinkEntry]) -> Vec<LinkEntry> {
    let known: HashMap<_, _> = links.iter().map(|link| (key(link), link)).collect();
    let complete = |mut entry: LinkEntry| {
        let Some(link) = known.get(&key(&entry)).copied() else {
            return declared(entry, "pv-xconnect has not taken it up yet");
        };
        let ends = |entry: &LinkEntry| (entry.consumer_pid, entry.provider_pid);
        if ends(link) == ends(&entry) {
            (entry.status, entry.since) = (link.status, link.since.clone());
            (entry.reason, entry.path) = (link.reason.clone(), link.path);
        } else {
            entry = declared(entry, "pv-xconnect is taking up a change");
        }
        entry.path_reason.clone_from(&link.path_reason);
        entry.counters.clone_from(&link.counters);
        entry
    };
    wanted.into_iter().map(complete).collect()
}

fn declared(entry: LinkEntry, reason: &str) -> LinkEntry {
    LinkEntry { status: Some(Status::Declared), reason: Some(reason.to_owned()), ..entry }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entries(json: Value) -> Vec<LinkEntry> {
        serde_json::from_value(json).unwrap()
    }

    fn wanted(target: &str, provider_pid: i64) -> Value {
        json!({"type": "unix", "name": "a", "consumer": "c", "consumer_pid": 7, "provider": "p",
            "provider_pid": provider_pid, "target": target, "socket": "/s"})
    }

    #[test]
    fn a_status_belongs_to_the_ends_that_it_was_told_of() {
        let mut up = wanted("/one", 8);
        up["status"] = "up".into();
        let mut old = wanted("/two", 9);
        old["status"] = "up".into();
        let merged = merge(
            entries(json!([wanted("/one", 8), wanted("/two", 10), wanted("/three", 8)])),
            &entries(json!([up, old])),
        );
        let seen: Vec<_> =
            merged.iter().map(|entry| (entry.status.unwrap().as_str(), entry.reason.as_deref())).collect();
        assert_eq!(
            seen,
            [
                ("up", None),
                ("declared", Some("pv-xconnect is taking up a change")),
                ("declared", Some("pv-xconnect has not taken it up yet")),
            ]
        );
    }

    #[tokio::test]
    async fn a_silent_mesh_is_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let mesh = MeshStatus::new(dir.path().join("none"));
        let merged = mesh.merged(entries(json!([wanted("/one", 8)]))).await;
        assert_eq!(merged[0].status, Some(Status::Declared));
        assert!(
            merged[0].reason.as_ref().unwrap().starts_with("pv-xconnect does not answer: nobody listens")
        );
        assert_eq!(mesh.with_metrics("x 1\n# EOF\n".to_owned()).await, "x 1\n# EOF\n");
    }
}
