//! What the guest does once the host's file system is its root, and what it says about it.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::executables::Executable;
use crate::workspace::Workspace;

const SCRIPT: &str = include_str!("guest.sh");
/// How much longer than on real hardware a test waits for an event.
const PATIENCE: u32 = 10;
/// Where the guest mounts an empty file system over the host's.
const HIDDEN: [&str; 6] = ["/tmp", "/run", "/dev", "/proc", "/sys", "/var/run"];

/// The shell script for these tests.
pub(super) fn script(
    workspace: &Workspace,
    pod: &Path,
    targets: &[Executable],
    arguments: &str,
    seconds: u64,
) -> anyhow::Result<String> {
    for path in [workspace.target(), workspace.root()] {
        ensure!(
            !HIDDEN.iter().any(|hidden| path.starts_with(hidden)),
            "{}: the guest has a file system of its own there: keep sources and target directory elsewhere",
            path.display()
        );
    }
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
    let mut tests = String::new();
    for target in targets {
        tests += &format!("{} {}\n", target.name, text(&target.program)?);
    }
    let variables = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME", "/root".to_owned()),
        // A test that lacks a privilege fails instead of being skipped.
        ("CI", "true".to_owned()),
        ("XCONNECT_TEST_PATIENCE", PATIENCE.to_string()),
        ("XCONNECT_BIN_DIR", text(&workspace.programs())?),
        ("XCONNECT_EXAMPLES_DIR", text(&workspace.examples_static())?),
        ("XCONNECT_TESTS_POD", text(pod)?),
        ("TESTS", tests.trim_end().to_owned()),
        ("ARGUMENTS", arguments.to_owned()),
        ("LIMIT", seconds.to_string()),
    ];
    let variables: String =
        variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    // As under cargo, a test runs in its package's directory.
    let directory = format!("cd {} || exit\n", quoted(&text(&workspace.root().join("tests"))?));
    Ok(variables + &directory + SCRIPT)
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What a line of the guest's output says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The kernel of this release is up and all is mounted.
    Ready(&'a str),
    /// A test program starts.
    Begin(&'a str),
    /// It has ended.
    End { name: &'a str, status: i32, seconds: u64 },
    /// The guest could not do what it is there for.
    Broken(&'a str),
    /// Output of a test program, or of the start.
    Output(&'a str),
}

/// Status of timeout(1) where the time was over.
const TIMED_OUT: i32 = 124;
/// The same where the program had to be killed.
const KILLED: i32 = 137;

impl<'a> Line<'a> {
    /// Reads one line, without its end.
    pub(super) fn of(line: &'a str) -> Self {
        Self::event(line).unwrap_or(Self::Output(line))
    }

    fn event(line: &'a str) -> Option<Self> {
        let (what, rest) = line.strip_prefix("@guest ")?.split_once(' ')?;
        Some(match what {
            "ready" => Self::Ready(rest),
            "begin" => Self::Begin(rest),
            "broken" => Self::Broken(rest),
            "end" => {
                let mut words = rest.split(' ');
                let (name, status, seconds) = (words.next()?, words.next()?, words.next()?);
                Self::End { name, status: status.parse().ok()?, seconds: seconds.parse().ok()? }
            }
            _ => return None,
        })
    }
}

/// The status of a test program in words.
pub(super) fn status(status: i32, limit: u64) -> String {
    match status {
        0 => "passed".to_owned(),
        101 => "failed".to_owned(),
        TIMED_OUT | KILLED => format!("not done within {limit} s"),
        127 => "failed: it cannot be run".to_owned(),
        other if other > 128 => format!("failed: signal {}", other - 128),
        other => format!("failed: status {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_guest_are_told_from_output() {
        assert_eq!(Line::of("@guest ready 6.1.0-56-amd64"), Line::Ready("6.1.0-56-amd64"));
        assert_eq!(Line::of("@guest begin unix_bytes"), Line::Begin("unix_bytes"));
        let end = Line::End { name: "unix_bytes", status: 101, seconds: 35 };
        assert_eq!(Line::of("@guest end unix_bytes 101 35"), end);
        assert_eq!(Line::of("@guest broken cannot mount x"), Line::Broken("cannot mount x"));
        for output in ["test a ... ok", "@guest end unix_bytes x 35", "@guest", "@guest sings a", ""] {
            assert_eq!(Line::of(output), Line::Output(output));
        }
    }

    #[test]
    fn words_survive_the_shell() {
        let word = "it's $HOME `x` \"y\"\nz";
        let echoed =
            std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
        assert_eq!(String::from_utf8(echoed.unwrap().stdout).unwrap(), word);
    }

    #[test]
    fn a_status_is_told_in_words() {
        assert_eq!(status(0, 9), "passed");
        assert_eq!(status(124, 9), "not done within 9 s");
        assert_eq!(status(139, 9), "failed: signal 11");
    }

    #[test]
    fn the_scripts_are_shell() {
        for script in [SCRIPT, include_str!("init.sh")] {
            let checked = std::process::Command::new("sh").args(["-n", "-c", script]).status();
            assert!(checked.unwrap().success(), "{script}");
        }
    }
}
