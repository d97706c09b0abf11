//! One rule of `_headers`: its lines, and which names they may have.

use super::WORDS;
use crate::rules::bits::Bits;
use crate::rules::error::Fault;
use crate::rules::pattern::Pattern;
use crate::rules::template::Template;

/// A path and what stands below it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) number: u32,
    pub(super) text: Box<[u8]>,
    pub(super) source: Pattern,
    pub(super) lines: Vec<Line>,
    /// Names that this rule takes from those before it and from the server, in lower case, until it
    /// is known which lines those are.
    pub(super) detached: Vec<Box<str>>,
    /// The server's own lines ([`OWN`](super::OWN)) that it replaces or takes away, one bit each.
    pub(super) replaced: u8,
    /// It has lines with placeholders.
    pub(super) filled: bool,
    /// One of its lines has been refused.
    pub(super) faulty: bool,
}

/// One header line.
#[derive(Debug)]
pub(super) struct Line {
    /// In lower case.
    pub(super) name: Box<str>,
    pub(super) class: Class,
    pub(super) text: Text,
    /// The rules behind its own that take it away.
    pub(super) takers: Bits<WORDS>,
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Text {
    /// The whole line, its end included.
    Fixed(Box<[u8]>),
    /// Without its end.
    Filled(Template),
}

/// On which answers a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It describes the content: 200 and 206.
    Content,
    /// It says how long an answer is good: 200, 206 and 304 (RFC 9110 §15.4.5).
    Caching,
    /// Everything else (policies): 200, 206 and errors.
    Policy,
}

impl Rule {
    /// Whether it sets or takes away a header.
    pub(super) fn names(&self, name: &str) -> bool {
        self.lines.iter().any(|line| *line.name == *name) || self.detached.iter().any(|own| **own == *name)
    }

    pub(super) fn add(&mut self, line: &[u8]) -> Result<(), Fault> {
        if let Some(name) = line.strip_prefix(b"!") {
            let name = check_name(name.trim_ascii())?;
            if is_reserved(&name) {
                return Err(Fault::new("this header is the server's own", "take the line out"));
            }
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
        if value.iter().any(|&byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
            return Err(Fault::new("a control character", "take it out"));
        }
        self.set(name, written, value)
    }

    fn set(&mut self, name: String, written: &[u8], value: &[u8]) -> Result<(), Fault> {
        let class = class(&name);
        // Said twice in one rule, it is one list (RFC 9110 §5.3); cookies are the exception.
        let before = self.lines.iter_mut().find(|line| *line.name == *name && name != "set-cookie");
        let whole = [written, b": ", value].concat();
        let template = Template::parse(&whole, &self.source, false)?;
        match (template.fixed(), before) {
            (Some(_), Some(Line { text: Text::Fixed(text), .. })) => {
                let list = text.strip_suffix(b"\r\n").unwrap_or(text);
                *text = [list, b", ", value, b"\r\n"].concat().into();
            }
            (Some(fixed), _) => {
                let text = Text::Fixed([fixed, b"\r\n"].concat().into());
                self.lines.push(Line { name: name.into(), class, text, takers: Bits::EMPTY });
            }
            (None, _) => {
                let text = Text::Filled(template);
                self.lines.push(Line { name: name.into(), class, text, takers: Bits::EMPTY });
            }
        }
        Ok(())
    }
}

impl Line {
    pub(super) fn fixed_len(&self) -> usize {
        if let Text::Fixed(text) = &self.text { text.len() } else { 0 }
    }

    pub(super) fn filled_len(&self) -> usize {
        if let Text::Filled(template) = &self.text { template.len() + 2 } else { 0 }
    }
}

/// A field name (RFC 9110 §5.1) in lower case.
fn check_name(name: &[u8]) -> Result<String, Fault> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_empty() && name.iter().all(is_token) => Ok(text.to_ascii_lowercase()),
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
            | "content-encoding"
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
        "cache-control" | "expires" | "content-location" | "vary" => Class::Caching,
        _ if name.ends_with("cache-control") || name.starts_with("surrogate-") => Class::Caching,
        _ if name.starts_with("content-security-policy") => Class::Policy,
        _ if name.starts_with("content-") => Class::Content,
        _ => Class::Policy,
    }
}
