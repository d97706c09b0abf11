use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::*;

mod browsers;
mod messages;
mod stores;

#[path = "../../../../tests/common/skip.rs"]
mod skip;

/// Two authorities of sitar's, and the certificate of another authority.
const ONE: &[u8] = include_bytes!("../identity/form/ca.pem");
const TWO: &[u8] = include_bytes!("tests/two.pem");
const STRANGER: &[u8] = include_bytes!("tests/stranger.pem");
const DEBIAN: &str = "usr/local/share/ca-certificates";
const FEDORA: &str = "etc/pki/ca-trust/source/anchors";

/// Stands in for certutil and the updaters: keeps databases in memory and every call as text.
#[derive(Default)]
struct Fake {
    programs: Vec<&'static str>,
    fails: Option<&'static str>,
    /// Trust needs a password, which is not given.
    password: bool,
    /// Part of the name of a database that cannot be opened.
    damaged: Option<&'static str>,
    calls: RefCell<Vec<String>>,
    /// Location → our entry as PEM, and its flags.
    databases: RefCell<HashMap<String, (String, &'static str)>>,
}

impl Fake {
    fn with(programs: &[&'static str]) -> Fake {
        Fake { programs: programs.to_vec(), ..Fake::default() }
    }

    fn calls(&self) -> Vec<String> {
        self.calls.take()
    }
}

impl Tools for Fake {
    fn has(&self, program: &str) -> bool {
        self.programs.contains(&program)
    }

    fn run(&self, program: &str, arguments: &[OsString], input: &[u8]) -> io::Result<Finished> {
        let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
        self.calls.borrow_mut().push(format!("{program} {}", words.join(" ")).trim_end().to_owned());
        let finished = |success, stdout: &str| {
            let stderr = if success { "" } else { "\nit said no\nand more" };
            Ok(Finished { success, stdout: stdout.to_owned(), stderr: stderr.to_owned() })
        };
        if self.fails.is_some_and(|word| program == word || words.contains(&word)) {
            return finished(false, "");
        }
        if program != "certutil" {
            return finished(true, "");
        }
        if self.damaged.is_some_and(|part| words[1].contains(part)) {
            // As printed by NSS 3.87.
            let stderr =
                "certutil: function failed: SEC_ERROR_BAD_DATABASE: security library: bad database.\n"
                    .to_owned();
            return Ok(Finished { success: false, stdout: String::new(), stderr });
        }
        let mut databases = self.databases.borrow_mut();
        match words[4] {
            "-L" if words.len() == 5 => match databases.get(words[1]) {
                // As printed by NSS 3.87.
                Some((_, flags)) => finished(
                    true,
                    &format!(
                        "\nCertificate Nickname                                         Trust Attributes\n\
                         {:61}SSL,S/MIME,JAR/XPI\n\nanother                                                      \
                         C,,  \nsitar local authority                                        {flags}  \n",
                        ""
                    ),
                ),
                None => finished(true, ""),
            },
            "-L" => match databases.get(words[1]) {
                // Different line breaks, as from the real one.
                Some((pem, _)) => finished(true, &pem.replace('\n', "\r\n")),
                None => finished(false, ""),
            },
            "-N" => {
                assert_eq!(words[5..], ["--empty-password"]);
                let directory = Path::new(words[1].strip_prefix("sql:").unwrap());
                assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o700, "this user's alone");
                fs::write(directory.join("cert9.db"), "").unwrap();
                finished(true, "")
            }
            "-D" => finished(databases.remove(words[1]).is_some(), ""),
            "-A" => {
                let pem = String::from_utf8(input.to_vec()).unwrap();
                let flags = if self.password { ",," } else { "C,," };
                let before = databases.insert(words[1].to_owned(), (pem, flags));
                assert!(before.is_none(), "two entries of one name");
                // The real one stores the certificate before it finds that it may not store the
                // trust.
                finished(!self.password, "")
            }
            other => panic!("certutil {other}"),
        }
    }
}

struct Machine {
    root: TempDir,
    places: Places,
    ca: PathBuf,
}

impl Machine {
    fn new(user: u32, directories: &[&str]) -> Machine {
        let root = TempDir::new().unwrap();
        for directory in directories {
            fs::create_dir_all(root.path().join(directory)).unwrap();
            // Whatever the umask is, only this user can write to it.
            for path in root.path().join(directory).ancestors().take_while(|path| path.starts_with(&root)) {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            if directory.starts_with("home") {
                fs::write(root.path().join(directory).join("cert9.db"), "").unwrap();
            }
        }
        let home = root.path().join("home");
        fs::create_dir_all(&home).unwrap();
        let ca = root.path().join("ca.pem");
        fs::write(&ca, ONE).unwrap();
        let places = Places { root: root.path().to_owned(), home: Some(home), home_refused: None, user };
        Machine { root, places, ca }
    }

    fn path(&self, text: &str) -> PathBuf {
        self.root.path().join(text)
    }

    fn trust(&self, tools: &Fake) -> Vec<State> {
        let pem = fs::read(&self.ca).unwrap();
        states(trust(&self.places, tools, Authority { path: &self.ca, pem: &pem }))
    }

    fn untrust(&self, tools: &Fake) -> Vec<State> {
        states(untrust(&self.places, tools))
    }
}

fn states(outcomes: Vec<Outcome>) -> Vec<State> {
    outcomes.into_iter().map(|outcome| outcome.state).collect()
}

/// The lines about each store, and the one about packages.
fn said(outcomes: &[Outcome], tools: &Fake, user: u32) -> String {
    let missing = install(outcomes, tools, user).map(|command| format!("what is missing: {command}\n"));
    render(outcomes) + &missing.unwrap_or_default()
}

fn failure(action: Action, outcomes: &[Outcome]) -> Option<String> {
    verdict(action, outcomes).map(|error| error.render(false))
}

const NOTHING_TRUSTS: &str = "error: no program trusts the authority yet\n  hint: do what the lines above say, and run sitar \
                              trust again\n";
const NOTHING_TAKEN_BACK: &str = "error: nothing was taken back yet\n  hint: do what the lines above say, and run sitar \
                                  untrust again\n";

/// The message about an entry of our name that is not ours.
fn not_ours(what: &str, command: &str) -> State {
    State::Failed(format!(
        "{what} is not an authority that sitar made; if you do not need it, type: {command}"
    ))
}
