//! A client of bytes and a server's connection, in a time of their own.

pub(crate) use sitar_http::h2::testing::frame;
use sitar_http::h2::{
    Connection, ContentSource, ErrorCode, Limits, PREFACE, ResponseHead, SharedBuffers, testing::Hpack,
};
use sitar_http::{Rejection, Status};
use std::time::{Duration, Instant};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const PRIORITY_UPDATE: u8 = 0x10;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;
/// The flags of a GET without content.
pub(crate) const WHOLE: u8 = END_HEADERS | END_STREAM;

/// `:method GET, :scheme https, :path /, :authority a`
pub(crate) const GET: &[u8] = b"\x82\x87\x84\x41\x01a";
/// `:method POST, :scheme https, :path /, :authority a`
pub(crate) const POST: &[u8] = b"\x83\x87\x84\x41\x01a";

pub(crate) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, GET)
}

pub(crate) fn settings(list: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = list
        .iter()
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Literals without indexing after `start`.
pub(crate) fn with(start: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = start.to_vec();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "short ones only");
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frames(mut wire: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !wire.is_empty() {
        let len = u32::from_be_bytes([0, wire[0], wire[1], wire[2]]) as usize;
        frames.push(Frame {
            kind: wire[3],
            flags: wire[4],
            stream: u32::from_be_bytes([wire[5], wire[6], wire[7], wire[8]]),
            payload: wire[9..9 + len].to_vec(),
        });
        wire = &wire[9 + len..];
    }
    frames
}

/// Content whose bytes count up; `held` is what is not at hand yet.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) next: u8,
    pub(crate) left: usize,
    pub(crate) held: usize,
}

impl ContentSource for Counting {
    fn ready(&self) -> usize {
        self.left - self.held
    }

    fn fill(&mut self, out: &mut [u8]) {
        assert!(out.len() <= self.ready(), "more is taken than is there");
        for byte in &mut *out {
            *byte = self.next;
            self.next = self.next.wrapping_add(1);
        }
        self.left -= out.len();
    }
}

pub(crate) fn counting(len: usize) -> Counting {
    Counting { next: 0, left: len, held: 0 }
}

/// A request, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) stream: u32,
    pub(crate) path: Vec<u8>,
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) rejection: Option<Rejection>,
}

pub(crate) struct Lab {
    pub(crate) connection: Connection<Counting>,
    pub(crate) shared: SharedBuffers<Counting>,
    pub(crate) now: Instant,
    /// Received, not used yet.
    inbox: Vec<u8>,
    /// Requests since the last look.
    pub(crate) asked: Vec<Asked>,
}

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

impl Lab {
    /// A connection before the client's first byte.
    pub(crate) fn fresh(limits: &Limits) -> Lab {
        let (mut shared, now) = (SharedBuffers::new(limits), Instant::now());
        let connection = Connection::new(limits, &mut shared, now);
        Lab { connection, shared, now, inbox: Vec::new(), asked: Vec::new() }
    }

    /// A connection after the greetings, both acknowledged.
    pub(crate) fn new() -> Lab {
        Lab::with(&Limits::default(), &[])
    }

    /// The same, with these settings of the client's.
    pub(crate) fn with(limits: &Limits, list: &[(u16, u32)]) -> Lab {
        let mut lab = Lab::fresh(limits);
        lab.feed(&[PREFACE, &settings(list)[..], &frame(SETTINGS, ACK, 0, &[])].concat());
        lab.sent();
        lab
    }

    pub(crate) fn feed(&mut self, wire: &[u8]) {
        self.inbox.extend(wire);
        loop {
            let received = self.connection.receive(&mut self.shared, &self.inbox, self.now);
            let used = received.used;
            let more = match received.request {
                Some(ask) => {
                    let request = ask.request.ok();
                    self.asked.push(Asked {
                        stream: ask.stream,
                        path: request.map(|request| request.target.path.to_vec()).unwrap_or_default(),
                        authority: request.and_then(|request| request.authority).map(<[u8]>::to_vec),
                        rejection: ask.request.err(),
                    });
                    true
                }
                None => false,
            };
            self.inbox.drain(..used);
            if !more {
                break;
            }
        }
    }

    /// Bytes that the connection has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.inbox.len()
    }

    pub(crate) fn asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.now += span;
        self.connection.on_time(&mut self.shared, self.now);
    }

    pub(crate) fn answer(&mut self, stream: u32, len: usize) {
        self.answer_with(stream, counting(len));
    }

    pub(crate) fn answer_with(&mut self, stream: u32, content: Counting) {
        let length = content.left as u64;
        let answer = ResponseHead {
            status: Status::OK,
            date: DATE,
            block: b"",
            fields: &[],
            content_length: Some(length),
        };
        self.connection.respond(&mut self.shared, stream, &answer, content);
    }

    /// Everything that can be sent now, in records of 16 KiB.
    pub(crate) fn sent_bytes(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut record = vec![0; 16_384];
        loop {
            let len = self.connection.poll_send(&mut self.shared, &mut record);
            if len == 0 {
                return wire;
            }
            wire.extend(&record[..len]);
        }
    }

    pub(crate) fn sent(&mut self) -> Vec<Frame> {
        let wire = self.sent_bytes();
        frames(&wire)
    }

    /// The code of the GOAWAY that ends the connection, which nothing but settings and the like may
    /// go before.
    pub(crate) fn failure(&mut self) -> Option<u32> {
        let frames = self.sent();
        let goaway = frames.iter().find(|frame| frame.kind == GOAWAY)?;
        assert_eq!(frames.last(), Some(goaway), "nothing comes behind it");
        assert!(self.connection.is_done());
        let code = u32::from_be_bytes(*goaway.payload[4..].first_chunk().unwrap());
        assert_eq!(self.connection.error().map(|fault| fault.code as u32), Some(code));
        Some(code)
    }

    /// Streams that were reset, and how.
    pub(crate) fn resets(&mut self) -> Vec<(u32, u32)> {
        let resets = self.sent().into_iter().filter(|frame| frame.kind == RST_STREAM);
        resets
            .map(|frame| (frame.stream, u32::from_be_bytes(*frame.payload.first_chunk().unwrap())))
            .collect()
    }

    /// Whether the connection still works: a request on `stream` is handed out and answered.
    pub(crate) fn is_well(&mut self, stream: u32) -> bool {
        self.asked.clear();
        self.feed(&get(stream));
        if self.asked().iter().all(|asked| asked.stream != stream) {
            return false;
        }
        self.answer(stream, 0);
        let frames = self.sent();
        frames.iter().any(|frame| (frame.kind, frame.stream) == (HEADERS, stream))
    }
}

/// After greetings, `wire` ends the connection with this code, however its bytes come.
pub(crate) fn ends_connection(wire: &[u8], code: ErrorCode) {
    let mut lab = Lab::new();
    lab.feed(wire);
    assert_eq!(lab.failure(), Some(code as u32), "{}", wire.escape_ascii());
    let mut lab = Lab::new();
    wire.iter().for_each(|byte| lab.feed(&[*byte]));
    assert_eq!(lab.failure(), Some(code as u32), "in pieces: {}", wire.escape_ascii());
}

/// After greetings, `wire` makes the server reset `stream` with this code and go on, however its
/// bytes come. Streams below 1001 may be used in it.
pub(crate) fn ends_stream(wire: &[u8], stream: u32, code: ErrorCode) {
    for step in [wire.len(), 1] {
        let mut lab = Lab::new();
        wire.chunks(step).for_each(|piece| lab.feed(piece));
        assert_eq!(lab.resets(), [(stream, code as u32)], "in {step}: {}", wire.escape_ascii());
        assert!(lab.is_well(1001), "in {step}: {}", wire.escape_ascii());
    }
}

/// After greetings, `wire` changes nothing.
pub(crate) fn is_ignored(wire: &[u8]) {
    for step in [wire.len(), 1] {
        let mut lab = Lab::new();
        wire.chunks(step).for_each(|piece| lab.feed(piece));
        assert_eq!(lab.sent(), [], "in {step}: {}", wire.escape_ascii());
        assert!(lab.is_well(1001), "in {step}: {}", wire.escape_ascii());
    }
}

/// The fields of a response's head.
pub(crate) fn head(frame: &Frame) -> Vec<(String, String)> {
    assert_eq!(frame.kind, HEADERS);
    let list = Hpack::default().decode(&frame.payload).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    list.into_iter().map(|(name, value)| (text(name), text(value))).collect()
}
