//! NSS databases, which browsers read: Chromium's, and one in each profile of Firefox.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::identity::{self, Base, Rule};

use super::{Authority, Finished, Outcome, Places, State, Tools, shell_word};

/// The name of our entry in a database.
const NICKNAME: &str = "sitar local authority";
/// Databases that are looked at, at most.
const DATABASES_MAX: usize = 64;
/// Entries of our name in one database, at most: one, unless somebody added more by hand.
const ENTRIES_MAX: usize = 8;

/// Directories below the home directory that are a database.
const DATABASES: [&str; 3] = [".pki/nssdb", ".local/share/pki/nssdb", "snap/chromium/current/.pki/nssdb"];
/// Directories below the home directory that hold profiles, each with a database.
const PROFILES: [&str; 4] = [
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
];

/// Runs `change` on each database of this user.
pub(super) fn each(places: &Places, tools: &dyn Tools, change: impl Fn(&Path) -> State) -> Vec<Outcome> {
    let unavailable =
        |why: &str| vec![Outcome { store: "browsers".to_owned(), state: State::Unavailable(why.to_owned()) }];
    let Some(home) = &places.home else {
        let why = places.home_refused.iter().map(|refused| format!(": {refused}")).collect::<String>();
        return unavailable(&format!("this user has no home directory of its own{why}"));
    };
    let databases = databases(home);
    if databases.is_empty() {
        return unavailable("no certificate database yet; start the browser once, then run this again");
    }
    if !tools.has("certutil") {
        return unavailable(
            "certutil is missing; install it: sudo apt install libnss3-tools, or sudo dnf install nss-tools",
        );
    }
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

pub(super) fn trust(database: &Path, tools: &dyn Tools, authority: Authority<'_>) -> State {
    let certutil = Certutil { database, tools };
    match certutil.entry() {
        Some(pem) if !identity::is_named_as_ours(pem.as_bytes()) => return certutil.not_ours(),
        Some(pem) if same_certificate(pem.as_bytes(), authority.pem) && certutil.entry_is_trusted() => {
            return State::AlreadyTrusted;
        }
        // The authority of before a renewal, or one that somebody took the trust from.
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
            if certutil.entry().is_some() {
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

pub(super) fn untrust(database: &Path, tools: &dyn Tools) -> State {
    let certutil = Certutil { database, tools };
    match certutil.entry() {
        None => return State::NotThere,
        Some(pem) if !identity::is_named_as_ours(pem.as_bytes()) => return certutil.not_ours(),
        Some(_) => {}
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
    /// Our entry as PEM, if there is one.
    fn entry(&self) -> Option<String> {
        match self.run(&["-L", "-a", "-n", NICKNAME], b"") {
            Ok(finished) if finished.success => Some(finished.stdout),
            _ => None,
        }
    }

    /// Whether our entry may issue server certificates. The listing has a name and three sets of flags on a line:
    /// `sitar local authority      C,,`.
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
            if self.entry().is_none() {
                return Ok(());
            }
        }
        Err(format!("more than {ENTRIES_MAX} entries are named \"{NICKNAME}\""))
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Finished, String> {
        // An empty password file: a database with a password is refused instead of asking on the terminal.
        let mut all: Vec<OsString> = vec!["-d".into(), self.location(), "-f".into(), "/dev/null".into()];
        all.extend(arguments.iter().map(OsString::from));
        self.tools.run("certutil", &all, input).map_err(|error| format!("certutil: {error}"))
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
