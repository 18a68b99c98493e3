//! What the two daemons' command lines have in common.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Logs to standard error: `info`, with `-v` `debug`, with `-vv` everything; `RUST_LOG` overrides.
pub fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Reads an option's number of seconds.
///
/// # Errors
/// Anything but a number between 0 and a day.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number of seconds between 0 and 86400".to_owned()),
    }
}
