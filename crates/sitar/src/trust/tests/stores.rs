//! The system's store of certificates.

use super::*;

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
