//! The `sitar` command: see the library beside it.

use std::process::ExitCode;

use sitar::cli::{self, Verb};
use sitar::error::{self, Error};
use sitar::{
    admin, cert, check, config, doctor, events, output, pack, prove, serve, systemd, top, trace, trust,
};

fn main() -> ExitCode {
    if let Some(code) = systemd::step() {
        return code;
    }
    let verb = match cli::parse(std::env::args_os(), std::env::var_os("PORT").as_deref()) {
        Ok(verb) => verb,
        // A mistake goes to standard error, and the exit code is 2.
        Err(message) if message.use_stderr() => message.exit(),
        // The texts of --help and --version.
        Err(message) => return end(output::printed(message.print()).map(|()| ExitCode::SUCCESS)),
    };
    // A server says it in the form of its events.
    if !matches!(verb, Verb::Serve(_)) {
        cli::unread_variables().iter().for_each(|sentence| error::warn(sentence));
    }
    let done = match verb {
        Verb::Serve(arguments) => serve::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Pack(arguments) => pack::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Config(action) => config::run(&action),
        Verb::Status(arguments) => admin::status(&arguments),
        Verb::Top(arguments) => top::run(&arguments),
        Verb::Trace(arguments) => trace::run(&arguments),
        Verb::Reload(arguments) => admin::reload(&arguments),
        Verb::Drain(arguments) => admin::drain(&arguments),
        Verb::Upgrade(arguments) => admin::upgrade(&arguments),
        Verb::Cert(action) => cert::run(&action),
        Verb::Trust => trust::run(trust::Action::Trust).map(|()| ExitCode::SUCCESS),
        Verb::Untrust => trust::run(trust::Action::Untrust).map(|()| ExitCode::SUCCESS),
        Verb::Doctor(arguments) => doctor::run(&arguments),
        Verb::Prove(arguments) => prove::run(&arguments),
    };
    end(done)
}

fn end(done: Result<ExitCode, Error>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            events::end_with(&error);
            ExitCode::from(error::EXIT_FAILED)
        }
    }
}
