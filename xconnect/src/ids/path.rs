//! Absolute paths, and on which side of a container's wall they mean something.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest path accepted, in bytes (`PATH_MAX` less the final NUL, limits.h).
const PATH_MAX: usize = 4095;

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// Does not start with a slash.
    #[error("must be absolute")]
    Relative,
    /// Has a `..` component.
    #[error("must not contain \"..\"")]
    Parent,
    /// Has a NUL byte.
    #[error("must not contain a NUL byte")]
    Nul,
    /// Longer than `PATH_MAX`.
    #[error("must not be longer than 4095 bytes (has {0})")]
    TooLong(usize),
    /// A component longer than `NAME_MAX`.
    #[error("must not have a component longer than 255 bytes (has one of {0})")]
    LongComponent(usize),
    /// Names the root directory itself.
    #[error("must name something below /")]
    Root,
    /// Lies in a kernel file system, where nothing can be created.
    #[error("must not lie in {0}")]
    KernelFileSystem(&'static str),
}

fn normalize(path: &str) -> Result<String, PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.contains('\0') {
        return Err(PathError::Nul);
    }
    if !path.starts_with('/') {
        return Err(PathError::Relative);
    }
    if path.len() > PATH_MAX {
        return Err(PathError::TooLong(path.len()));
    }
    let mut normal = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err(PathError::Parent);
        }
        if part.len() > 255 {
            return Err(PathError::LongComponent(part.len()));
        }
        normal.push('/');
        normal.push_str(part);
    }
    if normal.is_empty() { Err(PathError::Root) } else { Ok(normal) }
}

macro_rules! path {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        // Shared: a path is held wherever something is about it.
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks a path and takes out `//` and `/./`.
            ///
            /// # Errors
            /// [`PathError`] says which rule it breaks.
            pub fn new(path: impl AsRef<str>) -> Result<Self, PathError> {
                normalize(path.as_ref()).map(|path| Self(path.into()))
            }

            /// The path as text, starting with a slash.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The components, first to last; never empty.
            pub fn components(&self) -> impl Iterator<Item = &str> {
                self.0.split('/').skip(1)
            }

            /// The last component.
            #[must_use]
            pub fn file_name(&self) -> &str {
                self.0.rsplit('/').next().unwrap_or_default()
            }
        }

        impl TryFrom<String> for $type {
            type Error = PathError;
            fn try_from(path: String) -> Result<Self, PathError> {
                Self::new(path)
            }
        }

        impl From<$type> for String {
            fn from(path: $type) -> Self {
                path.as_str().to_owned()
            }
        }

        impl AsRef<Path> for $type {
            fn as_ref(&self) -> &Path {
                Path::new(self.as_str())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

path! {
    /// An absolute path on the host.
    HostPath
}
path! {
    /// An absolute path that means something only below one container's root, reached by
    /// `openat2(RESOLVE_IN_ROOT)`. Opening it as it stands would open a file of the host.
    InsidePath
}

impl InsidePath {
    /// Checks that something can be created at this path: not in a kernel file system.
    ///
    /// # Errors
    /// [`PathError::KernelFileSystem`] for `/proc` and `/sys` and what is below them.
    pub fn check_creatable(&self) -> Result<(), PathError> {
        match self.components().next() {
            Some("proc") => Err(PathError::KernelFileSystem("/proc")),
            Some("sys") => Err(PathError::KernelFileSystem("/sys")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_normal() {
        assert_eq!(InsidePath::new("//run/./x.sock").unwrap().as_str(), "/run/x.sock");
        assert_eq!(InsidePath::new("run/x"), Err(PathError::Relative));
        assert_eq!(InsidePath::new("/run/../x"), Err(PathError::Parent));
        assert_eq!(InsidePath::new("/run/a\0"), Err(PathError::Nul));
        assert_eq!(InsidePath::new("/"), Err(PathError::Root));
        assert_eq!(InsidePath::new(""), Err(PathError::Empty));
        assert_eq!(InsidePath::new(format!("/{}", "x".repeat(256))), Err(PathError::LongComponent(256)));
    }

    #[test]
    fn kernel_file_systems_take_no_targets() {
        assert!(InsidePath::new("/proc/1/x").unwrap().check_creatable().is_err());
        assert!(InsidePath::new("/sys").unwrap().check_creatable().is_err());
        assert!(InsidePath::new("/process/x").unwrap().check_creatable().is_ok());
    }
}
