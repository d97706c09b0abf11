//! The whole program from outside: it is started as a user starts it, and asked by real clients.
//!
//! One program, so that what the tests share is compiled and linked once. Each module is a subject;
//! run one with `cargo test -p sitar --test program counts::`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod access_log;
mod acme;
mod admin;
mod bodies;
mod browser;
mod churn;
mod client_certificates;
mod clients;
mod common;
mod compress;
mod config;
mod container;
mod counts;
mod doctor;
mod engines;
mod events;
mod files;
mod h2;
mod hosts;
mod idle;
mod lab;
mod large;
mod listings;
mod live;
#[path = "../fuzz/mutation.rs"]
mod mutation;
mod nonces;
mod packs;
mod peers;
mod probes;
mod protection;
mod prove;
mod reload;
mod renewal;
mod sandbox;
mod secrets;
mod supervisor;
mod systemd;
#[path = "../crates/site/tests/semantics/mod.rs"]
mod table;
mod trace_scripts;
mod trust;
