//! Runs a command after printing it, so that each task can be repeated by hand.

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// One command to run.
#[derive(Debug)]
pub(crate) struct Cmd {
    command: Command,
    quiet: bool,
}

impl Cmd {
    /// A program, by path or looked up in PATH.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(program), quiet: false }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in this directory.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Does not print the command: for questions, not for acts.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Runs it with our standard streams.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        self.print();
        let status = self.command.status().with_context(|| self.name())?;
        ensure!(status.success(), "{}: {status}", self.name());
        Ok(())
    }

    /// Runs it and returns its standard output; on failure the error ends with its standard error.
    pub(crate) fn output(self) -> anyhow::Result<String> {
        let name = self.name();
        String::from_utf8(self.bytes()?).context(name)
    }

    /// Runs it and returns the bytes of its standard output, which need not be text.
    pub(crate) fn bytes(mut self) -> anyhow::Result<Vec<u8>> {
        self.print();
        let output = self.command.stdin(Stdio::null()).output().with_context(|| self.name())?;
        let why = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}: {}", self.name(), output.status, why.trim());
        Ok(output.stdout)
    }

    /// Runs it with our standard error, and returns its standard output.
    pub(crate) fn messages(mut self) -> anyhow::Result<String> {
        self.print();
        let output = self.command.stderr(Stdio::inherit()).output().with_context(|| self.name())?;
        ensure!(output.status.success(), "{}: {}", self.name(), output.status);
        String::from_utf8(output.stdout).with_context(|| self.name())
    }

    /// Runs it and says whether it succeeded; what it prints is dropped.
    pub(crate) fn succeeds(mut self) -> bool {
        self.print();
        let null = Stdio::null;
        matches!(self.command.stdin(null()).stdout(null()).stderr(null()).status(), Ok(status) if status.success())
    }

    /// Prints it and hands it over, to be spawned.
    pub(crate) fn into_command(self) -> Command {
        self.print();
        self.command
    }

    /// The command as one could type it.
    pub(crate) fn line(&self) -> String {
        let variables = self
            .command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, quoted(value?))));
        let words = [self.command.get_program()].into_iter().chain(self.command.get_args()).map(quoted);
        variables.chain(words).collect::<Vec<_>>().join(" ")
    }

    fn name(&self) -> String {
        let program = Path::new(self.command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let arguments = self.command.get_args().take(2).map(OsStr::to_string_lossy);
        [name.into()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
    }

    fn print(&self) {
        if !self.quiet {
            let (on, off) = if std::io::stderr().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
            eprintln!("{on}$ {}{off}", self.line());
        }
    }
}

/// A word as a shell would need it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_typed() {
        let cmd = Cmd::new("cargo").args(["test", "it's", ""]).env("RUSTFLAGS", "-C a=b");
        assert_eq!(cmd.line(), r"RUSTFLAGS='-C a=b' cargo test 'it'\''s' ''");
    }

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error = Cmd::new("sh").args(["-c", "echo broken >&2; exit 3"]).quiet().output().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.ends_with("broken"), "{text}");
    }
}
