//! `"forward": "auto"`: a connection whose ends share one processor goes to the kernel only for small questions and
//! answers.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use xconnect_tests::mesh::Pair;
use xconnect_tests::payload::{assert_same, bytes, send_in_chunks};
use xconnect_tests::plain::{has_kernel_path, kernel_bytes};
use xconnect_tests::{Container, Kind, OrFail, Sandbox, Socket, ensure, eventually, run};

const MIB: usize = 1 << 20;

/// A link with the promise. `None`: this kernel cannot forward.
fn auto(sandbox: &Sandbox) -> Option<Pair> {
    let pair = Pair::start_with(sandbox, Kind::Stream, |link| link.option("forward", "auto"));
    has_kernel_path(&pair).then_some(pair)
}

/// The processors that this test may use.
fn processors() -> Vec<usize> {
    let own = sched_getaffinity(None).or_fail("own processors");
    (0..CpuSet::MAX_CPU).filter(|cpu| own.is_set(*cpu)).collect()
}

/// Leaves the container's process only these processors: the mesh looks at the mask, wherever the bytes come from.
fn confine(container: &Container, cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    let pid = i32::try_from(container.pid()).ok().and_then(Pid::from_raw);
    sched_setaffinity(pid, &set).or_fail("affinity of a container");
}

fn stay(pair: &Pair) -> u64 {
    pair.mesh.counter(&pair.link, "/kernel/stay/picked")
}

/// Bulk one way, for longer than any pause between two tries.
fn bulk(client: &Socket, server: &Socket) {
    let data = bytes(7, 4 * MIB);
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        thread::scope(|scope| {
            scope.spawn(|| send_in_chunks(client, &data));
            assert_same("bulk", &server.recv_exact(data.len()).bytes, &data);
        });
    }
}

fn ping_pong(client: &Socket, server: &Socket, rounds: usize) {
    for _ in 0..rounds {
        client.send(b"a small question");
        assert_eq!(server.recv_exact(16).bytes, b"a small question");
        server.send(b"and its answer");
        assert_eq!(client.recv_exact(14).bytes, b"and its answer");
    }
}

#[test]
fn bulk_on_one_processor_stays_in_user_space() {
    run(|sandbox| {
        let Some(pair) = auto(sandbox) else { return };
        let cpu = processors()[0];
        confine(&pair.consumer, &[cpu]);
        confine(&pair.provider, &[cpu]);
        let (client, server) = pair.connect();
        bulk(&client, &server);
        assert_eq!((kernel_bytes(&pair), stay(&pair)), (0, 1));
        let entry = pair.mesh.entry(&pair.link).or_fail("the link");
        let reason = entry["path_reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("1 of 1 connections: both ends share one processor"), "{entry}");
        assert_eq!(entry["path"], json!("kernel"), "{entry}");
        // It is looked at anew: bulk is over.
        eventually("small questions and answers go to the kernel", || {
            ping_pong(&client, &server, 600);
            ensure(kernel_bytes(&pair) > 0, "not yet")
        });
        eventually("none stays", || ensure(stay(&pair) == 0, stay(&pair)));
    });
}

#[test]
fn what_stays_by_choice_is_no_long_flow() {
    run(|sandbox| {
        let Some(pair) = auto(sandbox) else { return };
        let cpu = processors()[0];
        confine(&pair.consumer, &[cpu]);
        confine(&pair.provider, &[cpu]);
        let (client, server) = pair.connect();
        ping_pong(&client, &server, 1);
        eventually("it stays", || ensure(stay(&pair) == 1, "not yet"));
        // By far longer than what counts as long.
        thread::sleep(Duration::from_millis(400));
        drop((client, server));
        pair.mesh.wait_counter(&pair.link, "/connections/open", 0);
        assert_eq!((stay(&pair), pair.mesh.counter(&pair.link, "/kernel/long_flows")), (0, 0));
        assert!(pair.mesh.entry(&pair.link).or_fail("the link").get("path_reason").is_none());
    });
}

#[test]
fn on_several_processors_it_goes_to_the_kernel() {
    run(|sandbox| {
        let Some(pair) = auto(sandbox) else { return };
        let [one, other, ..] = processors()[..] else {
            println!("SKIP: there is one processor only");
            return;
        };
        confine(&pair.consumer, &[one]);
        confine(&pair.provider, &[other]);
        let (client, server) = pair.connect();
        bulk(&client, &server);
        eventually("the kernel forwards", || {
            ping_pong(&client, &server, 1);
            ensure(kernel_bytes(&pair) > 0, "not yet")
        });
        assert_eq!(stay(&pair), 0);
    });
}
