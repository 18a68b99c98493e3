//! REST links: a provider that records every byte and answers as it is told ([`Provider`]), a consumer that
//! reads answers as strictly ([`Client`]), and the requests that no honest client sends ([`corpus`]).

mod client;
pub mod corpus;
mod judge;
mod provider;
mod reader;
mod record;
mod replay;
mod rig;
mod serve;
mod steps;

pub use client::{Answer, Client};
pub use judge::judge;
pub use provider::Provider;
pub use reader::{Head, Part, Reader, Tap, Trouble, latin1, to_bytes};
pub use record::{Connection, Records, Seen, from_lines, to_lines};
pub use replay::{Pace, replay};
pub use rig::{ROLE, Rest, identity_of};
pub use serve::serve;
pub use steps::{Plan, Step, answer, chunked, fixed, generated};
