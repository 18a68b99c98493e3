use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::server::{Server, run, spawn};

const LINK: &str = r#"{"type":"unix","name":"raw","consumer":"client","consumer_pid":12,"provider":"server","provider_pid":34,"role":"any","interface":"unix","target":"/t","socket":"/s","theirs":{"b":1,"a":2}}"#;

#[test]
fn json_goes_through_untouched_when_piped() {
    let body = r#"[ {"name" : "web","status":"STARTED","new_field":[1,{"z":0,"a":1.50}]} ]"#;
    let server = Server::control(move |request| {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/containers"));
        request.json(200, body);
    });
    for command in [&["ls"][..], &["list"], &["containers", "ls"], &["-o", "json", "containers", "list"]] {
        let ran = server.pvcontrol(command);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, &*format!("{body}\n"), ""));
    }
}

#[test]
fn tables_of_containers_groups_and_daemons() {
    let server = Server::control(|request| {
        match request.target.as_str() {
        "/containers" => request.json(200, r#"[{"name":"web","group":"app","status":"STARTED","status_goal":"STARTED","restart_policy":"container","pid":77,"uptime_secs":3723,"roles":["mgmt","x"],"user_stopped":"false","auto_recovery":{"policy":"always","max_retries":5,"current_retries":1},"provides":[{"name":"api","type":"rest"}]},{"name":"old","status":"STOPPED","pid":-1,"user_stopped":"true"},7]"#),
        "/groups" => request.json(200, r#"[{"name":"app","status":"READY","status_goal":"STARTED"}]"#),
        "/daemons" => request.json(200, r#"[{"name":"pv-xconnect","pid":161,"respawn":true},{"name":"x","pid":-1,"respawn":false}]"#),
        _ => request.json(200, r#"{"a.b":1,"c":"d"}"#),
    }
    });
    let table = |command: &[&str]| server.pvcontrol(&[&["-o", "table"], command].concat()).out;
    assert_eq!(
        table(&["ls"]),
        "NAME  GROUP  STATUS             GOAL     PID  UPTIME  POLICY     RETRIES  ROLES\n\
         web   app    STARTED            STARTED   77   1h02m  container      1/5  mgmt,x\n\
         old   -      STOPPED (by user)  -          -       -  -                -  -\n\
         -     -      -                  -          -       -  -                -  -\n"
    );
    assert!(server.pvcontrol(&["ls", "-o", "wide"]).out.contains("rest:api"));
    assert_eq!(
        table(&["groups", "ls"]),
        "NAME  STATUS  GOAL     POLICY  RECOVERY\napp   READY   STARTED  -       -\n"
    );
    assert_eq!(
        table(&["daemons", "ls"]),
        "NAME         STATUS   PID  RESPAWN\npv-xconnect  running  161  true\nx            stopped    -  false\n"
    );
    assert_eq!(table(&["config", "ls"]), "KEY  VALUE  SET BY\na.b  1      -\nc    d      -\n");
}

#[test]
fn exit_codes_and_bodies_of_errors() {
    let server = Server::control(|request| {
        let (status, text) = match request.target.as_str() {
            "/containers/gone" => (404, r#"{"Error":"Container not found"}"#),
            "/steps/locals/x" => (422, r#"{"Error":"State verification has failed"}"#),
            "/user-meta/full" => (507, r#"{"Error":"Not enough disk space available"}"#),
            "/objects/abc" => (422, r#"{"Error":"Object has bad checksum"}"#),
            "/containers/bad" => (422, r#"{"Error":"run.json: name: missing"}"#),
            "/groups" => (200, "no json"),
            _ => (500, ""),
        };
        if request.method == "PUT" {
            request.body();
        }
        request.json(status, text);
    });
    let state = server.path("state.json");
    fs::write(&state, "{}").unwrap();
    let state = state.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 10] = [
        (&["containers", "stop", "gone"], 255, "{\"Error\":\"Container not found\"}\n"),
        (&["steps", "put", state, "locals/x"], 70, "{\"Error\":\"State verification has failed\"}\n"),
        (&["usrmeta", "save", "full", "v"], 48, "{\"Error\":\"Not enough disk space available\"}\n"),
        (&["objects", "put", state, "abc"], 60, "{\"Error\":\"Object has bad checksum\"}\n"),
        (&["containers", "register", "bad", "--pid", "5"], 70, "{\"Error\":\"run.json: name: missing\"}\n"),
        (&["buildinfo"], 255, "the API answered with status 500 and no text\n"),
        (
            &["-o", "table", "groups", "ls"],
            1,
            "pvcontrol: GET /groups: the answer is not what was asked for: expected ident at line 1 column 2\n",
        ),
        (&["-o", "dot", "groups", "ls"], 2, "pvcontrol: -o dot is for graph only\n"),
        (&["graph", "watch", "--interval", "0"], 2, ""),
        (&["fly"], 2, ""),
    ];
    for (command, code, err) in cases {
        let ran = server.pvcontrol(command);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{command:?} {ran:?}");
        assert!(if err.is_empty() { !ran.err.is_empty() } else { ran.err == err }, "{command:?} {ran:?}");
    }
}

#[test]
fn without_a_server_the_error_says_what_was_tried() {
    let server = Server::new();
    let ran = server.pvcontrol(&["ls"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("pv-ctrl (not there)") && ran.err.contains("is pv-appengine running?"),
        "{ran:?}"
    );
}

#[test]
fn the_run_directory_alone_is_asked() {
    let server = Server::control(|request| request.json(200, "[]"));
    let ask = |dir: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvcontrol"));
        command.arg("ls").env("XCONNECT_RUN_DIR", dir).output().unwrap()
    };
    assert_eq!(ask(server.dir()).stdout, b"[]\n");
    let other = tempfile::tempdir().unwrap();
    let output = ask(other.path());
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(other.path().to_str().unwrap()) && !err.contains("/run/pantavisor"), "{err}");
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let server = Server::control(|request| {
        request.json(200, &format!("[{}{LINK}]", format!("{LINK},\n").repeat(20_000)));
    });
    for command in [&["graph", "ls"][..], &["-o", "table", "--socket", "", "graph", "ls"]] {
        let command: Vec<&str> =
            command.iter().copied().filter(|word| !matches!(*word, "--socket" | "")).collect();
        let mut child = spawn(&mut server.pvcontrol_command(&command));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""), "{command:?}");
    }
}

#[test]
fn graph_beside_a_pantavisor_is_merged() {
    let server = Server::control(|request| request.json(200, &format!("[{LINK}]")));
    let table = |server: &Server| server.pvcontrol(&["-o", "table", "graph", "ls"]);
    let alone = table(&server);
    assert_eq!(alone.code, 0);
    assert!(alone.out.contains("no status of the links: is pv-xconnect running? tried"), "{alone:?}");
    server.listen("pv-xconnect", |request| {
        assert_eq!(request.target, "/links");
        request.json(200, r#"[{"name":"raw","consumer":"client","target":"/t","status":"waiting","reason":"provider is not running"}]"#);
    });
    let merged = table(&server);
    assert_eq!(
        merged.out,
        "TYPE  SERVICE  CONSUMER  → PROVIDER  ROLE  STATUS   PATH  CONNS  BYTES  RATE  KERNEL\n\
         unix  raw      client    → server    any   waiting  -         -      -     -       -\n\
         raw of client (from server): waiting: provider is not running\n"
    );
    let json = server.pvcontrol(&["graph", "ls"]).out;
    let whole = format!(
        "[{},\"status\":\"waiting\",\"reason\":\"provider is not running\"}}]\n",
        LINK.strip_suffix('}').unwrap()
    );
    assert_eq!(json, whole);
    let dot = server.pvcontrol(&["graph", "dot"]).out;
    assert!(
        dot.contains(r#""client" -> "server" [label="unix raw\nrole any\nwaiting", color=orange"#),
        "{dot}"
    );
    assert_eq!(dot, server.pvcontrol(&["-o", "dot", "graph", "ls"]).out);
}

#[test]
fn rates_come_from_two_looks() {
    let looks = AtomicUsize::new(0);
    let server = Server::control(move |request| {
        let moved = looks.fetch_add(1, Ordering::Relaxed) * 50_000_000;
        let counters = format!(r#"{{"connections":{{"open":1}},"bytes":{{"to_provider":{moved}}}}}"#);
        request.json(200, &format!(r#"[{{"name":"raw","consumer":"c","provider":"p","target":"/t","status":"up","counters":{counters}}}]"#));
    });
    let ran = server.pvcontrol(&["-o", "table", "graph", "ls", "--sample", "100"]);
    assert!(ran.out.contains(" MiB/s"), "{ran:?}");
    let ran = server.pvcontrol(&["-o", "table", "graph", "ls", "--sample", "0"]);
    assert!(!ran.out.contains("/s"), "{ran:?}");
}

#[test]
fn watch_prints_a_line_for_each_change() {
    let looks = AtomicUsize::new(0);
    let server = Server::control(move |request| {
        // Each state is seen three times.
        let look = looks.fetch_add(1, Ordering::Relaxed) / 3;
        request.json(200, &format!("[ {{\"name\": \"s{look}\", \"status\": \"up\"}} ]"));
    });
    let mut child = spawn(&mut server.pvcontrol_command(&["graph", "watch", "--interval", "0.05"]));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(3);
    let lines: Vec<String> = lines.map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let line = |look: usize| format!(r#"[{{"name":"s{look}","status":"up"}}]"#);
    assert_eq!(lines, [line(0), line(1), line(2)]);
}

#[test]
fn desired_state_is_pushed_and_followed_over_a_restart() {
    let connections = AtomicUsize::new(0);
    let server = Server::control(move |request| {
        assert_eq!(request.target, "/xconnect-graph?watch=1");
        request.reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let lines: &[&str] = match connections.fetch_add(1, Ordering::Relaxed) {
            0 => &["[]", "[1]"],
            _ => &["[1]", "[2]"],
        };
        for line in lines {
            request.reply(format!("{:x}\r\n{line}\n\r\n", line.len() + 1));
        }
        request.reply("0\r\n\r\n");
    });
    let mut child = spawn(&mut server.pvcontrol_command(&["graph", "watch", "--desired"]));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(3);
    let lines: Vec<String> = lines.map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lines, ["[]", "[1]", "[2]"]);
}

#[test]
fn actions_are_the_requests_of_the_api() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let server = Server::control(move |request| {
        let body = request.body();
        record.lock().unwrap().push(format!("{} {} {body}", request.method, request.target));
        if request.target == "/daemons/pantavisors" && body.contains("restart") {
            return request.json(400, r#"{"Error":"Invalid action"}"#);
        }
        request.json(200, "");
    });
    let dir = server.path("web");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("services.json"), r#"[{"name":"api"}]"#).unwrap();
    let dir = dir.to_str().unwrap();
    let commands: [&[&str]; 10] = [
        &["containers", "stop", "web"],
        &["containers", "restart", "a/b", "c d"],
        &["daemons", "restart", "pv-xconnect"],
        &["daemons", "restart", "pantavisors"],
        &["signal", "ready"],
        &["containers", "register", "web", "--pid", "7", "--start", "9", "--manifests", dir],
        &["containers", "unregister", "web"],
        &["cmd", "reboot", "maintenance"],
        &["devmeta", "save", "key", "--", "-v"],
        &["audit", "--since", "2026-01-31T08:00:00Z"],
    ];
    for command in commands {
        let ran = server.pvcontrol(command);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{command:?}");
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [
            r#"PUT /containers/web {"action":"stop"}"#,
            r#"PUT /containers/a%2Fb {"action":"restart"}"#,
            r#"PUT /containers/c%20d {"action":"restart"}"#,
            r#"PUT /daemons/pv-xconnect {"action":"restart"}"#,
            r#"PUT /daemons/pantavisors {"action":"restart"}"#,
            r#"PUT /daemons/pantavisors {"action":"stop"}"#,
            r#"PUT /daemons/pantavisors {"action":"start"}"#,
            r#"POST /signal {"type":"ready","payload":""}"#,
            r#"POST /containers/web {"pid":7,"start":9,"manifests":{"services.json":[{"name":"api"}]}}"#,
            "DELETE /containers/web ",
            r#"POST /commands {"op":"REBOOT_DEVICE","payload":"maintenance"}"#,
            "PUT /device-meta/key -v",
            "GET /audit?since=2026-01-31T08:00:00Z ",
        ]
    );
}

#[test]
fn objects_come_from_standard_input_by_their_size() {
    let server = Server::control(|request| {
        assert_eq!(request.header("content-type").as_deref(), Some("application/octet-stream"));
        assert_eq!(request.body(), "abcd");
        request.json(200, "");
    });
    let mut child = spawn(&mut server.pvcontrol_command(&["objects", "put", "-4", "sha"]));
    child.stdin.take().unwrap().write_all(b"abcdef").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..], &output.stderr[..]), (Some(0), &b""[..], &b""[..]));
    assert_eq!(server.pvcontrol(&["objects", "put", "-x", "sha"]).code, 2);
}

#[test]
fn a_refused_revision_is_explained() {
    let server = Server::control(|request| {
        request.json(200, r#"{"revision":"9f2c","since":"2026-01-31T08:00:00Z","refused":{"since":"2026-01-31T09:00:00Z","errors":["web/run.json: name: missing","x"]}}"#);
    });
    let ran = server.pvcontrol(&["-o", "table", "revision"]);
    assert_eq!(ran.code, 70);
    assert_eq!(ran.out, "REVISION  SINCE\n9f2c      2026-01-31T08:00:00Z\n");
    assert_eq!(
        ran.err,
        "pvcontrol: the state since 2026-01-31T09:00:00Z is refused; the revision before stays:\n  web/run.json: name: missing\n  x\n"
    );
}

#[test]
fn audit_as_a_table() {
    let server = Server::control(|request| {
        request.json(200, r#"[{"seq":1,"time":"2026-01-31T08:00:00Z","event":"applied","author":{"via":"state directory","uids":[0]},"from":null,"to":"0123456789abcdef","containers":{"added":["a","b"],"removed":["c"],"changed":[]}},{"seq":2,"time":"t","event":"refused","to":null,"errors":["bad"]}]"#);
    });
    assert_eq!(
        server.pvcontrol(&["-o", "table", "audit"]).out,
        "SEQ  TIME                  EVENT    REVISION      BY                       WHAT\n  \
           1  2026-01-31T08:00:00Z  applied  0123456789ab  state directory (uid 0)  +a +b -c\n  \
           2  t                     refused  -             -                        bad\n"
    );
}

#[test]
fn output_to_a_file_and_verbose_to_standard_error() {
    let server = Server::raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
    let file = server.path("out");
    let ran = server.pvcontrol(&["-v", "-f", file.to_str().unwrap(), "buildinfo"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("> GET /buildinfo\n< 200 "), "{ran:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "body\n");
    let ran = server.pvcontrol(&["-f", file.to_str().unwrap(), "objects", "get", "abc"]);
    assert_eq!((ran.code, fs::read_to_string(&file).unwrap().as_str()), (0, "body"));
    assert_eq!(server.pvcontrol(&["objects", "get", "abc"]).out, "body");
    let ran = server.pvcontrol(&["-f", "/nowhere/out", "buildinfo"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("pvcontrol: cannot write /nowhere/out: "), "{ran:?}");
}

#[test]
fn manual_pages_and_completions() {
    let server = Server::new();
    let ran = server.pvcontrol(&["man", "--dir", server.dir().to_str().unwrap()]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    for page in ["pvcontrol.1", "pvcontrol-graph-watch.1", "pvcurl.1"] {
        assert!(fs::read_to_string(server.path(page)).unwrap().contains(".SH SYNOPSIS"), "{page}");
    }
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef pvcontrol"), ("fish", "complete -c pvcontrol")]
    {
        assert!(server.pvcontrol(&["completions", shell]).out.contains(sign), "{shell}");
    }
    let version = run(Command::new(env!("CARGO_BIN_EXE_pvcurl")).arg("--version"));
    assert!(version.out.starts_with("pvcurl "), "{version:?}");
}
