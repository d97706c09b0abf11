//! Frames as they arrive, one after the other.

use std::time::Instant;

use super::connection::{Connection, ConnectionError, Phase, SharedBuffers};
use super::flood::Flood;
use super::frame::{ACK, END_STREAM, ErrorCode, HEADER, Header, Kind, PADDED, PAYLOAD_MAX, WINDOW_INITIAL};
use super::request::Parts;
use super::stream::{Local, Remote};
use super::{ContentSource, PREFACE};
use crate::{Method, Rejection, Request};

/// The result of [`Connection::receive`].
#[derive(Debug)]
pub struct Received<'s> {
    /// The number of bytes that are done with. The rest begins a frame that is not whole, or has to
    /// wait until the request is answered or something has been sent. It is to be given again, with
    /// what comes behind it.
    pub used: usize,
    /// A request. The bytes that are left may hold more.
    pub request: Option<StreamRequest<'s>>,
}

/// A request, and the stream that its response belongs to.
#[derive(Debug)]
pub struct StreamRequest<'s> {
    /// The stream. It has to be answered ([`Connection::respond_now`], [`Connection::respond`]) or
    /// parked ([`Connection::park`]) before more is received.
    pub stream: u32,
    /// The method, also where the request is refused: the response to HEAD has no content.
    pub method: Method,
    /// The request, or the reason to refuse it.
    pub request: Result<Request<'s>, Rejection>,
}

/// A request that is handed out, without a borrow of what it was read from.
pub(super) struct Asking {
    pub(super) stream: u32,
    pub(super) method: Method,
    pub(super) rejected: Option<Rejection>,
    pub(super) parts: Parts,
}

/// The result of one frame.
#[expect(clippy::large_enum_variant, reason = "a box would allocate on the path of a request")]
pub(super) enum Step {
    /// More bytes are needed.
    More,
    /// This many bytes are done with.
    Used(usize),
    /// This many bytes are done with, and there is a request.
    Request(usize, Asking),
}

impl<T: ContentSource> Connection<T> {
    /// Works on what was left the last time and what has come since, up to the next request.
    pub fn receive<'s>(
        &mut self,
        shared: &'s mut SharedBuffers<T>,
        input: &[u8],
        now: Instant,
    ) -> Received<'s> {
        let mut used = 0;
        let mut asking = None;
        while asking.is_none() && self.accepts_responses() {
            match self.step(shared, &input[used..], now) {
                Ok(Step::Used(len)) => used += len,
                Ok(Step::Request(len, request)) => {
                    used += len;
                    asking = Some(request);
                }
                Ok(Step::More) => break,
                Err(fault) => {
                    self.fail(shared, fault);
                    break;
                }
            }
            if self.is_overfull() {
                self.fail(shared, Flood::Unread.into());
            }
        }
        if let Phase::Failed(_) = self.phase {
            return Received { used: input.len(), request: None };
        }
        let kept = &*shared.kept;
        let request = asking.map(|Asking { stream, method, rejected, parts }| StreamRequest {
            stream,
            method,
            request: rejected.map_or_else(|| Ok(parts.view(kept)), Err),
        });
        Received { used, request }
    }

    /// Works on the first frame of `input`.
    fn step(
        &mut self,
        shared: &mut SharedBuffers<T>,
        input: &[u8],
        now: Instant,
    ) -> Result<Step, ConnectionError> {
        if self.skip > 0 && !input.is_empty() {
            let len = self.skip.min(input.len());
            self.skip -= len;
            return Ok(Step::Used(len));
        }
        if self.phase == Phase::Preface {
            return self.preface(input);
        }
        let Some(header) = Header::read(input) else { return Ok(Step::More) };
        if self.phase == Phase::Settings && (header.kind != Kind::Settings || header.flags & 1 != 0) {
            return Err(ConnectionError::protocol("the first frame is not SETTINGS"));
        }
        // §4.2
        if header.len > PAYLOAD_MAX {
            return Err(ConnectionError::size("a frame larger than allowed"));
        }
        check_form(header)?;
        // What is thrown away need not be there yet.
        match header.kind {
            Kind::Data => return self.on_data(shared, header, input, now),
            // The pieces may exceed the limit before this one is whole.
            Kind::Headers => return self.on_headers(shared, header, input, now),
            Kind::Priority => {
                self.on_priority(shared, header, now)?;
                self.skip = header.len;
                return Ok(Step::Used(HEADER));
            }
            // §5.5
            Kind::Unknown => {
                self.floods.count(Flood::Ignored, now)?;
                self.skip = header.len;
                return Ok(Step::Used(HEADER));
            }
            _ => {}
        }
        let Some(payload) = input[HEADER..].get(..header.len) else { return Ok(Step::More) };
        match header.kind {
            Kind::RstStream => self.on_reset(shared, header, now)?,
            Kind::Settings => self.on_settings(shared, header, payload, now)?,
            Kind::Ping => self.on_ping(shared, header, payload, now)?,
            Kind::Goaway => self.on_goaway(now)?,
            Kind::WindowUpdate => self.on_window_update(shared, header, payload, now)?,
            Kind::PriorityUpdate => self.on_priority_update(payload, now)?,
            // Done above, or refused by `check_form`.
            Kind::Data | Kind::Headers | Kind::Priority | Kind::Unknown => {}
            Kind::PushPromise | Kind::Continuation => {}
        }
        Ok(Step::Used(HEADER + header.len))
    }

    /// The client's preface (§3.4).
    fn preface(&mut self, input: &[u8]) -> Result<Step, ConnectionError> {
        let len = input.len().min(PREFACE.len());
        if input[..len] != PREFACE[..len] {
            return Err(ConnectionError::protocol("this is not HTTP/2"));
        }
        if len < PREFACE.len() {
            return Ok(Step::More);
        }
        self.phase = Phase::Settings;
        Ok(Step::Used(len))
    }

    /// DATA (§6.1). The content is thrown away as it comes: no response depends on it.
    fn on_data(
        &mut self,
        shared: &mut SharedBuffers<T>,
        header: Header,
        input: &[u8],
        now: Instant,
    ) -> Result<Step, ConnectionError> {
        let mut content = header.len;
        if header.has(PADDED) {
            if header.len == 0 {
                return Err(ConnectionError::size("a padded frame without the padding's length"));
            }
            let Some(&padding) = input.get(HEADER) else { return Ok(Step::More) };
            content = (header.len - 1)
                .checked_sub(usize::from(padding))
                .ok_or(ConnectionError::protocol("padding longer than the frame"))?;
        }
        self.skip = header.len;
        // §6.9: padding counts.
        let len = header.len as i64;
        let window = &mut self.windows.receive;
        *window -= len;
        if *window < 0 {
            return Err(ConnectionError::flow_control("more than the connection's window"));
        }
        if *window <= WINDOW_INITIAL / 2 {
            let more = (WINDOW_INITIAL - *window) as u32;
            *window = WINDOW_INITIAL;
            self.enqueue(shared, Kind::WindowUpdate, 0, 0, &more.to_be_bytes());
        }
        let end = header.has(END_STREAM);
        if content == 0 && !end {
            self.floods.count(Flood::Empty, now)?;
        }
        let Some(at) = self.streams.find(header.stream) else {
            self.on_closed(header, end, now)?;
            return Ok(Step::Used(HEADER));
        };
        let stream = self.streams.at(at);
        let Remote::Open { window, received, expected } = &mut stream.remote else {
            self.stream_error(shared, at, ErrorCode::StreamClosed, now)?;
            return Ok(Step::Used(HEADER));
        };
        *window -= len;
        *received += content as u64;
        let too_much = *window < 0;
        // §8.1.1
        let disagrees = expected.is_some_and(|expected| match end {
            true => *received != expected,
            false => *received > expected,
        });
        if too_much {
            self.stream_error(shared, at, ErrorCode::FlowControlError, now)?;
        } else if disagrees {
            self.stream_error(shared, at, ErrorCode::ProtocolError, now)?;
        } else if end {
            self.end_of_request(shared, at);
        } else {
            self.stop_if_answered(shared, at);
        }
        Ok(Step::Used(HEADER))
    }

    /// A frame on a stream that is not open (§5.1): one that was never opened, that was reset here
    /// while the client was still sending, that is not answered any more, or that has ended.
    pub(super) fn on_closed(
        &mut self,
        header: Header,
        end: bool,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if header.stream > self.ids.last_opened {
            return Err(ConnectionError::protocol("a frame on a stream that was not opened"));
        }
        let reset = self.ids.reset.iter().position(|&id| id == header.stream);
        if let (Some(at), true) = (reset, end) {
            self.ids.reset.remove(at);
        }
        if reset.is_none() && header.stream <= self.ids.last_accepted {
            return Err(ConnectionError::new(ErrorCode::StreamClosed, "a frame on a stream that has ended"));
        }
        self.floods.count(Flood::Ignored, now)?;
        Ok(())
    }

    /// The client has sent everything on this stream.
    pub(super) fn end_of_request(&mut self, shared: &mut SharedBuffers<T>, at: usize) {
        let stream = self.streams.at(at);
        stream.remote = Remote::Closed;
        if let Local::Finished = stream.local {
            self.streams.remove(at, &mut shared.lists);
        }
    }

    /// Ends a stream for a fault of the client's, which counts against its allowance.
    pub(super) fn stream_error(
        &mut self,
        shared: &mut SharedBuffers<T>,
        at: usize,
        code: ErrorCode,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        self.floods.count(Flood::Errors, now)?;
        self.reset_at(shared, at, code);
        Ok(())
    }
}

/// Checks what a frame's header alone decides: the stream that it may be on and the size that it
/// may have. Done before the payload is there, so that the verdict does not depend on how the bytes
/// were cut.
fn check_form(header: Header) -> Result<(), ConnectionError> {
    let on_stream = header.stream != 0;
    match header.kind {
        // §6.1, §6.2
        Kind::Data if !on_stream => Err(ConnectionError::protocol("DATA on stream 0")),
        Kind::Headers if !on_stream => Err(ConnectionError::protocol("HEADERS on stream 0")),
        // §6.3; another size than 5 is an error of the stream.
        Kind::Priority if !on_stream => Err(ConnectionError::protocol("PRIORITY on stream 0")),
        // §6.4
        Kind::RstStream if !on_stream => Err(ConnectionError::protocol("RST_STREAM on stream 0")),
        Kind::RstStream if header.len != 4 => Err(ConnectionError::size("RST_STREAM is 4 bytes long")),
        // §6.5
        Kind::Settings if on_stream => Err(ConnectionError::protocol("SETTINGS on a stream")),
        Kind::Settings if header.has(ACK) && header.len > 0 => {
            Err(ConnectionError::size("an acknowledgement of SETTINGS with content"))
        }
        Kind::Settings if !header.len.is_multiple_of(6) => {
            Err(ConnectionError::size("SETTINGS of a size that it cannot have"))
        }
        // §8.4
        Kind::PushPromise => Err(ConnectionError::protocol("PUSH_PROMISE from a client")),
        // §6.7
        Kind::Ping if on_stream => Err(ConnectionError::protocol("PING on a stream")),
        Kind::Ping if header.len != 8 => Err(ConnectionError::size("PING is 8 bytes long")),
        // §6.8
        Kind::Goaway if on_stream => Err(ConnectionError::protocol("GOAWAY on a stream")),
        Kind::Goaway if header.len < 8 => Err(ConnectionError::size("GOAWAY is at least 8 bytes long")),
        // §6.9
        Kind::WindowUpdate if header.len != 4 => Err(ConnectionError::size("WINDOW_UPDATE is 4 bytes long")),
        // §6.10
        Kind::Continuation => Err(ConnectionError::protocol("CONTINUATION without HEADERS")),
        // RFC 9218 §7.1
        Kind::PriorityUpdate if on_stream => Err(ConnectionError::protocol("PRIORITY_UPDATE on a stream")),
        Kind::PriorityUpdate if header.len < 4 => {
            Err(ConnectionError::size("PRIORITY_UPDATE is at least 4 bytes long"))
        }
        _ => Ok(()),
    }
}
