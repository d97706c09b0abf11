//! The service manager, as far as a test can take its place: sockets that are passed, and what is
//! said to it. `cargo xtask systemd` has a real one. Of the units, what `systemd-analyze` says.

use crate::common::site::write;
use crate::common::{Server, eventually, have, run_with, signal, sitar, sitar_by};
use rustix::process::Signal;
use sitar::systemd::orphan;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder with a site and a configuration.
fn folder(config: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "site/name.txt", "served");
    let file = folder.path().join("sitar.toml");
    configure(&file, config);
    (folder, file)
}

fn configure(file: &Path, config: &str) {
    std::fs::write(file, format!("{config}\n[[site]]\nroot = \"site\"\n")).unwrap();
}

/// A command that starts sitar with a socket as its third and fourth descriptor, and these names.
fn passing(socket: impl Into<OwnedFd>, names: &str, home: &TempDir) -> Command {
    let mut shell = Command::new("sh");
    let script = "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 4<&0 0</dev/null";
    shell.args(["-c", script]);
    let mut command = sitar_by(shell, home.path());
    command.stdin(socket.into());
    command.env("LISTEN_FDS", names.split(':').count().to_string()).env("LISTEN_FDNAMES", names);
    command
}

fn get(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    asked(&mut socket)
}

fn asked(socket: &mut (impl Read + Write)) -> String {
    write!(socket, "GET /name.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

const PLAIN: &str = "[[listen]]\naddress = \"systemd:http\"\ntls = \"off\"";

#[test]
fn a_socket_that_is_passed_is_served_by_every_engine_and_left_as_it_was() {
    for engine in ["auto", "epoll"] {
        let (_folder, file) = folder(PLAIN);
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        // Before sitar starts: the request waits.
        let mut early = TcpStream::connect(address).unwrap();
        let home = TempDir::new().unwrap();
        let mut command = passing(socket.try_clone().unwrap(), "http", &home);
        command.env("SITAR_ENGINE", engine).env("SITAR_SHARDS", "2");
        let server = Server::start_configured_by(command, home, &file);
        assert_eq!(server.listeners("http"), [address], "{engine}");
        assert!(asked(&mut early).ends_with("served"), "{engine}");
        for _ in 0..16 {
            assert!(get(address).ends_with("\r\n\r\nserved"), "{engine}");
        }
        drop(server);
        // It still listens, for the next one.
        let mut late = TcpStream::connect(address).unwrap();
        let home = TempDir::new().unwrap();
        let server = Server::start_configured_by(passing(socket, "http", &home), home, &file);
        assert!(asked(&mut late).ends_with("served"), "{engine}");
        drop(server);
    }
}

#[test]
fn a_unix_socket_that_is_passed_is_served_and_its_file_left() {
    for engine in ["auto", "epoll"] {
        let (folder, file) = folder(PLAIN);
        let path = folder.path().join("http.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let home = TempDir::new().unwrap();
        let mut command = passing(socket.try_clone().unwrap(), "http", &home);
        command.env("SITAR_ENGINE", engine).env("SITAR_SHARDS", "2");
        let server = Server::start_configured_by(command, home, &file);
        let listens = format!("unix:{} (http)", path.display());
        assert!(server.said().contains(&listens), "{}", server.said());
        for _ in 0..16 {
            let mut client = UnixStream::connect(&path).unwrap();
            assert!(asked(&mut client).ends_with("served"), "{engine}");
        }
        drop(server);
        // It still listens, for the next one.
        UnixStream::connect(&path).unwrap();
    }
}

#[test]
fn a_reload_names_another_socket_that_was_passed() {
    let (_folder, file) = folder(PLAIN);
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let home = TempDir::new().unwrap();
    let server = Server::start_configured_by(passing(socket, "http:other", &home), home, &file);
    let unused = format!("systemd passes the socket 'other' ({address}), which no [[listen]] names");
    assert!(server.said().contains(&unused), "{}", server.said());
    let reload = |config: &str, expected: &str| {
        configure(&file, config);
        signal(server.pid(), Signal::HUP);
        eventually(expected, || server.said().contains(expected));
        assert!(get(address).ends_with("served"));
    };
    let none = "systemd passes no socket with the name 'more': it passes 'http', 'other'";
    reload(&PLAIN.replace("http", "more"), none);
    reload(&PLAIN.replace("http", "other"), "the configuration was read again");
}

#[test]
fn what_cannot_be_listened_on_is_named() {
    let refused = |socket: OwnedFd, names: &str| {
        let (folder, file) = folder(PLAIN);
        let home = TempDir::new().unwrap();
        let mut command = passing(socket, names, &home);
        let ended = command.arg("serve").arg("--config").arg(&file).output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        String::from_utf8(ended.stderr).unwrap().replace(folder.path().to_str().unwrap(), "DIR")
    };
    let listening = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    assert_eq!(
        refused(listening().into(), "https"),
        "error: DIR/sitar.toml:1:1: systemd passes no socket with the name 'http': it passes 'https'\n  \
         hint: in a socket unit of sitar: FileDescriptorName=http\n"
    );
    let unfit = |why: &str| {
        format!(
            "error: DIR/sitar.toml:1:1: the socket 'http' that systemd passes cannot be listened on: {why}\n  \
             hint: in its socket unit: ListenStream= with a port or a path, and Accept=no\n"
        )
    };
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    assert_eq!(refused(datagrams.into(), "http"), unfit("it is a datagram socket"));
    // As with Accept=yes.
    let connection = TcpStream::connect(listening().local_addr().unwrap()).unwrap();
    assert_eq!(refused(connection.into(), "http"), unfit("not a listening stream socket"));
}

#[test]
fn the_service_manager_hears_of_the_start_and_of_reloads() {
    let (folder, file) = folder("listen = [{ address = \"127.0.0.1:0\", tls = \"off\" }]");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
    let next = || {
        let mut message = [0; 4096];
        let len = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..len].to_vec()).unwrap()
    };
    let home = TempDir::new().unwrap();
    let mut command = sitar_by(Command::new("env"), home.path());
    command.env("NOTIFY_SOCKET", &path);
    let server = Server::start_configured_by(command, home, &file);
    assert_eq!(next(), "READY=1\nSTATUS=1 site\n");
    std::fs::write(&file, "[[site]]\nrot = \"site\"\n").unwrap();
    signal(server.pid(), Signal::HUP);
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    let ready = next();
    assert!(ready.starts_with("READY=1\nSTATUS=1 site, the last reload was refused: "), "{ready}");
}

#[test]
fn a_successor_is_no_child_of_the_process_that_starts_it() {
    let (folder, file) = folder("listen = [{ address = \"127.0.0.1:0\", tls = \"off\" }]");
    let text = std::fs::read_to_string(&file).unwrap();
    let admin = folder.path().join("admin.sock");
    std::fs::write(&file, format!("admin.socket = {admin:?}\n{text}")).unwrap();
    let home = TempDir::new().unwrap();
    let mut command = sitar(home.path());
    command.arg("serve").arg("--config").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    orphan(&mut command);
    // Where the process in between tells the successor's number.
    let (_own, other) = UnixStream::pair().unwrap();
    command.stdin(OwnedFd::from(other));
    let mut between = command.spawn().unwrap();
    assert!(between.wait().unwrap().success());
    let mut status = sitar(home.path());
    status.args(["status", "--json", "--socket"]).arg(&admin);
    let ask = |status: &mut Command| run_with(status, b"");
    eventually("the successor", || ask(&mut status).status.success());
    let status: serde_json::Value = serde_json::from_slice(&ask(&mut status).stdout).unwrap();
    let pid = u32::try_from(status["pid"].as_u64().unwrap()).unwrap();
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let parent: u32 =
        stat().unwrap().rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    signal(pid, Signal::TERM);
    eventually("its end", || stat().map_or(true, |stat| stat.contains(") Z ")));
    assert!(pid != between.id() && parent != between.id() && parent != std::process::id());
}

/// The units, in a folder in which systemd finds a program for them, and the service with a drop-in
/// of those beside it.
fn units(drop_in: Option<&str>) -> TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let folder = TempDir::new().unwrap();
    for unit in UNITS {
        let text = std::fs::read_to_string(source.join(unit)).unwrap();
        write(folder.path(), unit, text.replace("=/usr/bin/sitar ", "=/bin/true "));
    }
    if let Some(name) = drop_in {
        write(folder.path(), &format!("sitar.service.d/{name}"), std::fs::read(source.join(name)).unwrap());
    }
    folder
}

const UNITS: [&str; 3] = ["sitar.service", "sitar.socket", "sitar-http.socket"];

fn analyze(folder: &TempDir, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).current_dir(folder.path()).env("LC_ALL", "C");
    let ended = run_with(&mut command, b"");
    (ended.status.success(), ended.text() + &ended.stderr)
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    if !have(&["systemd-analyze"]) {
        return;
    }
    for drop_in in [None, Some("dynamic-user.conf"), Some("separate-user.conf")] {
        let folder = units(drop_in);
        let paths = UNITS.map(|unit| format!("./{unit}"));
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let (is_fine, said) = analyze(&folder, &[&["verify", "--man=no"], &paths[..]].concat());
        // Other units of this machine may have faults.
        let own: Vec<&str> = said.lines().filter(|line| line.contains("sitar")).collect();
        assert!(is_fine && own.is_empty(), "{drop_in:?}: {said}");
    }
}

#[test]
fn a_service_is_exposed_by_no_more_than_two_of_ten() {
    if !have(&["systemd-analyze"]) {
        return;
    }
    for drop_in in [None, Some("dynamic-user.conf")] {
        let folder = units(drop_in);
        let security = ["security", "--offline=true", "--no-pager", "--threshold=20", "./sitar.service"];
        let (is_below, said) = analyze(&folder, &security);
        assert!(is_below, "{drop_in:?}:\n{said}");
    }
}
