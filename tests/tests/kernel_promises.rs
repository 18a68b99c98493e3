//! What a plain protocol promises not to do, done all the same on links through the kernel: never a silent loss,
//! never another identity.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{SendFlags, Shutdown, sockopt};
use xconnect_tests::mesh::Pair;
use xconnect_tests::plain::{exchange, handed_over, has_kernel_path, kernel_bytes};
use xconnect_tests::{Kind, Sandbox, Socket, ensure, eventually, run};

/// A link with the promise; `None`: this kernel has no path, or does not tell (before 6.3) or refuse (before 6.16)
/// enough.
fn plain(sandbox: &Sandbox) -> Option<Pair> {
    let pair = Pair::start_with(sandbox, Kind::Stream, |link| link.option("forward", "kernel"));
    has_kernel_path(&pair).then_some(pair)
}

/// Whether the connection was cut, within the time of a receive.
fn is_cut(socket: &Socket) -> bool {
    loop {
        match socket.try_recv(4096) {
            Ok(message) if message.bytes.is_empty() => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            // A socket whose peer is in a map gives up waiting now and then.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[test]
fn an_out_of_band_byte_that_the_kernel_drops_ends_the_connection() {
    run(|sandbox| {
        let Some(pair) = plain(sandbox) else { return };
        for from_client in [true, false] {
            let (client, server) = handed_over(&pair);
            let cut = pair.mesh.counter(&pair.link, "/kernel/cut");
            let (from, to) = if from_client { (&client, &server) } else { (&server, &client) };
            rustix::net::send(from.as_fd(), b"!", SendFlags::OOB).unwrap();
            assert!(is_cut(to) && is_cut(from), "from the client: {from_client}");
            pair.mesh.wait_counter(&pair.link, "/kernel/cut", cut + 1);
        }
        assert!(pair.mesh.log().contains("out-of-band bytes were sent"), "{}", pair.mesh.log());
    });
}

#[test]
fn who_asks_for_credentials_before_the_hand_over_gets_the_roles() {
    run(|sandbox| {
        let Some(pair) = plain(sandbox) else { return };
        for asks in [true, false] {
            let (client, server) = pair.connect();
            sockopt::set_socket_passcred(if asks { &server } else { &client }, true).unwrap();
            let before = kernel_bytes(&pair);
            for _ in 0..60 {
                exchange(&client, &server);
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(kernel_bytes(&pair), before, "the server asks: {asks}");
        }
        assert!(pair.mesh.log().contains("SO_PASSCRED"), "{}", pair.mesh.log());
    });
}

#[test]
fn who_asks_for_credentials_after_the_hand_over_is_cut_off() {
    run(|sandbox| {
        let Some(pair) = plain(sandbox) else { return };
        let (client, server) = handed_over(&pair);
        sockopt::set_socket_passcred(&server, true).unwrap();
        client.send(b"from whom?");
        assert!(is_cut(&server) && is_cut(&client));
        pair.mesh.wait_counter(&pair.link, "/kernel/cut", 1);
    });
}

/// What was accepted arrives, or the receiver does not see an orderly end with something missing and nobody told.
#[test]
fn sending_beside_a_shutdown_loses_nothing_silently() {
    run(|sandbox| {
        let Some(pair) = plain(sandbox) else { return };
        let mut cut = 0;
        for round in 0..6 {
            let (client, server) = handed_over(&pair);
            let before = pair.mesh.counter(&pair.link, "/kernel/cut");
            let accepted = AtomicUsize::new(0);
            let got = thread::scope(|scope| {
                for _ in 0..3 {
                    let (client, accepted) = (client.dup(), &accepted);
                    scope.spawn(move || {
                        while let Ok(sent) = client.try_send(&[7; 64], &[]) {
                            accepted.fetch_add(sent, Ordering::SeqCst);
                        }
                    });
                }
                scope.spawn(|| {
                    thread::sleep(Duration::from_micros(500 + 313 * round));
                    rustix::net::shutdown(client.as_fd(), Shutdown::Write).unwrap();
                });
                let mut got = 0;
                loop {
                    match server.try_recv(1 << 16) {
                        Ok(message) if message.bytes.is_empty() => break got,
                        Ok(message) => got += message.bytes.len(),
                        Err(error) if error.kind() == ErrorKind::ConnectionReset => break got,
                        Err(error) => panic!("after {got} bytes: {error}"),
                    }
                }
            });
            let accepted = accepted.load(Ordering::SeqCst);
            if got != accepted {
                assert!(got < accepted, "{got} of {accepted}");
                eventually("the loss is told", || {
                    ensure(
                        pair.mesh.counter(&pair.link, "/kernel/cut") > before,
                        format!("{got} of {accepted}"),
                    )
                });
                cut += 1;
            }
        }
        println!("cut: {cut} of 6");
    });
}
