//! `sitar trust` and `sitar untrust`: the local authority in the trust stores of this machine and
//! this user.
//!
//! Nothing here happens by itself, asks for a password, or runs `sudo`: where a privilege is
//! missing, the exact command is printed. Each entry has a fixed name, so trusting twice changes
//! nothing, trusting after a renewal replaces the old authority, and `untrust` finds exactly what
//! `trust` left. An entry of that name which is not an authority of sitar's is neither replaced nor
//! removed.

mod nss;
mod system;
mod tools;

use sitar_site::Printable;
use std::fmt::{self, Display};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::Error;
use crate::identity;
use crate::output;

pub use tools::{Finished, RealTools, Tools};

/// The action on the local authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Install it.
    Trust,
    /// Take it out again.
    Untrust,
}

/// The owner of the trust stores, and their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The root of the file system: `/`, or a test's directory.
    pub root: PathBuf,
    /// The user's home directory, if there is one that is the user's own.
    pub home: Option<PathBuf>,
    /// The reason that the one in the environment is not used.
    pub home_refused: Option<String>,
    /// The effective user id; 0 may change the system's store.
    pub user: u32,
}

/// The authority's certificate: where it lies and what is in it.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// The PEM file, for commands that the operator is to type.
    pub path: &'a Path,
    /// The bytes that were read from it and found good. They are installed: the file is not read
    /// again.
    pub pem: &'a [u8],
}

/// The outcome for one trust store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The store, as the operator knows it.
    pub store: String,
    /// The change.
    pub state: State,
}

/// The change to a trust store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The authority is in it now.
    Trusted,
    /// The authority is in it now, and the store is new: browsers look there, and none had made it
    /// yet.
    TrustedInNew,
    /// It was in it already.
    AlreadyTrusted,
    /// It is out of it now.
    Removed,
    /// It was not in it.
    NotThere,
    /// Only the operator can do it, by this command.
    TypeThis(String),
    /// A package has to be installed first: why, and which one.
    Missing(String, Package),
    /// There is no such store, and what can be done about it.
    Unavailable(String),
    /// It went wrong.
    Failed(String),
}

/// A package that has a store or a tool for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// The system's store.
    CaCertificates,
    /// `certutil`, which changes the stores of browsers.
    NssTools,
}

/// Runs the command for this user on this machine, and prints one line for each store on standard
/// output.
///
/// # Errors
/// The authority cannot be made, a store could not be changed, or none was.
pub fn run(action: Action) -> Result<(), Error> {
    let (home, home_refused) = match identity::home() {
        Ok(home) => (home, None),
        Err(refusal) => (None, Some(refusal.to_string())),
    };
    let user = rustix::process::geteuid().as_raw();
    let places = Places { root: PathBuf::from("/"), home, home_refused, user };
    let outcomes = match action {
        Action::Trust => {
            let place = identity::Place::of_environment()?;
            let local = identity::open(&place, SystemTime::now())?;
            for note in place.notes() {
                let _ = writeln!(std::io::stderr(), "sitar: {}", Printable(&note));
            }
            trust(&places, &RealTools, Authority { path: &local.ca_path, pem: &local.ca_pem })
        }
        Action::Untrust => untrust(&places, &RealTools),
    };
    let mut text = render(&outcomes);
    if let Some(command) = install(&outcomes, &RealTools, user) {
        text += &format!("what is missing: {command}\n");
    }
    let printed = output::print(&text);
    verdict(action, &outcomes).map_or(printed, Err)
}

/// Returns why the command has failed, if it has.
fn verdict(action: Action, outcomes: &[Outcome]) -> Option<Error> {
    let has = |wanted: fn(&State) -> bool| outcomes.iter().any(|outcome| wanted(&outcome.state));
    if has(|state| matches!(state, State::Failed(_))) {
        return Some(
            Error::new("not every trust store could be changed")
                .hint("the lines above say which and why; it is safe to run this again"),
        );
    }
    let is_open = has(|state| matches!(state, State::TypeThis(_) | State::Missing(..)));
    match action {
        Action::Trust
            if !has(|state| {
                matches!(state, State::Trusted | State::TrustedInNew | State::AlreadyTrusted)
            }) =>
        {
            Some(
                Error::new("no program trusts the authority yet")
                    .hint("do what the lines above say, and run sitar trust again"),
            )
        }
        Action::Untrust if is_open && !has(|state| *state == State::Removed) => Some(
            Error::new("nothing was taken back yet")
                .hint("do what the lines above say, and run sitar untrust again"),
        ),
        _ => None,
    }
}

/// Returns the one command that installs all that is missing.
fn install(outcomes: &[Outcome], tools: &dyn Tools, user: u32) -> Option<String> {
    let is_missing = |package: Package| {
        outcomes.iter().any(|outcome| matches!(outcome.state, State::Missing(_, other) if other == package))
    };
    let sudo = if user == 0 { "" } else { "sudo " };
    let command = |start: &str, nss_tools: &'static str| {
        let names = [(Package::CaCertificates, "ca-certificates"), (Package::NssTools, nss_tools)];
        let names: Vec<&str> =
            names.into_iter().filter(|(package, _)| is_missing(*package)).map(|(_, name)| name).collect();
        (!names.is_empty()).then(|| format!("{sudo}{start} {}", names.join(" ")))
    };
    let (apt, dnf) = (command("apt install", "libnss3-tools")?, command("dnf install", "nss-tools")?);
    Some(match (tools.has("apt-get"), tools.has("dnf")) {
        (true, _) => apt,
        (false, true) => dnf,
        (false, false) => format!("{apt}, or {dnf}"),
    })
}

/// Installs the authority in every store that there is.
pub fn trust(places: &Places, tools: &dyn Tools, authority: Authority<'_>) -> Vec<Outcome> {
    let mut outcomes = vec![system::trust(places, tools, authority)];
    outcomes.extend(nss::trust(places, tools, authority));
    outcomes
}

/// Takes out of every store what [`trust`] put in.
pub fn untrust(places: &Places, tools: &dyn Tools) -> Vec<Outcome> {
    let mut outcomes = vec![system::untrust(places, tools)];
    outcomes.extend(nss::untrust(places, tools));
    outcomes
}

/// Writes one line for each store; a command to type stands on a line of its own, ready to be
/// copied.
#[must_use]
pub fn render(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(|outcome| format!("{outcome}\n")).collect()
}

impl Display for Outcome {
    // Names of profiles and what programs say are foreign text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", Printable(&self.store))?;
        match &self.state {
            State::Trusted => f.write_str("trusted"),
            State::TrustedInNew => {
                f.write_str("trusted, in a new database, which Chromium and its relatives will find")
            }
            State::AlreadyTrusted => f.write_str("trusted already"),
            State::Removed => f.write_str("removed"),
            State::NotThere => f.write_str("was not there"),
            State::TypeThis(command) => write!(f, "needs root; type\n  {}", Printable(command)),
            State::Missing(why, _) | State::Unavailable(why) => write!(f, "not changed: {}", Printable(why)),
            State::Failed(why) => write!(f, "failed: {}", Printable(why)),
        }
    }
}

/// The reason that an entry stays as it is.
fn not_ours(what: &str, command: &str) -> State {
    State::Failed(format!(
        "{what} is not an authority that sitar made; if you do not need it, type: {command}"
    ))
}

/// Returns a path as a word of a shell.
pub(crate) fn shell_word(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%".contains(&byte);
    match path.to_str() {
        Some(text) if !text.is_empty() && text.bytes().all(plain) => text.to_owned(),
        Some(text) if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        // Quotes of bash and zsh: the others would hold what a terminal acts on, or could not be
        // shown.
        _ => {
            let shown = path.as_os_str().as_bytes().iter().map(|&byte| match byte {
                _ if plain(byte) => char::from(byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            });
            format!("$'{}'", shown.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests;
