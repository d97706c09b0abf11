//! Sites that are for some only: users, networks, rates. As a user configures them, in the sandbox.

use crate::common::site::write;
use crate::common::{Server, eventually, have, run, run_with, signal, sitar};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use tempfile::TempDir;

/// The password is "secret".
const ANN: &str = "ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// The password is "secret".
const BOB: &str = "bob:$5$rounds=1234$salt$Wmg4z916IEmzueSGM6nAMfu1U2QfEnLkEX0e7ziwZcB\n";
/// ann:secret, bob:secret, ann:wrong.
const AS_ANN: &str = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
const AS_BOB: &str = "Authorization: Basic Ym9iOnNlY3JldA==\r\n";
const WRONG: &str = "Authorization: Basic YW5uOndyb25n\r\n";

struct Place(TempDir);

impl Place {
    fn new(site: &str) -> Place {
        Place::behind("", site)
    }

    /// The same with more about the listener.
    fn behind(listener: &str, site: &str) -> Place {
        Place::with("", listener, site)
    }

    /// The same with more about the server, too.
    fn with(server: &str, listener: &str, site: &str) -> Place {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "public/a.txt", "for some\n");
        write(folder.path(), "public/app.3f2a1b9c.js", "let a = 1;\n");
        write(folder.path(), "public/.well-known/acme-challenge/token", "proof\n");
        write(folder.path(), "users", ANN);
        let text = format!(
            "[server]\nshards = 2\ntls = \"off\"\n{server}[admin]\nsocket = \"admin.sock\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n{listener}[[site]]\nroot = \"public\"\n{site}"
        );
        write(folder.path(), "sitar.toml", text);
        Place(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self) -> Server {
        Server::start_configured(&self.path("sitar.toml"))
    }
}

/// Asks once, from an address of loopback's. Returns the whole answer.
fn ask_from(source: [u8; 4], server: SocketAddr, path: &str, lines: &str) -> String {
    let mut stream = connect(source, server);
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(source: [u8; 4], server: SocketAddr) -> TcpStream {
    crate::common::client::socket_from(Some(source.into()), server, None).unwrap()
}

fn status_from(source: [u8; 4], server: SocketAddr, path: &str, lines: &str) -> u16 {
    let answer = ask_from(source, server, path, lines);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

const HOME: [u8; 4] = [127, 0, 0, 1];
const AWAY: [u8; 4] = [127, 0, 0, 9];

#[test]
fn a_site_is_for_its_users_and_a_reload_changes_them() {
    let place = Place::new("users = \"users\"\nrealm = \"Staff\"\n");
    let server = place.start();
    let address = server.listeners("http")[0];
    let status = |path: &str, lines: &str| status_from(HOME, address, path, lines);
    let refusal = ask_from(HOME, address, "/a.txt", "");
    assert!(refusal.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{refusal}");
    assert!(refusal.contains("WWW-Authenticate: Basic realm=\"Staff\", charset=\"UTF-8\"\r\n"), "{refusal}");
    assert_eq!(status("/a.txt", AS_ANN), 200);
    assert_eq!((status("/a.txt", WRONG), status("/a.txt", AS_BOB)), (401, 401));
    assert_eq!(status("/no-such-file", ""), 401, "what there is not is not told");
    assert_eq!(status("/.well-known/acme-challenge/token", ""), 200);
    assert_eq!(status("/.well-known/acme-challenge/../../a.txt", ""), 401);
    let kept = ask_from(HOME, address, "/app.3f2a1b9c.js", AS_ANN);
    assert!(kept.contains("\r\nCache-Control: private, max-age=31536000, immutable\r\n"), "{kept}");
    // Half of a file, then another one.
    fs::write(place.path("users"), &BOB[..40]).unwrap();
    signal(server.pid(), Signal::HUP);
    eventually("the reload is refused", || server.said().contains("not reloaded"));
    assert_eq!(status("/a.txt", AS_ANN), 200);
    fs::write(place.path("users"), BOB).unwrap();
    signal(server.pid(), Signal::HUP);
    eventually("ann is none of them any more", || status("/a.txt", AS_ANN) != 200);
    assert_eq!(status("/a.txt", AS_BOB), 200);
    let home = TempDir::new().unwrap();
    let mut command = sitar(home.path());
    let status =
        run_with(command.args(["status", "--json", "--socket"]).arg(place.path("admin.sock")), b"").ok();
    let told = server.said() + &status.text();
    for secret in ["secret", "YW5u", "Ym9i", "wrong", "$2y$05", "Wmg4z916"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
}

#[test]
fn guesses_of_one_address_are_slowed() {
    let place = Place::new("users = \"users\"\n");
    let server = place.start();
    let address = server.listeners("http")[0];
    assert_eq!(status_from(HOME, address, "/a.txt", AS_ANN), 200);
    let guesses: Vec<u16> = (b'A'..=b'Z')
        .map(|last| {
            let line = format!("Authorization: Basic YW5uOmF{}\r\n", char::from(last));
            status_from(HOME, address, "/a.txt", &line)
        })
        .collect();
    assert!(guesses[..10].iter().all(|status| *status == 401), "{guesses:?}");
    assert!(guesses.contains(&429), "{guesses:?}");
    assert_eq!(status_from(AWAY, address, "/a.txt", WRONG), 401);
    // Each shard that has seen her lets her in; another one may have to be asked first.
    assert_eq!(status_from(AWAY, address, "/a.txt", AS_ANN), 200);
}

#[test]
fn networks_are_refused() {
    let place = Place::new("allow = \"127.0.0.0/24\"\ndeny = [\"127.0.0.9\"]\n");
    let server = place.start();
    let address = server.listeners("http")[0];
    assert_eq!(status_from(HOME, address, "/a.txt", ""), 200);
    assert_eq!(status_from(AWAY, address, "/a.txt", ""), 403);
    assert_eq!(status_from(AWAY, address, "/.well-known/acme-challenge/token", ""), 200);
    assert_eq!(status_from([127, 0, 1, 1], address, "/a.txt", ""), 403);
    let forged = "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n";
    assert_eq!(status_from(AWAY, address, "/a.txt", forged), 403);
}

#[test]
fn requests_beyond_the_rate_are_put_off() {
    let place = Place::new("rate = \"2/h\"\nburst = 3\n");
    let server = place.start();
    let address = server.listeners("http")[0];
    let statuses: Vec<u16> = (0..5).map(|_| status_from(HOME, address, "/a.txt", "")).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let answer = ask_from(HOME, address, "/a.txt", "");
    let wait = answer.split("Retry-After: ").nth(1).and_then(|rest| rest.split('\r').next());
    let wait: u64 = wait.unwrap().parse().unwrap();
    assert!((1..=1800).contains(&wait), "{answer}");
    assert_eq!(status_from(AWAY, address, "/a.txt", ""), 200);
}

/// Runs a command of sitar's that fails, and returns what it says.
fn refused(args: &[&str]) -> String {
    let home = TempDir::new().unwrap();
    let done = run_with(sitar(home.path()).args(args), b"");
    assert!(!done.status.success(), "{done:?}");
    done.text() + &done.stderr
}

#[test]
fn a_file_of_users_that_cannot_be_used_keeps_the_server_from_starting() {
    let place = Place::new("users = \"users\"\n");
    let file = place.path("sitar.toml");
    let file = file.to_str().unwrap();
    fs::write(place.path("users"), format!("{ANN}bob:$apr1$abcdefgh$0123456789012345678901\n")).unwrap();
    let said = refused(&["config", "check", file]);
    assert!(said.contains("line 2: hashes of the kind apr1 (MD5) are not taken"), "{said}");
    assert!(said.contains("htpasswd -nB bob"), "{said}");
    assert!(!said.contains("abcdefgh"), "{said}");
    fs::remove_file(place.path("users")).unwrap();
    let said = refused(&["serve", "--config", file]);
    assert!(said.contains("cannot use the file of users"), "{said}");
}

#[test]
fn a_request_of_http_2_waits_for_its_password_and_counts_once() {
    if !have(&["curl"]) {
        return;
    }
    let place = Place::new("users = \"users\"\nrate = \"1/h\"\nburst = 3\n");
    let server = place.start();
    let url = format!("http://{}/a.txt", server.listeners("http")[0]);
    let curl = |user: &str| {
        let options = ["--silent", "--http2-prior-knowledge", "--write-out", "%{http_code}", "--user", user];
        run("curl", options.iter().chain([&url.as_str()])).ok().text()
    };
    assert_eq!(curl("ann:secret"), "for some\n200");
    assert!(curl("ann:wrong").ends_with("401"));
    assert_eq!(curl("ann:secret"), "for some\n200");
    assert!(curl("ann:secret").ends_with("429"));
}

#[test]
fn networks_see_the_client_that_a_proxy_names() {
    const PROXY: [u8; 4] = [127, 0, 0, 2];
    let place = Place::behind(
        "proxy_protocol = \"127.0.0.2\"\n",
        "deny = [\"192.0.2.0/24\", \"127.0.0.2\", \"2001:db8::/32\"]\n",
    );
    let server = place.start();
    let address = server.listeners("http")[0];
    let status = |source: [u8; 4], header: &str| {
        let mut stream = connect(source, address);
        let request = format!("{header}GET /a.txt HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let named = |client: &str| format!("PROXY {client} 1000 80\r\n");
    assert_eq!(status(PROXY, &named("TCP4 198.51.100.9 127.0.0.1")), "200");
    assert_eq!(status(PROXY, &named("TCP4 192.0.2.7 127.0.0.1")), "403");
    assert_eq!(status(PROXY, &named("TCP6 2001:db8::1 ::1")), "403");
    assert_eq!(status(PROXY, &named("TCP6 ::ffff:192.0.2.7 ::1")), "403");
    // The proxy on its own account.
    assert_eq!(status(PROXY, "PROXY UNKNOWN\r\n"), "403");
    assert_eq!(status(PROXY, ""), "", "it has to send a header");
    // Others cannot name themselves.
    assert_eq!(status([127, 0, 0, 1], ""), "200");
    assert_eq!(status([127, 0, 0, 1], &named("TCP4 198.51.100.9 127.0.0.1")), "400");
}

/// Lines of a request that a proxy has passed on.
fn forwarded(client: &str) -> String {
    format!("X-Forwarded-For: 203.0.113.5, {client}\r\n")
}

#[test]
fn a_rate_counts_the_clients_of_a_trusted_proxy() {
    let place =
        Place::with("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n", "", "rate = \"2/h\"\nburst = 2\n");
    let server = place.start();
    let address = server.listeners("http")[0];
    let status = |source, lines: &str| status_from(source, address, "/a.txt", lines);
    let (one, other) = (forwarded("192.0.2.1"), forwarded("192.0.2.2, 10.0.0.7"));
    assert_eq!([(); 3].map(|()| status(HOME, &one)), [200, 200, 429]);
    let standard = "Forwarded: for=192.0.2.1;proto=https, for=\"10.0.0.7:80\"\r\n";
    assert_eq!(status(HOME, standard), 429, "it is the same client");
    assert_eq!([(); 3].map(|()| status(HOME, &other)), [200, 200, 429]);
    // What its client has sent in front, and what it has not written itself.
    let forged = format!("{}Forwarded: for=198.51.100.1\r\n", forwarded("192.0.2.3"));
    assert_eq!([status(HOME, "X-Forwarded-For: unknown\r\n"), status(HOME, &forged)], [200, 200]);
    assert_eq!(status(HOME, ""), 429, "the proxy's own address has counted for these");
    // Others name themselves as they like, and it changes nothing.
    let away: Vec<u16> =
        (1..=3).map(|last| status(AWAY, &forwarded(&format!("192.0.2.{}", last + 100)))).collect();
    assert_eq!(away, [200, 200, 429]);
    // A reload takes the trust away.
    let text = fs::read_to_string(place.path("sitar.toml")).unwrap();
    fs::write(place.path("sitar.toml"), text.replace("\"127.0.0.1\", ", "")).unwrap();
    signal(server.pid(), Signal::HUP);
    // Each time another one, which may still ask while the proxy is trusted.
    let mut others = 0..=u16::MAX;
    eventually("the proxy is one address", || {
        let [one, other] = others.next().unwrap().to_be_bytes();
        status(HOME, &forwarded(&format!("198.18.{one}.{other}"))) == 429
    });
    eventually("the change is said", || server.said().contains("the trusted proxies are others"));
}

#[test]
fn a_rate_counts_the_clients_of_a_trusted_proxy_over_http_2() {
    if !have(&["curl"]) {
        return;
    }
    let place = Place::with(
        "trusted_proxies = \"127.0.0.1\"\n",
        "",
        "rate = \"1/h\"\nburst = 1\nusers = \"users\"\n",
    );
    let server = place.start();
    let url = format!("http://{}/a.txt", server.listeners("http")[0]);
    let curl = |line: &str| {
        let options =
            ["--silent", "--http2-prior-knowledge", "--write-out", "%{http_code}", "--user", "ann:secret"];
        run("curl", options.iter().chain(&["--header", line, url.as_str()])).ok().text()
    };
    assert_eq!(curl("X-Forwarded-For: 192.0.2.1"), "for some\n200");
    assert_eq!(curl("X-Forwarded-For: 192.0.2.2"), "for some\n200");
    assert!(curl("Forwarded: for=192.0.2.1").ends_with("429"));
}

#[test]
fn guesses_are_those_of_the_client_that_a_trusted_proxy_names() {
    let place = Place::with("trusted_proxies = \"127.0.0.1\"\n", "", "users = \"users\"\n");
    let server = place.start();
    let address = server.listeners("http")[0];
    let guess = |client: &str, last: u8| {
        let line = format!("Authorization: Basic YW5uOmF{}\r\n{}", char::from(last), forwarded(client));
        status_from(HOME, address, "/a.txt", &line)
    };
    let guesses: Vec<u16> = (b'A'..=b'Z').map(|last| guess("192.0.2.1", last)).collect();
    assert!(guesses.contains(&429), "{guesses:?}");
    assert_eq!(guess("192.0.2.2", b'a'), 401);
    assert_eq!(status_from(HOME, address, "/a.txt", &(forwarded("192.0.2.2") + AS_ANN)), 200);
}
