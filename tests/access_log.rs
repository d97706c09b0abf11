//! The access log: what stands in it, where it goes, and what happens when it cannot be written.

pub(crate) mod table;

use crate::common::asking::while_asking;
use crate::common::client::{self, socket};
use crate::common::disk::Small;
use crate::common::site::write;
use crate::common::{Finished, Server, eventually, h2, have, run, run_with, signal, sitar, skip};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// A folder with a site, its configuration and its logs.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        write(place.0.path(), "site/index.html", "hello");
        fs::create_dir(place.path("log")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a configuration with one site, on plain HTTP.
    fn configure(&self, log: &str) {
        self.configure_sites(log, "[[site]]\nroot = \"site\"\n");
    }

    fn configure_sites(&self, log: &str, sites: &str) {
        let text = format!(
            "[server]\nshards = 2\n[log]\n{log}\n[admin]\nsocket = \"admin.sock\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n{sites}"
        );
        write(self.0.path(), "sitar.toml", text);
    }

    fn start(&self) -> Server {
        let mut server = Server::start_configured(&self.path("sitar.toml"));
        server.set_address(server.listeners("http")[0]);
        server
    }

    fn sitar(&self, arguments: &[&str]) -> Finished {
        run_with(sitar(self.0.path()).current_dir(self.0.path()).args(arguments), b"")
    }

    fn reload(&self) {
        let reload = self.sitar(&["reload", "--socket", "admin.sock"]);
        assert!(reload.status.success(), "{reload:?}");
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until a file has this number of lines. Returns them.
    fn lines(&self, name: &str, count: usize) -> Vec<String> {
        let mut text = String::new();
        eventually(&format!("{count} lines of {name}"), || {
            text = self.text(name);
            text.lines().count() >= count
        });
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), count, "{text}");
        lines
    }
}

/// Sends bytes on a connection of their own, and returns the answer.
fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = socket(address).unwrap();
    socket.write_all(bytes).unwrap();
    let mut answer = String::new();
    // One that is reset has been answered before.
    let _ = socket.read_to_string(&mut answer);
    answer
}

fn get(address: SocketAddr, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = send(address, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn uri(line: &str) -> String {
    parsed(line)["request"]["uri"].as_str().unwrap().to_owned()
}

#[test]
fn a_record_has_what_the_client_sent_over_each_version() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "site/index.html", "hello");
    let log = folder.path().join("access.log");
    let site = folder.path().join("site");
    let server = Server::start([site.as_os_str(), "--access-log".as_ref(), log.as_os_str()]);
    let mut one = client::Client::connect(&server);
    let fields = [("User-Agent", "one \"1\" \\"), ("Referer", "https://a.example/?q"), ("Cookie", "secret")];
    assert_eq!(one.request("GET", "/?a=b", &fields).unwrap().status, 200);
    assert_eq!(one.request("HEAD", "/none", &[("Authorization", "Basic c2VjcmV0")]).unwrap().status, 404);
    let mut two = h2::Client::connect(&server);
    assert_eq!(two.get("/index.html?2").unwrap().status, 200);
    let mut lines = Vec::new();
    eventually("three records", || {
        lines = fs::read_to_string(&log).unwrap().lines().map(parsed).collect();
        lines.len() == 3
    });
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("secret") && !text.contains("c2VjcmV0"), "{text}");
    // Shards write in the order of their own answers.
    let of = |uri: &str| lines.iter().find(|line| line["request"]["uri"] == uri).unwrap();
    let line = of("/?a=b");
    assert_eq!(line["level"], "info");
    assert_eq!(line["logger"], "http.log.access");
    assert_eq!(line["msg"], "handled request");
    let request = &line["request"];
    assert_eq!(request["remote_ip"], one.socket().local_addr().unwrap().ip().to_string());
    assert_eq!(request["client_ip"], request["remote_ip"]);
    assert_eq!((&request["proto"], &request["method"]), (&"HTTP/1.1".into(), &"GET".into()));
    assert_eq!(request["host"], "localhost");
    assert_eq!(request["headers"]["User-Agent"][0], "one \"1\" \\");
    assert_eq!(request["headers"]["Referer"][0], "https://a.example/?q");
    assert_eq!((&request["tls"]["version"], &request["tls"]["proto"]), (&0x0304.into(), &"http/1.1".into()));
    assert_eq!(request["tls"]["resumed"], false);
    assert_eq!((&line["status"], &line["size"]), (&200.into(), &5.into()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let (ts, duration) = (line["ts"].as_f64().unwrap(), line["duration"].as_f64().unwrap());
    assert!(ts < now && now - ts < 600.0 && (0.0..600.0).contains(&duration), "{line}");
    let line = of("/none");
    assert_eq!((&line["status"], &line["size"]), (&404.into(), &0.into()));
    assert_eq!(line["request"]["headers"], serde_json::json!({}));
    let line = of("/index.html?2");
    assert_eq!(
        (&line["request"]["proto"], &line["request"]["tls"]["proto"]),
        (&"HTTP/2.0".into(), &"h2".into())
    );
}

#[test]
fn sites_have_logs_of_their_own_and_what_no_site_answers_has_the_servers() {
    let place = Place::new();
    place.configure_sites(
        "access = \"log/all\"\nformat = \"combined\"\naddresses = \"truncated\"\nsample = { 3xx = 2 }",
        "[[site]]\nhosts = \"localhost\"\nroot = \"site\"\n\
         [[site]]\nhosts = \"b.localhost\"\nroot = \"site\"\naccess_log = \"log/b\"\n\
         [[site]]\nhosts = \"c.localhost\"\nroot = \"site\"\naccess_log = \"off\"\n\
         [[site]]\nhosts = \"d.localhost\"\nredirect_to = \"https://a.example\"\naccess_log = \"log/all\"\n",
    );
    let server = place.start();
    let ask = |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        send(server.address(), request.as_bytes())
    };
    ask("localhost", "/");
    ask("c.localhost", "/");
    ask("b.localhost", "/b");
    ask("d.localhost", "/1");
    ask("d.localhost", "/2");
    send(server.address(), b"nonsense\"\r\n\r\n");
    let mut all: Vec<String> =
        place.lines("log/all", 3).iter().map(|line| line.split_once("] ").unwrap().1.to_owned()).collect();
    all.sort();
    assert!(all[0].starts_with("\"GET / HTTP/1.1\" 200 5 \"-\" \"-\""), "{all:?}");
    assert!(all[1].starts_with("\"GET /1 HTTP/1.1\" 308 ") || all[1].starts_with("\"GET /2 "), "{all:?}");
    assert!(all[2].contains("nonsense\\x22\" 400 "), "{all:?}");
    let b = place.lines("log/b", 1);
    // The test's clients have addresses in 127.0.0.0/8.
    let (address, rest) = b[0].split_once(" - - [").unwrap();
    assert!(address.starts_with("127.") && address.ends_with(".0"), "{b:?}");
    assert!(rest.contains("] \"GET /b HTTP/1.1\" 404 "), "{b:?}");
    assert_eq!(fs::metadata(place.path("log/b")).unwrap().permissions().mode() & 0o137, 0);
}

#[test]
fn no_record_is_lost_over_rotations_and_reloads() {
    let place = Place::new();
    place.configure("access = \"log/a\"");
    let server = place.start();
    let address = server.address();
    let ask = |number| get(address, &format!("/{number}"));
    let asked = while_asking(ask, |more| {
        more();
        for number in 1..=3 {
            fs::rename(place.path("log/a"), place.path(&format!("log/a.{number}"))).unwrap();
            more();
            signal(server.pid(), Signal::USR1);
            eventually("the file again", || place.path("log/a").exists());
            more();
        }
        // The same path once more, and then another.
        place.reload();
        more();
        place.configure("access = \"log/b\"");
        place.reload();
        more();
        // As copytruncate, of a file that was copied when nothing wrote to it.
        let written = place.text("log/a");
        write(place.0.path(), "log/a.4", written);
        File::options().write(true).truncate(true).open(place.path("log/a")).unwrap();
        place.configure("access = \"log/a\"");
        place.reload();
        more();
    });
    drop(server);
    let names = ["log/a.1", "log/a.2", "log/a.3", "log/a.4", "log/b", "log/a"];
    let texts = names.map(|name| place.text(name));
    assert!(texts.iter().all(|text| text.lines().count() > 0), "{texts:?}");
    let mut uris: Vec<usize> =
        texts.iter().flat_map(|text| text.lines()).map(|line| uri(line)[1..].parse().unwrap()).collect();
    uris.sort_unstable();
    assert_eq!(uris, (0..asked).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_removed_is_there_again_after_the_signal() {
    let place = Place::new();
    place.configure("access = \"log/a\"");
    let server = place.start();
    get(server.address(), "/1");
    place.lines("log/a", 1);
    fs::remove_file(place.path("log/a")).unwrap();
    get(server.address(), "/2");
    // A log that cannot be opened is written as before.
    fs::create_dir(place.path("log/a")).unwrap();
    signal(server.pid(), Signal::USR1);
    eventually("what is said", || server.said().contains("log/a"));
    get(server.address(), "/3");
    fs::remove_dir(place.path("log/a")).unwrap();
    signal(server.pid(), Signal::USR1);
    eventually("the file again", || place.path("log/a").exists());
    // The worker has it a moment later.
    eventually("a record", || {
        get(server.address(), "/4");
        place.text("log/a").contains("/4")
    });
    let said = server.said();
    let expected = format!(
        "sitar: cannot open the access log {}: Is a directory (os error 21); workers keep what they have",
        place.path("log/a").display()
    );
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_full_disk_drops_records_is_said_once_and_leaves_whole_lines() {
    let place = Place::new();
    let Some(small) = Small::mount(&place.path("small"), "64k") else {
        return skip("no tmpfs can be mounted here");
    };
    fs::write(place.path("small/filler"), vec![1; 60 << 10]).unwrap();
    place.configure("access = \"small/a\"\nformat = \"common\"");
    let server = place.start();
    let refused = || server.said().matches("cannot be written: No space left on device").count();
    let mut asked = 0;
    eventually("a full disk", || {
        get(server.address(), &format!("/{asked}/{}", "x".repeat(500)));
        asked += 1;
        refused() > 0
    });
    for _ in 0..20 {
        get(server.address(), &format!("/{asked}/full"));
        asked += 1;
    }
    small.resize("1m");
    eventually("it is written again", || {
        get(server.address(), &format!("/{asked}/more"));
        asked += 1;
        server.said().contains("is written again; ")
    });
    let said = server.said();
    assert_eq!(refused(), 1, "{said}");
    let dropped = said.split_once("is written again; ").unwrap().1.split_once(' ').unwrap().0;
    let dropped: usize = dropped.parse().unwrap();
    drop(server);
    let text = place.text("small/a");
    // One line may have been cut where the disk was full.
    let (whole, cut): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("127.") && line.contains(" HTTP/1.1\" 404 "));
    assert!(cut.len() <= 1 && text.ends_with('\n'), "{cut:?}");
    assert!(whole.iter().all(|line| line.matches(" - - [").count() == 1), "{whole:?}");
    assert_eq!(whole.len() + dropped, asked);
    assert!(dropped > 0);
}

#[test]
fn a_pipe_that_is_not_read_holds_no_client_up() {
    let place = Place::new();
    let fifo = place.path("log/fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from(0o600)).unwrap();
    let mut reader = File::options().read(true).write(true).open(&fifo).unwrap();
    place.configure("access = \"log/fifo\"\nformat = \"common\"");
    let server = place.start();
    let mut asked = 0;
    eventually("records that are dropped", || {
        for _ in 0..20 {
            get(server.address(), &format!("/{asked}/{}", "x".repeat(7000)));
            asked += 1;
        }
        server.said().contains("log/fifo cannot be written")
    });
    assert_eq!(server.said().matches("cannot be written").count(), 1);
    let seen = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut text = Vec::new();
            let mut buffer = vec![0; 64 << 10];
            while !text.ends_with(b"the end\n") {
                let length = reader.read(&mut buffer).unwrap();
                text.extend_from_slice(&buffer[..length]);
                seen.store(text.iter().filter(|byte| **byte == b'\n').count(), Ordering::Relaxed);
            }
        });
        eventually("it is written again", || {
            get(server.address(), "/more");
            asked += 1;
            server.said().contains("is written again; ")
        });
        let said = server.said();
        let dropped = said.split_once("is written again; ").unwrap().1.split_once(' ').unwrap().0;
        let dropped: usize = dropped.parse().unwrap();
        eventually("each record", || seen.load(Ordering::Relaxed) + dropped == asked);
        let mut end = File::options().write(true).open(&fifo).unwrap();
        end.write_all(b"the end\n").unwrap();
    });
}

#[test]
fn standard_output_has_the_log_alone() {
    let place = Place::new();
    let out = place.path("log/out");
    write(place.0.path(), "wrapper", format!("#!/bin/sh\nexec \"$@\" >'{}'\n", out.display()));
    fs::set_permissions(place.path("wrapper"), fs::Permissions::from_mode(0o755)).unwrap();
    let site = place.path("site");
    let arguments = [site.to_str().unwrap(), "--tls", "off", "--access-log", "stdout"];
    let server = Server::start_inside(&place.path("wrapper"), arguments);
    get(server.address(), "/1");
    signal(server.pid(), Signal::USR1);
    eventually("what is said", || server.said().contains("let logrotate use copytruncate"));
    get(server.address(), "/2");
    let mut uris: Vec<String> = place.lines("log/out", 2).iter().map(|line| uri(line)).collect();
    uris.sort();
    assert_eq!(uris, ["/1", "/2"]);
    drop(server);

    place.configure("access = \"stdout\"");
    let server = place.start();
    get(server.address(), "/3");
    eventually("a record", || server.said().lines().any(|line| line.starts_with('{') && uri(line) == "/3"));
}

#[test]
fn what_is_queued_is_written_at_a_stop() {
    let place = Place::new();
    place.configure("access = \"log/a\"");
    let server = place.start();
    (0..50).for_each(|number| get(server.address(), &format!("/{number}")));
    drop(server);
    assert_eq!(place.text("log/a").lines().count(), 50);
}

#[test]
fn what_cannot_be_a_log_is_named_with_its_place() {
    let place = Place::new();
    std::os::unix::fs::symlink("elsewhere", place.path("log/link")).unwrap();
    place.configure_sites(
        "access = \"none/a\"",
        "[[site]]\nhosts = \"localhost\"\nroot = \"site\"\naccess_log = \"log/link\"\n\
         [[site]]\nhosts = \"b.localhost\"\nroot = \"site\"\naccess_log = \"./site\"\n\
         [[site]]\nhosts = \"c.localhost\"\nroot = \"site\"\naccess_log = \"log/new\"\n",
    );
    let folder = place.0.path().display();
    for arguments in [&["config", "check", "sitar.toml"][..], &["serve", "--config", "sitar.toml"]] {
        let refused = place.sitar(arguments);
        assert!(!refused.status.success(), "{refused:?}");
        for line in [
            format!("sitar.toml:4:10: cannot open the access log {folder}/none/a: No such file or directory"),
            format!("mkdir -p {folder}/none"),
            format!("sitar.toml:13:14: cannot open the access log {folder}/log/link: it is a symbolic link"),
            format!("sitar.toml:17:14: cannot open the access log {folder}/site: Is a directory"),
        ] {
            let said = refused.text() + &refused.stderr;
            assert!(said.contains(&line), "{line}\n{said}");
        }
        assert!(!place.path("elsewhere").exists() && !place.path("log/elsewhere").exists());
    }
    // The check makes no file, and the start does.
    place.configure("access = \"log/new.log\"");
    let checked = place.sitar(&["config", "check", "sitar.toml"]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(!place.path("log/new.log").exists());
    drop(place.start());
    let file = fs::metadata(place.path("log/new.log")).unwrap();
    assert_eq!(file.uid(), rustix::process::getuid().as_raw());
    assert_eq!(file.mode() & 0o777 & !0o640, 0, "{:o}", file.mode());

    let refused = place.sitar(&["serve", "site", "--access-log", "none/a"]);
    let expected = format!("error: cannot open the access log {folder}/none/a");
    assert!(!refused.status.success() && refused.stderr.contains(&expected), "{refused:?}");
}

/// Returns what goaccess says of a log: lines that it has read, and lines that it has not.
fn goaccess(file: &Path, format: &str) -> (u64, u64) {
    let out = file.with_extension("json");
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    let format = format!("--log-format={format}");
    run("goaccess", [file, &format, "--no-global-config", "-o", out]).ok();
    let report = parsed(&fs::read_to_string(out).unwrap());
    let count = |name: &str| report["general"][name].as_u64().unwrap();
    (count("valid_requests"), count("failed_requests"))
}

#[test]
fn other_programs_read_it() {
    let place = Place::new();
    let hash = "$2y$04$abcdefghijklmnopqrstuuXPmsm8aRnDx8n0ZCeHY7dOaD1.ZjCBO";
    write(place.0.path(), "users", format!("me:{hash}\n"));
    for (format, preset) in [("json", "CADDY"), ("combined", "COMBINED")] {
        let log = format!("log/{format}.log");
        place.configure_sites(
            &format!("access = \"{log}\"\nformat = \"{format}\""),
            "[[site]]\nhosts = \"localhost\"\nroot = \"site\"\n\
             [[site]]\nhosts = \"b.localhost\"\nroot = \"site\"\nusers = \"users\"\n",
        );
        let server = place.start();
        for (host, path, agent) in [
            ("localhost", "/", "curl/7.88.1"),
            ("localhost", "/?q=%22", "Mozilla/5.0 \"(X11; \\ \u{e4})\""),
            ("localhost", "/none%22", "-"),
            ("b.localhost", "/a", "b"),
            ("b.localhost", "/b", "\" 401 1 \"-\" \"-\""),
        ] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
            );
            send(server.address(), request.as_bytes());
        }
        place.lines(&log, 5);
        if have(&["goaccess"]) {
            assert_eq!(goaccess(&place.path(&log), preset), (5, 0), "{}", place.text(&log));
        }
    }
    if have(&["fail2ban-regex"]) {
        let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/fail2ban/sitar-auth.conf");
        let log = place.path("log/combined.log");
        let found = run("fail2ban-regex", [log.to_str().unwrap(), filter.to_str().unwrap()]).ok().text();
        assert!(found.contains("Lines: 5 lines, 0 ignored, 2 matched, 3 missed"), "{found}");
    }
}
