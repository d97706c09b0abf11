//! A client that makes work that leads nowhere is disconnected (RFC 9113 §10.5), and no other is.

use crate::lab::*;
use sitar_http::h2::{ErrorCode, Flood, Limits};
use std::time::Duration;

const CALM: u32 = ErrorCode::EnhanceYourCalm as u32;

/// Feeds `wire(0)`, `wire(1)` … and takes what is sent; how many it took until the connection
/// ended, of at most 5,000.
fn until_calm(lab: &mut Lab, flood: Flood, mut wire: impl FnMut(&mut Lab, u32) -> Vec<u8>) -> u32 {
    for nth in 0..5_000 {
        let wire = wire(lab, nth);
        lab.feed(&wire);
        if let Some(fault) = lab.connection.error() {
            assert_eq!(fault.flood, Some(flood));
            assert_eq!(lab.failure(), Some(CALM));
            assert_eq!(lab.connection.streams(), 0);
            return nth;
        }
        lab.sent();
    }
    panic!("{flood:?} is not bounded");
}

#[test]
fn rapid_reset() {
    // CVE-2023-44487, before and after the answer
    assert_eq!(
        until_calm(&mut Lab::new(), Flood::Resets, |_, n| [get(2 * n + 1), reset(2 * n + 1, 8)].concat()),
        256
    );
    let answered = until_calm(&mut Lab::new(), Flood::Resets, |lab, n| {
        lab.feed(&get(2 * n + 1));
        lab.answer(2 * n + 1, 10);
        lab.feed(&window_update(0, 1024));
        reset(2 * n + 1, 8)
    });
    assert_eq!(answered, 256);
    // A browser that leaves a page with everything open, again and again in reasonable time
    let mut lab = Lab::new();
    let mut stream = 1;
    for _ in 0..20 {
        for _ in 0..100 {
            lab.feed(&[get(stream), reset(stream, 8)].concat());
            stream += 2;
        }
        lab.pass(Duration::from_secs(4));
    }
    assert_eq!(lab.connection.error(), None);
}

#[test]
fn resets_that_the_server_is_made_to_send() {
    // CVE-2025-8671: malformed requests, windows that overflow, frames on half-closed streams,
    // refused streams
    let bad = with(GET, &[("Upper", "x")]);
    let malformed = |_: &mut Lab, n: u32| frame(HEADERS, WHOLE, 2 * n + 1, &bad);
    assert_eq!(until_calm(&mut Lab::new(), Flood::Errors, malformed), 128);
    let overflow = |_: &mut Lab, n: u32| [get(2 * n + 1), window_update(2 * n + 1, 0x7fff_ffff)].concat();
    assert_eq!(until_calm(&mut Lab::new(), Flood::Errors, overflow), 128);
    let half_closed = |_: &mut Lab, n: u32| [get(2 * n + 1), frame(DATA, 0, 2 * n + 1, b"x")].concat();
    assert_eq!(until_calm(&mut Lab::new(), Flood::Errors, half_closed), 128);
    let mut lab = Lab::with(&Limits { streams: 1, ..Limits::default() }, &[]);
    assert_eq!(until_calm(&mut lab, Flood::Errors, |_, n| get(2 * n + 1)), 129);
}

#[test]
fn header_blocks_in_pieces() {
    // CVE-2024-27316: CONTINUATION without end
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_STREAM, 1, &[0x82]));
    for nth in 0..100 {
        lab.feed(&frame(CONTINUATION, 0, 1, b""));
        if lab.connection.error().is_some() {
            assert_eq!(nth, 6, "eight frames in all");
            break;
        }
        assert!(lab.waiting() < 100);
    }
    assert_eq!(lab.failure(), Some(CALM));
    // Each request in pieces
    let pieces = |_: &mut Lab, n: u32| {
        let stream = 2 * n + 1;
        [
            frame(HEADERS, END_STREAM, stream, &GET[..1]),
            frame(CONTINUATION, END_HEADERS, stream, &GET[1..]),
            reset(stream, 8),
        ]
        .concat()
    };
    assert_eq!(until_calm(&mut Lab::new(), Flood::Headers, pieces), 16);
}

#[test]
fn frames_that_say_nothing() {
    // CVE-2019-9518: empty DATA
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_HEADERS, 1, POST));
    assert_eq!(until_calm(&mut lab, Flood::Empty, |_, _| frame(DATA, 0, 1, b"")), 64);
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_HEADERS, 1, POST));
    assert_eq!(until_calm(&mut lab, Flood::Empty, |_, _| frame(DATA, PADDED, 1, b"\x02\0\0")), 64);
    // Unknown types, and frames for streams that were reset here
    assert_eq!(until_calm(&mut Lab::new(), Flood::Ignored, |_, _| frame(0xbe, 0, 0, b"")), 512);
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_HEADERS, 1, &with(POST, &[("Upper", "x")])));
    assert_eq!(until_calm(&mut lab, Flood::Ignored, |_, _| frame(DATA, 0, 1, b"x")), 512);
    let mut lab = Lab::new();
    lab.feed(&get(1));
    lab.answer(1, 0);
    assert_eq!(until_calm(&mut lab, Flood::Ignored, |_, _| frame(PRIORITY, 0, 1, &[0; 4])), 512);
    assert_eq!(until_calm(&mut Lab::new(), Flood::Ignored, |_, _| frame(GOAWAY, 0, 0, &[0; 8])), 512);
    // §6.9: 0 opens no window, also where none is left to open
    let mut lab = Lab::new();
    lab.feed(&get(1));
    lab.answer(1, 1000);
    lab.sent();
    assert_eq!(until_calm(&mut lab, Flood::Windows, |_, _| frame(WINDOW_UPDATE, 0, 1, &[0; 4])), 1024);
}

#[test]
fn frames_that_want_an_answer() {
    // CVE-2019-9512, CVE-2019-9515. One SETTINGS was the greeting.
    assert_eq!(until_calm(&mut Lab::new(), Flood::Pings, |_, _| frame(PING, 0, 0, &[0; 8])), 128);
    assert_eq!(until_calm(&mut Lab::new(), Flood::Settings, |_, _| settings(&[])), 15);
    let mut lab = Lab::new();
    lab.feed(&settings(&[(0xbabe, 0); 65]));
    assert_eq!(lab.failure(), Some(CALM));
    // A ping each tenth of a second for an hour is fine, and so are settings each second.
    let mut lab = Lab::new();
    for nth in 0..36_000 {
        lab.feed(&frame(PING, 0, 0, &[0; 8]));
        if nth % 10 == 0 {
            lab.feed(&settings(&[]));
        }
        lab.sent();
        lab.pass(Duration::from_millis(100));
    }
    assert_eq!(lab.connection.error(), None);
}

#[test]
fn priorities_without_end() {
    // CVE-2019-9513
    let update = |_: &mut Lab, _: u32| frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1");
    assert_eq!(until_calm(&mut Lab::new(), Flood::Priorities, update), 1024);
    assert_eq!(
        until_calm(&mut Lab::new(), Flood::Priorities, |_, n| frame(PRIORITY, 0, n + 1, &[0; 5])),
        1024
    );
}

#[test]
fn windows_opened_byte_by_byte() {
    // CVE-2019-9511
    let mut lab = Lab::with(&Limits::default(), &[(4, 0)]);
    lab.feed(&get(1));
    lab.answer(1, 1 << 20);
    assert_eq!(until_calm(&mut lab, Flood::Windows, |_, _| window_update(1, 1)), 1024);
    // Clients that open both windows for each frame that they have read, however small, may do so
    // forever.
    let mut lab = Lab::new();
    for nth in 0..5_000 {
        let stream = 2 * nth + 1;
        lab.feed(&get(stream));
        lab.answer(stream, 100);
        assert_eq!(lab.sent().len(), 2);
        lab.feed(&[window_update(0, 100), window_update(stream, 100)].concat());
        lab.asked.clear();
    }
    assert_eq!(lab.connection.error(), None);
    // So may a client whose windows are small, as nghttp's with --window-bits=10, in an answer that
    // needs many of them.
    let mut lab = Lab::with(&Limits::default(), &[(4, 1023)]);
    lab.feed(&get(1));
    lab.answer(1, 5_000 * 1023);
    for _ in 0..5_000 {
        assert_eq!(lab.sent().last().map(|frame| frame.payload.len()), Some(1023));
        lab.feed(&[window_update(0, 1023), window_update(1, 1023)].concat());
    }
    assert_eq!(lab.connection.error(), None);
}

#[test]
fn small_windows_are_no_flood() {
    // A client that opens both windows by what it has read, in steps of whatever size, may do so
    // forever.
    for (window, step) in
        [(1, 1), (7, 7), (100, 100), (300, 300), (300, 100), (300, 1), (511, 511), (65_535, 100), (65_535, 7)]
    {
        let mut lab = Lab::with(&Limits::default(), &[(4, window)]);
        lab.feed(&get(1));
        lab.answer(1, 200_000);
        let mut read = 0;
        while read < 20_000 {
            let frames = lab.sent().into_iter().filter(|frame| frame.kind == DATA);
            let mut len: usize = frames.map(|frame| frame.payload.len()).sum();
            assert!(len > 0, "{window} in {step}: stuck after {read}");
            read += len;
            let mut wire = Vec::new();
            while len > 0 {
                let piece = len.min(step);
                wire.extend(window_update(1, piece as u32));
                wire.extend(window_update(0, piece as u32));
                len -= piece;
            }
            lab.feed(&wire);
            assert_eq!(lab.connection.error(), None, "{window} in {step}: after {read}");
        }
    }
    // With a window for the connection that it made large at first, while something was under way,
    let mut lab = Lab::with(&Limits::default(), &[(4, 300)]);
    lab.feed(&get(1));
    lab.answer(1, 1_000_000);
    lab.sent();
    lab.feed(&window_update(0, 1 << 20));
    for _ in 0..3000 {
        lab.feed(&[window_update(0, 7).repeat(42), window_update(0, 6), window_update(1, 300)].concat());
        assert_eq!(lab.sent().iter().map(|frame| frame.payload.len()).sum::<usize>(), 300);
    }
    assert_eq!(lab.connection.error(), None);
    // with streams whose last window comes when they have ended,
    let mut lab = Lab::with(&Limits::default(), &[(4, 100)]);
    for nth in 0..3000 {
        let stream = 2 * nth + 1;
        lab.feed(&get(stream));
        lab.answer(stream, 100);
        lab.sent();
        lab.feed(&[window_update(stream, 50), window_update(stream, 50), window_update(0, 100)].concat());
        lab.asked.clear();
    }
    assert_eq!(lab.connection.error(), None);
    // and with windows that begin closed and are opened by what it wants to have next.
    let mut lab = Lab::with(&Limits::default(), &[(4, 0)]);
    lab.feed(&get(1));
    lab.answer(1, 1_000_000);
    assert_eq!(lab.sent().iter().map(|frame| frame.kind).collect::<Vec<_>>(), [HEADERS]);
    for _ in 0..5_000 {
        lab.feed(&[window_update(1, 100), window_update(0, 100)].concat());
        assert_eq!(lab.sent().iter().map(|frame| frame.payload.len()).collect::<Vec<_>>(), [100]);
    }
    assert_eq!(lab.connection.error(), None);
    // What opens a window further and further by little is a flood as before: nothing was sent for
    // it.
    let mut lab = Lab::new();
    assert_eq!(until_calm(&mut lab, Flood::Windows, |_, _| window_update(0, 100)), 1024);
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_HEADERS, 1, POST));
    assert_eq!(until_calm(&mut lab, Flood::Windows, |_, _| window_update(1, 511)), 1024);
}

#[test]
fn a_window_that_was_made_a_little_larger_is_no_flood() {
    // Such as 65,536 for the connection, which is one more than it begins with. What is read is
    // given back as it comes.
    for (window, more, more_for_all) in
        [(7, 0, 1), (5, 0, 1), (1, 0, 5), (3, 2, 0), (100, 8, 8), (1, 8, 8), (7, 1, 0)]
    {
        let mut lab = Lab::with(&Limits::default(), &[(4, window)]);
        for (stream, more) in [(0, more_for_all), (1, more)] {
            if stream == 1 {
                lab.feed(&get(1));
                lab.answer(1, 1_000_000);
            }
            if more > 0 {
                lab.feed(&window_update(stream, more));
            }
        }
        for nth in 0..3000 {
            let frames = lab.sent().into_iter().filter(|frame| frame.kind == DATA);
            let len: usize = frames.map(|frame| frame.payload.len()).sum();
            assert_eq!(len, (window + more) as usize);
            lab.feed(&[window_update(1, len as u32), window_update(0, len as u32)].concat());
            assert_eq!(lab.connection.error(), None, "{window} + {more}, {more_for_all}: frame {nth}");
        }
    }
}

#[test]
fn an_answer_that_leaves_at_once_counts_for_both_windows() {
    // 90 requests whose content is still to come, each answered by 23 bytes, which the client gives
    // back one by one. With the largest window one byte too many would be an overflow (§6.9.1).
    for window in [100, 0x7fff_ffff] {
        let mut lab = Lab::with(&Limits::default(), &[(4, window)]);
        let answer = sitar_http::h2::ResponseHead {
            status: sitar_http::Status::METHOD_NOT_ALLOWED,
            date: b"Sun, 06 Nov 1994 08:49:37 GMT",
            block: b"",
            fields: &[],
            content_length: Some(23),
        };
        let mut out = [0; 512];
        for stream in (1..180).step_by(2) {
            lab.feed(&frame(HEADERS, END_HEADERS, stream, POST));
            let now = lab.connection.respond_now(&mut lab.shared, stream, &answer, &[b'x'; 23], &mut out);
            assert!(now.is_some());
            lab.feed(&[window_update(stream, 1), window_update(0, 1)].concat().repeat(23));
            assert_eq!(lab.connection.error(), None, "stream {stream}");
        }
        lab.feed(&frame(DATA, END_STREAM, 1, b"content"));
        assert_eq!(lab.sent(), [], "no stream was reset");
        assert_eq!(lab.connection.streams(), 89);
    }
}

#[test]
fn windows_of_streams_that_are_over() {
    let mut lab = Lab::new();
    lab.feed(&get(1));
    lab.answer(1, 100);
    lab.sent();
    assert_eq!(until_calm(&mut lab, Flood::Windows, |_, _| window_update(1, 65_536)), 1024);
    // Clients that open the window of a stream when its answer has ended, once for each frame that
    // came, may do so forever,
    let mut lab = Lab::with(&Limits::default(), &[(4, 1 << 30)]);
    lab.feed(&window_update(0, 1 << 30));
    for nth in 0..20 {
        let stream = 2 * nth + 1;
        lab.feed(&get(stream));
        lab.answer(stream, 2_000_000);
        let frames = lab.sent().into_iter().filter(|frame| frame.kind == DATA);
        for frame in frames.collect::<Vec<_>>() {
            lab.feed(&window_update(stream, frame.payload.len().max(1024) as u32));
        }
        lab.asked.clear();
    }
    assert_eq!(lab.connection.error(), None);
    // and those that open it wide with each request, whatever comes of that.
    let mut lab = Lab::new();
    for nth in 0..5_000 {
        let stream = 2 * nth + 1;
        lab.feed(&get(stream));
        lab.answer(stream, 0);
        lab.feed(&window_update(stream, 10_000_000));
        lab.asked.clear();
        lab.sent();
    }
    assert_eq!(lab.connection.error(), None);
    // So may those that do it once for each answer.
    let mut lab = Lab::new();
    for nth in 0..5_000 {
        let stream = 2 * nth + 1;
        lab.feed(&get(stream));
        lab.answer(stream, 2_000);
        assert_eq!(lab.sent().len(), 2);
        lab.feed(&[window_update(stream, 2_000), window_update(0, 2_000)].concat());
        lab.asked.clear();
    }
    assert_eq!(lab.connection.error(), None);
}

#[test]
fn nothing_is_read_while_nothing_can_be_sent() {
    // 100 answers with heads of a kilobyte, to a peer that does not read: it gets no further than
    // 24 KiB and one more head.
    let mut lab = Lab::new();
    let more = format!("X: {}\r\n", "x".repeat(1000));
    let answer = sitar_http::h2::ResponseHead {
        status: sitar_http::Status::OK,
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        block: b"",
        fields: &[more.as_bytes()],
        content_length: Some(0),
    };
    let mut answered = 0;
    for nth in 0..100 {
        lab.feed(&get(2 * nth + 1));
        for asked in lab.asked() {
            lab.connection.respond_without_content(&mut lab.shared, asked.stream, &answer);
            answered += 1;
        }
    }
    assert_eq!(answered, 24);
    assert!(lab.waiting() > 70 * 15);
    assert!(lab.connection.memory() < 64 << 10);
    // As soon as it reads, it goes on.
    lab.sent();
    lab.feed(b"");
    assert!(!lab.asked().is_empty());
}

#[test]
fn an_idle_connection_is_small() {
    let mut lab = Lab::new();
    let request = with(GET, &[("user-agent", "curl/8.5.0"), ("accept", "*/*")]);
    lab.feed(&frame(HEADERS, WHOLE, 1, &request));
    lab.answer(1, 1000);
    lab.sent();
    assert!(lab.connection.is_idle());
    assert!(lab.connection.memory() <= 128, "{}", lab.connection.memory());
    assert!(size_of_val(&lab.connection) <= 640, "{}", size_of_val(&lab.connection));
}
