use super::*;

fn parse(method: &str, target: &str, body: &[u8]) -> Result<Action, ApiError> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Route::of(&method, path)?.action(query, body)
}

#[test]
fn every_endpoint_has_its_action() {
    let stop = br#"{"action":"stop"}"#;
    let name = || "web".to_owned();
    let request = RegisterRequest { pid: 7, start: None, manifests: Default::default() };
    let table: &[(&str, &str, &[u8], Action)] = &[
        ("GET", "/xconnect-graph", b"", Action::Graph),
        ("GET", "/xconnect-graph?watch=0", b"", Action::Graph),
        ("GET", "/xconnect-graph?watch=1", b"", Action::WatchGraph),
        ("GET", "/daemons", b"", Action::ListDaemons),
        ("PUT", "/daemons/web", stop, Action::Daemon(name(), ActionName::Stop)),
        ("GET", "/containers", b"", Action::ListContainers),
        ("PUT", "/containers/web", stop, Action::Container(name(), ActionName::Stop)),
        ("PUT", "/containers/w%65b", stop, Action::Container(name(), ActionName::Stop)),
        ("POST", "/containers/web", br#"{"pid":7}"#, Action::Register(name(), request)),
        ("DELETE", "/containers/web", b"", Action::Unregister(name())),
        ("GET", "/groups", b"", Action::ListGroups),
        ("POST", "/signal", br#"{"type":"ready","payload":""}"#, Action::Ready),
        ("GET", "/buildinfo", b"", Action::BuildInfo),
        ("GET", "/config", b"", Action::Config),
        ("GET", "/config2", b"", Action::Config2),
        ("GET", "/revision", b"", Action::Revision),
        ("GET", "/metrics", b"", Action::Metrics),
        ("GET", "/audit", b"", Action::Audit(Since::Seq(0))),
        ("GET", "/audit?since=12", b"", Action::Audit(Since::Seq(12))),
        ("GET", "/audit?since=1970-01-01T00:00:00Z", b"", Action::Audit(Since::Time(SystemTime::UNIX_EPOCH))),
    ];
    for (method, target, body, action) in table {
        assert_eq!(parse(method, target, body).as_ref(), Ok(action), "{method} {target}");
    }
}

#[test]
fn routes_that_are_not_there() {
    for (method, target, error) in [
        ("GET", "/", ApiError::UnknownEndpoint),
        ("GET", "/nothing", ApiError::UnknownEndpoint),
        ("GET", "/groups/app", ApiError::UnknownEndpoint),
        ("PUT", "/containers/%ff", ApiError::UnknownEndpoint),
        ("PUT", "/containers/%f", ApiError::UnknownEndpoint),
        ("PUT", "/containers", ApiError::MissingContainerName),
        ("PUT", "/containers/", ApiError::MissingContainerName),
        ("PUT", "/daemons/", ApiError::MissingDaemonName),
        ("PATCH", "/containers/web", ApiError::MethodNotSupported),
        ("GET", "/containers/web", ApiError::MethodNotSupported),
        ("DELETE", "/daemons/pv-xconnect", ApiError::MethodNotSupported),
        ("POST", "/groups", ApiError::MethodNotSupported),
        ("GET", "/signal", ApiError::MethodNotSupported),
        ("PUT", "/xconnect-graph", ApiError::MethodNotSupported),
    ] {
        assert_eq!(parse(method, target, b""), Err(error), "{method} {target}");
    }
}

#[test]
fn malformed_actions_name_the_place() {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let put = |body: &[u8]| parse("PUT", "/containers/web", body);
    assert_eq!(put(b""), Err(ApiError::NoData));
    assert_eq!(put(&deep), Err(ApiError::BodyTooLarge(1024)));
    assert_eq!(put(b"{}"), Err(ApiError::MissingAction));
    for (body, place) in [
        (&b"{"[..], "line 1 column 1"),
        (b"start", "line 1 column 1"),
        (b"{\"action\":\"stop\"} x", "line 1 column 19"),
        (b"[]", "invalid"),
        (b"[1]", "invalid"),
        (b"{\"act\":\"stop\"}", "act: unknown field"),
        (b"{\"action\":\"stop\",\"action\":\"stop\"}", "duplicate field"),
        (b"\xff", "line 1"),
    ] {
        match put(body) {
            Err(ApiError::InvalidJson(detail)) => assert!(detail.contains(place), "{detail}"),
            other => panic!("{}: {other:?}", String::from_utf8_lossy(body)),
        }
    }
    for body in
        [&b"{\"action\":5}"[..], b"{\"action\":null}", b"{\"action\":\"kill\"}", b"{\"action\":[[[]]]}"]
    {
        match put(body) {
            Err(ApiError::InvalidAction(detail)) => assert!(detail.starts_with("action: "), "{detail}"),
            other => panic!("{}: {other:?}", String::from_utf8_lossy(body)),
        }
    }
}

#[test]
fn malformed_registrations_signals_and_queries_name_the_place() {
    let deep = [br#"{"pid":1,"manifests":{"run.json":"#.to_vec(), b"[".repeat(100_000)].concat();
    for (body, place) in [
        (&br#"{"pid":"7"}"#[..], "pid: invalid type"),
        (br#"{"pid":-1}"#, "pid: invalid value"),
        (br#"{"pid":1,"start":1.5}"#, "start: invalid type"),
        (br#"{"pid":1,"manifest":{}}"#, "manifest: unknown field"),
        (br#"{"pid":1,"manifests":[]}"#, "manifests: invalid type"),
        (br#"{"manifests":{}}"#, "missing field `pid`"),
        (b"{\"pid\":1,\"manifests\":{\"\xff\":1}}", "invalid unicode"),
        (&deep, "recursion limit"),
    ] {
        match parse("POST", "/containers/web", body) {
            Err(ApiError::InvalidJson(detail)) => assert!(detail.contains(place), "{detail}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(parse("POST", "/containers/web", b""), Err(ApiError::NoData));
    for body in [&b""[..], b"{}", b"{\"type\":1}", b"{\"type\":\"reboot\"}", b"nonsense"] {
        assert!(matches!(parse("POST", "/signal", body), Err(ApiError::BadSignal(_))));
    }
    assert_eq!(parse("POST", "/signal", &[b' '; 5000]), Err(ApiError::BodyTooLarge(4096)));
    for query in ["watch=yes", "wacht=1", "watch=%ff"] {
        let result = parse("GET", &format!("/xconnect-graph?{query}"), b"");
        assert!(matches!(result, Err(ApiError::InvalidQuery(_))), "{query}");
    }
    assert!(matches!(parse("GET", "/audit?since=soon", b""), Err(ApiError::InvalidQuery(_))));
}

#[test]
fn only_signals_need_no_manager() {
    assert_eq!(Route::Signal.access(), Access::AnyContainer);
    assert_eq!(Route::Graph.access(), Access::Graph);
    for route in [Route::Containers, Route::BuildInfo, Route::Audit, Route::Metrics] {
        assert_eq!(route.access(), Access::Management);
    }
}
