//! Streams: one way, both ways, from several threads, to slow readers, through odd buffers.

use std::thread;
use std::time::Duration;

use rustix::net::sockopt;

use super::{CHUNK, finish, pace, short_pace};
use crate::torture::conn::{Conn, End, Over, both};
use crate::torture::reader::{Reader, Style};
use crate::torture::sender::{Gaps, Pace, Sender, locked, unlocked};
use crate::torture::stage::Stage;

/// Less than the kernel gives to anybody: it makes its own least of it (`SOCK_MIN_SNDBUF`).
pub(super) const TINY: usize = 2048;
/// More than an ordinary process may ask for.
pub(super) const HUGE: usize = 4 << 20;

/// One end streams, the other reads.
pub(super) fn one_way(conn: &Conn, stage: &Stage<'_>, from: End, gaps: Gaps) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let (pace, style) = (pace(&mut dice, gaps), Style::Eager);
    carry(conn, from, &pace, style)?;
    finish(conn, &mut dice)
}

fn carry(conn: &Conn, from: End, pace: &Pace, style: Style) -> Result<(), Over> {
    let mut dice = conn.dice();
    let (send, receive) = (dice.fork(), dice.fork());
    both(
        || Sender::new(conn, from, send)?.stream(pace),
        || Reader::with(conn, from.other(), style, receive)?.until_total(),
    )?;
    Ok(())
}

/// Both ends stream.
pub(super) fn both_ways(conn: &Conn, stage: &Stage<'_>, gaps: Gaps) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let (up, down) = (pace(&mut dice, gaps), pace(&mut dice, gaps));
    both(
        || carry(conn, End::Consumer, &up, Style::Eager),
        || carry(conn, End::Provider, &down, Style::Eager),
    )?;
    finish(conn, &mut dice)
}

/// This end reads little at a time and sleeps in between.
pub(super) fn slow(conn: &Conn, stage: &Stage<'_>, reader: End) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    carry(conn, reader.other(), &short_pace(&mut dice, 1 << 17), Style::Slow)?;
    finish(conn, &mut dice)
}

/// The consumer sends, or is even gone, before the provider takes the connection.
pub(super) fn before_accept(conn: &Conn, stage: &Stage<'_>) -> Result<(), Over> {
    let mut dice = conn.dice();
    let wait = Duration::from_micros(dice.log_uniform(1, 5000));
    if dice.one_in(3) {
        // So little that it needs no reader.
        let pace =
            Pace { words: dice.log_uniform(1, 512), time: Duration::ZERO, chunk: 256, gaps: Gaps::None };
        Sender::new(conn, End::Consumer, dice.fork())?.stream(&pace)?;
        conn.close(End::Consumer)?;
        thread::sleep(wait);
        stage.accept(conn)?;
        return Reader::new(conn, End::Provider)?.until_end();
    }
    let pace = short_pace(&mut dice, 1 << 17);
    let sending = dice.fork();
    both(
        || Sender::new(conn, End::Consumer, sending)?.stream(&pace),
        || {
            thread::sleep(wait);
            stage.accept(conn)?;
            Reader::new(conn, End::Provider)?.until_total()
        },
    )?;
    finish(conn, &mut dice)
}

/// Several threads write into one end without a lock, the other end answers with as many.
pub(super) fn threads(conn: &Conn, stage: &Stage<'_>, count: usize) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let from = if dice.one_in(2) { End::Consumer } else { End::Provider };
    let mut pace = pace(&mut dice, Gaps::None);
    pace.words = pace.words.div_ceil(count as u64);
    if dice.one_in(2) {
        pace.gaps = Gaps::Short;
    }
    conn.flow(from).set_threads(count);
    let mut sending = dice.fork();
    both(
        || unlocked(conn, from, count, &pace, &mut sending),
        || Reader::new(conn, from.other())?.until_total(),
    )?;
    finish(conn, &mut dice)
}

/// Several threads take turns with one stream: all of it is in order.
pub(super) fn with_lock(conn: &Conn, stage: &Stage<'_>) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let from = if dice.one_in(2) { End::Consumer } else { End::Provider };
    let gaps = if dice.one_in(2) { Gaps::Short } else { Gaps::None };
    let (pace, count) = (pace(&mut dice, gaps), dice.between(2, 8) as usize);
    let mut sending = dice.fork();
    both(
        || locked(conn, from, count, &pace, &mut sending),
        || Reader::new(conn, from.other())?.until_total(),
    )?;
    finish(conn, &mut dice)
}

/// Streams both ways between ends with send buffers of this size.
pub(super) fn buffers(conn: &Conn, stage: &Stage<'_>, size: usize) -> Result<(), Over> {
    stage.accept(conn)?;
    for end in [End::Consumer, End::Provider] {
        let set = sockopt::set_socket_send_buffer_size_force(conn.socket(end)?, size);
        set.map_err(|error| conn.error(format!("set a send buffer: {error}")))?;
    }
    let mut dice = conn.dice();
    // Through a tiny buffer a long stream is many thousand hops between the threads.
    let most = if size == TINY { 1 << 17 } else { 1 << 21 };
    let mut paces = [(); 2].map(|()| pace(&mut dice, Gaps::None));
    for pace in &mut paces {
        *pace = Pace { words: dice.log_uniform(1, most), chunk: CHUNK, ..*pace };
    }
    both(
        || carry(conn, End::Consumer, &paces[0], Style::Eager),
        || carry(conn, End::Provider, &paces[1], Style::Eager),
    )?;
    finish(conn, &mut dice)
}
