//! Input that no one means well with, on the control socket and in the state directory: refused with a
//! text that says where, and nothing is changed by it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use xconnect_tests::http::{self, Response};
use xconnect_tests::process::Process;
use xconnect_tests::scene::{revision, wait_accepted, wait_refused};
use xconnect_tests::{Kind, OrFail, Scene, Socket, State, hostile, run};

/// What must be the same before and after.
#[derive(Debug, PartialEq)]
struct Standing {
    pids: (u32, u32),
    mesh: u32,
    engine: u32,
    revision: String,
    audit: usize,
}

impl Standing {
    #[track_caller]
    fn of(scene: &Scene) -> Self {
        Self {
            pids: scene.pids(),
            mesh: scene.mesh(),
            engine: scene.engine.pid(),
            revision: revision(&scene.engine),
            audit: scene.engine.get("/audit").as_array().or_fail("audit").len(),
        }
    }
}

/// The endpoints that take a body.
const WITH_BODY: [(&str, &str); 4] = [
    ("PUT", "/containers/client"),
    ("PUT", "/daemons/pv-xconnect"),
    ("POST", "/containers/new"),
    ("POST", "/signal"),
];

#[track_caller]
fn assert_told(response: &Response, what: &str) {
    assert!((400..500).contains(&response.status), "{what}: {response:?}");
    let error = response.json();
    assert!(error["Error"].as_str().is_some_and(|text| text.len() > 5), "{what}: {response:?}");
}

#[test]
fn no_document_on_any_endpoint_does_anything() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let before = Standing::of(&scene);
        for (method, path) in WITH_BODY {
            for (name, body) in hostile::documents() {
                let what = format!("{name} to {method} {path}");
                let response = scene.engine.call(method, path, &body);
                assert_told(&response, &what);
                if body.len() > 10 << 20 {
                    assert_eq!(response.status, 413, "{what}: {response:?}");
                }
                if ["no JSON", "cut off", "more after the end", "invalid UTF-8"].contains(&name) {
                    let detail = response.json()["Detail"].as_str().unwrap_or_default().to_owned();
                    assert!(detail.contains("line 1 column "), "{what}: {response:?}");
                }
            }
        }
        assert_eq!(Standing::of(&scene), before);
        scene.echoes();
    });
}

#[test]
fn a_value_of_the_wrong_type_is_told_by_its_place() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let before = Standing::of(&scene);
        for (method, path) in WITH_BODY {
            let fields: &[&str] = match path {
                "/containers/new" => &["pid", "start", "manifests"],
                "/signal" => &["type", "payload"],
                _ => &["action"],
            };
            for field in fields {
                for value in hostile::values() {
                    // Valid as it is: no start time, no payload, no manifests (which are then missing).
                    let allowed = matches!(
                        (*field, &value),
                        ("start" | "payload", Value::Null) | ("payload", Value::String(_))
                    );
                    if allowed || (*field == "manifests" && value == json!({})) {
                        continue;
                    }
                    let mut body = match path {
                        "/containers/new" => json!({"pid": 1, "manifests": {}}),
                        "/signal" => json!({"type": "ready"}),
                        _ => json!({}),
                    };
                    body[*field] = value.clone();
                    let response = scene.engine.call(method, path, body.to_string());
                    let what = format!("{body} to {method} {path}");
                    assert_told(&response, &what);
                    assert_eq!(response.status, 400, "{what}: {response:?}");
                    let detail = response.json()["Detail"].as_str().unwrap_or_default().to_owned();
                    assert!(detail.starts_with(&format!("{field}: ")), "{what}: {response:?}");
                }
            }
            let unknown = match path {
                "/containers/new" => json!({"pid": 1, "manifest": {}}),
                "/signal" => json!({"type": "ready", "now": true}),
                _ => json!({"action": "stop", "now": true}),
            };
            let response = scene.engine.call(method, path, unknown.to_string());
            assert_eq!(response.status, 400, "{unknown}: {response:?}");
            let detail = response.json()["Detail"].as_str().unwrap_or_default().to_owned();
            assert!(detail.contains("unknown field"), "{unknown}: {response:?}");
        }
        assert_eq!(Standing::of(&scene), before);
        scene.echoes();
    });
}

#[test]
fn bytes_that_are_no_request_harm_nobody() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let before = Standing::of(&scene);
        for (name, bytes) in hostile::requests() {
            let connection = Socket::connect(Kind::Stream, &scene.engine.socket()).unwrap();
            let writer = connection.dup();
            let _ = rustix::net::shutdown(&writer, rustix::net::Shutdown::Read).err();
            drop(writer);
            let connection = Socket::connect(Kind::Stream, &scene.engine.socket()).unwrap();
            // An end without an answer is one, too; a success is none.
            if let Ok(response) = http::raw(&connection, &bytes) {
                assert!((400..=505).contains(&response.status), "{name}: {response:?}");
            }
            assert_eq!(scene.engine.call("GET", "/containers", "").status, 200, "after {name}");
        }
        for path in hostile::PATHS {
            for method in ["GET", "PUT", "POST", "DELETE"] {
                let response = scene.engine.call(method, path, r#"{"action":"stop"}"#);
                assert!((400..=422).contains(&response.status), "{method} {path}: {response:?}");
                assert!(!response.error().is_empty());
            }
        }
        assert_eq!(Standing::of(&scene), before);
        scene.echoes();
    });
}

/// The good manifests of a directory.
fn copy(from: &Path, to: &Path) {
    for file in ["client/run.json", "server/run.json", "server/services.json"] {
        fs::create_dir_all(to.join(file).parent().or_fail(file)).or_fail(file);
        fs::copy(from.join(file), to.join(file)).or_fail(file);
    }
}

/// Puts `spoil`ed copies of a directory in its place, one after the other, and the good one in between.
fn with_each(scene: &Scene, sandbox: &xconnect_tests::Sandbox, spoilt: Vec<(String, Vec<(&str, Spoil)>)>) {
    let dir = &scene.state.dir;
    for (name, files) in spoilt {
        let bad = sandbox.new_dir("bad");
        copy(dir, &bad);
        for (file, spoil) in &files {
            let path = bad.join(file);
            fs::create_dir_all(path.parent().or_fail(file)).or_fail(file);
            spoil(&path);
        }
        let good = sandbox.path().join("good");
        fs::rename(dir, &good).or_fail("swap");
        fs::rename(&bad, dir).or_fail("swap");
        let errors = wait_refused(&scene.engine);
        for (file, _) in &files {
            let told = errors
                .iter()
                .any(|error| error.starts_with(&format!("{file}: ")) && error.len() > file.len() + 8);
            assert!(told, "{name}: nothing of {file} in {errors:?}");
        }
        fs::rename(dir, &bad).or_fail("swap");
        fs::rename(&good, dir).or_fail("swap");
        wait_accepted(&scene.engine);
    }
}

type Spoil = Box<dyn Fn(&Path)>;

/// Apart from the audit log, which grows by each refusal.
#[track_caller]
fn assert_same(scene: &Scene, before: &Standing) {
    let after = Standing::of(scene);
    assert_eq!(&Standing { audit: before.audit, ..after }, before);
}

#[test]
fn no_document_in_the_place_of_a_manifest_changes_anything() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (before, connection) = (Standing::of(&scene), scene.connect());
        let spoilt = hostile::documents().into_iter().map(|(name, bytes)| {
            let files = ["a/run.json", "b/args.json", "c/services.json", "d/config.json", "device.json"];
            let write = move |file| {
                let bytes = bytes.clone();
                let spoil: Spoil = Box::new(move |path: &Path| fs::write(path, &bytes).unwrap());
                (file, spoil)
            };
            (name.to_owned(), files.map(write).into())
        });
        with_each(&scene, sandbox, spoilt.collect());
        connection.echo(b"all the time");
        assert_same(&scene, &before);
        scene.echoes();
    });
}

#[test]
fn a_value_of_the_wrong_type_in_a_manifest_is_told_by_its_place() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let before = Standing::of(&scene);
        let dir = sandbox.new_dir("bad");
        copy(&scene.state.dir, &dir);
        let mut places = Vec::new();
        let mut spoil = |file: &str, manifest: Value, place: &str| {
            fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
            fs::write(dir.join(file), manifest.to_string()).unwrap();
            places.push(format!("{file}: {place}: "));
        };
        let base = scene.state.run_json("x");
        for (at, value) in hostile::values().into_iter().enumerate() {
            let run = |field: &str, value: &Value| {
                let mut run = base.clone();
                run.as_object_mut().unwrap().remove("name");
                run[field] = value.clone();
                run
            };
            if !value.is_object() {
                spoil(&format!("services{at}/run.json"), run("services", &value), "services");
                spoil(&format!("recovery{at}/run.json"), run("auto_recovery", &value), "auto_recovery");
            }
            if !value.is_array() {
                spoil(&format!("roles{at}/run.json"), run("roles", &value), "roles");
                spoil(&format!("exec{at}/run.json"), run("exec", &value), "exec");
                spoil(&format!("list{at}/services.json"), json!({"services": value}), "services");
                spoil(
                    &format!("args{at}/args.json"),
                    json!({"PV_SERVICES_REQUIRED": value}),
                    "PV_SERVICES_REQUIRED",
                );
            }
            spoil(&format!("goal{at}/run.json"), run("status_goal", &value), "status_goal");
            spoil(&format!("type{at}/run.json"), run("type", &value), "type");
        }
        let unknown = json!({"services": [{"name": "x", "type": "unix", "socket": "/x", "sokket": 1}]});
        spoil("unknown/services.json", unknown, "services[0].sokket");
        spoil("device.json", json!({"groups": [{"name": 7}]}), "groups[0].name");
        let good = sandbox.path().join("good");
        fs::rename(&scene.state.dir, &good).unwrap();
        fs::rename(&dir, &scene.state.dir).unwrap();
        let errors = wait_refused(&scene.engine);
        for place in &places {
            assert!(errors.iter().any(|error| error.starts_with(place)), "no {place} in {errors:#?}");
        }
        assert_same(&scene, &before);
        scene.echoes();
    });
}

#[test]
fn what_is_no_file_in_the_place_of_a_manifest_is_refused_and_hangs_nobody() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let before = Standing::of(&scene);
        type Kind = (&'static str, fn(&Path));
        let kinds: [Kind; 6] = [
            ("a FIFO", |path| {
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                    .unwrap();
            }),
            ("a directory", |path| fs::create_dir(path).unwrap()),
            ("a link to nothing", |path| symlink("/no/such/file", path).unwrap()),
            ("a link to itself", |path| symlink(path, path).unwrap()),
            ("an endless device", |path| symlink("/dev/zero", path).unwrap()),
            ("a socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
        ];
        let spoilt = kinds.into_iter().map(|(name, make)| {
            let files = ["a/run.json", "b/args.json", "c/services.json", "device.json"];
            let spoil = |file| (file, Box::new(make) as Spoil);
            (name.to_owned(), files.map(spoil).into())
        });
        with_each(&scene, sandbox, spoilt.collect());
        assert_same(&scene, &before);
        scene.echoes();
    });
}

#[test]
fn a_folder_that_is_no_container_is_passed_over() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let before = Standing::of(&scene);
        let State { dir, .. } = &scene.state;
        for folder in ["bsp", "_sigs", "_config", ".hidden"] {
            fs::create_dir(dir.join(folder)).unwrap();
            fs::write(dir.join(folder).join("run.json"), "nonsense").unwrap();
        }
        fs::write(dir.join("run.json"), "nonsense").unwrap();
        fs::create_dir(dir.join("empty")).unwrap();
        Process::open(scene.engine.pid()).unwrap().signal(rustix::process::Signal::HUP);
        scene.state.add("mark", |_| {});
        scene.engine.running("mark");
        assert!(scene.engine.get("/revision")["refused"].is_null());
        let names: Vec<_> = scene
            .engine
            .get("/containers")
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["name"].clone())
            .collect();
        assert_eq!(names, ["client", "mark", "server"]);
        assert_eq!(scene.pids(), before.pids);
    });
}
