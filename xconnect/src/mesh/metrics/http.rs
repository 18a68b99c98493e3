//! The counters of rest links: in the graph JSON and as metrics.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Row, gauged, seconds};
use crate::graph::wire::{Answers, Http, Latency, Requests, Upstream};
use crate::mesh::edge::{CLASSES, HttpCounts, METHODS, REQUEST_BOUNDS_US};

/// As the graph JSON has them.
pub(super) fn in_graph(counts: &HttpCounts) -> Http {
    let [get, head, post, put, delete, patch, options, other] = counts.requests;
    let [ok, redirect, client_error, server_error] = counts.answers;
    Http {
        requests: Requests {
            open: counts.open,
            total: counts.total(),
            get,
            head,
            post,
            put,
            delete,
            patch,
            options,
            other,
        },
        answers: Answers {
            ok,
            redirect,
            client_error,
            server_error,
            cut: counts.cut,
            refused: counts.refused,
            denied: counts.denied,
        },
        upgrades: counts.upgrades,
        retried: counts.retried,
        timeouts: counts.timeouts,
        latency_us: Latency {
            count: counts.latency.iter().sum(),
            sum: counts.latency_us,
            p50: counts.latency_below(50),
            p90: counts.latency_below(90),
            p99: counts.latency_below(99),
        },
        upstream: Upstream {
            opened: counts.upstream_opened,
            reused: counts.upstream_reused,
            idle: counts.upstream_idle,
        },
    }
}

/// One number, or several that a label tells apart.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    values: fn(&HttpCounts) -> Vec<Value>,
}

type Label = (&'static str, &'static str);
type Value = (Option<Label>, u64);

const FAMILIES: [Family; 7] = [
    Family {
        name: "link_http_requests",
        help: "Requests that have ended, by method",
        kind: MetricType::Counter,
        values: |counts| labelled("method", METHODS.into_iter().zip(counts.requests)),
    },
    Family {
        name: "link_http_answers",
        help: "Requests that have ended, by the answer's class; cut: it broke off, refused: by the mesh, \
               denied: allowed by no rule, 101: upgraded",
        kind: MetricType::Counter,
        values: |counts| {
            let others = [
                ("cut", counts.cut),
                ("refused", counts.refused),
                ("denied", counts.denied),
                ("101", counts.upgrades),
            ];
            labelled("class", CLASSES.into_iter().zip(counts.answers).chain(others))
        },
    },
    Family {
        name: "link_http_retries",
        help: "Requests that were sent a second time over another connection",
        kind: MetricType::Counter,
        values: |counts| vec![(None, counts.retried)],
    },
    Family {
        name: "link_http_timeouts",
        help: "Requests that ended because one of the link's times was over",
        kind: MetricType::Counter,
        values: |counts| vec![(None, counts.timeouts)],
    },
    Family {
        name: "link_http_upstream_connections",
        help: "Connections to the provider that requests were given: opened for them, or reused",
        kind: MetricType::Counter,
        values: |counts| {
            labelled("from", [("opened", counts.upstream_opened), ("reused", counts.upstream_reused)])
        },
    },
    Family {
        name: "link_http_open_requests",
        help: "Requests under way",
        kind: MetricType::Gauge,
        values: |counts| vec![(None, counts.open)],
    },
    Family {
        name: "link_http_upstream_idle_connections",
        help: "Connections to the provider that wait for a request",
        kind: MetricType::Gauge,
        values: |counts| vec![(None, counts.upstream_idle)],
    },
];

fn labelled(label: &'static str, values: impl IntoIterator<Item = (&'static str, u64)>) -> Vec<Value> {
    values.into_iter().map(|(value, count)| (Some((label, value)), count)).collect()
}

/// The metrics of all rest links; nothing where there is none.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    let rows: Vec<(&Row, &HttpCounts)> =
        rows.iter().filter_map(|row| Some((row, row.counts.http.as_deref()?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    for family in &FAMILIES {
        let mut encoder = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
        for (row, counts) in &rows {
            for (label, count) in (family.values)(counts) {
                let labels: Vec<(&str, &str)> =
                    row.labels.iter().map(|(name, value)| (*name, value.as_str())).chain(label).collect();
                let mut value = encoder.encode_family(&labels)?;
                match family.kind {
                    MetricType::Gauge => value.encode_gauge(&gauged(count))?,
                    _ => value.encode_counter::<NoLabelSet, u64, u64>(&count, None)?,
                }
            }
        }
    }
    durations(encoder, &rows)
}

fn durations(encoder: &mut DescriptorEncoder<'_>, rows: &[(&Row, &HttpCounts)]) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "link_http_request",
        "Time from a request's head being complete to the last byte of its answer",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (row, counts) in rows {
        let bounds = REQUEST_BOUNDS_US.iter().map(|micros| seconds(*micros)).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.latency).collect();
        let (sum, count) = (seconds(counts.latency_us), counts.latency.iter().sum());
        family.encode_family(&row.labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mesh::edge::{Counts, LinkCounters};
    use crate::mesh::metrics::counters;
    use crate::mesh::metrics::tests::text_of;

    fn counted() -> Counts {
        let counters = LinkCounters::default();
        let http = counters.http();
        http.finished("GET", 200, Duration::from_micros(300));
        http.finished("BREW", 502, Duration::from_secs(2));
        http.cut("POST");
        http.refused(None);
        http.denied("DELETE");
        http.upstream_idle.store(3, std::sync::atomic::Ordering::Relaxed);
        counters.snapshot()
    }

    #[test]
    fn the_graph_has_every_request() {
        let in_graph = counters(&counted());
        assert_eq!(in_graph.denied, 1);
        let http = in_graph.http.unwrap();
        assert_eq!((http.requests.total, http.requests.get, http.requests.other), (5, 1, 2));
        let answers = Answers { ok: 1, server_error: 1, cut: 1, refused: 1, denied: 1, ..Answers::default() };
        assert_eq!(http.answers, answers);
        let latency = Latency { count: 2, sum: 2_000_300, p50: 500, p90: 2_500_000, p99: 2_500_000 };
        assert_eq!((http.latency_us, http.upstream.idle), (latency, 3));
        assert_eq!(counters(&Counts::default()).http, None);
    }

    #[test]
    fn labels_are_of_closed_sets() {
        let text = text_of(counted());
        let link = r#"consumer="web",service="db",provider="srv",type="unix""#;
        for line in [
            format!("xconnect_link_http_requests_total{{{link},method=\"GET\"}} 1\n"),
            format!("xconnect_link_http_requests_total{{{link},method=\"other\"}} 2\n"),
            format!("xconnect_link_http_answers_total{{{link},class=\"2xx\"}} 1\n"),
            format!("xconnect_link_http_answers_total{{{link},class=\"refused\"}} 1\n"),
            format!("xconnect_link_http_retries_total{{{link}}} 0\n"),
            format!("xconnect_link_http_upstream_connections_total{{{link},from=\"reused\"}} 0\n"),
            format!("xconnect_link_http_upstream_idle_connections{{{link}}} 3\n"),
            format!("xconnect_link_http_request_seconds_bucket{{le=\"0.0005\",{link}}} 1\n"),
            format!("xconnect_link_http_request_seconds_count{{{link}}} 2\n"),
            format!("xconnect_link_denials_total{{{link},path=\"user\"}} 1\n"),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(!text.contains("BREW"), "{text}");
    }
}
