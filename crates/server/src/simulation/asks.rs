//! The requests of peers, and the answers that they must get.

use std::collections::VecDeque;

use sitar_io::sim::Rng;

use super::lab::{FILES, VERSIONS, body, length};

/// The answer that a request must get.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) status: u16,
    pub(super) content: Content,
    pub(super) head_only: bool,
    /// The site that was served when it was asked for: the answer is from this one or a later one.
    pub(super) since: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Any,
    Exactly(Vec<u8>),
    /// A file, or a part of it, as it is in one of the sites.
    File {
        name: &'static str,
        len: usize,
        part: Option<(usize, usize)>,
    },
}

impl Expected {
    fn new(status: u16, content: Content) -> Expected {
        Expected { status, content, head_only: false, since: 0 }
    }

    /// The body that belongs to a head, and the site it is from; panics where no site that it may
    /// be from has such an answer. `None`: nothing is known about it.
    pub(super) fn body(&self, head: &str, put_up: u64) -> Option<(Vec<u8>, u64)> {
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        match &self.content {
            Content::Any => None,
            Content::Exactly(bytes) => Some((bytes.clone(), 0)),
            Content::File { name, len, part } => {
                let said = field("Content-Length: ").and_then(|length| length.parse::<usize>().ok());
                // All versions once, the latest first.
                let turns = (self.since..=put_up).rev().take(VERSIONS);
                for turn in turns {
                    let whole = length(name, *len, turn);
                    let found = match part {
                        None => (said == Some(whole)).then(|| body(name, *len, turn)),
                        Some((first, last)) => {
                            let range = format!("bytes {first}-{last}/{whole}");
                            (field("Content-Range: ") == Some(&range))
                                .then(|| body(name, *len, turn)[*first..=*last].to_vec())
                        }
                    };
                    if let Some(found) = found {
                        return Some((found, turn));
                    }
                }
                panic!("of none of the sites {} to {put_up}, {self:?}: {head}", self.since);
            }
        }
    }
}

/// A request, for any version of HTTP.
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) fields: Vec<(&'static str, String)>,
    /// A body that the server has no use for.
    pub(super) content: Option<Vec<u8>>,
    pub(super) expected: Expected,
}

impl Ask {
    /// Returns it as a message of HTTP/1.1.
    pub(super) fn written(self) -> (Vec<u8>, Expected) {
        let Ask { method, path, fields, content, expected } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(content) = &content {
            text.push_str(&format!("Content-Length: {}\r\n", content.len()));
        }
        text.push_str("\r\n");
        let mut text = text.into_bytes();
        text.extend(content.unwrap_or_default());
        (text, expected)
    }
}

/// Makes the last request one after which the connection ends, if it is of that kind.
pub(super) fn ask_for_end(requests: &mut VecDeque<(Vec<u8>, Expected)>) -> bool {
    match requests.back_mut() {
        Some((text, expected)) if text.ends_with(b"\r\n\r\n") && expected.status < 400 => {
            text.truncate(text.len() - 2);
            text.extend_from_slice(b"Connection: close\r\n\r\n");
            true
        }
        _ => false,
    }
}

/// A request that is right, and its answer.
pub(super) fn request(rng: &mut Rng) -> Ask {
    let (name, len) = FILES[rng.below(FILES.len())];
    let file = |part| Content::File { name, len, part };
    let get =
        |fields, expected| Ask { method: "GET", path: format!("/{name}"), fields, content: None, expected };
    match rng.below(8) {
        0 => {
            let expected = Expected { head_only: true, ..Expected::new(200, file(None)) };
            Ask { method: "HEAD", ..get(vec![], expected) }
        }
        1 => {
            let first = rng.below(len);
            let last = first + rng.below(len - first);
            let range = ("Range", format!("bytes={first}-{last}"));
            get(vec![range], Expected::new(206, file(Some((first, last)))))
        }
        2 => {
            let missing = Expected::new(404, Content::Exactly(b"404 Not Found\n".to_vec()));
            Ask { path: format!("/{name}/nothing"), ..get(vec![], missing) }
        }
        3 => {
            // An unwanted body, which must be skipped exactly.
            let content = "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n".repeat(rng.below(20)).into_bytes();
            let refusal = Expected::new(405, Content::Exactly(b"405 Method Not Allowed\n".to_vec()));
            Ask { method: "POST", content: Some(content), ..get(vec![], refusal) }
        }
        _ => get(vec![], Expected::new(200, file(None))),
    }
}

/// The status of a request that is answered by a stream error (RFC 9113 §8.1.1).
pub(super) const MALFORMED: u16 = 0;

/// A request that no stream of HTTP/2 may carry.
pub(super) fn malformed(rng: &mut Rng) -> Ask {
    let field = [("X-Upper", "a"), ("connection", "close"), ("te", "gzip"), ("x y", "z"), ("x", " padded")];
    let (name, value) = field[rng.below(field.len())];
    Ask {
        method: "GET",
        path: "/".to_owned(),
        fields: vec![(name, value.to_owned())],
        content: None,
        expected: Expected::new(MALFORMED, Content::Any),
    }
}

/// A request that is wrong, after which the server ends the conversation.
pub(super) fn wrong(rng: &mut Rng) -> (Vec<u8>, Expected) {
    let (text, status): (&[u8], u16) = [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nwhatever", 413),
        (b"GET / HTTP/9.1\r\nHost: a\r\n\r\n", 505),
    ][rng.below(5)];
    (text.to_vec(), Expected::new(status, Content::Any))
}
