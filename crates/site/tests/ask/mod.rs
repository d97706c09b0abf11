//! A site in memory, and its answers as they would be on the wire, without Date.

#![allow(dead_code, reason = "each test file uses its part")]

use sitar_http::h1::{self, ResponseHead};
use sitar_site::{Body, Budget, FieldBuf, Reply, Route, Scratch, Site};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A site of these files. Leaked: tests end.
pub(crate) fn site(files: &[(&str, &str)]) -> Site {
    try_site(files).map_err(|error| error.to_string()).unwrap()
}

pub(crate) fn try_site(files: &[(&str, &str)]) -> Result<Site, sitar_site::OpenError> {
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let files: Vec<(&'static str, &'static [u8])> =
        files.iter().map(|(name, content)| (leak(name), leak(content).as_bytes())).collect();
    Site::embedded(Box::leak(files.into_boxed_slice()))
}

/// A directory of these files, of 2023-11-14 22:13:20 UTC, and an archive of it.
pub(crate) fn folder_and_archive(files: &[(&str, &str)]) -> (TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    for (name, text) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }
    let archive = folder.path().join("site.tar");
    let mut tar = Command::new("tar");
    tar.args(["--format=pax", "-C"]).arg(&root).arg("-cf").arg(&archive).arg(".");
    assert!(tar.status().unwrap().success());
    (folder, [root, archive])
}

/// Returns the response of the whole path to a request; the Date line is left out.
pub(crate) fn wire(site: &Site, request: &[u8]) -> Vec<u8> {
    wire_within(site, request, &Budget::new(64 << 20, 64 << 20))
}

pub(crate) fn wire_within(site: &Site, request: &[u8], budget: &Budget) -> Vec<u8> {
    without_date(&answer(site, request, b"Sun, 06 Nov 1994 08:49:37 GMT", budget, SystemTime::now()))
}

/// The same with the date.
pub(crate) fn wire_with_date(site: &Site, request: &[u8], date: &[u8; 29], now: SystemTime) -> Vec<u8> {
    answer(site, request, date, &Budget::new(64 << 20, 64 << 20), now)
}

/// The same for a request that was kept while its file was loaded, as HTTP/2 keeps it.
pub(crate) fn wire_of_parked(site: &Site, request: &[u8], date: &[u8; 29], now: SystemTime) -> Vec<u8> {
    let budget = Budget::new(64 << 20, 64 << 20);
    let Ok(Some(head)) = h1::parse(request, &h1::Limits::default()) else {
        return answer(site, request, date, &budget, now);
    };
    let parked = sitar_http::h2::ParkedRequest::new(&head.request);
    let head = h1::RequestHead { request: parked.request(), ..head };
    answer_head(site, &head, date, &budget, now)
}

fn answer(site: &Site, request: &[u8], date: &[u8; 29], budget: &Budget, now: SystemTime) -> Vec<u8> {
    let limits = h1::Limits::default();
    let mut out = vec![0; 32 << 10];
    let head = match h1::parse(request, &limits) {
        Ok(head) => head.expect("a whole request"),
        Err(rejection) => {
            let len = h1::write_rejection(&mut out, &rejection, date, false).unwrap();
            return out[..len].to_vec();
        }
    };
    answer_head(site, &head, date, budget, now)
}

fn answer_head(
    site: &Site,
    head: &h1::RequestHead<'_>,
    date: &[u8; 29],
    budget: &Budget,
    now: SystemTime,
) -> Vec<u8> {
    let mut out = vec![0; 32 << 10];
    let loaded;
    let mut scratch = Scratch::new();
    let reply = match site.route(&head.request, &mut scratch) {
        Route::Reply(reply) => reply,
        Route::File(found) => {
            loaded = site.load(found.file(), budget, now).unwrap();
            loaded.respond(&head.request, found)
        }
    };
    assert_eq!(lines_of_http2(&reply), reply.pieces(parsed), "the same fields in both versions");
    let (status, content_length) = (reply.status, reply.content_length);
    let len = reply.pieces(|fields| {
        let answer = ResponseHead {
            version: head.version,
            status,
            date,
            fields,
            content_length,
            close: !head.keep_alive,
        };
        h1::write_head(&mut out, &answer).unwrap()
    });
    let mut text = out[..len].to_vec();
    text.extend_from_slice(&body(&reply));
    text
}

/// Names in lower case and values, as HTTP/2 has them.
type Lines = Vec<(String, String)>;

fn parsed(pieces: &[&[u8]]) -> Lines {
    let text = String::from_utf8(pieces.concat()).unwrap();
    let lines = text.split_terminator("\r\n").map(|line| line.split_once(": ").unwrap());
    lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()
}

fn lines_of_http2(reply: &Reply<'_>) -> Lines {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    reply.encoded(|block, pieces| {
        let list = sitar_http::h2::testing::Hpack::default().decode(block).unwrap();
        let list = list.into_iter().map(|(name, value)| (text(name), text(value)));
        list.chain(parsed(pieces)).collect()
    })
}

fn without_date(text: &[u8]) -> Vec<u8> {
    let line = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let at = text.windows(line.len()).position(|window| window == line).expect("every answer has a date");
    [&text[..at], &text[at + line.len()..]].concat()
}

pub(crate) fn body(reply: &Reply<'_>) -> Vec<u8> {
    match &reply.body {
        Body::Empty => Vec::new(),
        Body::Static(bytes) => bytes.to_vec(),
        Body::Memory { region, range } => region[range.clone()].to_vec(),
        Body::Multipart(parts) => {
            let (content, plan) = match parts {
                sitar_site::Multipart::Static(bytes, plan) => (*bytes, plan),
                sitar_site::Multipart::Memory(region, plan) => (&region[..], plan),
            };
            let mut text = FieldBuf::new();
            let bytes = (0..).map_while(|number| {
                Some(match plan.piece(number, &mut text)? {
                    sitar_site::Piece::Text(text) => text.to_vec(),
                    sitar_site::Piece::Bytes(range) => content[range].to_vec(),
                })
            });
            bytes.collect::<Vec<_>>().concat()
        }
        Body::File { file, range } => {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start).unwrap();
            bytes
        }
    }
}

/// Status, header lines and body of a GET for a path, with further request lines.
pub(crate) fn get(site: &Site, target: &str, fields: &str) -> Answered {
    ask(site, "GET", target, "www.example.com", fields)
}

pub(crate) fn ask(site: &Site, method: &str, target: &str, host: &str, fields: &str) -> Answered {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    let text = String::from_utf8(wire(site, request.as_bytes())).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    Answered { status, head: head.to_owned(), body: body.to_owned() }
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answered {
    /// The values of a header, as one list (RFC 9110 §5.3); `None` when it is absent.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let lines = self.head.split("\r\n").skip(1).map(|line| line.split_once(": ").unwrap());
        let values: Vec<_> =
            lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub(crate) fn location(&self) -> String {
        self.field("location").unwrap_or_else(|| panic!("no Location: {self:?}"))
    }
}
