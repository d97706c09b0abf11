//! HTTP/2 by its wire bytes: each case says which requirement it shows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod differential;
mod drain;
mod floods;
mod flow;
mod frames;
mod lab;
mod lists;
mod messages;
mod order;
mod properties;
#[path = "../../../../tests/common/skip.rs"]
mod skip;
mod streams;
