//! The words of every refusal, and that all of them come at once.

use super::refused;

/// One file, one error.
#[track_caller]
fn says(file: &str, text: &str, error: &str) {
    assert_eq!(refused(&[(file, text)]), [format!("{file}: {error}")], "of {text}");
}

#[track_caller]
fn service(fields: &str, error: &str) {
    says("s/services.json", &format!(r#"[{{"name":"a",{fields}}}]"#), error);
}

#[track_caller]
fn run(fields: &str, error: &str) {
    says("web/run.json", &format!(r#"{{"type":"external",{fields}}}"#), error);
}

#[track_caller]
fn oci(fields: &str, error: &str) {
    says("web/run.json", &format!(r#"{{"type":"oci",{fields}}}"#), error);
}

#[track_caller]
fn args(text: &str, error: &str) {
    says("web/args.json", text, error);
}

#[track_caller]
fn device(text: &str, error: &str) {
    says("device.json", text, error);
}

#[test]
fn every_error_of_every_file_comes_at_once() {
    let errors = refused(&[
        ("device.json", r#"{"groups":[{"name":"app","timeout":"soon"}],"grups":1}"#),
        (
            "a/services.json",
            r#"{"services":[{"name":"x y","type":"unix","socket":"run/x","sokcet":1},7,{"name":"b","type":"unix"}],"#,
        ),
        (
            "b/services.json",
            r#"{"services":[{"name":"x y","type":"unix","socket":"run/x","sokcet":1},7,{"name":"b","type":"unix"}]}"#,
        ),
        (
            "web/run.json",
            r#"{"type":5,"roles":[1,"ok",""],"services":{"required":[{"name":"n"},{},{"name":"n","target":"run/x"}]},"group":"ap"}"#,
        ),
    ]);
    assert_eq!(
        errors,
        [
            "a/services.json: not valid JSON: EOF while parsing a value at line 1 column 100",
            "b/services.json: services[0].name: must not contain ' ': letters, digits and . _ - + @ : are allowed",
            "b/services.json: services[0].sokcet: unknown key, did you mean \"socket\"?",
            "b/services.json: services[0].socket: must be absolute",
            "b/services.json: services[1]: must be an object, not a number",
            "b/services.json: services[2].socket: is missing",
            "device.json: grups: unknown key, did you mean \"groups\"?",
            "device.json: groups[0].timeout: must be a number of seconds or a duration like \"30s\", at most a year, not \"soon\"",
            "web/run.json: type: must be a string, not a number",
            "web/run.json: roles[0]: must be a string, not a number",
            "web/run.json: roles[2]: must not be empty",
            "web/run.json: services.required[1].name: is missing",
            "web/run.json: services.required[2].target: must be absolute",
            "web/run.json: group: there is no group \"ap\", did you mean \"app\"?",
        ]
    );
}

#[test]
fn services() {
    says("s/services.json", "7", "must be an object with \"services\", or a list of services");
    says("s/services.json", "{}", "services: is missing");
    says("s/services.json", r#"{"services":{}}"#, "services: must be a list, not an object");
    says(
        "s/services.json",
        r##"{"#spec":"x@2","services":[]}"##,
        "#spec: must be \"service-manifest-xconnect@1\", not \"x@2\"",
    );
    service(
        r#""type":"unx","socket":"/a""#,
        "[0].type: must be \"unix\" or \"rest\" or \"dbus\" or \"drm\" or \"wayland\" or \"tcp\" or \"http\", not \"unx\"",
    );
    service(r#""type":"unix","socket":"/a/../b""#, "[0].socket: must not contain \"..\"");
    service(r#""type":"unix","socket":"/a\u0000b""#, "[0].socket: must not contain a NUL byte");
    service(r#""type":"drm","socket":"/proc/x""#, "[0].socket: must not lie in /proc");
    service(r#""type":"wayland","socket":"/a","forward":"user""#, "[0].forward: unknown key");
    service(
        r#""type":"unix","socket":"/a","forward":"fast""#,
        "[0].forward: must be \"user\" or \"kernel\" or \"auto\", not \"fast\"",
    );
    service(
        r#""type":"unix","socket":"/a","socket_type":"dgram""#,
        "[0].socket_type: must be \"stream\" or \"seqpacket\", not \"dgram\"",
    );
    service(
        r#""type":"unix","socket":"/a","lossy_fds":true"#,
        "[0].lossy_fds: must be a string, not a boolean",
    );
    service(
        r#""type":"unix","socket":"/a","unknown_role":"root""#,
        "[0].unknown_role: must be \"deny\" or \"nobody\", not \"root\"",
    );
    service(
        r#""type":"unix","socket":"/a","max_connections":0"#,
        "[0].max_connections: must be a whole number from 1 to 1000000, not 0",
    );
    service(
        r#""type":"unix","socket":"/a","max_connections":1e3"#,
        "[0].max_connections: must be a whole number from 1 to 1000000, not 1000.0",
    );
    service(
        r#""type":"unix","socket":"/a","idle_timeout":-1"#,
        "[0].idle_timeout: must be a number of seconds or a duration like \"30s\", at most a year, not -1",
    );
    service(
        r#""type":"unix","socket":"/a","connect_timeout":"99999999999999999999h""#,
        "[0].connect_timeout: must be a number of seconds or a duration like \"30s\", at most a year, not \"99999999999999999999h\"",
    );
    service(r#""type":"tcp""#, "[0].port: is missing");
    service(r#""type":"tcp","port":65536"#, "[0].port: must be a whole number from 1 to 65535, not 65536");
    service(r#""type":"http","port":80,"socket":"/a""#, "[0].port: a service has either a port or a socket");
    service(r#""type":"unix","socket":"/a","roles":[]"#, "[0].roles: must be an object, not a list");
    says(
        "s/services.json",
        r#"[{"name":"pv-ctrl","type":"rest","socket":"/a"}]"#,
        "[0].name: \"pv-ctrl\" is the host's own service",
    );
    says(
        "s/services.json",
        r#"[{"name":"a","type":"rest","socket":"/a"},{"name":"a","type":"unix","socket":"/b"}]"#,
        "[1]: service \"a\" is there twice",
    );
    says(
        "s/services.json",
        r#"[{"type":"dbus","bus":"system-bus","owns":"foo","role":"r"}]"#,
        "[0].owns: must be a bus name, like \"org.example.Foo\"",
    );
}

#[test]
fn options_of_rest_services() {
    let rest = |option: &str, error: &str| {
        service(&format!(r#""type":"rest","socket":"/a",{option}"#), &format!("[0].{error}"));
    };
    for kind in ["unix", "dbus", "drm", "wayland"] {
        for option in [
            "max_requests",
            "max_header_bytes",
            "max_body_bytes",
            "header_timeout",
            "body_timeout",
            "response_timeout",
            "forwarded",
            "tracing",
        ] {
            let near =
                if kind == "unix" && option == "forwarded" { ", did you mean \"forward\"?" } else { "" };
            service(
                &format!(r#""type":"{kind}","socket":"/a","{option}":1"#),
                &format!("[0].{option}: unknown key{near}"),
            );
        }
    }
    rest(r#""max_request":1"#, "max_request: unknown key, did you mean \"max_requests\"?");
    rest(r#""forward":"keep""#, "forward: unknown key, did you mean \"forwarded\"?");
    rest(r#""max_requests":0"#, "max_requests: must be a whole number from 1 to 1000000, not 0");
    rest(
        r#""max_header_bytes":1023"#,
        "max_header_bytes: must be a whole number from 1024 to 1048576, not 1023",
    );
    rest(
        r#""max_header_bytes":1048577"#,
        "max_header_bytes: must be a whole number from 1024 to 1048576, not 1048577",
    );
    rest(
        r#""max_body_bytes":-1"#,
        "max_body_bytes: must be a whole number from 0 to 9223372036854775807, not -1",
    );
    rest(r#""max_body_bytes":null"#, "max_body_bytes: must be a number, not null");
    rest(r#""header_timeout":0"#, "header_timeout: must be longer than 0");
    rest(
        r#""response_timeout":"soon""#,
        "response_timeout: must be a number of seconds or a duration like \"30s\", at most a year, not \"soon\"",
    );
    rest(r#""forwarded":"pass""#, "forwarded: must be \"drop\" or \"keep\", not \"pass\"");
    rest(r#""tracing":"yes""#, "tracing: must be true or false, not a string");
}

#[track_caller]
fn role(kind: &str, policy: &str, error: &str) {
    let text = format!(r#""type":"{kind}","socket":"/a","roles":{{"r":{{{policy}}}}}"#);
    service(&text, &format!("[0].roles.r.{error}"));
}

#[test]
fn policies() {
    role("unix", r#""uid":4294967295"#, "uid: must be a whole number from 0 to 4294967294, not 4294967295");
    role("unix", r#""uid":-1"#, "uid: must be a whole number from 0 to 4294967294, not -1");
    role("unix", r#""allow":[]"#, "allow: unknown key");
    role("unix", r#""consumer":[]"#, "consumer: unknown key, did you mean \"consumers\"?");
    role("unix", r#""consumers":"web""#, "consumers: must be a list, not a string");
    role(
        "unix",
        r#""consumers":["a/*"]"#,
        "consumers[0]: must not contain '/': letters, digits and . _ - + @ : are allowed (or * or ?)",
    );
    for (path, error) in [
        ("v1", "must start with / (or be * or **)"),
        ("/a/../b", "must not contain \".\" or \"..\""),
        ("/a/./b", "must not contain \".\" or \"..\""),
        ("/a/..;x", "must not contain \".\" or \"..\""),
        ("//a", "must not contain //"),
        ("/a//", "must not contain //"),
        ("/a?b=c", "must not have a query: requests are judged by their path alone"),
        ("/a***", "must not contain ***"),
        ("/a#b", "must be a plain path, without #, \\ and control characters"),
        ("/a%20b", "must be written without percent-encoding: requests are decoded before they are compared"),
    ] {
        role("rest", &format!(r#""allow":[{{"path":"{path}"}}]"#), &format!("allow[0].path: {error}"));
    }
    let long = format!(r#""allow":[{{"path":"/{}"}}]"#, "x".repeat(256));
    role("rest", &long, "allow[0].path: must not be longer than 256 bytes");
    let many = format!(r#""allow":[{}]"#, vec![r#"{"path":"/"}"#; 129].join(","));
    role("rest", &many, "allow: must not have more than 128 rules (has 129)");
    role(
        "rest",
        r#""allow":[{"path":"/","method":[]}]"#,
        "allow[0].method: unknown key, did you mean \"methods\"?",
    );
    role(
        "rest",
        r#""allow":[{"path":"/","methods":[]}]"#,
        "allow[0].methods: must not be empty: without it, every method is meant",
    );
    role(
        "rest",
        r#""allow":[{"path":"/","methods":["get"]}]"#,
        "allow[0].methods[0]: must be a method in capitals, like \"GET\"",
    );
    role(
        "dbus",
        r#""names":[{"name":"org","policy":"talk"}]"#,
        "names[0].name: must be a bus name, \"org.example.*\" or \"*\"",
    );
    role(
        "dbus",
        r#""names":[{"name":"org.x","policy":"use"}]"#,
        "names[0].policy: must be \"see\" or \"talk\" or \"own\", not \"use\"",
    );
    role(
        "dbus",
        r#""rules":[{"effect":"allow","on":"call","path":"x"}]"#,
        "rules[0].path: must be an object path, \"/org/example/*\" or \"*\"",
    );
    role(
        "dbus",
        r#""rules":[{"effect":"allow","on":"call","interface":"x"}]"#,
        "rules[0].interface: must be an interface, like \"org.example.Foo\", or \"*\"",
    );
    role(
        "dbus",
        r#""rules":[{"effect":"allow","on":"call","member":"a-b"}]"#,
        "rules[0].member: must be the name of a member, or \"*\"",
    );
    role("dbus", r#""rules":[{"on":"call"}]"#, "rules[0].effect: is missing");
    role(
        "dbus",
        r#""fds":{"max_per_message":254}"#,
        "fds.max_per_message: must be a whole number from 0 to 253, not 254",
    );
    role("drm", r#""access":"card""#, "access: must be \"master\" or \"render\", not \"card\"");
    role(
        "wayland",
        r#""preset":"app","globals":[]"#,
        "preset: a role has either a preset or a list of globals",
    );
    role(
        "wayland",
        r#""globals":["wl seat"]"#,
        "globals[0]: must be the name of an interface, like \"wl_seat\"",
    );
    role(
        "wayland",
        r#""globals":[1]"#,
        "globals[0]: must be the name of an interface, or an object with \"interface\" and \"version\"",
    );
    service(
        r#""type":"unix","socket":"/a","roles":{"a b":{}}"#,
        "[0].roles[\"a b\"]: role name must not contain ' ': letters, digits and . _ - + @ : are allowed",
    );
}

#[test]
fn run_json() {
    says("web/run.json", "[]", "must be an object, not a list");
    says("web/run.json", "{}", "type: is missing");
    says(
        "web/run.json",
        r#"{"type":"lxc"}"#,
        "type: type \"lxc\" is not supported: there is no LXC runtime; use \"oci\"",
    );
    says("web/run.json", r#"{"type":"vm"}"#, "type: must be \"oci\" or \"external\", not \"vm\"");
    run(r#""name":"wbe""#, "name: must be the name of its folder, \"web\"");
    run(r##""#spec":"x""##, "#spec: must be \"service-manifest-run@1\", not \"x\"");
    run(r#""status_goal":"UP""#, "status_goal: must be \"MOUNTED\" or \"STARTED\" or \"READY\", not \"UP\"");
    run(
        r#""restart_policy":"always""#,
        "restart_policy: must be \"system\" or \"container\", not \"always\"",
    );
    run(r#""services":[]"#, "services: must be an object, not a list");
    run(r#""services":{"required":{}}"#, "services.required: must be a list, not an object");
    run(
        r#""services":{"optional":[{"name":"x","target":"/sys/x"}]}"#,
        "services.optional[0].target: must not lie in /sys",
    );
    run(
        r#""services":{"optional":[{"name":"x","type":"pipe"}]}"#,
        "services.optional[0].type: must be \"unix\" or \"rest\" or \"dbus\" or \"drm\" or \"wayland\" or \"tcp\" or \"http\", not \"pipe\"",
    );
    run(r#""group":"nowhere""#, "group: there is no group \"nowhere\"");
    run(r#""group":"plattform""#, "group: there is no group \"plattform\", did you mean \"platform\"?");
    run(r#""network":{"mode":"pool"}"#, "network: mode \"pool\" needs a pool");
    run(r#""network":{"mode":"host","pool":"x"}"#, "network: only mode \"pool\" can have pools");
    run(r#""network":{"pool":"x","ip":"10.0.0"}"#, "network.ip: must be an IPv4 address, like \"10.0.3.2\"");
    run(
        r#""network":{"pool":"x","mac":"01:00:00:00:00:00"}"#,
        "network.mac: must be a unicast MAC address, like \"02:00:0a:00:03:02\"",
    );
    run(
        r#""network":{"hostname":"-x"}"#,
        "network.hostname: must be a host name of at most 64 letters, digits, - and .",
    );
    run(
        r#""auto_recovery":{"policy":"always","type":"no"}"#,
        "auto_recovery.type: must not differ from \"policy\"",
    );
    run(
        r#""auto_recovery":{"backoff_factor":0.5}"#,
        "auto_recovery.backoff_factor: must be a number from 1 to 1000, not 0.5",
    );
    run(
        r#""auto_recovery":{"backoff_policy":"later"}"#,
        "auto_recovery.backoff_policy: must be \"reboot\", \"never\" or a duration like \"10min\", not \"later\"",
    );
    let long = "x".repeat(255);
    run(
        &format!(r#""services":{{"required":[{{"name":"{long}"}}]}}"#),
        "services.required[0].name: is too long to make a file name of it: name a target",
    );
}

#[test]
fn runtimes() {
    oci(r#""name":"web""#, "type \"oci\" needs \"bundle\", or \"rootfs\" and \"exec\"");
    oci(r#""bundle":"../x""#, "bundle: must not contain \"..\"");
    oci(r#""bundle":"""#, "bundle: must not be empty");
    oci(
        r#""bundle":".","exec":["/x"]"#,
        "exec: has no meaning beside \"bundle\": the bundle's config.json decides",
    );
    oci(r#""rootfs":"r""#, "exec: is missing");
    oci(r#""rootfs":"r","exec":[]"#, "exec: must name a program");
    oci(r#""rootfs":"r","exec":"/bin/sh""#, "exec: must be a list, not a string");
    oci(r#""rootfs":"r","exec":["/x"],"env":["A"]"#, "env[0]: must be NAME=VALUE");
    oci(
        r#""rootfs":"r","exec":["/x"],"env":{"A=":"x"}"#,
        "env[\"A=\"]: the name of a variable must not be empty, nor contain = or NUL",
    );
    oci(r#""rootfs":"r","exec":["/x"],"env":["A=1","A=2"]"#, "env[1]: variable \"A\" is there twice");
    oci(
        r#""rootfs":"r","exec":["/x"],"env":3"#,
        "env: must be an object of names and values, or a list of NAME=VALUE",
    );
    oci(r#""rootfs":"r","exec":["/x"],"cwd":"tmp""#, "cwd: must be absolute");
    oci(r#""rootfs":"r","exec":["/x"],"mounts":[{"destination":"/x"}]"#, "mounts[0].source: is missing");
    oci(
        r#""rootfs":"r","exec":["/x"],"mounts":[{"destination":"x","source":"/y"}]"#,
        "mounts[0].destination: must be absolute",
    );
    oci(
        r#""rootfs":"r","exec":["/x"],"mounts":[{"destination":"/x","source":"../y"}]"#,
        "mounts[0].source: must not contain \"..\"",
    );
    oci(
        r#""rootfs":"r","exec":["/x"],"user":{"uid":-1}"#,
        "user.uid: must be a whole number from 0 to 4294967294, not -1",
    );
    let map =
        |ranges: &str| format!(r#""rootfs":"r","exec":["/x"],"user_namespace":{{"uid_map":[{ranges}]}}"#);
    let at = "user_namespace.uid_map";
    oci(&map(""), &format!("{at}: must map id 0: the container's root owns what the mesh puts there"));
    oci(
        &map(r#"{"container_id":0,"host_id":1,"size":0}"#),
        &format!("{at}[0].size: must be a whole number from 1 to 4294967295, not 0"),
    );
    oci(
        &map(r#"{"container_id":0,"host_id":100,"size":10},{"container_id":20,"host_id":105,"size":1}"#),
        &format!("{at}: must not have ranges that overlap"),
    );
    oci(r#""rootfs":"r","exec":["/x"],"user_namespace":{}"#, "user_namespace.uid_map: is missing");
    let errors = refused(&[(
        "web/run.json",
        &format!(r#"{{"type":"oci",{}}}"#, map(r#"{"containerID":0,"hostID":4294967294,"size":2}"#)),
    )]);
    assert_eq!(errors[0], format!("web/run.json: {at}[0]: must not go beyond id 4294967294"));
}

#[test]
fn args_json() {
    args(
        r#"{"PV_SERVICE_REQUIRED":[]}"#,
        "PV_SERVICE_REQUIRED: unknown key, did you mean \"PV_SERVICES_REQUIRED\"?",
    );
    args(r#"{"PV_ROLE":[]}"#, "PV_ROLE: unknown key, did you mean \"PV_ROLES\"?");
    args(r#"{"PV_NETWORK_IP":"10.0.0.2"}"#, "PV_NETWORK_IP: needs PV_NETWORK_POOL");
    args(r#"{"PV_SERVICES_REQUIRED":{}}"#, "PV_SERVICES_REQUIRED: must be a list, not an object");
    args(
        r#"{"PV_SERVICES_OPTIONAL":[{"name":"x","target":"x"}]}"#,
        "PV_SERVICES_OPTIONAL[0].target: must be absolute",
    );
    args(r#"{"PV_GROUP":"nowhere"}"#, "PV_GROUP: there is no group \"nowhere\"");
    args(r#"{"PV_AUTO_RECOVERY":"always"}"#, "PV_AUTO_RECOVERY: must be an object, not a string");
}

#[test]
fn contradictions_of_args_and_run() {
    let errors = refused(&[
        (
            "web/run.json",
            r#"{"type":"external","group":"app","restart_policy":"system","services":{"required":[{"name":"a","role":"x"}],"optional":[{"name":"b"}]}}"#,
        ),
        (
            "web/args.json",
            r#"{"PV_GROUP":"root","PV_RESTART_POLICY":"container","PV_SERVICES_REQUIRED":[{"name":"a","role":"y"},{"name":"b"}]}"#,
        ),
    ]);
    assert_eq!(
        errors,
        [
            "web/args.json: PV_GROUP: must not differ from run.json's group",
            "web/args.json: PV_RESTART_POLICY: must not differ from run.json's restart_policy",
            "web/args.json: PV_SERVICES_REQUIRED[0]: must not differ from run.json's services.required[0] in its role",
            "web/args.json: PV_SERVICES_REQUIRED[1]: must not differ from run.json's services.optional[0] in its necessity",
        ]
    );
}

#[test]
fn device_json() {
    device("[]", "must be an object, not a list");
    device(r#"{"group":[]}"#, "group: unknown key, did you mean \"groups\"?");
    device(r#"{"groups":[]}"#, "groups: must have at least one group");
    device(r#"{"groups":[{"name":"a"},{"name":"a"}]}"#, "groups[1]: group \"a\" is there twice");
    device(r#"{"groups":[{"name":"a","goal":"READY"}]}"#, "groups[0].goal: unknown key");
    device(
        r#"{"groups":[{"name":"a","auto_recovery":{"polcy":"no"}}]}"#,
        "groups[0].auto_recovery.polcy: unknown key, did you mean \"policy\"?",
    );
    let pool = |fields: &str, error: &str| {
        device(
            &format!(r#"{{"network":{{"pools":{{"p":{{{fields}}}}}}}}}"#),
            &format!("network.pools.p.{error}"),
        );
    };
    pool(r#""subnet":"10.0.0.0/24","gateway":"10.0.0.1""#, "bridge: is missing");
    pool(r#""type":"macvlan","subnet":"10.0.0.0/24","gateway":"10.0.0.1""#, "parent: is missing");
    pool(r#""bridge":"br0","gateway":"10.0.0.1""#, "subnet: is missing");
    pool(
        r#""bridge":"br0","subnet":"10.0.0.0/24","gateway":"10.0.1.1""#,
        "gateway: must be an address inside 10.0.0.0/24",
    );
    pool(
        r#""bridge":"br0","subnet":"10.0.0.0/24","gateway":"10.0.0.255""#,
        "gateway: must be an address inside 10.0.0.0/24",
    );
    pool(
        r#""bridge":"br0","subnet":"10.0.0.1/24","gateway":"10.0.0.1""#,
        "subnet: must not have bits below its prefix (the network is 10.0.0.0/24)",
    );
    pool(
        r#""bridge":"br0","subnet":"10.0.0.0/31","gateway":"10.0.0.1""#,
        "subnet: must have a prefix from 1 to 30",
    );
    pool(
        r#""bridge":"br/0","subnet":"10.0.0.0/24","gateway":"10.0.0.1""#,
        "bridge: must be the name of an interface, at most 15 bytes",
    );
    let rule = |name: &str, kind: &str, external: &str| {
        format!(r#"{{"name":"{name}","type":"{kind}","external":"{external}","provider":"p","service":"s"}}"#)
    };
    let rules = |rules: &[String], error: &str| {
        device(&format!(r#"{{"ingress":[{}]}}"#, rules.join(",")), error);
    };
    rules(&[rule("a", "tcp", "80")], "ingress[0].external: must be IP:PORT, or IP:PORT/prefix for http");
    rules(
        &[rule("a", "tcp", "0.0.0.0:0")],
        "ingress[0].external: must be IP:PORT, or IP:PORT/prefix for http",
    );
    rules(
        &[rule("a", "tcp", "0.0.0.0:80/x")],
        "ingress[0].external: must not have a path: the rule's type is tcp",
    );
    rules(
        &[rule("a", "tcp", ":80"), rule("b", "http", "127.0.0.1:80/x")],
        "ingress[1]: rule \"b\" wants the same place as rule \"a\"",
    );
    rules(
        &[rule("a", "http", ":80/x"), rule("b", "http", ":80/x")],
        "ingress[1]: rule \"b\" wants the same place as rule \"a\"",
    );
    rules(&[rule("a", "http", ":80/x"), rule("a", "http", ":81/x")], "ingress[1]: rule \"a\" is there twice");
}

#[test]
fn names_of_containers() {
    assert_eq!(
        refused(&[("a b/run.json", "{}"), ("_pv_/args.json", "{}"), ("EXTERNAL/args.json", "{}")]),
        [
            "EXTERNAL: the container's name must not be \"EXTERNAL\", which stands for the host",
            "_pv_: the container's name must not be \"_pv_\", which stands for the host",
            "a b: the container's name must not contain ' ': letters, digits and . _ - + @ : are allowed",
        ]
    );
}
