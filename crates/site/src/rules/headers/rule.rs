//! One rule of `_headers`: its lines, and which names they may have.

use super::WORDS;
use crate::rules::bits::Bits;
use crate::rules::error::Fault;
use crate::rules::pattern::Pattern;
use crate::rules::template::Template;
use sitar_http::semantics::Coding;

/// A path and what stands below it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) number: u32,
    pub(super) text: Box<[u8]>,
    pub(super) source: Pattern,
    pub(super) lines: Vec<Line>,
    /// Names that this rule takes from those before it and from the server, in lower case.
    pub(super) detached: Vec<Box<str>>,
    /// Lines that a later one of this rule replaces.
    pub(super) repeated: Vec<Override>,
    /// The server's own lines ([`OWN`](super::OWN)) that it replaces or takes away, one bit each.
    /// Not Content-Encoding, which no rule takes from an encoding that was negotiated; HSTS only on
    /// a site that has it.
    pub(super) replaced: u8,
    /// It has lines with placeholders.
    pub(super) filled: bool,
    /// It has lines that are joined with those of other rules or of the server.
    pub(super) listed: bool,
    /// The coding that the files at this path are stored in.
    pub(super) stored: Option<StoredCoding>,
    /// It takes away what rules before it say about that.
    pub(super) ends_stored: bool,
    /// One of its lines has been refused.
    pub(super) faulty: bool,
}

/// One header line.
#[derive(Debug)]
pub(super) struct Line {
    /// The line's number in the file; the last one, where the line is made of several.
    pub(super) number: u32,
    /// The name, in lower case.
    pub(super) name: Box<str>,
    /// The name as it was written, and `: `.
    pub(super) start: Box<[u8]>,
    /// The value, placeholders included.
    pub(super) value: Vec<u8>,
    pub(super) class: Class,
    pub(super) text: Text,
    /// The number of its list: lines with the same one are joined.
    pub(super) list: List,
    /// `, `, its value and its end, for where it is joined to another.
    pub(super) joint: Box<[u8]>,
    /// The rules behind its own that take it away.
    pub(super) takers: Bits<WORDS>,
}

/// The value of a line.
#[derive(Debug)]
pub(super) enum Text {
    /// The whole line, its end included.
    Fixed(Box<[u8]>),
    /// The value.
    Filled(Template),
}

/// Lines of several rules that leave as one, by the number of their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List(pub(super) u32);

impl List {
    /// No other line has this name, or they are not joined.
    pub(super) const ALONE: List = List(0);
    /// Vary, which the server sends too.
    pub(super) const VARY: List = List(1);
    /// The first one of the names that have no meaning here.
    pub(super) const OTHERS: u32 = 2;
}

/// On which answers a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It describes the content: 200 and 206.
    Content,
    /// It says how long an answer is good: 200, 206 and 304 (RFC 9110 §15.4.5).
    Caching,
    /// Policies for what is shown: 200, 206 and errors.
    Policy,
    /// Access to an answer, and the way to come back: every answer, redirects and those to OPTIONS
    /// included.
    Access,
}

/// The way to treat a field that is set twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repetition {
    /// One list (RFC 9110 §5.3).
    Joined,
    /// The last line counts.
    LastLine,
    /// The last rule counts; its lines are one list.
    LastRule,
    /// Lines of their own: cookies.
    Apart,
}

impl Repetition {
    pub(super) fn of(name: &str) -> Repetition {
        match name {
            "set-cookie" => Repetition::Apart,
            // Directives of two rules contradict each other; Netlify documents several lines in
            // one.
            _ if name.ends_with("cache-control") => Repetition::LastRule,
            _ if SINGLE.contains(&name) => Repetition::LastLine,
            _ => Repetition::Joined,
        }
    }

    /// Whether a later rule takes the lines of those before it away.
    pub(super) fn is_last(self) -> bool {
        matches!(self, Repetition::LastLine | Repetition::LastRule)
    }
}

/// Fields whose value is one: as a list it would be invalid, or say what none of its lines says.
const SINGLE: [&str; 27] = [
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "access-control-max-age",
    "content-disposition",
    "content-encoding",
    "content-location",
    "content-type",
    "cross-origin-embedder-policy",
    "cross-origin-embedder-policy-report-only",
    "cross-origin-opener-policy",
    "cross-origin-opener-policy-report-only",
    "cross-origin-resource-policy",
    "expires",
    "nel",
    "origin-agent-cluster",
    "referrer-policy",
    "refresh",
    "retry-after",
    "service-worker-allowed",
    "sourcemap",
    "strict-transport-security",
    "x-content-type-options",
    "x-dns-prefetch-control",
    "x-frame-options",
    "x-permitted-cross-domain-policies",
    "x-sourcemap",
    "x-xss-protection",
];

/// One line that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Override {
    /// The number of the line that counts.
    pub line: u32,
    /// The number of the one that does not.
    pub replaced: u32,
    /// The field, as the line that counts has it.
    pub name: String,
    /// Both stand below one path.
    pub is_within_rule: bool,
}

/// The coding that a rule says its files are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredCoding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Br,
    /// RFC 8878.
    Zstd,
    /// RFC 1950, and without its header RFC 1951.
    Deflate,
}

impl StoredCoding {
    fn of(value: &[u8]) -> Option<StoredCoding> {
        let all = [
            (&b"gzip"[..], StoredCoding::Gzip),
            (b"br", StoredCoding::Br),
            (b"zstd", StoredCoding::Zstd),
            (b"deflate", StoredCoding::Deflate),
        ];
        all.iter().find(|(name, _)| value.eq_ignore_ascii_case(name)).map(|(_, stored)| *stored)
    }

    /// The same as one of those that are negotiated.
    pub(crate) fn coding(self) -> Option<Coding> {
        match self {
            StoredCoding::Gzip => Some(Coding::Gzip),
            StoredCoding::Br => Some(Coding::Br),
            StoredCoding::Zstd => Some(Coding::Zstd),
            StoredCoding::Deflate => None,
        }
    }

    /// Its name in HTTP (RFC 9110 §8.4.1).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StoredCoding::Gzip => "gzip",
            StoredCoding::Br => "br",
            StoredCoding::Zstd => "zstd",
            StoredCoding::Deflate => "deflate",
        }
    }
}

impl Rule {
    pub(super) fn new(number: u32, text: &[u8], source: Pattern) -> Rule {
        Rule {
            number,
            text: text.into(),
            source,
            lines: Vec::new(),
            detached: Vec::new(),
            repeated: Vec::new(),
            replaced: 0,
            filled: false,
            listed: false,
            stored: None,
            ends_stored: false,
            faulty: false,
        }
    }

    /// Whether it sets or takes away a header.
    pub(super) fn names(&self, name: &str) -> bool {
        self.lines.iter().any(|line| *line.name == *name) || self.detaches(name)
    }

    /// Whether it takes a header away from the rules before it, and says so.
    pub(super) fn detaches(&self, name: &str) -> bool {
        self.detached.iter().any(|own| **own == *name)
    }

    pub(super) fn add(&mut self, number: u32, line: &[u8]) -> Result<(), Fault> {
        if let Some(name) = line.strip_prefix(b"!") {
            let name = check_name(name.trim_ascii())?;
            if is_reserved(&name) {
                return Err(Fault::new("this header is the server's own", "take the line out"));
            }
            self.ends_stored |= name == "content-encoding";
            self.detached.push(name.into());
            return Ok(());
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return Err(Fault::new(
                "neither a path nor a header line",
                "write Name: value, or ! Name to take a header away; paths begin with a slash",
            ));
        };
        let (written, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let name = check_name(written)?;
        if name == "basic-auth" {
            return Err(Fault::new(
                "Basic-Auth would be sent to everybody",
                "protected pages need users, which sitar does not have yet: take the line out",
            ));
        }
        if is_reserved(&name) {
            let hint = if name == "location" { "use _redirects" } else { "take the line out" };
            return Err(Fault::new("this header is the server's own", hint));
        }
        if value.is_empty() {
            return Err(Fault::new(
                "a header without a value",
                "write Name: value, or ! Name to take it away",
            ));
        }
        if !sitar_http::is_field_value(value) {
            return Err(Fault::new("a control character", "take it out"));
        }
        if name == "content-encoding" {
            self.stored = Some(StoredCoding::of(value).ok_or_else(|| {
                Fault::new(
                    "this header is the server's own, except for the one coding that files are stored in",
                    "write Content-Encoding: gzip, br, zstd or deflate, or take the line out",
                )
            })?);
        }
        self.set(number, name, written, value);
        Ok(())
    }

    fn set(&mut self, number: u32, name: String, written: &[u8], value: &[u8]) {
        let repetition = Repetition::of(&name);
        let before = self.lines.iter_mut().find(|line| *line.name == *name);
        match (before, repetition) {
            (Some(line), Repetition::Joined | Repetition::LastRule) => {
                line.number = number;
                line.value.extend_from_slice(b", ");
                line.value.extend_from_slice(value);
            }
            (Some(line), Repetition::LastLine) => {
                if line.value != value {
                    self.repeated.push(Override {
                        line: number,
                        replaced: line.number,
                        name: String::from_utf8_lossy(written).into(),
                        is_within_rule: true,
                    });
                }
                line.number = number;
                line.value = value.to_vec();
            }
            (None, _) | (Some(_), Repetition::Apart) => self.lines.push(Line {
                number,
                class: class(&name),
                name: name.into(),
                start: [written, b": "].concat().into(),
                value: value.to_vec(),
                text: Text::Fixed(Box::default()),
                list: List::ALONE,
                joint: Box::default(),
                takers: Bits::EMPTY,
            }),
        }
    }

    /// Makes the text of its lines, once all of them are known.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        for line in &mut self.lines {
            let template = Template::parse(&line.value, &self.source, false)?;
            line.text = match template.fixed() {
                Some(value) => Text::Fixed([&line.start, value, b"\r\n"].concat().into()),
                None => Text::Filled(template),
            };
        }
        Ok(())
    }
}

impl Line {
    pub(super) fn fixed_len(&self) -> usize {
        if let Text::Fixed(text) = &self.text { text.len() } else { 0 }
    }

    pub(super) fn filled_len(&self) -> usize {
        if let Text::Filled(template) = &self.text { self.start.len() + template.len() + 2 } else { 0 }
    }

    /// Makes it a part of a list.
    pub(super) fn join(&mut self, list: List) {
        self.list = list;
        self.joint = [b", ", &self.value[..], b"\r\n"].concat().into();
    }

    /// Whether its value is a list that has one of these.
    pub(super) fn has_any(&self, wanted: &[&str]) -> bool {
        let mut items = self.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        items.any(|item| wanted.iter().any(|wanted| item.eq_ignore_ascii_case(wanted.as_bytes())))
    }
}

/// A field name (RFC 9110 §5.1) in lower case.
fn check_name(name: &[u8]) -> Result<String, Fault> {
    match std::str::from_utf8(name) {
        Ok(text) if sitar_http::is_token(name) => Ok(text.to_ascii_lowercase()),
        _ => Err(Fault::new(
            "the header's name is not valid",
            "write it as letters, digits and dashes, then a colon: X-Name: value",
        )),
    }
}

/// Headers that frame messages, that the connection needs, or that say what the server knows
/// better: a wrong one would break the answer or its caching.
fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "accept-ranges"
            | "age"
            | "allow"
            | "connection"
            | "content-length"
            | "content-range"
            | "date"
            | "etag"
            | "http2-settings"
            | "keep-alive"
            | "last-modified"
            | "location"
            | "proxy-authenticate"
            | "proxy-connection"
            | "repr-digest"
            | "content-digest"
            | "server"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn class(name: &str) -> Class {
    match name {
        "cache-control" | "expires" | "content-location" => Class::Caching,
        // Without these a browser keeps an answer from the script that asked, also when it is a
        // redirect, an error or the answer to a preflight (Fetch, "CORS check", "cross-origin
        // resource policy check"); what depends on Origin says so.
        "vary" | "timing-allow-origin" | "cross-origin-resource-policy" => Class::Access,
        // RFC 6797 §7.1: on every answer. A redirect has a policy for the request that follows, and
        // a place in an index.
        "strict-transport-security" | "referrer-policy" | "x-robots-tag" => Class::Access,
        _ if name.starts_with("access-control-") => Class::Access,
        _ if name.ends_with("cache-control") || name.starts_with("surrogate-") => Class::Caching,
        _ if name.starts_with("content-security-policy") => Class::Policy,
        _ if name.starts_with("content-") => Class::Content,
        _ => Class::Policy,
    }
}
