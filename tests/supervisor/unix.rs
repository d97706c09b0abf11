//! Listeners on Unix sockets: their files, and who is there after a change.

use super::place::{NAME, Place, Service};
use crate::common::{Finished, eventually, run_with, signal, sitar};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

const LISTEN: &str = "[[listen]]\naddress = \"unix:http.sock\"\ntls = \"off\"\n";

/// Asks for the name over the Unix socket. `None`: nothing listens there.
fn ask(place: &Place) -> Option<String> {
    let mut stream = UnixStream::connect(place.path("http.sock")).ok()?;
    stream.write_all(b"GET /name.txt HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    Some(answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Runs the program that is installed there, with the path of the configuration as the last
/// argument.
fn command(args: &[&str], place: &Place) -> Finished {
    run_with(sitar(&place.path("")).args(args).arg(place.path("sitar.toml")), b"")
}

fn start(more: &str) -> Service {
    let place = Place::new();
    place.configure(&format!("{LISTEN}{more}"));
    place.start()
}

#[test]
fn a_unix_socket_is_served_and_its_file_goes_with_the_server() {
    let place = Place::new();
    // One that was left behind.
    drop(UnixListener::bind(place.path("http.sock")).unwrap());
    place.configure(LISTEN);
    let service = place.start();
    let path = service.place.path("http.sock");
    assert_eq!(ask(&service.place).as_deref(), Some(NAME));
    assert_eq!(mode(&path), 0o660);
    let status = service.status();
    let listeners = status["listeners"].as_array().unwrap();
    let own = listeners.iter().find(|one| one["address"] == format!("unix:{}", path.display()));
    assert_eq!(own.unwrap()["role"], "http");

    // Another server does not take it, and says so.
    command(&["config", "check"], &service.place).ok();
    let second = Place::new();
    second.configure(&format!("[[listen]]\naddress = \"unix:{}\"\ntls = \"off\"\n", path.display()));
    let said = command(&["serve", "--config"], &second).stderr;
    assert!(said.contains("another program listens there"), "{said}");
    assert_eq!(ask(&service.place).as_deref(), Some(NAME));

    let inode = fs::metadata(&path).unwrap().ino();
    service.place.configure(&format!("{LISTEN}mode = \"0606\"\n"));
    let said = service.ask("reload").to_string();
    assert!(said.contains("http.sock has other permissions"), "{said}");
    assert_eq!(
        (mode(&path), fs::metadata(&path).unwrap().ino()),
        (0o606, inode),
        "the same with another mode"
    );
    assert_eq!(ask(&service.place).as_deref(), Some(NAME));
    service.place.configure("");
    service.reload();
    eventually("the end of the socket", || !path.exists());
    service.place.configure(LISTEN);
    service.reload();
    assert_eq!(ask(&service.place).as_deref(), Some(NAME));
    signal(service.supervisor(), Signal::TERM);
    eventually("the end of the server", || service.place.processes().is_empty());
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_outlives_an_upgrade() {
    let service = start("");
    let path = service.place.path("http.sock");
    let inode = fs::metadata(&path).unwrap().ino();
    for _ in 0..2 {
        service.run(&["upgrade"]).ok();
        eventually("the end of the old processes", || service.place.processes().len() == 2);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(ask(&service.place).as_deref(), Some(NAME));
    }
    // One that the new program does not listen on goes.
    service.place.configure("");
    service.run(&["upgrade"]).ok();
    eventually("the end of the old processes", || service.place.processes().len() == 2);
    assert!(!path.exists());
    assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let place = Place::new();
    place.write("http.sock", "a file");
    place.configure(LISTEN);
    let said = command(&["serve", "--config"], &place).stderr;
    assert!(said.contains("a file that is no socket is there"), "{said}");
    assert!(!fs::metadata(place.path("http.sock")).unwrap().file_type().is_socket());
}
