//! Every error that the control API answers, and the one map from it to a status and a text.

use hyper::StatusCode;

use super::types::ErrorBody;

/// Why a request was not done. The texts of Pantavisor's own errors are Pantavisor's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The caller is no manager.
    #[error("Request not sent from mgmt platform")]
    NotManagement,
    /// On the socket for links: the peer is not pv-xconnect, or the container is not there; which.
    #[error("Request not sent over a link")]
    NotOverLink(String),
    /// On the socket for links: the request does not say whose it is; the field.
    #[error("Request does not name its link")]
    UnnamedLink(String),
    /// Containers of restart policy `system` belong to the revision, not to the operator.
    #[error("Container has restart_policy 'system' and cannot be controlled via API")]
    SystemContainer,
    /// No container of that name.
    #[error("Container not found")]
    ContainerNotFound,
    /// No daemon of that name.
    #[error("Daemon not found")]
    DaemonNotFound,
    /// `/containers/` without a name.
    #[error("Missing container name")]
    MissingContainerName,
    /// `/daemons/` without a name.
    #[error("Missing daemon name")]
    MissingDaemonName,
    /// A body is needed and none came.
    #[error("No data")]
    NoData,
    /// The body is not the JSON that the endpoint takes; the place.
    #[error("Invalid JSON")]
    InvalidJson(String),
    /// The body lacks its one field.
    #[error("Missing 'action' field")]
    MissingAction,
    /// The action is none of the three; the place.
    #[error("Invalid action. Use 'start', 'stop', or 'restart'")]
    InvalidAction(String),
    /// The container's state does not allow a start.
    #[error("Container must be in STOPPED, STOPPING, or RECOVERING state to start")]
    CannotStart,
    /// The container's state does not allow a restart.
    #[error("Container state does not allow restart")]
    CannotRestart,
    /// The endpoint is there, the method is not.
    #[error("Method not supported for this endpoint")]
    MethodNotSupported,
    /// No such endpoint.
    #[error("Unknown endpoint")]
    UnknownEndpoint,
    /// A parameter of the query is at fault.
    #[error("Invalid query")]
    InvalidQuery(String),
    /// `POST /signal` with a body that is no signal; the place.
    #[error("Signal has bad format")]
    BadSignal(String),
    /// A signal from a caller that is no container, or a container that waits for none.
    #[error("Signal not expected from this platform")]
    UnexpectedSignal,
    /// The body is larger than the endpoint takes (bytes).
    #[error("Body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The body did not come in time.
    #[error("Body did not arrive in time")]
    BodyTimeout,
    /// Manifests that are refused; one error a line.
    #[error("{0}")]
    Refused(String),
    /// The request contradicts what is there (a container of that name exists, its process is gone).
    #[error("{0}")]
    Conflict(String),
    /// There is nothing to answer with yet.
    #[error("{0}")]
    Unavailable(String),
    /// The server could not do it, and the caller is not at fault.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotManagement | Self::NotOverLink(_) | Self::SystemContainer => StatusCode::FORBIDDEN,
            Self::ContainerNotFound | Self::DaemonNotFound | Self::UnknownEndpoint => StatusCode::NOT_FOUND,
            Self::MissingContainerName
            | Self::MissingDaemonName
            | Self::NoData
            | Self::InvalidJson(_)
            | Self::MissingAction
            | Self::InvalidAction(_)
            | Self::CannotStart
            | Self::CannotRestart
            | Self::MethodNotSupported
            | Self::InvalidQuery(_)
            | Self::UnnamedLink(_)
            | Self::BadSignal(_) => StatusCode::BAD_REQUEST,
            Self::UnexpectedSignal | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The JSON of the answer.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let detail = match self {
            Self::InvalidJson(place)
            | Self::InvalidAction(place)
            | Self::InvalidQuery(place)
            | Self::NotOverLink(place)
            | Self::UnnamedLink(place)
            | Self::BadSignal(place) => Some(place.clone()),
            _ => None,
        };
        ErrorBody { error: self.to_string(), detail }
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_texts_are_pantavisors() {
        let table = [
            (ApiError::NotManagement, 403, "Request not sent from mgmt platform"),
            (
                ApiError::SystemContainer,
                403,
                "Container has restart_policy 'system' and cannot be controlled via API",
            ),
            (ApiError::ContainerNotFound, 404, "Container not found"),
            (ApiError::DaemonNotFound, 404, "Daemon not found"),
            (ApiError::MissingContainerName, 400, "Missing container name"),
            (ApiError::NoData, 400, "No data"),
            (ApiError::InvalidJson(String::new()), 400, "Invalid JSON"),
            (ApiError::MissingAction, 400, "Missing 'action' field"),
            (
                ApiError::InvalidAction(String::new()),
                400,
                "Invalid action. Use 'start', 'stop', or 'restart'",
            ),
            (
                ApiError::CannotStart,
                400,
                "Container must be in STOPPED, STOPPING, or RECOVERING state to start",
            ),
            (ApiError::CannotRestart, 400, "Container state does not allow restart"),
            (ApiError::MethodNotSupported, 400, "Method not supported for this endpoint"),
            (ApiError::NotOverLink(String::new()), 403, "Request not sent over a link"),
            (ApiError::UnnamedLink(String::new()), 400, "Request does not name its link"),
            (ApiError::UnexpectedSignal, 500, "Signal not expected from this platform"),
            (ApiError::BodyTooLarge(1024), 413, "Body is larger than 1024 bytes"),
        ];
        for (error, status, text) in table {
            assert_eq!(error.status().as_u16(), status, "{error:?}");
            assert_eq!(error.body().error, text);
        }
    }

    #[test]
    fn the_place_is_a_field_of_its_own() {
        let json = serde_json::to_string(&ApiError::InvalidJson("line 1 column 2".to_owned()).body());
        assert_eq!(json.unwrap(), r#"{"Error":"Invalid JSON","Detail":"line 1 column 2"}"#);
        let json = serde_json::to_string(&ApiError::NoData.body()).unwrap();
        assert_eq!(json, r#"{"Error":"No data"}"#);
    }
}
