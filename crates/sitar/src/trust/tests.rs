use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::*;

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
                // The real one stores the certificate before it finds that it may not store the trust.
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

#[test]
fn debian_as_root_there_and_back() {
    let machine = Machine::new(0, &[DEBIAN]);
    let tools = Fake::with(&["update-ca-certificates"]);
    let file = machine.path("usr/local/share/ca-certificates/sitar-local-0.crt");

    assert_eq!(machine.untrust(&tools)[0], State::NotThere);
    assert_eq!(machine.trust(&tools)[0], State::Trusted);
    assert_eq!(fs::read(&file).unwrap(), ONE);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(tools.calls(), ["update-ca-certificates"]);

    assert_eq!(machine.trust(&tools)[0], State::AlreadyTrusted);
    assert_eq!(tools.calls(), [""; 0]);

    fs::write(&machine.ca, TWO).unwrap();
    assert_eq!(machine.trust(&tools)[0], State::Trusted);
    assert_eq!(fs::read(&file).unwrap(), TWO);

    assert_eq!(machine.untrust(&tools)[0], State::Removed);
    assert_eq!(tools.calls(), ["update-ca-certificates", "update-ca-certificates --fresh"]);
    assert_eq!(fs::read_dir(machine.path(DEBIAN)).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(machine.untrust(&tools)[0], State::NotThere);
}

#[test]
fn fedora_as_root() {
    let machine = Machine::new(0, &[FEDORA]);
    let tools = Fake::with(&["update-ca-trust"]);
    assert_eq!(machine.trust(&tools)[0], State::Trusted);
    assert_eq!(machine.untrust(&tools)[0], State::Removed);
    assert_eq!(tools.calls(), ["update-ca-trust extract", "update-ca-trust extract"]);
}

#[test]
fn an_ordinary_user_is_given_the_exact_commands() {
    let machine = Machine::new(1000, &[DEBIAN]);
    let tools = Fake::with(&["update-ca-certificates"]);
    let root = machine.root.path().display();
    let file = format!("{root}/usr/local/share/ca-certificates/sitar-local-1000.crt");
    assert_eq!(
        machine.trust(&tools)[0],
        State::TypeThis(format!("sudo install -m 0644 {root}/ca.pem {file} && sudo update-ca-certificates"))
    );
    assert_eq!(machine.untrust(&tools)[0], State::NotThere);
    // The user types the command: now it is there.
    fs::write(&file, ONE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(machine.trust(&tools)[0], State::AlreadyTrusted);
    assert_eq!(
        machine.untrust(&tools)[0],
        State::TypeThis(format!("sudo rm -f {file} && sudo update-ca-certificates --fresh"))
    );
    assert_eq!(fs::read(&file).unwrap(), ONE, "nothing was changed");
    assert_eq!(tools.calls(), [""; 0], "nothing was run");
}

#[test]
fn a_failed_update_leaves_nothing_that_looks_trusted() {
    let machine = Machine::new(0, &[DEBIAN]);
    let mut tools = Fake::with(&["update-ca-certificates"]);
    tools.fails = Some("update-ca-certificates");
    assert_eq!(machine.trust(&tools)[0], State::Failed("update-ca-certificates: it said no".to_owned()));
    assert_eq!(fs::read_dir(machine.path(DEBIAN)).unwrap().count(), 0);
}

#[test]
fn a_symbolic_link_is_replaced_not_followed() {
    let machine = Machine::new(0, &[DEBIAN]);
    let tools = Fake::with(&["update-ca-certificates"]);
    let victim = machine.path("victim");
    fs::write(&victim, "precious").unwrap();
    for name in ["sitar-local-0.crt", "sitar-local-0.new"] {
        std::os::unix::fs::symlink(&victim, machine.path(DEBIAN).join(name)).unwrap();
    }
    assert_eq!(machine.trust(&tools)[0], State::Trusted);
    assert_eq!(machine.untrust(&tools)[0], State::Removed);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn an_entry_that_others_can_write_to_is_written_again() {
    let file = "usr/local/share/ca-certificates/sitar-local-0.crt";
    for mode in [0o646, 0o666, 0o602] {
        let machine = Machine::new(0, &[DEBIAN]);
        let tools = Fake::with(&["update-ca-certificates"]);
        let entry = machine.path(file);
        fs::write(&entry, ONE).unwrap();
        fs::set_permissions(&entry, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(machine.trust(&tools)[0], State::Trusted, "{mode:o}");
        assert_eq!(fs::read(&entry).unwrap(), ONE);
        assert_eq!(fs::metadata(&entry).unwrap().permissions().mode() & 0o777, 0o644, "{mode:o}");
        assert_eq!(tools.calls(), ["update-ca-certificates"]);
    }
    // An ordinary user gets the command that puts it right.
    let machine = Machine::new(1000, &[DEBIAN]);
    let tools = Fake::with(&["update-ca-certificates"]);
    let entry = machine.path("usr/local/share/ca-certificates/sitar-local-1000.crt");
    fs::write(&entry, ONE).unwrap();
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(
        matches!(&machine.trust(&tools)[0], State::TypeThis(command) if command.starts_with("sudo install "))
    );
}

#[test]
fn an_entry_of_another_user_is_written_again() {
    if !rustix::process::geteuid().is_root() {
        skip::skip("only root can give a file to another user");
        return;
    }
    let machine = Machine::new(0, &[DEBIAN]);
    let tools = Fake::with(&["update-ca-certificates"]);
    let entry = machine.path("usr/local/share/ca-certificates/sitar-local-0.crt");
    fs::write(&entry, ONE).unwrap();
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&entry, Some(65_534), None).unwrap();
    assert_eq!(machine.trust(&tools)[0], State::Trusted);
    assert_eq!(fs::metadata(&entry).unwrap().uid(), 0);
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

#[test]
fn all_that_is_missing_is_told_at_once() {
    let nothing =
        "system: not changed: no store of a known kind\nbrowsers: not changed: certutil is missing\n";
    let no_program = "system: not changed: update-ca-certificates is missing\nbrowsers: not changed: certutil is missing\n";
    for (directories, programs, user, lines, command) in [
        (
            &[][..],
            &[][..],
            0,
            nothing,
            "apt install ca-certificates libnss3-tools, or dnf install ca-certificates nss-tools",
        ),
        (&[], &["apt-get"], 1000, nothing, "sudo apt install ca-certificates libnss3-tools"),
        (&[], &["dnf"], 1000, nothing, "sudo dnf install ca-certificates nss-tools"),
        (&[DEBIAN], &["apt-get"], 0, no_program, "apt install ca-certificates libnss3-tools"),
        // Nor is a command given that could not end.
        (
            &[DEBIAN, "home/.pki/nssdb"],
            &["apt-get"],
            1000,
            no_program,
            "sudo apt install ca-certificates libnss3-tools",
        ),
    ] {
        let machine = Machine::new(user, directories);
        let tools = Fake::with(programs);
        let outcomes = trust(&machine.places, &tools, Authority { path: &machine.ca, pem: ONE });
        assert_eq!(said(&outcomes, &tools, user), format!("{lines}what is missing: {command}\n"));
        assert_eq!(failure(Action::Trust, &outcomes).as_deref(), Some(NOTHING_TRUSTS));
        assert_eq!(tools.calls(), [""; 0]);
    }
    let machine = Machine::new(0, &[DEBIAN]);
    let tools = Fake::with(&["update-ca-certificates", "apt-get"]);
    let outcomes = trust(&machine.places, &tools, Authority { path: &machine.ca, pem: ONE });
    assert_eq!(
        said(&outcomes, &tools, 0),
        "system: trusted\nbrowsers: not changed: certutil is missing\nwhat is missing: apt install libnss3-tools\n"
    );
    assert_eq!(failure(Action::Trust, &outcomes), None, "one of them does");
}

#[test]
fn the_database_that_chromium_would_make_is_made() {
    let machine = Machine::new(1000, &[]);
    let tools = Fake::with(&["certutil"]);
    let root = machine.root.path().display();
    let authority = Authority { path: &machine.ca, pem: ONE };
    let outcomes = trust(&machine.places, &tools, authority);
    assert_eq!(
        render(&outcomes),
        format!(
            "system: not changed: no store of a known kind\n\
             {root}/home/.pki/nssdb: trusted, in a new database, which Chromium and its relatives will find\n"
        )
    );
    assert_eq!(failure(Action::Trust, &outcomes), None);
    let database = format!("certutil -d sql:{root}/home/.pki/nssdb -f /dev/null");
    assert_eq!(
        tools.calls(),
        [
            format!("{database} -N --empty-password"),
            format!("{database} -L -a -n sitar local authority"),
            format!("{database} -A -t C,, -n sitar local authority"),
        ]
    );
    for directory in ["home/.pki", "home/.pki/nssdb"] {
        assert_eq!(fs::metadata(machine.path(directory)).unwrap().mode() & 0o7777, 0o700, "{directory}");
    }
    assert_eq!(machine.trust(&tools)[1..], [State::AlreadyTrusted]);
    assert_eq!(machine.untrust(&tools)[1..], [State::Removed]);

    // Beside profiles of Firefox, which are no database of Chromium's, and not beside one that is.
    let machine = Machine::new(1000, &["home/.mozilla/firefox/a.default"]);
    assert_eq!(machine.trust(&Fake::with(&["certutil"]))[1..], [State::TrustedInNew, State::Trusted]);
    for other in ["home/.local/share/pki/nssdb", "home/snap/chromium/current/.pki/nssdb"] {
        let machine = Machine::new(1000, &[other]);
        assert_eq!(machine.trust(&Fake::with(&["certutil"]))[1..], [State::Trusted], "{other}");
        assert!(!machine.path("home/.pki").exists());
    }
    // Never by untrust.
    let machine = Machine::new(1000, &[]);
    let tools = Fake::with(&["certutil"]);
    assert_eq!(machine.untrust(&tools), [State::NotThere, State::NotThere]);
    assert_eq!((tools.calls(), machine.path("home/.pki").exists()), (vec![], false));
}

#[test]
fn a_database_that_cannot_be_made_says_why() {
    let machine = Machine::new(1000, &[]);
    let mut tools = Fake::with(&["certutil"]);
    tools.fails = Some("-N");
    assert_eq!(machine.trust(&tools)[1..], [State::Failed("it said no".to_owned())]);

    // Where others can write, and where something else is.
    let machine = Machine::new(1000, &[]);
    let pki = machine.path("home/.pki");
    fs::create_dir(&pki).unwrap();
    fs::set_permissions(&pki, fs::Permissions::from_mode(0o777)).unwrap();
    let tools = Fake::with(&["certutil"]);
    let path = pki.display();
    let refused =
        format!("others can write to {path} (mode 0777); let only its owner write: chmod go-w {path}");
    assert_eq!(machine.trust(&tools)[1..], [State::Failed(refused)]);
    fs::remove_dir(&pki).unwrap();
    fs::write(&pki, "precious").unwrap();
    assert!(
        matches!(&machine.trust(&tools)[1], State::Failed(why) if why.contains("Not a directory")),
        "{:?}",
        machine.trust(&tools)
    );
    assert_eq!((tools.calls(), fs::read(&pki).unwrap()), (vec![], b"precious".to_vec()));
    // A link leads to a directory of this user's, and certutil gets its name.
    let machine = Machine::new(1000, &[]);
    fs::create_dir(machine.path("home/disk")).unwrap();
    fs::set_permissions(machine.path("home/disk"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("disk", machine.path("home/.pki")).unwrap();
    let tools = Fake::with(&["certutil"]);
    assert_eq!(machine.trust(&tools)[1..], [State::TrustedInNew]);
    let locations: Vec<String> = tools.databases.borrow().keys().cloned().collect();
    assert_eq!(locations, [format!("sql:{}/home/disk/nssdb", machine.root.path().display())]);
}

#[test]
fn a_firefox_without_a_profile_is_told_of() {
    let machine = Machine::new(1000, &[]);
    let outcomes = trust(
        &machine.places,
        &Fake::with(&["certutil", "firefox"]),
        Authority { path: &machine.ca, pem: ONE },
    );
    assert!(render(&outcomes).ends_with(
        "Firefox: not changed: it has no profile yet; start it once, then run sitar trust again\n"
    ));
    let machine = Machine::new(1000, &["home/.mozilla/firefox/a.default"]);
    assert_eq!(machine.trust(&Fake::with(&["certutil", "firefox"])).len(), 3);
}

#[test]
fn the_exit_code_says_whether_anything_was_done() {
    let outcome = |state| Outcome { store: String::new(), state };
    let verdict = |action, states: &[State]| {
        let outcomes: Vec<Outcome> = states.iter().cloned().map(outcome).collect();
        failure(action, &outcomes)
    };
    let typed = || State::TypeThis("sudo true".to_owned());
    let missing = || State::Missing("certutil is missing".to_owned(), Package::NssTools);
    let unavailable = || State::Unavailable("no home".to_owned());
    let failed = || State::Failed("no".to_owned());
    let not_every = "error: not every trust store could be changed\n\
                     \x20 hint: the lines above say which and why; it is safe to run this again\n";
    for (states, expected) in [
        (&[typed(), State::Trusted][..], None),
        (&[typed(), State::TrustedInNew], None),
        (&[typed(), State::AlreadyTrusted], None),
        (&[missing(), State::Trusted], None),
        (&[typed(), missing()], Some(NOTHING_TRUSTS)),
        (&[typed(), unavailable()], Some(NOTHING_TRUSTS)),
        (&[], Some(NOTHING_TRUSTS)),
        (&[State::Trusted, failed()], Some(not_every)),
    ] {
        assert_eq!(verdict(Action::Trust, states).as_deref(), expected, "{states:?}");
    }
    for (states, expected) in [
        (&[State::NotThere, State::NotThere][..], None),
        (&[State::NotThere, State::Removed], None),
        (&[typed(), State::Removed], None),
        (&[State::NotThere, unavailable()], None),
        (&[typed(), State::NotThere], Some(NOTHING_TAKEN_BACK)),
        (&[State::NotThere, missing()], Some(NOTHING_TAKEN_BACK)),
        (&[State::Removed, failed()], Some(not_every)),
    ] {
        assert_eq!(verdict(Action::Untrust, states).as_deref(), expected, "{states:?}");
    }
}

#[test]
fn untrust_looks_for_tools_only_where_there_is_something_to_take() {
    let machine = Machine::new(1000, &[]);
    assert_eq!(machine.untrust(&Fake::default()), [State::NotThere, State::NotThere]);
    let machine = Machine::new(1000, &["home/.pki/nssdb"]);
    let missing = State::Missing("certutil is missing".to_owned(), Package::NssTools);
    assert_eq!(machine.untrust(&Fake::default()), [State::NotThere, missing]);
    let machine = Machine::new(1000, &[DEBIAN]);
    fs::write(machine.path("usr/local/share/ca-certificates/sitar-local-1000.crt"), ONE).unwrap();
    let missing = State::Missing("update-ca-certificates is missing".to_owned(), Package::CaCertificates);
    assert_eq!(machine.untrust(&Fake::default()), [missing, State::NotThere]);
}

#[test]
fn browsers_there_and_back() {
    let machine = Machine::new(
        1000,
        &["home/.pki/nssdb", "home/.mozilla/firefox/b.default", "home/.mozilla/firefox/a.work"],
    );
    fs::create_dir_all(machine.path("home/.mozilla/firefox/Crash Reports")).unwrap();
    let tools = Fake::with(&["certutil"]);
    let root = machine.root.path().display();

    assert_eq!(machine.trust(&tools)[1..], [State::Trusted, State::Trusted, State::Trusted]);
    let database = format!("-d sql:{root}/home/.pki/nssdb -f /dev/null");
    assert_eq!(
        tools.calls()[..2],
        [
            format!("certutil {database} -L -a -n sitar local authority"),
            format!("certutil {database} -A -t C,, -n sitar local authority"),
        ]
    );
    let mut databases: Vec<String> = tools.databases.borrow().keys().cloned().collect();
    databases.sort();
    assert_eq!(
        databases,
        [
            format!("sql:{root}/home/.mozilla/firefox/a.work"),
            format!("sql:{root}/home/.mozilla/firefox/b.default"),
            format!("sql:{root}/home/.pki/nssdb"),
        ]
    );
    assert_eq!(
        machine.trust(&tools)[1..],
        [State::AlreadyTrusted, State::AlreadyTrusted, State::AlreadyTrusted]
    );

    // After a renewal the old authority makes room for the new one.
    fs::write(&machine.ca, TWO).unwrap();
    assert_eq!(machine.trust(&tools)[1..], [State::Trusted, State::Trusted, State::Trusted]);
    assert!(tools.databases.borrow().values().all(|(pem, _)| pem.as_bytes() == TWO));

    assert_eq!(machine.untrust(&tools)[1..], [State::Removed, State::Removed, State::Removed]);
    assert!(tools.databases.borrow().is_empty());
    assert_eq!(machine.untrust(&tools)[1..], [State::NotThere, State::NotThere, State::NotThere]);
}

#[test]
fn a_database_with_a_password_gets_the_command_to_type_and_keeps_nothing() {
    let machine = Machine::new(1000, &["home/.pki/nssdb"]);
    let mut tools = Fake::with(&["certutil"]);
    tools.password = true;
    let root = machine.root.path().display();
    for _ in 0..2 {
        assert_eq!(
            machine.trust(&tools)[1],
            State::Failed(format!(
                "it said no; if the database has a password, type: certutil -d sql:{root}/home/.pki/nssdb \
                 -A -t C,, -n 'sitar local authority' -i {root}/ca.pem"
            ))
        );
        assert!(tools.databases.borrow().is_empty());
    }
}

#[test]
fn a_database_that_cannot_be_opened_is_not_taken_for_empty() {
    let machine = Machine::new(1000, &["home/.pki/nssdb", "home/.mozilla/firefox/ab.default"]);
    let mut tools = Fake::with(&["certutil"]);
    assert_eq!(machine.trust(&tools)[1..], [State::Trusted, State::Trusted]);
    tools.damaged = Some(".pki");
    let database = machine.path("home/.pki/nssdb");
    let failed = State::Failed(format!(
        "the database cannot be read: certutil: function failed: SEC_ERROR_BAD_DATABASE: security library: bad \
         database.; see whether it is damaged, or whose it is: ls -l {}",
        database.display()
    ));
    // The authority may be trusted in it still.
    assert_eq!(machine.untrust(&tools)[1..], [failed.clone(), State::Removed]);
    assert_eq!(machine.trust(&tools)[1..], [failed, State::Trusted]);
    assert!(tools.calls().iter().all(|call| !call.contains(".pki") || !call.contains("-D")));
}

#[test]
fn an_entry_without_trust_is_not_taken_for_trusted() {
    let machine = Machine::new(1000, &["home/.pki/nssdb"]);
    let tools = Fake::with(&["certutil"]);
    assert_eq!(machine.trust(&tools)[1], State::Trusted);
    for entry in tools.databases.borrow_mut().values_mut() {
        entry.1 = ",,";
    }
    assert_eq!(machine.trust(&tools)[1], State::Trusted);
    assert_eq!(machine.trust(&tools)[1], State::AlreadyTrusted);
}

#[test]
fn a_user_without_a_home() {
    let mut machine = Machine::new(1000, &[]);
    machine.places.home = None;
    assert_eq!(
        machine.trust(&Fake::default())[1],
        State::Unavailable("this user has no home directory of its own".to_owned())
    );
}

#[test]
fn what_the_operator_reads() {
    let outcome = |store: &str, state| Outcome { store: store.to_owned(), state };
    assert_eq!(
        render(&[
            outcome("system", State::TypeThis("sudo true".to_owned())),
            outcome("/home/u/.pki/nssdb", State::Trusted),
            outcome("a", State::AlreadyTrusted),
            outcome("b", State::Removed),
            outcome("c", State::NotThere),
            outcome("d", State::Failed("certutil: no".to_owned())),
        ]),
        "system: needs root; type\n  sudo true\n\
         /home/u/.pki/nssdb: trusted\n\
         a: trusted already\n\
         b: removed\n\
         c: was not there\n\
         d: failed: certutil: no\n"
    );
}

#[test]
fn foreign_text_forges_no_line_and_does_not_drive_the_terminal() {
    let foreign = "a\x1b[2J\nsystem: trusted\r\u{9b}b";
    let escaped = r"a\u{1b}[2J\nsystem: trusted\r\u{9b}b";
    for (state, what) in [
        (State::Failed(foreign.to_owned()), format!("failed: {escaped}")),
        (State::Unavailable(foreign.to_owned()), format!("not changed: {escaped}")),
        (State::TypeThis(foreign.to_owned()), format!("needs root; type\n  {escaped}")),
    ] {
        let outcome = Outcome { store: foreign.to_owned(), state };
        assert_eq!(render(&[outcome]), format!("{escaped}: {what}\n"));
    }
}

#[test]
fn shell_words() {
    assert_eq!(shell_word(Path::new("/home/u/ca.pem")), "/home/u/ca.pem");
    assert_eq!(shell_word(Path::new("/home/a b/ca.pem")), "'/home/a b/ca.pem'");
    assert_eq!(shell_word(Path::new("/it's$HOME")), r"'/it'\''s$HOME'");
    // Names that cannot be shown as they are.
    assert_eq!(shell_word(Path::new("/a\n'b\u{9b}")), r"$'/a\x0a\x27b\xc2\x9b'");
    assert_eq!(shell_word(Path::new(OsStr::from_bytes(b"/\xff \\"))), r"$'/\xff\x20\x5c'");
}

/// The message about an entry of our name that is not ours.
fn not_ours(what: &str, command: &str) -> State {
    State::Failed(format!(
        "{what} is not an authority that sitar made; if you do not need it, type: {command}"
    ))
}

#[test]
fn a_strangers_certificate_in_the_systems_store_is_neither_replaced_nor_removed() {
    let both = [ONE, STRANGER].concat();
    for (user, bytes) in [(0, STRANGER), (0, &both), (0, b""), (1000, STRANGER)] {
        let machine = Machine::new(user, &[DEBIAN]);
        let tools = Fake::with(&["update-ca-certificates"]);
        let file = machine.path(&format!("{DEBIAN}/sitar-local-{user}.crt"));
        fs::write(&file, bytes).unwrap();
        let path = file.display();
        let refused =
            not_ours(&path.to_string(), &format!("sudo rm -f {path} && sudo update-ca-certificates --fresh"));
        assert_eq!(machine.trust(&tools)[0], refused);
        assert_eq!(machine.untrust(&tools)[0], refused);
        assert_eq!(fs::read(&file).unwrap(), bytes);
        assert_eq!(tools.calls(), [""; 0]);
    }
}

#[test]
fn something_else_of_our_name_in_the_systems_store_is_not_removed() {
    let machine = Machine::new(0, &[DEBIAN]);
    let tools = Fake::with(&["update-ca-certificates"]);
    let file = machine.path(&format!("{DEBIAN}/sitar-local-0.crt"));
    let path = file.display();
    let refused =
        not_ours(&path.to_string(), &format!("sudo rm -f {path} && sudo update-ca-certificates --fresh"));
    // A link to an authority of ours, which another program may have put there on purpose.
    std::os::unix::fs::symlink(&machine.ca, &file).unwrap();
    assert_eq!(machine.untrust(&tools)[0], refused);
    assert!(file.is_symlink());
    // A FIFO would make a reader wait.
    fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(machine.trust(&tools)[0], refused);
    assert_eq!(machine.untrust(&tools)[0], refused);
    assert_eq!(tools.calls(), [""; 0]);
}

#[test]
fn a_strangers_certificate_in_a_browser_is_neither_replaced_nor_removed() {
    let machine = Machine::new(1000, &["home/.pki/nssdb"]);
    let tools = Fake::with(&["certutil"]);
    let location = format!("sql:{}/home/.pki/nssdb", machine.root.path().display());
    let stranger = String::from_utf8(STRANGER.to_vec()).unwrap();
    tools.databases.borrow_mut().insert(location.clone(), (stranger.clone(), "C,,"));
    let refused = not_ours(
        "its entry \"sitar local authority\"",
        &format!("certutil -d {location} -D -n 'sitar local authority'"),
    );
    assert_eq!(machine.trust(&tools)[1], refused);
    assert_eq!(machine.untrust(&tools)[1], refused);
    assert_eq!(tools.databases.borrow()[&location], (stranger, "C,,"));
}

#[test]
fn what_was_checked_is_installed_and_the_file_is_not_read_again() {
    let machine = Machine::new(0, &[DEBIAN, "home/.pki/nssdb"]);
    let tools = Fake::with(&["update-ca-certificates", "certutil"]);
    // Exchanged after it was read.
    fs::write(&machine.ca, STRANGER).unwrap();
    let outcomes = trust(&machine.places, &tools, Authority { path: &machine.ca, pem: ONE });
    assert_eq!(states(outcomes), [State::Trusted, State::Trusted]);
    assert_eq!(fs::read(machine.path(&format!("{DEBIAN}/sitar-local-0.crt"))).unwrap(), ONE);
    assert!(tools.databases.borrow().values().all(|(pem, _)| pem.as_bytes() == ONE));
}

#[test]
fn a_database_that_others_can_write_to_is_not_touched() {
    let machine = Machine::new(1000, &["home/.pki/nssdb"]);
    let tools = Fake::with(&["certutil"]);
    let database = machine.path("home/.pki/nssdb");
    fs::set_permissions(&database, fs::Permissions::from_mode(0o757)).unwrap();
    let path = database.display();
    let refused = State::Failed(format!(
        "others can write to {path} (mode 0757); let only its owner write: chmod go-w {path}"
    ));
    assert_eq!(machine.trust(&tools)[1], refused);
    assert_eq!(machine.untrust(&tools)[1], refused);
    assert_eq!(tools.calls(), [""; 0]);
}

#[test]
fn certutil_gets_the_name_of_a_database_without_links() {
    let machine = Machine::new(1000, &["home/disk/nssdb"]);
    let tools = Fake::with(&["certutil"]);
    std::os::unix::fs::symlink("disk", machine.path("home/.pki")).unwrap();
    assert_eq!(machine.trust(&tools)[1], State::Trusted);
    let locations: Vec<String> = tools.databases.borrow().keys().cloned().collect();
    assert_eq!(locations, [format!("sql:{}/home/disk/nssdb", machine.root.path().display())]);
}

#[test]
fn a_home_of_another_user_is_told_of() {
    let mut machine = Machine::new(0, &[]);
    machine.places.home = None;
    machine.places.home_refused = Some("/home/u belongs to another user (uid 1000)".to_owned());
    assert_eq!(
        machine.trust(&Fake::default())[1],
        State::Unavailable(
            "this user has no home directory of its own: /home/u belongs to another user (uid 1000)"
                .to_owned()
        )
    );
}
