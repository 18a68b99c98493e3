//! The engine's own metrics in OpenMetrics' text format; the mesh's stand before them.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::engine::daemon::Daemon;
use crate::engine::hub::Hub;

/// The `Content-Type` of OpenMetrics, which Prometheus reads.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    name: String,
    status: String,
}

/// All metrics of this moment, with the end mark.
pub(super) fn text<'d>(hub: &Hub, daemons: impl Iterator<Item = &'d Daemon>) -> String {
    let mut registry = Registry::with_prefix("pv_appengine");
    let status = Family::<InState, Gauge>::default();
    let uptime = Family::<Named, Gauge>::default();
    let retries = Family::<Named, Gauge>::default();
    for container in hub.supervisor().snapshot() {
        let name = container.name.to_string();
        status.get_or_create(&InState { name: name.clone(), status: container.status.to_string() }).set(1);
        let seconds =
            container.uptime.map_or(0, |uptime| i64::try_from(uptime.as_secs()).unwrap_or(i64::MAX));
        uptime.get_or_create(&Named { name: name.clone() }).set(seconds);
        retries.get_or_create(&Named { name }).set(i64::from(container.recovery.current_retries));
    }
    registry.register("container_status", "1 for the status that a container has", status);
    registry.register("container_uptime_seconds", "Time since a container's start", uptime);
    registry.register("container_retries", "Restarts since the last reset", retries);
    let up = Family::<Named, Gauge>::default();
    for daemon in daemons {
        up.get_or_create(&Named { name: daemon.name().to_owned() }).set(i64::from(daemon.status().pid > 0));
    }
    registry.register("daemon_up", "1 where a managed daemon runs", up);
    let links = Gauge::<i64>::default();
    links.set(hub.graph().map_or(0, |graph| i64::try_from(graph.links.len()).unwrap_or(i64::MAX)));
    registry.register("graph_links", "Links of the wanted graph", links);
    let refused = Gauge::<i64>::default();
    refused.set(i64::from(hub.revision().refused.is_some()));
    registry.register(
        "revision_refused",
        "1 while the state directory holds a state that is refused",
        refused,
    );
    written(&registry).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot write the metrics");
        "# EOF\n".to_owned()
    })
}

fn written(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}
