//! The control socket: what is asked for, by whom, and what becomes of it.

mod caller;
mod handler;
mod links;
mod merge;
mod metrics;
mod route;
mod settings;
mod views;

pub(super) use caller::{Caller, Callers};
pub(super) use handler::{Control, Setup};
pub(super) use links::Links;
pub(super) use route::Since;
pub(super) use settings::Settings;
