//! Tests of the manifests.
