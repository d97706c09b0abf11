//! Sockets as the service manager passes them, without one: tests of the whole program have real
//! descriptors.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use super::*;
use crate::config::{ListenerRole, Place};

fn names(pid: &str, count: &str, names: Option<&str>) -> Result<Vec<String>, String> {
    let all = names_of(Some(OsStr::new(pid)), Some(OsStr::new(count)), names.map(OsStr::new), 42);
    all.map_err(|error| error.render(false))
}

fn name(text: &str) -> SocketName {
    SocketName::of_address(&format!("systemd:{text}")).unwrap().unwrap()
}

fn listener(names: &[&str]) -> ListenerConfig {
    ListenerConfig {
        place: Place { file: Path::new("sitar.toml").into(), line: 3, column: 1 },
        addresses: Vec::new(),
        sockets: names.iter().map(|text| name(text)).collect(),
        paths: Vec::new(),
        passed: Vec::new(),
        mode: None,
        proxies: Vec::new(),
        role: ListenerRole::Https,
    }
}

fn listening() -> Socket {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    Socket { address: Endpoint::Tcp(socket.local_addr().unwrap()), fd: socket.into() }
}

fn passed(all: Vec<(&str, Result<Socket, &str>)>) -> Passed {
    let one = |(name, socket): (&str, Result<Socket, &str>)| One {
        name: name.to_owned(),
        socket: socket.map_err(str::to_owned),
    };
    Passed(all.into_iter().map(one).collect())
}

#[test]
fn descriptors_have_the_names_that_are_passed_with_them() {
    assert_eq!(names("42", "2", Some("https:http")).unwrap(), ["https", "http"]);
    assert_eq!(names("42", "2", None).unwrap(), ["unknown", "unknown"]);
    assert_eq!(names("42", "1", Some("")).unwrap(), [""]);
    assert!(names("42", "0", Some("")).unwrap().is_empty());
    assert!(names("42", "0", None).unwrap().is_empty());
    // For another process.
    assert!(names("43", "2", Some("https:http")).unwrap().is_empty());
    assert!(names("", "2", None).unwrap().is_empty());
    for (pid, count) in [(None, Some("2")), (Some("42"), None), (None, None)] {
        assert!(names_of(pid.map(OsStr::new), count.map(OsStr::new), None, 42).unwrap().is_empty());
    }
}

#[test]
fn variables_that_contradict_each_other_are_refused() {
    for count in ["-1", "x", "", "4097", "99999999999999999999"] {
        let expected = format!(
            "error: cannot take over sockets: LISTEN_FDS is '{count}'\n  cause: expected a number of at \
             most 4096\n"
        );
        assert_eq!(names("42", count, None).unwrap_err(), expected);
    }
    let expected = "error: cannot take over sockets: LISTEN_FDNAMES is 'https'\n  cause: these are 1 names for \
                    2 sockets\n";
    assert_eq!(names("42", "2", Some("https")).unwrap_err(), expected);
    assert!(names("42", "0", Some("https")).is_err());
}

#[test]
fn a_listener_gets_every_socket_of_its_names() {
    let passed =
        passed(vec![("https", Ok(listening())), ("http", Ok(listening())), ("https", Ok(listening()))]);
    let all: Vec<SocketAddr> =
        passed.0.iter().map(|one| one.socket.as_ref().unwrap().address.tcp().unwrap()).collect();
    let of = |names: &[&str]| -> Vec<SocketAddr> {
        passed
            .of_listener(&listener(names))
            .unwrap()
            .iter()
            .map(|socket| socket.address().tcp().unwrap())
            .collect()
    };
    assert_eq!(of(&["https"]), [all[0], all[2]]);
    assert_eq!(of(&["http", "https"]), [all[1], all[0], all[2]]);
    assert!(of(&[]).is_empty());
}

#[test]
fn each_shard_accepts_from_the_same_queue() {
    let socket = listening();
    let shards: Vec<TcpListener> =
        socket.for_shards(NonZeroU16::new(2).unwrap()).unwrap().into_iter().map(TcpListener::from).collect();
    assert_eq!(shards.len(), 2);
    for shard in &shards {
        let client = TcpStream::connect(socket.address().tcp().unwrap()).unwrap();
        assert_eq!(shard.accept().unwrap().1, client.local_addr().unwrap());
    }
}

#[test]
fn a_name_that_was_not_passed_is_named_with_those_that_were() {
    let none = Passed::default().of_listener(&listener(&["https"])).unwrap_err();
    assert_eq!(none[0].what, "systemd passes no socket with the name 'https': it passes none");
    assert_eq!(
        none[0].hint.as_deref(),
        Some(
            "start sitar together with a socket unit that has FileDescriptorName=https: systemctl start \
             sitar.socket sitar.service"
        )
    );
    let passed = passed(vec![("sitar.socket", Ok(listening())), ("dns", Err("it is a datagram socket"))]);
    let problems = passed.of_listener(&listener(&["https", "dns"])).unwrap_err();
    let [https, dns] = &problems[..] else { panic!("{problems:?}") };
    let what = "systemd passes no socket with the name 'https': it passes 'sitar.socket', 'dns'";
    assert_eq!((https.what.as_str(), https.place.line), (what, 3));
    assert_eq!(https.hint.as_deref(), Some("in a socket unit of sitar: FileDescriptorName=https"));
    let what = "the socket 'dns' that systemd passes cannot be listened on: it is a datagram socket";
    assert_eq!(dns.what, what);
}

#[test]
fn a_socket_that_no_listener_names_is_said() {
    let http = listening();
    let address = http.address.clone();
    let passed =
        passed(vec![("https", Ok(listening())), ("http", Ok(http)), ("dns", Err("it is a datagram socket"))]);
    let text = "[[listen]]\naddress = \"systemd:https\"\n[[site]]\nredirect_to = \"https://a.test\"\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sitar.toml");
    std::fs::write(&file, text).unwrap();
    let config = config::read(&file, &[]).unwrap();
    assert_eq!(
        passed.unused(&config),
        [
            format!(
                "systemd passes the socket 'http' ({address}), which no [[listen]] names: clients wait there \
                 for an answer; the name is: address = \"systemd:http\""
            ),
            "systemd passes 'dns', which no [[listen]] names and none could: it is a datagram socket".into()
        ]
    );
}

#[test]
fn a_unix_socket_is_taken_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let socket = of_listening(socket.into()).unwrap();
    assert_eq!(*socket.address(), Endpoint::Unix(path.clone()));
    let sockets = socket.for_shards(NonZeroU16::new(2).unwrap()).unwrap();
    assert_eq!(sockets.len(), 2);
    crate::unix_socket::tests::takes_no_descriptors(&path);
}
