//! The lines that the operator reads, and the exit code.

use super::*;

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
