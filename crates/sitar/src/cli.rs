//! The command line: `sitar <verb> [PATH]`.
//!
//! Precedence is flag, then `SITAR_*` variable, then `$PORT` (for the port of the default address),
//! then the default. A value that cannot be read and a broken rule between settings end with exit
//! code 2. What can only be refused by looking at its meaning ([`Settings::plan`]) ends with exit
//! code 1.

use std::ffi::{OsStr, OsString};
use std::fmt;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::check::Check;
use crate::settings::{Settings, values};

mod admin;
mod advice;
mod cert;
mod config;
mod doctor;
mod pack;
mod prove;
mod variables;

pub use admin::{Drain, Reload, Server, Status, Top, Trace, Upgrade};
pub(crate) use advice::{distance, instead_of_site};
pub use cert::{CertAction, RevocationReason};
pub use config::ConfigAction;
pub use doctor::Doctor;
pub use pack::Pack;
pub use prove::Prove;

/// Reads the command line; `port` is the value of `$PORT`.
///
/// # Errors
/// A usage error (exit code 2), or the texts of `--help` and `--version` (exit code 0): call
/// `exit()` on it.
pub fn parse<I, T>(arguments: I, port: Option<&OsStr>) -> Result<Verb, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut command = variables::without_empty(CommandLine::command());
    let matches = command.clone().try_get_matches_from(&arguments);
    let mut matches = matches.map_err(|error| advice::improve(error, &arguments, &command))?;
    let mut verb =
        CommandLine::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?.verb;
    // An unusable $PORT matters only where it would be used.
    match &mut verb {
        // The file is not read yet, and may have addresses.
        Verb::Serve(Settings { config: Some(file), .. })
        | Verb::Config(ConfigAction::Check(file) | ConfigAction::Show(file)) => {
            file.port = parse_port_variable(port).ok().flatten();
        }
        Verb::Serve(settings) if settings.listen.is_empty() => {
            settings.default_port = parse_port_variable(port)?;
        }
        _ => {}
    }
    Ok(verb)
}

/// Returns a sentence for each variable of the environment that looks like one of sitar's and means
/// nothing.
#[must_use]
pub fn unread_variables() -> Vec<String> {
    variables::unread(std::env::vars_os(), &CommandLine::command())
}

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "sitar",
    version,
    about = "An HTTPS server whose site is one file",
    after_help = "Exit codes: 0 done, 1 could not start or failed, 2 usage, 3 a check or the doctor found problems.",
    disable_help_subcommand = true
)]
pub struct CommandLine {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs of the command.
#[derive(Debug, Subcommand, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Verb {
    /// Serve a tar archive or a directory; without PATH, a small handbook
    Serve(Settings),
    /// Make a pack of a directory: a tar archive with encodings and an index, which serves best
    Pack(Pack),
    /// Look for what is wrong with a site: links, rules, media types
    Check(Check),
    /// Write, check or show a configuration file
    #[command(subcommand)]
    Config(ConfigAction),
    /// Ask a running server what it serves, and how it is
    Status(Status),
    /// Show what a running server does, on one screen that is drawn again each second
    #[command(
        after_help = "Keys: q ends it, s sorts the sites by requests, content or errors. Where standard output is no \
        terminal, or TERM is dumb, it prints one screen about one interval and ends. Durations are estimated from a \
        histogram.\n\nExit codes: 0 done, 1 no server answered, 2 usage."
    )]
    Top(Top),
    /// Show samples of what a running server answers, as it answers, for a time
    #[command(
        after_help = "It ends after --duration or --count, with Ctrl-C, and when the server stops. A server takes at \
        most 1,000 records a second for each of its shards. Addresses are as in the access log of the host, and \
        truncated where it has none.\n\nExit codes: 0 done, 1 no server answered, it refused, or it ended by accident, 2 usage."
    )]
    Trace(Trace),
    /// Have a running server read its configuration again, and everything that it names
    #[command(
        after_help = "Exit codes: 0 reloaded, 1 refused (then nothing has changed) or no server answered, 2 usage."
    )]
    Reload(Reload),
    /// Have a running server accept no more connections, and end when those that it has are done
    Drain(Drain),
    /// Have a running server hand over to the program that is installed now, without a pause
    #[command(
        after_help = "Exit codes: 0 the new program serves, 1 it does not (then the old one serves on) or no server \
        answered, 2 usage."
    )]
    Upgrade(Upgrade),
    /// Ask a running server about the certificates that it orders, and have it order or revoke one
    #[command(subcommand, after_help = "Exit codes: 0 done, 1 no server answered or it refused, 2 usage.")]
    Cert(CertAction),
    /// Let this user's programs trust the local certificate authority
    Trust,
    /// Take back what `sitar trust` did
    Untrust,
    /// Look at this machine: what sitar could use, what is missing, what that costs, and what to
    /// type
    #[command(
        after_help = "Run it as the user that runs sitar. Exit codes: 0 everything is fine, 3 something was found, \
        1 failed, 2 usage."
    )]
    Doctor(Doctor),
    /// Measure on this machine what is claimed: system calls, bytes and CPU of a request, with the
    /// price
    #[command(
        after_help = "It starts a server of its own on loopback, asks it, and prints a page for an issue. As root it \
        counts system calls, too. Exit codes: 0 measured, 1 failed, 2 usage."
    )]
    Prove(Prove),
}

fn parse_port_variable(value: Option<&OsStr>) -> Result<Option<u16>, clap::Error> {
    match value {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => match value.to_str().and_then(values::port) {
            Some(port) => Ok(Some(port)),
            None => Err(usage(
                ErrorKind::ValueValidation,
                format!("the environment variable PORT is {value:?}, not a number from 0 to 65535"),
            )),
        },
    }
}

fn usage(kind: ErrorKind, message: impl fmt::Display) -> clap::Error {
    CommandLine::command().error(kind, message)
}

#[cfg(test)]
mod tests;
