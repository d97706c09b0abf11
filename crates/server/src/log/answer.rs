//! An answer, as its shard knows it when it begins.

use std::time::Instant;

use sitar_http::{Field, Method, Request, Status, h1};
use sitar_io::usdt;

use super::record::{FIELD_MAX, HOST_MAX, LogTls, TARGET_MAX};
use crate::close::Close;
use crate::counts::EndCounters;
use crate::numbers::HttpVersion;
use crate::peer::Peer;
use crate::snapshot::HostId;

/// An answer that begins.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) requested: Requested<'a>,
    pub(crate) version: HttpVersion,
    /// When the request was first looked at; `None`: in this turn.
    pub(crate) start: Option<Instant>,
    pub(crate) peer: Option<Peer>,
    pub(crate) tls: Option<LogTls>,
    pub(crate) status: Status,
    /// Bytes of its content.
    pub(crate) length: u64,
}

/// What was asked, as far as it could be read.
#[derive(Clone, Copy)]
pub(crate) enum Requested<'a> {
    /// A request, and the host that it leads to, if it leads to one.
    Request(&'a Request<'a>, Option<HostId>),
    /// Text of HTTP/1 that is no whole request, and is refused.
    Text(&'a [u8]),
    /// A request of HTTP/2 of which no more could be read.
    Method(Method),
}

/// The texts of a request that are kept.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    /// 0: it could not be read; else [`Method`] and 1.
    pub(super) method: u8,
    /// The name of a method that is unknown.
    pub(super) token: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) path: &'a [u8],
    /// What stands behind the path: nothing, or `?` and this.
    pub(super) query: Option<&'a [u8]>,
    pub(super) referer: Option<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
}

/// The most that is kept of a method that could not be read.
const METHOD_MAX: usize = 32;
/// The most that is kept of a line that begins with no method.
const UNKNOWN_MAX: usize = 16;

impl<'a> Requested<'a> {
    /// Returns the host that it leads to.
    pub(super) fn host(&self) -> Option<HostId> {
        if let Requested::Request(_, host) = self { *host } else { None }
    }

    pub(super) fn request(&self) -> Option<&'a Request<'a>> {
        if let Requested::Request(request, _) = self { Some(request) } else { None }
    }

    /// Returns the texts that a tracer sees of an answer: the method is not among them.
    #[cold]
    pub(crate) fn probed(&self) -> usdt::Request<'a> {
        let Texts { host, path, .. } = self.texts();
        usdt::Request { method: b"", host, path }
    }

    #[cold]
    pub(super) fn texts(&self) -> Texts<'a> {
        match *self {
            Requested::Request(request, _) => Texts::of(request),
            Requested::Text(text) => Texts::of_line(text),
            Requested::Method(known) => Texts { method: known as u8 + 1, ..Texts::NONE },
        }
    }
}

impl<'a> Texts<'a> {
    const NONE: Texts<'static> =
        Texts { method: 0, token: b"", host: b"", path: b"", query: None, referer: None, user_agent: None };

    #[inline(always)]
    pub(super) fn of(request: &Request<'a>) -> Texts<'a> {
        let path = cut(request.target.path, TARGET_MAX);
        let query = request.target.query.map(|query| cut(query, TARGET_MAX - path.len()));
        let field = |field| request.fields.first(field).map(|value| cut(value, FIELD_MAX));
        Texts {
            method: request.method as u8 + 1,
            token: cut(request.method_name, METHOD_MAX),
            host: cut(request.authority.unwrap_or_default(), HOST_MAX),
            path,
            query,
            referer: field(Field::Referer),
            user_agent: field(Field::UserAgent),
        }
    }

    /// Those of a first line that is no request: a method, if it begins with one, and all behind
    /// it but the version. Of another one the beginning: it may be a field, or a part of a form.
    #[cold]
    #[inline(never)]
    fn of_line(text: &'a [u8]) -> Texts<'a> {
        let line = h1::first_line(text);
        let word =
            line.iter().take(METHOD_MAX + 1).position(|byte| *byte == b' ').map(|at| line.split_at(at));
        let known = word.and_then(|(token, rest)| Some((Method::from_token(token)?, token, &rest[1..])));
        let (method, token, rest) = match known {
            Some((Method::Unknown, token, rest)) if rest.starts_with(b"/") => {
                (Method::Unknown as u8 + 1, token, rest)
            }
            Some((method, _, rest)) if method != Method::Unknown => (method as u8 + 1, &b""[..], rest),
            _ => {
                let value = line.iter().position(|byte| b":=".contains(byte));
                let path = cut(&line[..value.unwrap_or(line.len())], UNKNOWN_MAX);
                return Texts { path, ..Texts::NONE };
            }
        };
        let is_version = |version: &[u8]| version.starts_with(b"HTTP/");
        let path = match rest.iter().rposition(|byte| *byte == b' ') {
            Some(at) if is_version(&rest[at + 1..]) => &rest[..at],
            _ => rest,
        };
        Texts { method, token, path: cut(path, TARGET_MAX), ..Texts::NONE }
    }
}

fn cut(text: &[u8], most: usize) -> &[u8] {
    text.get(..most).unwrap_or(text)
}

/// Why an answer was given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// Its connection ended, or its file was changed.
    Closed(Close),
    /// Its stream of HTTP/2 ended.
    StreamReset,
}

impl Cut {
    /// Stands in a queue for an answer that was not given up.
    pub(super) const NONE: u8 = 0;
    const STREAM_RESET: u8 = u8::MAX;
    /// Stands for an answer that goes on when more are under way than can be followed.
    pub(super) const NOT_FOLLOWED: u8 = u8::MAX - 1;

    /// Returns the number by which it stands in a queue.
    pub(super) fn number(self) -> u8 {
        match self {
            Cut::Closed(why) => EndCounters::place(why) as u8 + 1,
            Cut::StreamReset => Cut::STREAM_RESET,
        }
    }

    /// Returns the name that a number stands for.
    pub(super) fn name(number: u8) -> Option<&'static str> {
        match number {
            Cut::NONE => None,
            Cut::STREAM_RESET => Some("stream_reset"),
            Cut::NOT_FOLLOWED => Some("not_followed"),
            place => Close::name_at(usize::from(place) - 1),
        }
    }
}
