//! Strict-Transport-Security on every answer of a site that is opened with it, unless the site's
//! own `_headers` have that field at the path.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this file is a test, its functions too")]

mod ask;

use sitar_site::{Budget, Hsts, Options, Route, Scratch, Site};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const LINE: &str = "Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n";

/// Opens a site with the policy, and without.
fn open(path: &Path) -> [Site; 2] {
    let hsts = Hsts::parse("max-age=31536000; includeSubDomains").unwrap();
    [Some(hsts), None].map(|hsts| Site::open(path, &Options { hsts, ..Options::default() }).unwrap())
}

const FILES: [(&str, &str); 11] = [
    ("index.html", "<p>root"),
    ("page.html", "<p>page"),
    ("docs/index.html", "<p>docs"),
    ("digits.txt", "0123456789"),
    ("only.css.br", "br"),
    ("lost/404.html", "<p>lost"),
    ("own/index.html", "<p>own"),
    ("own/404.html", "<p>no own"),
    ("none/a.txt", "none"),
    (
        "_headers",
        "/own/*\n  Strict-Transport-Security: max-age=60\n\
         /none/*\n  ! Strict-Transport-Security\n\
         /both/*\n  Strict-Transport-Security: max-age=60\n\
         /both/x\n  ! Strict-Transport-Security\n\
         /lines/*\n  X-A: b\n  X-Content-Type-Options: other\n\
         /filled/:x\n  Strict-Transport-Security: max-age=:x\n",
    ),
    ("_redirects", "/old /new 302\n/old/:x /new/:x\n/own/old /new\n/none/old /new\n/gone /nothing 410\n"),
];

/// A directory, and an archive of it.
fn sites() -> (tempfile::TempDir, Vec<[Site; 2]>) {
    let (folder, paths) = ask::folder_and_archive(&FILES);
    (folder, paths.map(|path| open(&path)).into())
}

fn request(line: &str, fields: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

/// The header lines of a file, as far as they stand before and behind that of the policy.
const TYPE: &str = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n";
const ETAG: &str = "ETag: \"hNiYd_DUBB77a_kaFvAkjy_V\"\r\n";
const CONTENT: &str = "Cache-Control: no-cache\r\nAccept-Ranges: bytes\r\n\
     Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n";

/// Answers as they leave, on HTTP/1.1 and as fields of HTTP/2.
#[test]
fn whole_answers() {
    let (_folder, sites) = sites();
    for site in sites.iter().map(|[site, _]| site) {
        for (line, fields, head, body) in [
            (
                "GET /digits.txt",
                "",
                [" 200 OK\r\nContent-Length: 10\r\n", TYPE, LINE, CONTENT, ETAG],
                "0123456789",
            ),
            ("HEAD /digits.txt", "", [" 200 OK\r\nContent-Length: 10\r\n", TYPE, LINE, CONTENT, ETAG], ""),
            (
                "GET /digits.txt",
                "Range: bytes=2-3\r\n",
                [
                    " 206 Partial Content\r\nContent-Length: 2\r\n",
                    TYPE,
                    LINE,
                    &[CONTENT, ETAG].concat(),
                    "Content-Range: bytes 2-3/10\r\n",
                ],
                "23",
            ),
            (
                "GET /digits.txt",
                "If-None-Match: *\r\n",
                [" 304 Not Modified\r\n", LINE, "Cache-Control: no-cache\r\n", ETAG, ""],
                "",
            ),
            (
                "GET /digits.txt",
                "Range: bytes=20-\r\n",
                [
                    " 416 Range Not Satisfiable\r\nContent-Length: 26\r\n",
                    TYPE,
                    "Content-Range: bytes */10\r\n",
                    LINE,
                    "",
                ],
                "416 Range Not Satisfiable\n",
            ),
            (
                "GET /lost/x",
                "",
                [
                    " 404 Not Found\r\nContent-Length: 7\r\n",
                    "Content-Type: text/html; charset=utf-8\r\n",
                    "X-Content-Type-Options: nosniff\r\n",
                    LINE,
                    "",
                ],
                "<p>lost",
            ),
            (
                "GET /docs",
                "",
                [
                    " 301 Moved Permanently\r\nContent-Length: 22\r\n",
                    "Location: /docs/\r\n",
                    TYPE,
                    "Cache-Control: no-store\r\n",
                    LINE,
                ],
                "301 Moved Permanently\n",
            ),
            (
                "GET /old/a?b",
                "",
                [
                    " 301 Moved Permanently\r\nContent-Length: 22\r\n",
                    TYPE,
                    "Location: /new/a?b\r\n",
                    LINE,
                    "",
                ],
                "301 Moved Permanently\n",
            ),
            ("OPTIONS /", "", [" 204 No Content\r\n", "Allow: GET, HEAD, OPTIONS\r\n", LINE, "", ""], ""),
            (
                "POST /",
                "Content-Length: 0\r\n",
                [
                    " 405 Method Not Allowed\r\nContent-Length: 23\r\n",
                    "Allow: GET, HEAD, OPTIONS\r\n",
                    TYPE,
                    LINE,
                    "",
                ],
                "405 Method Not Allowed\n",
            ),
        ] {
            let wire = String::from_utf8(ask::wire(site, &request(line, fields))).unwrap();
            assert_eq!(wire, format!("HTTP/1.1{}\r\n{body}", head.concat()), "{line} {fields}");
        }
    }
}

/// Each kind of answer is that of a site without the policy, with one line more.
#[test]
fn one_line_more() {
    let (_folder, sites) = sites();
    for [with, without] in &sites {
        for (line, fields, status) in KINDS {
            let request = request(line, fields);
            for budget in [Budget::new(64 << 20, 64 << 20), Budget::new(0, 0)] {
                let wire = |site| without_etag(&ask::wire_within(site, &request, &budget));
                let (answer, plain) = (wire(with), wire(without));
                assert!(plain.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {fields}: {plain}");
                assert_eq!(answer.matches(LINE).count(), 1, "{line} {fields}: {answer}");
                assert_eq!(answer.replacen(LINE, "", 1), plain, "{line} {fields}");
            }
        }
    }
}

/// Returns an answer without its ETag: that of a file which is not in memory, and was made only
/// now, is another each time.
fn without_etag(answer: &[u8]) -> String {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    text.split_inclusive('\n').filter(|line| !line.starts_with("ETag: ")).collect()
}

/// Requests and the status of the answer.
const KINDS: [(&str, &str, u16); 24] = [
    ("GET /", "", 200),
    ("HEAD /", "", 200),
    ("GET /page", "Accept-Encoding: br\r\n", 200),
    ("GET /digits.txt", "Range: bytes=2-3\r\n", 206),
    ("GET /digits.txt", "Range: bytes=2-3,5-6\r\n", 206),
    ("HEAD /digits.txt", "Want-Repr-Digest: sha-256=1\r\n", 200),
    ("GET /digits.txt", "Range: bytes=20-\r\n", 416),
    ("GET /digits.txt", "If-None-Match: *\r\n", 304),
    ("GET /digits.txt", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n", 304),
    ("GET /digits.txt", "If-Match: \"x\"\r\n", 412),
    ("GET /lines/x", "", 404),
    ("GET /docs", "", 301),
    ("GET /docs?a=b", "", 301),
    ("GET /page/", "", 301),
    ("GET /old", "", 302),
    ("GET /old/a?b", "", 301),
    ("GET /gone", "", 410),
    ("GET /nothing", "", 404),
    ("GET /lost/x", "", 404),
    ("GET /only.css", "", 404),
    ("GET /%zz", "", 400),
    ("OPTIONS /", "", 204),
    ("POST /", "Content-Length: 0\r\n", 405),
    ("BREW /", "", 501),
];

/// What `_headers` says of the field at a path counts, on each kind of answer.
#[test]
fn the_rules_of_the_site_win() {
    let (_folder, sites) = sites();
    let own = [
        ("GET /own/", "", 200),
        ("HEAD /own/", "", 200),
        ("GET /own/", "Range: bytes=0-0\r\n", 206),
        ("GET /own/", "Range: bytes=90-\r\n", 416),
        ("GET /own/", "If-None-Match: *\r\n", 304),
        ("GET /own/", "If-Match: \"x\"\r\n", 412),
        ("GET /own/x", "", 404),
        ("GET /own/old", "", 301),
        ("OPTIONS /own/x", "", 204),
        ("POST /own/x", "Content-Length: 0\r\n", 405),
        ("GET /both/y", "", 404),
        ("GET /filled/60", "", 404),
    ];
    let none = [
        ("GET /none/a.txt", "", 200),
        ("GET /none/a.txt", "Range: bytes=0-0\r\n", 206),
        ("GET /none/a.txt", "Range: bytes=90-\r\n", 416),
        ("GET /none/a.txt", "If-None-Match: *\r\n", 304),
        ("GET /none/a.txt", "If-Match: \"x\"\r\n", 412),
        ("GET /none/x", "", 404),
        ("GET /none/old", "", 301),
        ("OPTIONS /none/x", "", 204),
        ("GET /both/x", "", 404),
    ];
    let cases = own.map(|case| (case, vec!["max-age=60"])).into_iter().chain(none.map(|case| (case, vec![])));
    for ((line, fields, status), expected) in cases {
        for [with, without] in &sites {
            let answer = String::from_utf8(ask::wire(with, &request(line, fields))).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {fields}: {answer}");
            let values = answer.lines().filter_map(|line| line.strip_prefix("Strict-Transport-Security: "));
            assert_eq!(values.collect::<Vec<_>>(), expected, "{line} {fields}: {answer}");
            // The policy that is replaced leaves no trace.
            assert_eq!(answer, String::from_utf8(ask::wire(without, &request(line, fields))).unwrap());
        }
    }
}

/// A Location that leaves no room for the line is refused as one that is too long itself is.
#[test]
fn a_location_leaves_room_for_it() {
    let (_folder, sites) = sites();
    for [with, without] in &sites {
        for (len, status, status_without) in [(900, 301, 301), (980, 414, 301), (1020, 414, 414)] {
            let request = request(&format!("GET /docs?{}", "a".repeat(len)), "");
            let status_of = |site| {
                let answer = String::from_utf8(ask::wire(site, &request)).unwrap();
                (answer[9..12].parse::<u16>().unwrap(), answer.matches(LINE).count())
            };
            assert_eq!(status_of(with), (status, 1), "{len}");
            assert_eq!(status_of(without), (status_without, 0), "{len}");
        }
    }
}

/// What a site takes over from the one before it has the lines of the new one.
#[test]
fn files_that_are_taken_over_have_the_new_policy() {
    let (_folder, sites) = sites();
    // Later than the grain of the files' times, within which nothing is taken over.
    let now = SystemTime::now() + Duration::from_secs(60);
    let [with, without] = &sites[0];
    for (older, newer, expected) in [(without, with, 1), (with, without, 0)] {
        let text = request("GET /digits.txt", "");
        let head = sitar_http::h1::parse(&text, &sitar_http::h1::Limits::default()).unwrap().unwrap();
        let mut scratch = Scratch::new();
        let Route::File(target) = older.route(&head.request, &mut scratch) else { panic!("no file") };
        let loaded = older.load(target.file(), &Budget::new(64, 64), now).unwrap();
        let mut heirs = newer.inherit(older, [(target.file(), Arc::new(loaded))], now);
        let (_, heir) = heirs.pop().unwrap();
        let reply = heir.respond(&head.request, target);
        let lines = reply.pieces(|pieces| String::from_utf8(pieces.concat()).unwrap());
        assert_eq!(lines.matches(LINE).count(), expected, "{lines}");
    }
}
