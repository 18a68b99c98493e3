//! The mesh's counters in Prometheus' text format.

mod http;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::board::{Board, Place};
use super::edge::{Counts, LATENCY_BOUNDS_US};
use super::offload::Offload;
use crate::graph::wire::{Connections, Counters, Directions, InKernel, Moved, Status, Stay};

/// The `Content-Type` of OpenMetrics, which Prometheus reads.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A link's counters as the graph JSON has them.
pub(super) fn counters(counts: &Counts) -> Counters {
    let bytes = Directions { to_provider: counts.bytes_to_provider, to_consumer: counts.bytes_to_consumer };
    let messages =
        Directions { to_provider: counts.messages_to_provider, to_consumer: counts.messages_to_consumer };
    Counters {
        connections: Connections {
            open: counts.open,
            total: counts.total,
            refused: counts.refused,
            failed: counts.failed,
        },
        user: Moved {
            bytes: (bytes.to_provider + bytes.to_consumer).saturating_sub(counts.kernel_bytes),
            messages: (messages.to_provider + messages.to_consumer).saturating_sub(counts.kernel_messages),
        },
        kernel: InKernel {
            bytes: counts.kernel_bytes,
            messages: counts.kernel_messages,
            errors: counts.kernel_errors,
            cut: counts.kernel_cut,
            long_flows: counts.long_flows,
            long_flows_kernel: counts.long_flows_kernel,
            send_buffers: counts.kernel_send_buffers,
            growth_refused: counts.kernel_growth_refused,
            stay: Stay {
                picked: counts.stay_picked,
                flows: counts.stay_flows,
                send_buffers: counts.stay_send_buffers,
                descriptors: counts.stay_descriptors,
                refused: counts.stay_refused,
            },
        },
        bytes,
        messages,
        fds: counts.fds,
        denied: denied(counts),
        http: counts.http.as_deref().map(http::in_graph),
    }
}

/// What a policy has denied: requests on a rest link, messages elsewhere.
fn denied(counts: &Counts) -> u64 {
    counts.http.as_ref().map_or(counts.denied, |http| http.denied)
}

/// All metrics as text.
pub(super) fn text(board: &Arc<Board>, offload: &Arc<Offload>) -> String {
    let mut registry = Registry::with_prefix("xconnect");
    registry.register_collector(Box::new(Links(Arc::clone(board))));
    registry.register_collector(Box::new(Kernel(Arc::clone(offload))));
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        tracing::error!(%error, "cannot write the metrics");
    }
    text
}

#[derive(Debug)]
struct Links(Arc<Board>);

/// What all links share of the kernel.
#[derive(Debug)]
struct Kernel(Arc<Offload>);

impl Collector for Kernel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let limits = self.0.limits();
        let values = [
            ("kernel_flows", "Directions of connections that are in the kernel", None, limits.flows_used()),
            (
                "kernel_send_buffer",
                "Bytes that the send buffers may hold of the connections in the kernel",
                Some(&Unit::Bytes),
                limits.buffers_used(),
            ),
            (
                "kernel_send_buffer_limit",
                "Bytes that they may hold at most",
                Some(&Unit::Bytes),
                limits.buffers_limit(),
            ),
        ];
        for (name, help, unit, value) in values {
            let mut gauge = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            gauge.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }
}

type Labels = [(&'static str, String); 4];

#[derive(Debug)]
struct Row {
    labels: Labels,
    status: Status,
    counts: Counts,
}

impl Row {
    fn of(place: &Place) -> Self {
        let link = place.link();
        Self {
            labels: [
                ("consumer", link.key.consumer.to_string()),
                ("service", link.key.service.to_string()),
                ("provider", link.provider.name.to_string()),
                ("type", link.kind.as_str().to_owned()),
            ],
            status: place.standing().status,
            counts: place.counters.snapshot(),
        }
    }
}

/// One counter of a link, with a label of its own where it has several values.
struct CounterOf {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    values: fn(&Counts) -> Vec<(&'static str, &'static str, u64)>,
}

const COUNTERS: [CounterOf; 10] = [
    CounterOf {
        name: "link_connections",
        help: "Connections of consumers by what became of them",
        unit: None,
        values: |c| {
            vec![
                ("outcome", "accepted", c.total),
                ("outcome", "refused", c.refused),
                ("outcome", "failed", c.failed),
            ]
        },
    },
    CounterOf {
        name: "link",
        help: "Bytes carried",
        unit: Some(Unit::Bytes),
        values: |c| {
            vec![
                ("direction", "to_provider", c.bytes_to_provider),
                ("direction", "to_consumer", c.bytes_to_consumer),
            ]
        },
    },
    CounterOf {
        name: "link_messages",
        help: "Messages carried (on a stream: reads)",
        unit: None,
        values: |c| {
            vec![
                ("direction", "to_provider", c.messages_to_provider),
                ("direction", "to_consumer", c.messages_to_consumer),
            ]
        },
    },
    CounterOf {
        name: "link_descriptors",
        help: "Descriptors passed, both ways",
        unit: None,
        values: |c| vec![("path", "user", c.fds)],
    },
    CounterOf {
        name: "link_denials",
        help: "Requests that the provider's policy denied",
        unit: None,
        values: |c| vec![("path", "user", denied(c))],
    },
    CounterOf {
        name: "link_kernel",
        help: "Of the bytes carried, those that the kernel forwarded",
        unit: Some(Unit::Bytes),
        values: |c| vec![("path", "kernel", c.kernel_bytes)],
    },
    CounterOf {
        name: "link_kernel_messages",
        help: "Of the messages carried, those that the kernel forwarded (socket buffers)",
        unit: None,
        values: |c| vec![("path", "kernel", c.kernel_messages)],
    },
    CounterOf {
        name: "link_kernel_error",
        help: "Bytes that the kernel could not forward: the mesh did, or the connection was cut",
        unit: Some(Unit::Bytes),
        values: |c| vec![("path", "kernel", c.kernel_errors)],
    },
    CounterOf {
        name: "link_kernel_cut_connections",
        help: "Connections on the kernel path that were cut, because not all could be kept exactly in order",
        unit: None,
        values: |c| vec![("path", "kernel", c.kernel_cut)],
    },
    CounterOf {
        name: "link_kernel_growth_refused",
        help: "How often a send buffer could not grow for want of memory for the link",
        unit: None,
        values: |c| vec![("path", "kernel", c.kernel_growth_refused)],
    },
];

impl Collector for Links {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows: Vec<Row> = self.0.all().iter().map(|place| Row::of(place)).collect();
        gauges(&mut encoder, &rows)?;
        counted(&mut encoder, &rows)?;
        latencies(&mut encoder, &rows)?;
        http::encode(&mut encoder, &rows)
    }
}

fn counted(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    for counter in &COUNTERS {
        let mut family = encoder.encode_descriptor(
            counter.name,
            counter.help,
            counter.unit.as_ref(),
            MetricType::Counter,
        )?;
        for row in rows {
            for (label, value, count) in (counter.values)(&row.counts) {
                let labels: Vec<(&str, &str)> = row
                    .labels
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .chain([(label, value)])
                    .collect();
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    let mut up = encoder.encode_descriptor("link_up", "1 where the link is up", None, MetricType::Gauge)?;
    for row in rows {
        up.encode_family(&row.labels)?.encode_gauge(&i64::from(row.status == Status::Up))?;
    }
    let mut open = encoder.encode_descriptor(
        "link_open_connections",
        "Connections that are open",
        None,
        MetricType::Gauge,
    )?;
    for row in rows {
        open.encode_family(&row.labels)?.encode_gauge(&gauged(row.counts.open))?;
    }
    let mut buffers = encoder.encode_descriptor(
        "link_kernel_send_buffer",
        "Bytes that the send buffers may hold of the link's connections in the kernel",
        Some(&Unit::Bytes),
        MetricType::Gauge,
    )?;
    for row in rows {
        buffers.encode_family(&row.labels)?.encode_gauge(&gauged(row.counts.kernel_send_buffers))?;
    }
    let mut stay = encoder.encode_descriptor(
        "link_kernel_stay_connections",
        "Open connections that stay in user space though the link goes through the kernel",
        None,
        MetricType::Gauge,
    )?;
    for row in rows {
        for (reason, count) in super::staying::reasons(&counters(&row.counts).kernel.stay) {
            let labels: Vec<(&str, &str)> = row
                .labels
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .chain([("reason", reason.label)])
                .collect();
            stay.encode_family(&labels)?.encode_gauge(&gauged(count))?;
        }
    }
    Ok(())
}

fn gauged(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn latencies(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "link_connect",
        "Time from accepting a consumer to having the provider",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for row in rows {
        let bounds = LATENCY_BOUNDS_US.iter().map(|micros| seconds(*micros)).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(row.counts.latency).collect();
        let count = row.counts.latency.iter().sum();
        family.encode_family(&row.labels)?.encode_histogram::<NoLabelSet>(
            seconds(row.counts.latency_us),
            count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a float is what the format wants; 2^53 µs are 285 years")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that need no board.
    #[derive(Debug)]
    struct Given(Counts);

    impl Collector for Given {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let names = [("consumer", "web"), ("service", "db"), ("provider", "srv"), ("type", "unix")];
            let labels = names.map(|(name, value)| (name, value.to_owned()));
            let rows = [Row { labels, status: Status::Up, counts: self.0.clone() }];
            gauges(&mut encoder, &rows)?;
            counted(&mut encoder, &rows)?;
            http::encode(&mut encoder, &rows)
        }
    }

    /// The metrics of one link.
    pub(super) fn text_of(counts: Counts) -> String {
        let mut registry = Registry::with_prefix("xconnect");
        registry.register_collector(Box::new(Given(counts)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_the_kernel_did_is_counted_by_link() {
        let counts = Counts {
            bytes_to_provider: 700,
            bytes_to_consumer: 300,
            messages_to_provider: 9,
            kernel_bytes: 990,
            kernel_messages: 7,
            kernel_errors: 5,
            kernel_cut: 2,
            kernel_growth_refused: 4,
            kernel_send_buffers: 4 << 20,
            stay_picked: 3,
            ..Counts::default()
        };
        let in_graph = counters(&counts);
        assert_eq!((in_graph.kernel.bytes, in_graph.kernel.messages), (990, 7));
        assert_eq!((in_graph.user.bytes, in_graph.user.messages), (10, 2));
        let text = text_of(counts);
        assert!(!text.contains("_http_"), "{text}");
        for (name, count) in [
            ("kernel_bytes", 990),
            ("kernel_messages", 7),
            ("kernel_error_bytes", 5),
            ("kernel_cut_connections", 2),
            ("kernel_growth_refused", 4),
        ] {
            let labels = r#"consumer="web",service="db",provider="srv",type="unix",path="kernel""#;
            let line = format!("xconnect_link_{name}_total{{{labels}}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        let labels = r#"consumer="web",service="db",provider="srv",type="unix""#;
        for line in [
            format!("xconnect_link_kernel_send_buffer_bytes{{{labels}}} 4194304\n"),
            format!("xconnect_link_kernel_stay_connections{{{labels},reason=\"one_processor\"}} 3\n"),
            format!("xconnect_link_kernel_stay_connections{{{labels},reason=\"flows\"}} 0\n"),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
