//! `pvcontrol`: Pantavisor's command line, with the links' status, tables and a live view.

mod actions;
mod args;
mod failure;
mod field;
mod graph;
mod listing;
mod session;
mod storage;

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command, Containers, Daemons, Graph, Listing, Program};
use failure::Failure;
use session::Session;

use super::man;
use super::out::note;

/// The command line, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with these arguments (the first is its name).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, on standard output; a reader that has gone is no fault.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let session = Session::new(&cli);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::Runtime(error)),
    };
    let result = runtime.block_on(run(&session, cli));
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

async fn run(session: &Session, cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Ls | Command::Containers(Containers::Ls) => listing::containers(session).await,
        Command::Graph(Graph::Ls { sample }) => graph::ls(session, sample).await,
        Command::Graph(Graph::Watch { interval, desired }) => {
            if desired {
                graph::desired(session).await
            } else {
                graph::watch(session, interval).await
            }
        }
        Command::Graph(Graph::Dot) => graph::dot(session).await,
        Command::Containers(command) => actions::containers(session, command).await,
        Command::Daemons(Daemons::Ls) => listing::daemons(session).await,
        Command::Daemons(command) => actions::daemons(session, command).await,
        Command::Groups(Listing::Ls) => listing::groups(session).await,
        Command::Signal(signal) => actions::signal(session, &signal).await,
        Command::Revision => listing::revision(session).await,
        Command::Buildinfo => listing::text(session, "/buildinfo").await,
        Command::Config(Listing::Ls) => listing::config(session, "/config").await,
        Command::Conf(Listing::Ls) => listing::config(session, "/config2").await,
        Command::Metrics => listing::text(session, "/metrics").await,
        Command::Audit(audit) => listing::audit(session, audit.since.as_deref()).await,
        Command::Cmd(command) => storage::state_command(session, command).await,
        Command::Devmeta(command) => storage::metadata(session, "/device-meta", command).await,
        Command::Usrmeta(command) => storage::metadata(session, "/user-meta", command).await,
        Command::Objects(command) => storage::objects(session, command).await,
        Command::Steps(command) => storage::steps(session, command, cli.message).await,
        Command::Completions { shell, program } => {
            let command = match program {
                Program::Pvcontrol => command(),
                Program::Pvcurl => super::pvcurl::command(),
            };
            session.print_raw(&man::completions(command, shell))
        }
        Command::Man { dir } => man::write_pages(&dir, [command(), super::pvcurl::command()])
            .map_err(|source| Failure::Output { target: dir.display().to_string(), source }),
    }
}

fn report(failure: &Failure) -> ExitCode {
    match failure {
        Failure::ReaderGone => {}
        // Scripts of Pantavisor read the body.
        Failure::Api { .. } => note(format_args!("{failure}")),
        Failure::Client(crate::api::client::Error::Refused { answer }) => {
            note(format_args!("{}", String::from_utf8_lossy(&answer.body).trim_end()));
        }
        _ => {
            let mut text = format!("pvcontrol: {failure}");
            let mut cause = failure.source();
            while let Some(source) = cause {
                text.push_str(&format!(": {source}"));
                cause = source.source();
            }
            note(format_args!("{text}"));
        }
    }
    ExitCode::from(failure.code())
}
