//! `cargo xtask bench`: the cost of sitar, beside a floor and its peers, in one run on one machine.
//!
//! One program: it starts the servers and the loads, and it is the floor and the clients itself
//! where no kept load generator does as well (connections that begin again with each request, that
//! idle, and that read slowly). `answers` alone is a binary of its own: ci links it in release at
//! each run, and nothing else may have a part in its instructions.

mod balance;
mod cases;
mod client;
mod clients;
mod compare;
mod engines;
mod floor;
mod http;
mod load;
mod logs;
mod packs;
mod participants;
mod process;
mod prose;
mod run;
mod servers;
mod site;
mod stats;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// CPU, latency and memory of sitar beside a floor and its peers
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    compare: compare::Arguments,
}

#[derive(Subcommand)]
enum Verb {
    /// Compares sitar's engines, the polling kernel thread counted
    Engines(Quick),
    /// Measures how evenly connections fall on shards
    Balance(Quick),
    /// Measures the CPU of the thread that writes access logs, for a million records
    Logs(Quick),
    /// Times packing, and the first answer from a pack and from a plain tar
    Packs(packs::Arguments),
    /// Times the HTTP part of a warm request
    Http(http::Arguments),
    /// The server that does next to nothing
    #[command(hide = true)]
    Floor(floor::Arguments),
    /// Clients that open a connection for each request
    #[command(hide = true)]
    Handshakes(client::handshakes::Arguments),
    /// Clients that do nothing, or hardly anything
    #[command(hide = true)]
    Idle(client::idle::Arguments),
    /// Clients that read slowly
    #[command(hide = true)]
    Slow(client::slow::Arguments),
}

#[derive(Args, Clone, Copy, Default)]
struct Quick {
    /// Few short rounds, into files under `target/` instead of `bench/`
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    let done = match &arguments.verb {
        None => compare::run(&arguments.compare),
        Some(Verb::Engines(quick)) => engines::run(*quick),
        Some(Verb::Balance(quick)) => balance::run(*quick),
        Some(Verb::Logs(quick)) => logs::run(*quick),
        Some(Verb::Packs(arguments)) => packs::run(arguments),
        Some(Verb::Http(arguments)) => http::run(arguments),
        Some(Verb::Floor(arguments)) => floor::run(arguments),
        Some(Verb::Handshakes(arguments)) => client::handshakes::run(arguments),
        Some(Verb::Idle(arguments)) => client::idle::run(arguments),
        Some(Verb::Slow(arguments)) => client::slow::run(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn arguments_are_read_or_refused() {
        let read = |words: &[&str]| CommandLine::try_parse_from([&["bench"], words].concat());
        let arguments = read(&["--quick", "--case", "304", "--peer", "nginx=/x/nginx"]).unwrap().compare;
        assert!(arguments.quick.quick);
        let wanted: Vec<&str> =
            cases::CASES.iter().filter(|case| arguments.wants(case)).map(|case| case.name).collect();
        assert_eq!(wanted, ["h1 TLS 304"]);
        assert_eq!(arguments.line(), "cargo xtask bench --quick --case '304' --peer nginx=…");
        assert!(read(&["--case", "no such case"]).is_err());
        assert!(read(&["--case"]).is_err());
        assert!(read(&["quick"]).is_err());
        assert!(read(&["--quick", "engines"]).is_err());
        assert!(matches!(read(&["engines"]).unwrap().verb, Some(Verb::Engines(Quick { quick: false }))));
    }
}
