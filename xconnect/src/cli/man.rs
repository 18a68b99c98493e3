//! Manual pages and completion scripts.

use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Writes a page of section 1 for each program and for each of its commands into an existing directory.
///
/// # Errors
/// When a file cannot be written.
pub fn write_pages(dir: &Path, programs: impl IntoIterator<Item = Command>) -> io::Result<()> {
    for program in programs {
        // The generated help commands would double every page.
        clap_mangen::generate_to(program.disable_help_subcommand(true), dir)?;
    }
    Ok(())
}

/// The completion script of a program.
#[must_use]
pub fn completions(mut program: Command, shell: Shell) -> Vec<u8> {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut script);
    script
}
