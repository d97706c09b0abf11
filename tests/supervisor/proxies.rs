//! Listeners behind proxies that name their clients by the PROXY protocol.

use super::place::{NAME, Place, Service};
use crate::common::{eventually, have, run};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

const HEADER: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 1000 443\r\n";
/// Not on the path of every user.
const HAPROXY: &str = "/usr/sbin/haproxy";
const GET: &str = "GET /name.txt HTTP/1.0\r\n\r\n";

/// Listeners behind proxies: of TCP and on Unix sockets, with TLS and without.
fn listeners(proxies: &str) -> String {
    let mut text = String::new();
    for (address, more) in [
        ("127.0.0.1:0", ""),
        ("127.0.0.1:0", "tls = \"off\"\n"),
        ("unix:tls.sock", ""),
        ("unix:plain.sock", "tls = \"off\"\n"),
    ] {
        let _ = write!(text, "[[listen]]\naddress = \"{address}\"\n{more}{proxies}");
    }
    text
}

/// Returns the address of a listener by its place in the configuration.
fn address(service: &Service, place: usize) -> SocketAddr {
    service.status()["listeners"][place]["address"].as_str().unwrap().parse().unwrap()
}

/// Sends something, and returns all that comes back; nothing where the connection is broken off.
fn answer(mut stream: impl Read + Write, bytes: &str) -> String {
    let _ = stream.write_all(bytes.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_proxy_has_to_send_a_header_and_a_reload_changes_who_is_one() {
    for engine in ["auto", "epoll"] {
        check_reloads(engine);
    }
}

fn check_reloads(engine: &str) {
    let place = Place::new();
    place.configure_engine(engine, &listeners("proxy_protocol = [\"127.0.0.0/8\", \"unix\"]\n"));
    let service = place.start();
    let plain = address(&service, 3);
    let tcp = |bytes: &str| answer(TcpStream::connect(plain).unwrap(), bytes);
    let path = service.place.path("plain.sock");
    let unix = |bytes: &str| answer(UnixStream::connect(&path).unwrap(), bytes);
    let whole = format!("{HEADER}{GET}");
    for ask in [&tcp as &dyn Fn(&str) -> String, &unix] {
        let got = ask(&whole);
        assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with(NAME), "{got}");
        for other in [GET.to_owned(), format!("{}{GET}", &HEADER[1..]), HEADER.replace("443", "4430000")] {
            assert_eq!(ask(&other), "", "{other}");
        }
    }

    // The same sockets for other proxies.
    service.place.configure_engine(engine, &listeners("proxy_protocol = \"192.0.2.0/24\"\n"));
    let said = service.run(&["reload"]).ok().text();
    assert!(said.contains(&format!("{plain} has other proxies")), "{said}");
    assert_eq!(address(&service, 3), plain);
    for ask in [&tcp as &dyn Fn(&str) -> String, &unix] {
        eventually("an answer without a header", || ask(GET).ends_with(NAME));
        assert!(ask(&whole).starts_with("HTTP/1.1 400 "));
    }
    service.place.configure_engine(engine, &listeners("proxy_protocol = [\"127.0.0.1\", \"unix\"]\n"));
    service.reload();
    eventually("an answer behind a header", || tcp(&whole).ends_with(NAME));
    eventually("no answer without one", || tcp(GET).is_empty() && unix(GET).is_empty());
}

/// HAProxy in front of one of the listeners.
struct Haproxy(Child);

impl Haproxy {
    /// Starts it with a backend and options for it. Returns its address, too.
    fn start(place: &Place, backend: &str, options: &str) -> (Haproxy, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        place.write(
            "haproxy.cfg",
            format!(
                "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
                 listen site\n bind fd@0\n unique-id-format %ci:%cp\n\
                 server one {backend} {options} check inter 50ms\n"
            ),
        );
        let child = Command::new(HAPROXY)
            .args(["-db", "-f"])
            .arg(place.path("haproxy.cfg"))
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(fs::File::create(place.path("haproxy.log")).unwrap())
            .spawn();
        (Haproxy(child.unwrap()), address)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its health checks say LOCAL in version 2, UNKNOWN in version 1; what it passes on comes with
/// TLVs where the options name some.
#[test]
fn haproxy_passes_on_connections_in_both_versions() {
    if !have(&[HAPROXY, "curl"]) {
        return;
    }
    let place = Place::new();
    place.configure(&listeners("proxy_protocol = [\"127.0.0.1\", \"unix\"]\n"));
    let service = place.start();
    let place = &service.place;
    let unix = |name: &str| format!("unix@{}", place.path(name).display());
    let backends = [
        ("https", address(&service, 2).to_string()),
        ("http", address(&service, 3).to_string()),
        ("https", unix("tls.sock")),
        ("http", unix("plain.sock")),
    ];
    let tlvs = "send-proxy-v2 proxy-v2-options ssl,cert-cn,crc32c,unique-id";
    let ca = place.path("certificate.pem");
    for (scheme, backend) in &backends {
        for options in ["send-proxy", "send-proxy-v2", tlvs] {
            let (_haproxy, address) = Haproxy::start(place, backend, options);
            let url = format!("{scheme}://{address}/name.txt");
            let h2 = if *scheme == "https" { "--http2" } else { "--http2-prior-knowledge" };
            for (protocol, version) in [("--http1.1", "1.1"), (h2, "2")] {
                let got = run(
                    "curl",
                    [
                        "--silent",
                        "--show-error",
                        protocol,
                        "--max-time",
                        "30",
                        "--write-out",
                        " %{http_version}",
                        "--cacert",
                        ca.to_str().unwrap(),
                        &url,
                    ],
                );
                let log = fs::read_to_string(place.path("haproxy.log")).unwrap();
                let said = String::from_utf8_lossy(&got.stdout);
                assert_eq!(said, format!("{NAME} {version}"), "{url} by {options}: {got:?}\n{log}");
            }
        }
    }
}
