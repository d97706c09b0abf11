//! The manager against a model of an authority in Python (tests/acme/ca.py), in virtual time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod common;
mod kills;
mod years;
