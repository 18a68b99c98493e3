//! Many connections of several consumers, while the provider is killed and comes back again and again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Answer, Client};
use super::reader::Trouble;
use super::rig::{ROLE, Rest};
use super::steps::Plan;
use crate::container::Container;
use crate::graph::Link;
use crate::mesh::Mesh;
use crate::pod::files;
use crate::process::{fd_count, wait_fds_at_most};
use crate::sandbox::Sandbox;
use crate::socket::{Kind, Socket};
use crate::wait::{OrFail, Raise, ensure, eventually};

/// How long a provider lives.
const LIFE: Duration = Duration::from_millis(1500);
/// How long nobody is in its place.
const GAP: Duration = Duration::from_millis(300);
/// So many faults are enough.
const ENOUGH: usize = 20;

/// What a run is.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long.
    pub time: Duration,
    /// Connections at once, of all consumers.
    pub connections: usize,
    /// Consumers, each a container of its own.
    pub consumers: usize,
}

impl Options {
    /// What `XCONNECT_REST_SOAK_…` asks for; 60 s and 1,000 connections otherwise.
    #[must_use]
    pub fn from_env() -> Self {
        let number = |name: &str, usual: u64| {
            let text = std::env::var(format!("XCONNECT_REST_SOAK_{name}")).ok();
            text.map_or(usual, |text| text.parse().or_fail(name))
        };
        Self {
            time: Duration::from_secs(number("SECONDS", 60)),
            connections: usize::try_from(number("CONNECTIONS", 1000)).unwrap_or(1000),
            consumers: 5,
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers by the provider.
    pub answered: AtomicU64,
    /// 503.
    pub turned_away: AtomicU64,
    /// Answers that said that they are the last on their connection.
    pub closed: AtomicU64,
    /// Connections that were cut, or could not be made.
    pub cut: AtomicU64,
    /// How often the provider came back.
    pub lives: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Tally {
    fn fault(&self, what: String) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What was wrong.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Stage {
    mesh: Mesh,
    consumers: Vec<Container>,
    links: Vec<Link>,
    house: Option<Container>,
}

/// Runs it.
///
/// # Panics
/// Where the mesh keeps descriptors, or links do not come up again.
#[must_use]
pub fn soak(sandbox: &Sandbox, options: &Options) -> Tally {
    let consumers = Container::start_many(sandbox, options.consumers);
    let mut stage = Stage { mesh: Mesh::start(sandbox), consumers, links: Vec::new(), house: None };
    // Once for all that is made only once.
    stage.revive(sandbox);
    stage.remove_links();
    let before = fd_count(stage.mesh.pid());
    stage.revive(sandbox);
    let tally = Tally::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let raise = Raise(&over);
        let targets: Vec<_> = stage
            .consumers
            .iter()
            .zip(&stage.links)
            .map(|(c, l)| (c.host_path(l.target()), l.clone()))
            .collect();
        for number in 0..options.connections {
            let (path, link) = targets[number % targets.len()].clone();
            let (tally, over) = (&tally, &over);
            let small = std::thread::Builder::new().stack_size(256 * 1024);
            small
                .spawn_scoped(scope, move || connection(number, &path, &link, tally, over))
                .or_fail("thread");
        }
        let begin = Instant::now();
        for life in 0.. {
            std::thread::sleep(LIFE);
            if begin.elapsed() >= options.time || tally.faults().len() >= ENOUGH {
                break;
            }
            if life % 2 == 0 {
                stage.kill_container();
            } else {
                stage.remove_socket();
            }
            std::thread::sleep(GAP);
            stage.revive(sandbox);
            tally.lives.fetch_add(1, Ordering::Relaxed);
        }
        drop(raise);
    });
    for link in &stage.links {
        stage.mesh.wait_counter(link, "/connections/open", 0);
        stage.mesh.wait_counter(link, "/http/requests/open", 0);
    }
    stage.remove_links();
    wait_fds_at_most(stage.mesh.pid(), before);
    tally
}

impl Stage {
    /// A provider, in a container that is new where there is none.
    fn revive(&mut self, sandbox: &Sandbox) {
        let house = self.house.get_or_insert_with(|| Container::start(sandbox));
        let link = |(number, inside): (usize, &Container)| {
            let link = Rest::link("api", &format!("consumer{number}"), inside, house);
            link.with("role", format!("role{number}")).option("connect_timeout", 1)
        };
        self.links = self.consumers.iter().enumerate().map(link).collect();
        house.rest_provider(self.links[0].socket(), Plan::new());
        self.mesh.apply(&self.links);
        self.mesh.wait_all(&self.links, "up");
        let path = self.consumers[0].host_path(self.links[0].target());
        eventually("a request is answered", || {
            let socket = files::connect(&path, Kind::Stream).map_err(|error| error.to_string())?;
            let answer = Client::from(Socket::from(socket)).call("GET", "/", "");
            ensure(answer.status == 200, format_args!("{answer:?}"))
        });
    }

    fn kill_container(&mut self) {
        if let Some(house) = self.house.take() {
            house.kill();
        }
    }

    /// The provider goes on with the connections that it has, as a process that is being replaced does.
    fn remove_socket(&mut self) {
        if let Some(house) = &self.house {
            house.remove(self.links[0].socket());
        }
    }

    fn remove_links(&mut self) {
        self.kill_container();
        self.mesh.apply(&[]);
        eventually("no link is left", || ensure(self.mesh.links()?.is_empty(), "some are there"));
    }
}

/// One consumer's connection after the other, each with a few requests.
fn connection(number: usize, path: &Path, link: &Link, tally: &Tally, over: &AtomicBool) {
    let mut serial = 0;
    while !over.load(Ordering::Relaxed) && tally.faults().len() < ENOUGH {
        let Ok(socket) = files::connect(path, Kind::Stream) else {
            tally.cut.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let mut client = Client::from(Socket::from(socket));
        for _ in 0..1 + number % 20 {
            serial += 1;
            let nonce = format!("{number}-{serial}");
            match request(&mut client, &nonce, serial, link) {
                Ok((status, closes)) => {
                    let count = if status == 200 { &tally.answered } else { &tally.turned_away };
                    count.fetch_add(1, Ordering::Relaxed);
                    // What says that it ends is not used again.
                    if closes {
                        tally.closed.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
                Err(None) => {
                    tally.cut.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(Some(fault)) => {
                    tally.fault(fault);
                    break;
                }
            }
            if over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// One request; the answer's status and whether the connection ends with it, or the fault, or nothing where the connection was cut.
fn request(
    client: &mut Client,
    nonce: &str,
    serial: u64,
    link: &Link,
) -> Result<(u16, bool), Option<String>> {
    let length = usize::try_from(serial * 131 % 3000).unwrap_or(0);
    let (method, body) = match serial % 3 {
        0 => ("GET", String::new()),
        1 => ("POST", format!("Content-Length: {length}\r\n\r\n{}", "x".repeat(length))),
        _ => (
            "PUT",
            format!(
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                length + 1,
                "y".repeat(length + 1)
            ),
        ),
    };
    let wanted = [0, length, length + 6][usize::try_from(serial % 3).unwrap_or(0)];
    let body = if body.is_empty() { "\r\n".to_owned() } else { body };
    let head = format!("{method} /{nonce} HTTP/1.1\r\nHost: a\r\nX-Nonce: {nonce}\r\nX-PV-Client: evil\r\n");
    let text = head + &body;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let sent = client.socket().try_send(rest, &[]).map_err(|_| None)?;
        rest = &rest[sent..];
    }
    let mut answer = Answer::default();
    match client.try_answer(method, &mut answer) {
        Ok(()) => {}
        Err(Trouble::End | Trouble::Cut) => return Err(None),
        Err(other) => return Err(Some(format!("{nonce}: {other:?} after {answer:?}"))),
    }
    let closes = answer.closes();
    match answer.status {
        200 => check(&answer, nonce, wanted, link).map_err(Some)?,
        503 => {}
        other => return Err(Some(format!("{nonce}: {other} {answer:?}"))),
    }
    Ok((answer.status, closes))
}

fn check(answer: &Answer, nonce: &str, length: usize, link: &Link) -> Result<(), String> {
    let report = answer.json();
    let identity = &report["identity"];
    let right = report["nonce"] == nonce
        && report["length"] == length
        && identity["x-pv-client"] == link.text("consumer")
        && identity["x-pv-role"] == link.text("role")
        && report["uid"] == ROLE.0
        && identity.as_object().map(serde_json::Map::len) == Some(3);
    if right {
        Ok(())
    } else {
        Err(format!("{nonce} of {} with {length} bytes: {report}", link.text("consumer")))
    }
}

/// The answers and so on, for people.
#[must_use]
pub fn summary(tally: &Tally) -> BTreeMap<&'static str, u64> {
    let all = [
        ("answered", &tally.answered),
        ("503", &tally.turned_away),
        ("closed", &tally.closed),
        ("cut", &tally.cut),
        ("lives", &tally.lives),
    ];
    all.into_iter().map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
}
