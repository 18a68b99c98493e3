//! Plays the scenarios: on each lane one after the other in an order of chance, until it is enough.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::conn::{Conn, Cuts, Patience};
use super::dice::Dice;
use super::options::{Forward, Options};
use super::report::{Report, Row};
use super::rig::{Lane, Rig};
use super::scenario::{ALL, Play, Scenario};
use super::stats::{Stats, settle};
use crate::sandbox::Sandbox;

/// How long a lane stays with a scenario.
const TURN: Duration = Duration::from_millis(300);
/// How often the progress is shown.
const SHOWN: Duration = Duration::from_secs(5);
/// A run with so many faulty connections has seen enough.
const ENOUGH: usize = 20;

/// One scenario's account.
struct Account {
    scenario: Scenario,
    stats: Mutex<Stats>,
    /// The number of the next connection.
    next: AtomicU64,
}

/// A run.
struct Run<'a> {
    options: &'a Options,
    rig: Rig,
    accounts: Vec<Account>,
    begin: Instant,
    faults: Mutex<Vec<String>>,
    aborted: AtomicBool,
}

/// Plays; prints progress and faults as they come.
///
/// # Panics
/// Where there is no such scenario, or the system refuses what the run needs.
#[must_use]
pub fn run(sandbox: &Sandbox, options: &Options) -> Report {
    let wanted = |scenario: &&Scenario| options.scenario.as_ref().is_none_or(|name| name == scenario.name);
    let scenarios: Vec<_> = ALL.iter().filter(wanted).copied().collect();
    let names: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
    assert!(!scenarios.is_empty(), "no such scenario; there are {}", names.join(", "));
    println!("torture: forward {}, seed {}", options.forward.as_str(), options.seed);
    let rig = Rig::start(sandbox, options, &scenarios);
    let account = |scenario| Account { scenario, stats: Mutex::default(), next: AtomicU64::new(0) };
    let run = Run {
        options,
        rig,
        accounts: scenarios.into_iter().map(account).collect(),
        begin: Instant::now(),
        faults: Mutex::default(),
        aborted: AtomicBool::new(false),
    };
    run.play();
    run.report()
}

impl Run<'_> {
    fn play(&self) {
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            for (number, lane) in self.rig.lanes.iter().enumerate() {
                let ended = &ended;
                scope.spawn(move || {
                    let _abort = AbortOnPanic(self);
                    self.lane(number, lane);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            let mut shown = Instant::now();
            while ended.load(Ordering::SeqCst) < self.rig.lanes.len() && !self.aborted.load(Ordering::SeqCst)
            {
                thread::sleep(Duration::from_millis(50));
                if shown.elapsed() >= SHOWN {
                    shown = Instant::now();
                    self.show();
                }
            }
        });
    }

    fn total(&self) -> Stats {
        let mut total = Stats::default();
        self.accounts.iter().for_each(|account| total += account.stats());
        total
    }

    fn show(&self) {
        let total = self.total();
        println!(
            "{:>5} s: {} connections, {:.2} GB, {} faults, {} cut",
            self.begin.elapsed().as_secs(),
            total.connections,
            total.bytes as f64 / 1e9,
            total.faults(),
            total.cut
        );
    }

    fn is_over(&self) -> bool {
        if self.aborted.load(Ordering::SeqCst) || self.faults().len() >= ENOUGH {
            return true;
        }
        let total = self.total();
        self.options.time.is_some_and(|time| self.begin.elapsed() >= time)
            || (total.connections >= self.options.connections && total.bytes >= self.options.bytes)
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, number: usize, lane: &Lane) {
        let mut dice = Dice::new(Dice::derive(self.options.seed, number as u64));
        let mut order: Vec<_> = (0..self.accounts.len()).collect();
        loop {
            dice.shuffle(&mut order);
            for index in &order {
                let over = self.is_over();
                // What nobody has begun is played all the same.
                let new = self.accounts[*index].next.load(Ordering::SeqCst) == 0;
                if !over || (new && self.faults().is_empty()) {
                    self.turn(*index, lane);
                }
            }
            if self.is_over() {
                return;
            }
        }
    }

    /// A while with one scenario.
    fn turn(&self, index: usize, lane: &Lane) {
        let account = &self.accounts[index];
        let track = &lane.tracks[index];
        let stage = self.rig.stage(lane, track);
        let begin = Instant::now();
        loop {
            self.rig.clear(track);
            match account.scenario.play {
                Play::One(play) => {
                    let conn = self.conn(index, account.take(1));
                    if stage.open(&conn).is_ok() {
                        let _ = play(&conn, &stage);
                    }
                    self.account(account, track, &[conn]);
                }
                Play::Many(count, play) => {
                    let first = account.take(count);
                    let conns: Vec<_> =
                        (first..first + count).map(|number| self.conn(index, number)).collect();
                    play(&conns, &stage);
                    self.account(account, track, &conns);
                }
            }
            if begin.elapsed() >= TURN || self.is_over() {
                return;
            }
        }
    }

    fn conn(&self, index: usize, number: u64) -> Conn {
        let scenario = &self.accounts[index].scenario;
        // By the name: a run of one scenario alone plays the same connections.
        let name = scenario.name.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
        let seed = Dice::derive(Dice::derive(self.options.seed, name), number);
        let promised = self.options.forward != Forward::User;
        let cuts = if promised && scenario.breaks_promise { Cuts::Allowed } else { Cuts::Wrong };
        Conn::new(number, seed, cuts, Patience::default())
    }

    fn account(&self, account: &Account, track: &super::rig::Track, conns: &[Conn]) {
        for conn in conns {
            let (stats, fault) = settle(conn);
            *account.stats.lock().unwrap_or_else(PoisonError::into_inner) += stats;
            let Some(fault) = fault else { continue };
            let mut faults = self.faults();
            if faults.len() < ENOUGH {
                let fault = format!(
                    "scenario {}, run's seed {}, connection {} (its seed {:#018x}): {fault}\n  link: {}",
                    account.scenario.name,
                    self.options.seed,
                    conn.number,
                    conn.seed,
                    self.rig.status(&track.link)
                );
                println!("FAULT {fault}");
                faults.push(fault);
            }
        }
    }

    fn report(self) -> Report {
        self.show();
        let entries = self.rig.settled();
        let rows = self.accounts.iter().zip(entries).map(|(account, entries)| {
            Row::new(account.scenario.name, account.scenario.breaks_promise, account.stats(), &entries)
        });
        let kernel_path = self.rig.mesh.status()["kernel_path"].clone();
        Report {
            name: self.options.name.clone(),
            forward: self.options.forward.as_str(),
            seed: self.options.seed,
            seconds: self.begin.elapsed().as_secs_f64(),
            whole: self.options.scenario.is_none(),
            kernel_path,
            rows: rows.collect(),
            faults: self.faults().clone(),
        }
    }
}

impl Account {
    fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::SeqCst)
    }
}

/// Ends the other lanes where one panics, so that the failure is seen.
struct AbortOnPanic<'a, 'b>(&'a Run<'b>);

impl Drop for AbortOnPanic<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.aborted.store(true, Ordering::SeqCst);
        }
    }
}
