//! From method and path to an endpoint, from an endpoint and a body to the one [`Action`] it asks for.

use std::time::SystemTime;

use hyper::Method;
use serde::de::DeserializeOwned;

use crate::api::error::ApiError;
use crate::api::time;
use crate::api::types::{ActionName, ActionRequest, RegisterRequest, Signal};

/// Largest body of an action, bytes (Pantavisor's limit).
const MAX_ACTION: usize = 1024;
/// Largest body of a signal, bytes (Pantavisor's limit).
const MAX_SIGNAL: usize = 4096;

/// An endpoint with its method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Graph,
    Daemons,
    Daemon(String),
    Containers,
    PutContainer(String),
    PostContainer(String),
    DeleteContainer(String),
    Groups,
    Signal,
    BuildInfo,
    Config,
    Config2,
    Revision,
    Metrics,
    Audit,
}

/// Whether a caller must be a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Management,
    /// A manager, or the mesh.
    Graph,
    AnyContainer,
}

/// From where the audit log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Entries after this position.
    Seq(u64),
    /// Entries after this time.
    Time(SystemTime),
}

/// All that can be asked of the control socket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Graph,
    WatchGraph,
    ListDaemons,
    Daemon(String, ActionName),
    ListContainers,
    Container(String, ActionName),
    Register(String, RegisterRequest),
    Unregister(String),
    ListGroups,
    Ready,
    BuildInfo,
    Config,
    Config2,
    Revision,
    Metrics,
    Audit(Since),
}

impl Route {
    /// Finds the endpoint.
    ///
    /// # Errors
    /// Unknown endpoint, method not supported, missing name.
    pub(crate) fn of(method: &Method, path: &str) -> Result<Self, ApiError> {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let first = parts.next().unwrap_or_default();
        let name = parts.next().map(str::to_owned);
        let named = |missing: ApiError| match &name {
            Some(name) if !name.is_empty() => percent_decode(name).ok_or(ApiError::UnknownEndpoint),
            _ => Err(missing),
        };
        let route = match first {
            "containers" => match (method, name.is_some()) {
                (&Method::GET, false) => Self::Containers,
                (&Method::PUT, _) => Self::PutContainer(named(ApiError::MissingContainerName)?),
                (&Method::POST, _) => Self::PostContainer(named(ApiError::MissingContainerName)?),
                (&Method::DELETE, _) => Self::DeleteContainer(named(ApiError::MissingContainerName)?),
                _ => return Err(ApiError::MethodNotSupported),
            },
            "daemons" => match (method, name.is_some()) {
                (&Method::GET, false) => Self::Daemons,
                (&Method::PUT, _) => Self::Daemon(named(ApiError::MissingDaemonName)?),
                _ => return Err(ApiError::MethodNotSupported),
            },
            _ if name.as_ref().is_some_and(|rest| !rest.is_empty()) => return Err(ApiError::UnknownEndpoint),
            "signal" if method == Method::POST => Self::Signal,
            "signal" => return Err(ApiError::MethodNotSupported),
            _ => {
                let route = match first {
                    "xconnect-graph" => Self::Graph,
                    "groups" => Self::Groups,
                    "buildinfo" => Self::BuildInfo,
                    "config" => Self::Config,
                    "config2" => Self::Config2,
                    "revision" => Self::Revision,
                    "metrics" => Self::Metrics,
                    "audit" => Self::Audit,
                    _ => return Err(ApiError::UnknownEndpoint),
                };
                if method != Method::GET {
                    return Err(ApiError::MethodNotSupported);
                }
                route
            }
        };
        Ok(route)
    }

    /// Who may.
    pub(crate) fn access(&self) -> Access {
        match self {
            Self::Signal => Access::AnyContainer,
            Self::Graph => Access::Graph,
            _ => Access::Management,
        }
    }

    /// Reads query and body.
    ///
    /// # Errors
    /// What is wrong with them, and where.
    pub(crate) fn action(self, query: Option<&str>, body: &[u8]) -> Result<Action, ApiError> {
        Ok(match self {
            Self::Graph => match parameter(query, "watch")?.as_deref() {
                None | Some("0") => Action::Graph,
                Some("1") => Action::WatchGraph,
                Some(other) => {
                    return Err(ApiError::InvalidQuery(format!("watch: must be 0 or 1, is {other:?}")));
                }
            },
            Self::Daemons => Action::ListDaemons,
            Self::Daemon(name) => Action::Daemon(name, action_name(body)?),
            Self::Containers => Action::ListContainers,
            Self::PutContainer(name) => Action::Container(name, action_name(body)?),
            Self::PostContainer(name) => {
                if body.is_empty() {
                    return Err(ApiError::NoData);
                }
                Action::Register(name, json(body).map_err(|error| ApiError::InvalidJson(error.to_string()))?)
            }
            Self::DeleteContainer(name) => Action::Unregister(name),
            Self::Groups => Action::ListGroups,
            Self::Signal => signal(body)?,
            Self::BuildInfo => Action::BuildInfo,
            Self::Config => Action::Config,
            Self::Config2 => Action::Config2,
            Self::Revision => Action::Revision,
            Self::Metrics => Action::Metrics,
            Self::Audit => Action::Audit(since(query)?),
        })
    }
}

/// Reads JSON; the error names the place in it.
///
/// # Errors
/// `at.this[1].place: what`, or the line and column of a syntax error.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader)?;
    reader
        .end()
        .map_err(|error| serde_path_to_error::Error::new(serde_path_to_error::Track::new().path(), error))?;
    Ok(value)
}

fn action_name(body: &[u8]) -> Result<ActionName, ApiError> {
    if body.len() > MAX_ACTION {
        return Err(ApiError::BodyTooLarge(MAX_ACTION));
    }
    if body.is_empty() {
        return Err(ApiError::NoData);
    }
    let request: ActionRequest = json(body).map_err(|error| {
        let text = error.inner().to_string();
        if error.path().to_string() == "action"
            && error.inner().is_data()
            && !text.starts_with("unknown field")
        {
            ApiError::InvalidAction(error.to_string())
        } else if text.starts_with("missing field `action`") {
            ApiError::MissingAction
        } else {
            ApiError::InvalidJson(error.to_string())
        }
    })?;
    ActionName::parse(&request.action)
        .ok_or_else(|| ApiError::InvalidAction(format!("action: {:?}", request.action)))
}

fn signal(body: &[u8]) -> Result<Action, ApiError> {
    if body.len() > MAX_SIGNAL {
        return Err(ApiError::BodyTooLarge(MAX_SIGNAL));
    }
    let signal: Signal = json(body).map_err(|error| ApiError::BadSignal(error.to_string()))?;
    match signal.kind.as_str() {
        "ready" => Ok(Action::Ready),
        other => Err(ApiError::BadSignal(format!("type: unknown signal {other:?}, expected \"ready\""))),
    }
}

fn since(query: Option<&str>) -> Result<Since, ApiError> {
    let Some(text) = parameter(query, "since")? else { return Ok(Since::Seq(0)) };
    if let Ok(seq) = text.parse() {
        return Ok(Since::Seq(seq));
    }
    time::parse_rfc3339(&text).map(Since::Time).ok_or_else(|| {
        ApiError::InvalidQuery(
            "since: must be the number of an entry or a time like 2026-11-23T18:00:00Z".to_owned(),
        )
    })
}

/// The one parameter that the endpoint knows; others are refused by name.
fn parameter(query: Option<&str>, known: &str) -> Result<Option<String>, ApiError> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != known {
            return Err(ApiError::InvalidQuery(format!("{key}: unknown parameter, expected {known}")));
        }
        let value = percent_decode(value);
        found = Some(value.ok_or_else(|| ApiError::InvalidQuery(format!("{key}: is not valid UTF-8")))?);
    }
    Ok(found)
}

pub(super) fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            decoded.push(u8::from_str_radix(hex, 16).ok()?);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
#[path = "route/tests.rs"]
mod tests;
