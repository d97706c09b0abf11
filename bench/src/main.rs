#![forbid(unsafe_code)]
//! What `cargo xtask bench` measures with, beside other people's load generators.
//!
//! `floor` is a server that does next to nothing of what a server has to do; the others are clients for what wrk and h2load
//! cannot: connections that begin anew with each request, that idle, and that read slowly.

mod arguments;
mod client;
mod floor;
mod handshakes;
mod idle;
mod slow;

use arguments::Arguments;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: sitar-bench floor|handshakes|idle|slow --NAME VALUE …";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let done = Arguments::read(words).and_then(|arguments| match verb.as_str() {
        "floor" => floor::run(&arguments),
        "handshakes" => handshakes::run(&arguments),
        "idle" => idle::run(&arguments),
        "slow" => slow::run(&arguments),
        _ => Err(USAGE.into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
