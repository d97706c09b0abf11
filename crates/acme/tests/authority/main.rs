//! The manager against a model of an authority in Python (tests/acme/ca.py), in virtual time.

mod common;
mod kills;
mod years;
