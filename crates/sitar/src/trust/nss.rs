//! NSS databases, which browsers read: Chromium's, and one in each profile of Firefox.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::identity::{self, Base, Rule};

use super::{Authority, Finished, Outcome, Package, Places, State, Tools, shell_word};

/// The name of our entry in a database.
const NICKNAME: &str = "sitar local authority";
/// Databases that are looked at, at most.
const DATABASES_MAX: usize = 64;
/// Entries of our name in one database, at most: one, unless more were added by hand.
const ENTRIES_MAX: usize = 8;

/// The program that changes a database.
const CERTUTIL: &str = "certutil";
/// The database that Chromium makes, and looks for first.
const CHROMIUM: &str = ".pki/nssdb";
/// Directories below the home directory that are a database of Chromium or a relative.
const DATABASES: [&str; 3] = [CHROMIUM, ".local/share/pki/nssdb", "snap/chromium/current/.pki/nssdb"];
/// Directories below the home directory that hold profiles, each with a database.
const PROFILES: [&str; 4] = [
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
];

/// The line for all browsers together.
const BROWSERS: &str = "browsers";

/// Puts the authority into each database of this user. Where no relative of Chromium has made its
/// own yet, it is made as they make it, with an empty password.
pub(super) fn trust(places: &Places, tools: &dyn Tools, authority: Authority<'_>) -> Vec<Outcome> {
    let home = match home(places) {
        Ok(home) => home,
        Err(outcome) => return vec![outcome],
    };
    if !tools.has(CERTUTIL) {
        return vec![no_certutil()];
    }
    let databases = databases(home);
    let mut outcomes = Vec::new();
    if !databases.iter().any(|database| DATABASES.iter().any(|own| *database == home.join(own))) {
        let path = home.join(CHROMIUM);
        let state = match make(&path, tools) {
            Ok(database) => match add(&database, tools, authority) {
                State::Trusted => State::TrustedInNew,
                other => other,
            },
            Err(why) => State::Failed(why),
        };
        outcomes.push(Outcome { store: path.display().to_string(), state });
    }
    outcomes.extend(each(databases, |database| add(database, tools, authority)));
    // A profile is made by Firefox itself, or it would not know of it.
    if tools.has("firefox") && !PROFILES.iter().any(|profiles| home.join(profiles).is_dir()) {
        let why = "it has no profile yet; start it once, then run sitar trust again";
        outcomes.push(Outcome { store: "Firefox".to_owned(), state: State::Unavailable(why.to_owned()) });
    }
    outcomes
}

/// Takes the authority out of each database of this user.
pub(super) fn untrust(places: &Places, tools: &dyn Tools) -> Vec<Outcome> {
    let home = match home(places) {
        Ok(home) => home,
        Err(outcome) => return vec![outcome],
    };
    let databases = databases(home);
    if databases.is_empty() {
        return vec![Outcome { store: BROWSERS.to_owned(), state: State::NotThere }];
    }
    if !tools.has(CERTUTIL) {
        return vec![no_certutil()];
    }
    each(databases, |database| remove(database, tools))
}

fn home(places: &Places) -> Result<&Path, Outcome> {
    places.home.as_deref().ok_or_else(|| {
        let why = places.home_refused.iter().map(|refused| format!(": {refused}")).collect::<String>();
        let why = format!("this user has no home directory of its own{why}");
        Outcome { store: BROWSERS.to_owned(), state: State::Unavailable(why) }
    })
}

fn no_certutil() -> Outcome {
    let state = State::Missing("certutil is missing".to_owned(), Package::NssTools);
    Outcome { store: BROWSERS.to_owned(), state }
}

/// Runs `change` on each database.
fn each(databases: Vec<PathBuf>, change: impl Fn(&Path) -> State) -> Vec<Outcome> {
    databases
        .into_iter()
        .map(|database| Outcome {
            store: database.display().to_string(),
            // certutil is given the name without links: under root, no other user can change what
            // it means.
            state: match Base::walk(&database, Rule::Own) {
                Ok(base) => change(&base.path()),
                Err(refusal) => State::Failed(refusal.with_hint()),
            },
        })
        .collect()
}

/// Makes a database where there is none, for this user alone, and returns its directory, free of
/// links.
fn make(path: &Path, tools: &dyn Tools) -> Result<PathBuf, String> {
    let base = Base::walk(path, Rule::Own).map_err(|refusal| refusal.with_hint())?;
    base.make().map_err(|refusal| refusal.with_hint())?;
    let database = base.path();
    let finished = Certutil { database: &database, tools }.run(&["-N", "--empty-password"], b"")?;
    if finished.success { Ok(database) } else { Err(finished.complaint()) }
}

fn add(database: &Path, tools: &dyn Tools, authority: Authority<'_>) -> State {
    let certutil = Certutil { database, tools };
    let entry = match certutil.entry() {
        Ok(entry) => entry,
        Err(why) => return State::Failed(why),
    };
    match entry {
        Some(pem) if !identity::is_named_as_ours(pem.as_bytes()) => return certutil.not_ours(),
        Some(pem) if same_certificate(pem.as_bytes(), authority.pem) && certutil.entry_is_trusted() => {
            return State::AlreadyTrusted;
        }
        // The authority of before a renewal, or one whose trust was taken away by hand.
        Some(_) => {
            if let Err(why) = certutil.delete_all() {
                return State::Failed(why);
            }
        }
        None => {}
    }
    // C: trusted to issue server certificates; nothing for mail, nothing for code.
    let added = certutil.run(&["-A", "-t", "C,,", "-n", NICKNAME], authority.pem);
    match added {
        Ok(finished) if finished.success => State::Trusted,
        Ok(finished) => {
            // Refused the password, certutil leaves the certificate behind, without trust.
            if let Ok(Some(_)) = certutil.entry() {
                let _ = certutil.delete_all();
            }
            State::Failed(format!(
                "{}; if the database has a password, type: certutil -d {} -A -t C,, -n '{NICKNAME}' -i {}",
                finished.complaint(),
                shell_word(Path::new(&certutil.location())),
                shell_word(authority.path)
            ))
        }
        Err(why) => State::Failed(why),
    }
}

fn remove(database: &Path, tools: &dyn Tools) -> State {
    let certutil = Certutil { database, tools };
    match certutil.entry() {
        Err(why) => return State::Failed(why),
        Ok(None) => return State::NotThere,
        Ok(Some(pem)) if !identity::is_named_as_ours(pem.as_bytes()) => return certutil.not_ours(),
        Ok(Some(_)) => {}
    }
    match certutil.delete_all() {
        Ok(()) => State::Removed,
        Err(why) => State::Failed(why),
    }
}

struct Certutil<'a> {
    database: &'a Path,
    tools: &'a dyn Tools,
}

impl Certutil<'_> {
    /// Returns our entry as PEM, if there is one.
    ///
    /// # Errors
    /// The database cannot be opened: what is in it is not known.
    fn entry(&self) -> Result<Option<String>, String> {
        /// The texts of certutil for a database that it could not open, and of no entry in one.
        const UNOPENED: &str = "function failed";
        match self.run(&["-L", "-a", "-n", NICKNAME], b"")? {
            finished if finished.success => Ok(Some(finished.stdout)),
            finished if finished.stderr.contains(UNOPENED) => Err(format!(
                "the database cannot be read: {}; see whether it is damaged, or whose it is: ls -l {}",
                finished.complaint(),
                shell_word(self.database)
            )),
            _ => Ok(None),
        }
    }

    /// Whether our entry may issue server certificates. The listing has a name and three sets of
    /// flags on a line: `sitar local authority      C,,`.
    fn entry_is_trusted(&self) -> bool {
        let Ok(listing) = self.run(&["-L"], b"") else { return false };
        listing.stdout.lines().filter_map(|line| line.strip_prefix(NICKNAME)).any(|flags| {
            let servers = flags.trim().split(',').next().unwrap_or_default();
            servers.contains('C')
        })
    }

    fn delete_all(&self) -> Result<(), String> {
        for _ in 0..ENTRIES_MAX {
            let finished = self.run(&["-D", "-n", NICKNAME], b"")?;
            if !finished.success {
                return Err(finished.complaint());
            }
            if self.entry()?.is_none() {
                return Ok(());
            }
        }
        Err(format!("more than {ENTRIES_MAX} entries are named \"{NICKNAME}\""))
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Finished, String> {
        // An empty password file: a database with a password is refused instead of asking on the
        // terminal.
        let mut all: Vec<OsString> = vec!["-d".into(), self.location(), "-f".into(), "/dev/null".into()];
        all.extend(arguments.iter().map(OsString::from));
        self.tools.run(CERTUTIL, &all, input).map_err(|error| format!("certutil: {error}"))
    }

    fn not_ours(&self) -> State {
        let location = shell_word(Path::new(&self.location()));
        super::not_ours(
            &format!("its entry \"{NICKNAME}\""),
            &format!("certutil -d {location} -D -n '{NICKNAME}'"),
        )
    }

    fn location(&self) -> OsString {
        let mut location = OsString::from("sql:");
        location.push(self.database);
        location
    }
}

fn databases(home: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = DATABASES.iter().map(|directory| home.join(directory)).collect();
    for profiles in PROFILES {
        let Ok(entries) = fs::read_dir(home.join(profiles)) else { continue };
        let mut directories: Vec<PathBuf> =
            entries.filter_map(Result::ok).take(DATABASES_MAX).map(|entry| entry.path()).collect();
        directories.sort();
        found.extend(directories);
    }
    found.retain(|directory| directory.join("cert9.db").is_file());
    found.truncate(DATABASES_MAX);
    found
}

/// Compares what is between the PEM markers: certutil breaks lines in its own way.
fn same_certificate(a: &[u8], b: &[u8]) -> bool {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    match (CertificateDer::from_pem_slice(a), CertificateDer::from_pem_slice(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
