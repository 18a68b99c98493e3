//! `pv-appengine`: state directory, containers, managed daemons and the control socket.

pub mod container;
pub mod runtime;
pub mod shim;
pub mod supervisor;
