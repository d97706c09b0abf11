//! Frames that are malformed, out of place, or to be ignored (RFC 9113 §3.4, §4, §5.5, §6).

use crate::lab::*;
use sitar_http::h2::{ErrorCode, Limits, PREFACE};

#[test]
fn the_server_speaks_first() {
    // §3.4: a SETTINGS frame. 100 streams, a header list of 256 KiB, no priorities of RFC 7540 (RFC
    // 9218 §2.1).
    let mut lab = Lab::fresh(&Limits::default());
    assert_eq!(
        lab.sent_bytes(),
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\
          \x00\x03\x00\x00\x00\x64\x00\x06\x00\x04\x00\x00\x00\x09\x00\x00\x00\x01"
    );
    // §6.5.3: the client's are acknowledged.
    lab.feed(&[PREFACE, &settings(&[])[..]].concat());
    assert_eq!(lab.sent_bytes(), b"\x00\x00\x00\x04\x01\x00\x00\x00\x00");
}

#[test]
fn a_preface_that_is_none() {
    // §3.4: PROTOCOL_ERROR; seen at the first wrong byte.
    for wire in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r ", b"\x16\x03\x01"] {
        let mut lab = Lab::fresh(&Limits::default());
        lab.feed(wire);
        assert_eq!(lab.failure(), Some(1), "{}", wire.escape_ascii());
    }
    let mut lab = Lab::fresh(&Limits::default());
    lab.feed(&PREFACE[..23]);
    lab.sent();
    assert_eq!(lab.failure(), None, "more may come");
}

#[test]
fn settings_come_first() {
    // §3.4: the preface is followed by SETTINGS, and that is not an acknowledgement.
    for wire in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[]), get(1), frame(0xbe, 0, 0, &[])] {
        let mut lab = Lab::fresh(&Limits::default());
        lab.feed(&[&PREFACE[..], &wire].concat());
        assert_eq!(lab.failure(), Some(1));
    }
}

#[test]
fn sizes() {
    let size = ErrorCode::FrameSizeError;
    // §4.2: larger than SETTINGS_MAX_FRAME_SIZE, which is left at 16,384.
    for kind in [DATA, HEADERS, SETTINGS, GOAWAY, PRIORITY_UPDATE, 0xbe] {
        ends_connection(&frame(kind, 0, 1, &[0; 16_385])[..9], size);
    }
    // §6.4
    ends_connection(&[get(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), size);
    ends_connection(&[get(1), frame(RST_STREAM, 0, 1, &[0; 5])].concat(), size);
    // §6.5
    ends_connection(&frame(SETTINGS, 0, 0, &[0; 5]), size);
    ends_connection(&frame(SETTINGS, ACK, 0, &[0; 6]), size);
    // §6.7
    ends_connection(&frame(PING, 0, 0, &[0; 7]), size);
    ends_connection(&frame(PING, 0, 0, &[0; 9]), size);
    // §6.8
    ends_connection(&frame(GOAWAY, 0, 0, &[0; 7]), size);
    // §6.9
    ends_connection(&frame(WINDOW_UPDATE, 0, 0, &[0; 3]), size);
    ends_connection(&frame(WINDOW_UPDATE, 0, 0, &[0; 5]), size);
    // §6.1, §6.2: flags that announce what is not there
    ends_connection(&[frame(HEADERS, END_HEADERS, 1, POST), frame(DATA, PADDED, 1, &[])].concat(), size);
    ends_connection(&frame(HEADERS, WHOLE | PADDED, 1, &[]), size);
    ends_connection(&frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[0; 4]), size);
    // RFC 9218 §7.1
    ends_connection(&frame(PRIORITY_UPDATE, 0, 0, &[0; 3]), size);
    // §6.3: a stream error, where there is a stream
    ends_stream(&[get(1), frame(PRIORITY, 0, 1, &[0; 4])].concat(), 1, size);
    ends_connection(&frame(PRIORITY, 0, 1, &[0; 6]), size);
}

#[test]
fn places() {
    let protocol = ErrorCode::ProtocolError;
    // Frames of streams on stream 0, §6.1 to §6.4
    ends_connection(&frame(DATA, 0, 0, b"x"), protocol);
    ends_connection(&frame(HEADERS, WHOLE, 0, GET), protocol);
    ends_connection(&frame(PRIORITY, 0, 0, &[0; 5]), protocol);
    ends_connection(&frame(RST_STREAM, 0, 0, &[0; 4]), protocol);
    // Frames of the connection on a stream, §6.5, §6.7, §6.8, RFC 9218 §7.1
    ends_connection(&frame(SETTINGS, 0, 1, &[]), protocol);
    ends_connection(&frame(PING, 0, 1, &[0; 8]), protocol);
    ends_connection(&frame(GOAWAY, 0, 1, &[0; 8]), protocol);
    ends_connection(&frame(PRIORITY_UPDATE, 0, 1, b"\0\0\0\x01u=1"), protocol);
    // RFC 9218 §7.1: of no stream, and of one that only a server could open
    ends_connection(&frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1"), protocol);
    ends_connection(&frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x02u=1"), protocol);
    // §8.4: clients do not push
    ends_connection(&frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02"), protocol);
    // §6.10: CONTINUATION without HEADERS
    ends_connection(&frame(CONTINUATION, END_HEADERS, 1, GET), protocol);
    ends_connection(&[get(1), frame(CONTINUATION, END_HEADERS, 1, GET)].concat(), protocol);
    // §6.2, §6.10: within a header block nothing else, not even what would be ignored, and on no
    // other stream
    let open = frame(HEADERS, END_STREAM, 1, &GET[..2]);
    for other in [
        frame(PING, 0, 0, &[0; 8]),
        frame(0xbe, 0, 0, &[]),
        frame(DATA, 0, 1, b"x"),
        frame(HEADERS, END_HEADERS, 1, GET),
        frame(CONTINUATION, END_HEADERS, 3, &GET[2..]),
    ] {
        ends_connection(&[&open[..], &other].concat(), protocol);
    }
    // §6.1, §6.2: padding as long as the frame, or longer
    ends_connection(&[frame(HEADERS, END_HEADERS, 1, POST), frame(DATA, PADDED, 1, &[1])].concat(), protocol);
    ends_connection(&frame(HEADERS, WHOLE | PADDED, 1, &[7, 0x82, 0, 0, 0, 0, 0]), protocol);
}

#[test]
fn settings_with_values_that_they_cannot_have() {
    // §6.5.2
    ends_connection(&settings(&[(2, 2)]), ErrorCode::ProtocolError);
    ends_connection(&settings(&[(4, 1 << 31)]), ErrorCode::FlowControlError);
    ends_connection(&settings(&[(5, 16_383)]), ErrorCode::ProtocolError);
    ends_connection(&settings(&[(5, 1 << 24)]), ErrorCode::ProtocolError);
    // RFC 9218 §2.1: neither 0 nor 1, and changed
    ends_connection(&settings(&[(9, 2)]), ErrorCode::ProtocolError);
    ends_connection(&settings(&[(9, 1)]), ErrorCode::ProtocolError);
    // All at their limits, and an unknown one
    let mut lab = Lab::new();
    let list = [(1, 0), (2, 1), (3, 0), (4, 0x7fff_ffff), (5, 0xff_ffff), (6, 0), (9, 0), (0xbabe, 7)];
    lab.feed(&settings(&list));
    assert_eq!(lab.sent_bytes(), b"\x00\x00\x00\x04\x01\x00\x00\x00\x00");
    assert!(lab.is_well(1));
}

#[test]
fn what_is_to_be_ignored() {
    // §5.5: unknown kinds, anywhere but within a header block; §4.1: unknown flags and the reserved
    // bit
    is_ignored(&frame(0xbe, 0xff, 0, b"whatever"));
    is_ignored(&frame(0x0b, 0, 77, &[0; 16_384]));
    is_ignored(&frame(SETTINGS, ACK | 0xf0, 0, &[]));
    is_ignored(&frame(WINDOW_UPDATE, 0xff, 0x8000_0000, &[0x80, 0, 4, 0]));
    // §6.3: PRIORITY on a stream in any state, even one that depends on itself (§5.3.2)
    is_ignored(&frame(PRIORITY, 0, 5, &[0x80, 0, 0, 5, 255]));
    // §6.8: the client's GOAWAY with an unknown code and words. It ends the connection
    // when nothing is open.
    let mut lab = Lab::new();
    lab.feed(&[get(1), frame(GOAWAY, 0, 0, b"\0\0\0\0\xff\xff\xff\xffbye")].concat());
    lab.answer(1, 3);
    assert!(!lab.connection.is_done());
    assert_eq!(lab.sent().last().map(|frame| frame.payload.clone()), Some(vec![0, 1, 2]));
    assert!(lab.connection.is_done());
    assert_eq!(lab.connection.error(), None);
}

#[test]
fn pings_are_answered() {
    // §6.7: the same eight bytes, with ACK; and an acknowledgement is not acknowledged
    let mut lab = Lab::new();
    lab.feed(&frame(PING, 0, 0, b"12345678"));
    assert_eq!(lab.sent_bytes(), b"\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678");
    is_ignored(&frame(PING, ACK, 0, b"12345678"));
}

#[test]
fn settings_must_be_acknowledged_in_time() {
    // §6.5.3
    let mut lab = Lab::fresh(&Limits::default());
    lab.feed(&[PREFACE, &settings(&[])[..], &get(1)].concat());
    lab.sent();
    assert_eq!(lab.connection.deadline(), Some(lab.now + std::time::Duration::from_secs(10)));
    lab.pass(std::time::Duration::from_millis(9_999));
    assert_eq!(lab.sent(), []);
    lab.pass(std::time::Duration::from_millis(1));
    assert_eq!(lab.failure(), Some(ErrorCode::SettingsTimeout as u32));

    let mut lab = Lab::new();
    assert_eq!(lab.connection.deadline(), None);
    lab.pass(std::time::Duration::from_secs(100));
    assert!(lab.is_well(1));
}

#[test]
fn header_blocks_that_are_not_hpack() {
    // §4.3: a connection error, on whatever stream they come
    let compression = ErrorCode::CompressionError;
    ends_connection(&frame(HEADERS, WHOLE, 1, &[0x80]), compression);
    ends_connection(&frame(HEADERS, WHOLE, 1, &[0x82, 0xff]), compression);
    ends_connection(&[get(1), frame(HEADERS, WHOLE, 1, &[0xfe])].concat(), compression);
    // A stream that is refused, or over, changes the table all the same (§4.3): both sides keep up.
    let mut lab = Lab::with(&Limits { streams: 1, ..Limits::default() }, &[]);
    let adds = [GET, b"\x40\x01n\x01v"].concat();
    lab.feed(&[get(1), frame(HEADERS, WHOLE, 3, &adds)].concat());
    assert_eq!(lab.resets(), [(3, ErrorCode::RefusedStream as u32)]);
    lab.answer(1, 0);
    lab.sent();
    // The path /, then both entries of the table: `n: v` and the authority.
    lab.feed(&frame(HEADERS, WHOLE, 5, &[0x82, 0x87, 0x84, 0xbf, 0xbe]));
    assert_eq!(lab.asked().last().unwrap().authority.as_deref(), Some(&b"a"[..]));
}

#[test]
fn the_verdict_does_not_depend_on_how_a_frame_is_cut() {
    // What a frame's header alone decides is decided on it: the stream first, then the size.
    let (protocol, size) = (ErrorCode::ProtocolError, ErrorCode::FrameSizeError);
    for len in [0, 1, 3, 5, 7, 8, 9, 12, 100, 16_000] {
        let payload = vec![0; len];
        ends_connection(&frame(RST_STREAM, 0, 0, &payload), protocol);
        ends_connection(&[get(1), frame(RST_STREAM, 0, 1, &payload)].concat(), size);
        ends_connection(&frame(PING, 0, 1, &payload), protocol);
        ends_connection(&frame(SETTINGS, 0, 1, &payload), protocol);
        ends_connection(&frame(GOAWAY, 0, 1, &payload), protocol);
        ends_connection(&frame(PRIORITY_UPDATE, 0, 1, &payload), protocol);
        ends_connection(&frame(WINDOW_UPDATE, 0, 0, &payload), size);
        ends_connection(&[get(1), frame(WINDOW_UPDATE, 0, 1, &payload)].concat(), size);
        ends_connection(&frame(PRIORITY, 0, 0, &payload), protocol);
        ends_connection(&frame(CONTINUATION, END_HEADERS, 1, &payload), protocol);
        ends_connection(&frame(PUSH_PROMISE, END_HEADERS, 1, &payload), protocol);
        if len != 8 {
            ends_connection(&frame(PING, 0, 0, &payload), size);
        }
        if len != 0 {
            ends_connection(&frame(SETTINGS, ACK, 0, &payload), size);
        }
        if len != 5 {
            // §6.3: an error of the stream; one that is not there cannot be reset.
            ends_stream(&[get(1), frame(PRIORITY, 0, 1, &payload)].concat(), 1, size);
            ends_connection(&frame(PRIORITY, 0, 1, &payload), size);
        }
    }
}

#[test]
fn a_priority_of_a_wrong_size_never_costs_more_than_its_stream() {
    let size = ErrorCode::FrameSizeError as u32;
    for len in [0, 4, 6, 16_384] {
        let wrong = frame(PRIORITY, 0, 1, &vec![0; len]);
        // Before the answer, in the middle of it, and when it has ended but the request has not:
        // the stream is reset (§6.3).
        for (first, answer) in
            [(get(1), None), (get(1), Some(70_000)), (frame(HEADERS, END_HEADERS, 1, POST), Some(3))]
        {
            let mut lab = Lab::new();
            lab.feed(&first);
            if let Some(len) = answer {
                lab.answer(1, len);
                lab.sent();
            }
            lab.feed(&wrong);
            assert_eq!(lab.resets(), [(1, size)], "{len}, {answer:?}");
            lab.feed(&wrong);
            assert!(lab.is_well(3), "nothing is left to reset");
        }
        // When both have ended, or the client has reset it, or opened only a later one: nothing.
        for (answered, before) in [(true, get(1)), (false, [get(1), reset(1, 8)].concat()), (false, get(3))] {
            let mut lab = Lab::new();
            lab.feed(&before);
            if answered {
                lab.answer(1, 3);
                lab.sent();
            }
            lab.feed(&wrong);
            assert!(lab.is_well(5), "{len}");
        }
        // No client opens stream 2.
        ends_connection(&[get(3), frame(PRIORITY, 0, 2, &vec![0; len])].concat(), ErrorCode::FrameSizeError);
    }
}
