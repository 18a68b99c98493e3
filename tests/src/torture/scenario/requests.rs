//! Requests and answers: an end that has asked waits for ever if a single word stays behind.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::finish;
use crate::torture::conn::{Conn, End, Over, both};
use crate::torture::dice::Dice;
use crate::torture::reader::Reader;
use crate::torture::sender::{Gaps, Sender, spin};
use crate::torture::stage::Stage;

/// One question and its answer.
struct Round {
    question: u64,
    pieces: u64,
    answer: u64,
    answer_pieces: u64,
}

fn rounds(dice: &mut Dice, most: u64) -> Vec<Round> {
    // Mostly small ones; one connection in four has large ones.
    let largest = if dice.one_in(4) { 1 << 15 } else { 1 << 9 };
    let count = dice.log_uniform(1, most);
    (0..count)
        .map(|_| Round {
            question: dice.log_uniform(1, largest),
            pieces: dice.between(1, 6),
            answer: dice.log_uniform(1, largest),
            answer_pieces: dice.between(1, 3),
        })
        .collect()
}

/// The end that asks.
fn ask(conn: &Conn, at: End, rounds: &[Round], gaps: Gaps, mut dice: Dice) -> Result<(), Over> {
    let (mut sender, mut reader) = (Sender::new(conn, at, dice.fork())?, Reader::new(conn, at)?);
    let mut answers = 0;
    for round in rounds {
        sender.pieces(round.question, round.pieces, gaps)?;
        answers += round.answer;
        reader.until(answers)?;
        if gaps == Gaps::Short && dice.one_in(4) {
            spin(Duration::from_micros(dice.log_uniform(1, 1000)));
        }
    }
    Ok(())
}

/// The end that answers.
fn answer(conn: &Conn, at: End, rounds: &[Round], gaps: Gaps, mut dice: Dice) -> Result<(), Over> {
    let (mut sender, mut reader) = (Sender::new(conn, at, dice.fork())?, Reader::new(conn, at)?);
    let mut questions = 0;
    for round in rounds {
        questions += round.question;
        reader.until(questions)?;
        sender.pieces(round.answer, round.answer_pieces, gaps)?;
    }
    Ok(())
}

/// Requests in one to six pieces, each after the answer to the one before.
pub(super) fn pieces(conn: &Conn, stage: &Stage<'_>, gaps: Gaps) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let rounds = rounds(&mut dice, 800);
    let (one, other) = (dice.fork(), dice.fork());
    both(
        || ask(conn, End::Consumer, &rounds, gaps, one),
        || answer(conn, End::Provider, &rounds, gaps, other),
    )?;
    finish(conn, &mut dice)
}

/// The provider greets, and goes on to ask; the consumer answers.
pub(super) fn server_first(conn: &Conn, stage: &Stage<'_>) -> Result<(), Over> {
    let mut dice = conn.dice();
    if dice.one_in(3) {
        spin(Duration::from_micros(dice.log_uniform(1, 300)));
    }
    stage.accept(conn)?;
    let rounds = rounds(&mut dice, 12);
    let gaps = if dice.one_in(2) { Gaps::Short } else { Gaps::None };
    let (one, other) = (dice.fork(), dice.fork());
    both(
        || answer(conn, End::Consumer, &rounds, gaps, one),
        || ask(conn, End::Provider, &rounds, gaps, other),
    )?;
    finish(conn, &mut dice)
}

/// Threads of a server that answers with changing ones.
const POOL: usize = 4;

/// The answers of one connection are written by changing threads, one after the other.
pub(super) fn pool(conn: &Conn, stage: &Stage<'_>) -> Result<(), Over> {
    stage.accept(conn)?;
    let mut dice = conn.dice();
    let rounds = rounds(&mut dice, 200);
    let gaps = if dice.one_in(2) { Gaps::Short } else { Gaps::None };
    let (one, other) = (dice.fork(), dice.fork());
    both(|| ask(conn, End::Consumer, &rounds, gaps, one), || answer_by_pool(conn, &rounds, other))?;
    finish(conn, &mut dice)
}

fn answer_by_pool(conn: &Conn, rounds: &[Round], mut dice: Dice) -> Result<(), Over> {
    let sender = &Mutex::new(Sender::new(conn, End::Provider, dice.fork())?);
    let mut reader = Reader::new(conn, End::Provider)?;
    thread::scope(|scope| {
        let (told, done) = mpsc::channel();
        let workers: Vec<_> = (0..POOL)
            .map(|_| {
                let (order, orders) = mpsc::channel();
                let told = told.clone();
                scope.spawn(move || {
                    for words in orders {
                        let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
                        let written = sender.write(words);
                        drop(sender);
                        if told.send(written).is_err() {
                            return;
                        }
                    }
                });
                order
            })
            .collect();
        drop(told);
        let mut questions = 0;
        for round in rounds {
            questions += round.question;
            reader.until(questions)?;
            let mut rest = round.answer;
            while rest > 0 {
                let piece = dice.log_uniform(1, rest);
                rest -= piece;
                let worker = dice.between(0, POOL as u64 - 1) as usize;
                let ordered = workers[worker].send(piece);
                ordered.map_err(|_| conn.error("a thread of the pool has ended".to_owned()))?;
                done.recv().map_err(|_| conn.error("the pool has ended".to_owned()))??;
            }
        }
        Ok(())
    })
}
