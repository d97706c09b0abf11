//! The targets of redirects and rewrites, with everything that keeps both inside what the
//! rule says.

use super::captures::Captures;
use super::error::Fault;
use super::origin;
use super::pattern::Pattern;
use super::template::{Sink, Template, is_escape};
use crate::answer::field_buf::FieldBuf;
use crate::answer::fixed_lines::location_block;
use crate::answer::reply::Reply;
use crate::open::path::{ESCAPED_SLASH, NAME_MAX, hex, resolve};
use sitar_http::Status;

/// The action of a rule.
#[derive(Debug)]
pub(super) enum Action {
    /// 3xx to here.
    Redirect { status: Status, target: Destination },
    /// Another page's content under this address, with this status.
    Rewrite { status: Status, target: Local, fallback: bool },
}

/// The target of a redirect.
#[derive(Debug)]
pub(super) struct Destination {
    /// Up to the fragment.
    base: Template,
    /// With its `#`.
    fragment: Box<[u8]>,
    /// It begins with a slash, and must never begin with two.
    local: bool,
    /// The request's query is passed on.
    pub(super) passes_query: bool,
    /// Header lines for the case that there is nothing to fill in, Location first.
    block: Option<Box<[u8]>>,
}

/// The page whose content a rewrite shows.
#[derive(Debug)]
pub(super) enum Local {
    Key {
        key: Box<[u8]>,
        slash: bool,
    },
    Template(Template),
    /// No page: the status alone.
    Nothing,
}

/// Apart, so that other requests do not clear its buffers.
#[inline(never)]
pub(super) fn expand<T>(
    template: &Template,
    captures: &Captures<'_>,
    find: impl FnOnce(&[u8], bool) -> T,
) -> Option<T> {
    let mut url = Url { bytes: [0; URL_MAX], len: 0 };
    if !template.expand(captures, &mut url) {
        return None;
    }
    let mut buffer = [0; NAME_MAX];
    let path = url.bytes[..url.len].split(|&byte| byte == b'?').next().unwrap_or_default();
    resolve(path, &mut buffer).ok().map(|target| find(target.key, target.slash))
}

struct Url {
    bytes: [u8; URL_MAX],
    len: usize,
}

impl Sink for Url {
    fn put(&mut self, byte: u8) -> bool {
        let Some(place) = self.bytes.get_mut(self.len) else { return false };
        *place = byte;
        self.len += 1;
        true
    }
}

/// A Location being written: one that begins with a slash never begins with two, which would be
/// another host.
struct Location<'b> {
    out: &'b mut FieldBuf,
    local: bool,
    written: usize,
}

impl Sink for Location<'_> {
    fn put(&mut self, byte: u8) -> bool {
        if self.local && self.written == 1 && byte == b'/' {
            return true;
        }
        self.written += 1;
        self.out.push(&[byte])
    }

    fn keeps_slash(&self) -> bool {
        true
    }
}

impl Destination {
    /// The path and query, if they are on this site and fixed.
    pub(super) fn local_path(&self) -> Option<&[u8]> {
        self.base.fixed().filter(|_| self.local)
    }

    pub(super) fn reply<'r>(
        &'r self,
        status: Status,
        captures: &Captures<'_>,
        query: Option<&[u8]>,
        more: &'r mut FieldBuf,
        head: bool,
    ) -> Reply<'r> {
        let query = query.filter(|_| self.passes_query);
        if let (Some(block), None) = (&self.block, query) {
            return Reply::redirect_to(status, block, more, head);
        }
        let written = more.push(b"Location: ")
            && self.base.expand(captures, &mut Location { out: more, local: self.local, written: 0 })
            && query.is_none_or(|query| more.push(b"?") && more.push_query(query))
            && more.push(&self.fragment)
            && more.push(b"\r\n");
        if written { Reply::redirect_to(status, b"", more, head) } else { Reply::uri_too_long(more, head) }
    }
}

pub(super) fn action(code: u16, target: &[u8], source: &Pattern) -> Result<Action, Fault> {
    let local = target.starts_with(b"/");
    let kind = Status::from_code(code).filter(|_| is_redirect(code) || code == 200 || ERRORS.contains(&code));
    let Some(status) = kind else {
        return Err(Fault::new("this status cannot be used in a rule", STATUSES_HINT));
    };
    if local && matches!(target.get(1), Some(b'/' | b'\\')) {
        return Err(Fault::new(
            "the target begins with two slashes, which is another host",
            "write https:// before the host, or one slash",
        ));
    }
    if !is_redirect(code) {
        if !local {
            return Err(Fault::new(
                "sitar serves files and is no proxy",
                "redirect there with 302, or rewrite to a path of this site: /from /to 200",
            ));
        }
        // What stands behind ? or # says nothing about a file.
        let path = target.split(|&byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
        let template = Template::parse(&clean(path), source, true)?;
        let target = match template.fixed() {
            Some(fixed) => match resolve(fixed, &mut [0; NAME_MAX]) {
                Ok(path) if !path.key.contains(&ESCAPED_SLASH) => {
                    Local::Key { key: path.key.into(), slash: path.slash }
                }
                _ => {
                    return Err(Fault::new("the target is no valid path", "write it as /path/page.html"));
                }
            },
            None => Local::Template(template),
        };
        let fallback = status == Status::OK && source.has_open_end() && is_page(&target);
        return Ok(Action::Rewrite { status, target, fallback });
    }
    let (base, fragment) = match target.iter().position(|&byte| byte == b'#') {
        Some(at) => target.split_at(at),
        None => (target, &b""[..]),
    };
    let (origin, base) = if local { (&b""[..], base) } else { origin::split(base)? };
    let passes_query = !base.contains(&b'?');
    let (base, fragment) = (clean(base), clean(fragment));
    let base = Template::parse_behind(origin, &base, source, true)?;
    if base.len() + fragment.len() > TARGET_MAX {
        return Err(Fault::new("the target is longer than 900 bytes", "shorten it"));
    }
    let block = base.fixed().map(|fixed| location_block(&[fixed, &fragment]));
    let target = Destination { base, fragment: fragment.into(), local, passes_query, block };
    Ok(Action::Redirect { status, target })
}

/// A target's bytes as they may stand in a header line: what is not of a URL is escaped, escapes
/// stay.
pub(super) fn clean(text: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        let kept = match byte {
            b'%' => is_escape(&text[at..]),
            _ => byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte),
        };
        if kept {
            clean.push(byte);
        } else {
            clean.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    clean
}

/// Whether a rewrite's target is a page, as far as its name says.
fn is_page(target: &Local) -> bool {
    let end = match target {
        Local::Key { key, .. } => &key[..],
        Local::Template(template) => match template.end() {
            Some(end) => end,
            None => return false,
        },
        Local::Nothing => return false,
    };
    let file = end.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    !file.contains(&b'.') || file.ends_with(b".html") || file.ends_with(b".htm")
}

/// Whether a path asks for something that a page loads, and not for a page: its name ends in the
/// extension of a media type that browsers load. Such a path is never answered by a fallback: 200
/// with HTML for a missing script or image hides the fault and is cached.
pub(super) fn is_asset(key: &[u8]) -> bool {
    let essence = crate::answer::media::media_type(key).essence;
    let (kind, rest) = essence.split_once('/').unwrap_or((essence, ""));
    match kind {
        "image" | "font" | "audio" | "video" | "model" => true,
        // Source texts and the like are not loaded by pages, and their extensions are ends of
        // names: `/users/jane.me`.
        "text" => !matches!(rest, "html" | "troff") && !rest.starts_with("x-"),
        _ => {
            essence.ends_with("+json")
                || (essence.ends_with("+xml") && rest != "xhtml+xml")
                || matches!(
                    rest,
                    "json"
                        | "wasm"
                        | "xml"
                        | "pdf"
                        | "zip"
                        | "gzip"
                        | "zstd"
                        | "toml"
                        | "x-ndjson"
                        | "vnd.apple.mpegurl"
                        | "vnd.ms-fontobject"
                )
        }
    }
}

/// Whether a rule with this status leads to another address.
pub(super) fn is_redirect(code: u16) -> bool {
    matches!(code, 301 | 302 | 303 | 307 | 308)
}

/// The answer with this status and no page, if a rule may give it.
pub(super) fn bare(code: u16) -> Option<Action> {
    let status = Status::from_code(code).filter(|_| ERRORS.contains(&code))?;
    Some(Action::Rewrite { status, target: Local::Nothing, fallback: false })
}

/// Makes the list of errors, and the sentence about all statuses, out of the same numbers.
macro_rules! errors {
    ($first:literal, $($code:literal),* or $last:literal) => {
        /// Errors that rules may answer with. (401 would have to say how to authenticate, RFC 9110
        /// §15.5.2.)
        const ERRORS: &[u16] = &[$first, $($code,)* $last];
        /// The statuses of rules, for messages.
        pub(super) const STATUSES_HINT: &str = concat!(
            "use 301, 302, 303, 307, 308, 200, ",
            $first,
            $(", ", $code,)*
            " or ",
            $last,
            ", with ! to replace files"
        );
    };
}

errors!(403, 404, 410, 451 or 503);

/// Bytes of a redirect's target: with what is filled in it has to fit a [`FieldBuf`].
const TARGET_MAX: usize = 900;
/// An expanded target: a name with all of it escaped.
const URL_MAX: usize = NAME_MAX * 2;
