//! The project's tasks, `cargo xtask VERB`: one file a verb, and each prints the commands it runs.

mod bench;
mod build;
mod cmd;
mod demo;
mod ebpf;
mod executables;
mod kernels;
mod lint;
mod process;
mod setup;
mod stop;
mod test;
mod torture;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Tasks of the xconnect workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what building needs (and with options, what benches and lint need).
    Setup(setup::Options),
    /// Build the eBPF object, check it, and let this kernel's verifier judge it.
    BuildEbpf,
    /// Build the eBPF object, the four programs, the static examples, man pages and completions.
    Build,
    /// Run the example containers under a private pv-appengine until every link works.
    Demo(demo::Options),
    /// Run every test, the privileged ones included.
    Test(test::Options),
    /// The eBPF object for programs that are built next, if there is a tool chain: a step of `test`.
    #[command(hide = true)]
    EbpfIfPossible,
    /// Stress unix links with numbered words for long, and tell what was lost, doubled, reordered or stalled.
    Torture(torture::Options),
    /// Run tests on older kernels, in QEMU (fetched at the first use).
    Kernels(kernels::Options),
    /// Check format, lints, features, docs, licences and the house rules.
    Lint,
    /// Measure, and write tables and JSON to the target directory's `bench`.
    Bench(bench::Options),
    /// The far ends of benches, started by them.
    #[command(hide = true)]
    BenchPart(bench::part::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        // Runs inside another mount namespace, where the workspace is of no interest.
        Verb::BenchPart(options) => bench::part::run(options),
        verb => Workspace::find().and_then(|workspace| run(&workspace, verb)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(workspace: &Workspace, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Setup(options) => setup::run(workspace, &options),
        Verb::BuildEbpf => ebpf::run(workspace),
        Verb::Build => build::run(workspace),
        Verb::Demo(options) => demo::run(workspace, &options),
        Verb::Test(options) => test::run(workspace, &options),
        Verb::EbpfIfPossible => ebpf::before_programs(workspace),
        Verb::Torture(options) => torture::run(workspace, &options),
        Verb::Kernels(options) => kernels::run(workspace, &options),
        Verb::Lint => lint::run(workspace),
        Verb::Bench(options) => bench::run(workspace, &options),
        Verb::BenchPart(options) => bench::part::run(options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    /// Every `cargo xtask …` line of the README's blocks is a command that exists.
    #[test]
    fn readme_commands_parse() {
        let readme = include_str!("../../README.md");
        let commands: Vec<_> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.trim_start().strip_prefix("cargo xtask "))
            .map(|rest| rest.split('#').next().unwrap_or_default().trim())
            .collect();
        assert!(commands.contains(&"demo") && commands.contains(&"test"), "{commands:?}");
        for command in commands {
            let words = ["cargo xtask"].into_iter().chain(command.split_whitespace());
            Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
        }
    }
}
