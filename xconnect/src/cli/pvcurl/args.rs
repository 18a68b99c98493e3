//! The command line of `pvcurl`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgMatches, Parser};

use super::error::Error;

/// Talk HTTP over a Unix socket; options, exit codes and -w as curl has them.
#[derive(Debug, Parser)]
#[command(name = "pvcurl", version)]
#[command(
    after_help = "Other than curl's: the URL may be a path alone; the type of --data is application/json; \
a connection is waited for 5 s.\n\nExit codes: 0 done; 1 protocol not supported; 2 wrong usage; 3 malformed URL; 7 could not connect; \
8 not HTTP; 18 cut off; 22 error status with -f; 23 could not write; 26 could not read; 28 timed out; 52 empty reply; \
55 could not send; 56 could not receive."
)]
pub(super) struct Cli {
    /// The socket.
    #[arg(long, value_name = "PATH")]
    pub(super) unix_socket: PathBuf,
    /// The method [default: GET; POST with --data; PUT with -T; HEAD with -I].
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub(super) request: Option<String>,
    /// `Name: value` adds or replaces a header, `Name:` leaves a default one out, `Name;` sends it empty.
    #[arg(short = 'H', long = "header", value_name = "HEADER", action = ArgAction::Append)]
    pub(super) headers: Vec<String>,
    /// The body; `@FILE` and `@-` without line ends; several are joined by `&`.
    #[arg(short = 'd', long, value_name = "DATA", allow_hyphen_values = true)]
    pub(super) data: Vec<String>,
    /// As --data, with the file as it is.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    pub(super) data_binary: Vec<String>,
    /// As --data, where `@` means nothing.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    pub(super) data_raw: Vec<String>,
    /// Send a file while it is read; `-` is standard input.
    #[arg(short = 'T', long, value_name = "FILE", conflicts_with_all = ["data", "data_binary", "data_raw"])]
    pub(super) upload_file: Option<PathBuf>,
    /// The heads of the answer come before its body.
    #[arg(short, long)]
    pub(super) include: bool,
    /// Ask for the head only.
    #[arg(short = 'I', long, conflicts_with_all = ["data", "data_binary", "data_raw", "upload_file"])]
    pub(super) head: bool,
    /// No message when the transfer fails.
    #[arg(short, long)]
    pub(super) silent: bool,
    /// A message all the same.
    #[arg(short = 'S', long)]
    pub(super) show_error: bool,
    /// Show request and heads on standard error.
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// An answer of status 400 and above is a failure (22) without output.
    #[arg(short, long)]
    pub(super) fail: bool,
    /// Write the answer to a file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Print this after the transfer: `%{http_code}`, `%{size_download}`, `%{time_total}`, `%{content_type}`,
    /// `%header{name}` …, `\n`; `@FILE` reads it from a file.
    #[arg(short, long, value_name = "FORMAT", allow_hyphen_values = true)]
    pub(super) write_out: Option<String>,
    /// Seconds until the connection must be taken.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub(super) connect_timeout: Duration,
    /// Seconds for everything; 0: without a bound.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) max_time: Option<Duration>,
    /// Accepted for curl's sake: there is no progress meter.
    #[arg(long, hide = true)]
    pub(super) no_progress_meter: bool,
    /// Accepted for curl's sake: output is never held back.
    #[arg(short = 'N', long, hide = true)]
    pub(super) no_buffer: bool,
    /// `http://host/path?query`; the host is sent as a header only. Or the path alone.
    #[arg(value_name = "URL")]
    pub(super) url: String,
}

impl Cli {
    /// The body of the --data options in the order of the command line; `None` without any.
    ///
    /// # Errors
    /// [`Error::Read`] when a file cannot be read.
    pub(super) fn data(&self, matches: &ArgMatches) -> Result<Option<Vec<u8>>, Error> {
        let mut pieces = Vec::new();
        for (id, values) in
            [("data", &self.data), ("data_binary", &self.data_binary), ("data_raw", &self.data_raw)]
        {
            let places = matches.indices_of(id).into_iter().flatten();
            pieces.extend(places.zip(values).map(|(place, value)| (place, id, value)));
        }
        pieces.sort_unstable();
        let mut body: Option<Vec<u8>> = None;
        for (_, id, value) in pieces {
            let piece = match value.strip_prefix('@').filter(|_| id != "data_raw") {
                None => value.clone().into_bytes(),
                Some(file) => {
                    let mut content = read(file)?;
                    if id == "data" {
                        content.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
                    }
                    content
                }
            };
            match &mut body {
                None => body = Some(piece),
                Some(body) => {
                    body.push(b'&');
                    body.extend(piece);
                }
            }
        }
        Ok(body)
    }

    /// The format of -w. Upstream's scripts pass it in a pair of single quotes, too.
    ///
    /// # Errors
    /// [`Error::Read`] when its file cannot be read.
    pub(super) fn write_out(&self) -> Result<Option<String>, Error> {
        let Some(format) = &self.write_out else { return Ok(None) };
        if let Some(file) = format.strip_prefix('@') {
            return Ok(Some(String::from_utf8_lossy(&read(file)?).into_owned()));
        }
        let bare = format.strip_prefix('\'').and_then(|format| format.strip_suffix('\''));
        Ok(Some(bare.unwrap_or(format).to_owned()))
    }
}

fn read(file: &str) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let result = match file {
        "-" => {
            let mut content = Vec::new();
            std::io::stdin().read_to_end(&mut content).map(|_| content)
        }
        file => std::fs::read(file),
    };
    result.map_err(|source| Error::Read { what: file.to_owned(), source })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
