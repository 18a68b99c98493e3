//! What connections in the kernel take: flows, memory of send buffers, descriptors. Where there is none left for
//! the link they stay in user space, work, and say why.

use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use serde_json::json;
use xconnect_tests::mesh::{Pair, Setup};
use xconnect_tests::payload::{assert_same, bytes, send_in_chunks};
use xconnect_tests::plain::has_kernel_path;
use xconnect_tests::{OrFail, Sandbox, Socket, ensure, eventually, run};

const MIB: u64 = 1 << 20;

/// A link through the kernel, of a mesh with these options. `None`: this kernel cannot forward.
fn pair(sandbox: &Sandbox, options: &[&str]) -> Option<Pair> {
    let arguments = options.iter().map(OsString::from).collect();
    let setup = Setup { arguments, ..Setup::default() };
    let pair = Pair::start_as_with(sandbox, setup, |link| link.option("forward", "kernel"));
    has_kernel_path(&pair).then_some(pair)
}

fn exchange((client, server): &(Socket, Socket)) {
    client.send(b"question");
    assert_eq!(server.recv_exact(8).bytes, b"question");
    server.send(b"answer");
    assert_eq!(client.recv_exact(6).bytes, b"answer");
}

/// Until that many connections are in the kernel; two flows each.
fn in_kernel(pair: &Pair, connections: &[&(Socket, Socket)], count: u64) {
    eventually(format_args!("{count} connections are in the kernel"), || {
        connections.iter().for_each(|connection| exchange(connection));
        let used = &pair.mesh.status()["kernel_path"]["flows_used"];
        ensure(*used == json!(2 * count), used)
    });
}

/// Of two connections one gets in; the other one does when the first has gone.
fn takes_turns(pair: &Pair, reason: &str, part: &str) {
    let first = pair.connect();
    in_kernel(pair, &[&first], 1);
    let second = pair.connect();
    eventually("the other one stays", || {
        exchange(&second);
        let entry = pair.mesh.entry(&pair.link)?;
        ensure(entry["counters"]["kernel"]["stay"][reason] == json!(1), &entry)?;
        let why = entry["path_reason"].as_str().unwrap_or_default();
        ensure(why.starts_with("1 of 2 connections: ") && why.contains(part), why)
    });
    exchange(&first);
    let metric = format!("type=\"unix\",reason=\"{reason}\"}} 1\n");
    let metrics = pair.mesh.get("/metrics").or_fail("metrics").body;
    assert!(metrics.contains(&metric), "{metrics}");
    drop(first);
    eventually("its turn has come", || {
        exchange(&second);
        let stay = pair.mesh.counter(&pair.link, &format!("/kernel/stay/{reason}"));
        ensure(stay == 0, stay)
    });
}

#[test]
fn a_link_leaves_flows_to_the_others() {
    run(|sandbox| {
        let Some(pair) = pair(sandbox, &["--kernel-flows", "4"]) else { return };
        takes_turns(&pair, "flows", "--kernel-flows");
    });
}

#[test]
fn a_link_leaves_memory_of_send_buffers_to_the_others() {
    run(|sandbox| {
        let Some(pair) = pair(sandbox, &["--kernel-send-buffers", "8"]) else { return };
        let limit = &pair.mesh.status()["kernel_path"]["send_buffers"]["limit"];
        assert_eq!(*limit, json!(8 * MIB));
        let held = [pair.connect()];
        in_kernel(&pair, &[&held[0]], 1);
        pair.mesh.wait_counter(&pair.link, "/kernel/send_buffers", 4 * MIB);
        drop(held);
        pair.mesh.wait_counter(&pair.link, "/kernel/send_buffers", 0);
        assert_eq!(pair.mesh.status()["kernel_path"]["send_buffers"]["used"], json!(0));
    });
}

#[test]
fn without_memory_for_the_first_size_a_connection_stays_in_user_space() {
    run(|sandbox| {
        let Some(pair) = pair(sandbox, &["--kernel-send-buffers", "7"]) else { return };
        takes_turns(&pair, "send_buffers", "--kernel-send-buffers");
    });
}

#[test]
fn a_buffer_that_may_not_grow_stays_as_it_is() {
    run(|sandbox| {
        let Some(pair) = pair(sandbox, &["--kernel-send-buffers", "6"]) else { return };
        let connection = pair.connect();
        in_kernel(&pair, &[&connection], 1);
        let data = bytes(3, 16 << 20);
        eventually("growth was refused", || {
            thread::scope(|scope| {
                scope.spawn(|| send_in_chunks(&connection.0, &data));
                assert_same("bulk", &connection.1.recv_exact(data.len()).bytes, &data);
            });
            thread::sleep(Duration::from_millis(20));
            ensure(pair.mesh.counter(&pair.link, "/kernel/growth_refused") > 0, "not yet")
        });
        assert_eq!(pair.mesh.counter(&pair.link, "/kernel/send_buffers"), 4 * MIB);
    });
}

#[test]
fn the_hold_pair_counts_as_descriptors() {
    run(|sandbox| {
        let Some(pair) = pair(sandbox, &[]) else { return };
        let connection = pair.connect();
        in_kernel(&pair, &[&connection], 1);
        let used = || pair.mesh.status()["descriptors"]["used"].clone();
        assert_eq!(used(), json!(4));
        drop(connection);
        eventually("they are given back", || ensure(used() == json!(0), used()));
    });
}
