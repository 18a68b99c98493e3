//! Ends of streams: close right after the last byte, half-close with the other way idle and busy.

use std::time::Duration;

use super::{CHUNK, short_pace};
use crate::torture::conn::{Conn, End, Over, both};
use crate::torture::reader::Reader;
use crate::torture::sender::{Gaps, Pace, Sender};
use crate::torture::stage::Stage;

/// This end closes right after its last byte: all of it arrives, and then the end.
pub(super) fn close_at_once(conn: &Conn, stage: &Stage<'_>, from: End) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    // Some of them after an exchange, when the link may have handed the connection over.
    if dice.one_in(2) {
        let words = dice.log_uniform(1, 1024);
        let (mut sender, mut reader) =
            (Sender::new(conn, from.other(), dice.fork())?, Reader::new(conn, from)?);
        sender.write(words)?;
        reader.until(words)?;
        std::thread::sleep(Duration::from_micros(dice.log_uniform(1, 3000)));
    }
    let pace = short_pace(&mut dice, 1 << 18);
    both(
        || {
            Sender::new(conn, from, dice)?.stream(&pace)?;
            conn.close(from)
        },
        || Reader::new(conn, from.other())?.until_end(),
    )?;
    conn.close(from.other())
}

/// This end half-closes after its request; the answer comes only then.
pub(super) fn half_close_idle(conn: &Conn, stage: &Stage<'_>, first: End) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let second = first.other();
    let (request, reply) = (short_pace(&mut dice, 1 << 16), short_pace(&mut dice, 1 << 18));
    let (one, other) = (dice.fork(), dice.fork());
    both(
        || {
            Sender::new(conn, first, one)?.stream(&request)?;
            conn.half_close(first)?;
            Reader::new(conn, first)?.until_end()
        },
        || {
            Reader::new(conn, second)?.until_end()?;
            Sender::new(conn, second, other)?.stream(&reply)?;
            conn.close(second)
        },
    )?;
    conn.close(first)
}

/// This end half-closes while the other one streams to it.
pub(super) fn half_close_busy(conn: &Conn, stage: &Stage<'_>, first: End) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let busy = first.other();
    let flood = Pace {
        words: dice.log_uniform(1 << 10, 1 << 19),
        time: Duration::from_millis(dice.between(0, 30)),
        chunk: CHUNK,
        gaps: if dice.one_in(3) { Gaps::Short } else { Gaps::None },
    };
    let (begin, last) = (dice.log_uniform(1, flood.words / 2), short_pace(&mut dice, 1 << 14));
    let (one, other) = (dice.fork(), dice.fork());
    both(
        || {
            let mut reader = Reader::new(conn, first)?;
            reader.until(begin)?;
            Sender::new(conn, first, one)?.stream(&last)?;
            conn.half_close(first)?;
            reader.until_end()
        },
        || {
            both(|| Sender::new(conn, busy, other)?.stream(&flood), || Reader::new(conn, busy)?.until_end())?;
            conn.close(busy)
        },
    )?;
    conn.close(first)
}
