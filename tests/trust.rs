//! Certificate authorities of other owners are not believed: root has the environment of another
//! user, and a user has root's.

use crate::common::{Finished, Server, run_with, sitar, skip};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints,
};
use rustix::fs::{Gid, Uid, chown};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use tempfile::TempDir;

/// Another user: `nobody`, as most distributions number it.
const OTHER: u32 = 65_534;

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    skip("only root can give a file to another user");
    false
}

fn give(path: &Path, uid: u32) {
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid))).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), uid);
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Puts an authority that may sign for every name, and a good certificate for localhost, where
/// sitar keeps its own.
fn plant(data: &Path) -> PathBuf {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Example Root CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName(String::new()),
            GeneralSubtree::IpAddress(CidrSubnet::from_str("0.0.0.0/0").unwrap()),
            GeneralSubtree::IpAddress(CidrSubnet::from_str("::/0").unwrap()),
        ],
        excluded_subtrees: Vec::new(),
    });
    let server_key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let server = CertificateParams::new(names).unwrap();
    let chain = server.signed_by(&server_key, &Issuer::from_params(&authority, &key)).unwrap().pem();
    let ca = authority.self_signed(&key).unwrap().pem();
    let local = data.join("sitar/local");
    fs::DirBuilder::new().mode(0o700).recursive(true).create(&local).unwrap();
    for (name, text) in [("ca.pem", ca), ("cert.pem", chain), ("key.pem", server_key.serialize_pem())] {
        fs::write(local.join(name), text).unwrap();
        set_mode(&local.join(name), 0o600);
    }
    local.join("ca.pem")
}

/// Every path below it, with owner, mode and, of files, the contents.
fn tree(directory: &Path) -> Vec<(PathBuf, u32, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let metadata = fs::metadata(&folder).unwrap();
        all.push((folder.clone(), metadata.uid(), metadata.mode(), Vec::new()));
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                folders.push(path);
            } else {
                let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                all.push((path, metadata.uid(), metadata.mode(), bytes));
            }
        }
    }
    all.sort();
    all
}

/// A folder with a home for this user and a directory `data`, both with a mode that no umask has
/// changed.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    // Another user must get through.
    set_mode(folder.path(), 0o755);
    for name in ["home", "data"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        set_mode(&folder.path().join(name), 0o755);
    }
    folder
}

fn serve(folder: &Path, data: &Path) -> Server {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (home, data) = (text(&folder.join("home")), text(data));
    Server::start_with([""; 0], &[("HOME", home.as_str()), ("XDG_DATA_HOME", data.as_str())])
}

/// Runs `sitar serve` on a port that is taken, so that it ends after it has made its certificate.
fn attempt(mut command: Command) -> Finished {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    command.args(["serve", "--listen", &taken.local_addr().unwrap().to_string()]);
    let done = run_with(&mut command, b"");
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    done
}

#[test]
fn root_neither_believes_nor_touches_what_another_users_data_directory_holds() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let data = folder.path().join("data");
    plant(&data);
    give(&data, OTHER);
    let before = tree(&data);
    let server = serve(folder.path(), &data);
    let own = folder.path().join("home/.local/share/sitar");
    assert_eq!(server.ca(), own.join("local/ca.pem"));
    let warning = format!(
        "warning  XDG_DATA_HOME is ignored: {} belongs to another user (uid {OTHER}); \
         the certificate lies in {}\n",
        data.display(),
        own.display()
    );
    assert!(server.said().contains(&warning), "{}", server.said());
    assert_eq!(tree(&data), before);
}

#[test]
fn root_makes_nothing_in_another_users_directory() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let data = folder.path().join("data");
    // Made by root, but below what the other user can rename.
    fs::create_dir(data.join("roots")).unwrap();
    chown(&data, Some(Uid::from_raw(OTHER)), None).unwrap();
    for named in ["roots", "new", "new/er"] {
        let before = tree(&data);
        let server = serve(folder.path(), &data.join(named));
        assert_eq!(server.ca(), folder.path().join("home/.local/share/sitar/local/ca.pem"), "{named}");
        let said = server.said();
        assert!(said.contains(&format!("XDG_DATA_HOME is ignored: {}", data.display())), "{said}");
        assert_eq!(tree(&data), before, "{named}");
    }
}

#[test]
fn root_replaces_files_of_another_user_in_a_directory_of_its_own() {
    if !is_root() {
        return;
    }
    for foreign in ["local", "local/ca.pem", "local/key.pem"] {
        let folder = folder();
        let data = folder.path().join("data");
        drop(serve(folder.path(), &data));
        give(&data.join("sitar").join(foreign), OTHER);
        let server = serve(folder.path(), &data);
        let said = server.said();
        assert!(
            said.contains("because the old one was not made by this user's sitar; "),
            "{foreign}: {said}"
        );
        for name in ["local", "local/ca.pem", "local/key.pem"] {
            assert_eq!(fs::metadata(data.join("sitar").join(name)).unwrap().uid(), 0, "{foreign}: {name}");
        }
    }
}

#[test]
fn roots_directory_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let data = folder.path().join("data");
    plant(&data);
    give(&data.join("sitar"), OTHER);
    let before = tree(&data);
    let mut command = sitar(&data);
    command.env("HOME", folder.path().join("home"));
    let said = attempt(command).stderr;
    let directory = data.join("sitar");
    let directory = directory.display();
    let start = format!(
        "error: cannot keep a certificate in {directory}\n\
         \x20 cause: {directory} belongs to another user (uid {OTHER})\n\
         \x20 hint: see what it is, and if it is not needed, remove it: ls -la {directory}\n"
    );
    assert!(said.starts_with(&start), "{said}");
    assert_eq!(tree(&data), before);
}

#[test]
fn a_foreign_authority_is_replaced_and_said_so() {
    let folder = folder();
    let data = folder.path().join("data");
    let planted = fs::read(plant(&data)).unwrap();
    let server = serve(folder.path(), &data);
    let said = server.said();
    assert!(
        said.contains(
            "warning  new certificate and authority, because the old one was not made by this user's sitar; \
             where it was trusted, run sitar trust again\n"
        ),
        "{said}"
    );
    assert_ne!(fs::read(server.ca()).unwrap(), planted);
}

#[test]
fn no_link_is_followed() {
    let folder = folder();
    let data = folder.path().join("data");
    let victim = folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    set_mode(&victim, 0o755);
    symlink(&victim, data.join("sitar")).unwrap();
    let before = tree(folder.path());
    let said = attempt(sitar(&data)).stderr;
    let path = data.join("sitar");
    let cause = format!("  cause: {} is a symbolic link, and sitar follows none here\n", path.display());
    assert!(said.contains(&cause), "{said}");
    assert_eq!(tree(folder.path()), before, "nothing was made there, and its mode is as it was");

    fs::remove_file(&path).unwrap();
    fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
    symlink(victim.join("nologin"), path.join("lock")).unwrap();
    let said = attempt(sitar(&data)).stderr;
    let cause = format!("  cause: {}/lock is a symbolic link, and sitar follows none here\n", path.display());
    assert!(said.contains(&cause), "{said}");
    assert!(!victim.join("nologin").exists());
}

/// `sitar` as another user whose group is `group`; `None` if this machine does not let it.
fn other_user(group: u32, data: &Path, home: &Path) -> Option<Command> {
    if !is_root() || !crate::common::have(&["setpriv"]) {
        return None;
    }
    let clean = sitar(data);
    // The folder of the program may be root's alone.
    let program = home.join("sitar");
    crate::common::copy_executable(clean.get_program(), &program);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &OTHER.to_string(), "--regid", &group.to_string(), "--clear-groups"]);
    command.args(["--inh-caps=-all", "--"]).arg(program);
    crate::common::without_settings(&mut command);
    command.env("XDG_DATA_HOME", data).env("HOME", home).env("NO_COLOR", "1");
    Some(command)
}

#[test]
fn a_users_own_group_may_write_and_another_may_not() {
    // Where each user has a group, with the same number, the umask lets it write.
    for (group, is_taken) in [(OTHER, true), (100, false)] {
        let folder = folder();
        let data = folder.path().join("data");
        let Some(command) = other_user(group, &data, &folder.path().join("home")) else { return };
        chown(&data, Some(Uid::from_raw(OTHER)), Some(Gid::from_raw(group))).unwrap();
        set_mode(&data, 0o775);
        let said = attempt(command).stderr;
        assert_eq!(data.join("sitar/local/key.pem").exists(), is_taken, "{said}");
        let cause = format!("  cause: others can write to {} (mode 0775)\n", data.display());
        assert_eq!(said.contains(&cause), !is_taken, "{said}");
    }
}

#[test]
fn a_user_is_told_why_roots_place_is_not_used() {
    let folder = folder();
    let (home, data) = (folder.path().join("home"), folder.path().join("data"));
    let Some(command) = other_user(OTHER, &data, &home) else { return };
    // Neither is this user's, and /var/lib is root's.
    let said = attempt(command).stderr;
    assert!(said.starts_with("error: cannot keep a certificate in /var/lib/sitar\n"), "{said}");
    for (variable, path) in [("XDG_DATA_HOME", &data), ("HOME", &home)] {
        let line =
            format!("  cause: {variable} is ignored: {} belongs to another user (uid 0)\n", path.display());
        assert!(said.contains(&line), "{said}");
    }
    assert!(said.contains("  hint: use another directory: XDG_DATA_HOME=/path sitar …\n"), "{said}");
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["0777", "0277", "0"] {
        let folder = folder();
        let data = folder.path().join("data");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        attempt(crate::common::sitar_by(shell, &data));
        let modes = ["", "lock", "local", "local/ca.pem", "local/cert.pem", "local/key.pem"]
            .map(|name| fs::metadata(data.join("sitar").join(name)).unwrap().mode() & 0o7777);
        assert_eq!(modes, [0o700, 0o600, 0o700, 0o600, 0o600, 0o600], "umask {umask}");
    }
}

#[test]
fn a_database_for_browsers_is_made_trusted_and_taken_back() {
    let folder = folder();
    let (home, data) = (folder.path().join("home"), folder.path().join("data"));
    // Not as root, who would change the store of this machine.
    let Some(mut trust) = other_user(OTHER, &data, &home) else { return };
    if !crate::common::have(&["certutil"]) {
        return;
    }
    give(&home, OTHER);
    give(&data, OTHER);
    let done = run_with(trust.arg("trust"), b"").ok();
    let database = home.join(".pki/nssdb");
    let line = format!(
        "{}: trusted, in a new database, which Chromium and its relatives will find\n",
        database.display()
    );
    assert!(done.text().ends_with(&line), "{done:?}");
    let location = format!("sql:{}", database.display());
    let list = || crate::common::run("certutil", ["-L", "-d", &location]).ok().text();
    assert!(
        list().lines().any(|line| line.starts_with("sitar local authority") && line.ends_with(" C,,  ")),
        "{}",
        list()
    );
    for path in [home.join(".pki"), database.clone(), database.join("cert9.db")] {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o077), (OTHER, 0), "{}", path.display());
    }
    let again = |verb: &str| {
        let mut command = other_user(OTHER, &data, &home).unwrap();
        run_with(command.arg(verb), b"").ok().text()
    };
    assert!(again("trust").ends_with(&format!("{}: trusted already\n", database.display())));
    assert!(again("untrust").ends_with(&format!("{}: removed\n", database.display())));
    assert!(!list().contains("sitar local authority"), "{}", list());
}
