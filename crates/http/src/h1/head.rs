//! Request heads (RFC 9112 §2 to §5).

use super::framing::{Hop, Outcome};
use super::{Framing, Limits, Rejection};
use crate::authority::{is_authority, is_authority_with_port};
use crate::chars::{self, TOKEN, is_field_value, trim};
use crate::{Field, Fields, Method, Request, RequestTarget, Status, Version};

/// A request head, borrowed from the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestHead<'b> {
    /// The request.
    pub request: Request<'b>,
    /// The client's version of HTTP/1.
    pub version: Version,
    /// Bytes of the head with the empty line that ends it and one that may stand before it; the
    /// body begins there.
    pub len: usize,
    /// The way in which the end of the body is found.
    pub body: Framing,
    /// Whether the client wants to keep the connection (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for a 100, or for a final response, before it sends its body (RFC
    /// 9110 §10.1.1).
    pub expect_continue: bool,
}

/// Reads a request head from all bytes that have come since the last request; the same as
/// [`parse_from`] with 0.
///
/// # Errors
/// See [`parse_from`].
pub fn parse<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Option<RequestHead<'b>>, Rejection> {
    parse_from(bytes, 0, limits)
}

/// Reads a request head; `None` means that more bytes are needed.
///
/// `already_scanned` is the number of bytes for which the previous call returned `None`. They are
/// not read again until the head is whole, which keeps the work linear for a client that sends byte
/// by byte.
///
/// # Errors
/// A [`Rejection`] as soon as it is certain that no acceptable request can come of these bytes,
/// even if more were to come. Which one it is may depend on how the bytes were split when there is
/// more than one fault.
pub fn parse_from<'b>(
    bytes: &'b [u8],
    already_scanned: usize,
    limits: &Limits,
) -> Result<Option<RequestHead<'b>>, Rejection> {
    let scanned = already_scanned.min(bytes.len());
    // The first look is optimistic: nearly always the whole head is there.
    if scanned == 0 || ends_since(bytes, scanned) {
        let within = &bytes[..bytes.len().min(limits.head)];
        match whole(within, limits) {
            Ok(head) => return Ok(Some(head)),
            Err(Stop::Reject(rejection)) => return Err(rejection),
            Err(Stop::More) => {}
        }
    }
    unfinished(bytes, scanned, limits)?;
    Ok(None)
}

enum Stop {
    More,
    Reject(Rejection),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Stop {
        Stop::Reject(rejection)
    }
}

/// Bytes of the longest method. None of more than 17 letters is registered; past this the response
/// is 501, as for any unknown method.
const METHOD_MAX: usize = 32;
const METHOD_TOO_LONG: Rejection = Rejection::new(Status::NOT_IMPLEMENTED, "unknown method");
const TARGET_TOO_LONG: Rejection = Rejection::new(Status::URI_TOO_LONG, "the request target is too long");
const NOT_HTTP: Rejection = Rejection::bad("this is not an HTTP request");
const BARE_LF: Rejection = Rejection::bad("a line does not end in CR LF");
const CONTROL: Rejection = Rejection::bad("a control character");

/// Reads a whole head.
fn whole<'b>(bytes: &'b [u8], limits: &Limits) -> Result<RequestHead<'b>, Stop> {
    let mut lines = Lines { bytes, at: start(bytes) };
    let line = RequestLine::parse(lines.next()?, limits)?;

    let mut fields = Fields::new();
    let mut hop = Hop::default();
    let mut count = 0;
    loop {
        let field_line = lines.next()?;
        if field_line.is_empty() {
            break;
        }
        count += 1;
        if count > limits.fields {
            return Err(too_many_fields().into());
        }
        let (name, value) = split_field(field_line)?;
        match Field::from_name(name) {
            Some(field) => fields.push(field, value).map_err(|_| too_many_fields())?,
            None => hop.take(name, value)?,
        }
    }

    let authority = match line.authority {
        // RFC 9112 §3.2.2: the target's authority wins, but Host has to be in order all the same.
        Some(authority) => host(&fields, line.version).map(|_| Some(authority))?,
        None => host(&fields, line.version)?,
    };
    let Outcome { body, keep_alive, expect_continue } = hop.finish(line.method, line.version)?;
    let RequestLine { method, method_name, target, .. } = line;
    let request = Request { method, method_name, target, authority, fields };
    Ok(RequestHead { request, version: line.version, len: lines.at, body, keep_alive, expect_continue })
}

/// Looks for faults that make waiting pointless, in the bytes that came since the last call.
fn unfinished(bytes: &[u8], scanned: usize, limits: &Limits) -> Result<(), Rejection> {
    let fresh = &bytes[scanned..];
    let is_control = |byte: u8| (byte < b' ') & !matches!(byte, b'\t' | b'\r' | b'\n') | (byte == 0x7f);
    if fresh.iter().fold(false, |found, &byte| found | is_control(byte)) {
        return Err(CONTROL);
    }
    // One byte back: a CR may have been the last one of the look before.
    for (at, byte) in bytes.iter().enumerate().skip(scanned.saturating_sub(1)) {
        match byte {
            b'\n' if at == 0 || bytes[at - 1] != b'\r' => return Err(BARE_LF),
            b'\r' if bytes.get(at + 1).is_some_and(|&next| next != b'\n') => return Err(CONTROL),
            _ => {}
        }
    }

    let start = start(bytes);
    check_method_so_far(&bytes[start..])?;
    // A request line fits in here if its target does; so the line's end is looked for there, once.
    // 12 is ` HTTP/1.1` CR LF and the space before the target.
    let line_max = limits.target.saturating_add(METHOD_MAX + 12).saturating_add(start);
    if scanned <= line_max
        && bytes.len() > line_max
        && memchr::memchr(b'\n', &bytes[start..line_max]).is_none()
    {
        return Err(TARGET_TOO_LONG);
    }
    // Once the request line is whole, its faults need not wait for the fields.
    if scanned > 0
        && memchr::memchr(b'\n', fresh).is_some()
        && let Some(end) = memchr::memchr(b'\n', &bytes[start..]).map(|end| start + end)
        && end >= scanned.max(start + 1)
    {
        RequestLine::parse(&bytes[start..end - 1], limits)?;
    }
    if bytes.len() >= limits.head {
        return Err(Rejection::new(Status::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too large"));
    }
    Ok(())
}

/// Returns the offset of the request line. RFC 9112 §2.2 has a server skip an empty line before it,
/// which some clients send after a body. One is skipped, not any number.
fn start(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 0 }
}

/// Returns whether `bytes`, all that has come since the last request, begin another one: whether
/// there is more than the empty line that RFC 9112 §2.2 has a server ignore, or its first half.
/// Without that there is no request that could be answered.
#[must_use]
pub fn begins_request(bytes: &[u8]) -> bool {
    !matches!(bytes.get(start(bytes)), None | Some(b'\r' | b'\n'))
}

/// Returns whether `bytes`, all that has come since the last request, begin with the method HEAD,
/// whatever else may be wrong with them: the answer has no content (RFC 9110 §9.3.2).
#[must_use]
pub fn is_head(bytes: &[u8]) -> bool {
    bytes[start(bytes)..].starts_with(b"HEAD ")
}

/// Returns the first line in `bytes`, all that has come since the last request, as far as it has
/// come; without its end, and whatever may be wrong with it. For logs.
#[must_use]
pub fn first_line(bytes: &[u8]) -> &[u8] {
    let line = &bytes[start(bytes)..];
    let line = memchr::memchr(b'\n', line).map_or(line, |end| &line[..end]);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Returns whether an empty line ends in the bytes after `scanned`.
fn ends_since(bytes: &[u8], scanned: usize) -> bool {
    memchr::memchr_iter(b'\n', &bytes[scanned..]).any(|at| bytes[..=scanned + at].ends_with(b"\r\n\r\n"))
}

/// Returns an error if `line` cannot become a request line, going by its first bytes.
fn check_method_so_far(line: &[u8]) -> Result<(), Rejection> {
    for (at, &byte) in line.iter().take(METHOD_MAX + 1).enumerate() {
        match byte {
            b' ' if at > 0 => return Ok(()),
            // The empty line before the request may come in two pieces.
            b'\r' if line.len() == 1 => return Ok(()),
            _ if !chars::is(byte, TOKEN) => return Err(NOT_HTTP),
            _ => {}
        }
    }
    if line.len() > METHOD_MAX { Err(METHOD_TOO_LONG) } else { Ok(()) }
}

struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Lines<'b> {
    /// Returns the next line without its end. A bare LF is refused: RFC 9112 §2.2 allows to take it
    /// for a line end, but a proxy that does and a server that does not see different requests.
    fn next(&mut self) -> Result<&'b [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'\n', rest).ok_or(Stop::More)?;
        let [line @ .., b'\r'] = &rest[..end] else { return Err(BARE_LF.into()) };
        self.at += end + 1;
        Ok(line)
    }
}

struct RequestLine<'b> {
    method: Method,
    method_name: &'b [u8],
    target: RequestTarget<'b>,
    authority: Option<&'b [u8]>,
    version: Version,
}

impl<'b> RequestLine<'b> {
    /// Reads a request line (RFC 9112 §3), with single spaces only.
    fn parse(line: &'b [u8], limits: &Limits) -> Result<RequestLine<'b>, Rejection> {
        // Methods are shorter than what a vectorized search pays off for.
        let Some(space) = line.iter().take(METHOD_MAX + 1).position(|&byte| byte == b' ') else {
            return Err(check_method_so_far(line).err().unwrap_or(NOT_HTTP));
        };
        let (name, rest) = (&line[..space], &line[space + 1..]);
        let method = Method::from_token(name).ok_or(NOT_HTTP)?;
        let method_name = if method == Method::Unknown { name } else { b"" };

        // RFC 9112 §2.3: ` HTTP/` digit `.` digit, the last nine bytes.
        let Some(target_len) = rest.len().checked_sub(9) else { return Err(NOT_HTTP) };
        let (target, version) = rest.split_at(target_len);
        let version = match version {
            b" HTTP/1.1" => Version::Http11,
            b" HTTP/1.0" => Version::Http10,
            [b' ', b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', b'0'..=b'9'] => {
                if *major != b'1' {
                    return Err(Rejection::new(
                        Status::HTTP_VERSION_NOT_SUPPORTED,
                        "this server speaks HTTP/1.1",
                    ));
                }
                // RFC 9110 §2.5: a higher minor version is compatible.
                Version::Http11
            }
            _ => return Err(Rejection::bad("the request line does not end in an HTTP version")),
        };

        if target.len() > limits.target {
            return Err(TARGET_TOO_LONG);
        }
        let (target, authority) =
            read_target(method, target).ok_or(Rejection::bad("the request target is not valid"))?;
        Ok(RequestLine { method, method_name, target, authority, version })
    }
}

/// Reads a request target in one of the four forms of RFC 9112 §3.2; returns it with the authority
/// that two of them hold.
fn read_target(method: Method, bytes: &[u8]) -> Option<(RequestTarget<'_>, Option<&[u8]>)> {
    const ASTERISK: RequestTarget<'_> = RequestTarget { path: b"*", query: None };
    if method == Method::Connect {
        return is_authority_with_port(bytes).then_some((ASTERISK, Some(bytes)));
    }
    if bytes.first() == Some(&b'/') {
        return Some((RequestTarget::from_origin_form(bytes)?, None));
    }
    if bytes == b"*" {
        return (method == Method::Options).then_some((ASTERISK, None));
    }

    // Absolute-form, for proxies; servers have to understand it too.
    let scheme_len = match bytes {
        _ if starts_with_ignoring_case(bytes, b"https://") => 8,
        _ if starts_with_ignoring_case(bytes, b"http://") => 7,
        _ => return None,
    };
    let rest = &bytes[scheme_len..];
    let authority_len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_len);
    if !is_authority(authority) {
        return None;
    }
    let target = match rest {
        // RFC 9112 §3.2.4: a proxy's way to say `OPTIONS *`.
        [] if method == Method::Options => ASTERISK,
        [] => RequestTarget { path: b"/", query: None },
        [b'?', ..] => RequestTarget { path: b"/", query: RequestTarget::split(rest)?.query },
        _ => RequestTarget::from_origin_form(rest)?,
    };
    Some((target, Some(authority)))
}

fn starts_with_ignoring_case(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Returns the value of Host. RFC 9112 §3.2 wants exactly one in HTTP/1.1, and at most one in 1.0.
/// An empty one is allowed (§3.2) and names no host.
fn host<'b>(fields: &Fields<'b>, version: Version) -> Result<Option<&'b [u8]>, Rejection> {
    match fields.get(Field::Host) {
        Some(b"") => Ok(None),
        Some(host) if is_authority(host) => Ok(Some(host)),
        Some(_) => Err(Rejection::bad("the Host field is not valid")),
        None if fields.has(Field::Host) => Err(Rejection::bad("more than one Host field")),
        None if version == Version::Http11 => Err(Rejection::bad("the Host field is missing")),
        None => Ok(None),
    }
}

/// Splits a field line (RFC 9112 §5): a name, a colon at once, a value. Line folding (§5.2) is a
/// line that begins with a space, so it has no name.
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Rejection> {
    let end = line.iter().position(|&byte| !chars::is(byte, TOKEN)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let value = match (name, rest) {
        ([], [b' ' | b'\t', ..]) => return Err(Rejection::bad("folded field lines are obsolete")),
        ([_, ..], [b':', value @ ..]) => trim(value),
        _ => return Err(Rejection::bad("a field line is not a name, a colon and a value")),
    };
    if is_field_value(value) { Ok((name, value)) } else { Err(CONTROL) }
}

const fn too_many_fields() -> Rejection {
    Rejection::new(Status::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields")
}

#[cfg(test)]
mod tests;
