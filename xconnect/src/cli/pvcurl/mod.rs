//! `pvcurl`: a small curl for Unix sockets. It speaks HTTP/1.1 itself, because curl shows what is on the
//! wire: heads byte by byte (`-i`, `-v`), interim answers, bodies as they come.

mod args;
mod body;
mod error;
mod head;
mod request;
mod sink;
mod transfer;
mod upload;
mod url;
mod write_out;

use std::cell::RefCell;
use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};

use super::out::note;
use args::Cli;
use write_out::{Facts, To};

pub(in crate::cli) use error::Error;
pub(in crate::cli) use request::{Body, Head as RequestHead};
pub(in crate::cli) use sink::Sink;
pub(in crate::cli) use transfer::{Job, Show, Stats, run};
pub(in crate::cli) use upload::Upload;

/// curl's default where 0 is given.
const LONG: Duration = Duration::from_secs(300);

/// The command line, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with these arguments (the first is its name).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = command().try_get_matches_from(arguments);
    let (cli, matches) = match matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version come this way too, on standard output; a reader that has gone is no fault.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let stats = RefCell::new(Stats::default());
    let method = method(&cli);
    let mut result = transfer(&cli, &matches, &method, &stats);
    if let Some(format) = cli.write_out().transpose() {
        let printed = format.and_then(|format| {
            let facts = Facts {
                stats: &stats.borrow(),
                method: &method,
                url: &cli.url,
                error: result.as_ref().err(),
            };
            print(&format, &facts)
        });
        result = result.and(printed);
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !cli.silent || cli.show_error {
                complain(&error);
            }
            ExitCode::from(error.code())
        }
    }
}

fn method(cli: &Cli) -> String {
    let data = !(cli.data.is_empty() && cli.data_binary.is_empty() && cli.data_raw.is_empty());
    match &cli.request {
        Some(method) => method.clone(),
        None if cli.head => "HEAD".to_owned(),
        None if cli.upload_file.is_some() => "PUT".to_owned(),
        None if data => "POST".to_owned(),
        None => "GET".to_owned(),
    }
}

fn transfer(
    cli: &Cli,
    matches: &clap::ArgMatches,
    method: &str,
    stats: &RefCell<Stats>,
) -> Result<(), Error> {
    // A bad URL or header is told before anything is read.
    RequestHead::new(method, &cli.url, &cli.headers, Body::NONE)?;
    let (upload, body) = match (&cli.upload_file, cli.data(matches)?) {
        (Some(path), _) => {
            let upload = Upload::file(path)?;
            let body = Body { length: upload.length(), content_type: None, present: true };
            (upload, body)
        }
        (None, Some(data)) => {
            let length = Some(data.len() as u64);
            let body = Body { length, content_type: Some("application/json"), present: true };
            (Upload::Bytes(data), body)
        }
        (None, None) => (Upload::None, Body::NONE),
    };
    let bound = |time: Duration| Some(time).filter(|time| !time.is_zero());
    let job = Job {
        socket: cli.unix_socket.clone(),
        connect_timeout: bound(cli.connect_timeout).unwrap_or(LONG),
        max_time: cli.max_time.and_then(bound),
        request: RequestHead::new(method, &cli.url, &cli.headers, body)?,
        show: Show { trace: cli.verbose, heads: cli.include || cli.head, fail: cli.fail, catch: false },
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let mut sink = Sink::new(cli.output.as_deref());
    let result = runtime.block_on(run(&job, upload, &mut sink, stats));
    // A connect may still wait for its bound.
    runtime.shutdown_background();
    result
}

fn print(format: &str, facts: &Facts<'_>) -> Result<(), Error> {
    let (parts, unknown) = write_out::expand(format, facts);
    for name in unknown {
        note(format_args!("pvcurl: unknown --write-out variable: '{name}'"));
    }
    for (to, text) in parts {
        let written = match to {
            To::Stdout => io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()),
            To::Stderr => io::stderr().write_all(text.as_bytes()),
        };
        written.map_err(|source| Error::Write { target: "standard output".to_owned(), source })?;
    }
    Ok(())
}

fn complain(error: &Error) {
    let mut text = format!("pvcurl: ({}) {error}", error.code());
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    note(format_args!("{text}"));
}
