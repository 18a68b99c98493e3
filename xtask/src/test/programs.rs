//! The test programs of the `tests` crate, some at a time: most of them wait most of the time. What must be alone in a
//! program is so beside other programs, too (`run_alone` in `tests/src/sandbox.rs`).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::steps::Steps;
use super::tally::Tally;
use super::{Options, libtest};
use crate::cmd::Cmd;
use crate::executables::{self, Executable};
use crate::workspace::Workspace;

/// So many run at a time, each with a thread for every processor.
const WORKERS: usize = 2;
/// Those that take long go first, so that none is left for the end.
const FIRST: [&str; 6] =
    ["kernel_path", "injection", "xconnect_tests", "engine_malformed", "engine_daemons", "limits"];
/// What is alone for most of its time would keep the others waiting, and nothing that compiles is left beside it.
const LAST: &str = "kernel_torture";

/// The arguments of cargo that mean all of them.
const PACKAGE: [&str; 3] = ["--locked", "--package", "xconnect-tests"];

/// Compiles them.
pub(super) fn compile(workspace: &Workspace) -> Cmd {
    workspace.cargo("test").arg("--no-run").args(PACKAGE)
}

/// The examples in their documentation, which only cargo can run.
pub(super) fn documentation(workspace: &Workspace, options: &Options) -> Cmd {
    workspace.cargo("test").arg("--doc").args(PACKAGE).args(&options.filter)
}

/// Runs those that are compiled.
pub(super) fn run(workspace: &Workspace, steps: &Steps, options: &Options) -> anyhow::Result<Tally> {
    let mut queue = executables::of(workspace, PACKAGE)?;
    let pod = executables::static_pod(workspace)?;
    queue.sort_by_key(|it| rank(&it.name));
    let queue = Mutex::new(VecDeque::from(queue));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let total = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(Executable { name, program }) = next() {
                    let cmd = Cmd::new(program)
                        .env("XCONNECT_BIN_DIR", workspace.programs())
                        .env("XCONNECT_EXAMPLES_DIR", workspace.examples_static())
                        .env("XCONNECT_TESTS_POD", &pod)
                        // As under cargo.
                        .directory(&workspace.tests());
                    let tally = steps.tests(&name, libtest(cmd, options));
                    *total.lock().unwrap_or_else(PoisonError::into_inner) += tally;
                }
            });
        }
    });
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn rank(name: &str) -> usize {
    match FIRST.iter().position(|first| *first == name) {
        _ if name == LAST => usize::MAX,
        Some(place) => place,
        None => FIRST.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that is no program's would be there in vain.
    #[test]
    fn the_named_programs_exist() {
        let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tests");
        for name in FIRST.iter().chain([&LAST]).filter(|name| **name != "xconnect_tests") {
            assert!(tests.join("tests").join(name).with_extension("rs").exists(), "{name}");
        }
        assert!(rank("kernel_path") < rank("injection") && rank("injection") < rank("crash"));
        assert!(rank("crash") < rank(LAST));
    }
}
