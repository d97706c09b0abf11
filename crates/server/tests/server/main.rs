//! A worker on the real kernel and each engine, spoken to over real sockets.
//!
//! One program: the server is generic over its engine, so each program that starts one compiles all
//! of it twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../harness/mod.rs"]
#[macro_use]
mod harness;
mod answers;
mod challenges;
mod drains;
mod files;
mod listeners;
mod log;
mod places;
mod plain;
mod semantics;
mod spec;
mod stops;
mod swaps;
mod tls;
mod unix;
