//! `sitar status`, `reload`, `drain` and `upgrade`.

use std::process::ExitCode;

use serde_json::Value;

use super::{Request, SCHEMA, Upgraded, ask, document, paths, read_totals, text};
use crate::cli;
use crate::error::{EXIT_FAILED, Error, printable, warn};
use crate::output;

/// Prints what a running server serves, and how it is.
///
/// # Errors
/// No server answers, or its answer is not understood.
pub fn status(arguments: &cli::Status) -> Result<ExitCode, Error> {
    let path = paths::socket(arguments.server.socket.as_deref(), arguments.server.config.as_deref())?;
    let mut answer = ask(&path, &Request::Status)?;
    // Apart from it: what is known without the worker is not to wait for that.
    let numbers = ask(&path, &Request::Numbers);
    if arguments.json {
        // What another version answers is printed as it is.
        if document::read_status(&answer).is_some() {
            add_numbers(&mut answer, numbers);
        }
        output::print(&format!("{answer:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = document::read_status(&answer).ok_or_else(|| {
        other_version(&path, &answer).hint("print its answer as it is: sitar status --json")
    })?;
    let numbers =
        numbers.and_then(|answer| read_totals(&answer).ok_or_else(|| other_version(&path, &answer)));
    output::print(&text::status(&status, &numbers))?;
    Ok(ExitCode::SUCCESS)
}

/// Adds the document of the numbers to that of the status, or why there is none.
fn add_numbers(status: &mut Value, numbers: Result<Value, Error>) {
    let Some(status) = status.as_object_mut() else { return };
    let (numbers, problem) = match numbers {
        Ok(mut numbers) => {
            if let Some(numbers) = numbers.as_object_mut() {
                // The status has them.
                numbers.retain(|name, _| !["schema", "version", "pid"].contains(&&**name));
            }
            (numbers, Value::Null)
        }
        Err(error) => (Value::Null, error.sentence().into()),
    };
    status.insert("numbers".to_owned(), numbers);
    status.insert("numbers_problem".to_owned(), problem);
}

/// Has a running server read its configuration again. The code is 1 when it refused; then nothing
/// has changed there.
///
/// # Errors
/// No server answers, or its answer is not understood.
pub fn reload(arguments: &cli::Reload) -> Result<ExitCode, Error> {
    let path = paths::socket(arguments.server.socket.as_deref(), arguments.server.config.as_deref())?;
    let answer = ask(&path, &Request::Reload)?;
    let reload = document::read_reload(&answer)
        .ok_or_else(|| other_version(&path, &answer).hint("see what it serves now: sitar status"))?;
    if !reload.ok {
        reload.problems.iter().for_each(Error::print);
        warn("nothing has changed: what was served is served");
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    output::print(&text::reload(&reload))?;
    Ok(ExitCode::SUCCESS)
}

/// Has a running server accept no more, and end when its connections have ended.
///
/// # Errors
/// No server answers.
pub fn drain(arguments: &cli::Drain) -> Result<ExitCode, Error> {
    let path = paths::socket(arguments.server.socket.as_deref(), arguments.server.config.as_deref())?;
    ask(&path, &Request::Drain)?;
    output::print("draining: it accepts no more connections, and ends when those that it has are done\n")?;
    Ok(ExitCode::SUCCESS)
}

/// Has the program that is installed now take over from a running server. The code is 1 when it
/// could not; then the old one serves on.
///
/// # Errors
/// No server answers, or its answer is not understood.
pub fn upgrade(arguments: &cli::Upgrade) -> Result<ExitCode, Error> {
    let path = paths::socket(arguments.server.socket.as_deref(), arguments.server.config.as_deref())?;
    let answer = ask(&path, &Request::Upgrade { wait: arguments.wait })?;
    let upgraded = document::read_upgrade(&answer)
        .ok_or_else(|| other_version(&path, &answer).hint("see what it serves now: sitar status"))?;
    match upgraded {
        Ok(Upgraded { version, pid }) => {
            output::print(&format!("upgraded: sitar {version} serves now, process {pid}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            error.print();
            warn("nothing has changed: the program that served serves on");
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

/// The server's document has another shape.
pub(crate) fn other_version(path: &std::path::Path, answer: &Value) -> Error {
    let version = answer.get("version").and_then(Value::as_str).unwrap_or("unknown");
    let schema = answer.get("schema").and_then(Value::as_u64);
    let error = Error::new(format!("cannot read what the sitar at {} answered", printable(path)));
    let own = env!("CARGO_PKG_VERSION");
    match schema {
        Some(SCHEMA) => error.cause("a part of it is missing"),
        _ => error.cause(format!("that one is version {version}, and this one is {own}")),
    }
    .hint("ask it with the program that it was started from")
}
