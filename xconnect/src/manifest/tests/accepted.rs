//! Manifests that are accepted, and what they mean.

use std::time::Duration;

use super::{container, files, loaded};
use crate::ids::{InsidePath, Role, ServiceName};
use crate::manifest::*;

const UNIX: &str = r##"{"#spec":"service-manifest-xconnect@1","services":[{"name":"raw-unix","type":"unix","socket":"/run/example/raw.sock"}]}"##;

#[test]
fn pantavisors_example_containers() {
    let revision = loaded(&[
        (
            "dbus-client/args.json",
            r#"{"PV_SERVICES_REQUIRED":[{"name":"system-bus","type":"dbus","role":"root",
            "interface":"org.pantavisor.Example","target":"/run/dbus/system_bus_socket"}]}"#,
        ),
        (
            "drm-master/args.json",
            r#"{"PV_SERVICES_REQUIRED":[{"name":"drm-master","target":"/dev/dri/card0"}],"PV_RESTART_POLICY":"container"}"#,
        ),
        ("unix-server/args.json", r#"{"PV_RESTART_POLICY":"container"}"#),
        ("unix-server/services.json", UNIX),
        ("only-provides/services.json", UNIX),
    ]);
    let client = container(&revision, "dbus-client");
    let [bus] = client.requires() else { panic!("one requirement") };
    assert_eq!(bus.kind(), Some(ServiceType::Dbus));
    assert_eq!(bus.role().map(Role::as_str), Some("root"));
    assert_eq!(bus.interface().map(String::as_str), Some("org.pantavisor.Example"));
    assert_eq!(bus.origin().path(), "PV_SERVICES_REQUIRED[0]");
    assert_eq!(bus.origin().file(), "dbus-client/args.json");
    assert_eq!(
        container(&revision, "unix-server").provides(),
        container(&revision, "only-provides").provides()
    );
}

#[test]
fn both_forms_of_services_json() {
    let list = r#"[{"name":"raw-unix","type":"unix","socket":"/run/example/raw.sock"}]"#;
    let revision = loaded(&[("new/services.json", UNIX), ("old/services.json", list)]);
    assert_eq!(container(&revision, "new").provides(), container(&revision, "old").provides());
    let service = &container(&revision, "new").provides()[0];
    assert_eq!(service.name().as_str(), "raw-unix");
    assert_eq!(service.socket().map(InsidePath::as_str), Some("/run/example/raw.sock"));
    assert_eq!(service.limits(), Limits::default());
    assert_eq!(service.unix(), UnixOptions::default());
    assert!(service.roles().is_none());
}

#[test]
fn options_limits_and_roles_of_a_unix_service() {
    let revision = loaded(&[(
        "s/services.json",
        r#"[{"name":"a","type":"unix","socket":"/a","forward":"kernel","socket_type":"seqpacket",
            "lossy_fds":"accepted","max_connections":7,"idle_timeout":"10min","connect_timeout":1.5,
            "unknown_role":"nobody","roles":{"admin":{"uid":0,"gid":5,"consumers":["web-*"]},"plain":{}}}]"#,
    )]);
    let service = &container(&revision, "s").provides()[0];
    assert_eq!(
        service.unix(),
        UnixOptions { forward: Forward::Kernel, socket_type: SocketType::Seqpacket, lossy_fds: true }
    );
    assert_eq!(
        service.limits(),
        Limits {
            max_connections: 7,
            idle_timeout: Some(Duration::from_secs(600)),
            connect_timeout: Duration::from_millis(1500)
        }
    );
    assert_eq!(service.unknown_role(), UnknownRole::Nobody);
    let admin = service.role(&Role::new("admin").unwrap()).unwrap();
    assert_eq!(admin.identity(), Identity { uid: 0, gid: 5 });
    assert_eq!(admin.consumers().unwrap()[0].to_string(), "web-*");
    let plain = service.role(&Role::new("plain").unwrap()).unwrap();
    assert_eq!(plain.identity(), Identity::NOBODY);
    assert!(plain.consumers().is_none());
}

#[test]
fn options_of_rest_services() {
    let revision = loaded(&[(
        "s/services.json",
        r#"[{"name":"plain","type":"rest","socket":"/a"},
            {"name":"own","type":"rest","socket":"/a","max_requests":7,"max_header_bytes":1024,"max_body_bytes":0,
             "header_timeout":"500ms","body_timeout":2,"response_timeout":"1h","forwarded":"keep","tracing":true,
             "roles":{"none":{"allow":[]},"all":{}}},
            {"name":"other","type":"unix","socket":"/a"}]"#,
    )]);
    let container = container(&revision, "s");
    let service = |name: &str| container.service(&ServiceName::new(name).unwrap()).unwrap();
    let default = RestOptions {
        max_requests: 1024,
        max_header_bytes: 65536,
        max_body_bytes: None,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        response_timeout: Duration::from_secs(60),
        forwarded: Forwarded::Drop,
        tracing: Tracing::Pass,
    };
    assert_eq!((service("plain").rest(), service("other").rest()), (default, default));
    let own = RestOptions {
        max_requests: 7,
        max_header_bytes: 1024,
        max_body_bytes: Some(0),
        header_timeout: Duration::from_millis(500),
        body_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(3600),
        forwarded: Forwarded::Keep,
        tracing: Tracing::Make,
    };
    assert_eq!(service("own").rest(), own);
    let rights = |role: &str| service("own").role(&Role::new(role).unwrap()).unwrap().rights().clone();
    assert_eq!(rights("none"), Rights::Rest([].into()));
    assert_eq!(rights("all"), Rights::All);
}

#[test]
fn policies_of_the_other_types() {
    let revision = loaded(&[(
        "s/services.json",
        r#"[{"name":"rest","type":"rest","socket":"/a","roles":{"r":{"allow":[{"methods":["GET","PUT"],"path":"/v1"},{"path":"/"}]}}},
            {"name":"bus","type":"dbus","socket":"/b","roles":{"operator":{"uid":1001,"gid":1001,
              "names":[{"name":"org.foo.*","policy":"talk"}],
              "rules":[{"effect":"allow","on":"call","name":"org.foo.Bar","interface":"org.foo.I","member":"Get","path":"/org/foo/*"}],
              "fds":{"allow":true,"max_per_message":16}}}},
            {"name":"gpu","type":"drm","socket":"/dev/dri/card0","roles":{"boss":{"access":"master"}}},
            {"name":"wl","type":"wayland","socket":"/w","roles":{"k":{"preset":"kiosk"},"g":{"globals":["wl_seat",{"interface":"xdg_wm_base","version":3}]}}},
            {"name":"web","type":"tcp","port":80},
            {"type":"dbus","bus":"system-bus","owns":"org.example.Foo","role":"foo-service","allow":["operator"]}]"#,
    )]);
    let container = container(&revision, "s");
    let rights = |service: &str, role: &str| {
        let service = container.service(&ServiceName::new(service).unwrap()).unwrap();
        service.role(&Role::new(role).unwrap()).unwrap().rights().clone()
    };
    let Rights::Rest(rules) = rights("rest", "r") else { panic!("rest") };
    assert_eq!(rules[0].methods().map(<[String]>::len), Some(2));
    assert_eq!((rules[1].methods(), rules[1].path()), (None, "/"));
    let Rights::Dbus(policy) = rights("bus", "operator") else { panic!("dbus") };
    assert_eq!(policy.names().unwrap()[0].level(), NameLevel::Talk);
    assert_eq!(policy.rules().unwrap()[0].path().map(String::as_str), Some("/org/foo/*"));
    assert_eq!(policy.fds().max_per_message(), 16);
    assert_eq!(rights("gpu", "boss"), Rights::Drm(DrmAccess::Master));
    assert_eq!(rights("wl", "k"), Rights::WaylandPreset(WaylandPreset::Kiosk));
    let Rights::WaylandGlobals(globals) = rights("wl", "g") else { panic!("globals") };
    assert_eq!(globals[1].version(), Some(3));
    assert_eq!(container.provides()[4].endpoint(), &Endpoint::Port(80));
    assert_eq!(container.bus_names()[0].owns(), "org.example.Foo");
}

#[test]
fn a_root_file_system_with_a_program() {
    let revision = loaded(&[(
        "web/run.json",
        r##"{"#spec":"service-manifest-run@1","name":"web","type":"oci","rootfs":"rootfs","exec":["/bin/web","-v"],
            "env":{"A":"1","B":"x=y"},"cwd":"/srv","user":{"uid":1,"gid":2},"readonly":true,
            "mounts":[{"destination":"/tmp","type":"tmpfs","options":["nosuid"]},
                      {"destination":"/data","source":"data","options":["ro"]},
                      {"destination":"/etc/x","source":"/etc/x"}],
            "user_namespace":{"uid_map":[{"container_id":0,"host_id":100000,"size":65536}]},
            "config":"lxc.conf","root-volume":"root.squashfs","something":["else"]}"##,
    )]);
    let Runtime::Rootfs(rootfs) = container(&revision, "web").runtime() else { panic!("rootfs") };
    assert_eq!(rootfs.rootfs().below("/state/web"), "/state/web/rootfs");
    assert_eq!(rootfs.exec(), ["/bin/web", "-v"]);
    assert_eq!(rootfs.env(), [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
    assert_eq!(rootfs.cwd().map(InsidePath::as_str), Some("/srv"));
    assert_eq!((rootfs.uid(), rootfs.gid(), rootfs.readonly()), (1, 2, true));
    let [tmp, data, etc] = rootfs.mounts() else { panic!("three mounts") };
    assert_eq!(
        (tmp.kind().as_str(), tmp.source_below("/s"), tmp.is_bind()),
        ("tmpfs", "tmpfs".into(), false)
    );
    assert_eq!((data.kind().as_str(), data.source_below("/s").as_str()), ("bind", "/s/data"));
    assert_eq!(etc.source_below("/s"), "/etc/x");
    let namespace = rootfs.user_namespace().unwrap();
    assert_eq!(namespace.uid_map(), namespace.gid_map());
    assert_eq!(namespace.uid_map()[0].host_id(), 100_000);
}

#[test]
fn the_runtime_follows_the_files() {
    let revision = loaded(&[
        ("bundle/run.json", r#"{"type":"oci","bundle":"."}"#),
        ("elsewhere/run.json", r#"{"type":"oci","bundle":"/srv/bundle"}"#),
        ("oci/args.json", "{}"),
        ("oci/config.json", r#"{"ociVersion":"1.0.2","anything":{"goes":1}}"#),
        ("folder/args.json", "{}"),
        ("other/run.json", r#"{"type":"external"}"#),
    ]);
    let bundle = |name: &str| match container(&revision, name).runtime() {
        Runtime::Oci { bundle } => bundle.below("/s/c"),
        other => panic!("{other:?}"),
    };
    assert_eq!(bundle("bundle"), "/s/c");
    assert_eq!(bundle("elsewhere"), "/srv/bundle");
    assert_eq!(bundle("oci"), "/s/c");
    let Runtime::Rootfs(rootfs) = container(&revision, "folder").runtime() else { panic!("rootfs") };
    assert_eq!(
        (rootfs.rootfs().below("/s/c").as_str(), rootfs.exec()),
        ("/s/c/rootfs", &["/init".to_owned()][..])
    );
    assert_eq!(container(&revision, "other").runtime(), &Runtime::External);
}

#[test]
fn containers_of_others_need_no_runtime() {
    let files = files(&[("web/run.json", r#"{"type":"lxc","services":{"required":[{"name":"x"}]}}"#)]);
    assert!(load(&files).is_err());
    let revision = load_external(&files).unwrap();
    let external = container(&revision, "web");
    assert_eq!(external.runtime(), &Runtime::External);
    assert_eq!(external.requires().len(), 1);
    let with = loaded(&[("a/args.json", "{}")]).with(external.clone());
    assert_eq!(with.containers().len(), 2);
}

#[test]
fn settings_come_from_the_group_where_the_container_has_none() {
    let revision = loaded(&[
        (
            "device.json",
            r#"{"groups":[{"name":"base","status_goal":"MOUNTED","restart_policy":"system","timeout":5,
                 "auto_recovery":{"policy":"always","max_retries":3}},{"name":"app"}],"disks":[],"volumes":{}}"#,
        ),
        ("a/args.json", r#"{"PV_GROUP":"base"}"#),
        (
            "b/run.json",
            r#"{"type":"external","group":"base","status_goal":"READY","restart_policy":"container","auto_recovery":{"type":"no"}}"#,
        ),
        ("c/args.json", "{}"),
    ]);
    let a = container(&revision, "a");
    assert_eq!((a.status_goal(), a.restart_policy()), (StatusGoal::Mounted, RestartPolicy::System));
    assert_eq!((a.auto_recovery().policy(), a.auto_recovery().max_retries()), (RecoveryPolicy::Always, 3));
    let b = container(&revision, "b");
    assert_eq!((b.status_goal(), b.restart_policy()), (StatusGoal::Ready, RestartPolicy::Container));
    assert_eq!(b.auto_recovery().policy(), RecoveryPolicy::No);
    let c = container(&revision, "c");
    assert_eq!((c.group().as_str(), c.status_goal()), ("app", StatusGoal::Started));
    assert_eq!(c.auto_recovery(), &AutoRecovery::default());
    assert_eq!(revision.device().group("base").unwrap().timeout(), Duration::from_secs(5));
}

#[test]
fn the_built_in_groups() {
    let device = Device::default();
    let names: Vec<_> = device.groups().iter().map(|group| group.name().as_str()).collect();
    assert_eq!(names, ["data", "root", "platform", "app"]);
    assert_eq!(device.default_group(), "app");
    assert_eq!(device.group("data").unwrap().status_goal(), StatusGoal::Mounted);
}

#[test]
fn recovery_in_both_spellings() {
    let revision = loaded(&[
        (
            "a/run.json",
            r#"{"type":"external","auto_recovery":{"type":"on-failure","maximum_retry_count":5,"retry_delay":1,
                "backoff_factor":2.0,"reset_window":300,"stable_timeout":"30s","backoff_policy":"10min"}}"#,
        ),
        (
            "b/args.json",
            r#"{"PV_AUTO_RECOVERY":{"policy":"unless-stopped","backoff_policy":"never","max_delay":"1h"}}"#,
        ),
    ]);
    let a = container(&revision, "a").auto_recovery();
    assert_eq!((a.policy(), a.max_retries(), a.backoff_factor()), (RecoveryPolicy::OnFailure, 5, 2.0));
    assert_eq!(a.backoff_policy(), BackoffPolicy::After(Duration::from_secs(600)));
    assert_eq!(a.backoff_policy().to_string(), "600s");
    let b = container(&revision, "b").auto_recovery();
    assert_eq!((b.policy(), b.backoff_policy()), (RecoveryPolicy::UnlessStopped, BackoffPolicy::Never));
    assert_eq!(b.max_delay(), Duration::from_secs(3600));
}

#[test]
fn args_fill_what_run_json_lacks() {
    let revision = loaded(&[
        (
            "web/run.json",
            r#"{"type":"external","roles":["mgmt"],
                "services":{"required":[{"name":"a","target":"/a"},{"name":"d"}],"optional":[{"name":"c"}]}}"#,
        ),
        (
            "web/args.json",
            r#"{"PV_SERVICES_REQUIRED":[{"name":"a","target":"/a","role":"admin"},{"name":"b"},
                  {"name":"d","target":"/run/pv/services/d.sock"}],
                "PV_SERVICES_OPTIONAL":[{"name":"a","target":"/second"}],
                "PV_ROLES":["mgmt","nobody"],"PV_RESTART_POLICY":"system","PV_LXC_LOG_LEVEL":"2"}"#,
        ),
    ]);
    let web = container(&revision, "web");
    let needs: Vec<_> = web.requires().iter().map(|r| (r.name().as_str(), r.necessity())).collect();
    use Necessity::{Optional, Required};
    assert_eq!(needs, [("a", Required), ("d", Required), ("c", Optional), ("b", Required), ("a", Optional)]);
    assert_eq!(web.requires()[0].role().map(Role::as_str), Some("admin"));
    assert_eq!(web.roles().len(), 2);
    assert!(web.has_role("mgmt"));
    assert_eq!(web.restart_policy(), RestartPolicy::System);
}

#[test]
fn networks_pools_and_ingress() {
    let revision = loaded(&[
        (
            "device.json",
            r#"{"network":{"pools":{
                  "internal":{"bridge":"br0","subnet":"10.0.3.0/24","gateway":"10.0.3.1","nat":true},
                  "lan":{"type":"macvlan","parent":"eth0","subnet":"192.168.0.0/16","gateway":"192.168.0.1"}}},
                "ingress":[{"name":"api","type":"http","external":"0.0.0.0:80/api","provider":"web","service":"x"},
                           {"name":"rest","type":"http","external":":80","provider":"web","service":"x"},
                           {"name":"ssh","type":"tcp","external":"127.0.0.1:2222","provider":"web","service":"y"}]}"#,
        ),
        (
            "web/args.json",
            r#"{"PV_NETWORK_POOL":"internal","PV_NETWORK_IP":"10.0.3.9","PV_NETWORK_MAC":"02:00:0a:00:03:09","PV_NETWORK_HOSTNAME":"web"}"#,
        ),
        (
            "two/run.json",
            r#"{"type":"external","network":{"interfaces":[{"name":"eth0","pool":"internal","ip":"10.0.3.8"},{"pool":"lan"}]}}"#,
        ),
        ("host/run.json", r#"{"type":"external","network":{"mode":"host"}}"#),
    ]);
    let pool = &revision.device().pools()["internal"];
    assert_eq!((pool.link(), pool.nat()), (&PoolLink::Bridge("br0".into()), true));
    assert_eq!(pool.subnet().broadcast().to_string(), "10.0.3.255");
    let ingress = revision.device().ingress();
    assert_eq!((ingress[0].prefix().as_str(), ingress[0].listen().port()), ("/api", 80));
    assert_eq!(ingress[1].listen().to_string(), "0.0.0.0:80");
    let network = container(&revision, "web").network().unwrap();
    assert_eq!((network.mode(), network.hostname().map(String::as_str)), (NetworkMode::Pool, Some("web")));
    assert_eq!(network.interfaces()[0].mac(), Some([2, 0, 10, 0, 3, 9]));
    assert_eq!(container(&revision, "two").network().unwrap().interfaces().len(), 2);
    assert_eq!(container(&revision, "host").network().unwrap().mode(), NetworkMode::Host);
}

#[test]
fn folders_of_pantavisor_that_are_no_containers() {
    let revision = loaded(&[
        ("bsp/run.json", "not even JSON"),
        ("_sigs/web.json", "no"),
        ("_config/web/etc/x/run.json", "no"),
        (".git/run.json", "no"),
        ("web/rootfs/services.json", "no"),
        ("README.md", "no"),
    ]);
    assert!(revision.containers().is_empty());
}

#[test]
fn the_id_is_that_of_the_meaning() {
    let id = |text: &str| loaded(&[("a/args.json", text)]).id().clone();
    let one = id(r#"{"PV_GROUP":"app","x":[1,{"b":2,"a":"é\u0041"}]}"#);
    assert_eq!(one, id("{ \"x\" : [1, {\"a\":\"éA\", \"b\":2}],\n \"PV_GROUP\":\"app\"}"));
    assert_ne!(one, id(r#"{"PV_GROUP":"app","x":[1,{"b":2,"a":"éB"}]}"#));
    assert_ne!(id("{}"), loaded(&[("b/args.json", "{}")]).id().clone());
    // SHA-256 of the two bytes {}.
    let nothing = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(loaded(&[]).id(), nothing);
}
