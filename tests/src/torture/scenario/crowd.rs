//! Hundreds of connections at once, all connected before the first of them is done.

use std::os::fd::OwnedFd;
use std::sync::Barrier;
use std::thread;

use crate::torture::conn::{Conn, End, Over};
use crate::torture::reader::Reader;
use crate::torture::sender::{Gaps, Sender};
use crate::torture::stage::Stage;
use crate::torture::words::{THREADS, parts};
use crate::wait::OrFail;

/// Hundreds of threads: each needs little.
const STACK: usize = 256 * 1024;

/// Sizes that both ends know.
fn sizes(conn: &Conn) -> Vec<(u64, u64)> {
    let mut dice = conn.dice();
    let count = dice.log_uniform(1, 8);
    (0..count).map(|_| (dice.log_uniform(1, 4096), dice.log_uniform(1, 4096))).collect()
}

/// The consumer of each speaks as soon as all are connected, or before.
pub(super) fn crowd(conns: &[Conn], stage: &Stage<'_>) {
    let connected = &Barrier::new(conns.len() + 1);
    thread::scope(|scope| {
        let job = || thread::Builder::new().stack_size(STACK);
        for conn in conns {
            let _ = stage.open(conn);
            let spawned = job().spawn_scoped(scope, move || {
                // Half of them do not wait for the others.
                let early = conn.dice().one_in(2);
                if !early {
                    connected.wait();
                }
                let asked = ask(conn);
                if early {
                    connected.wait();
                }
                asked
            });
            // Without its thread the barrier would never open.
            spawned.or_fail("a thread for each connection");
        }
        let opened = scope.spawn(|| connected.wait());
        for _ in conns {
            match (stage.accept)() {
                Ok(socket) => drop(job().spawn_scoped(scope, move || answer(conns, socket))),
                Err(error) => {
                    for conn in conns {
                        conn.error(format!("accept: {error}"));
                    }
                    break;
                }
            }
        }
        drop(opened.join());
    });
}

fn ask(conn: &Conn) -> Result<(), Over> {
    let mut dice = conn.dice();
    let mut sender = Sender::new(conn, End::Consumer, dice.fork())?;
    let mut reader = Reader::new(conn, End::Consumer)?;
    let mut answers = 0;
    for (question, answer) in sizes(conn) {
        sender.pieces(question, dice.between(1, 4), Gaps::None)?;
        answers += answer;
        reader.until(answers)?;
    }
    drop((sender, reader));
    conn.close(End::Consumer)
}

/// Whose connection it is, the first word tells.
fn answer(conns: &[Conn], socket: OwnedFd) -> Result<(), Over> {
    let mut first = [0; 8];
    let mut got = 0;
    while got < first.len() {
        match rustix::net::recv(&socket, &mut first[got..], rustix::net::RecvFlags::empty()) {
            Ok((0, _)) | Err(_) => return Err(Over),
            Ok((count, _)) => got += count,
        }
    }
    let (thread, _) = parts(u64::from_le_bytes(first));
    let base = thread - thread % (2 * THREADS as u16);
    let conn = conns.iter().find(|conn| conn.flow(End::Consumer).base == base).ok_or(Over)?;
    conn.set(End::Provider, socket)?;
    conn.flow(End::Consumer).feed(&first);
    let mut dice = conn.dice();
    let mut sender = Sender::new(conn, End::Provider, dice.fork())?;
    let mut reader = Reader::new(conn, End::Provider)?;
    let mut questions = 0;
    for (question, answer) in sizes(conn) {
        questions += question;
        reader.until(questions)?;
        sender.pieces(answer, dice.between(1, 3), Gaps::None)?;
    }
    reader.until_end()
}
