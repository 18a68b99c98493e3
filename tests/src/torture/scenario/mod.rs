//! The scenarios: what the two ends of a connection do.

mod crowd;
mod ends;
mod idle;
mod kill;
mod requests;
mod streams;

use std::time::Duration;

use super::conn::{Conn, End, Over};
use super::dice::Dice;
use super::reader::Reader;
use super::sender::{CHUNK, Gaps, Pace};
use super::stage::Stage;

/// Plays one connection, which is connected and not yet accepted.
type One = fn(&Conn, &Stage<'_>) -> Result<(), Over>;

/// Who plays.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Play {
    /// One connection after the other.
    One(One),
    /// So many at once.
    Many(u64, fn(&[Conn], &Stage<'_>)),
}

/// One scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// A link in the kernel may cut such a connection: its peers break the promise of a plain protocol.
    pub(crate) breaks_promise: bool,
    pub(crate) play: Play,
}

const fn one(name: &'static str, play: One) -> Scenario {
    Scenario { name, breaks_promise: false, play: Play::One(play) }
}

/// All of them.
pub(crate) const ALL: &[Scenario] = &[
    one("stream-up", |conn, stage| streams::one_way(conn, stage, End::Consumer, Gaps::None)),
    one("stream-down", |conn, stage| streams::one_way(conn, stage, End::Provider, Gaps::None)),
    one("stream-both", |conn, stage| streams::both_ways(conn, stage, Gaps::None)),
    one("gaps-up", |conn, stage| streams::one_way(conn, stage, End::Consumer, Gaps::Short)),
    one("gaps-down", |conn, stage| streams::one_way(conn, stage, End::Provider, Gaps::Short)),
    one("gaps-both", |conn, stage| streams::both_ways(conn, stage, Gaps::Short)),
    one("pieces", |conn, stage| requests::pieces(conn, stage, Gaps::None)),
    one("pieces-gaps", |conn, stage| requests::pieces(conn, stage, Gaps::Short)),
    one("server-first", requests::server_first),
    one("pool-server", requests::pool),
    one("before-accept", streams::before_accept),
    one("slow-provider", |conn, stage| streams::slow(conn, stage, End::Provider)),
    one("slow-consumer", |conn, stage| streams::slow(conn, stage, End::Consumer)),
    one("threads-2", |conn, stage| streams::threads(conn, stage, 2)),
    one("threads-8", |conn, stage| streams::threads(conn, stage, 8)),
    one("threads-lock", streams::with_lock),
    one("sndbuf-tiny", |conn, stage| streams::buffers(conn, stage, streams::TINY)),
    one("sndbuf-huge", |conn, stage| streams::buffers(conn, stage, streams::HUGE)),
    one("close-consumer", |conn, stage| ends::close_at_once(conn, stage, End::Consumer)),
    one("close-provider", |conn, stage| ends::close_at_once(conn, stage, End::Provider)),
    one("half-consumer", |conn, stage| ends::half_close_idle(conn, stage, End::Consumer)),
    one("half-provider", |conn, stage| ends::half_close_idle(conn, stage, End::Provider)),
    Scenario {
        name: "half-consumer-busy",
        breaks_promise: true,
        play: Play::One(|conn, stage| ends::half_close_busy(conn, stage, End::Consumer)),
    },
    Scenario {
        name: "half-provider-busy",
        breaks_promise: true,
        play: Play::One(|conn, stage| ends::half_close_busy(conn, stage, End::Provider)),
    },
    one("kill-consumer", |conn, stage| kill::kill(conn, stage, End::Consumer)),
    one("kill-provider", |conn, stage| kill::kill(conn, stage, End::Provider)),
    Scenario { name: "idle-pings", breaks_promise: false, play: Play::Many(24, idle::pings) },
    Scenario { name: "crowd-500", breaks_promise: false, play: Play::Many(500, crowd::crowd) },
];

/// A stream of chance length: most are short, one in four goes on for longer than 100 ms.
fn pace(dice: &mut Dice, gaps: Gaps) -> Pace {
    // Small chunks alone are another load than small ones among large ones.
    let chunk = if dice.one_in(3) { dice.log_uniform(1, CHUNK) } else { CHUNK };
    let most = (chunk * 500).min(if gaps == Gaps::None { 1 << 20 } else { 1 << 18 });
    let time = if dice.one_in(4) { dice.between(100, 250) } else { 0 };
    Pace { words: dice.log_uniform(1, most), time: Duration::from_millis(time), chunk, gaps }
}

/// A stream that is over soon.
fn short_pace(dice: &mut Dice, words: u64) -> Pace {
    let gaps = if dice.one_in(3) { Gaps::Short } else { Gaps::None };
    Pace { words: dice.log_uniform(1, words), time: Duration::ZERO, chunk: CHUNK, gaps }
}

/// Either end closes once nothing is on its way; the other one sees the end, and nothing before it.
fn finish(conn: &Conn, dice: &mut Dice) -> Result<(), Over> {
    let first = if dice.one_in(2) { End::Consumer } else { End::Provider };
    conn.flow(first.other()).finish_sending();
    conn.close(first)?;
    Reader::new(conn, first.other())?.until_end()?;
    conn.close(first.other())
}
