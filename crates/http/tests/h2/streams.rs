//! Streams and their states (RFC 9113 §5.1), and the trailers and contents of requests.

use crate::lab::*;
use sitar_http::h2::{ErrorCode, Limits};

#[test]
fn numbers() {
    let protocol = ErrorCode::ProtocolError;
    // §5.1.1: odd, and each higher than the last
    ends_connection(&get(2), protocol);
    ends_connection(&[get(3), get(1)].concat(), ErrorCode::StreamClosed);
    // Numbers may be left out; those are closed then.
    let mut lab = Lab::new();
    lab.feed(&[get(1), get(9)].concat());
    assert_eq!(lab.asked().iter().map(|asked| asked.stream).collect::<Vec<_>>(), [1, 9]);
    lab.feed(&frame(DATA, 0, 5, b"x"));
    assert_eq!(lab.failure(), Some(ErrorCode::StreamClosed as u32));
}

#[test]
fn idle_streams() {
    // §5.1: nothing but HEADERS and PRIORITY
    let protocol = ErrorCode::ProtocolError;
    ends_connection(&frame(DATA, 0, 1, b"x"), protocol);
    ends_connection(&reset(1, 8), protocol);
    ends_connection(&window_update(1, 5000), protocol);
}

#[test]
fn half_closed_and_closed_streams() {
    // §5.1, half-closed (remote): DATA and HEADERS are STREAM_CLOSED, the stream still being there
    ends_stream(&[get(1), frame(DATA, 0, 1, b"x")].concat(), 1, ErrorCode::StreamClosed);
    ends_stream(&[get(1), get(1)].concat(), 1, ErrorCode::StreamClosed);
    // closed after END_STREAM on both sides: a connection error
    for late in [frame(DATA, 0, 1, b"x"), get(1)] {
        let mut lab = Lab::new();
        lab.feed(&get(1));
        lab.answer(1, 3);
        lab.sent();
        // What may have crossed the end of the answer is no fault.
        lab.feed(&[window_update(1, 5000), reset(1, 8), frame(PRIORITY, 0, 1, &[0; 5])].concat());
        assert_eq!(lab.sent(), []);
        lab.feed(&late);
        assert_eq!(lab.failure(), Some(ErrorCode::StreamClosed as u32));
    }
    // closed by the client's own RST_STREAM
    ends_connection(&[get(1), reset(1, 8), frame(DATA, 0, 1, b"x")].concat(), ErrorCode::StreamClosed);
}

#[test]
fn what_was_under_way_to_a_stream_that_was_reset_here_is_ignored() {
    // §5.1: closed by our RST_STREAM. The malformed request has more to send, and trailers.
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_HEADERS, 1, &with(POST, &[("Upper", "x")])));
    assert_eq!(lab.resets(), [(1, ErrorCode::ProtocolError as u32)]);
    lab.feed(&frame(DATA, 0, 1, &[0; 10_000]));
    lab.feed(&frame(HEADERS, WHOLE, 1, &with(b"", &[("t", "1")])));
    assert_eq!(lab.sent(), []);
    assert!(lab.is_well(3));
    // After END_STREAM nothing can be under way.
    lab.feed(&frame(DATA, 0, 1, b"x"));
    assert_eq!(lab.failure(), Some(ErrorCode::StreamClosed as u32));
}

#[test]
fn more_streams_than_allowed_are_refused() {
    // §5.1.2: REFUSED_STREAM, so that they can be tried again (§8.7)
    let mut lab = Lab::with(&Limits { streams: 2, ..Limits::default() }, &[]);
    lab.feed(&[get(1), get(3), get(5), get(7)].concat());
    assert_eq!(lab.resets(), [(5, 7), (7, 7)]);
    lab.answer(1, 0);
    lab.sent();
    assert!(lab.is_well(9), "there is room again");
}

#[test]
fn a_reset_stream_is_gone() {
    let mut lab = Lab::new();
    lab.feed(&get(1));
    lab.answer(1, 100_000);
    assert!(lab.sent().iter().map(|frame| frame.payload.len()).sum::<usize>() > 65_000);
    lab.feed(&[reset(1, 8), window_update(0, 1 << 20), window_update(1, 1 << 20)].concat());
    assert_eq!(lab.sent(), []);
    assert_eq!((lab.connection.streams(), lab.connection.is_idle()), (0, true));
    // An answer that comes too late is dropped.
    lab.feed(&[get(3), reset(3, 8)].concat());
    lab.answer(3, 10);
    assert_eq!(lab.sent(), []);
}

#[test]
fn contents_are_thrown_away_and_trailers_accepted() {
    // §8.1
    let mut lab = Lab::new();
    lab.feed(&frame(HEADERS, END_HEADERS, 1, &with(POST, &[("content-length", "7")])));
    lab.feed(&[frame(DATA, 0, 1, b"1234"), frame(DATA, PADDED, 1, b"\x02567\0\0")].concat());
    lab.feed(&frame(HEADERS, WHOLE, 1, &with(b"", &[("checksum", "x")])));
    assert_eq!(lab.asked().len(), 1);
    lab.answer(1, 0);
    assert_eq!(lab.sent().len(), 1);
    assert_eq!(lab.connection.streams(), 0);
    // Answered before the content has come: the stream stays until the client is done,
    lab.feed(&frame(HEADERS, END_HEADERS, 3, POST));
    lab.answer(3, 0);
    lab.sent();
    assert_eq!((lab.connection.streams(), lab.connection.is_idle()), (1, true));
    lab.feed(&frame(DATA, END_STREAM, 3, b"x"));
    assert_eq!((lab.connection.streams(), lab.sent()), (0, vec![]));
    // or until it has sent more than any server would read: §8.1, RST_STREAM with NO_ERROR. Until
    // then windows open.
    lab.feed(&frame(HEADERS, END_HEADERS, 5, POST));
    lab.answer(5, 0);
    lab.sent();
    let (mut sent, mut window) = (0, 65_535);
    let told = loop {
        lab.feed(&frame(DATA, 0, 5, &[0; 5_000]));
        sent += 5_000;
        window -= 5_000;
        let frames: Vec<_> = lab.sent().into_iter().filter(|frame| frame.stream == 5).collect();
        for frame in &frames {
            if frame.kind == WINDOW_UPDATE {
                window += u32::from_be_bytes(*frame.payload.first_chunk().unwrap()) as usize;
            }
        }
        if let Some(told) = frames.into_iter().find(|frame| frame.kind == RST_STREAM) {
            break told;
        }
        window = if window < 5_000 { panic!("stuck after {sent}") } else { window };
    };
    assert_eq!(told.payload, [0; 4]);
    assert!(sent > 1 << 20 && sent < (1 << 20) + 70_000, "{sent}");
    // What is known to be little comes to its end,
    lab.feed(&frame(HEADERS, END_HEADERS, 7, &with(POST, &[("content-length", "100000")])));
    lab.answer(7, 0);
    assert_eq!(lab.resets(), []);
    for _ in 0..9 {
        lab.feed(&frame(DATA, 0, 7, &[0; 10_000]));
    }
    lab.feed(&frame(DATA, END_STREAM, 7, &[0; 10_000]));
    assert_eq!((lab.resets(), lab.connection.streams()), (vec![], 0));
    // and what is known to be too much is stopped at once.
    lab.feed(&frame(HEADERS, END_HEADERS, 9, &with(POST, &[("content-length", "1048577")])));
    lab.answer(9, 0);
    assert_eq!(lab.resets(), [(9, 0)]);
    assert!(lab.is_well(11));
}

#[test]
fn trailers_that_are_none() {
    let protocol = ErrorCode::ProtocolError;
    let open = frame(HEADERS, END_HEADERS, 1, POST);
    // §8.1: without END_STREAM; §8.1, §8.3: pseudo-header fields; §8.2: forms
    ends_stream(
        &[&open[..], &frame(HEADERS, END_HEADERS, 1, &with(b"", &[("t", "1")]))].concat(),
        1,
        protocol,
    );
    for bad in [
        &b"\x82"[..],
        &with(b"", &[("Big", "1")]),
        &with(b"", &[("connection", "x")]),
        &with(b"", &[("t", "a\n")]),
    ] {
        ends_stream(&[&open[..], &frame(HEADERS, WHOLE, 1, bad)].concat(), 1, protocol);
    }
}
