//! The order in which streams are served (RFC 9218).

use crate::lab::*;
use sitar_http::h2::Limits;

/// A GET with a priority.
fn get_with(stream: u32, priority: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &with(GET, &[("priority", priority)]))
}

/// A connection whose windows do not matter.
fn wide() -> Lab {
    let mut lab = Lab::with(&Limits::default(), &[(4, 1 << 30)]);
    lab.feed(&window_update(0, 1 << 30));
    lab
}

/// The streams of DATA frames, in order.
fn order(lab: &mut Lab) -> Vec<u32> {
    lab.sent().iter().filter(|frame| frame.kind == DATA).map(|frame| frame.stream).collect()
}

/// Streams with two frames of content each.
fn two_frames(requests: &[(u32, &str)]) -> Lab {
    let mut lab = wide();
    for (stream, priority) in requests {
        lab.feed(&get_with(*stream, priority));
        lab.answer(*stream, 2 * 16_000);
    }
    lab
}

/// Frames of one record each: heads are out of the way.
fn order_in_records(lab: &mut Lab) -> Vec<u32> {
    let mut heads = vec![0; 4096];
    // One head of some 50 bytes for each stream; content is not cut as small as what is left of the
    // room.
    let len = lab.connection.poll_send(&mut lab.shared, &mut heads[..60 * lab.connection.streams()]);
    assert!(frames(&heads[..len]).iter().all(|frame| frame.kind == HEADERS));
    order(lab)
}

#[test]
fn the_more_urgent_first() {
    // RFC 9218 §4.1, §10: in the order of urgency, by default 3; within it, one after the other
    let mut lab = two_frames(&[(1, "u=5"), (3, ""), (5, "u=0"), (7, "u=3"), (9, "u=7")]);
    assert_eq!(order_in_records(&mut lab), [5, 5, 3, 3, 7, 7, 1, 1, 9, 9]);
}

#[test]
fn incremental_ones_share() {
    // §4.2, §10
    let mut lab = two_frames(&[(1, "i"), (3, "i"), (5, "i")]);
    assert_eq!(order_in_records(&mut lab), [1, 3, 5, 1, 3, 5]);
    // Those that are not are served in turn, as if they were one of those that share.
    let mut lab = two_frames(&[(1, ""), (3, "i"), (5, "")]);
    assert_eq!(order_in_records(&mut lab), [1, 3, 1, 5, 3, 5]);
}

#[test]
fn priorities_may_change() {
    // §7.1: for a stream that is open
    let mut lab = two_frames(&[(1, ""), (3, "")]);
    lab.feed(&frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x03u=1"));
    assert_eq!(order_in_records(&mut lab), [3, 3, 1, 1]);
    // for one to come; what comes with the request itself is older then (§7)
    let mut lab = wide();
    lab.feed(&frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x03u=1"));
    for stream in [1, 3] {
        lab.feed(&get_with(stream, "u=4"));
        lab.answer(stream, 2 * 16_000);
    }
    assert_eq!(order_in_records(&mut lab), [3, 3, 1, 1]);
    // for one that is over, or malformed: nothing
    is_ignored(&[get(1), reset(1, 8), frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01\xff\xff")].concat());
}

#[test]
fn an_urgent_request_overtakes_what_is_under_way() {
    let mut lab = wide();
    lab.feed(&get_with(1, "u=6"));
    lab.answer(1, 1_000_000);
    let mut record = vec![0; 16_384];
    for _ in 0..3 {
        assert!(lab.connection.poll_send(&mut lab.shared, &mut record) > 0);
    }
    lab.feed(&get_with(3, "u=1"));
    lab.answer(3, 100);
    let len = lab.connection.poll_send(&mut lab.shared, &mut record);
    let streams: Vec<u32> = frames(&record[..len]).iter().map(|frame| frame.stream).collect();
    assert_eq!(streams, [3, 3, 1], "head and content, and the rest of the record for the other");
}

#[test]
fn records_are_full() {
    // 32 answers of a kilobyte share three records.
    let mut lab = wide();
    for nth in 0..32 {
        lab.feed(&get(2 * nth + 1));
        lab.answer(2 * nth + 1, 1024);
    }
    let (mut record, mut sizes) = (vec![0; 16_384], Vec::new());
    loop {
        match lab.connection.poll_send(&mut lab.shared, &mut record) {
            0 => break,
            len => sizes.push(len),
        }
    }
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert!(sizes[..2].iter().all(|size| *size > 16_384 - 1024 - 9), "{sizes:?}");
}
