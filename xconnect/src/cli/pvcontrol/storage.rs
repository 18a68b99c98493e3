//! Commands that only Pantavisor serves: state machine, metadata, objects and revisions. They are here so
//! that its scripts find the `pvcontrol` they know.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use serde_json::json;

use super::args::{Metadata, Objects, StateCommand, Steps};
use super::failure::Failure;
use super::session::{Session, encode, encode_revision};
use crate::cli::pvcurl::{self, Body, Job, RequestHead, Show, Sink, Stats, Upload};

/// Objects are large, and storage is slow: upstream's bound.
const OBJECT_TIME: Duration = Duration::from_secs(14_400);

pub(super) async fn state_command(session: &Session, command: StateCommand) -> Result<(), Failure> {
    let (op, payload) = match command {
        StateCommand::Run { revision } => ("LOCAL_RUN", revision),
        StateCommand::RunCommit { revision } => ("LOCAL_RUN_COMMIT", revision),
        StateCommand::Poweroff { reason } => ("POWEROFF_DEVICE", reason.unwrap_or_default()),
        StateCommand::Reboot { reason } => ("REBOOT_DEVICE", reason.unwrap_or_default()),
        StateCommand::RunGc => ("RUN_GC", String::new()),
        StateCommand::MakeFactory { revision } => ("MAKE_FACTORY", revision.unwrap_or_default()),
        StateCommand::EnableSsh => ("ENABLE_SSH", String::new()),
        StateCommand::DisableSsh => ("DISABLE_SSH", String::new()),
        StateCommand::GoRemote => ("GO_REMOTE", String::new()),
        StateCommand::DeferReboot { timeout } => ("DEFER_REBOOT", timeout),
    };
    let body = json!({ "op": op, "payload": payload });
    let answer = session.ask(&Method::POST, "/commands", Some(&body)).await?;
    print_text(session, &answer.body)
}

pub(super) async fn metadata(session: &Session, below: &str, command: Metadata) -> Result<(), Failure> {
    let answer = match command {
        Metadata::Ls => session.get(below).await?,
        Metadata::Save { key, value } => {
            let target = format!("{below}/{}", encode(&key));
            session.send(&Method::PUT, &target, Some(value.into_bytes())).await?
        }
        Metadata::Delete { key } => {
            session.send(&Method::DELETE, &format!("{below}/{}", encode(&key)), None).await?
        }
    };
    print_text(session, &answer.body)
}

pub(super) async fn objects(session: &Session, command: Objects) -> Result<(), Failure> {
    match command {
        Objects::Ls => {
            let answer = session.get("/objects").await?;
            print_text(session, &answer.body)
        }
        Objects::Get { sha } => stream(session, "GET", &sha, Upload::None, Body::NONE).await,
        Objects::Put { path, sha } => {
            let upload = match path.strip_prefix('-') {
                Some(size) => Upload::standard_input(
                    size.parse()
                        .map_err(|_| Failure::Usage(format!("\"{path}\" is neither a file nor -SIZE")))?,
                ),
                None => Upload::file(Path::new(&path))?,
            };
            let body = Body {
                length: upload.length(),
                content_type: Some("application/octet-stream"),
                present: true,
            };
            stream(session, "PUT", &sha, upload, body).await
        }
    }
}

/// An object goes through piece by piece, whatever its size.
async fn stream(
    session: &Session,
    method: &str,
    sha: &str,
    upload: Upload,
    body: Body,
) -> Result<(), Failure> {
    let socket = session.client.reachable().await?;
    let url = format!("http://localhost/objects/{}", encode(sha));
    session.trace(format_args!("> {method} {url}"));
    let job = Job {
        socket,
        connect_timeout: Duration::from_secs(5),
        max_time: Some(OBJECT_TIME),
        request: RequestHead::new(method, &url, &["Expect:".to_owned()], body)?,
        show: Show { catch: true, ..Show::default() },
    };
    let stats = RefCell::new(Stats::default());
    let mut sink = Sink::new(session.out.path());
    let result = pvcurl::run(&job, upload, &mut sink, &stats).await;
    let status = stats.borrow().status();
    session.trace(format_args!("< {status}"));
    match result {
        Ok(()) if status == 200 => Ok(()),
        Ok(()) => Err(Failure::Api { status, body: stats.into_inner().caught }),
        Err(pvcurl::Error::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            Err(Failure::ReaderGone)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn steps(session: &Session, command: Steps, message: Option<String>) -> Result<(), Failure> {
    let (path, revision) = match command {
        Steps::Ls => return show(session, "/steps").await,
        Steps::Get { revision } => {
            return show(session, &format!("/steps/{}", encode_revision(&revision))).await;
        }
        Steps::ShowProgress { revision } => {
            return show(session, &format!("/steps/{}/progress", encode_revision(&revision))).await;
        }
        Steps::Put { path, revision } => (path, revision),
    };
    let state = match path.as_str() {
        "-" => {
            let mut state = Vec::new();
            io::stdin().read_to_end(&mut state).map(|_| state)
        }
        path => fs::read(path),
    };
    let state = state.map_err(|source| Failure::Input { path: PathBuf::from(path), source })?;
    let target = format!("/steps/{}", encode_revision(&revision));
    let answer = session.send(&Method::PUT, &target, Some(state)).await?;
    print_text(session, &answer.body)?;
    if let Some(message) = message {
        session.send(&Method::PUT, &format!("{target}/commitmsg"), Some(message.into_bytes())).await?;
    }
    Ok(())
}

async fn show(session: &Session, target: &str) -> Result<(), Failure> {
    let answer = session.get(target).await?;
    print_text(session, &answer.body)
}

/// As it came; nothing where nothing came.
fn print_text(session: &Session, body: &[u8]) -> Result<(), Failure> {
    if body.is_empty() { Ok(()) } else { session.print(body) }
}
