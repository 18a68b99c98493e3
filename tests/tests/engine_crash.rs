//! What dies and what goes on: the mesh, the engine, both, in the middle of traffic.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::json;
use xconnect_tests::process::{self, Process};
use xconnect_tests::scene::TARGET;
use xconnect_tests::{
    Agent, Engine, Kind, OrFail, Sandbox, Scene, Socket, State, cgroup, engine, ensure, eventually, programs,
    run,
};

/// Exactly one engine and one mesh run.
#[track_caller]
fn assert_one_of_each(engine: &Engine) {
    for (program, pid) in [("pv-appengine", engine.pid()), ("pv-xconnect", engine.daemon("pv-xconnect").pid)]
    {
        eventually(format_args!("one {program} runs"), || {
            let all = engine.instances(program);
            ensure(all == [pid], format_args!("{all:?}, not [{pid}]"))
        });
    }
}

/// Runs `work` while a connection is used all the time; gives how many rounds came back.
fn while_echoing(connection: &Socket, work: impl FnOnce()) -> u64 {
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let echoing = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                connection.echo(b"the same connection");
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let seen = rounds.load(Ordering::Relaxed);
        if worked.is_ok() {
            eventually("bytes come back after all that", || {
                ensure(echoing.is_finished() || rounds.load(Ordering::Relaxed) > seen, "none")
            });
        }
        stop.store(true, Ordering::Relaxed);
        echoing.join().or_fail("the connection was cut");
        worked.or_fail("the work");
    });
    rounds.into_inner()
}

/// Runs `work` while a container connects all the time; gives how many connects there were, and those
/// that failed.
fn while_connecting(agent: &Agent, work: impl FnOnce()) -> (u64, Vec<String>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let (mut count, mut failed) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                if let Err(error) = agent.try_connect(TARGET, Kind::Stream) {
                    failed.push(error.to_string());
                }
            }
            (count, failed)
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let result = connecting.join().or_fail("the connecting thread");
        worked.or_fail("the work");
        result
    })
}

/// Kills the mesh and waits until another one runs.
#[track_caller]
fn kill_mesh(engine: &Engine) -> u32 {
    let mesh = engine.daemon("pv-xconnect");
    mesh.kill();
    eventually("another mesh runs", || {
        let next = engine.daemon("pv-xconnect").pid;
        ensure(next != mesh.pid, "the dead one is shown")?;
        Ok::<_, String>(next)
    })
}

#[test]
fn no_connect_is_refused_while_the_mesh_crashes_and_comes_back() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let open = scene.connect();
        open.echo(b"before");
        let (client, pids) = (scene.engine.agent("client"), scene.pids());
        let another = client.another();
        let (count, failed) = while_connecting(&client, || {
            for _ in 0..2 {
                kill_mesh(&scene.engine);
                // Made at any moment, held or not: it is served.
                another.connect(TARGET).echo(b"in the middle of it");
                scene.engine.wait_link("client", "up");
            }
        });
        assert!(failed.is_empty(), "{} of {count} connects failed: {:?}", failed.len(), failed.first());
        assert!(count > 0);
        assert!(open.ends(), "what was open is cut, and told so");
        assert_eq!(scene.pids(), pids);
        scene.echoes();
        assert_one_of_each(&scene.engine);
    });
}

#[test]
fn a_connect_made_while_no_mesh_runs_is_served_by_the_next_one() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let inode = scene.engine.agent("client").stat(TARGET).unwrap().inode;
        // A dead mesh cannot come back before its engine goes on.
        let engine = Process::open(scene.engine.pid()).unwrap();
        let client = scene.engine.agent("client");
        let mesh = scene.engine.daemon("pv-xconnect");
        engine.signal(Signal::STOP);
        mesh.kill();
        let early = client.connect(TARGET);
        early.send(b"held");
        engine.signal(Signal::CONT);
        assert_eq!(early.recv_exact(4).bytes, b"held");
        scene.engine.wait_link("client", "up");
        assert_eq!(client.stat(TARGET).unwrap().inode, inode, "it is the same socket");
        scene.echoes();
    });
}

#[test]
fn connections_go_on_while_the_engine_crashes_and_the_next_one_adopts_all() {
    run(|sandbox| {
        let state = State::pair(sandbox);
        state.add("job", |_| {});
        state.add("again", |run| run["auto_recovery"] = json!({"policy": "on-failure"}));
        let mut scene = Scene::of(sandbox, state);
        let (pids, mesh) = (scene.pids(), scene.mesh());
        let since = scene.link()["since"].clone();
        let (job, again) = (scene.engine.agent("job"), scene.engine.agent("again"));
        let (job_pid, again_pid) = (scene.engine.running("job"), scene.engine.running("again"));
        let (held, client) = (Process::open(job_pid).unwrap(), scene.engine.agent("client"));
        let connection = client.connect(TARGET);
        let rounds = while_echoing(&connection, || {
            scene.engine.kill();
            job.exit(7);
            again.exit(8);
            assert!(held.ends());
            client.connect(TARGET).echo(b"a new connection without an engine");
            scene.engine.start_again();
            let entry = scene.engine.wait_container("job", "STOPPED");
            assert_eq!(entry["last_exit"], "exit code 7");
            eventually("it is restarted", || {
                ensure(scene.engine.running("again") != again_pid, "the old one")
            });
            assert_eq!(scene.engine.find("/containers", "again").unwrap()["last_exit"], "exit code 8");
            scene.engine.wait_link("client", "up");
        });
        assert!(rounds > 0);
        assert_eq!(scene.pids(), pids);
        assert_eq!(scene.mesh(), mesh, "the mesh is the same process");
        let link = scene.link();
        assert_eq!(link["since"], since, "the link was never anything but up");
        assert_eq!(link["counters"]["connections"]["total"], 2, "{link}");
        scene.echoes();
        assert_one_of_each(&scene.engine);
    });
}

#[test]
fn a_crash_of_mesh_and_engine_together_leaves_the_containers_and_all_comes_back() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (pids, mesh) = (scene.pids(), scene.engine.daemon("pv-xconnect"));
        let connection = scene.connect();
        scene.engine.kill();
        mesh.kill();
        assert!(connection.ends());
        scene.engine.start_again();
        assert_eq!(scene.pids(), pids);
        assert_ne!(scene.mesh(), mesh.pid);
        scene.echoes();
        assert_one_of_each(&scene.engine);
        assert_eq!(
            scene.engine.agent("client").list("/run"),
            ["in.sock", "pod.sock"],
            "nothing of the dead is left"
        );
    });
}

#[test]
fn a_mesh_that_dies_without_an_engine_is_started_by_the_next_one() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        for _ in 0..3 {
            let mesh = scene.engine.daemon("pv-xconnect");
            scene.engine.kill();
            mesh.kill();
            scene.engine.start_again();
            scene.echoes();
            assert_one_of_each(&scene.engine);
        }
    });
}

#[test]
fn a_crash_between_two_revisions_ends_in_the_newer_one() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (pids, old) = (scene.pids(), Process::open(scene.pids().0).unwrap());
        scene.engine.kill();
        scene.state.add_consumer("new", &json!([{"name": "raw", "target": TARGET}]));
        std::fs::remove_dir_all(scene.state.dir.join("client")).unwrap();
        scene.engine.start_again();
        scene.engine.wait_link("new", "up");
        scene.engine.agent("new").connect(TARGET).echo(b"new");
        assert!(old.ends(), "who is not wanted any more is ended");
        eventually("it is gone", || ensure(scene.engine.find("/containers", "client").is_err(), "listed"));
        assert_eq!(scene.engine.running("server"), pids.1);
    });
}

#[test]
fn sigterm_ends_containers_and_mesh_in_order_and_leaves_nothing() {
    run(|sandbox| {
        let mut scene = Scene::start(sandbox);
        let (client, server) = scene.pids();
        let held: Vec<_> = [client, server, scene.mesh()].map(|pid| Process::open(pid).unwrap()).into();
        let connection = scene.connect();
        assert_eq!(scene.engine.stop(), Some(0));
        assert!(connection.ends());
        assert!(held.iter().all(|process| !process.is_alive()));
        assert_eq!(process::marked(sandbox.path()), [0; 0]);
        for socket in ["pv-ctrl", "pv-xconnect", "fdstore"] {
            assert!(!sandbox.run_dir().join(socket).exists(), "{socket} is left");
        }
        assert!(cgroup::folders(&sandbox.cgroup_name()).is_empty());
        assert_eq!(process::mounts_below(sandbox.path()), [""; 0].map(std::path::PathBuf::from));
        scene.engine.start_again();
        scene.serve();
        scene.echoes();
    });
}

#[test]
fn a_second_engine_in_the_same_run_directory_is_refused() {
    run(|sandbox| {
        let scene = Scene::start(sandbox);
        let pids = (scene.pids(), scene.mesh());
        let (code, text) = second(sandbox, &scene.state);
        assert_eq!(code, Some(1), "{text}");
        let expected =
            format!("another pv-appengine (pid {}) already runs in this run directory", scene.engine.pid());
        assert!(text.contains(&expected), "{text}");
        assert_eq!((scene.pids(), scene.mesh()), pids);
        scene.echoes();
        assert_one_of_each(&scene.engine);
    });
}

fn second(sandbox: &Sandbox, state: &State) -> (Option<i32>, String) {
    let log = sandbox.path().join("second.log");
    let mut command = engine::command(sandbox.path(), &state.dir, &sandbox.cgroup_name());
    let mut child =
        command.stderr(std::fs::File::create(&log).or_fail("log")).spawn().or_fail("pv-appengine");
    let code = process::wait(&mut child).code();
    (code, std::fs::read_to_string(&log).or_fail("log"))
}

#[test]
fn a_user_of_a_role_can_signal_neither_mesh_nor_engine_nor_shim() {
    run(|sandbox| {
        use std::os::unix::process::CommandExt;
        let scene = Scene::start(sandbox);
        let connection = scene.connect();
        let pod = sandbox.copy_of(&programs::static_pod());
        let kill = |pid: u32| {
            let mut command = std::process::Command::new(&pod);
            command.args(["kill", &pid.to_string()]).uid(65534).gid(65534);
            command.status().unwrap().code()
        };
        // The check itself: a process of that user can be signalled by it.
        let mut own = std::process::Command::new(&pod);
        own.arg("serve")
            .arg("/proc/none")
            .arg(sandbox.path())
            .uid(65534)
            .gid(65534)
            .stderr(std::process::Stdio::null());
        let mut own = own.spawn().unwrap();
        assert!(matches!(kill(own.id()), Some(0 | libc::ESRCH)));
        let _ = process::wait(&mut own);

        let mut marked = process::marked(sandbox.path());
        marked.retain(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists());
        let (engine, mesh) = (scene.engine.pid(), scene.mesh());
        assert!(marked.contains(&engine) && marked.contains(&mesh));
        for pid in marked {
            assert_eq!(kill(pid), Some(libc::EPERM), "{}", process::command_line(pid));
        }
        connection.echo(b"unharmed");
        assert_eq!((scene.engine.pid(), scene.mesh()), (engine, mesh));
    });
}
