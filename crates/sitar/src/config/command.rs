//! `sitar config`: writes, checks and shows a configuration.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::load::{Loaded, load};
use super::{Problem, init, schema, show};
use crate::cli::ConfigAction;
use crate::error::{EXIT_PROBLEMS, Error, printable};
use crate::settings::ConfigFile;
use crate::trust::shell_word;
use crate::{output, supervisor};
use sitar_site::Printable;

/// Does what `sitar config` was asked for. The code is 3 when the configuration has mistakes.
///
/// # Errors
/// Something could not be written.
pub fn run(action: &ConfigAction) -> Result<ExitCode, Error> {
    match action {
        ConfigAction::Init { file } => write(file).map(|()| ExitCode::SUCCESS),
        ConfigAction::Check(file) => check(file),
        ConfigAction::Show(file) => match load(&file.path, &file.given, file.port) {
            Ok(loaded) => output::print(&show::show(&loaded)).map(|()| ExitCode::SUCCESS),
            Err(problems) => report(&problems),
        },
        ConfigAction::Schema => output::print(&schema::text()).map(|()| ExitCode::SUCCESS),
    }
}

/// Returns the error of a command that needs a configuration without mistakes.
#[must_use]
pub fn refused(problems: &[Problem]) -> Error {
    let all = problems.iter().map(super::error).reduce(Error::and);
    all.unwrap_or_else(|| Error::new("the configuration cannot be used"))
}

fn write(file: &Path) -> Result<(), Error> {
    let text = init::text();
    if file == Path::new("-") {
        return output::print(&text);
    }
    let name = printable(file);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut new| new.write_all(text.as_bytes()).and_then(|()| new.sync_all()));
    match written {
        Ok(()) => output::print(&format!(
            "{name} written; edit it, then: sitar config check {}\n",
            shell_word(file)
        )),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Error::new(format!("{name} is there already, and is not replaced"))
                .hint("give another name: sitar config init FILE")
                .hint("or print it: sitar config init -"))
        }
        Err(error) => Err(Error::new(format!("cannot write {name}")).cause(error)),
    }
}

fn check(file: &ConfigFile) -> Result<ExitCode, Error> {
    let checked = load(&file.path, &file.given, file.port).and_then(|Loaded { config, .. }| {
        let warnings = supervisor::check(&config)?;
        Ok((config, warnings))
    });
    match checked {
        Ok((config, warnings)) => {
            let (sites, listeners) = (config.sites.len(), config.listeners.len());
            let name = printable(&file.path);
            let fine = format!("{name}: {}, {}: fine\n", count(sites, "site"), count(listeners, "listener"));
            let mut text = String::new();
            for warning in warnings {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "warning: {}", Printable(&warning));
            }
            output::print(&(text + &fine)).map(|()| ExitCode::SUCCESS)
        }
        Err(problems) => report(&problems),
    }
}

/// Prints problems.
fn report(problems: &[Problem]) -> Result<ExitCode, Error> {
    let mut text = String::new();
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "error: {problem}");
    }
    let _ = writeln!(text, "{}", count(problems.len(), "problem"));
    output::print(&text).map(|()| ExitCode::from(EXIT_PROBLEMS))
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
