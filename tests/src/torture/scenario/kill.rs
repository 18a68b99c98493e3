//! SIGKILL to either end: what had arrived is an exact begin of the stream, and the other end is told.

use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use super::{CHUNK, pace};
use crate::torture::conn::{Conn, End, Over, both};
use crate::torture::reader::Reader;
use crate::torture::sender::{Gaps, Pace, Sender, spin};
use crate::torture::stage::Stage;
use crate::torture::victim::{Order, Victim};

/// Longest wait for the bytes after which the kill comes.
const LIVES: Duration = Duration::from_millis(60);

/// A process of its own holds this end, and is killed.
pub(super) fn kill(conn: &Conn, stage: &Stage<'_>, end: End) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let survivor = end.other();
    let (kills_sender, sends_too) = (!dice.one_in(3), !dice.one_in(3));
    let order = Order {
        sends: kills_sender.then_some(conn.flow(end).base),
        receives: conn.flow(survivor).base,
        seed: dice.between(0, u64::MAX - 1),
    };
    let socket = conn.take(end)?;
    let victim = Victim::start(&order, socket, &stage.mark);
    let victim = victim.map_err(|error| conn.error(format!("start of a process: {error}")))?;
    let after = dice.log_uniform(1, 4 << 20);
    let moment = Duration::from_micros(dice.between(0, 300));
    // It is never done: the kill ends it.
    let endless = Pace { words: u64::MAX / 2, time: Duration::ZERO, chunk: CHUNK, gaps: Gaps::None };
    let endless = Pace { gaps: pace(&mut dice, endless.gaps).gaps, ..endless };
    let ended = both(
        || {
            both(
                || if sends_too { Sender::new(conn, survivor, dice)?.stream(&endless) } else { Ok(()) },
                || Reader::new(conn, survivor)?.until_end(),
            )
        },
        || {
            let begin = Instant::now();
            while conn.flow(end).received() < after && begin.elapsed() < LIVES && conn.trouble().is_none() {
                thread::sleep(Duration::from_micros(100));
            }
            spin(moment);
            conn.expect_death();
            let status = victim.kill().map_err(|error| conn.error(format!("kill: {error}")))?;
            conn.flow(end).set_closed();
            judge(conn, status)
        },
    );
    match ended {
        // The two of the survivor have seen the end, as they should.
        Err(Over) | Ok(_) if conn.trouble().is_none() => Ok(()),
        Err(over) => Err(over),
        Ok(_) => Ok(()),
    }
}

fn judge(conn: &Conn, status: ExitStatus) -> Result<(), Over> {
    use std::os::unix::process::ExitStatusExt;
    if status.signal() == Some(libc::SIGKILL) {
        return Ok(());
    }
    Err(conn.error(format!("the process at the other end had ended before it was killed: {status}")))
}
