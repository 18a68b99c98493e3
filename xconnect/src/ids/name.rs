//! Names of containers, services and roles, and the key of a link.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::InsidePath;

/// Longest name accepted, in bytes: a name is one component of a path (`NAME_MAX`, limits.h).
const NAME_MAX: usize = 255;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// Longer than `NAME_MAX` bytes.
    #[error("must not be longer than 255 bytes (has {0})")]
    TooLong(usize),
    /// `.` or `..`.
    #[error("must not be \"{0}\"")]
    Dots(String),
    /// A slash, a space or a control character.
    #[error("must not contain {0:?}: letters, digits and . _ - + @ : are allowed")]
    Character(char),
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots(name.to_owned()));
    }
    match name.chars().find(|c| !(c.is_alphanumeric() || "._-+@:".contains(*c))) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        // Shared: a link's names are held in many places.
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks a name.
            ///
            /// # Errors
            /// [`NameError`] says which rule it breaks.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                check(&name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a container; also the name of its folder in the state directory.
    ContainerName
}
name! {
    /// The name of a service, as the provider declares it and the consumer asks for it.
    ServiceName
}
name! {
    /// The name of a role, which a provider's policy maps to an identity and to rights.
    Role
}

impl ContainerName {
    /// The name that stands for the host's own services in a graph (Pantavisor's).
    pub const HOST: &str = "_pv_";
    /// The name that stands for clients outside the host in a graph (ingress).
    pub const EXTERNAL: &str = "EXTERNAL";

    /// True for the names that stand for a host-side end of a link.
    #[must_use]
    pub fn is_host(&self) -> bool {
        [Self::HOST, Self::EXTERNAL].contains(&self.as_str())
    }
}

impl Role {
    /// The role of a requirement that names none.
    #[must_use]
    pub fn any() -> Self {
        Self("any".into())
    }
}

/// What makes a link that link: there is never more than one with the same key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// The container that asks.
    pub consumer: ContainerName,
    /// The service that it asks for.
    pub service: ServiceName,
    /// The path at which the consumer wants it.
    pub target: InsidePath,
}

impl LinkKey {
    /// A short, stable identifier for logs, metrics and file names.
    #[must_use]
    pub fn id(&self) -> LinkId {
        let mut hash = Sha256::new();
        for part in [self.consumer.as_str(), self.service.as_str(), self.target.as_str()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        LinkId(digest.iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte)))
    }
}

impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.consumer, self.target, self.service)
    }
}

/// The first 64 bits of the SHA-256 of a link's key, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_path_component() {
        assert_eq!(ContainerName::new(""), Err(NameError::Empty));
        assert_eq!(ContainerName::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(ContainerName::new("a\0b"), Err(NameError::Character('\0')));
        assert_eq!(ContainerName::new(".."), Err(NameError::Dots("..".to_owned())));
        assert_eq!(ContainerName::new("x".repeat(256)), Err(NameError::TooLong(256)));
        assert!(ContainerName::new("pv-example_1.0").is_ok());
        assert!(ServiceName::new("org.example.Foo").is_ok());
    }

    #[test]
    fn link_ids_differ_where_the_parts_run_together() {
        let key = |c: &str, s: &str| LinkKey {
            consumer: ContainerName::new(c).unwrap(),
            service: ServiceName::new(s).unwrap(),
            target: InsidePath::new("/x").unwrap(),
        };
        assert_ne!(key("ab", "c").id(), key("a", "bc").id());
        assert_eq!(key("a", "b").id().to_string().len(), 16);
    }
}
