//! The databases of browsers.

use super::*;

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
