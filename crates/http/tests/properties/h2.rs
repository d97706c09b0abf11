//! A connection of HTTP/2 does the same however its bytes arrive, and stays within its bounds
//! whatever they are.

use sitar_http::h2::{Connection, ContentSource, ErrorCode, Limits, PREFACE, ResponseHead, SharedBuffers};
use sitar_http::{Method, Status};
use std::time::Instant;

struct Zeros(usize);

impl ContentSource for Zeros {
    fn ready(&self) -> usize {
        self.0
    }

    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.0 -= out.len();
    }
}

/// The outcome of a run.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<(u32, Method, Option<Vec<u8>>)>,
    failed: Option<ErrorCode>,
    /// Nothing, when it failed: what had been sent before depends on how the bytes come.
    sent: Vec<u8>,
}

/// `data`: one byte says how many bytes come at a time in the second run, the others are what a
/// client sends behind its preface.
pub(crate) fn check(data: &[u8]) {
    let Some((&step, wire)) = data.split_first() else { return };
    let whole = run(wire, wire.len().max(1));
    let pieces = run(wire, usize::from(step) + 1);
    assert_eq!(whole, pieces);
}

fn run(wire: &[u8], step: usize) -> Outcome {
    let limits = Limits { streams: 8, list: 2048, ..Limits::default() };
    let now = Instant::now();
    let mut shared = SharedBuffers::new(&limits);
    let mut connection = Connection::new(&limits, &mut shared, now);
    let mut outcome = Outcome { requests: Vec::new(), failed: None, sent: Vec::new() };
    let mut inbox = PREFACE.to_vec();
    for piece in wire.chunks(step) {
        inbox.extend(piece);
        take(&mut connection, &mut shared, &mut inbox, now, &mut outcome);
    }
    loop {
        let (taken, sent) = (inbox.len(), outcome.sent.len());
        take(&mut connection, &mut shared, &mut inbox, now, &mut outcome);
        send(&mut connection, &mut shared, &mut outcome);
        if (taken, sent) == (inbox.len(), outcome.sent.len()) {
            break;
        }
    }
    assert!(inbox.len() <= (64 << 10) + 8 * (9 + 255) || connection.error().is_none());
    check_frames(&outcome.sent);
    outcome.failed = connection.error().map(|fault| fault.code);
    if outcome.failed.is_some() {
        assert!(connection.is_done());
        outcome.sent.clear();
    }
    connection.release(&mut shared);
    outcome
}

fn take(
    connection: &mut Connection<Zeros>,
    shared: &mut SharedBuffers<Zeros>,
    inbox: &mut Vec<u8>,
    now: Instant,
    outcome: &mut Outcome,
) {
    loop {
        let received = connection.receive(shared, inbox, now);
        assert!(received.used <= inbox.len());
        let ask = received.request.map(|ask| {
            (ask.stream, ask.method, ask.request.ok().map(|request| request.target.path.to_vec()))
        });
        inbox.drain(..received.used);
        assert!(connection.streams() <= 8);
        assert!(connection.memory() < 128 << 10);
        let Some(ask) = ask else { return };
        let length = u64::from(ask.0 % 64) * 1024;
        let answer = ResponseHead {
            status: Status::OK,
            date: b"Sun, 06 Nov 1994 08:49:37 GMT",
            block: b"",
            fields: &[],
            content_length: Some(length),
        };
        if ask.1 == Method::Head {
            connection.respond_without_content(shared, ask.0, &answer);
        } else {
            connection.respond(shared, ask.0, &answer, Zeros(length as usize));
        }
        outcome.requests.push(ask);
    }
}

fn send(connection: &mut Connection<Zeros>, shared: &mut SharedBuffers<Zeros>, outcome: &mut Outcome) {
    let mut record = [0; 16_384];
    loop {
        let len = connection.poll_send(shared, &mut record);
        outcome.sent.extend(&record[..len]);
        if len == 0 {
            assert!(!connection.wants_send());
            return;
        }
    }
}

/// Whole frames of the kinds that a server sends, content within the connection's window as it was
/// at first, as long as nothing else was said.
fn check_frames(mut wire: &[u8]) {
    while let [a, b, c, kind, _, rest @ ..] = wire {
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        assert!(matches!(kind, 0 | 1 | 3 | 4 | 6 | 7 | 8), "a frame of kind {kind}");
        assert!(len <= 16_384);
        wire = &rest[4 + len..];
    }
    assert!(wire.is_empty());
}
