//! Commands that change something: start, stop, restart, register, signal.

use std::fs;
use std::path::Path;

use hyper::Method;
use serde_json::{Map, Value, json};

use super::args::{Containers, Daemons, Signal};
use super::failure::Failure;
use super::session::{Session, encode};

pub(super) async fn containers(session: &Session, command: Containers) -> Result<(), Failure> {
    let (names, action) = match command {
        Containers::Ls => return super::listing::containers(session).await,
        Containers::Start(names) => (names, "start"),
        Containers::Stop(names) => (names, "stop"),
        Containers::Restart(names) => (names, "restart"),
        Containers::Register { name, pid, start, manifests } => {
            return register(session, &name, pid, start, manifests.as_deref()).await;
        }
        Containers::Unregister { name } => {
            let target = format!("/containers/{}", encode(&name));
            session.ask(&Method::DELETE, &target, None).await?;
            return Ok(());
        }
    };
    for name in &names.names {
        put(session, "/containers", name, action).await?;
    }
    Ok(())
}

pub(super) async fn daemons(session: &Session, command: Daemons) -> Result<(), Failure> {
    let (names, action) = match command {
        Daemons::Ls => return super::listing::daemons(session).await,
        Daemons::Start(names) => (names, "start"),
        Daemons::Stop(names) => (names, "stop"),
        Daemons::Restart(names) => (names, "restart"),
    };
    for name in &names.names {
        match put(session, "/daemons", name, action).await {
            // Pantavisor's daemons know start and stop only.
            Err(Failure::Api { status: 400, .. }) if action == "restart" => {
                put(session, "/daemons", name, "stop").await?;
                put(session, "/daemons", name, "start").await?;
            }
            result => result?,
        }
    }
    Ok(())
}

pub(super) async fn signal(session: &Session, signal: &Signal) -> Result<(), Failure> {
    let kind = match signal {
        Signal::Ready => "ready",
        Signal::Alive => "alive",
    };
    let body = json!({"type": kind, "payload": ""});
    session.ask(&Method::POST, "/signal", Some(&body)).await.map(drop)
}

async fn put(session: &Session, below: &str, name: &str, action: &str) -> Result<(), Failure> {
    let target = format!("{below}/{}", encode(name));
    session.ask(&Method::PUT, &target, Some(&json!({ "action": action }))).await.map(drop)
}

async fn register(
    session: &Session,
    name: &str,
    pid: u32,
    start: Option<u64>,
    manifests: Option<&Path>,
) -> Result<(), Failure> {
    let mut body = json!({ "pid": pid });
    if let Some(start) = start {
        body["start"] = start.into();
    }
    body["manifests"] = manifests.map(read_manifests).transpose()?.unwrap_or_default().into();
    session.ask(&Method::POST, &format!("/containers/{}", encode(name)), Some(&body)).await.map(drop)
}

/// The manifests that are there; what they say is for the engine to judge.
fn read_manifests(dir: &Path) -> Result<Map<String, Value>, Failure> {
    let mut found = Map::new();
    for file in ["run.json", "args.json", "services.json"] {
        let path = dir.join(file);
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Failure::Input { path, source }),
            Ok(bytes) => {
                let value =
                    serde_json::from_slice(&bytes).map_err(|source| Failure::NotJson { path, source })?;
                found.insert(file.to_owned(), value);
            }
        }
    }
    if found.is_empty() {
        return Err(Failure::Usage(format!(
            "{} holds none of run.json, args.json and services.json",
            dir.display()
        )));
    }
    Ok(found)
}
