//! Requests and answers (RFC 9113 §8): malformed ones are errors of their stream (§8.1.1), never of the connection.

use crate::lab::*;
use sitar_http::h2::{Answer, ErrorCode, Limits, block};
use sitar_http::{Status, date};

fn malformed(block: &[u8]) {
    ends_stream(&frame(HEADERS, WHOLE, 1, block), 1, ErrorCode::ProtocolError);
}

fn asked(block: &[u8]) -> Asked {
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, WHOLE, 1, block));
    let mut asked = lab.asked();
    assert_eq!(asked.len(), 1, "{}", block.escape_ascii());
    asked.remove(0)
}

#[test]
fn a_request_in_any_pieces() {
    // §6.2, §6.10: padded, with a priority (§5.3.2: ignored), and in three frames
    let whole = [&[3, 0x80, 0, 0, 0, 200][..], GET, &[0; 3]].concat();
    for wire in [
        get(1),
        frame(HEADERS, WHOLE | PADDED | WITH_PRIORITY, 1, &whole),
        [
            frame(HEADERS, END_STREAM, 1, &GET[..1]),
            frame(CONTINUATION, 0, 1, &GET[1..5]),
            frame(CONTINUATION, END_HEADERS, 1, &GET[5..]),
        ]
        .concat(),
    ] {
        for step in [1, 2, 10, wire.len()] {
            let mut lab = Lab::new();
            wire.chunks(step).for_each(|piece| lab.feed(piece));
            let authority = Some(b"a".to_vec());
            assert_eq!(lab.asked(), [Asked { stream: 1, path: b"/".to_vec(), authority, rejection: None }]);
        }
    }
}

#[test]
fn pseudo_header_fields() {
    // §8.3.1: each of :method, :scheme, :path once
    malformed(b"\x87\x84\x41\x01a");
    malformed(b"\x82\x84\x41\x01a");
    malformed(b"\x82\x87\x41\x01a");
    malformed(b"\x82\x82\x87\x84\x41\x01a");
    malformed(b"\x82\x87\x87\x84\x41\x01a");
    malformed(b"\x82\x87\x84\x84\x41\x01a");
    malformed(b"\x82\x87\x84\x41\x01a\x41\x01a");
    // §8.3: none behind a field, none that is for answers, none that is unknown; :protocol (RFC 8441) was not offered
    malformed(&[&with(b"\x82\x87\x84", &[("accept", "*/*")])[..], b"\x41\x01a"].concat());
    malformed(&[GET, b"\x88"].concat());
    malformed(&with(GET, &[(":foo", "x")]));
    malformed(&with(GET, &[(":protocol", "websocket")]));
    malformed(&with(GET, &[(":", "x")]));
    // §8.3.1: a method is a token, :path is not empty and begins with a slash (or is * for OPTIONS)
    malformed(&with(b"\x87\x84\x41\x01a", &[(":method", "G T")]));
    malformed(&with(b"\x87\x84\x41\x01a", &[(":method", "")]));
    for path in ["", "x", "*", "/a b", "/a#b", "http://a/", "/\u{e9}"] {
        malformed(&with(b"\x82\x87\x41\x01a", &[(":path", path)]));
    }
    for scheme in ["", "1http", "ht tp"] {
        malformed(&with(b"\x82\x84\x41\x01a", &[(":scheme", scheme)]));
    }
    let options = with(b"\x87\x41\x01a", &[(":method", "OPTIONS"), (":path", "*")]);
    assert_eq!(asked(&options).path, b"*");
    assert_eq!(asked(&with(b"\x82\x87\x41\x01a", &[(":path", "/x?y")])).path, b"/x");
}

#[test]
fn authorities() {
    // §8.3.1: :authority or Host; if both, the same; neither empty nor with user information
    let none = b"\x82\x87\x84";
    malformed(none);
    malformed(&with(none, &[(":authority", "")]));
    malformed(&with(none, &[(":authority", "u@a")]));
    malformed(&with(none, &[(":authority", "a b")]));
    malformed(&with(none, &[("host", "")]));
    malformed(&with(none, &[("host", "a"), ("host", "b")]));
    malformed(&with(GET, &[("host", "b")]));
    assert_eq!(asked(&with(GET, &[("host", "A")])).authority.as_deref(), Some(&b"a"[..]));
    assert_eq!(asked(&with(none, &[("host", "b:8443")])).authority.as_deref(), Some(&b"b:8443"[..]));
}

#[test]
fn connect() {
    // §8.5: :method and :authority only; what becomes of it is not decided here
    let method = |fields: &[(&str, &str)]| with(b"", &[&[(":method", "CONNECT")], fields].concat());
    assert_eq!(asked(&method(&[(":authority", "a:443")])).path, b"*");
    malformed(&method(&[(":authority", "a:443"), (":path", "/")]));
    malformed(&method(&[(":authority", "a:443"), (":scheme", "https")]));
    malformed(&method(&[(":authority", "a")]));
    malformed(&method(&[]));
}

#[test]
fn fields() {
    // §8.2, §8.2.1: names are tokens in lower case, values have no control characters and no space at their ends
    for (name, value) in [
        ("Accept", "x"),
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("a\0", "x"),
        ("caf\u{e9}", "x"),
        ("a", "x\0"),
        ("a", "x\r"),
        ("a", "x\ny"),
        ("a", "\u{7f}"),
        ("a", " x"),
        ("a", "x "),
        ("a", "\tx"),
        ("a", "x\t"),
        // §8.2.2: fields of the connection
        ("connection", "close"),
        ("proxy-connection", "x"),
        ("keep-alive", "5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        // RFC 9110 §8.6
        ("content-length", "x"),
        ("content-length", ""),
        ("content-length", "-1"),
        ("content-length", "18446744073709551616"),
    ] {
        malformed(&with(GET, &[(name, value)]));
    }
    malformed(&with(GET, &[("content-length", "0"), ("content-length", "0")]));
    // What is allowed
    let odd = [("te", "trailers"), ("a", ""), ("a", "x\ty"), ("a", "caf\u{e9}"), ("!#$%&'*+-.^_`|~9", "x")];
    assert_eq!(asked(&with(GET, &odd)).rejection, None);
}

#[test]
fn the_length_of_content() {
    // §8.1.1: Content-Length and what came must agree
    let protocol = ErrorCode::ProtocolError;
    let post = |length: &str| frame(HEADERS, END_HEADERS, 1, &with(POST, &[("content-length", length)]));
    ends_stream(&frame(HEADERS, WHOLE, 1, &with(POST, &[("content-length", "1")])), 1, protocol);
    ends_stream(&[post("3"), frame(DATA, END_STREAM, 1, b"12")].concat(), 1, protocol);
    ends_stream(&[post("3"), frame(DATA, 0, 1, b"1234")].concat(), 1, protocol);
    ends_stream(&[post("3"), frame(DATA, END_STREAM, 1, b"1234")].concat(), 1, protocol);
    ends_stream(
        &[post("3"), frame(DATA, 0, 1, b"12"), frame(HEADERS, WHOLE, 1, &with(b"", &[("t", "1")]))].concat(),
        1,
        protocol,
    );
    let mut lab = Lab::new();
    lab.feed(&[post("3"), frame(DATA, 0, 1, b"123"), frame(DATA, END_STREAM, 1, b"")].concat());
    assert_eq!(lab.sent(), []);
}

#[test]
fn requests_that_are_refused_with_an_answer() {
    // Not malformed, but more than this server takes, or nothing that it can do; the same answers as in HTTP/1.
    let rejected = |block: &[u8]| asked(block).rejection.map(|rejection| rejection.status.code());
    assert_eq!(rejected(&with(GET, &[("expect", "tea")])), Some(417));
    assert_eq!(rejected(&with(GET, &[("expect", "100-continue")])), None);
    assert_eq!(rejected(&with(b"\x82\x84\x41\x01a", &[(":scheme", "gopher")])), Some(421));
    let host = [("range", "bytes=0-1"); 17];
    assert_eq!(rejected(&with(GET, &host)), Some(431), "more recognized lines than are kept");
    assert_eq!(rejected(&with(GET, &[("x", "y"); 97])), Some(431), "101 fields");
    assert_eq!(rejected(&with(GET, &[("x", "y"); 96])), None);
    // A path of 8,193 bytes: 0x7f 0x82 0x3f
    let long = [&b"\x82\x87\x41\x01a\x04\x7f\x82\x3f/"[..], &[b'x'; 8192]].concat();
    assert_eq!(rejected(&long), Some(414));
    // §6.5.2, §10.5.1: a list of more than 16 KiB, and the block that made it keeps the table in step
    let mut big = with(GET, &[]);
    big.extend(b"\x40\x01n\x7f\xa1\x1e");
    big.extend([b'v'; 4000]);
    big.extend([0xbe; 4]);
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, WHOLE, 1, &big));
    assert_eq!(lab.asked()[0].rejection.map(|rejection| rejection.status.code()), Some(431));
    lab.feed(&frame(HEADERS, WHOLE, 3, &[GET, b"\xbf"].concat()));
    assert_eq!(lab.asked()[0].rejection, None, "the entry is there");
}

#[test]
fn the_bytes_of_an_answer() {
    let mut lab = Lab::new();
    lab.feed(&[get(1), get(3), get(5), get(7)].concat());
    let fields = block(b"Vary: Accept-Encoding\r\n");
    let mut answer = Answer {
        status: Status::OK,
        date: &date::write_imf(784_111_777),
        block: &fields,
        fields: &[b"X-Two: 2\r\n"],
        content_length: Some(5),
    };
    // RFC 7541 §6.3: the first block says that the table is empty; then :status 200, date, content-length 5.
    let mut out = [0; 512];
    let len = lab.connection.answer_now(&mut lab.shared, 1, &answer, b"hello", &mut out).unwrap();
    let head =
        b"\x00\x00\x41\x01\x04\x00\x00\x00\x01\x20\x88\x0f\x12\x1dSun, 06 Nov 1994 08:49:37 GMT\x0f\x0d\x015";
    let fields = b"\x0f\x2c\x0fAccept-Encoding\x00\x05x-two\x012";
    let data = b"\x00\x00\x05\x00\x01\x00\x00\x00\x01hello";
    assert_eq!(
        out[..len].escape_ascii().to_string(),
        [&head[..], fields, data].concat().escape_ascii().to_string()
    );

    // Without content END_STREAM is on the head (§8.1): 304, HEAD.
    answer = Answer { status: Status::NOT_MODIFIED, block: b"", fields: &[], content_length: None, ..answer };
    let len = lab.connection.answer_now(&mut lab.shared, 3, &answer, b"", &mut out).unwrap();
    assert_eq!(
        &out[..len],
        b"\x00\x00\x21\x01\x05\x00\x00\x00\x03\x8b\x0f\x12\x1dSun, 06 Nov 1994 08:49:37 GMT"
    );
    answer = Answer { status: Status::URI_TOO_LONG, content_length: Some(1_000_000), ..answer };
    lab.connection.answer_empty(&mut lab.shared, 5, &answer);
    let sent = lab.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].flags, WHOLE);
    assert_eq!(crate::lab::head(&sent[0])[0], (":status".into(), "414".into()));
    assert_eq!(crate::lab::head(&sent[0])[2], ("content-length".into(), "1000000".into()));

    // No room, and it is as if nothing had been tried.
    assert_eq!(lab.connection.answer_now(&mut lab.shared, 7, &answer, b"hello", &mut out[..100]), None);
    assert!(lab.connection.answer_now(&mut lab.shared, 7, &answer, b"hello", &mut out).is_some());
    assert_eq!(
        lab.connection.answer_now(&mut lab.shared, 7, &answer, b"hello", &mut out),
        None,
        "it has its answer"
    );
}

#[test]
fn limits_of_a_block() {
    let calm = ErrorCode::EnhanceYourCalm;
    // §10.5.1: twice the list that is allowed is no request any more.
    let mut bomb = with(GET, &[]);
    bomb.extend(b"\x40\x01n\x7f\xa1\x1e");
    bomb.extend([b'v'; 4000]);
    bomb.extend([0xbe; 9]);
    ends_connection(&frame(HEADERS, WHOLE, 1, &bomb), calm);
    // A block of more than 16 KiB, seen before it is there.
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_STREAM, 1, &[0x82; 16_000]));
    assert_eq!(lab.sent(), []);
    lab.feed(&frame(CONTINUATION, END_HEADERS, 1, &[0x82; 500])[..9]);
    assert_eq!(lab.failure(), Some(calm as u32));
    // A smaller limit of the operator's.
    let mut lab = Lab::with(&Limits { list: 100, ..Limits::default() }, &[]);
    lab.feed(&get(1));
    assert_eq!(lab.asked()[0].rejection.map(|rejection| rejection.status.code()), Some(431));
}
