//! Input that is meant to hurt: an error that names the place, never a panic, and bounded output.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::refused;
use crate::graph;
use crate::manifest::load;

/// The names of all files that are read.
const FILES: [&str; 5] =
    ["device.json", "web/run.json", "web/args.json", "web/services.json", "web/config.json"];

#[test]
fn text_that_is_no_json() {
    for file in FILES {
        let error = |text: &[u8]| {
            let files = BTreeMap::from([(file.to_owned(), text.to_vec())]);
            let errors = load(&files).unwrap_err().to_string();
            assert!(errors.starts_with(&format!("{file}: ")), "{errors}");
            errors
        };
        assert!(error(b"").contains("not valid JSON: EOF while parsing a value at line 1 column 0"));
        assert!(error(b"{\"a\":\xff}").contains("must be UTF-8 (is not at byte 5)"));
        assert!(error(b"{}{}").contains("trailing characters at line 1 column 3"));
        assert!(error(b"\0").contains("expected value"));
        assert!(error("[".repeat(100_000).as_bytes()).contains("recursion limit exceeded"));
        assert!(error("{\"a\":".repeat(100_000).as_bytes()).contains("recursion limit exceeded"));
        assert!(error(&vec![b' '; 10 << 20]).contains("must not be larger than 1 MiB (has 10485760 bytes)"));
        assert!(
            error(br#"{"services":[{"a":1e999}]}"#)
                .contains("services[0].a: not valid JSON: number out of range")
        );
        assert!(
            error(br#"{"a":{"b":1,"c":{"d":[0,{"x":1,"x":2}]},"b":2}}"#)
                .contains("a.c.d[1].x: is there twice")
        );
    }
}

#[test]
fn repeated_keys_are_all_named() {
    let lines = refused(&[("web/run.json", r#"{"type":"external","a":1,"a":2,"a":3,"type":"external"}"#)]);
    assert_eq!(
        lines,
        [
            "web/run.json: a: is there twice",
            "web/run.json: a: is there twice",
            "web/run.json: type: is there twice"
        ]
    );
}

#[test]
fn errors_are_bounded_in_number_and_length() {
    let many = format!("[{}]", vec!["1"; 5000].join(","));
    let lines = refused(&[("s/services.json", &many)]);
    assert_eq!(lines.len(), 101);
    assert_eq!(lines[100], "s/services.json: has 4900 more errors");
    let key = "k".repeat(500_000);
    let lines = refused(&[("s/services.json", &format!(r#"{{"services":[],"{key}":"{key}"}}"#))]);
    assert!(lines[0].len() < 1000, "{}", lines[0].len());
    let lines = refused(&[("web/run.json", "{\"type\":\"a\\nb\\u001b[31m\"}")]);
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains('\u{1b}'));
}

#[test]
fn wide_files_are_read_in_reasonable_time() {
    let keys: Vec<_> = (0..60_000).map(|i| format!("\"key{i}\":{{}}")).collect();
    let text = format!("{{\"PV_ROLES\":[],{}}}", keys.join(","));
    assert!(text.len() < 1 << 20);
    super::loaded(&[("web/args.json", &text)]);
    let roles = format!(r#"[{{"name":"a","type":"unix","socket":"/a","roles":{{{}}}}}]"#, keys.join(","));
    super::loaded(&[("web/services.json", &roles)]);
    let env: Vec<_> = (0..90_000).map(|i| format!("\"{i}=\"")).collect();
    let run = format!(r#"{{"type":"oci","rootfs":"r","exec":["/x"],"env":[{}]}}"#, env.join(","));
    super::loaded(&[("web/run.json", &run)]);
    let list = |item: &dyn Fn(usize) -> String| (0..15_000).map(item).collect::<Vec<_>>().join(",");
    let services = list(&|i| format!(r#"{{"name":"{i}","type":"unix","socket":"/{i}"}}"#));
    let needs = list(&|i| format!(r#"{{"name":"x{i}"}}"#));
    let revision = super::loaded(&[
        ("srv/services.json", &format!("[{services}]")),
        ("web/args.json", &format!(r#"{{"PV_SERVICES_REQUIRED":[{needs}]}}"#)),
    ]);
    assert_eq!(graph::check(&revision).unwrap_err().0.len(), 15_000);
}

/// JSON that often has the right keys with values that seldom fit.
fn json() -> impl Strategy<Value = serde_json::Value> {
    const WORDS: [&str; 57] = [
        "#spec",
        "services",
        "required",
        "optional",
        "name",
        "type",
        "socket",
        "target",
        "role",
        "roles",
        "provider",
        "interface",
        "uid",
        "gid",
        "consumers",
        "allow",
        "methods",
        "path",
        "names",
        "rules",
        "policy",
        "fds",
        "globals",
        "preset",
        "access",
        "port",
        "forward",
        "idle_timeout",
        "rest",
        "max_body_bytes",
        "body_timeout",
        "forwarded",
        "tracing",
        "groups",
        "network",
        "pools",
        "ingress",
        "external",
        "subnet",
        "gateway",
        "bridge",
        "auto_recovery",
        "backoff_policy",
        "rootfs",
        "exec",
        "env",
        "mounts",
        "oci",
        "destination",
        "source",
        "user_namespace",
        "uid_map",
        "size",
        "PV_SERVICES_REQUIRED",
        "PV_NETWORK_POOL",
        "unix",
        "/run/x.sock",
    ];
    let word = || prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(serde_json::Value::from),
        word().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// Loads, and where it loads, checks and resolves.
fn survive(files: &BTreeMap<String, Vec<u8>>) {
    let first = load(files);
    assert_eq!(first, load(files));
    match first {
        Ok(revision) => {
            let _ = graph::check(&revision);
            graph::resolve(&revision, &|_| graph::Presence::NotRunning);
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            for error in &errors {
                assert!(!error.file().is_empty() && !error.message().is_empty());
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_revision_or_errors(
        files in prop::collection::btree_map(
            prop::sample::select(FILES.to_vec()).prop_map(str::to_owned),
            prop::collection::vec(any::<u8>(), 0..200),
            0..4,
        )
    ) {
        survive(&files);
    }

    #[test]
    fn any_names_give_a_revision_or_errors(name in ".{0,30}", kind in prop::sample::select(FILES.to_vec())) {
        let file = kind.replace("web", &name);
        survive(&BTreeMap::from([(file, b"{}".to_vec())]));
    }

    #[test]
    fn any_json_gives_a_revision_or_errors(
        files in prop::collection::btree_map(
            prop::sample::select(FILES.to_vec()).prop_map(str::to_owned),
            json().prop_map(|value| value.to_string().into_bytes()),
            0..5,
        )
    ) {
        survive(&files);
    }
}
