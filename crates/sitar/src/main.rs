//! The `sitar` command: see the library beside it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use sitar::cli::{self, Verb};
use sitar::{check, doctor, error, pack, serve, trust};

fn main() -> ExitCode {
    let verb = match cli::parse(std::env::args_os(), std::env::var_os("PORT").as_deref()) {
        Ok(verb) => verb,
        // Prints help and version on standard output, mistakes on standard error, and exits with 0 or 2.
        Err(message) => message.exit(),
    };
    let done = match verb {
        Verb::Serve(arguments) => serve::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Pack(arguments) => pack::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Trust => trust::run(trust::Action::Trust).map(|()| ExitCode::SUCCESS),
        Verb::Untrust => trust::run(trust::Action::Untrust).map(|()| ExitCode::SUCCESS),
        Verb::Doctor(arguments) => doctor::run(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            error.print();
            ExitCode::from(error::EXIT_FAILED)
        }
    }
}
