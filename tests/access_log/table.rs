//! A table of answers, and for each the record in all three formats, written out.
//!
//! `table.txt` has the cases, apart by empty lines. A case is
//!
//! 1. its name, behind `# `;
//! 2. the way in which the request is sent, and the request: lines of a head with ` | ` between
//!    them, or for HTTP/2 the pseudo-fields and fields; `\xHH` is a byte, and `\*NUMBER;` stands
//!    for that number of letters, also below;
//! 3. the record as JSON; TS, DURATION and SIZE stand for numbers that differ each time;
//! 4. the same in the combined format; TIME stands for the time;
//! 5. the same in the common format.

use super::parsed;
use crate::common::client::{self, roots_in, socket_from};
use crate::common::site::{pattern, write};
use crate::common::{Server, eventually, h2};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const TABLE: &str = include_str!("table.txt");
const FORMATS: [&str; 3] = ["json", "combined", "common"];
/// Clients that connect over TCP, and the proxy that is trusted.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// More than sockets hold.
const LARGE: usize = 16 << 20;
/// A receive buffer that a large answer does not fit into.
const SMALL: usize = 4096;

#[derive(Clone, Copy)]
struct Case<'t> {
    name: &'t str,
    way: &'t str,
    request: &'t str,
    /// In the order of [`FORMATS`].
    records: [&'t str; 3],
}

fn cases() -> Vec<Case<'static>> {
    let case = |text: &'static str| {
        let [name, request, json, combined, common]: [&str; 5] =
            text.lines().collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("no case: {text}"));
        let (way, request) = request.split_once(' ').unwrap();
        let name = name.strip_prefix("# ").unwrap();
        Case { name, way, request, records: [json, combined, common] }
    };
    TABLE.trim_end().split("\n\n").map(case).collect()
}

/// What a request that is answered by each of its listeners needs.
struct Clients<'p> {
    server: &'p Server,
    folder: &'p Path,
    /// Sessions of the last connection over TLS that was not resumed.
    last: Option<Arc<ClientConfig>>,
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

#[test]
fn each_answer_has_its_record_in_each_format() {
    let cases = cases();
    std::thread::scope(|scope| {
        for engine in ["auto", "epoll"] {
            for (at, format) in FORMATS.into_iter().enumerate() {
                let cases = &cases;
                scope
                    .spawn(move || check(engine, format, cases.iter().map(|case| (*case, case.records[at]))));
            }
        }
    });
}

fn check<'t>(engine: &str, format: &str, cases: impl Iterator<Item = (Case<'t>, &'t str)>) {
    let folder = TempDir::new().unwrap();
    configure(folder.path(), engine, format);
    let server = Server::start_configured(&folder.path().join("sitar.toml"));
    let log = folder.path().join("access.log");
    let mut clients = Clients { server: &server, folder: folder.path(), last: None };
    let (mut count, mut others) = (0, Vec::new());
    for (case, expected) in cases {
        let expected = &expanded(expected);
        let sent = clients.ask(case.way, &unescaped(&expanded(case.request)));
        count += 1;
        let mut text = String::new();
        eventually(&format!("the record of {}", case.name), || {
            text = fs::read_to_string(&log).unwrap();
            text.lines().count() >= count
        });
        let line = plain(text.lines().nth(count - 1).unwrap(), sent, expected);
        if line != *expected {
            others.push(format!("{}:\n  {line}\n  {expected}", case.name));
        }
    }
    // Nothing else is in it, also not at the end.
    drop(server);
    assert!(others.is_empty(), "{engine}, {format}:\n{}", others.join("\n"));
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.ends_with('\n') && text.lines().count() == count, "{engine}, {format}: {text}");
}

fn configure(folder: &Path, engine: &str, format: &str) {
    let names = ["localhost", "users.test", "pass.test", "127.0.0.1"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names.to_vec()).unwrap().self_signed(&key).unwrap();
    write(folder, "certificate.pem", certificate.pem());
    write(folder, "certificate.key", key.serialize_pem());
    write(folder, "site/five.txt", "five\n");
    write(folder, "site/large.bin", pattern(LARGE));
    write(folder, "site/_redirects", "/old /five.txt 301\n");
    write(folder, "users", "me:$2y$04$abcdefghijklmnopqrstuuXPmsm8aRnDx8n0ZCeHY7dOaD1.ZjCBO\n");
    write(
        folder,
        "sitar.toml",
        format!(
            "[server]\nengine = \"{engine}\"\nshards = 1\nhead_seconds = 3\ncompress = false\n\
             trusted_proxies = \"{PROXY}\"\n\
             certificate = {{ chain = \"certificate.pem\", key = \"certificate.key\" }}\n\
             [log]\naccess = \"./access.log\"\nformat = \"{format}\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n\
             [[listen]]\naddress = [\"127.0.0.1:0\", \"[::1]:0\", \"unix:plain.sock\"]\ntls = \"off\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\nproxy_protocol = \"127.0.0.0/8\"\n\
             [[site]]\nhosts = [\"localhost\", \"127.0.0.1\"]\nroot = \"site\"\n\
             [[site]]\nhosts = \"users.test\"\nroot = \"site\"\nusers = \"users\"\n"
        ),
    );
}

impl Clients<'_> {
    /// Asks in a way of the table. Returns the bytes of content that came.
    fn ask(&mut self, way: &str, request: &[u8]) -> usize {
        let http = self.server.listeners("http");
        let tcp = |from, to| socket_from(Some(from), to, None).unwrap();
        let mut wire: Box<dyn Wire> = match way {
            "plain" | "partial" => Box::new(tcp(CLIENT, http[0])),
            "cut" => return cut(http[0], request),
            "trusted" => Box::new(tcp(PROXY, http[0])),
            "ipv6" => Box::new(socket_from(None, http[1], None).unwrap()),
            "proxied" => Box::new(tcp(CLIENT, http[2])),
            "unix" => Box::new(UnixStream::connect(self.folder.join("plain.sock")).unwrap()),
            "redirect" => Box::new(tcp(CLIENT, self.server.listeners("redirect")[0])),
            "tls" | "misdirected" | "tls-1.2" | "resumed" => Box::new(self.tls(way, "http/1.1")),
            "h2" | "h2-misdirected" | "h2-reset" => return self.ask_h2(way, request),
            other => panic!("no way: {other}"),
        };
        // At once: a pause before the end could be longer than the server waits for it.
        let end: &[u8] = if way == "partial" { b"" } else { b"\r\n\r\n" };
        wire.write_all(&[request, end].concat()).unwrap();
        wire.flush().unwrap();
        received(&mut *wire, request.starts_with(b"HEAD "))
    }

    fn tls(&mut self, way: &str, protocol: &str) -> impl Wire + Send + 'static {
        self.handshake(way, protocol).into_stream()
    }

    fn handshake(&mut self, way: &str, protocol: &str) -> client::Client {
        let config = match way {
            "resumed" => self.last.clone().unwrap(),
            "tls-1.2" => self.config(&TLS12, protocol),
            _ => self.config(&TLS13, protocol),
        };
        self.last = Some(Arc::clone(&config));
        let name = if way.ends_with("misdirected") { "pass.test" } else { "localhost" };
        let socket = socket_from(Some(CLIENT), self.server.listeners("https")[0], None).unwrap();
        client::Client::over_as(&config, socket, ServerName::try_from(name).unwrap()).unwrap()
    }

    fn config(&self, version: &'static SupportedProtocolVersion, protocol: &str) -> Arc<ClientConfig> {
        client::fixed(roots_in([self.folder.join("certificate.pem")]), version, protocol.as_bytes())
    }

    /// `request` is a method, a path and an authority, and fields behind ` | `.
    fn ask_h2(&mut self, way: &str, request: &[u8]) -> usize {
        let text = std::str::from_utf8(request).unwrap();
        let mut lines = text.split("\r\n");
        let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
        let mut fields = vec![(":method", first[0]), (":path", first[1]), (":authority", first[2])];
        fields.extend(lines.map(|line| line.split_once(": ").unwrap()));
        let client = self.handshake(way, "h2");
        // Of a large answer, less than all may be sent.
        let mut client = h2::Client::over(client, 1 << 20).unwrap();
        let (stream, bytes) = client.ask_for(&fields);
        client.send(&bytes).unwrap();
        if way == "h2-reset" {
            while client.begun() == 0 {
                client.go_on().unwrap();
            }
            // RFC 9113 §7: CANCEL. What the answer to a PING shows is that it has arrived.
            let reset = h2::frame(h2::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            client.send(&[reset, h2::frame(h2::PING, 0, 0, &[0; 8])].concat()).unwrap();
            while client.frame().unwrap().kind != h2::PING {}
            return 0;
        }
        client.answers(&[stream]).unwrap()[&stream].body.len()
    }
}

/// Asks for what does not fit into the sockets, reads a part, and leaves.
fn cut(address: SocketAddr, request: &[u8]) -> usize {
    let mut socket: TcpStream = socket_from(Some(CLIENT), address, Some(SMALL)).unwrap();
    socket.write_all(&[request, b"\r\n\r\n"].concat()).unwrap();
    socket.read_exact(&mut [0; 1000]).unwrap();
    0
}

/// Reads an answer, and returns the bytes of its content.
fn received(wire: &mut dyn Wire, is_head: bool) -> usize {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(wire.read(&mut byte).unwrap(), 1, "an end in a head: {}", head.escape_ascii());
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = if is_head || head.contains(" 304 ") { None } else { length };
    let mut content = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    wire.read_exact(&mut content).unwrap();
    content.len()
}

/// Returns a line with the letters that `\*NUMBER;` stands for.
fn expanded(line: &str) -> String {
    let mut pieces = line.split("\\*");
    let mut text = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (count, rest) = piece.split_once(';').unwrap();
        text += &"x".repeat(count.parse().unwrap());
        text += rest;
    }
    text
}

fn unescaped(request: &str) -> Vec<u8> {
    let mut pieces = request.split("\\x");
    let mut bytes = pieces.next().unwrap().replace(" | ", "\r\n").into_bytes();
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend(rest.replace(" | ", "\r\n").bytes());
    }
    bytes
}

/// Replaces what differs each time by the words of the table, if it is plausible. `sent` are the
/// bytes of content that came; of an answer that was given up the record has others, and `expected`
/// says SIZE.
fn plain(line: &str, sent: usize, expected: &str) -> String {
    let line = if line.starts_with('{') { plain_json(line) } else { plain_text(line) };
    let Some((before, after)) = expected.split_once("SIZE") else {
        return if size(expected) == Some(sent) { line } else { format!("{line}, but {sent} bytes came") };
    };
    let size = line.strip_prefix(before).and_then(|line| line.strip_suffix(after));
    match size.map(str::parse) {
        Some(Ok(1..LARGE)) => expected.to_owned(),
        _ => line,
    }
}

/// Returns the size in a line. A quote in a request line is escaped.
fn size(line: &str) -> Option<usize> {
    let size = match line.starts_with('{') {
        true => line.split_once("\"size\":")?.1.split(',').next()?,
        false => line.split('"').nth(2)?.split_whitespace().nth(1)?,
    };
    size.parse().ok()
}

/// Replaces the start and the duration in a line of JSON.
pub(crate) fn plain_json(line: &str) -> String {
    let value = parsed(line);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let (start, duration) = (value["ts"].as_f64().unwrap(), value["duration"].as_f64().unwrap());
    assert!(start <= now && now - start < 600.0 && (0.0..600.0).contains(&duration), "{line}");
    let replaced = |line: &str, name: &str, word: &str| {
        let (before, rest) = line.split_once(name).unwrap();
        let (_, after) = rest.split_once(',').unwrap();
        format!("{before}{name}{word},{after}")
    };
    replaced(&replaced(line, "\"ts\":", "TS"), ",\"duration\":", "DURATION")
}

/// Replaces the time in a line of the combined or the common format.
fn plain_text(line: &str) -> String {
    let (before, rest) = line.split_once(" [").unwrap();
    let (time, after) = rest.split_once("] ").unwrap();
    // 10/Oct/2000:13:55:36 +0000
    let shape: String = time
        .chars()
        .map(|one| match one {
            '0'..='9' => '0',
            'A'..='Z' => 'A',
            'a'..='z' => 'a',
            other => other,
        })
        .collect();
    assert_eq!(shape, "00/Aaa/0000:00:00:00 +0000", "{line}");
    format!("{before} [TIME] {after}")
}
