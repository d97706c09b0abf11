//! The configuration is read again, again and again, while clients are busy: none of them notices.

use crate::common::client::{Client, roots_in, socket, trusting};
use crate::common::h2;
use crate::common::site::write;
use crate::common::{Finished, Over, Server, descriptors, eventually, run, run_with, sample, signal, sitar};
use crate::config::each_mistake;
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use tempfile::TempDir;

/// Connections that ask all the time.
const CLIENTS: usize = 32;
/// Requests on a connection before the client makes another one.
const REQUESTS: usize = 25;
/// Reloads; `SITAR_RELOADS` says otherwise, and `SITAR_SAMPLE` divides them.
const RELOADS: usize = 300;
/// KiB that the process may have grown by after a third of the reloads.
const GROWTH_MAX: u64 = 6 * 1024;

/// Two sites that stay, and what comes and goes beside them.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let folder = TempDir::new().unwrap();
        for name in ["a", "b", "c", "d"] {
            write(folder.path(), &format!("{name}/name.txt"), name);
        }
        for name in ["first", "second"] {
            let key = KeyPair::generate().unwrap();
            let names = ["a.test", "b.test", "c.test"].map(str::to_owned).to_vec();
            let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
            write(folder.path(), &format!("{name}.pem"), certificate.pem());
            write(folder.path(), &format!("{name}.key"), key.serialize_pem());
        }
        Place(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("sitar.toml")
    }

    /// Writes the configuration of that turn.
    fn configure(&self, turn: usize) {
        let certificate = ["first", "second"][turn / 2 % 2];
        let mut text = format!(
            "[server]\nshards = 2\nidle_seconds = {}\nhttp2 = true\n\
             certificate = {{ chain = \"{certificate}.pem\", key = \"{certificate}.key\" }}\n\
             [admin]\nsocket = \"admin.sock\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n",
            60 + turn % 7,
        );
        // A listener that changes its use, and one that comes and goes.
        text += [
            "[[listen]]\naddress = \"[::1]:0\"\nredirect = \"https\"\n",
            "[[listen]]\naddress = \"[::1]:0\"\ntls = \"off\"\n",
        ][turn / 3 % 2];
        if turn % 5 < 2 {
            text += "[[listen]]\naddress = \"127.0.0.2:0\"\ntls = \"off\"\n";
        }
        let _ = write!(text, "[[site]]\nhosts = [\"a.test\"]\nroot = \"a\"\n");
        if turn.is_multiple_of(3) {
            text += "[[site]]\nhosts = [\"c.test\", \"d.test\"]\ncanonical = \"c.test\"\nroot = \"c\"\n";
        }
        text += "[[site]]\nhosts = [\"b.test\"]\nroot = \"b\"\n";
        if turn % 4 == 1 {
            text += "[[site]]\ndefault = true\nroot = \"d\"\nhsts = \"max-age=1\"\n";
        }
        fs::write(self.file(), text).unwrap();
    }

    fn clients(&self, alpn: &[u8]) -> Arc<ClientConfig> {
        trusting(roots_in(["first.pem", "second.pem"].map(|name| self.path(name))), &[alpn])
    }

    /// Asks over the admin socket.
    fn ask(&self, request: &str) -> String {
        let mut socket = UnixStream::connect(self.path("admin.sock")).unwrap();
        socket.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Has a check and a start refuse a configuration with these words.
    fn is_refused(&self, text: &str, expected: &str) {
        fs::write(self.file(), text).unwrap();
        let [checked, started] = [&["config", "check"][..], &["serve", "--config"]].map(|verb| {
            let mut command = sitar(self.0.path());
            command.args(verb).arg(self.file());
            run_with(&mut command, b"")
        });
        assert_eq!((checked.status.code(), started.status.code()), (Some(3), Some(1)), "{expected}");
        for said in [said(&checked), said(&started)] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    fn reload(&self) {
        let answer = self.ask("reload");
        assert!(answer.contains("\"ok\": true"), "{answer}");
    }
}

/// Asks for the two sites that stay, on one connection after another, until it is over. A
/// connection that ends as the server has said is followed by another one.
fn keep_asking(config: &Arc<ClientConfig>, server: &Server, number: usize, is_over: &AtomicBool) -> usize {
    let (host, content) = [("a.test", "a"), ("b.test", "b")][number % 2];
    let mut answered = 0;
    while !is_over.load(Ordering::Relaxed) {
        let name = ServerName::try_from(host).unwrap();
        let client = Client::over_as(config, socket(server.address()).unwrap(), name).unwrap();
        if number % 4 < 2 {
            let mut client = client;
            for _ in 0..REQUESTS {
                let head = format!("GET /name.txt HTTP/1.1\r\nHost: {host}\r\n\r\n");
                client.send(head.as_bytes()).unwrap();
                let response = client.response(false).unwrap();
                assert_eq!((response.status, &*response.body), (200, content.as_bytes()));
                answered += 1;
                if response.field("connection") == Some("close") {
                    assert_eq!(client.read_some(&mut [0; 16]).unwrap(), 0);
                    break;
                }
            }
        } else {
            let mut client = h2::Client::over(client, h2::WINDOW_MAX).unwrap();
            for _ in 0..REQUESTS {
                let fields = [(":method", "GET"), (":path", "/name.txt"), (":authority", host)];
                let (stream, block) = client.ask_for(&fields);
                client.send(&block).unwrap();
                let response = client.answers(&[stream]).unwrap().remove(&stream).unwrap();
                assert_eq!((response.status, response.body), (200, content.as_bytes().to_vec()));
                answered += 1;
                if client.left_by_server {
                    assert!(client.is_ended().unwrap());
                    break;
                }
            }
        }
    }
    answered
}

/// Returns what supervisor and worker have in memory, and how many descriptors are open in them.
fn sizes(server: &Server) -> [(u64, usize); 2] {
    [server.pid(), server.worker()].map(|pid| (resident(pid), descriptors(pid)))
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn reloads() -> usize {
    match std::env::var("SITAR_RELOADS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => RELOADS / sample(),
    }
}

#[test]
fn hundreds_of_reloads_are_noticed_by_no_client() {
    let place = Place::new();
    place.configure(0);
    let server = Server::start_configured(&place.file());
    let (h1, h2) = (place.clients(b"http/1.1"), place.clients(b"h2"));
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let reloads = reloads();
    let (mut early, mut late) = ([(0, 0); 2], [(0, 0); 2]);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let config = if number % 4 < 2 { &h1 } else { &h2 };
                let (server, is_over, answered) = (&server, &is_over, &answered);
                scope.spawn(move || {
                    answered.fetch_add(keep_asking(config, server, number, is_over), Ordering::Relaxed);
                })
            })
            .collect();
        let _over = Over(&is_over);
        for turn in 1..=reloads {
            place.configure(turn);
            place.reload();
            assert!(!clients.iter().any(thread::ScopedJoinHandle::is_finished), "a client has failed");
            if turn == reloads / 3 {
                early = sizes(&server);
            }
        }
        late = sizes(&server);
    });
    let answered = answered.into_inner();
    println!("{reloads} reloads, {answered} answers; resident KiB, open {early:?} -> {late:?}");
    assert!(answered >= CLIENTS * REQUESTS, "the clients were idle");
    for ((early, _), (late, _)) in early.into_iter().zip(late) {
        assert!(late <= early + GROWTH_MAX, "resident {early} -> {late} KiB");
    }
    place.configure(0);
    place.reload();
    // A worker that has taken another's place has other keys: a ticket of this one.
    let name = ServerName::try_from("a.test").unwrap();
    let mut client = Client::over_as(&h1, socket(server.address()).unwrap(), name.clone()).unwrap();
    client.send(b"GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    assert_eq!(client.response(false).unwrap().status, 200);
    drop(client);
    let worker = server.worker();
    place.configure(60);
    place.reload();
    assert_eq!(server.worker(), worker, "its roots are the same");
    // The keys of tickets from before still open them.
    let resumed = Client::over_as(&h1, socket(server.address()).unwrap(), name).unwrap();
    assert_eq!(resumed.into_stream().conn.handshake_kind(), Some(HandshakeKind::Resumed));
    // What watched and listened before has gone.
    eventually("the descriptors of before", || {
        let mut both = sizes(&server).into_iter().zip(early);
        both.all(|((_, now), (_, before))| now <= before + CLIENTS)
    });
    let status = place.ask("status");
    assert!(status.contains("\"ok\": true") && status.contains("a.test"), "{status}");
}

/// Configurations that cannot be served, each with what is said about it. Most can be told only by
/// opening what they name.
fn mistakes(place: &Place) -> Vec<(String, &'static str)> {
    let whole = fs::read_to_string(place.file()).unwrap();
    let text = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}");
        whole.replacen(from, to, 1)
    };
    write(place.0.path(), "broken.pem", "no certificate");
    vec![
        (text("root = \"a\"", "rot = \"a\""), ":18:1: unknown key 'rot' in [[site]]"),
        (text("[[site]]", "[[site"), ":16:7: "),
        (text("shards = 2", "shards = \"two\""), ":2:10: "),
        (text("hosts = [\"b.test\"]", "hosts = [\"a.test\"]"), "a.test"),
        (text("chain = \"first.pem\"", "chain = \"nothing.pem\""), "nothing.pem"),
        (text("chain = \"first.pem\"", "chain = \"broken.pem\""), "broken.pem"),
        (text("chain = \"first.pem\"", "chain = \"second.pem\""), "second.pem"),
        (text("address = \"127.0.0.1:0\"", "address = \"192.0.2.1:0\""), "192.0.2.1:0"),
        (text("root = \"a\"", "root = \"a\"\npages = { 500 = \"missing.html\" }"), "missing.html"),
        (format!("strict = true\n{whole}"), "strict"),
        (text("[server]", "[server]\nstrict = true").replacen("root = \"b\"", "root = \"none\"", 1), "none"),
        (String::new(), "there is no [[site]]"),
    ]
}

#[test]
fn a_mistake_changes_nothing_and_says_what_it_is() {
    let place = Place::new();
    place.configure(0);
    let mut server = Server::start_configured(&place.file());
    let config = place.clients(b"http/1.1");
    let name = ServerName::try_from("a.test").unwrap();
    let mut client = Client::over_as(&config, socket(server.address()).unwrap(), name.clone()).unwrap();
    let before = place.ask("status");
    let file = place.file().display().to_string();
    for (text, expected) in mistakes(&place) {
        fs::write(place.file(), &text).unwrap();
        let mut command = sitar(place.0.path());
        command.args(["reload", "--socket"]).arg(place.path("admin.sock"));
        let finished = run_with(&mut command, b"");
        assert_eq!(finished.status.code(), Some(1), "{expected}: {}", said(&finished));
        assert!(said(&finished).contains(expected), "{expected}: {}", said(&finished));
        // As a check says.
        let mut command = sitar(place.0.path());
        command.args(["config", "check"]).arg(place.file());
        let checked = run_with(&mut command, b"");
        let is_known = !expected.starts_with("the path of the admin");
        assert_eq!(
            checked.status.code(),
            Some(if is_known { 3 } else { 0 }),
            "{expected}: {}",
            said(&checked)
        );
        // Nothing has changed.
        let head = "GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n";
        client.send(head.as_bytes()).unwrap();
        assert_eq!(client.response(false).unwrap().body, b"a");
        let mut fresh = Client::over_as(&config, socket(server.address()).unwrap(), name.clone()).unwrap();
        fresh.send(head.as_bytes()).unwrap();
        assert_eq!(fresh.response(false).unwrap().body, b"a");
        assert_eq!(steady(&place.ask("status")), steady(&before), "{expected}");
    }
    assert!(server.said().contains(&format!("not reloaded, what was served still is: {file}:18:1: ")));
    fs::remove_file(place.file()).unwrap();
    let mut command = sitar(place.0.path());
    command.args(["reload", "--socket"]).arg(place.path("admin.sock"));
    assert_eq!(run_with(&mut command, b"").status.code(), Some(1));
    place.configure(0);
    place.reload();
    server.terminate();
    assert!(server.wait().success());
    assert!(!Path::exists(&place.path("admin.sock")), "the socket is left behind");
}

#[test]
fn a_start_refuses_what_cannot_be_opened_as_a_check_does() {
    let place = Place::new();
    place.configure(0);
    for (text, expected) in mistakes(&place) {
        place.is_refused(&text, expected);
    }
    // These count from a start on, so a reload does not mind them.
    place.configure(0);
    let whole = fs::read_to_string(place.file()).unwrap();
    run("mkfifo", [place.path("page.fifo")]).ok();
    for (from, to, expected) in [
        ("shards = 2", "shards = 2\nconnections = 4294967295", "too low for 4294967295 connections"),
        ("admin.sock", "nowhere/admin.sock", "nowhere"),
        ("admin.sock", "first.pem", "first.pem"),
        ("[server]", "[server]\npages = { 503 = \"page.fifo\" }", "page.fifo: it is no file"),
    ] {
        place.is_refused(&whole.replacen(from, to, 1), expected);
    }
    // Only a server that runs knows this one.
    place.configure(0);
    let server = Server::start_configured(&place.file());
    let text = fs::read_to_string(place.file()).unwrap();
    fs::write(place.file(), text.replace("admin.sock", "other.sock")).unwrap();
    let answer = place.ask("reload");
    assert!(answer.contains("the path of the admin socket cannot be changed"), "{answer}");
    drop(server);
}

#[test]
fn every_mistake_of_a_file_leaves_what_is_served() {
    let place = Place::new();
    place.configure(0);
    let server = Server::start_configured(&place.file());
    let before = place.ask("status");
    let name = ServerName::try_from("a.test").unwrap();
    let config = place.clients(b"http/1.1");
    let mut client = Client::over_as(&config, socket(server.address()).unwrap(), name).unwrap();
    let count = each_mistake(place.0.path(), |title| {
        let answer = place.ask("reload");
        assert!(answer.contains("\"ok\": false"), "{title}: {answer}");
        assert!(answer.contains("\"what\": \""), "{title}: {answer}");
        assert_eq!(steady(&place.ask("status")), steady(&before), "{title}");
        client.send(b"GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        assert_eq!(client.response(false).unwrap().body, b"a", "{title}");
    });
    assert!(count >= 80, "{count}");
}

#[test]
fn a_site_that_is_served_is_not_taken_down_by_a_reload() {
    let place = Place::new();
    place.configure(0);
    let whole = fs::read_to_string(place.file()).unwrap();
    fs::write(place.file(), whole.clone() + "[[site]]\nhosts = [\"late.test\"]\nroot = \"late\"\n").unwrap();
    let server = Server::start_configured(&place.file());
    let config = place.clients(b"http/1.1");
    let get = |host: &'static str| {
        let name = ServerName::try_from("a.test").unwrap();
        let mut client = Client::over_as(&config, socket(server.address()).unwrap(), name).unwrap();
        client.send(format!("GET /name.txt HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        client.response(false).unwrap().status
    };
    // What could not be opened before does not stand in the way of others.
    place.reload();
    assert!(place.ask("status").contains("until then it answers with 503"));
    fs::rename(place.path("b"), place.path("away")).unwrap();
    let answer = place.ask("reload");
    assert!(answer.contains("\"ok\": false") && answer.contains("/b: cannot open it"), "{answer}");
    assert_eq!(get("b.test"), 200, "it is served on");
    // Nor does a site come that cannot be opened.
    fs::rename(place.path("away"), place.path("b")).unwrap();
    fs::write(place.file(), whole + "[[site]]\nhosts = [\"e.test\"]\nroot = \"e\"\n").unwrap();
    let answer = place.ask("reload");
    assert!(answer.contains("\"ok\": false") && answer.contains("/e: cannot open it"), "{answer}");
    // One that comes is served, and nothing is said of what was.
    write(place.0.path(), "late/name.txt", "late");
    eventually("the late site", || {
        !place.ask("status").contains("UNAVAILABLE") && !place.ask("status").contains("until then")
    });
}

#[test]
fn addresses_that_overlap_are_told_as_such() {
    let place = Place::new();
    place.configure(0);
    let server = Server::start_configured(&place.file());
    let port = server.address().port();
    let whole = fs::read_to_string(place.file()).unwrap();
    fs::write(place.file(), whole.replacen("127.0.0.1:0", &format!("0.0.0.0:{port}"), 1)).unwrap();
    let answer = place.ask("reload");
    let expected = format!("this address and 127.0.0.1:{port}, on which this server listens, overlap");
    assert!(answer.contains("\"ok\": false") && answer.contains(&expected), "{answer}");
}

#[test]
fn what_came_through_a_fifo_is_kept() {
    let place = Place::new();
    place.configure(0);
    let key = fs::read(place.path("first.key")).unwrap();
    let fifo = place.path("key.fifo");
    run("mkfifo", [&fifo]).ok();
    let text = fs::read_to_string(place.file()).unwrap();
    fs::write(place.file(), text.replacen("first.key", "key.fifo", 1)).unwrap();
    let writer = thread::spawn(move || fs::write(fifo, key).unwrap());
    let server = Server::start_configured(&place.file());
    writer.join().unwrap();
    place.reload();
    let name = ServerName::try_from("a.test").unwrap();
    let mut client =
        Client::over_as(&place.clients(b"http/1.1"), socket(server.address()).unwrap(), name).unwrap();
    client.send(b"GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    assert_eq!(client.response(false).unwrap().body, b"a");
}

#[test]
fn what_does_not_come_to_an_end_holds_up_nothing_else() {
    let place = Place::new();
    place.configure(0);
    let mut server = Server::start_configured(&place.file());
    let fifo = place.path("fifo.pem");
    run("mkfifo", [&fifo]).ok();
    let text = fs::read_to_string(place.file()).unwrap();
    fs::write(place.file(), text.replacen("first.pem", "fifo.pem", 1)).unwrap();
    signal(server.pid(), Signal::HUP);
    // Returns when the other end is being read, and holds it up.
    let writer = fs::File::options().write(true).open(&fifo).unwrap();
    assert!(place.ask("status").contains("\"last_reload\": null"));
    write(place.0.path(), "a/name.txt", "another");
    let name = ServerName::try_from("a.test").unwrap();
    let mut client =
        Client::over_as(&place.clients(b"http/1.1"), socket(server.address()).unwrap(), name).unwrap();
    eventually("the other content", || {
        client.send(b"GET /name.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        client.response(false).unwrap().body == b"another"
    });
    client.end();
    server.terminate();
    assert!(server.wait().success());
    drop(writer);
}

/// A status without what passes.
fn steady(status: &str) -> String {
    let passes = |line: &&str| !line.contains("uptime_seconds");
    let lines: Vec<&str> = status.lines().filter(passes).collect();
    let text = lines.join("\n");
    // The last reload takes several lines.
    match (text.find("\"last_reload\""), text.find("\"listeners\"")) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &text[..start], &text[end..]),
        _ => text,
    }
}

fn said(finished: &Finished) -> String {
    format!("{}{}", finished.text(), finished.stderr)
}
