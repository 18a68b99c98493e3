//! The operator's programs: `pvcontrol` over the control socket, and `pvcurl`, a small curl for Unix
//! sockets.

pub mod man;
mod out;
pub mod pvcontrol;
pub mod pvcurl;
mod table;
mod text;
