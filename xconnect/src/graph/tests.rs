//! Tests of resolving, checking and comparing.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ids::{ContainerName, InsidePath, LinkKey, Role, ServiceName};
use crate::manifest::tests::loaded;

fn name(name: &str) -> ContainerName {
    ContainerName::new(name).unwrap()
}

fn nowhere(_: &ContainerName) -> Presence {
    Presence::NotRunning
}

/// The errors of a state that is wrong as a whole only.
fn wrong(files: &[(&str, &str)]) -> Vec<String> {
    let errors = check(&loaded(files)).unwrap_err();
    errors.to_string().lines().map(str::to_owned).collect()
}

fn graph(files: &[(&str, &str)]) -> Graph {
    let revision = loaded(files);
    check(&revision).unwrap_or_else(|errors| panic!("refused:\n{errors}"));
    resolve(&revision, &nowhere)
}

fn only(graph: &Graph) -> &Link {
    assert_eq!(graph.links.len(), 1);
    graph.links.values().next().unwrap()
}

const NEEDS_A: (&str, &str) = ("web/args.json", r#"{"PV_SERVICES_REQUIRED":[{"name":"a"}]}"#);

fn provides<'a>(fields: &str) -> (&'a str, String) {
    ("srv/services.json", format!(r#"[{{"name":"a",{fields}}}]"#))
}

fn link_of(fields: &str, requirement: &str) -> Link {
    let (file, services) = provides(fields);
    let args = format!(r#"{{"PV_SERVICES_REQUIRED":[{{"name":"a"{requirement}}}]}}"#);
    only(&graph(&[(file, &services), ("web/args.json", &args)])).clone()
}

#[test]
fn a_link_has_what_both_manifests_say() {
    let revision = loaded(&[
        (
            "srv/services.json",
            r#"[{"name":"a","type":"unix","socket":"/run/a","max_connections":3,"forward":"auto"}]"#,
        ),
        (
            "web/args.json",
            r#"{"PV_SERVICES_REQUIRED":[{"name":"a","role":"r","interface":"i","target":"/x"}]}"#,
        ),
    ]);
    let graph = resolve(&revision, &|container| {
        let pid = if container.as_str() == "web" { 7 } else { 9 };
        Presence::Running(ProcessId { pid, start: Some(u64::from(pid)) })
    });
    assert_eq!(graph.revision.as_ref(), Some(revision.id()));
    let link = only(&graph);
    assert_eq!(link.key.to_string(), "web:/x (a)");
    assert_eq!(link.kind, ServiceType::Unix);
    assert_eq!(link.consumer, Presence::Running(ProcessId { pid: 7, start: Some(7) }));
    assert_eq!(link.provider.presence, Presence::Running(ProcessId { pid: 9, start: Some(9) }));
    assert_eq!((link.provider.name.as_str(), link.socket.as_str()), ("srv", "/run/a"));
    assert_eq!((link.role.as_str(), link.interface.as_str()), ("r", "i"));
    assert_eq!((link.limits.max_connections, link.unix.forward), (3, Forward::Auto));
    assert_eq!(link.grant.as_ref().unwrap().identity(), Identity::NOBODY);
}

#[test]
fn defaults_of_target_role_and_interface() {
    let link = link_of(r#""type":"unix","socket":"/s""#, "");
    assert_eq!(link.key.target.as_str(), "/run/pv/services/a.sock");
    assert_eq!((link.role.as_str(), link.interface.as_str()), ("any", "unix"));
    let card = link_of(r#""type":"drm","socket":"/dev/dri/card0""#, "");
    assert_eq!((card.key.target.as_str(), card.role.as_str()), ("/dev/dri/card0", "master"));
    let render = link_of(r#""type":"drm","socket":"/dev/dri/renderD128""#, "");
    assert_eq!((render.key.target.as_str(), render.role.as_str()), ("/dev/dri/renderD128", "render"));
}

#[test]
fn roles_give_a_grant_or_a_refusal() {
    let roles = r#""type":"unix","socket":"/s","roles":{"admin":{"uid":0,"gid":1},"mine":{"consumers":["x*"]},"ours":{"uid":5,"consumers":["w?b"]}}"#;
    let identity = |requirement: &str| link_of(roles, requirement).grant.map(|grant| grant.identity());
    let role = |name: &str| Role::new(name).unwrap();
    assert_eq!(identity(r#","role":"admin""#), Ok(Identity { uid: 0, gid: 1 }));
    assert_eq!(identity(r#","role":"ours""#), Ok(Identity { uid: 5, gid: 65534 }));
    assert_eq!(identity(r#","role":"mine""#), Err(Refusal::Consumer(role("mine"))));
    assert_eq!(identity(r#","role":"other""#), Err(Refusal::Role(role("other"))));
    assert_eq!(identity(""), Err(Refusal::Role(Role::any())));
    let lax = format!(r#"{roles},"unknown_role":"nobody""#);
    let grant = |requirement: &str| link_of(&lax, requirement).grant.map(|grant| grant.identity());
    assert_eq!(grant(""), Ok(Identity::NOBODY));
    assert_eq!(grant(r#","role":"mine""#), Err(Refusal::Consumer(role("mine"))));
    assert_eq!(
        link_of(r#""type":"unix","socket":"/s""#, r#","role":"root""#).grant.unwrap().identity(),
        Identity::NOBODY
    );
}

#[test]
fn a_role_of_a_rest_service_has_its_rules() {
    let service = r#""type":"rest","socket":"/s","max_requests":5,"roles":{
        "some":{"allow":[{"methods":["GET"],"path":"/v1"}]},"none":{"allow":[]},"all":{"uid":1}}"#;
    let link = |role: &str| link_of(service, &format!(r#","role":"{role}""#));
    assert_eq!(link("some").rest.max_requests, 5);
    let rules = |role: &str| link(role).grant.unwrap().rest_rules().cloned();
    let texts =
        |role: &str| rules(role).map(|rules| rules.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(texts("some"), Some(vec!["GET /v1".to_owned()]));
    assert_eq!((texts("none"), texts("all")), (Some(vec![]), None));
    assert!(link_of(r#""type":"rest","socket":"/s""#, "").grant.unwrap().rest_rules().is_none());
}

#[test]
fn another_rule_or_option_is_another_link() {
    let of = |policy: &str, option: &str| {
        let service = format!(r#""type":"rest","socket":"/s","roles":{{"any":{{{policy}}}}}{option}"#);
        let link = link_of(&service, "");
        Graph { revision: None, links: [(link.key.clone(), Arc::new(link))].into() }
    };
    let before = of(r#""allow":[{"path":"/v1"}]"#, "");
    assert!(diff(&before, &before.clone()).is_empty());
    for after in [
        of(r#""allow":[{"path":"/v2"}]"#, ""),
        of(r#""allow":[{"path":"/v1","methods":["GET"]}]"#, ""),
        of(r#""allow":[]"#, ""),
        of("", ""),
        of(r#""allow":[{"path":"/v1"}]"#, r#","tracing":true"#),
        of(r#""allow":[{"path":"/v1"}]"#, r#","body_timeout":"31s""#),
    ] {
        assert!(matches!(diff(&before, &after).steps(), [Step::Replace(_)]), "{after:?}");
    }
}

#[test]
fn a_bus_lets_those_without_a_role_in_as_nobody() {
    let bus = r#""type":"dbus","socket":"/s","roles":{"admin":{"uid":1}}"#;
    assert_eq!(link_of(bus, "").grant.unwrap().identity(), Identity::NOBODY);
    assert!(link_of(bus, r#","role":"other""#).grant.is_err());
    let named = r#""type":"dbus","socket":"/s","roles":{"any":{"uid":1}}"#;
    assert_eq!(link_of(named, "").grant.unwrap().identity().uid, 1);
}

#[test]
fn the_render_role_never_gets_a_card_node() {
    let refused = Err(Refusal::CardNode(Role::new("render").unwrap()));
    assert_eq!(link_of(r#""type":"drm","socket":"/dev/dri/card0""#, r#","role":"render""#).grant, refused);
    let renamed = r#""type":"drm","socket":"/dev/dri/card0","roles":{"app":{"access":"render"},"render":{"access":"master"}}"#;
    assert!(link_of(renamed, r#","role":"app""#).grant.is_err());
    assert!(link_of(renamed, r#","role":"render""#).grant.is_ok());
}

#[test]
fn the_control_socket_is_the_hosts() {
    let run = |roles: &str, role: &str| {
        let run = format!(
            r#"{{"type":"external","roles":{roles},"services":{{"required":[{{"name":"pv-ctrl","type":"rest"{role}}}]}}}}"#
        );
        only(&graph(&[("web/run.json", &run)])).clone()
    };
    let link = run("[]", "");
    assert_eq!((link.provider.name.as_str(), link.provider.presence), (ContainerName::HOST, Presence::Host));
    assert_eq!((link.key.target.as_str(), link.kind), ("/pantavisor/pv-ctrl", ServiceType::Rest));
    assert_eq!(link.socket.as_str(), "/run/pantavisor/pv/pv-ctrl-links");
    assert!(link.is_to_control());
    assert_eq!(link.limits.max_connections, 16);
    assert_eq!(link.role, Role::any());
    assert!(link.grant.is_ok());
    assert_eq!(run(r#"["mgmt"]"#, "").role.as_str(), MANAGEMENT_ROLE);
    assert!(run(r#"["mgmt"]"#, r#","role":"mgmt""#).grant.is_ok());
    assert!(run("[]", r#","role":"mgmt""#).grant.is_err());
    let revision =
        loaded(&[("web/args.json", r#"{"PV_SERVICES_OPTIONAL":[{"name":"pv-ctrl","provider":"_pv_"}]}"#)]);
    let host = HostServices { pv_ctrl_links: InsidePath::new("/tmp/x/links").unwrap() };
    assert_eq!(only(&resolve_with(&host, &revision, &nowhere)).socket.as_str(), "/tmp/x/links");
}

#[test]
fn optional_services_are_linked_where_they_are_provided() {
    let needs = (
        "web/args.json",
        r#"{"PV_SERVICES_OPTIONAL":[{"name":"a"},{"name":"a","target":"/b","provider":"srv"}]}"#,
    );
    assert!(graph(&[needs]).links.is_empty());
    assert_eq!(
        graph(&[needs, ("srv/services.json", r#"[{"name":"a","type":"unix","socket":"/s"}]"#)]).links.len(),
        2
    );
}

#[test]
fn a_container_may_give_on_what_it_takes() {
    let unix = r#"[{"name":"a","type":"unix","socket":"/s"}]"#;
    let proxy = ("proxy/args.json", r#"{"PV_SERVICES_REQUIRED":[{"name":"a"}]}"#);
    let graph = graph(&[proxy, ("proxy/services.json", unix), ("srv/services.json", unix)]);
    assert_eq!(only(&graph).provider.name.as_str(), "srv");
}

#[test]
fn what_is_wrong_between_containers() {
    let unix = r#"[{"name":"a","type":"unix","socket":"/s"}]"#;
    let at = "web/args.json: PV_SERVICES_REQUIRED[0]";
    assert_eq!(wrong(&[NEEDS_A]), [format!("{at}: nobody provides \"a\"")]);
    assert_eq!(
        wrong(&[
            ("srv/services.json", r#"[{"name":"raw-unix","type":"unix","socket":"/s"}]"#),
            ("web/args.json", r#"{"PV_SERVICES_REQUIRED":[{"name":"raw-unx"}]}"#),
        ]),
        [format!("{at}: nobody provides \"raw-unx\", did you mean \"raw-unix\"?")]
    );
    assert_eq!(
        wrong(&[NEEDS_A, ("one/services.json", unix), ("two/services.json", unix)]),
        [format!("{at}: \"a\" is provided by \"one\" and \"two\": name one as \"provider\"")]
    );
    let by =
        |provider: &str| format!(r#"{{"PV_SERVICES_REQUIRED":[{{"name":"a","provider":"{provider}"}}]}}"#);
    assert_eq!(
        wrong(&[("web/args.json", &by("srw")), ("srv/services.json", unix)]),
        [format!("{at}.provider: there is no container \"srw\", did you mean \"srv\"?")]
    );
    assert_eq!(
        wrong(&[("web/args.json", &by("idle")), ("srv/services.json", unix), ("idle/args.json", "{}")]),
        [format!("{at}: container \"idle\" does not provide \"a\"")]
    );
    let two =
        graph(&[("web/args.json", &by("two")), ("one/services.json", unix), ("two/services.json", unix)]);
    assert_eq!(only(&two).provider.name.as_str(), "two");
    assert_eq!(
        wrong(&[
            ("web/args.json", r#"{"PV_SERVICES_REQUIRED":[{"name":"a","type":"rest"}]}"#),
            ("srv/services.json", unix)
        ]),
        [format!("{at}.type: is rest, but \"a\" is of type unix")]
    );
    assert_eq!(
        wrong(&[NEEDS_A, ("srv/services.json", r#"[{"name":"a","type":"tcp","port":80}]"#)]),
        [format!("{at}: \"a\" is of type tcp, which only ingress can reach")]
    );
}

#[test]
fn targets_that_exclude_each_other() {
    let srv = (
        "srv/services.json",
        r#"[{"name":"a","type":"unix","socket":"/s"},{"name":"b","type":"unix","socket":"/t"},{"name":"gpu","type":"drm","socket":"/dev/dri/card0"}]"#,
    );
    assert_eq!(
        wrong(&[
            srv,
            (
                "web/run.json",
                r#"{"type":"external","services":{"required":[{"name":"a","target":"/run//x"},{"name":"b","target":"/run/./x"},
                    {"name":"gpu"},{"name":"b","target":"/dev/dri/card0"},{"name":"a","target":"/run/x/y/z"},{"name":"a","target":"/run/x.y"}]}}"#
            ),
        ]),
        [
            "web/run.json: services.required[3].target: /dev/dri/card0 is the target of web/run.json: services.required[2] too",
            "web/run.json: services.required[1].target: /run/x is the target of web/run.json: services.required[0] too",
            "web/run.json: services.required[4].target: /run/x/y/z lies below /run/x, the target of web/run.json: services.required[0]",
        ]
    );
}

#[test]
fn owners_of_bus_names_and_doors() {
    let bus = r#"[{"type":"dbus","bus":"system-bus","owns":"org.example.Foo","role":"r"}]"#;
    assert_eq!(
        wrong(&[("one/services.json", bus), ("two/services.json", bus)]),
        ["two/services.json: [0].owns: \"org.example.Foo\" is owned by \"one\" too"]
    );
    let rule = |provider: &str, service: &str| {
        format!(
            r#"{{"ingress":[{{"name":"x","type":"tcp","external":":80","provider":"{provider}","service":"{service}"}}]}}"#
        )
    };
    let srv = (
        "srv/services.json",
        r#"[{"name":"gpu","type":"drm","socket":"/d"},{"name":"web","type":"tcp","port":80}]"#,
    );
    assert!(check(&loaded(&[srv, ("device.json", &rule("srv", "web"))])).is_ok());
    assert_eq!(
        wrong(&[srv, ("device.json", &rule("web", "web"))]),
        ["device.json: ingress[0].provider: there is no container \"web\""]
    );
    assert_eq!(
        wrong(&[srv, ("device.json", &rule("srv", "x"))]),
        ["device.json: ingress[0].service: container \"srv\" does not provide \"x\""]
    );
    assert_eq!(
        wrong(&[srv, ("device.json", &rule("srv", "gpu"))]),
        ["device.json: ingress[0].type: \"gpu\" is of type drm, which it cannot reach"]
    );
}

#[test]
fn a_plan_removes_before_it_replaces_before_it_adds() {
    let link = |service: &str, limit: u32| {
        let mut link = link_of(r#""type":"unix","socket":"/s""#, "");
        link.key.service = ServiceName::new(service).unwrap();
        link.limits.max_connections = limit;
        link
    };
    let graph = |links: &[Link]| Graph {
        revision: Some(format!("{}", links.len())),
        links: links.iter().map(|link| (link.key.clone(), Arc::new(link.clone()))).collect(),
    };
    let old = graph(&[link("gone", 1), link("kept", 1), link("changed", 1)]);
    let new = graph(&[link("kept", 1), link("added", 1), link("changed", 2), link("zz", 1)]);
    let plan = diff(&old, &new);
    assert_eq!(
        plan.steps(),
        [
            Step::Remove(link("gone", 1).key),
            Step::Replace(link("changed", 2).into()),
            Step::Add(link("added", 1).into()),
            Step::Add(link("zz", 1).into())
        ]
    );
    assert_eq!(plan.apply(&old), new);
    assert!(diff(&new, &new).is_empty());
}

/// Graphs with few names, so that two of them share keys.
pub(super) fn any_graph() -> impl Strategy<Value = Graph> {
    prop::collection::vec(any_link(), 0..12).prop_flat_map(|links| {
        let links: std::collections::BTreeMap<_, _> =
            links.into_iter().map(|link: Link| (link.key.clone(), Arc::new(link))).collect();
        (prop::option::of("[0-9a-f]{4}"), Just(links)).prop_map(|(revision, links)| Graph { revision, links })
    })
}

fn any_presence() -> impl Strategy<Value = Presence> {
    prop_oneof![
        Just(Presence::NotRunning),
        (1..5u32, prop::option::of(0..3u64))
            .prop_map(|(pid, start)| Presence::Running(ProcessId { pid, start })),
    ]
}

fn any_link() -> impl Strategy<Value = Link> {
    let key = ("[a-c]", "[s-u]", "/[x-z](/[x-z])?");
    let ends = (any_presence(), prop_oneof![Just(ContainerName::HOST.to_owned()), "[a-c]"], any_presence());
    let kinds = prop::sample::select(&ServiceType::ALL[..]);
    let grant = (prop::option::of("[a-z ]{1,5}"), any::<u32>(), any::<u32>(), any_rules());
    let numbers = (1..9u32, prop::option::of(1..90_000u64), 0..90_000u64);
    (key, ends, kinds, grant, numbers, any::<bool>()).prop_map(
        |(
            (consumer, service, target),
            ends,
            kind,
            (refused, uid, gid, rules),
            (max, idle, connect),
            flag,
        )| {
            let role = Role::new(if flag { "any" } else { "admin" }).unwrap();
            let (at, provider, there) = ends;
            let host = provider == ContainerName::HOST;
            let is_rest = kind == ServiceType::Rest;
            Link {
                key: LinkKey {
                    consumer: name(&consumer),
                    service: ServiceName::new(service).unwrap(),
                    target: InsidePath::new(target).unwrap(),
                },
                kind,
                consumer: at,
                provider: End { name: name(&provider), presence: if host { Presence::Host } else { there } },
                role: role.clone(),
                interface: "i".to_owned(),
                socket: InsidePath::new("/s").unwrap(),
                grant: match refused {
                    Some(reason) => Err(Refusal::Other(reason)),
                    None => {
                        Ok(Grant::new(role, Identity { uid, gid }).with_rest_rules(rules.filter(|_| is_rest)))
                    }
                },
                limits: Limits {
                    max_connections: max,
                    idle_timeout: idle.map(std::time::Duration::from_millis),
                    connect_timeout: std::time::Duration::from_millis(connect),
                },
                unix: UnixOptions {
                    forward: if flag { Forward::Kernel } else { Forward::User },
                    socket_type: if flag { SocketType::Seqpacket } else { SocketType::Stream },
                    lossy_fds: flag,
                },
                rest: if is_rest { any_options(max, connect, flag) } else { RestOptions::default() },
            }
        },
    )
}

fn any_options(number: u32, millis: u64, flag: bool) -> RestOptions {
    let time = |more| std::time::Duration::from_millis(millis + more);
    RestOptions {
        max_requests: number,
        max_header_bytes: 1024 * number,
        max_body_bytes: flag.then_some(millis),
        header_timeout: time(1),
        body_timeout: time(20),
        response_timeout: time(300),
        forwarded: if flag { Forwarded::Keep } else { Forwarded::Drop },
        tracing: if millis.is_multiple_of(2) { Tracing::Make } else { Tracing::Pass },
    }
}

fn any_rules() -> impl Strategy<Value = Option<Arc<[RestRule]>>> {
    let methods = prop::option::of(prop::collection::vec("[A-Z]{1,4}", 1..3));
    let rule = (methods, "/[a-z*? ]{0,6}")
        .prop_filter_map("a rule", |(methods, path)| RestRule::new(methods, &path).ok());
    prop::option::of(prop::collection::vec(rule, 0..3).prop_map(Arc::from))
}

proptest! {
    #[test]
    fn applying_the_difference_gives_the_other_graph(a in any_graph(), b in any_graph()) {
        let plan = diff(&a, &b);
        prop_assert_eq!(&plan, &diff(&a, &b));
        prop_assert_eq!(plan.apply(&a), b.clone());
        prop_assert!(diff(&b, &b).is_empty());
        prop_assert_eq!(plan.is_empty(), a.links == b.links);
    }

    /// Whatever the order in which containers and needs are written, the links are the same.
    #[test]
    fn resolving_is_deterministic(
        needs in prop::collection::btree_set(("[a-e]", "[s-v]", "/[x-z]"), 0..20),
        offers in prop::collection::btree_set(("[a-e]", "[s-v]"), 0..8),
        running in any::<u8>(),
    ) {
        let state = |backwards: bool| {
            let mut files = std::collections::BTreeMap::<String, Vec<String>>::new();
            for (consumer, service, target) in &needs {
                files.entry(format!("{consumer}/args.json")).or_default()
                    .push(format!(r#"{{"name":"{service}","target":"{target}{service}"}}"#));
            }
            for (provider, service) in &offers {
                files.entry(format!("{provider}/services.json")).or_default()
                    .push(format!(r#"{{"name":"{service}","type":"unix","socket":"/{service}"}}"#));
            }
            let text = |(file, mut items): (String, Vec<String>)| {
                if backwards {
                    items.reverse();
                }
                let list = items.join(",");
                let text = if file.ends_with("args.json") {
                    format!(r#"{{"PV_SERVICES_OPTIONAL":[{list}]}}"#)
                } else {
                    format!("[{list}]")
                };
                (file, text.into_bytes())
            };
            files.into_iter().map(text).collect()
        };
        let presence = |container: &ContainerName| {
            let bit = container.as_str().as_bytes()[0] - b'a';
            if running >> bit & 1 == 1 {
                Presence::Running(ProcessId { pid: u32::from(bit) + 1, start: None })
            } else {
                Presence::NotRunning
            }
        };
        let one = crate::manifest::load(&state(false)).unwrap();
        let other = crate::manifest::load(&state(true)).unwrap();
        prop_assert_eq!(resolve(&one, &presence), resolve(&one, &presence));
        prop_assert_eq!(resolve(&one, &presence).links, resolve(&other, &presence).links);
    }
}
