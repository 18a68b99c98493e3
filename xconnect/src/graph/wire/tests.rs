//! Tests of the graph JSON.

use proptest::prelude::*;

use super::*;
use crate::graph::tests::any_graph;
use crate::graph::{Identity, Limits, Refusal, RestOptions, UnixOptions};
use crate::ids::ContainerName;

/// An entry as Pantavisor writes it.
fn upstream(consumer: &str, pid: &str, target: &str) -> String {
    format!(
        r#"{{"type":"unix","name":"raw-unix","consumer":"{consumer}","consumer_pid":{pid},"provider":"srv",
            "provider_pid":5678,"role":"any","interface":"unix","target":"{target}","socket":"/run/raw.sock"}}"#
    )
}

fn parsed(entries: &[String]) -> Graph {
    parse(format!("[{}]", entries.join(",")).as_bytes()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn errors(text: &str) -> Vec<String> {
    parse(text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn upstreams_entries_get_the_defaults() {
    let graph = parsed(&[upstream("web", "1234", "/x")]);
    let link = graph.links.values().next().unwrap();
    assert_eq!(link.consumer, Presence::Running(ProcessId { pid: 1234, start: None }));
    assert_eq!(link.grant.as_ref().unwrap().identity(), Identity::NOBODY);
    assert_eq!((link.limits, link.unix), (Limits::default(), UnixOptions::default()));
    assert_eq!(link.rest, RestOptions::default());
    assert_eq!(graph.revision, None);
}

#[test]
fn no_pid_but_a_hosts_own_is_the_host() {
    let consumer = |name: &str, pid: &str| {
        parsed(&[upstream(name, pid, "/x")]).links.into_values().next().unwrap().consumer
    };
    assert_eq!(consumer("web", "0"), Presence::NotRunning);
    assert_eq!(consumer("web", "-1"), Presence::NotRunning);
    assert_eq!(consumer("web", "null"), Presence::NotRunning);
    assert_eq!(consumer("web", "-9223372036854775808"), Presence::NotRunning);
    assert_eq!(consumer("web", "4294967296"), Presence::NotRunning);
    assert_eq!(consumer(ContainerName::HOST, "0"), Presence::Host);
    assert_eq!(consumer(ContainerName::EXTERNAL, "0"), Presence::Host);
    assert_eq!(consumer(ContainerName::HOST, "-1"), Presence::NotRunning);
}

#[test]
fn missing_fields_have_defaults_where_they_can_and_unknown_ones_pass() {
    let text = r#"[{"type":"rest","name":"n","consumer":"c","provider":"p","target":"/t","socket":"/s","role":null,"new":{"x":[1]}}]"#;
    let graph = parse(text.as_bytes()).unwrap();
    let link = graph.links.values().next().unwrap();
    assert_eq!((link.consumer, link.provider.presence), (Presence::NotRunning, Presence::NotRunning));
    assert_eq!((link.role.as_str(), link.interface.as_str()), ("any", "rest"));
}

#[test]
fn every_bad_entry_is_named() {
    let text = format!(
        r#"[{},7,{{"type":"unix"}},{{"type":"pipe","name":"","consumer":"a/b","provider":"p","target":"x","socket":"/../s"}},{},{}]"#,
        upstream("web", "1", "/x"),
        upstream("web", "\"1\"", "/y"),
        upstream("web", "2", "//x")
    );
    assert_eq!(
        errors(&text),
        [
            "[1]: invalid type: integer `7`, expected struct LinkEntry",
            "[2]: missing field `name`",
            "[3].type: there is no type \"pipe\"",
            "[3].name: must not be empty",
            "[3].consumer: must not contain '/': letters, digits and . _ - + @ : are allowed",
            "[3].socket: must not contain \"..\"",
            "[3].target: must be absolute",
            "[4].consumer_pid: invalid type: string \"1\", expected i64",
            "[5]: is the same link as entry 0: web:/x (raw-unix)",
        ]
    );
    let kept = parse_each(text.as_bytes()).unwrap();
    assert_eq!((kept.graph.links.len(), kept.errors.len()), (1, 9));
    let first = kept.graph.links.values().next().unwrap();
    assert_eq!(first.consumer, Presence::Running(ProcessId { pid: 1, start: None }));
}

#[test]
fn text_that_is_no_graph() {
    assert_eq!(errors("{}"), ["not a graph: invalid type: map, expected a sequence at line 1 column 0"]);
    assert!(errors("")[0].starts_with("not a graph: EOF"));
    assert!(errors(&"[".repeat(100_000))[0].contains("recursion limit"));
    assert!(parse(b"[\"\xff\"]").is_err());
    assert!(parse(b"[]").unwrap().links.is_empty());
    let target = upstream("web", "1", "/proc/x");
    assert_eq!(errors(&format!("[{target}]")), ["[0].target: must not lie in /proc"]);
}

#[test]
fn the_order_of_fields() {
    let graph = parsed(&[upstream("web", "1", "/x")]);
    let mut entry = LinkEntry::desired(graph.links.values().next().unwrap(), Some("9f2c"));
    let desired = r#"{"type":"unix","name":"raw-unix","consumer":"web","consumer_pid":1,"provider":"srv","provider_pid":5678,"role":"any","interface":"unix","target":"/x","socket":"/run/raw.sock","revision":"9f2c","options":{"uid":65534,"gid":65534,"refused":null,"forward":"user","socket_type":"stream","lossy_fds":false,"max_connections":1024,"idle_timeout":null,"connect_timeout":10}}"#;
    assert_eq!(serde_json::to_string(&entry).unwrap(), desired);
    entry.status = Some(Status::Up);
    entry.path = Some(Path::User);
    entry.since = Some("2026-11-23T18:00:00Z".to_owned());
    entry.counters = Some(Counters { fds: 3, ..Counters::default() });
    entry.consumer_start = Some(5);
    entry.path_reason = Some("no promise".to_owned());
    entry.options = None;
    let full = r#"{"type":"unix","name":"raw-unix","consumer":"web","consumer_pid":1,"provider":"srv","provider_pid":5678,"role":"any","interface":"unix","target":"/x","socket":"/run/raw.sock","status":"up","reason":null,"path":"user","revision":"9f2c","since":"2026-11-23T18:00:00Z","counters":{"connections":{"open":0,"total":0,"refused":0,"failed":0},"bytes":{"to_provider":0,"to_consumer":0},"messages":{"to_provider":0,"to_consumer":0},"kernel":{"bytes":0,"messages":0,"errors":0,"cut":0,"long_flows":0,"long_flows_kernel":0,"send_buffers":0,"growth_refused":0,"stay":{"picked":0,"flows":0,"send_buffers":0,"descriptors":0,"refused":0}},"user":{"bytes":0,"messages":0},"fds":3,"denied":0},"consumer_start":5,"path_reason":"no promise"}"#;
    assert_eq!(serde_json::to_string(&entry).unwrap(), full);
    assert_eq!(serde_json::from_str::<LinkEntry>(full).unwrap(), entry);
    let http = Http { answers: Answers { ok: 4, ..Answers::default() }, timeouts: 2, ..Http::default() };
    let counters = Counters { http: Some(http), ..Counters::default() };
    let text = serde_json::to_string(&counters).unwrap();
    let requests = r#""denied":0,"http":{"requests":{"open":0,"total":0,"GET":0,"HEAD":0,"POST":0,"PUT":0,"DELETE":0,"PATCH":0,"OPTIONS":0,"other":0},"answers":{"2xx":4,"3xx":0,"4xx":0,"5xx":0,"cut":0,"refused":0,"denied":0},"upgrades":0,"retried":0,"timeouts":2,"latency_us":{"count":0,"sum":0,"p50":0,"p90":0,"p99":0},"upstream":{"opened":0,"reused":0,"idle":0}}}"#;
    assert!(text.ends_with(requests), "{text}");
    assert_eq!(serde_json::from_str::<Counters>(&text).unwrap(), counters);
}

fn rest(options: &str) -> String {
    format!(
        r#"[{{"type":"rest","name":"n","consumer":"c","provider":"p","target":"/t","socket":"/s","options":{options}}}]"#
    )
}

#[test]
fn a_rest_link_without_options_has_the_defaults() {
    for options in ["null", "{}", r#"{"rest":null}"#, r#"{"rest":{}}"#] {
        let graph = parse(rest(options).as_bytes()).unwrap();
        let link = graph.links.values().next().unwrap();
        assert_eq!(link.rest, RestOptions::default());
        assert_eq!(link.grant.as_ref().unwrap().rest_rules(), None);
    }
}

#[test]
fn options_of_a_rest_link_travel() {
    let options = r#"{"rest":{"max_requests":7,"response_timeout":0.5,"tracing":true,"allow":[{"methods":["GET"],"path":"/v1"},{"path":"/x*"}]}}"#;
    let graph = parse(rest(options).as_bytes()).unwrap();
    let link = graph.links.values().next().unwrap();
    assert_eq!((link.rest.max_requests, link.rest.response_timeout.as_millis()), (7, 500));
    assert_eq!(link.grant.as_ref().unwrap().rest_rules().unwrap().len(), 2);
    let text = serde_json::to_string(&desired(&graph)).unwrap();
    let written = r#""rest":{"max_requests":7,"max_header_bytes":65536,"max_body_bytes":null,"header_timeout":10,"body_timeout":30,"response_timeout":0.5,"forwarded":"drop","tracing":true,"allow":[{"methods":["GET"],"path":"/v1"},{"path":"/x*"}]}}"#;
    assert!(text.contains(written), "{text}");
    assert_eq!(parse(text.as_bytes()).unwrap(), graph);
    // An empty list is not the same as none.
    let none = parse(rest(r#"{"rest":{"allow":[]}}"#).as_bytes()).unwrap();
    let none = none.links.values().next().unwrap();
    assert_eq!(none.grant.as_ref().unwrap().rest_rules().map(|rules| rules.len()), Some(0));
}

#[test]
fn a_rule_that_is_not_understood_is_an_error() {
    for (rule, error) in [
        (r#"{"path":"v1"}"#, ": must start with / (or be * or **)"),
        (
            r#"{"path":"/","only_at":"night"}"#,
            ".only_at: unknown field `only_at`, expected `methods` or `path`",
        ),
        (r#"{"methods":["get"],"path":"/"}"#, ": must be a method in capitals, like \"GET\""),
    ] {
        let text = rest(&format!(r#"{{"rest":{{"allow":[{rule}]}}}}"#));
        assert_eq!(errors(&text), [format!("[0].options.rest.allow[0]{error}")]);
    }
}

#[test]
fn refusals_travel_as_text() {
    let mut graph = parsed(&[upstream("web", "1", "/x")]);
    let link = graph.links.values_mut().next().unwrap();
    std::sync::Arc::make_mut(link).grant = Err(Refusal::Role(crate::ids::Role::any()));
    let text = serde_json::to_vec(&desired(&graph)).unwrap();
    let back = parse(&text).unwrap();
    let refusal = back.links.values().next().unwrap().grant.as_ref().unwrap_err();
    assert_eq!(refusal.to_string(), "role \"any\" is not granted by the provider");
}

#[test]
fn ten_thousand_links() {
    let entries: Vec<_> =
        (0..10_000).map(|i| upstream(&format!("c{}", i % 100), "1", &format!("/t/{i}"))).collect();
    let graph = parsed(&entries);
    assert_eq!(graph.links.len(), 10_000);
    let text = serde_json::to_vec(&desired(&graph)).unwrap();
    assert_eq!(parse(&text).unwrap(), graph);
    assert!(crate::graph::diff(&graph, &graph).is_empty());
}

proptest! {
    #[test]
    fn the_desired_state_survives_the_wire(mut graph in any_graph()) {
        let text = serde_json::to_vec(&desired(&graph)).unwrap();
        // The revision stands in the entries: an empty graph cannot tell it.
        if graph.links.is_empty() {
            graph.revision = None;
        }
        prop_assert_eq!(parse(&text).unwrap(), graph);
    }

    #[test]
    fn any_bytes_give_a_graph_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_damaged_graph_gives_a_graph_or_errors(graph in any_graph(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&desired(&graph)).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(parsed) = parse_each(&text) {
            prop_assert!(parsed.graph.links.len() <= graph.links.len());
        }
    }
}
