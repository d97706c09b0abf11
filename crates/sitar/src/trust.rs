//! `sitar trust` and `sitar untrust`: the local authority in the trust stores of this machine and this user.
//!
//! Nothing here happens by itself, asks for a password, or runs `sudo`: where a privilege is
//! missing, the exact command is printed. Each entry has a fixed name, so trusting twice changes
//! nothing, trusting after a renewal replaces the old authority, and `untrust` finds exactly what
//! `trust` left. An entry of that name which is not an authority of sitar's is neither replaced nor
//! removed.

mod nss;
mod system;
mod tools;

use std::fmt::{self, Display};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Printable};
use crate::identity;
use crate::output;

pub use tools::{Finished, RealTools, Tools};

/// What to do with the local authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Install it.
    Trust,
    /// Take it out again.
    Untrust,
}

/// Whose trust stores, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The root of the file system: `/`, or a test's directory.
    pub root: PathBuf,
    /// The user's home directory, if there is one that is the user's own.
    pub home: Option<PathBuf>,
    /// Why the one that the environment names is not.
    pub home_refused: Option<String>,
    /// The effective user id; 0 may change the system's store.
    pub user: u32,
}

/// The authority's certificate: where it lies and what is in it.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// The PEM file, for commands that the operator is to type.
    pub path: &'a Path,
    /// What was read from it and found good. This is what is installed: the file is not read again.
    pub pem: &'a [u8],
}

/// What became of one trust store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which store, as the operator knows it.
    pub store: String,
    /// What was done.
    pub state: State,
}

/// What was done to a trust store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The authority is in it now.
    Trusted,
    /// It was in it already.
    AlreadyTrusted,
    /// It is out of it now.
    Removed,
    /// It was not in it.
    NotThere,
    /// Only the operator can do it, by this command.
    TypeThis(String),
    /// There is no such store, or no tool for it; and what can be done about it.
    Unavailable(String),
    /// It went wrong.
    Failed(String),
}

/// Does it for this user on this machine and prints one line for each store on standard output.
///
/// # Errors
/// The authority cannot be made, or a store could not be changed.
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
    let printed = output::print(&render(&outcomes));
    if outcomes.iter().any(|outcome| matches!(outcome.state, State::Failed(_))) {
        return Err(Error::new("not every trust store could be changed")
            .hint("the lines above say which and why; it is safe to run this again"));
    }
    printed
}

/// Installs the authority in every store that there is.
pub fn trust(places: &Places, tools: &dyn Tools, authority: Authority<'_>) -> Vec<Outcome> {
    let mut outcomes = vec![system::trust(places, tools, authority)];
    outcomes.extend(nss::each(places, tools, |database| nss::trust(database, tools, authority)));
    outcomes
}

/// Takes out of every store what [`trust`] put in.
pub fn untrust(places: &Places, tools: &dyn Tools) -> Vec<Outcome> {
    let mut outcomes = vec![system::untrust(places, tools)];
    outcomes.extend(nss::each(places, tools, |database| nss::untrust(database, tools)));
    outcomes
}

/// One line for each store; a command to type stands on a line of its own, ready to be copied.
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
            State::AlreadyTrusted => f.write_str("trusted already"),
            State::Removed => f.write_str("removed"),
            State::NotThere => f.write_str("was not there"),
            State::TypeThis(command) => write!(f, "needs root; type\n  {}", Printable(command)),
            State::Unavailable(why) => write!(f, "not changed: {}", Printable(why)),
            State::Failed(why) => write!(f, "failed: {}", Printable(why)),
        }
    }
}

/// Why an entry stays as it is.
fn not_ours(what: &str, command: &str) -> State {
    State::Failed(format!(
        "{what} is not an authority that sitar made; if you do not need it, type: {command}"
    ))
}

/// A path as a word of a shell.
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
