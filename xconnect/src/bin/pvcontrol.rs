//! The operator's command line over the control socket.

use std::process::ExitCode;

fn main() -> ExitCode {
    xconnect::cli::pvcontrol::main(std::env::args_os())
}
