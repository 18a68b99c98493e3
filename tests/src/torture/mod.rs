//! The torture of unix links: numbered words through the mesh in every way that two ends may use a
//! socket, and a judge of what arrives.
//!
//! The ends are threads of the test that hold sockets made inside of containers ([`crate::Container`]);
//! where an end is to be killed, a process of its own holds it.

mod checker;
#[cfg(test)]
mod checker_tests;
mod conn;
mod dice;
mod flow;
mod options;
mod reader;
mod report;
mod rig;
mod runner;
#[cfg(test)]
mod saboteur;
#[cfg(test)]
mod saboteur_tests;
mod scenario;
mod sender;
mod stage;
mod stats;
pub mod victim;
mod words;

pub use options::{Forward, Options};
pub use report::{Kernel, Report, Row};
pub use runner::run;
pub use stats::Stats;
