//! Sending, and its order (RFC 9218 §10).

use super::ContentSource;
use super::connection::{Connection, Phase, SharedBuffers};
use super::flood::Flood;
use super::frame::{END_STREAM, HEADER, Header, Kind};
use super::stream::{Local, Stream};
use super::window;

/// Bytes below which a frame of DATA is not cut to fill the rest of a buffer.
const PIECE_MIN: usize = 1024;

impl<T: ContentSource> Connection<T> {
    /// Returns whether [`poll_send`](Connection::poll_send) has something to write.
    #[must_use]
    pub fn wants_send(&self) -> bool {
        !self.queue.is_empty() || self.pick().is_some()
    }

    /// Fills `out` with frames: replies to the peer's own frames and heads first, then content of
    /// all streams that are ready, the most urgent first. Returns the number of bytes written, 0
    /// when there is nothing to send now. Room for less than a kilobyte may be left.
    pub fn poll_send(&mut self, shared: &mut SharedBuffers<T>, out: &mut [u8]) -> usize {
        let mut len = self.queue.send(&mut shared.queues, out);
        while self.queue.is_empty()
            && let Some(at) = self.pick()
        {
            let Some(written) = self.write_data(shared, at, &mut out[len..], len == 0) else { break };
            len += written;
            // The end of a response may have left a frame to be sent.
            len += self.queue.send(&mut shared.queues, &mut out[len..]);
        }
        len
    }

    /// Returns the most urgent stream that could be sent on if its content were at hand: its
    /// number, the content, and how many bytes of it the windows allow now. The caller provides
    /// them.
    pub fn next_unready(&mut self) -> Option<(u32, &mut T, usize)> {
        let window = self.windows.send.available();
        if window <= 0 {
            return None;
        }
        let next_unready = self.streams.iter_mut().filter(|stream| {
            stream.window.available() > 0
                && matches!(&stream.local, Local::Sending { content, .. } if content.ready() == 0)
        });
        let stream = next_unready.min_by_key(|stream| (stream.priority.urgency, stream.served))?;
        let id = stream.id;
        let allowed = usize::try_from(stream.window.available().min(window)).unwrap_or(0);
        match &mut stream.local {
            Local::Sending { content, .. } => Some((id, content, allowed)),
            Local::Waiting(_) | Local::Finished => None,
        }
    }

    /// Returns the content of a stream that is being sent.
    pub fn content(&mut self, stream: u32) -> Option<&mut T> {
        let at = self.streams.find(stream)?;
        match &mut self.streams.at(at).local {
            Local::Sending { content, .. } => Some(content),
            Local::Waiting(_) | Local::Finished => None,
        }
    }

    /// Returns whether content waits for the peer to open a window, and nothing can be sent.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.streams.sending() > 0 && !self.wants_send()
    }

    /// Returns the place of the stream that is served next. Of those that are not incremental only
    /// the oldest within an urgency is considered; it takes turns with the incremental ones.
    fn pick(&self) -> Option<usize> {
        if self.streams.sending() == 0
            || self.windows.send.available() <= 0
            || matches!(self.phase, Phase::Failed(_))
        {
            return None;
        }
        let mut whole_seen = 0_u8;
        let mut best: Option<(u8, u32, usize)> = None;
        for (at, stream) in self.streams.iter().enumerate() {
            if !is_ready(stream) {
                continue;
            }
            let urgency = stream.priority.urgency;
            if !stream.priority.incremental {
                if whole_seen & (1 << urgency) != 0 {
                    continue;
                }
                whole_seen |= 1 << urgency;
            }
            if best.is_none_or(|(other, served, _)| (urgency, stream.served) < (other, served)) {
                best = Some((urgency, stream.served, at));
            }
        }
        best.map(|(_, _, at)| at)
    }

    /// Writes one frame of content; `None` when there is no room for one.
    fn write_data(
        &mut self,
        shared: &mut SharedBuffers<T>,
        at: usize,
        out: &mut [u8],
        first: bool,
    ) -> Option<usize> {
        let (frame_max, window) = (self.peer.frame_max as usize, self.windows.send.available());
        self.sent.data_frames = self.sent.data_frames.wrapping_add(1);
        let served = self.sent.data_frames;
        let stream = self.streams.at(at);
        let id = stream.id;
        let Local::Sending { content, left } = &mut stream.local else { return None };
        let window = usize::try_from(window.min(stream.window.available())).ok()?;
        let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
        let wanted = wanted.min(window).min(frame_max).min(content.ready());
        let room = out.len().checked_sub(HEADER)?;
        let len = wanted.min(room);
        if len == 0 || (len < wanted && len < PIECE_MIN && !first) {
            return None;
        }
        let end = len as u64 == *left;
        let header = Header { len, kind: Kind::Data, flags: if end { END_STREAM } else { 0 }, stream: id };
        out[..HEADER].copy_from_slice(&header.write());
        content.fill(&mut out[HEADER..HEADER + len]);
        *left -= len as u64;
        stream.window.consume(len);
        stream.served = served;
        self.windows.send.consume(len);
        self.sent.progress += len as u64;
        self.sent.unreturned += len as u64;
        if end || len as i64 >= window::STEP {
            // The peer has to open its windows for this again, both of them.
            self.floods.forgive(Flood::Windows, 2);
        }
        if end {
            self.finish_response(shared, at);
        }
        Some(HEADER + len)
    }
}

fn is_ready<T: ContentSource>(stream: &Stream<T>) -> bool {
    stream.window.available() > 0
        && matches!(&stream.local, Local::Sending { content, left } if *left > 0 && content.ready() > 0)
}
