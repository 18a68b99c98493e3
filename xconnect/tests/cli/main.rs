//! The built programs `pvcontrol` and `pvcurl` against servers in the test.

mod pvcontrol;
mod pvcurl;
mod server;
