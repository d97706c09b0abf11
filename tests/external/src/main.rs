//! Checks of the release program from outside that take long, need a download or a package that
//! tests must not need: each is a verb of `cargo xtask`, which builds and runs this program.

mod client;
mod compression;
mod crowds;
mod docs_sites;
mod floods;
mod generators;
mod hosts;
mod large;
mod processes;
mod program;
mod redbot;
mod times;
mod tlsfuzzer;

use clap::{Parser, Subcommand};
use program::Places;
use std::path::PathBuf;
use std::process::ExitCode;

/// The command line.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Fetches every file of two large documentation sites over HTTPS and compares them byte for
    /// byte
    DocsSites,
    /// Times the first answer from a tar of 1 GiB, and has 200 clients download a file of 20 GiB
    Large,
    /// Floods the server in each way that HTTP/2 makes possible, beside a client that behaves
    Floods(floods::Arguments),
    /// One flood, in a process of its own
    #[command(hide = true)]
    Attack(floods::Order),
    /// Times a client beside crowds that take places, descriptors, and the loading of files
    Crowds(crowds::Arguments),
    /// One crowd, in a process of its own
    #[command(hide = true)]
    Crowd(crowds::Order),
    /// Measures the price of several hosts: instructions, start, and a renewal's first handshake
    Hosts(hosts::Arguments),
    /// Measures what supervisor, worker and sandbox cost: memory, wake-ups, starts, changes of both
    Processes(processes::Arguments),
    /// Measures the bytes that are sent for three sites that are folders, and the CPU for them,
    /// beside nginx and Caddy
    Compression(compression::Arguments),
    /// Visits sites of Hugo, Vite and Docusaurus with Chromium (uses npm, under target/)
    Generators {
        /// The only site to visit
        #[arg(value_parser = generators::names())]
        site: Option<String>,
    },
    /// Asks REDbot about the answers for files of each kind (from PyPI, under target/)
    Redbot,
    /// Runs tlsfuzzer's scripts from a checkout that is given
    Tlsfuzzer {
        /// A checkout of <https://github.com/tlsfuzzer/tlsfuzzer>
        checkout: PathBuf,
        /// The only script to run: the part of its name between `test-` and `.py`
        script: Option<String>,
    },
}

fn main() -> ExitCode {
    let places = Places::new();
    let ended = match Arguments::parse().verb {
        Verb::DocsSites => docs_sites::run(&places),
        Verb::Large => large::run(&places),
        Verb::Floods(arguments) => floods::run(&places, &arguments),
        Verb::Attack(order) => floods::attack(&order),
        Verb::Crowds(arguments) => crowds::run(&places, &arguments),
        Verb::Crowd(order) => crowds::gather(&order),
        Verb::Hosts(arguments) => hosts::run(&places, &arguments),
        Verb::Processes(arguments) => processes::run(&places, &arguments),
        Verb::Compression(arguments) => compression::run(&places, &arguments),
        Verb::Generators { site } => generators::run(&places, site.as_deref()),
        Verb::Redbot => redbot::run(&places),
        Verb::Tlsfuzzer { checkout, script } => tlsfuzzer::run(&places, &checkout, script.as_deref()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
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
        Arguments::command().debug_assert();
    }
}
