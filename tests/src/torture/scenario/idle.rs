//! Connections that live long and are mostly idle: what stays behind is not pushed on by what follows.

use std::thread;
use std::time::Duration;

use super::finish;
use crate::torture::conn::{Conn, End, Over, both};
use crate::torture::reader::Reader;
use crate::torture::sender::Sender;
use crate::torture::stage::Stage;

/// Pauses before a ping, in milliseconds, and how many pings of each kind there are.
const PAUSES: [(u64, u64); 4] = [(1, 150), (5, 60), (20, 20), (150, 4)];

/// Each connection has pauses of another length.
pub(super) fn pings(conns: &[Conn], stage: &Stage<'_>) {
    thread::scope(|scope| {
        for (conn, (pause, count)) in conns.iter().zip(PAUSES.iter().cycle()) {
            if stage.open(conn).and_then(|()| stage.accept(conn)).is_ok() {
                scope.spawn(|| ping(conn, Duration::from_millis(*pause), *count));
            }
        }
    });
}

fn ping(conn: &Conn, pause: Duration, count: u64) -> Result<(), Over> {
    let mut dice = conn.dice();
    let first = if dice.one_in(3) { End::Provider } else { End::Consumer };
    let sizes: Vec<_> = (0..count).map(|_| (dice.log_uniform(1, 64), dice.log_uniform(1, 64))).collect();
    let (one, other) = (dice.fork(), dice.fork());
    both(
        || {
            let (mut sender, mut reader) = (Sender::new(conn, first, one)?, Reader::new(conn, first)?);
            let mut pongs = 0;
            for (ping, pong) in &sizes {
                thread::sleep(pause);
                sender.write(*ping)?;
                pongs += pong;
                reader.until(pongs)?;
            }
            Ok(())
        },
        || {
            let second = first.other();
            let (mut sender, mut reader) = (Sender::new(conn, second, other)?, Reader::new(conn, second)?);
            let mut pings = 0;
            for (ping, pong) in &sizes {
                pings += ping;
                reader.until(pings)?;
                sender.write(*pong)?;
            }
            Ok(())
        },
    )?;
    finish(conn, &mut dice)
}
