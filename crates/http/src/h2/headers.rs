//! HEADERS and CONTINUATION (RFC 9113 §6.2, §6.10): requests and trailers.

use std::time::Instant;

use super::ContentSource;
use super::connection::{Connection, ConnectionError, Phase, SharedBuffers};
use super::flood::Flood;
use super::frame::{
    END_HEADERS, END_STREAM, ErrorCode, HEADER, Header, Kind, PADDED, PAYLOAD_MAX, PRIORITY, WINDOW_INITIAL,
};
use super::receive::{Asking, Step};
use super::request::{Intake, Malformed, Trailers};
use super::stream::{Local, Remote, Stream};
use super::window::Window;

/// Frames that one field block may come in. Five of the usual size hold the largest block that is
/// accepted.
const FRAGMENTS_MAX: usize = 8;

/// A field block (§4.3) in the bytes that it came in.
enum Block<'i> {
    /// More bytes are needed.
    Incomplete,
    /// It came in one frame; nothing is copied.
    Whole(&'i [u8]),
    /// It came in several, which are joined in [`SharedBuffers`].
    Joined,
}

impl<T: ContentSource> Connection<T> {
    /// HEADERS (§6.2). `input` begins with the frame, which may not be whole.
    pub(super) fn on_headers(
        &mut self,
        shared: &mut SharedBuffers<T>,
        header: Header,
        input: &[u8],
        now: Instant,
    ) -> Result<Step, ConnectionError> {
        let (block, used) = self.block(shared, header, input)?;
        // The block must be decoded in any case, or the next one could not be (§4.3).
        let joined = std::mem::take(&mut shared.joined);
        let block = match block {
            Block::Incomplete => {
                shared.joined = joined;
                return Ok(Step::More);
            }
            Block::Whole(block) => block,
            Block::Joined => {
                // No client needs several frames for what fits into one (CVE-2024-27316).
                if joined.len() <= PAYLOAD_MAX {
                    self.floods.count(Flood::Headers, now)?;
                }
                &joined[..]
            }
        };
        let end = header.has(END_STREAM);
        let step = match self.streams.find(header.stream) {
            Some(at) => self.trailers(shared, at, block, end, now).map(|()| Step::Used(used)),
            None if header.stream > self.ids.last_opened => {
                self.request(shared, header.stream, block, end, used, now)
            }
            None => self
                .decode_trailers(shared, block)
                .and_then(|_| self.on_closed(header, end, now))
                .map(|()| Step::Used(used)),
        };
        shared.joined = joined;
        step
    }

    /// Finds the block's fragments, and the number of bytes that they lie in.
    fn block<'i>(
        &self,
        shared: &mut SharedBuffers<T>,
        header: Header,
        input: &'i [u8],
    ) -> Result<(Block<'i>, usize), ConnectionError> {
        let too_large = || ConnectionError::from(Flood::Headers);
        if header.len > self.limits.block + usize::from(u8::MAX) {
            return Err(too_large());
        }
        let whole = HEADER + header.len;
        let Some(payload) = input.get(HEADER..whole) else { return Ok((Block::Incomplete, 0)) };
        let first = fragment(header, payload)?;
        if first.len() > self.limits.block {
            return Err(too_large());
        }
        if header.has(END_HEADERS) {
            return Ok((Block::Whole(first), whole));
        }
        // Nothing is copied before all of it is there: a peer may send it byte by byte.
        let (mut end, mut len) = (whole, first.len());
        for _ in 1..FRAGMENTS_MAX {
            let Some(next) = Header::read(&input[end..]) else { return Ok((Block::Incomplete, 0)) };
            // §6.2: nothing else may come in between.
            if next.kind != Kind::Continuation || next.stream != header.stream {
                return Err(ConnectionError::protocol("another frame within a header block"));
            }
            if next.len > PAYLOAD_MAX {
                return Err(ConnectionError::size("a frame larger than allowed"));
            }
            len += next.len;
            if len > self.limits.block {
                return Err(too_large());
            }
            end += HEADER + next.len;
            if end > input.len() {
                return Ok((Block::Incomplete, 0));
            }
            if next.has(END_HEADERS) {
                join(&mut shared.joined, first, &input[whole..end]);
                return Ok((Block::Joined, end));
            }
        }
        Err(too_large())
    }

    /// A field block that opens a stream.
    fn request(
        &mut self,
        shared: &mut SharedBuffers<T>,
        id: u32,
        block: &[u8],
        end: bool,
        used: usize,
        now: Instant,
    ) -> Result<Step, ConnectionError> {
        // §5.1.1
        if id.is_multiple_of(2) {
            return Err(ConnectionError::protocol("a client opened a stream with an even number"));
        }
        self.ids.last_opened = id;
        let mut intake = Intake::new(&mut shared.kept, &self.limits);
        self.decoder.decode(block, &mut shared.scratch, &mut intake)?;
        let parts = intake.finish();
        if parts.is_bomb(block.len(), &self.limits) {
            return Err(Flood::Headers.into());
        }
        // §6.8: a client that knows the last stream knows that this one is not answered.
        if self.phase == Phase::Drained {
            self.floods.count(Flood::Ignored, now)?;
            return Ok(Step::Used(used));
        }
        self.ids.last_accepted = id;
        // §5.1.2
        if self.streams.len() >= self.limits.streams as usize {
            self.floods.count(Flood::Errors, now)?;
            self.send_reset(shared, id, ErrorCode::RefusedStream, !end);
            return Ok(Step::Used(used));
        }
        let asked = parts.check(&shared.kept);
        // §8.1.1: a length that no content comes to.
        let asked =
            asked.ok().filter(|asked| !(end && asked.content_length.is_some_and(|length| length > 0)));
        let Some(asked) = asked else {
            self.floods.count(Flood::Errors, now)?;
            self.send_reset(shared, id, ErrorCode::ProtocolError, !end);
            return Ok(Step::Used(used));
        };
        let remote = match end {
            true => Remote::Closed,
            false => Remote::Open { window: WINDOW_INITIAL, received: 0, expected: asked.content_length },
        };
        let stream = Stream {
            id,
            priority: self.streams.take_hint(id).unwrap_or(asked.priority),
            remote,
            local: Local::Waiting(None),
            window: Window::new(self.peer.initial_window),
            served: 0,
        };
        self.streams.push(stream, &mut shared.lists);
        let asking = Asking { stream: id, method: asked.method, rejected: asked.rejected, parts };
        Ok(Step::Request(used, asking))
    }

    /// A second field block, which ends the request (§8.1).
    fn trailers(
        &mut self,
        shared: &mut SharedBuffers<T>,
        at: usize,
        block: &[u8],
        end: bool,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let trailers = self.decode_trailers(shared, block)?;
        let code = match &self.streams.at(at).remote {
            Remote::Closed => ErrorCode::StreamClosed,
            Remote::Open { received, expected, .. } => {
                let complete = expected.is_none_or(|expected| *received == expected);
                if end && trailers.is_ok() && complete {
                    self.end_of_request(shared, at);
                    return Ok(());
                }
                ErrorCode::ProtocolError
            }
        };
        self.stream_error(shared, at, code, now)
    }

    /// Decodes trailers, which are checked and not kept.
    fn decode_trailers(
        &mut self,
        shared: &mut SharedBuffers<T>,
        block: &[u8],
    ) -> Result<Result<(), Malformed>, ConnectionError> {
        let mut trailers = Trailers::new(&self.limits);
        self.decoder.decode(block, &mut shared.scratch, &mut trailers)?;
        Ok(trailers.malformed.map_or(Ok(()), Err))
    }
}

/// Joins a field block: the fragment in HEADERS, and the payloads of the CONTINUATION frames behind
/// it.
fn join(joined: &mut Vec<u8>, first: &[u8], mut frames: &[u8]) {
    joined.clear();
    joined.extend_from_slice(first);
    while let Some(header) = Header::read(frames) {
        let (frame, rest) = frames.split_at_checked(HEADER + header.len).unwrap_or((frames, &[]));
        joined.extend_from_slice(&frame[HEADER..]);
        frames = rest;
    }
}

/// Returns the part of a HEADERS frame that belongs to the field block.
fn fragment(header: Header, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    let mut rest = payload;
    let mut padding = 0;
    if header.has(PADDED) {
        let (&len, after) =
            rest.split_first().ok_or(ConnectionError::size("HEADERS without its padding's length"))?;
        (padding, rest) = (usize::from(len), after);
    }
    // §5.3.2: priorities of RFC 7540 are ignored.
    if header.has(PRIORITY) {
        rest = rest.get(5..).ok_or(ConnectionError::size("HEADERS without the priority that it has"))?;
    }
    let len =
        rest.len().checked_sub(padding).ok_or(ConnectionError::protocol("padding longer than the frame"))?;
    Ok(&rest[..len])
}
