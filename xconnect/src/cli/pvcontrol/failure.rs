//! What can go wrong in `pvcontrol`, and its exit code.

use std::io;
use std::path::PathBuf;

use serde_json::Value;

use crate::api::client;
use crate::cli::pvcurl;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Transfer(#[from] pvcurl::Error),
    /// The API refused; its body is for standard error as it is.
    #[error("{}", text(*status, body))]
    Api { status: u16, body: Vec<u8> },
    /// The state directory's present content is not applied.
    #[error("the state since {since} is refused; the revision before stays:{errors}")]
    Refused { since: String, errors: String },
    #[error("{what}: the answer is not what was asked for")]
    Unreadable {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{what}: the answer is not a list")]
    NotAList { what: String },
    #[error("-o dot is for graph only")]
    NotAGraph,
    /// The reader of the output has gone.
    #[error("nobody reads the output")]
    ReaderGone,
    #[error("cannot write {target}")]
    Output {
        target: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {}", path.display())]
    Input {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not JSON", path.display())]
    NotJson {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{0}")]
    Usage(String),
    #[error("cannot set up")]
    Runtime(#[source] io::Error),
}

impl Failure {
    /// The program's exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::NotAGraph | Self::Usage(_) => 2,
            Self::Refused { .. } => 70,
            Self::Api { status, body } => api_code(*status, body),
            Self::Client(client::Error::Refused { answer }) => api_code(answer.status, &answer.body),
            _ => 1,
        }
    }
}

/// Upstream's exit codes go by the text of the error.
fn api_code(status: u16, body: &[u8]) -> u8 {
    let error = serde_json::from_slice::<Value>(body).ok();
    match error.as_ref().and_then(|body| body.get("Error")?.as_str()) {
        Some("Not enough disk space available") => 48,
        Some("Object has bad checksum") => 60,
        Some("State verification has failed") => 70,
        _ if status == 422 => 70,
        _ => 255,
    }
}

fn text(status: u16, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    match body.trim_end() {
        "" => format!("the API answered with status {status} and no text"),
        body => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let code = |status, body: &str| Failure::Api { status, body: body.into() }.code();
        assert_eq!(code(507, r#"{"Error":"Not enough disk space available"}"#), 48);
        assert_eq!(code(422, r#"{"Error": "Object has bad checksum"}"#), 60);
        assert_eq!(code(422, r#"{"Error":"State verification has failed"}"#), 70);
        assert_eq!(code(422, r#"{"Error":"web/run.json: name: missing"}"#), 70);
        assert_eq!(code(404, r#"{"Error":"Container not found"}"#), 255);
        assert_eq!(code(500, "no json"), 255);
        assert_eq!(Failure::ReaderGone.code(), 0);
    }
}
