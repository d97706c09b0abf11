//! Flow control, both ways (RFC 9113 §5.2, §6.9).

use crate::lab::*;
use sitar_http::h2::{ErrorCode, Limits};

/// Bytes of DATA on each of these streams.
fn data(frames: &[Frame], stream: u32) -> usize {
    frames
        .iter()
        .filter(|frame| (frame.kind, frame.stream) == (DATA, stream))
        .map(|frame| frame.payload.len())
        .sum()
}

#[test]
fn what_is_sent_stays_within_both_windows() {
    // §6.9.2: 65,535 for the connection and for each stream
    let mut lab = Lab::new();
    lab.feed(&[get(1), get(3)].concat());
    lab.answer(1, 60_000);
    lab.answer(3, 60_000);
    let sent = lab.sent();
    assert_eq!((data(&sent, 1), data(&sent, 3)), (60_000, 5_535), "the connection's");
    assert!(lab.connection.is_blocked());
    lab.feed(&window_update(3, 100_000));
    assert_eq!(lab.sent(), [], "the stream's window alone is not enough");
    lab.feed(&window_update(0, 1));
    assert_eq!(data(&lab.sent(), 3), 1);
    lab.feed(&window_update(0, 100_000));
    let sent = lab.sent();
    assert_eq!(data(&sent, 3), 54_464);
    assert_eq!(sent.last().map(|frame| frame.flags), Some(END_STREAM));
    // A stream's own window
    lab.feed(&[window_update(0, 200_000), get(5)].concat());
    lab.answer(5, 100_000);
    assert_eq!(data(&lab.sent(), 5), 65_535);
    lab.feed(&window_update(5, 50_000));
    assert_eq!(data(&lab.sent(), 5), 34_465);
    assert!(lab.connection.is_idle());
}

#[test]
fn frames_are_no_larger_than_the_peer_allows() {
    // §4.2
    let mut lab = Lab::new();
    lab.feed(&get(1));
    lab.answer(1, 40_000);
    let mut record = vec![0; 100_000];
    let len = lab.connection.poll_send(&mut lab.shared, &mut record);
    let sizes: Vec<usize> = frames(&record[..len]).iter().map(|frame| frame.payload.len()).skip(1).collect();
    assert_eq!(sizes, [16_384, 16_384, 7_232]);
    let mut lab = Lab::with(&Limits::default(), &[(5, 30_000)]);
    lab.feed(&get(1));
    lab.answer(1, 40_000);
    let len = lab.connection.poll_send(&mut lab.shared, &mut record);
    let sizes: Vec<usize> = frames(&record[..len]).iter().map(|frame| frame.payload.len()).skip(1).collect();
    assert_eq!(sizes, [30_000, 10_000]);
}

#[test]
fn the_initial_window_may_change_under_way() {
    // §6.9.2: by the difference, also below zero
    let mut lab = Lab::with(&Limits::default(), &[(4, 10)]);
    lab.feed(&get(1));
    lab.answer(1, 100);
    assert_eq!(data(&lab.sent(), 1), 10);
    lab.feed(&settings(&[(4, 30)]));
    assert_eq!(data(&lab.sent(), 1), 20);
    lab.feed(&settings(&[(4, 0)]));
    assert_eq!(data(&lab.sent(), 1), 0);
    lab.feed(&window_update(1, 30));
    assert_eq!(data(&lab.sent(), 1), 0, "back at zero");
    lab.feed(&window_update(1, 1));
    assert_eq!(data(&lab.sent(), 1), 1);
    lab.feed(&settings(&[(4, 65_535)]));
    assert_eq!(data(&lab.sent(), 1), 69);
    // A window of zero holds content back, but neither heads nor answers without content.
    let mut lab = Lab::with(&Limits::default(), &[(4, 0)]);
    lab.feed(&[get(1), get(3)].concat());
    lab.answer(1, 0);
    lab.answer(3, 1);
    let kinds: Vec<(u8, u8)> = lab.sent().iter().map(|frame| (frame.kind, frame.flags)).collect();
    assert_eq!(kinds, [(HEADERS, WHOLE), (HEADERS, END_HEADERS)]);
}

#[test]
fn windows_have_limits() {
    let (protocol, flow) = (ErrorCode::ProtocolError, ErrorCode::FlowControlError);
    // §6.9: an increment of 0
    ends_connection(&window_update(0, 0), protocol);
    ends_stream(&[get(1), window_update(1, 0)].concat(), 1, protocol);
    // §6.9.1: beyond 2^31 - 1
    ends_connection(&window_update(0, 0x7fff_ffff - 65_534), flow);
    is_ignored(&window_update(0, 0x7fff_ffff - 65_535));
    ends_stream(&[get(1), window_update(1, 0x7fff_ffff)].concat(), 1, flow);
    // §6.9.2: by SETTINGS
    let grown = [get(1), window_update(1, 1_000_000), settings(&[(4, 0x7fff_ffff)])].concat();
    ends_connection(&grown, flow);
}

#[test]
fn what_is_received_stays_within_both_windows() {
    let flow = ErrorCode::FlowControlError;
    let post = |stream| frame(HEADERS, END_HEADERS, stream, POST);
    let full = |stream| frame(DATA, 0, stream, &[0; 16_384]);
    // §6.9.1: a stream's window is not renewed: the content is not wanted. Its answer is still
    // to come.
    let mut lab = Lab::new();
    lab.feed(&post(1));
    (0..3).for_each(|_| lab.feed(&full(1)));
    lab.feed(&frame(DATA, 0, 1, &[0; 16_383]));
    assert_eq!(lab.resets(), []);
    lab.feed(&frame(DATA, 0, 1, &[0]));
    assert_eq!(lab.resets(), [(1, flow as u32)]);
    // The connection's is, in large steps, also for what is thrown away; padding counts (§6.9).
    let mut lab = Lab::new();
    lab.feed(&[post(1), post(3)].concat());
    lab.feed(&frame(DATA, PADDED, 1, &[&[255][..], &[0; 16_383]].concat()));
    assert_eq!(lab.sent(), []);
    lab.feed(&full(3));
    assert_eq!(lab.sent_bytes(), b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x80\x00");
    lab.feed(&[reset(1, 8), full(3)].concat());
    for stream in (5..45).step_by(2) {
        assert!(lab.sent().iter().all(|frame| (frame.kind, frame.stream) == (WINDOW_UPDATE, 0)));
        lab.feed(&post(stream));
        (0..3).for_each(|_| lab.feed(&full(stream)));
        lab.feed(&reset(stream, 8));
    }
    assert_eq!(lab.connection.error(), None, "a megabyte");
    // What comes without asking is too much, at some point.
    let mut lab = Lab::new();
    lab.feed(&post(1));
    let flood = vec![frame(DATA, 0, 1, &[0; 16_384]); 4].concat();
    lab.feed(&flood);
    assert_eq!(lab.resets(), [(1, flow as u32)]);
}

#[test]
fn content_that_is_not_at_hand_holds_nobody_up() {
    let mut lab = Lab::new();
    lab.feed(&[get(1), get(3)].concat());
    lab.answer_with(1, Counting { held: 900, ..counting(1000) });
    lab.answer(3, 10);
    let sent = lab.sent();
    assert_eq!((data(&sent, 1), data(&sent, 3)), (100, 10));
    let (stream, content, allowed) = lab.connection.next_unready().unwrap();
    assert_eq!(allowed, 65_535 - 110, "the connection's window, of which both streams have used some");
    assert_eq!(stream, 1);
    content.held = 0;
    assert_eq!(data(&lab.sent(), 1), 900);
    assert!(lab.connection.next_unready().is_none());
    // What cannot be completed is our fault, and said so.
    lab.feed(&get(5));
    lab.answer_with(5, Counting { held: 1000, ..counting(1000) });
    lab.sent();
    lab.connection.abort(&mut lab.shared, 5);
    assert_eq!(lab.resets(), [(5, ErrorCode::InternalError as u32)]);
}

#[test]
fn an_answer_leaves_at_once_only_if_it_may() {
    use sitar_http::h2::ResponseHead;
    let answer = ResponseHead {
        status: sitar_http::Status::OK,
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        block: b"",
        fields: &[],
        content_length: Some(11),
    };
    let mut out = [0; 1024];
    let mut lab = Lab::with(&Limits::default(), &[(4, 10)]);
    lab.feed(&[get(1), get(3)].concat());
    assert_eq!(
        lab.connection.respond_now(&mut lab.shared, 1, &answer, &[0; 11], &mut out),
        None,
        "its window"
    );
    lab.connection.respond(&mut lab.shared, 1, &answer, counting(11));
    assert_eq!(lab.connection.respond_now(&mut lab.shared, 3, &answer, b"", &mut out), None, "others wait");
    lab.feed(&window_update(1, 1));
    lab.sent();
    // What waits goes first.
    lab.feed(&frame(PING, 0, 0, &[7; 8]));
    let len = lab.connection.respond_now(&mut lab.shared, 3, &answer, b"0123456789", &mut out).unwrap();
    let kinds: Vec<u8> = frames(&out[..len]).iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [PING, HEADERS, DATA]);
    assert_eq!(lab.sent(), []);
}
