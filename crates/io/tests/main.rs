//! The promises of sitar-io, engine by engine. One program, so that it is linked once:
//! `cargo test -p sitar-io --test suite sqpoll::` runs a module.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod compile_fail;
mod conformance;
mod counts;
mod examples;
mod readme;
mod sqpoll;
mod waits;
