//! A client of HTTP/2: requests on streams, windows of its own, and every byte compared.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use sitar_http::h2::PREFACE;
use sitar_http::h2::testing::{self, Hpack};
use sitar_io::sim::Rng;

use super::asks::{Ask, Expected, MALFORMED};
use super::peer::Tally;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PRIORITY_UPDATE: u8 = 0x10;
const UNKNOWN: u8 = 0x77;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;

/// RFC 9113 §6.9.2
const WINDOW: i64 = 65_535;

/// A stream that this client has opened.
struct Open {
    expected: Expected,
    /// Bytes that the server may still send on it.
    window: i64,
    /// Whether the head has come, and the body that it announces.
    body: Option<Option<(Vec<u8>, u64)>>,
    received: usize,
    /// The rest of the request's content, and whether trailers come behind it.
    content: VecDeque<u8>,
    trailers: bool,
    /// Whether the client has sent the whole request.
    said: bool,
}

/// One client's side of a connection.
pub(super) struct Streams {
    requests: VecDeque<Ask>,
    /// Streams at a time.
    most: usize,
    open: BTreeMap<u32, Open>,
    /// Streams that this client has reset: what still comes for them is counted, and not looked at.
    reset: Vec<u32>,
    next: u32,
    hpack: Hpack,
    /// The connection's window, and what a new stream's begins with.
    window: i64,
    initial: i64,
    /// Bytes that a window is opened by at most.
    step: u32,
    greeted: bool,
    left: bool,
    /// The server takes no further requests.
    told: bool,
    /// It asks for nothing at present.
    is_idle: bool,
    /// The last stream that the server answers, where it has said so.
    last: u32,
    /// The server has said that the connection ends, or has ended a stream that was right.
    failed: bool,
    /// None of that may happen.
    calm: bool,
    /// Odd things that are still done between requests; so few that they must not be taken for a
    /// flood.
    oddities: usize,
    /// Whether streams' windows have been changed under way, so that what is on its way may exceed
    /// them.
    changed: bool,
}

impl Streams {
    pub(super) fn new(rng: &mut Rng, requests: VecDeque<Ask>, calm: bool) -> Streams {
        Streams {
            requests,
            most: 1 + rng.below(8),
            open: BTreeMap::new(),
            reset: Vec::new(),
            next: 1,
            hpack: Hpack::default(),
            window: WINDOW,
            initial: [WINDOW, WINDOW, 0, 1, 700, 1 << 20][rng.below(6)],
            step: [1 << 20, 70_000, 9_000, 2_000][rng.below(4)],
            greeted: false,
            left: false,
            told: false,
            is_idle: false,
            last: u32::MAX,
            failed: false,
            calm,
            oddities: [0, 12][rng.below(2)],
            changed: false,
        }
    }

    /// Whether everything has been asked and answered.
    pub(super) fn is_answered(&self) -> bool {
        self.requests.is_empty() && self.open.is_empty()
    }

    pub(super) fn is_asked(&self) -> bool {
        self.requests.is_empty() && self.open.values().all(|open| open.said)
    }

    pub(super) fn set_idle(&mut self, is_idle: bool) {
        self.is_idle = is_idle;
    }

    /// Returns how many requests have not been asked.
    pub(super) fn left(&self) -> usize {
        self.requests.len()
    }

    /// Whether the server has said that what is missing is not answered (RFC 9113 §6.8).
    pub(super) fn is_told(&self) -> bool {
        self.told && self.open.keys().all(|id| *id > self.last)
    }

    /// Returns how many answers are missing.
    pub(super) fn missing(&self) -> usize {
        self.requests.len() + self.open.len()
    }

    /// Whether the windows may have to be opened later on.
    pub(super) fn is_narrow(&self) -> bool {
        self.open.values().any(|open| open.window < 1 << 19) || self.window < 1 << 19
    }

    /// Says what can be said now. `end`: when all is answered, that nothing more will be asked.
    pub(super) fn ask(&mut self, out: &mut VecDeque<u8>, rng: &mut Rng, tally: &RefCell<Tally>, end: bool) {
        if !self.greeted {
            self.greeted = true;
            out.extend(PREFACE);
            let settings = [(3_u16, 7_u32), (4, self.initial as u32), (5, 16_384 + rng.below(60_000) as u32)];
            let payload: Vec<u8> = settings
                .iter()
                .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
                .collect();
            frame(out, SETTINGS, 0, 0, &payload);
        }
        self.open_windows(out, rng);
        let is_told = self.told && tally.borrow().draining;
        while !is_told
            && !self.is_idle
            && self.open.len() < self.most
            && let Some(ask) = self.requests.pop_front()
        {
            self.begin(out, rng, ask, tally.borrow().taken_up);
        }
        self.go_on(out, rng);
        if self.oddities > 0 && rng.chance(200) {
            self.oddities -= 1;
            self.do_something(out, rng);
        }
        if end && self.is_answered() && !self.left {
            self.left = true;
            frame(out, GOAWAY, 0, 0, &[0; 8]);
        }
    }

    fn open_windows(&mut self, out: &mut VecDeque<u8>, rng: &mut Rng) {
        let step = self.step as usize;
        if self.window < 1 << 19 && rng.chance(700) {
            let more = 1024 + rng.below(step) as u32;
            self.window += i64::from(more);
            frame(out, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        for (id, open) in &mut self.open {
            if open.window < 1 << 19 && rng.chance(700) {
                let more = 1024 + rng.below(step) as u32;
                open.window += i64::from(more);
                frame(out, WINDOW_UPDATE, 0, *id, &more.to_be_bytes());
            }
        }
    }

    /// Opens a stream.
    fn begin(&mut self, out: &mut VecDeque<u8>, rng: &mut Rng, ask: Ask, since: u64) {
        let Ask { method, path, fields, content, expected, .. } = ask;
        let id = self.next;
        self.next += 2;
        let mut block = Vec::new();
        let priority = format!("u={}{}", rng.below(8), if rng.chance(500) { ", i" } else { "" });
        let pseudo = [(":method", method), (":scheme", "https"), (":path", &path), (":authority", "a")];
        let pseudo = pseudo.into_iter().chain([("priority", &priority[..])]);
        let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let own = fields.iter().map(|(name, value)| (lower(name), value.clone()));
        for (name, value) in pseudo.chain(own) {
            // Literals: never indexed, without and with indexing.
            let kind = [0x10, 0x00, 0x40][rng.below(3)];
            block.push(kind);
            for text in [&name, &value] {
                assert!(text.len() < 127, "short ones only");
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        }
        let content = content.unwrap_or_default();
        let said = content.is_empty();
        let end = if said { END_STREAM } else { 0 };
        if rng.chance(150) {
            let (first, second) = block.split_at(1 + rng.below(block.len() - 1));
            frame(out, HEADERS, end, id, first);
            frame(out, CONTINUATION, END_HEADERS, id, second);
        } else {
            frame(out, HEADERS, end | END_HEADERS, id, &block);
        }
        let trailers = !said && rng.chance(300);
        let expected = Expected { since, ..expected };
        let open = Open {
            expected,
            window: self.initial,
            body: None,
            received: 0,
            content: content.into(),
            trailers,
            said,
        };
        self.open.insert(id, open);
    }

    /// Sends content of requests, a piece of each.
    fn go_on(&mut self, out: &mut VecDeque<u8>, rng: &mut Rng) {
        for (id, open) in &mut self.open {
            if open.said {
                continue;
            }
            let len = (1 + rng.below(900)).min(open.content.len());
            let piece: Vec<u8> = open.content.drain(..len).collect();
            let last = open.content.is_empty();
            let end = if last && !open.trailers { END_STREAM } else { 0 };
            if rng.chance(200) {
                let padded = [&[3][..], &piece, &[0; 3]].concat();
                frame(out, DATA, end | PADDED, *id, &padded);
            } else {
                frame(out, DATA, end, *id, &piece);
            }
            if last && open.trailers {
                frame(out, HEADERS, END_STREAM | END_HEADERS, *id, b"\x00\x01x\x01y");
            }
            open.said = last;
        }
    }

    /// Does one of the things that a client may do at any time.
    fn do_something(&mut self, out: &mut VecDeque<u8>, rng: &mut Rng) {
        match rng.below(5) {
            0 => frame(out, PING, 0, 0, b"12345678"),
            1 => frame(out, UNKNOWN, 0xff, rng.below(9) as u32, b"whatever"),
            2 => {
                let stream = 1 + 2 * rng.below(20) as u32;
                let value = format!("u={}, i=?{}", rng.below(8), rng.below(2));
                frame(out, PRIORITY_UPDATE, 0, 0, &[&stream.to_be_bytes()[..], value.as_bytes()].concat());
            }
            3 => {
                // RFC 9113 §6.9.2: open streams' windows move with it, and may become less than
                // nothing.
                let next = [WINDOW, 0, 700, 1 << 20][rng.below(4)];
                for open in self.open.values_mut() {
                    open.window += next - self.initial;
                }
                self.initial = next;
                self.changed = true;
                let payload = [&4_u16.to_be_bytes()[..], &(next as u32).to_be_bytes()].concat();
                frame(out, SETTINGS, 0, 0, &payload);
            }
            _ => {
                if let Some(&id) = self.open.keys().nth(rng.below(self.most)) {
                    self.open.remove(&id);
                    self.reset.push(id);
                    frame(out, RST_STREAM, 0, id, &CANCEL.to_be_bytes());
                }
            }
        }
    }

    /// Reads the frames that have come. `false`: the conversation is over.
    pub(super) fn understand(
        &mut self,
        inbox: &mut Vec<u8>,
        out: &mut VecDeque<u8>,
        tally: &Rc<RefCell<Tally>>,
    ) -> bool {
        let mut used = 0;
        while let Some(header) = inbox[used..].first_chunk::<9>() {
            let len = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let (kind, flags) = (header[3], header[4]);
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            let Some(payload) = inbox[used..].get(9..9 + len) else { break };
            self.on_frame(kind, flags, stream, payload, out, &mut tally.borrow_mut());
            used += 9 + len;
        }
        inbox.drain(..used);
        !self.failed
    }

    fn on_frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        out: &mut VecDeque<u8>,
        tally: &mut Tally,
    ) {
        match kind {
            SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(out, PING, ACK, 0, payload),
            SETTINGS | PING | WINDOW_UPDATE => {}
            HEADERS => self.on_head(flags, stream, payload, out, tally),
            DATA => self.on_data(flags, stream, payload, out, tally),
            RST_STREAM => self.on_reset(stream, payload, tally),
            GOAWAY => {
                let code = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]);
                // NO_ERROR is a graceful end: what had been asked is still answered.
                assert!(!self.calm || code == 0, "GOAWAY with {code}");
                self.failed |= code != 0;
                self.told = true;
                let last = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]);
                assert!(last <= self.last, "the last stream rises from {} to {last}", self.last);
                self.last = last;
            }
            other => panic!("a frame of type {other} from a server"),
        }
    }

    fn on_head(&mut self, flags: u8, stream: u32, payload: &[u8], out: &mut VecDeque<u8>, tally: &mut Tally) {
        assert!(flags & END_HEADERS != 0, "heads are one frame");
        // In any case: the table is the connection's.
        let list = self.hpack.decode(payload).expect("a header block");
        if self.reset.contains(&stream) {
            return;
        }
        let open = self.open.get_mut(&stream).expect("a head of no open stream");
        assert!(open.body.is_none(), "two heads");
        // As text with the names that HTTP/1 would have.
        let mut text = String::new();
        for (name, value) in list {
            let (name, value) = (String::from_utf8(name).unwrap(), String::from_utf8(value).unwrap());
            assert_eq!(name, name.to_lowercase());
            let name = match &name[..] {
                "content-length" => "Content-Length",
                "content-range" => "Content-Range",
                other => other,
            };
            text.push_str(&format!("{name}: {value}\n"));
        }
        assert!(
            text.starts_with(&format!(":status: {}\n", open.expected.status)),
            "{:?}: {text}",
            open.expected
        );
        let body = open.expected.body(&text, tally.put_up);
        if let (Some((body, _)), false) = (&body, open.expected.head_only) {
            assert!(text.contains(&format!("Content-Length: {}\n", body.len())), "{text}");
        }
        open.body = Some(body);
        if flags & END_STREAM != 0 {
            self.on_end(stream, out, tally);
        }
    }

    fn on_data(&mut self, flags: u8, stream: u32, payload: &[u8], out: &mut VecDeque<u8>, tally: &mut Tally) {
        self.window -= payload.len() as i64;
        assert!(self.window >= 0, "more than the connection's window");
        if self.reset.contains(&stream) {
            return;
        }
        let open = self.open.get_mut(&stream).expect("content of no open stream");
        open.window -= payload.len() as i64;
        assert!(self.changed || open.window >= 0, "more than the stream's window");
        assert!(!open.expected.head_only, "content in answer to HEAD");
        let body = open.body.as_ref().expect("content before the head");
        if let Some((body, _)) = body {
            let there = body.get(open.received..open.received + payload.len());
            assert!(there == Some(payload), "a body differs, stream {stream} at {}", open.received);
        }
        open.received += payload.len();
        if flags & END_STREAM != 0 {
            self.on_end(stream, out, tally);
        }
    }

    fn on_end(&mut self, stream: u32, out: &mut VecDeque<u8>, tally: &mut Tally) {
        let open = self.open.remove(&stream).expect("it was there");
        if !open.said {
            // The rest is of no use.
            self.reset.push(stream);
            frame(out, RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        }
        let body = open.body.expect("an end before the head");
        if let (Some((body, turn)), false) = (body, open.expected.head_only) {
            assert_eq!(open.received, body.len(), "an end too early");
            tally.swapped += u64::from(turn > 0);
        }
        tally.answers += 1;
        tally.streams += 1;
        tally.late += u64::from(tally.draining);
        tally.refused += u64::from(open.expected.status >= 400);
    }

    fn on_reset(&mut self, stream: u32, payload: &[u8], tally: &mut Tally) {
        let code = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]);
        if self.reset.contains(&stream) {
            return;
        }
        let open = self.open.remove(&stream).expect("a reset of a stream that is over");
        self.reset.push(stream);
        if open.expected.status == MALFORMED {
            assert_eq!(code, PROTOCOL_ERROR);
            tally.answers += 1;
            tally.streams += 1;
            tally.refused += 1;
            return;
        }
        assert!(!self.calm, "a stream was reset with {code}: {:?}", open.expected);
        self.failed = true;
    }
}

/// Writes `Range` in lower case, as HTTP/2 requires; a name that is wrong on purpose stays as it
/// is.
fn lower(name: &str) -> String {
    if name == "Range" { name.to_lowercase() } else { name.to_owned() }
}

fn frame(out: &mut VecDeque<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend(testing::frame(kind, flags, stream, payload));
}
