use super::*;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits { head: 16_384, target: 8_192, fields: 100, body: 65_536 }
}

/// A head in one line of text.
fn show(head: &RequestHead<'_>) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let query = head.request.target.query.map_or(String::new(), |query| format!("?{}", text(query)));
    let authority = head.request.authority.map_or("-".to_owned(), text);
    let version = if head.version == Version::Http10 { "1.0" } else { "1.1" };
    let keep = if head.keep_alive { "keep" } else { "close" };
    let expect = if head.expect_continue { " expect" } else { "" };
    format!(
        "{:?} {}{query} {authority} {version} {:?} {keep}{expect}",
        head.request.method,
        text(head.request.target.path),
        head.body
    )
}

fn outcome(wire: &[u8]) -> Result<String, u16> {
    match parse(wire, &limits()) {
        Ok(Some(head)) => Ok(show(&head)),
        Ok(None) => Ok("more".to_owned()),
        Err(rejection) => Err(rejection.status.code()),
    }
}

/// Feeds the bytes one at a time: returns the outcome, and after how many bytes.
fn one_by_one<'b>(wire: &'b [u8], limits: &Limits) -> (Result<Option<RequestHead<'b>>, Rejection>, usize) {
    let mut scanned = 0;
    for end in 1..=wire.len() {
        match parse_from(&wire[..end], scanned, limits) {
            Ok(None) => scanned = end,
            done => return (done, end),
        }
    }
    (Ok(None), wire.len())
}

const ACCEPTED: &[(&[u8], &str)] = &[
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "Get / a 1.1 None keep"),
    (b"HEAD /x HTTP/1.1\r\nHost:a\r\n\r\n", "Head /x a 1.1 None keep"),
    (b"GET /x?y=z HTTP/1.1\r\nhOST: \t a:8443 \t\r\n\r\n", "Get /x?y=z a:8443 1.1 None keep"),
    (b"GET /%41/../b HTTP/1.1\r\nHost: [::1]:1\r\n\r\n", "Get /%41/../b [::1]:1 1.1 None keep"),
    (b"GET //x HTTP/1.1\r\nHost: a\r\n\r\n", "Get //x a 1.1 None keep"),
    // RFC 9112 §2.2: one empty line before the request
    (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "Get / a 1.1 None keep"),
    // RFC 9112 §3.2: an empty Host names no host
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "Get / - 1.1 None keep"),
    // HTTP/1.0 needs no Host, and closes unless asked not to
    (b"GET / HTTP/1.0\r\n\r\n", "Get / - 1.0 None close"),
    (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "Get / - 1.0 None keep"),
    (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "Get / - 1.0 None close"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "Get / a 1.1 None close"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: te , CLOSE\r\n\r\n", "Get / a 1.1 None close"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-close\r\n\r\n", "Get / a 1.1 None keep"),
    // RFC 9110 §2.5: higher minor versions
    (b"GET / HTTP/1.7\r\nHost: a\r\n\r\n", "Get / a 1.1 None keep"),
    // RFC 9112 §3.2.2: absolute-form, whose authority replaces Host
    (b"GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "Get /x?y b 1.1 None keep"),
    (b"GET HTTPS://b:1 HTTP/1.1\r\nHost: a\r\n\r\n", "Get / b:1 1.1 None keep"),
    (b"GET https://b?q HTTP/1.1\r\nHost: a\r\n\r\n", "Get /?q b 1.1 None keep"),
    (b"GET http://b/ HTTP/1.0\r\n\r\n", "Get / b 1.0 None close"),
    // RFC 9112 §3.2.4: asterisk-form, also by way of a proxy
    (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "Options * a 1.1 None keep"),
    (b"OPTIONS http://b HTTP/1.1\r\nHost: b\r\n\r\n", "Options * b 1.1 None keep"),
    (b"OPTIONS http://b/ HTTP/1.1\r\nHost: b\r\n\r\n", "Options / b 1.1 None keep"),
    (b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", "Options / a 1.1 None keep"),
    // RFC 9112 §3.2.3: authority-form
    (b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", "Connect * b:443 1.1 None keep"),
    (b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", "Unknown /pot a 1.1 None keep"),
    (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "Unknown / a 1.1 None keep"),
    // RFC 9112 §6.3: bodies
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "Post / a 1.1 Length(5) keep"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\n", "Get / a 1.1 Length(5) keep"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "Post / a 1.1 None keep"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\r\n", "Post / a 1.1 None keep"),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "Post / a 1.1 Length(18446744073709551615) keep",
    ),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , Chunked\r\n\r\n", "Put / a 1.1 Chunked keep"),
    (b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "Post / - 1.0 None close"),
    // RFC 9110 §10.1.1: only where there is a body to wait for, and not in HTTP/1.0
    (
        b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
        "Put / a 1.1 Length(1) keep expect",
    ),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "Get / a 1.1 None keep"),
    (b"PUT / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", "Put / - 1.0 Length(1) close"),
    // values may be empty, hold tabs and bytes above 0x7f
    (b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX: a\tb\xff\r\n\r\n", "Get / a 1.1 None keep"),
];

const REJECTED: &[(&[u8], u16)] = &[
    // RFC 9112 §3: the request line
    (b"GET /\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET\r\n\r\n", 400),
    (b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    // RFC 9112 §2.2: more than one empty line before it, or one with a bare LF
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // RFC 9112 §2.3: the version
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    // RFC 9112 §3.2: the target
    (b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\\x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /<x> HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://b#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // RFC 9112 §3.2: Host
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET http://b/ HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    (b"GET http://b/ HTTP/1.1\r\nHost: a@\r\n\r\n", 400),
    // RFC 9112 §2.2: bare LF and bare CR
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // RFC 9112 §5: field lines
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n", 400),
    // RFC 9112 §6.3: Content-Length
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
    // RFC 9112 §6.1: Transfer-Encoding
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;x=y\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
    // RFC 1945 §8.3
    (b"POST / HTTP/1.0\r\n\r\n", 411),
    (b"PUT / HTTP/1.0\r\nHost: a\r\n\r\n", 411),
    // RFC 9110 §10.1.1
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, tea\r\n\r\n", 417),
];

#[test]
fn accepted() {
    for (wire, expected) in ACCEPTED {
        let text = wire.escape_ascii();
        assert_eq!(outcome(wire), Ok((*expected).to_owned()), "{text}");
        // Neither pieces nor a pipelined request change what is read.
        let whole = parse(wire, &limits()).unwrap().unwrap();
        assert_eq!(whole.len, wire.len(), "{text}");
        assert_eq!(one_by_one(wire, &limits()), (Ok(Some(whole)), wire.len()), "{text}");
        let pipelined = [wire, &b"\r\n\r\nrest"[..]].concat();
        assert_eq!(parse(&pipelined, &limits()), Ok(Some(whole)), "{text}");
        for end in 0..wire.len() {
            assert_eq!(parse(&wire[..end], &limits()), Ok(None), "{text} up to {end}");
        }
    }
}

#[test]
fn the_name_of_a_method_that_is_unknown_is_kept() {
    let name = |wire| parse(wire, &limits()).unwrap().unwrap().request.method_name;
    assert_eq!(name(b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"), b"BREW");
    assert_eq!(name(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), b"");
}

#[test]
fn rejected() {
    for (wire, status) in REJECTED {
        let text = wire.escape_ascii();
        assert_eq!(outcome(wire), Err(*status), "{text}");
        let (result, _) = one_by_one(wire, &limits());
        assert_eq!(result.map_err(|rejection| rejection.status.code()), Err(*status), "one by one: {text}");
    }
}

// What can never become a request is refused at its first impossible byte, not when the client has
// finished or gone.
#[test]
fn refused_early() {
    let cases: &[(&[u8], usize, u16)] = &[
        (b"\x16\x03\x01\x02\x00\x01", 1, 400),
        (b"SSH-2.0-x\r\n", 10, 400),
        (b"\0\0\0", 1, 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 15, 400),
        (b"GET / HTTP/3.0\r\nHost: a", 16, 505),
        (b"GET nowhere HTTP/1.1\r\nHost: a", 22, 400),
        (b"GET / HTTP/1.1\r\nHost: a\x01", 24, 400),
        (b"GET / HTTP/1.1\r\nHost: a\rb", 25, 400),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 33, 501),
        (b"\r\n\r\n\r\n", 4, 400),
    ];
    for (wire, after, status) in cases {
        let (result, end) = one_by_one(wire, &limits());
        let status_seen = result.map_err(|rejection| rejection.status.code());
        assert_eq!((status_seen, end), (Err(*status), *after), "{}", wire.escape_ascii());
        assert_eq!(outcome(wire), Err(*status), "{}", wire.escape_ascii());
    }
}

#[test]
fn limit_of_the_target() {
    let limits = Limits { target: 10, ..limits() };
    let status = |wire: &[u8]| {
        let whole =
            parse(wire, &limits).map(|head| head.is_some()).map_err(|rejection| rejection.status.code());
        let pieces = one_by_one(wire, &limits).0;
        assert_eq!(whole, pieces.map(|head| head.is_some()).map_err(|rejection| rejection.status.code()));
        whole
    };
    assert_eq!(status(b"GET /123456789 HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(true));
    assert_eq!(status(b"GET /123456789a HTTP/1.1\r\nHost: a\r\n\r\n"), Err(414));
    // and without waiting for the end of the line
    assert_eq!(status(&[b"GET /", &[b'a'; 100][..]].concat()), Err(414));
}

#[test]
fn limit_of_the_head() {
    let limits = Limits { head: 40, ..limits() };
    let fits = b"GET / HTTP/1.1\r\nHost: a\r\nX: 123456789\r\n\r\n";
    assert_eq!(fits.len(), 41);
    for wire in [&fits[..], &fits[..40], b"GET / HTTP/1.1\r\nHost: a\r\nX: 123456789012345678901234567890"] {
        let whole = parse(wire, &limits).map_err(|rejection| rejection.status.code());
        assert_eq!(whole, Err(431));
        assert_eq!(one_by_one(wire, &limits).0.map_err(|rejection| rejection.status.code()), Err(431));
        assert_eq!(one_by_one(wire, &limits).1, 40);
    }
    let limits = Limits { head: 41, ..limits };
    assert_eq!(parse(fits, &limits).unwrap().unwrap().len, 41);
    assert_eq!(one_by_one(fits, &limits).0.unwrap().unwrap().len, 41);
}

#[test]
fn limit_of_the_field_lines() {
    let request = |lines: usize| {
        let mut wire = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        wire.extend(std::iter::repeat_n(*b"X: y\r\n", lines - 1).flatten());
        wire.extend(b"\r\n");
        wire
    };
    assert!(outcome(&request(100)).is_ok());
    assert_eq!(outcome(&request(101)), Err(431));

    // Of the recognized ones, sixteen are kept.
    let request = |lines: usize| {
        let mut wire = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        wire.extend(std::iter::repeat_n(*b"If-Match: \"y\"\r\n", lines - 1).flatten());
        wire.extend(b"\r\n");
        wire
    };
    assert!(outcome(&request(16)).is_ok());
    assert_eq!(outcome(&request(17)), Err(431));
}

#[test]
fn recognized_fields_are_kept_in_order() {
    let wire = b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nX: y\r\nACCEPT-ENCODING:br \r\nRange: bytes=0-\r\n\r\n";
    let head = parse(wire, &limits()).unwrap().unwrap();
    let fields = &head.request.fields;
    assert_eq!(fields.all(Field::AcceptEncoding).collect::<Vec<_>>(), [&b"gzip"[..], b"br"]);
    assert_eq!(fields.get(Field::Range), Some(&b"bytes=0-"[..]));
    assert_eq!(fields.get(Field::Host), Some(&b"a"[..]));
    assert_eq!(fields.get(Field::IfRange), None);
}

/// Pieces of requests, so that random sequences come close to what is valid.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(&b"GET / HTTP/1.1\r\n"[..]),
        2 => Just(&b"Host: a\r\n"[..]),
        2 => Just(&b"\r\n"[..]),
        1 => Just(&b"POST /x?y HTTP/1.0\r\n"[..]),
        1 => Just(&b"OPTIONS * HTTP/1.1\r\n"[..]),
        1 => Just(&b"GET http://b/ HTTP/1.1\r\n"[..]),
        1 => Just(&b"Content-Length: 5\r\n"[..]),
        1 => Just(&b"Transfer-Encoding: chunked\r\n"[..]),
        1 => Just(&b"Transfer-Encoding: gzip, chunked\r\n"[..]),
        1 => Just(&b"Connection: close\r\n"[..]),
        1 => Just(&b"Expect: 100-continue\r\n"[..]),
        1 => Just(&b"X: a b\tc\r\n"[..]),
        1 => Just(&b" "[..]),
        1 => Just(&b":"[..]),
        1 => Just(&b"\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b"\x80"[..]),
        1 => Just(&b"\0"[..]),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn near_requests() -> impl Strategy<Value = Vec<u8>> {
    let table = (0..ACCEPTED.len() + REJECTED.len(), any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    let mutated = table.prop_map(|(which, at, byte, how)| {
        let wire = ACCEPTED.get(which).map_or_else(|| REJECTED[which - ACCEPTED.len()].0, |case| case.0);
        let mut wire = wire.to_vec();
        let at = at.index(wire.len());
        match how {
            0 => wire[at] = byte,
            1 => wire.insert(at, byte),
            _ => drop(wire.remove(at)),
        }
        wire
    });
    prop_oneof![pieces(), mutated, proptest::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // However the bytes arrive, the same request is accepted at the same place, or none is.
    #[test]
    fn pieces_are_read_like_the_whole(wire in near_requests(), small: bool) {
        let limits = if small { Limits { head: 64, target: 8, fields: 2, body: 10 } } else { limits() };
        let whole = parse(&wire, &limits);
        let (pieces, end) = one_by_one(&wire, &limits);
        match whole {
            Ok(Some(head)) => {
                prop_assert_eq!(pieces, Ok(Some(head)));
                prop_assert_eq!(end, head.len);
            }
            Ok(None) => prop_assert_eq!(pieces, Ok(None)),
            // Refused in pieces, or only missing what would show the fault.
            Err(_) => prop_assert!(!matches!(pieces, Ok(Some(_))), "{:?}", pieces),
        }
    }

    // An independent and more lenient parser has to agree with everything that is accepted.
    #[test]
    fn what_is_accepted_httparse_reads_alike(wire in near_requests()) {
        if let Ok(Some(head)) = parse(&wire, &limits()) {
            let mut headers = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut headers);
            // It knows no HTTP/1.2 and above.
            let mut patched = wire.clone();
            if let Some(at) = memchr::memmem::find(&patched, b" HTTP/1.") && patched[at + 8] > b'1' {
                patched[at + 8] = b'1';
            }
            let parsed = request.parse(&patched);
            prop_assert_eq!(parsed, Ok(httparse::Status::Complete(head.len)));
            prop_assert_eq!(request.version, Some(u8::from(head.version == Version::Http11)));
            let hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
            let hosts = hosts.map(|header| header.value.to_vec()).collect::<Vec<_>>();
            prop_assert!(hosts.len() <= 1);
            prop_assert_eq!(hosts.first().map(|host| &host[..]), head.request.fields.get(Field::Host));
            // Not one line end that is not CR LF.
            let bytes = &wire[..head.len];
            prop_assert_eq!(memchr::memchr_iter(b'\n', bytes).count(), memchr::memmem::find_iter(bytes, b"\r\n").count());
            prop_assert_eq!(memchr::memchr_iter(b'\r', bytes).count(), memchr::memmem::find_iter(bytes, b"\r\n").count());
        }
    }
}

#[test]
fn what_begins_a_request() {
    for (bytes, begins) in [
        (&b""[..], false),
        (b"\r", false),
        (b"\n", false),
        (b"\r\n", false),
        (b"\r\n\r", false),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", false),
        (b"\r\n\n", false),
        (b"\rG", false),
        (b"\nG", false),
        (b"G", true),
        (b"\r\nG", true),
        (b"\0", true),
    ] {
        assert_eq!(begins_request(bytes), begins, "{}", bytes.escape_ascii());
    }
    for (bytes, head) in [
        (&b"HEAD "[..], true),
        (b"\r\nHEAD / HTTP/1.1\r\n", true),
        (b"HEAD", false),
        (b"HEADS / HTTP/1.1\r\n", false),
        (b"head / HTTP/1.1\r\n", false),
        (b"GET / HTTP/1.1\r\n", false),
        (b"", false),
    ] {
        assert_eq!(is_head(bytes), head, "{}", bytes.escape_ascii());
    }
}
