//! Header lists that are near the limits, and what is still read of those beyond them.

use crate::lab::*;
use sitar_http::Method;
use sitar_http::h2::{Connection, ErrorCode, Limits, PREFACE, SharedBuffers};
use std::time::Instant;

/// A GET with one cookie that enters the dynamic table, and then that entry `count` times, one byte
/// each.
fn by_index(cookie: &str, count: usize) -> Vec<u8> {
    // RFC 7541 §6.2.1: Cookie is 32 in the static table. §2.3.3: the newest entry is 62.
    let cookie = [&[0x60, cookie.len() as u8], cookie.as_bytes()].concat();
    [GET, &cookie, &vec![0xbe; count]].concat()
}

fn status_of(block: &[u8]) -> Option<u16> {
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, WHOLE, 1, block));
    assert_eq!(lab.connection.error(), None);
    lab.asked()[0].rejection.map(|rejection| rejection.status.code())
}

#[test]
fn only_what_is_far_beyond_the_limit_is_a_bomb() {
    // As the head of HTTP/1: `GET`, `https`, `/`, `a`, each and 4 bytes, 26; 20 for `cookie:
    // sid=012345` CR LF, and 12 for each other part, with a semicolon and a space.
    assert_eq!(status_of(&by_index("sid=012345", 900)), None);
    assert_eq!(status_of(&by_index("sid=012345", 1361)), None, "26 + 20 + 1361 * 12 = 16,378");
    // The shortest: 26, 13, and 5 for each other part.
    assert_eq!(status_of(&by_index("a=b", 3000)), None);
    assert_eq!(status_of(&by_index("a=b", 3269)), None, "26 + 13 + 3269 * 5 = 16,384");
    // A little beyond it costs the stream, and more than twice as much the connection.
    assert_eq!(status_of(&by_index("sid=012345", 1362)), Some(431));
    assert_eq!(status_of(&by_index("a=b", 3270)), Some(431));
    assert_eq!(status_of(&by_index("sid=012345", 2726)), Some(431), "46 + 2726 * 12 = 32,758");
    let bomb = by_index("sid=012345", 2727);
    ends_connection(&frame(HEADERS, WHOLE, 1, &bomb), ErrorCode::EnhanceYourCalm);
}

#[test]
fn pseudo_header_fields_that_there_are_not_count_with_their_names() {
    // §8.3, RFC 7541 §6.2.1 and §6.1: a name of 4,000 bytes (0x7f and 3,873) enters the table, and
    // is named again, by index.
    let name = [b":", &[b'a'; 3999][..]].concat();
    for (again, times) in [(&[0xbe][..], 3_000), (&[0x0f, 0x2f, 0x00], 3_000), (&[0xbe], 50)] {
        let mut block = with(GET, &[]);
        block.extend([&[0x40, 0x7f, 0xa1, 0x1e][..], &name, &[0]].concat());
        block.extend(again.repeat(times));
        ends_connection(&frame(HEADERS, WHOLE, 1, &block), ErrorCode::EnhanceYourCalm);
    }
}

/// The method that a refused request is handed out with.
fn method_of(block: &[u8]) -> Method {
    let (mut shared, now) = (SharedBuffers::<Counting>::new(&Limits::default()), Instant::now());
    let mut connection = Connection::new(&Limits::default(), &mut shared, now);
    let mut wire = [PREFACE, &settings(&[])[..]].concat();
    for (nth, piece) in block.chunks(16_384).enumerate() {
        let (kind, first) = if nth == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        let last = if (nth + 1) * 16_384 >= block.len() { END_HEADERS } else { 0 };
        wire.extend(frame(kind, first | last, 1, piece));
    }
    let ask = connection.receive(&mut shared, &wire, now).request.unwrap();
    assert!(ask.request.is_err());
    ask.method
}

#[test]
fn a_refused_head_is_known_as_one_wherever_its_method_stands() {
    // RFC 9110 §9.3.2: the answer to a HEAD has no content. RFC 9113 §8.3 gives pseudo-header
    // fields no order among themselves.
    let head = with(b"", &[(":method", "HEAD")]);
    let post = with(b"", &[(":method", "POST")]);
    // 16,500 and 30,000 bytes: 0x7f and 16,373 or 29,873 in groups of seven bits.
    for (len, coded) in [(16_500, [0x7f, 0xf5, 0x7f]), (30_000, [0x7f, 0xb1, 0xe9])] {
        let coded = if len == 30_000 { [&coded[..], &[0x01]].concat() } else { coded.to_vec() };
        let path = [&[0x04][..], &coded, b"/", &vec![b'p'; len - 1]].concat();
        let authority = [&[0x01][..], &coded, &vec![b'a'; len]].concat();
        for long in [&path, &authority] {
            assert_eq!(method_of(&[long, &head[..], b"\x87"].concat()), Method::Head);
            assert_eq!(method_of(&[&b"\x87"[..], long, &head[..]].concat()), Method::Head);
            assert_eq!(method_of(&[&head[..], long].concat()), Method::Head);
            assert_eq!(method_of(&[long, &post[..]].concat()), Method::Post);
            assert_eq!(method_of(&[&post[..], long, &head].concat()), Method::Post, "the first of two");
            assert_eq!(method_of(long), Method::Unknown);
        }
    }
}
