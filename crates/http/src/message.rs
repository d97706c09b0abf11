//! The parts that all versions of HTTP share: method, status, target, request.

use crate::chars;
use crate::fields::Fields;

/// A request method (RFC 9110 §9, RFC 5789).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the methods")]
pub enum Method {
    Get,
    Head,
    Options,
    Post,
    Put,
    Delete,
    Connect,
    Trace,
    Patch,
    /// Any other token; the answer is 501 (RFC 9110 §9.1).
    Unknown,
}

impl Method {
    /// Every method, in the order of their declaration.
    pub const ALL: [Method; 10] = [
        Method::Get,
        Method::Head,
        Method::Options,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Connect,
        Method::Trace,
        Method::Patch,
        Method::Unknown,
    ];

    /// Returns the method with this name, which is case-sensitive; `None` when `name` is no token.
    #[must_use]
    pub fn from_token(name: &[u8]) -> Option<Method> {
        Some(match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"OPTIONS" => Method::Options,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ if chars::is_token(name) => Method::Unknown,
            _ => return None,
        })
    }

    /// Returns the name as sent, `-` for [`Method::Unknown`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Options => "OPTIONS",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Unknown => "-",
        }
    }
}

/// The version of HTTP/1 that a peer speaks. A higher minor version counts as 1.1 (RFC 9110 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no persistent connection unless asked for, no chunked coding, Host optional.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A status code (RFC 9110 §15) out of those that this server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    /// Returns the number, 100 to 599.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }
}

macro_rules! statuses {
    ($($name:ident = $code:literal $reason:literal;)*) => {
        impl Status {
            $(#[doc = concat!(stringify!($code), " ", $reason)] pub const $name: Status = Status($code);)*

            /// Returns the reason phrase (RFC 9112 §4), also a short name for logs.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    _ => "",
                }
            }

            /// Returns the status with this number; `None` for one that this server never sends.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<Status> {
                match code {
                    $($code)|* => Some(Status(code)),
                    _ => None,
                }
            }

            /// Returns the number and the reason phrase as a line of text: the body of an answer
            /// that has nothing else to say.
            #[must_use]
            pub const fn as_line(self) -> &'static [u8] {
                match self.0 {
                    $($code => concat!(stringify!($code), " ", $reason, "\n").as_bytes(),)*
                    _ => b"",
                }
            }

            /// Returns the status line and the name of the Date field, which always comes next: one
            /// copy writes both.
            pub(crate) const fn line_and_date_name(self) -> &'static [u8] {
                match self.0 {
                    $($code => concat!("HTTP/1.1 ", stringify!($code), " ", $reason, "\r\nDate: ").as_bytes(),)*
                    _ => b"HTTP/1.1 500 Internal Server Error\r\nDate: ",
                }
            }
        }
    };
}

statuses! {
    OK = 200 "OK";
    NO_CONTENT = 204 "No Content";
    PARTIAL_CONTENT = 206 "Partial Content";
    MOVED_PERMANENTLY = 301 "Moved Permanently";
    FOUND = 302 "Found";
    SEE_OTHER = 303 "See Other";
    NOT_MODIFIED = 304 "Not Modified";
    TEMPORARY_REDIRECT = 307 "Temporary Redirect";
    PERMANENT_REDIRECT = 308 "Permanent Redirect";
    BAD_REQUEST = 400 "Bad Request";
    UNAUTHORIZED = 401 "Unauthorized";
    FORBIDDEN = 403 "Forbidden";
    NOT_FOUND = 404 "Not Found";
    METHOD_NOT_ALLOWED = 405 "Method Not Allowed";
    REQUEST_TIMEOUT = 408 "Request Timeout";
    GONE = 410 "Gone";
    LENGTH_REQUIRED = 411 "Length Required";
    PRECONDITION_FAILED = 412 "Precondition Failed";
    CONTENT_TOO_LARGE = 413 "Content Too Large";
    URI_TOO_LONG = 414 "URI Too Long";
    RANGE_NOT_SATISFIABLE = 416 "Range Not Satisfiable";
    EXPECTATION_FAILED = 417 "Expectation Failed";
    MISDIRECTED_REQUEST = 421 "Misdirected Request";
    TOO_MANY_REQUESTS = 429 "Too Many Requests";
    REQUEST_HEADER_FIELDS_TOO_LARGE = 431 "Request Header Fields Too Large";
    UNAVAILABLE_FOR_LEGAL_REASONS = 451 "Unavailable For Legal Reasons";
    INTERNAL_SERVER_ERROR = 500 "Internal Server Error";
    NOT_IMPLEMENTED = 501 "Not Implemented";
    SERVICE_UNAVAILABLE = 503 "Service Unavailable";
    HTTP_VERSION_NOT_SUPPORTED = 505 "HTTP Version Not Supported";
}

/// Bytes of field lines that a response may carry, as HTTP/1 writes them with colons and CR LF,
/// beside those that the connection adds: 15.75 KiB. A response within this bound can be sent in
/// every version of HTTP: its head fits into one record of TLS in HTTP/1, and into one HEADERS
/// frame that every peer accepts in HTTP/2.
pub const FIELDS_MAX: usize = 63 * 256;

/// The refusal of a request, by a fault of the peer's or because it is past a limit. In HTTP/1 the
/// boundary to the next request may be lost, so the connection always closes after the response
/// ([`crate::h1::write_rejection`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status of the response.
    pub status: Status,
    /// The reason in one line, for the person at the other end, without a final period.
    pub reason: &'static str,
}

impl Rejection {
    pub(crate) const fn new(status: Status, reason: &'static str) -> Rejection {
        Rejection { status, reason }
    }

    /// Returns the field lines of the response.
    #[must_use]
    pub fn fields(&self) -> [&'static [u8]; 2] {
        let not_allowed = self.status == Status::METHOD_NOT_ALLOWED;
        [
            // 414 and 501 could be cached otherwise (RFC 9110 §15.1).
            b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n",
            // RFC 9110 §15.5.6: a 405 says what is allowed.
            if not_allowed { b"Allow: GET, HEAD, OPTIONS\r\n" } else { b"" },
        ]
    }

    pub(crate) const fn bad(reason: &'static str) -> Rejection {
        Rejection { status: Status::BAD_REQUEST, reason }
    }
}

/// The path and query of a request (RFC 9112 §3.2), exactly as sent; escapes are not decoded.
///
/// A path may have the characters that RFC 3986 §3.3 allows and `[ ] ^ |`, a query every visible
/// ASCII character except `" # < >`: browsers leave those unescaped. A `%` need not be followed by
/// two digits; the decoder decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'b> {
    /// The path, which starts with `/`; or `*`, for `OPTIONS *` and for CONNECT, which has no path.
    pub path: &'b [u8],
    /// The query: all behind the first `?`.
    pub query: Option<&'b [u8]>,
}

impl<'b> RequestTarget<'b> {
    /// Reads the origin-form, `/path?query`; `None` when it does not start with `/` or has a
    /// character that is not allowed.
    #[must_use]
    pub fn from_origin_form(bytes: &'b [u8]) -> Option<RequestTarget<'b>> {
        if bytes.first() != Some(&b'/') {
            return None;
        }
        RequestTarget::split(bytes)
    }

    /// Splits at the first `?` and checks the characters of both parts.
    pub(crate) fn split(bytes: &'b [u8]) -> Option<RequestTarget<'b>> {
        // A path has no `?`, so the first character that is not of a path is either the `?` or a
        // fault.
        let end = bytes.iter().position(|&byte| !chars::is(byte, chars::PATH)).unwrap_or(bytes.len());
        let (path, rest) = bytes.split_at(end);
        match rest {
            [] => Some(RequestTarget { path, query: None }),
            [b'?', query @ ..] if chars::all(query, chars::QUERY) => {
                Some(RequestTarget { path, query: Some(query) })
            }
            _ => None,
        }
    }
}

/// A request as all versions of HTTP see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request<'b> {
    /// The method.
    pub method: Method,
    /// The name of a method that is [`Method::Unknown`], as it was sent; else empty.
    pub method_name: &'b [u8],
    /// The path and query.
    pub target: RequestTarget<'b>,
    /// Host and optional port that the client asked for, syntactically valid: from an absolute-form
    /// target, or else from Host (RFC 9112 §3.3). `None` when the client named none, as in HTTP/1.0
    /// or with an empty Host.
    pub authority: Option<&'b [u8]>,
    /// The recognized field lines.
    pub fields: Fields<'b>,
}

impl<'b> Request<'b> {
    /// Returns a request without authority and fields.
    #[must_use]
    pub const fn new(method: Method, target: RequestTarget<'b>) -> Request<'b> {
        Request { method, method_name: b"", target, authority: None, fields: Fields::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive_tokens() {
        assert_eq!(Method::from_token(b"GET"), Some(Method::Get));
        assert_eq!(Method::from_token(b"get"), Some(Method::Unknown));
        assert_eq!(Method::from_token(b"PATCH"), Some(Method::Patch));
        assert_eq!(Method::from_token(b"M-SEARCH"), Some(Method::Unknown));
        assert_eq!(Method::from_token(b""), None);
        assert_eq!(Method::from_token(b"GE(T"), None);
        assert_eq!(Method::from_token(b"GET\0"), None);
    }

    #[test]
    fn status_lines() {
        assert_eq!(Status::OK.line_and_date_name(), b"HTTP/1.1 200 OK\r\nDate: ");
        assert_eq!(Status::URI_TOO_LONG.line_and_date_name(), b"HTTP/1.1 414 URI Too Long\r\nDate: ");
        assert_eq!(Status::GONE.as_line(), b"410 Gone\n");
        assert_eq!(Status::from_code(308), Some(Status::PERMANENT_REDIRECT));
        assert_eq!(Status::from_code(299), None);
        assert_eq!((Status::NOT_FOUND.code(), Status::NOT_FOUND.reason()), (404, "Not Found"));
    }

    #[test]
    fn targets() {
        let target = |bytes| RequestTarget::from_origin_form(bytes).map(|target| (target.path, target.query));
        assert_eq!(target(b"/"), Some((&b"/"[..], None)));
        assert_eq!(target(b"/a/b%20c?d=e?f"), Some((&b"/a/b%20c"[..], Some(&b"d=e?f"[..]))));
        assert_eq!(target(b"/a?"), Some((&b"/a"[..], Some(&b""[..]))));
        assert_eq!(target(b"//host/x"), Some((&b"//host/x"[..], None)));
        assert_eq!(target(b"/[a]|^?{b}`\\"), Some((&b"/[a]|^"[..], Some(&b"{b}`\\"[..]))));
        for bad in [
            &b""[..],
            b"*",
            b"a",
            b"?a",
            b"/a#b",
            b"/a?b#c",
            b"/a b",
            b"/a\tb",
            b"/\"",
            b"/<>",
            b"/\\",
            b"/{",
            b"/\x7f",
            b"/\x80",
            b"/caf\xc3\xa9",
            b"/a?\xc3\xa9",
            b"/a?\"",
            b"/a\0",
        ] {
            assert_eq!(target(bad), None, "{}", bad.escape_ascii());
        }
    }
}
