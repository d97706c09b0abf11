//! A body ends at the same byte, or is refused with the same status, however its bytes arrive.

use sitar_http::h1::{BodyDrain, Drained, Framing, Limits};

/// The first byte says how long the body is (0: chunked) and into what pieces it is cut; the rest
/// is what a client sends.
pub(crate) fn check(data: &[u8]) {
    let Some((&control, wire)) = data.split_first() else { return };
    let limits = Limits { body: 200, ..Limits::default() };
    let framing = if control & 0x0f == 0 { Framing::Chunked } else { Framing::Length(u64::from(control)) };
    let Ok(Some(mut drain)) = BodyDrain::new(framing, &limits) else {
        assert!(u64::from(control) > limits.body);
        return;
    };
    let whole = drain.clone().feed(wire);

    let mut consumed = 0;
    let mut pieces = Ok(Drained::Part);
    for piece in wire.chunks(usize::from(control >> 4) + 1) {
        match drain.feed(piece) {
            Ok(Drained::Part) => consumed += piece.len(),
            Ok(Drained::Whole(len)) => {
                assert!(len <= piece.len());
                consumed += len;
                pieces = Ok(Drained::Whole(consumed));
                break;
            }
            Err(rejection) => {
                pieces = Err(rejection);
                break;
            }
        }
    }
    assert_eq!(pieces, whole);
    if let (Ok(Drained::Whole(len)), Framing::Chunked) = (whole, framing) {
        assert!(wire[..len].ends_with(b"\r\n\r\n"));
    }
}
