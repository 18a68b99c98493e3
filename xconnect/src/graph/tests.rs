//! Tests of resolving, checking and comparing.
