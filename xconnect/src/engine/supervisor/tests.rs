//! Real containers. All of this needs root.

mod crash;
mod ending;
mod external;
mod host;
mod lifecycle;
mod order;
mod runtime;
mod shims;

use host::{Host, desired, eventually, name, until, until_one};
