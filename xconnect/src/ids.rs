//! Names, paths and keys, each proven valid by its type. Pure.

mod name;
mod path;

pub use name::{ContainerName, LinkId, LinkKey, NameError, Role, ServiceName};
pub use path::{HostPath, InsidePath, PathError};
