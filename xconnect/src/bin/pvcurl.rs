//! A small curl for Unix sockets.

use std::process::ExitCode;

fn main() -> ExitCode {
    xconnect::cli::pvcurl::main(std::env::args_os())
}
