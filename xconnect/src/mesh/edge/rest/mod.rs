//! The rest edge: HTTP between a consumer and a provider, with the consumer's identity on every request.
//!
//! `http1` judges and rewrites heads and bodies and knows no IO; `connection` serves a consumer, `exchange` is one
//! request with its answer, `upstream` the way to the provider, `h2` the same for HTTP/2 by hyper, `threads` where
//! all this runs, `record` what is counted.

mod accept;
mod asked;
mod body;
mod buffer;
mod connection;
mod deadline;
mod edge;
mod exchange;
mod h2;
pub mod http1;
mod linger;
mod local;
mod record;
mod reply;
mod shared;
mod stream;
mod threads;
mod tunnel;
mod upstream;

pub use edge::{Edge, EdgeSpec};
pub use threads::{RestThreads, RestWorkers};
