//! Requests and answers (RFC 9113 §8): malformed ones are errors of their stream (§8.1.1), never of
//! the connection.

use crate::lab::*;
use sitar_http::h2::{ErrorCode, Limits, ResponseHead, field_block};
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
    // §8.3: none behind a field, none that is for answers, none that is unknown; :protocol (RFC
    // 8441) was not offered
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
    // §8.2, §8.2.1: names are tokens in lower case, values have no control characters and no space
    // at their ends
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
    // Not malformed, but more than this server takes, or nothing that it can do; the same answers
    // as in HTTP/1.
    let rejected = |block: &[u8]| asked(block).rejection.map(|rejection| rejection.status.code());
    assert_eq!(rejected(&with(GET, &[("expect", "tea")])), Some(417));
    assert_eq!(rejected(&with(GET, &[("expect", "100-continue")])), None);
    assert_eq!(rejected(&with(b"\x82\x84\x41\x01a", &[(":scheme", "gopher")])), Some(421));
    let host = [("range", "bytes=0-1"); 17];
    assert_eq!(rejected(&with(GET, &host)), Some(431), "more recognized lines than are kept");
    assert_eq!(rejected(&with(GET, &[("x", "y"); 100])), Some(431), "101 fields");
    assert_eq!(rejected(&with(GET, &[("x", "y"); 99])), None, "as many as in HTTP/1 beside Host");
    // A path of 8,193 bytes: 0x7f 0x82 0x3f
    let long = [&b"\x82\x87\x41\x01a\x04\x7f\x82\x3f/"[..], &[b'x'; 8192]].concat();
    assert_eq!(rejected(&long), Some(414));
    // §6.5.2, §10.5.1: a list of more than 16 KiB, and the block that made it keeps the table in
    // step
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
    let fields = field_block(b"Vary: Accept-Encoding\r\n");
    let mut answer = ResponseHead {
        status: Status::OK,
        date: &date::write_imf(784_111_777),
        block: &fields,
        fields: &[b"X-Two: 2\r\n"],
        content_length: Some(5),
    };
    // RFC 7541 §6.3: the first block says that the table is empty; then :status 200, date,
    // content-length 5.
    let mut out = [0; 512];
    let len = lab.connection.respond_now(&mut lab.shared, 1, &answer, b"hello", &mut out).unwrap();
    let head =
        b"\x00\x00\x41\x01\x04\x00\x00\x00\x01\x20\x88\x0f\x12\x1dSun, 06 Nov 1994 08:49:37 GMT\x0f\x0d\x015";
    let fields = b"\x0f\x2c\x0fAccept-Encoding\x00\x05x-two\x012";
    let data = b"\x00\x00\x05\x00\x01\x00\x00\x00\x01hello";
    assert_eq!(
        out[..len].escape_ascii().to_string(),
        [&head[..], fields, data].concat().escape_ascii().to_string()
    );

    // Without content END_STREAM is on the head (§8.1): 304, HEAD.
    answer = ResponseHead {
        status: Status::NOT_MODIFIED,
        block: b"",
        fields: &[],
        content_length: None,
        ..answer
    };
    let len = lab.connection.respond_now(&mut lab.shared, 3, &answer, b"", &mut out).unwrap();
    assert_eq!(
        &out[..len],
        b"\x00\x00\x21\x01\x05\x00\x00\x00\x03\x8b\x0f\x12\x1dSun, 06 Nov 1994 08:49:37 GMT"
    );
    answer = ResponseHead { status: Status::URI_TOO_LONG, content_length: Some(1_000_000), ..answer };
    lab.connection.respond_without_content(&mut lab.shared, 5, &answer);
    let sent = lab.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].flags, WHOLE);
    assert_eq!(crate::lab::head(&sent[0])[0], (":status".into(), "414".into()));
    assert_eq!(crate::lab::head(&sent[0])[2], ("content-length".into(), "1000000".into()));

    // No room, and it is as if nothing had been tried.
    assert_eq!(lab.connection.respond_now(&mut lab.shared, 7, &answer, b"hello", &mut out[..100]), None);
    assert!(lab.connection.respond_now(&mut lab.shared, 7, &answer, b"hello", &mut out).is_some());
    assert_eq!(
        lab.connection.respond_now(&mut lab.shared, 7, &answer, b"hello", &mut out),
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
    // A block of more than 64 KiB, seen before it is there.
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_STREAM, 1, &[0x82; 16_000]));
    (0..3).for_each(|_| lab.feed(&frame(CONTINUATION, 0, 1, &[0x82; 16_000])));
    assert_eq!(lab.sent(), []);
    lab.feed(&frame(CONTINUATION, END_HEADERS, 1, &[0x82; 1537])[..9]);
    assert_eq!(lab.failure(), Some(calm as u32));
    // One of less that comes to a list of more than 256 KiB, as §6.5.2 counts: 167 for GET, 6,033,
    // and 38 for each `cookie` without a value.
    let block = |cookies: usize| {
        let x = [b"\0\x01x\x7f\xf1\x2d", &[b'x'; 6000][..]].concat();
        [GET, &x, &vec![0xa0; cookies]].concat()
    };
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, WHOLE, 1, &block(6735)));
    assert_eq!(lab.asked()[0].rejection.map(|rejection| rejection.status.code()), Some(431));
    ends_connection(&frame(HEADERS, WHOLE, 1, &block(6736)), calm);
    // A smaller limit of the operator's.
    let mut lab = Lab::with(&Limits { list: 20, ..Limits::default() }, &[]);
    lab.feed(&get(1));
    assert_eq!(lab.asked()[0].rejection.map(|rejection| rejection.status.code()), Some(431));
}

/// `fields` behind a GET, as literals of any length, in as many frames as that takes.
fn long(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = GET.to_vec();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // RFC 7541 §5.1, with a prefix of 7 bits.
            match text.len() {
                len @ ..127 => block.push(len as u8),
                len => {
                    block.push(0x7f);
                    let mut rest = len - 127;
                    while rest >= 128 {
                        block.push(0x80 | (rest & 0x7f) as u8);
                        rest >>= 7;
                    }
                    block.push(rest as u8);
                }
            }
            block.extend(text.as_bytes());
        }
    }
    let mut pieces = block.chunks(16_384);
    let count = pieces.len();
    let mut wire = Vec::new();
    for nth in 0..count {
        let (kind, first) = if nth == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        let last = if nth + 1 == count { END_HEADERS } else { 0 };
        wire.extend(frame(kind, first | last, stream, pieces.next().unwrap()));
    }
    wire
}

fn status_of(wire: &[u8]) -> Option<u16> {
    let mut lab = Lab::new();
    lab.feed(wire);
    assert_eq!(lab.connection.error(), None);
    lab.asked()[0].rejection.map(|rejection| rejection.status.code())
}

#[test]
fn cookies_count_as_the_one_line_that_they_are() {
    // RFC 9113 §8.2.3: browsers cut Cookie into its parts.
    let fifteen: Vec<_> = (b'a'..b'p').map(|name| (name as char).to_string()).collect();
    let list = |crumbs: usize, crumb: &'static str| {
        let mut list: Vec<_> = fifteen.iter().map(|name| (&name[..], "x")).collect();
        list.resize(15 + crumbs, ("cookie", crumb));
        list
    };
    assert_eq!(status_of(&long(1, &list(82, "c=v"))), None);
    assert_eq!(status_of(&long(1, &list(1000, "c=v"))), None);
    // As the head of HTTP/1: `GET`, `https`, `/`, `a`, each and 4 bytes, 15 lines of 6 bytes,
    // `cookie: c=v` CR LF, and `; c=v` for each other part.
    let head = 7 + 9 + 5 + 5 + 15 * 6 + 13;
    let crumbs = (16_384 - head) / 5;
    assert_eq!(status_of(&long(1, &list(1 + crumbs, "c=v"))), None);
    assert_eq!(status_of(&long(1, &list(2 + crumbs, "c=v"))), Some(431));
    // Other fields are counted one by one, wherever the cookies stand.
    let mut many = list(50, "c=v");
    many.extend([("x", "y"); 83]);
    assert_eq!(status_of(&long(1, &many)), None, ":authority and 15 and 83 and one");
    many.push(("x", "y"));
    assert_eq!(status_of(&long(1, &many)), Some(431));
}

#[test]
fn a_list_is_as_long_as_the_same_head_of_http_1() {
    // `GET`, `https`, `/`, `a` and `cookie`, each and 4 bytes: 36.
    let cookie = "c".repeat(16_384 - 36);
    assert_eq!(status_of(&long(1, &[("cookie", &cookie)])), None);
    assert_eq!(status_of(&long(1, &[("cookie", &format!("{cookie}c"))])), Some(431));
    // A path beyond 8 KiB is 414 as there, and not 431, also when it alone is too long for the
    // list.
    let block = |len: usize| {
        let path = [&b"/"[..], &vec![b'x'; len - 1]].concat();
        // 127 and more: three bytes, of which the last two hold 14 bits.
        let rest = len - 127;
        let len = [0x7f, 0x80 | (rest & 0x7f) as u8, (rest >> 7) as u8];
        [&b"\x82\x87\x41\x01a\x04"[..], &len, &path].concat()
    };
    assert_eq!(status_of(&frame(HEADERS, WHOLE, 1, &block(8192))), None);
    assert_eq!(status_of(&frame(HEADERS, WHOLE, 1, &block(8193))), Some(414));
    let long = block(16_400);
    let wire =
        [frame(HEADERS, END_STREAM, 1, &long[..9000]), frame(CONTINUATION, END_HEADERS, 1, &long[9000..])];
    assert_eq!(status_of(&wire.concat()), Some(414));
}

#[test]
fn an_oversized_header_block_costs_one_stream() {
    // A cookie of 24 KB, of 60 KB, in whole frames and byte by byte, beside a stream in flight,
    // many times.
    for size in [17_000, 24_000, 60_000] {
        let cookie = "c".repeat(size);
        for step in [1, 4096, 100_000] {
            let mut lab = Lab::with(&Limits::default(), &[(4, 1 << 30)]);
            lab.feed(&get(1));
            lab.answer(1, 30_000);
            for nth in 1..if step == 1 { 3 } else { 40 } {
                long(2 * nth + 1, &[("cookie", &cookie)]).chunks(step).for_each(|piece| lab.feed(piece));
                let asked = lab.asked();
                let last = asked.last().unwrap();
                assert_eq!(last.stream, 2 * nth + 1);
                assert_eq!(last.rejection.map(|rejection| rejection.status.code()), Some(431));
                lab.answer(last.stream, 0);
            }
            assert_eq!(lab.connection.error(), None, "{size} in {step}");
            let sent = lab.sent();
            let content: usize =
                sent.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len()).sum();
            assert_eq!(content, 30_000);
            assert!(lab.is_well(1001));
        }
    }
    // What it says of the table is kept: an entry that it adds can be named afterwards.
    let mut lab = Lab::new();
    let cookie = "c".repeat(15_000);
    let mut block = [GET, b"\x40\x01n\x01v"].concat();
    for _ in 0..2 {
        // Cookie, which the static table has as 32: not indexed, 15,000 bytes.
        block.extend([0x0f, 0x11, 0x7f, 0x99, 0x74]);
        block.extend(cookie.as_bytes());
    }
    lab.feed(&frame(HEADERS, END_STREAM, 1, &block[..16_000]));
    lab.feed(&frame(CONTINUATION, END_HEADERS, 1, &block[16_000..]));
    assert_eq!(lab.asked()[0].rejection.map(|rejection| rejection.status.code()), Some(431));
    lab.feed(&frame(HEADERS, WHOLE, 3, &[GET, b"\xbf"].concat()));
    assert_eq!(lab.asked()[0].rejection, None, "the entry is there");
    // Trailers are thrown away, however long, behind an answer and before it.
    let mut lab = Lab::new();
    for (stream, answered) in [(1, false), (3, true)] {
        lab.feed(&frame(HEADERS, END_HEADERS, stream, POST));
        if answered {
            lab.answer(stream, 0);
        }
        let wire = long(stream, &[("x", &cookie), ("y", &cookie)]);
        // Without the four pseudo-header fields, which have no place in trailers.
        let (len, rest) = (16_384 - GET.len(), wire.len() - 9 - 16_384);
        lab.feed(&frame(HEADERS, END_STREAM, stream, &wire[9 + GET.len()..][..len]));
        lab.feed(&wire[wire.len() - rest..]);
        if !answered {
            lab.answer(stream, 0);
        }
        let kinds: Vec<_> = lab.sent().iter().map(|frame| (frame.kind, frame.stream)).collect();
        assert_eq!(kinds, [(HEADERS, stream)]);
    }
    assert!(lab.is_well(1001));
}

#[test]
fn an_authority_may_name_the_port_of_its_scheme() {
    let block = |scheme: u8, authority: &str, host: &str| {
        with(&[0x82, scheme, 0x84], &[(":authority", authority), ("host", host)])
    };
    const HTTP: u8 = 0x86;
    const HTTPS: u8 = 0x87;
    for (scheme, authority, host) in [
        (HTTP, "localhost:80", "localhost"),
        (HTTP, "localhost", "localhost:80"),
        (HTTPS, "localhost:443", "localhost"),
        (HTTPS, "localhost", "localhost:443"),
        (HTTPS, "localhost:", "LOCALHOST:443"),
        (HTTPS, "[::1]:443", "[::1]"),
        (HTTPS, "localhost:8443", "localhost:8443"),
    ] {
        let asked = asked(&block(scheme, authority, host));
        assert_eq!(asked.authority.as_deref(), Some(authority.as_bytes()));
    }
    for (scheme, authority, host) in [
        (HTTP, "localhost:443", "localhost"),
        (HTTPS, "localhost:80", "localhost"),
        (HTTPS, "localhost:443", "localhost:8443"),
        (HTTPS, "localhost:443", "other"),
        (HTTPS, "localhost", ""),
        (HTTPS, "localhost:443", "local"),
    ] {
        malformed(&block(scheme, authority, host));
    }
}

#[test]
fn a_head_as_large_as_any_answer_may_have_is_one_frame() {
    // Every line as much longer in HTTP/2 as one can be: names and values of 127 bytes, without a
    // space.
    let line = [&[b'n'; 127][..], b":", &[b'v'; 127], b"\r\n"].concat();
    let mut lines = line.repeat(sitar_http::FIELDS_MAX / line.len());
    lines.extend(b"x:");
    lines.resize(sitar_http::FIELDS_MAX - 2, b'y');
    lines.extend(b"\r\n");
    assert_eq!(lines.len(), 16_128);
    let date = date::write_imf(784_111_777);
    let encoded = field_block(&lines);
    for (block, fields) in [(&encoded[..], &[][..]), (b"", &[&lines[..]][..])] {
        let answer = ResponseHead {
            status: Status::URI_TOO_LONG,
            date: &date,
            block,
            fields,
            content_length: Some(u64::MAX),
        };
        for at_once in [true, false] {
            let mut lab = Lab::new();
            lab.feed(&get(1));
            let mut out = vec![0; 17_000];
            let wire = if at_once {
                let len = lab.connection.respond_now(&mut lab.shared, 1, &answer, b"", &mut out);
                out[..len.unwrap()].to_vec()
            } else {
                lab.connection.respond_without_content(&mut lab.shared, 1, &answer);
                lab.sent_bytes()
            };
            let frames = frames(&wire);
            assert_eq!((frames.len(), frames[0].kind, frames[0].flags), (1, HEADERS, WHOLE));
            assert!(frames[0].payload.len() > 16_128 + 62 && frames[0].payload.len() <= 16_384);
            assert_eq!(head(&frames[0]).len(), 3 + 62 + 1);
        }
    }
}
