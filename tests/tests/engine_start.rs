//! Starts that do not go as planned: cut off by a crash at every stage, twice at once, in odd places.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::json;
use xconnect_tests::process::{self, Process};
use xconnect_tests::scene::{SERVICE, TARGET};
use xconnect_tests::{Engine, OrFail, Sandbox, Scene, State, engine, ensure, eventually, programs, run};

fn spawn(command: &mut Command, log: &std::path::Path) -> Child {
    let log = File::options().create(true).append(true).open(log).or_fail("log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().or_fail("pv-appengine")
}

/// The containers' processes of this sandbox.
fn serving(sandbox: &Sandbox) -> usize {
    let all = process::marked(sandbox.path()).into_iter();
    all.filter(|pid| process::command_line(*pid).starts_with("/pod serve ")).count()
}

#[test]
fn a_start_that_is_cut_off_at_any_stage_is_gone_on_with() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        // The last words of an engine that is killed as soon as they are said.
        for (round, said) in
            ["applied a revision", "ready", "started daemon", "started container"].iter().enumerate()
        {
            let log = sandbox.path().join(format!("cut-off-{round}.log"));
            let mut command = engine::command(sandbox.path(), &state.dir, &sandbox.cgroup_name());
            let mut child = spawn(&mut command, &log);
            let mut over = false;
            eventually(format_args!("an engine says {said:?}"), || {
                let text = fs::read_to_string(&log).map_err(|error| error.to_string())?;
                // A later engine adopts, where the first one starts.
                over = text.contains("ready socket") && round > 1;
                ensure(text.contains(said) || over, text)
            });
            Process::open(child.id()).or_fail("pidfd").signal(Signal::KILL);
            process::wait(&mut child);
        }
        let scene = Scene::of(sandbox, state);
        scene.echoes();
        eventually("each container runs once", || {
            let count = serving(sandbox);
            ensure(count == 2, format_args!("{count} processes"))
        });
        assert_eq!(scene.engine.instances("pv-xconnect"), [scene.mesh()]);
    });
}

#[test]
fn of_engines_that_start_at_once_one_runs_and_the_others_say_so() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        let logs: Vec<_> = (0..4).map(|i| sandbox.path().join(format!("engine-{i}.log"))).collect();
        let start = |log| {
            let mut command = engine::command(sandbox.path(), &state.dir, &sandbox.cgroup_name());
            spawn(&mut command, log)
        };
        let mut engines: Vec<_> = logs.iter().map(|log| (start(log), log)).collect();
        eventually("one is left", || {
            engines.retain_mut(|(child, log)| match child.try_wait().or_fail("wait") {
                None => true,
                Some(status) => {
                    let text = fs::read_to_string(log).or_fail("log");
                    assert_eq!(status.code(), Some(1), "{text}");
                    assert!(text.contains("already runs in this run directory"), "{text}");
                    false
                }
            });
            ensure(engines.len() == 1, format_args!("{}", engines.len()))
        });
        let (mut left, log) = engines.pop().or_fail("one");
        eventually("it is ready", || {
            let text = fs::read_to_string(log).map_err(|error| error.to_string())?;
            ensure(text.contains("ready socket"), text)
        });
        eventually("each container runs once", || ensure(serving(sandbox) == 2, "not yet"));
        Process::open(left.id()).or_fail("pidfd").signal(Signal::TERM);
        assert_eq!(process::wait(&mut left).code(), Some(0));
    });
}

#[test]
fn a_run_directory_with_a_path_longer_than_a_sockets_name_works() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        let deep = sandbox.path().join("deep/".repeat(40));
        let mut command = Command::new(programs::program("pv-appengine"));
        command.arg("--state").arg(&state.dir).arg("--run-dir").arg(&deep);
        command.arg("--xconnect").arg(programs::program("pv-xconnect"));
        command.args(["--cgroup-root", &sandbox.cgroup_name()]).env("XCONNECT_SANDBOX", sandbox.path());
        let mut child = spawn(&mut command, &sandbox.path().join("engine.log"));
        let socket = deep.join("pv-ctrl");
        assert!(socket.as_os_str().len() > 200);
        let link = || {
            let mut command = Command::new(programs::program("pvcontrol"));
            let output = command.arg("-s").arg(&socket).args(["graph", "ls"]).output().or_fail("pvcontrol");
            let graph: serde_json::Value =
                serde_json::from_slice(&output.stdout).map_err(|_| format!("{output:?}"))?;
            ensure(
                graph[0]["consumer_pid"].as_i64() > Some(0) && graph[0]["provider_pid"].as_i64() > Some(0),
                &graph,
            )?;
            Ok::<_, String>(graph[0].clone())
        };
        let agent = |end: &str| {
            let pid = eventually("both run", link)[end]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok())
                .or_fail(end);
            eventually("it serves", || {
                xconnect_tests::Agent::of_process(pid, xconnect_tests::rootfs::CONTROL)
            })
        };
        let _server = agent("provider_pid").listen(SERVICE).echo();
        eventually("the link is up", || ensure(link()?["status"] == "up", "not yet"));
        agent("consumer_pid").connect(TARGET).echo(b"deep");
        Process::open(child.id()).or_fail("pidfd").signal(Signal::TERM);
        assert_eq!(process::wait(&mut child).code(), Some(0));
    });
}

#[test]
fn a_container_whose_shim_is_killed_goes_on_and_its_end_is_seen() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let (client, _) = scene.pids();
        let status = fs::read_to_string(format!("/proc/{client}/status")).or_fail("status");
        let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        let shim: u32 = shim.or_fail("a parent");
        assert_ne!(shim, scene.engine.pid());
        let connection = scene.connect();
        Process::open(shim).or_fail("shim").kill();
        eventually("its loss is told", || {
            let entry = scene.engine.find("/containers", "client")?;
            ensure(entry["reason"].as_str().is_some_and(|why| why.contains("shim was killed")), entry)
        });
        assert_eq!(scene.engine.running("client"), client);
        connection.echo(b"goes on");
        scene.engine.agent("client").exit(5);
        let entry = scene.engine.wait_container("client", "STOPPED");
        assert_eq!(entry["last_exit"], "exit status unknown");
        assert_eq!(scene.engine.action("containers/client", "start").status, 200);
        assert_ne!(scene.engine.running("client"), client);
        scene.engine.wait_link("client", "up");
        scene.echoes();
    });
}

#[test]
fn what_cannot_be_used_at_the_start_is_told() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        let fails = |change: &dyn Fn(&mut Command), part: &str| {
            let log = sandbox.path().join(sandbox.unique("start.log"));
            let mut command = engine::command(sandbox.path(), &state.dir, &sandbox.cgroup_name());
            change(&mut command);
            let code = process::wait(&mut spawn(&mut command, &log)).code();
            let text = fs::read_to_string(&log).or_fail("log");
            assert!(code == Some(1) || code == Some(2), "{code:?}: {text}");
            assert!(text.contains(part), "no {part} in {text}");
        };
        let command = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
            move |command: &mut Command| {
                *command = Command::new(programs::program("pv-appengine"));
                command.args(&arguments).env("XCONNECT_SANDBOX", sandbox.path());
            }
        };
        let (dir, run_dir) = (state.dir.display().to_string(), sandbox.run_dir().display().to_string());
        fails(&command(&["--state", "/no/such/dir", "--run-dir", &run_dir]), "cannot use /no/such/dir");
        let mesh = ["--state", &dir, "--run-dir", &run_dir, "--xconnect", "/no/mesh"];
        fails(&command(&mesh), "/no/mesh: cannot find the mesh");
        fails(&command(&["--state", &dir, "--stop-grace=-1"]), "--stop-grace");
        fails(&command(&["--state", &dir, "--cgroup-root", "../up"]), "--cgroup-root");
        let data = ["--state", &dir, "--run-dir", &run_dir, "--data-dir", "/proc/no/such/dir"];
        fails(&command(&data), "cannot use /proc/no/such/dir");
        fs::create_dir(sandbox.run_dir().join("pv-ctrl")).or_fail("pv-ctrl");
        fails(&|_| {}, "pv-ctrl: exists and is not a socket");
        fs::remove_dir(sandbox.run_dir().join("pv-ctrl")).or_fail("pv-ctrl");
        let engine = Engine::start(sandbox, &state);
        engine.wait_container("client", "STARTED");
        assert_eq!(engine.get("/daemons")[0]["respawn"], json!(true));
    });
}
