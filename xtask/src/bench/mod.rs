//! `bench`: what a link costs, how fast it comes up, and how much it holds.

mod footprint;
mod http;
mod load;
mod mesh;
pub(crate) mod part;
mod placement;
mod pod;
mod reaction;
mod report;
mod rest;
mod samples;
mod stats;
mod unix;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::stop::Stop;
use crate::workspace::Workspace;
use crate::{build, ebpf, setup};

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Throughput, round trips, connections and CPU beside a direct socket, socat and haproxy.
    Unix(unix::Options),
    /// Requests and bodies through a rest link, beside a direct socket, nginx and haproxy.
    Rest(rest::Options),
    /// From a change of the graph to a link that works; from a container's start to its first echo.
    Reaction(reaction::Options),
    /// A thousand links over a hundred containers; memory and descriptors under connections.
    Footprint(footprint::Options),
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("benches make namespaces and need root");
    }
    setup::build_tools()?;
    ebpf::before_programs(workspace)?;
    build::some_programs(workspace, &["pv-xconnect"])?;
    let stop = Stop::on_signals()?;
    match &options.what {
        What::Unix(options) => unix::run(workspace, &stop, options),
        What::Rest(options) => rest::run(workspace, &stop, options),
        What::Reaction(options) => {
            if options.starts_containers() {
                build::programs(workspace)?;
                build::examples(workspace)?;
            }
            reaction::run(workspace, &stop, options)
        }
        What::Footprint(options) => footprint::run(workspace, &stop, options),
    }
}

/// How long anything here may take to come up.
const START: Duration = Duration::from_secs(10);
