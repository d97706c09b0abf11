//! Messages of HTTP/2 that are long, small, cut, or early: the same as over HTTP/1.1.

use crate::common::h2::{Client, DATA, GOAWAY, HEADERS, WINDOW_MAX, WINDOW_UPDATE, config, frame};
use crate::common::site::{self, Site, pattern};
use crate::common::{Server, client};
use std::fmt::Write as _;
use std::path::Path;

const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The same site in plain text and over TLS.
fn both(path: &Path) -> [Server; 2] {
    [Server::start([path, Path::new("--tls"), Path::new("off")]), Server::start([path])]
}

fn connect(server: &Server, window: u32) -> Client {
    match server.url("/").starts_with("https") {
        true => Client::open(&config(server), server.address(), window).unwrap(),
        false => Client::plain(server.address(), window).unwrap(),
    }
}

/// A HEADERS frame cut into as many as that takes.
fn cut(bytes: &[u8]) -> Vec<u8> {
    let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
    let pieces: Vec<_> = bytes[9..].chunks(16_384).collect();
    let mut wire = Vec::new();
    for (nth, piece) in pieces.iter().enumerate() {
        let (kind, first) = if nth == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        let last = if nth + 1 == pieces.len() { END_HEADERS } else { 0 };
        wire.extend(frame(kind, first | last, stream, piece));
    }
    wire
}

#[test]
fn the_largest_header_rules_are_answered_in_every_version() {
    let site = Site::new();
    site.add("index.html", b"<!doctype html><title>x</title>");
    // 64 lines of 192 bytes are 12,288, and one with a placeholder for the path.
    let mut rules = String::from("/*\n");
    for nth in 0..63 {
        writeln!(rules, "  X-Line-{nth:02}: {}", "v".repeat(192 - 13)).unwrap();
    }
    writeln!(rules, "  X-Path: {}:splat", "p".repeat(390)).unwrap();
    site.add("_headers", rules.as_bytes());
    for server in both(site.path()) {
        for path in ["/", "/nothing/here"] {
            let mut h2 = connect(&server, WINDOW_MAX);
            let got = h2
                .request("GET", path, &[("want-repr-digest", "sha-256=1"), ("range", "bytes=0-3")])
                .unwrap();
            assert_eq!(got.status, if path == "/" { 206 } else { 404 });
            let lines = got.fields().iter().filter(|(name, _)| name.starts_with("x-line-"));
            assert_eq!(lines.filter(|(_, value)| *value == "v".repeat(179)).count(), 63);
            assert!(got.field("x-path").unwrap().starts_with(&"p".repeat(390)));
            // The connection goes on.
            assert_eq!(h2.get("/").unwrap().status, 200);
        }
    }
    // The same over HTTP/1.1, in one record.
    let server = Server::start([site.path()]);
    let mut h1 = client::Client::connect(&server);
    let got = h1.get("/").unwrap();
    assert_eq!(
        got.fields().iter().filter(|(name, _)| name.to_lowercase().starts_with("x-line-")).count(),
        63
    );
}

/// One line for a list, in HTTP/1.1 and HTTP/2; and what redirects and answers to OPTIONS carry.
/// Behind `--tls off` stands a proxy that encrypts, so Strict-Transport-Security goes out in plain
/// text too.
#[test]
fn header_rules_that_meet_are_one_field_in_every_version() {
    let site = Site::new();
    site.add("a.js", &pattern(3000));
    site.add("d/x.txt", b"x");
    site.add(
        "_headers",
        b"/*\n  Vary: Origin\n  X-Robots-Tag: noindex\n  Access-Control-Allow-Origin: https://a.example\n  Content-Type: text/a\n  \
          Strict-Transport-Security: max-age=60\n  Cache-Control: max-age=60\n\
          /:name\n  X-Robots-Tag: :name\n  Link: </first>\n/*\n  X-Robots-Tag: nosnippet\n  Link: </second>\n  Content-Type: text/b\n",
    );
    let list = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let access = |name: &str| {
        [
            ("access-control-allow-origin", "https://a.example"),
            ("strict-transport-security", "max-age=60"),
            ("vary", "Origin"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .chain(list(&[("x-robots-tag", &format!("noindex, {name}, nosnippet"))]))
        .collect::<Vec<_>>()
    };
    for server in both(site.path()) {
        for (method, path, status, more) in [
            (
                "GET",
                "/a.js",
                200,
                list(&[
                    ("cache-control", "max-age=60"),
                    ("content-type", "text/b"),
                    ("link", "</first>, </second>"),
                ]),
            ),
            ("OPTIONS", "/a.js", 204, list(&[])),
            (
                "GET",
                "/d",
                301,
                list(&[("cache-control", "no-store"), ("content-type", "text/plain; charset=utf-8")]),
            ),
        ] {
            let mut wanted = [access(path.trim_start_matches('/')), more].concat();
            wanted.sort();
            let ruled = |fields: &[(String, String)]| {
                let own =
                    ["date", "content-length", "etag", "last-modified", "accept-ranges", "location", "allow"];
                let fields = fields.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
                let mut fields: Vec<_> = fields
                    .filter(|(name, _)| !own.contains(&&name[..]) && name != "x-content-type-options")
                    .collect();
                fields.sort();
                fields
            };
            let got = connect(&server, WINDOW_MAX).request(method, path, &[]).unwrap();
            assert_eq!((got.status, ruled(got.fields())), (status, wanted.clone()), "HTTP/2 {method} {path}");
            if server.url("/").starts_with("https") {
                let mut h1 = client::Client::connect(&server);
                let got = h1.request(method, path, &[]).unwrap();
                assert_eq!((got.status, ruled(got.fields())), (status, wanted), "HTTP/1.1 {method} {path}");
            }
        }
    }
}

#[test]
fn the_redirect_to_a_folder_with_a_long_name_is_answered() {
    let site = Site::new();
    // Each `|` is three bytes where it is escaped: 11,400 and more.
    let folder = format!("/{}", vec!["|".repeat(200); 19].join("/"));
    site.add(&format!("{}/x.txt", &folder[1..]), b"x");
    for server in both(site.path()) {
        let got = connect(&server, WINDOW_MAX).get(&folder).unwrap();
        assert_eq!(got.status, 301);
        assert_eq!(got.field("location").unwrap(), format!("{}/", folder.replace('|', "%7C")));
    }
}

#[test]
fn cold_and_warm_answers_are_equal() {
    let lines = |name: &'static str, values: &[&'static str]| -> Vec<(&'static str, &'static str)> {
        values.iter().map(|value| (name, *value)).collect()
    };
    let many = [
        "\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\"", "\"f\"", "\"g\"", "\"h\"", "\"i\"", "\"j\"", "\"k\"",
        "\"l\"", "\"m\"", "\"n\"", "\"o\"", "*",
    ];
    let cases = [
        lines("want-repr-digest", &["sha-256=1"]),
        lines("want-repr-digest", &["sha-512=3", "sha-256=10"]),
        [lines("want-repr-digest", &["sha-256=1"]), lines("range", &["bytes=1-2"])].concat(),
        lines("if-none-match", &many),
        lines("if-none-match", &many[..9]),
        lines("if-match", &many),
        lines("accept-encoding", &["a", "b", "c", "d", "e", "f", "g", "h", "i", "gzip"]),
        lines("range", &["bytes=0-1,4-5"]),
        [lines("if-range", &["\"x\""]), lines("range", &["bytes=1-2"])].concat(),
        lines("if-modified-since", &["Fri, 01 Jan 2100 00:00:00 GMT"]),
        lines("if-unmodified-since", &["Sun, 06 Nov 1994 08:49:37 GMT"]),
        [lines("user-agent", &["x"]), lines("referer", &["y"]), lines("host", &["localhost"])].concat(),
    ];
    let site = Site::new();
    for nth in 0..cases.len() {
        site.add(&format!("{nth}.txt"), &pattern(3000));
        site::write(site.path(), &format!("{nth}.txt.gz"), b"\x1f\x8b not looked into");
    }
    let server = Server::start([site.path(), Path::new("--tls"), Path::new("off")]);
    let mut client = connect(&server, WINDOW_MAX);
    for (nth, fields) in cases.iter().enumerate() {
        let mut ask = || {
            let got = client.request("GET", &format!("/{nth}.txt"), fields).unwrap();
            let fields: Vec<_> = got.fields().iter().filter(|(name, _)| name != "date").cloned().collect();
            (got.status, fields, got.body)
        };
        let cold = ask();
        assert_eq!(cold, ask(), "{fields:?}");
        assert_ne!(cold.0, 431, "{fields:?}");
        assert_eq!(cold.1.iter().any(|(name, _)| name == "repr-digest"), fields[0].0.starts_with("want"));
    }
}

#[test]
fn a_small_window_is_no_flood() {
    let site = Site::new();
    site.add("large.bin", &pattern(60_000));
    for server in both(site.path()) {
        for (window, len) in [(100, 60_000), (300, 60_000), (7, 20_000)] {
            let mut client = connect(&server, window);
            let range = format!("bytes=0-{}", len - 1);
            let (stream, bytes) = client.ask("GET", "/large.bin", &[("range", &range)]);
            client.send(&bytes).unwrap();
            let mut body: Vec<u8> = Vec::new();
            while body.len() < len {
                let got = client.frame().unwrap();
                assert!(got.kind != GOAWAY, "GOAWAY after {} bytes: {:?}", body.len(), got.payload);
                if got.kind == DATA {
                    body.extend(&got.payload);
                    let len = (got.payload.len() as u32).to_be_bytes();
                    let both = [frame(WINDOW_UPDATE, 0, stream, &len), frame(WINDOW_UPDATE, 0, 0, &len)];
                    client.send(&both.concat()).unwrap();
                }
            }
            assert!(body == pattern(60_000)[..len], "{window}");
        }
    }
}

#[test]
fn an_oversized_header_block_costs_one_stream() {
    let site = Site::new();
    site.add("large.bin", &pattern(1 << 20));
    site.add("index.html", b"<!doctype html><title>x</title>");
    for server in both(site.path()) {
        for size in [17_000, 24_000, 40_000, 60_000] {
            let cookie = "c".repeat(size);
            let mut client = connect(&server, WINDOW_MAX);
            // Beside an answer that is under way, many times, and then one that is right.
            let (first, bytes) = client.ask("GET", "/large.bin", &[]);
            client.send(&bytes).unwrap();
            let mut refused = Vec::new();
            for nth in 0..40 {
                let method = if nth % 2 == 0 { "GET" } else { "HEAD" };
                let (stream, bytes) = client.ask(method, "/", &[("cookie", &cookie)]);
                client.send(&cut(&bytes)).unwrap();
                refused.push(stream);
            }
            let (last, bytes) = client.ask("GET", "/", &[]);
            client.send(&bytes).unwrap();
            refused.extend([first, last]);
            let answers = client.answers(&refused).unwrap();
            assert!(answers[&first].body == pattern(1 << 20));
            assert_eq!((answers[&first].status, answers[&last].status), (200, 200));
            for (nth, stream) in refused[..40].iter().enumerate() {
                assert_eq!(answers[stream].status, 431, "{size}");
                assert_eq!(answers[stream].body.is_empty(), nth % 2 == 1, "{size}: content for GET alone");
            }
        }
        // Far beyond, more than 64 KiB: GOAWAY with ENHANCE_YOUR_CALM.
        let mut client = connect(&server, WINDOW_MAX);
        let (_, bytes) = client.ask("GET", "/", &[("cookie", &"c".repeat(66_000))]);
        client.send(&cut(&bytes)).unwrap();
        let goaway = loop {
            let got = client.frame().unwrap();
            if got.kind == GOAWAY {
                break got.payload;
            }
        };
        assert_eq!(goaway[4..], [0, 0, 0, 11]);
    }
}

#[test]
fn many_cookies_and_the_port_of_the_scheme_are_no_fault() {
    let site = Site::new();
    site.add("index.html", b"<!doctype html><title>x</title>");
    for server in both(site.path()) {
        let mut client = connect(&server, WINDOW_MAX);
        let mut fields = vec![("x", "y"); 15];
        fields.resize(15 + 82, ("cookie", "c=v"));
        assert_eq!(client.request("GET", "/", &fields).unwrap().status, 200);
        fields.resize(15 + 2000, ("cookie", "c=v"));
        let (stream, bytes) = client.ask("GET", "/", &fields);
        client.send(&cut(&bytes)).unwrap();
        assert_eq!(client.answers(&[stream]).unwrap()[&stream].status, 200);
        // This client says https in plain text, too.
        for host in ["localhost", "localhost:443", "LOCALHOST:", "localhost:0443"] {
            assert_eq!(client.request("GET", "/", &[("host", host)]).unwrap().status, 200, "{host}");
        }
    }
}
