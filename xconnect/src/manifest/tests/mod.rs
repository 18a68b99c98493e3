//! Tests of the manifests: what is accepted and what it means, the words of every refusal, hostile input.

mod accepted;
mod hostile;
mod purity;
mod refused;

use std::collections::BTreeMap;

use super::{ContainerManifest, Errors, Revision, load};
use crate::ids::ContainerName;

/// A state directory of these files.
pub(crate) fn files(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

/// Loads files that must be good.
pub(crate) fn loaded(list: &[(&str, &str)]) -> Revision {
    load(&files(list)).unwrap_or_else(|errors| panic!("refused:\n{errors}"))
}

/// The errors of files that must be bad, as lines.
pub(crate) fn refused(list: &[(&str, &str)]) -> Vec<String> {
    let errors: Errors = load(&files(list)).expect_err("accepted");
    errors.to_string().lines().map(str::to_owned).collect()
}

/// A container of a revision.
pub(crate) fn container<'r>(revision: &'r Revision, name: &str) -> &'r ContainerManifest {
    &revision.containers()[&ContainerName::new(name).unwrap()]
}
