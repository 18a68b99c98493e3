//! One run of `pvcontrol`: the socket it asks, the form and the destination of what it prints.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::Value;

use super::args::{Cli, Format};
use super::failure::Failure;
use crate::api::client::{Answer, Bounds, Client};
use crate::cli::out::{Out, note};
use crate::cli::table::Table;

/// Where a control socket is, on a host and inside a container.
const SOCKETS: [&str; 3] = ["/run/pantavisor/pv/pv-ctrl", "/pv/pv-ctrl", "/pantavisor/pv-ctrl"];

/// All columns, or those that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Table,
    Wide,
}

pub(super) struct Session {
    pub(super) client: Client,
    pub(super) out: Out,
    pub(super) format: Format,
    verbose: bool,
}

impl Session {
    pub(super) fn new(cli: &Cli) -> Self {
        let out = Out::new(cli.file.as_deref());
        let default = if out.is_terminal() { Format::Table } else { Format::Json };
        Self {
            client: Client::new(sockets(cli.socket.as_deref()), Bounds::default()),
            format: cli.output.unwrap_or(default),
            out,
            verbose: cli.verbose,
        }
    }

    /// Asks, whatever the answer's status.
    async fn exchange(
        &self,
        method: &Method,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Failure> {
        self.trace(format_args!("> {method} {target}"));
        let answer = self.client.request(method, target, body).await?;
        self.trace(format_args!(
            "< {} {} ({} bytes of {})",
            answer.status,
            answer.content_type,
            answer.body.len(),
            answer.socket.display()
        ));
        Ok(answer)
    }

    /// Asks, and takes status 200 only.
    pub(super) async fn ask(
        &self,
        method: &Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        self.send(method, target, body.map(|body| body.to_string().into_bytes())).await
    }

    /// Sends any bytes, and takes status 200 only.
    pub(super) async fn send(
        &self,
        method: &Method,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Failure> {
        let answer = self.exchange(method, target, body).await?;
        match answer.status {
            200 => Ok(answer),
            status => Err(Failure::Api { status, body: answer.body }),
        }
    }

    /// `GET`, status 200 only.
    pub(super) async fn get(&self, target: &str) -> Result<Answer, Failure> {
        self.ask(&Method::GET, target, None).await
    }

    /// Prints JSON: as it came for programs, indented for people; or as the table that `table` makes of it.
    pub(super) fn show(
        &self,
        what: &str,
        body: &[u8],
        table: impl FnOnce(&Value, Detail) -> Option<Table>,
    ) -> Result<(), Failure> {
        let detail = match self.format {
            Format::Json if self.out.is_terminal() => {
                let pretty = serde_json::from_slice::<Value>(body)
                    .and_then(|value| serde_json::to_string_pretty(&value));
                return match pretty {
                    Ok(pretty) => self.print(pretty.as_bytes()),
                    Err(_) => self.print(body),
                };
            }
            Format::Json => return self.print(body),
            Format::Dot => return Err(Failure::NotAGraph),
            Format::Table => Detail::Table,
            Format::Wide => Detail::Wide,
        };
        let value = parse(what, body)?;
        let table = table(&value, detail).ok_or_else(|| Failure::NotAList { what: what.to_owned() })?;
        self.print(table.render(self.room(detail), self.out.colour()).as_bytes())
    }

    /// The columns that a table may take; a wide one is never cut.
    pub(super) fn room(&self, detail: Detail) -> Option<usize> {
        (detail == Detail::Table).then(|| self.out.size())?.map(|(columns, _)| columns)
    }

    /// Prints text, and ends its last line.
    pub(super) fn print(&self, text: &[u8]) -> Result<(), Failure> {
        let mut text = text.to_vec();
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
        self.print_raw(&text)
    }

    /// Prints bytes as they are.
    pub(super) fn print_raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write(bytes).map_err(|source| match (source.kind(), &self.out) {
            (io::ErrorKind::BrokenPipe, _) => Failure::ReaderGone,
            (_, Out::File { path, .. }) => Failure::Output { target: path.display().to_string(), source },
            _ => Failure::Output { target: "the output".to_owned(), source },
        })
    }

    /// A line of `-v`.
    pub(super) fn trace(&self, line: std::fmt::Arguments<'_>) {
        if self.verbose {
            note(line);
        }
    }
}

pub(super) fn parse(what: &str, body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|source| Failure::Unreadable { what: what.to_owned(), source })
}

/// The named socket; else the one of `XCONNECT_RUN_DIR` alone, so that a command meant for a private
/// engine never reaches the host's; else the well-known ones.
fn sockets(named: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = named {
        return vec![path.to_owned()];
    }
    match env::var_os("XCONNECT_RUN_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => vec![Path::new(&dir).join("pv-ctrl")],
        None => SOCKETS.map(PathBuf::from).to_vec(),
    }
}

/// A name as one segment of a path, or as the value of a query.
pub(super) fn encode(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The name of a revision: its slash divides segments (`locals/my-revision`).
pub(super) fn encode_revision(name: &str) -> String {
    name.split('/').map(encode).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded() {
        assert_eq!(encode("pv-example"), "pv-example");
        assert_eq!(encode("../a"), "..%2Fa");
        assert_eq!(encode_revision("locals/a b?c#ü"), "locals/a%20b%3Fc%23%C3%BC");
    }

    #[test]
    fn a_named_socket_is_the_only_one() {
        assert_eq!(sockets(Some(Path::new("/x"))), [PathBuf::from("/x")]);
    }
}
