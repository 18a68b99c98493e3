//! `torture`: the long run of the torture of unix links, or of the soak of rest links, between real namespaces.

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::cmd::Cmd;
use crate::workspace::Workspace;
use crate::{build, setup};

/// The test that makes the run; what it shall do, its environment says.
const TEST: &str = "links_lose_nothing_in_a_long_run";

/// The same of rest links.
const REST: &str = "requests_survive_a_long_soak";

/// The path that the links ask for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Forward {
    User,
    Kernel,
    Auto,
}

/// Options of `torture`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Go on until there were so many connections
    #[arg(long, default_value_t = 50_000)]
    connections: u64,
    /// and so many bytes (with k, M, G or T for the powers of 1000).
    #[arg(long, value_name = "SIZE", default_value = "20G", value_parser = size)]
    bytes: u64,
    /// End after so long, whatever has been reached.
    #[arg(long)]
    seconds: Option<u64>,
    /// What the links ask for.
    #[arg(long, value_enum, default_value_t = Forward::Kernel)]
    forward: Forward,
    /// Only this scenario (an unknown name lists them).
    #[arg(long)]
    scenario: Option<String>,
    /// Repeats the sizes and pauses of another run.
    #[arg(long)]
    seed: Option<u64>,
    /// In place of all that: the long soak of rest links, for 60 s or --seconds.
    #[arg(long, conflicts_with_all = ["connections", "bytes", "forward", "scenario", "seed"])]
    rest: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the torture makes namespaces and needs root");
    }
    setup::build_tools()?;
    build::some_programs(workspace, &["pv-xconnect"])?;
    if options.rest {
        let cmd = ignored_test(workspace, "rest_soak", REST);
        let seconds = options.seconds.map(|seconds| seconds.to_string());
        let cmd = seconds.into_iter().fold(cmd, |cmd, value| cmd.env("XCONNECT_REST_SOAK_SECONDS", value));
        return cmd.run();
    }
    let forward = options.forward.to_possible_value().context("a path without a name")?;
    let variables = [
        ("CONNECTIONS", Some(options.connections.to_string())),
        ("BYTES", Some(options.bytes.to_string())),
        ("SECONDS", options.seconds.map(|seconds| seconds.to_string())),
        ("FORWARD", Some(forward.get_name().to_owned())),
        ("SCENARIO", options.scenario.clone()),
        ("SEED", options.seed.map(|seed| seed.to_string())),
    ];
    let cmd = ignored_test(workspace, "kernel_torture", TEST);
    let set = |(name, value): (&str, Option<String>)| Some((format!("XCONNECT_TORTURE_{name}"), value?));
    variables.into_iter().filter_map(set).fold(cmd, |cmd, (name, value)| cmd.env(&name, value)).run()
}

/// The command of a test that does not run by itself.
fn ignored_test(workspace: &Workspace, program: &str, test: &str) -> Cmd {
    workspace
        .cargo("test")
        .args(["--locked", "--package", "xconnect-tests", "--test", program])
        .args(["--", "--ignored", "--exact", test, "--nocapture"])
        .env("XCONNECT_BIN_DIR", workspace.programs())
}

/// A number of bytes, perhaps with a prefix of SI.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        Some((at, 'G')) => (&text[..at], 1_000_000_000),
        Some((at, 'T')) => (&text[..at], 1_000_000_000_000),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_may_have_a_prefix() {
        assert_eq!(size("20G"), Ok(20_000_000_000));
        assert_eq!(size("64k"), Ok(64_000));
        assert_eq!(size("12"), Ok(12));
        assert!(size("G").is_err() && size("").is_err() && size("99999999999T").is_err());
    }
}
