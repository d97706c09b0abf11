//! The end of a connection in good order (RFC 9113 §6.8).

use crate::lab::*;
use sitar_http::h2::Limits;
use std::time::Duration;

fn goaway(last: u32) -> Frame {
    let payload = [&last.to_be_bytes()[..], &[0; 4]].concat();
    Frame { kind: GOAWAY, flags: 0, stream: 0, payload }
}

#[test]
fn in_flight_streams_finish() {
    let mut lab = Lab::new();
    lab.feed(&get(1));
    lab.answer(1, 70_000);
    lab.sent();
    lab.connection.begin_drain(&mut lab.shared, lab.now);
    // First without a limit, with a PING to see when the client has heard of it,
    let sent = lab.sent();
    assert_eq!(sent[0], goaway(0x7fff_ffff));
    assert_eq!((sent[1].kind, sent[1].flags, sent.len()), (PING, 0, 2));
    // so that what is on its way is answered;
    lab.feed(&get(3));
    assert_eq!(lab.asked().last().map(|asked| asked.stream), Some(3));
    lab.feed(&frame(PING, ACK, 0, &sent[1].payload));
    // then with the last stream.
    assert_eq!(lab.sent(), [goaway(3)]);
    assert!(!lab.connection.is_done());
    // A client that goes on all the same is not answered, and does no harm.
    let adds = [GET, b"\x40\x01n\x01v"].concat();
    lab.feed(
        &[frame(HEADERS, END_HEADERS, 5, &adds), frame(DATA, END_STREAM, 5, b"x"), reset(5, 8)].concat(),
    );
    assert_eq!((lab.asked(), lab.sent()), (vec![], vec![]));
    lab.answer(3, 5);
    lab.feed(&[window_update(0, 100_000), window_update(1, 100_000)].concat());
    lab.sent();
    assert!(lab.connection.is_done());
    assert_eq!(lab.connection.error(), None);
}

#[test]
fn a_client_that_does_not_answer_is_not_waited_for() {
    let mut lab = Lab::new();
    assert!(lab.is_well(1));
    lab.connection.begin_drain(&mut lab.shared, lab.now);
    lab.connection.begin_drain(&mut lab.shared, lab.now);
    assert_eq!(lab.sent().len(), 2);
    assert_eq!(lab.connection.deadline(), Some(lab.now + Duration::from_secs(1)));
    lab.pass(Duration::from_millis(999));
    assert!(!lab.connection.is_done());
    lab.pass(Duration::from_millis(1));
    assert_eq!(lab.sent(), [goaway(1)]);
    assert!(lab.connection.is_done());
}

#[test]
fn before_anything_was_said() {
    let mut lab = Lab::fresh(&Limits::default());
    lab.connection.begin_drain(&mut lab.shared, lab.now);
    let sent = lab.sent();
    assert_eq!((sent[0].kind, &sent[1..]), (SETTINGS, &[goaway(0)][..]));
    assert!(lab.connection.is_done());
}

#[test]
fn goaway_names_the_last_stream_that_was_taken() {
    // §5.4.1, §6.8
    let mut lab = Lab::new();
    lab.feed(&[get(1), get(7), frame(DATA, 0, 0, b"x")].concat());
    let mut expected = goaway(7);
    expected.payload[7] = 1;
    assert_eq!(lab.sent(), [expected]);
    lab.feed(&get(9));
    assert_eq!((lab.asked().len(), lab.sent()), (2, vec![]), "nothing is read any more");
}
