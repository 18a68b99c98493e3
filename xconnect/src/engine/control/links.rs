//! The control socket for links: pv-xconnect alone connects, and says of each request whose it is.

use std::sync::Arc;

use hyper::HeaderMap;

use super::caller::Caller;
use super::handler::Control;
use super::route::percent_decode;
use crate::api::error::ApiError;
use crate::api::server::{Handler, Peer, Request, Response, Trust};
use crate::ids::{ContainerName, Role};

const CLIENT: &str = "x-pv-client";
const ROLE: &str = "x-pv-role";
const LINK: &str = "x-pv-link-id";

/// The handler of the socket for links. The fields that name a caller are believed here and nowhere else:
/// the mesh writes them, and lets none of a consumer's through.
pub(in crate::engine) struct Links(pub(in crate::engine) Arc<Control>);

impl Links {
    fn caller(&self, peer: &Peer, fields: &HeaderMap) -> Result<Caller, ApiError> {
        let callers = self.0.callers();
        // For each request: the process that was the mesh when it connected may have been replaced.
        let connected = callers.of(peer);
        if connected != Caller::Mesh {
            let (pid, uid) = (peer.pid(), peer.uid());
            tracing::warn!(caller = ?connected, pid, uid, "refused a caller on the socket for links that is not pv-xconnect");
            let text = "This socket is for pv-xconnect only: others use pv-ctrl";
            return Err(ApiError::NotOverLink(text.to_owned()));
        }
        let (container, role) = named(fields)?;
        if !callers.knows(&container) {
            let text = format!("{CLIENT}: no container {container} in the revision in force");
            return Err(ApiError::NotOverLink(text));
        }
        Ok(Caller::Link(container, role))
    }
}

impl Handler for Links {
    fn trust(&self, peer: &Peer) -> Trust {
        match self.0.callers().of(peer) {
            Caller::Mesh => Trust::Operator,
            caller => Trust::Guest(match caller.container() {
                Some(name) => name.to_string(),
                None => format!("uid {}", peer.uid()),
            }),
        }
    }

    fn trust_request(&self, peer: &Peer, fields: &HeaderMap) -> Result<Trust, ApiError> {
        let caller = self.caller(peer, fields)?;
        Ok(match caller.container() {
            Some(name) if !self.0.callers().is_manager(&caller) => Trust::Guest(name.to_string()),
            _ => Trust::Operator,
        })
    }

    async fn handle(&self, peer: Arc<Peer>, request: Request) -> Response {
        let answer = match self.caller(&peer, &request.fields) {
            Ok(caller) => self.0.answer(&peer, caller, request).await,
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| Response::error(&error))
    }
}

/// Whose request it is, by the fields that the mesh writes.
fn named(fields: &HeaderMap) -> Result<(ContainerName, Role), ApiError> {
    let unnamed = |field: &str, what: &str| ApiError::UnnamedLink(format!("{field}: {what}"));
    let client =
        ContainerName::new(one(fields, CLIENT)?).map_err(|_| unnamed(CLIENT, "is no container's name"))?;
    let role = Role::new(one(fields, ROLE)?).map_err(|_| unnamed(ROLE, "is no role"))?;
    one(fields, LINK)?;
    Ok((client, role))
}

/// The value of a field that must be there once. The mesh writes letters beyond ASCII as `%C3%A9`.
fn one(fields: &HeaderMap, name: &str) -> Result<String, ApiError> {
    let unnamed = |what: &str| ApiError::UnnamedLink(format!("{name}: {what}"));
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(unnamed("is missing")),
        (Some(_), Some(_)) => Err(unnamed("is there more than once")),
        (Some(value), None) => {
            let text = value.to_str().ok().filter(|text| !text.is_empty()).and_then(percent_decode);
            text.ok_or_else(|| unnamed("cannot be read"))
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn read(fields: &[(&'static str, &'static str)]) -> Result<(String, String), ApiError> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        named(&map).map(|(client, role)| (client.to_string(), role.to_string()))
    }

    #[test]
    fn a_request_is_of_whom_the_mesh_says() {
        let named = |client, role| read(&[(CLIENT, client), (ROLE, role), (LINK, "2c523ec1d881237b")]);
        assert_eq!(named("web", "mgmt").unwrap(), ("web".to_owned(), "mgmt".to_owned()));
        assert_eq!(named("caf%C3%A9", "any").unwrap().0, "café");
        for (client, role) in [("", "any"), ("web", ""), ("%FF", "any"), ("a%", "any"), ("a/b", "any")] {
            assert!(named(client, role).is_err(), "{client} {role}");
        }
    }

    #[test]
    fn each_field_is_there_exactly_once() {
        let whole = [(CLIENT, "web"), (ROLE, "any"), (LINK, "2c523ec1d881237b")];
        for at in 0..whole.len() {
            let (mut without, mut twice) = (whole.to_vec(), whole.to_vec());
            let (name, _) = without.remove(at);
            twice.push(whole[at]);
            for (fields, why) in [(without, "is missing"), (twice, "is there more than once")] {
                let error = read(&fields).unwrap_err();
                assert_eq!(error, ApiError::UnnamedLink(format!("{name}: {why}")));
                assert_eq!(error.status().as_u16(), 400);
            }
        }
    }
}
