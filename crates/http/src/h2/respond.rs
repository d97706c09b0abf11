//! Responses: heads written, content written with them or kept until there is room.

use super::ContentSource;
use super::connection::{Connection, RESPONSE_PROGRESS, SharedBuffers};
use super::flood::Flood;
use super::frame::{END_HEADERS, END_STREAM, HEADER, Header, Kind, PAYLOAD_MAX};
use super::hpack::{Writer, encoded_max, write_literal, write_pieces, write_status};
use super::stream::{Local, Remote};
use crate::{Decimal, FIELDS_MAX, Status};

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: Status,
    /// The value of Date, an IMF-fixdate; see [`crate::date::write_imf`].
    pub date: &'a [u8; 29],
    /// Encoded fields, made by [`field_block`](super::field_block); neither Date nor
    /// Content-Length.
    pub block: &'a [u8],
    /// More field lines in pieces, each line ended by CR LF, as in HTTP/1. They are trusted. A
    /// piece is whole lines, or a part of one line that ends with the first piece behind it that
    /// ends in LF.
    pub fields: &'a [&'a [u8]],
    /// Bytes of the content, also where it is not sent (HEAD). `None` for 204 and 304 (RFC 9110
    /// §8.6).
    pub content_length: Option<u64>,
}

/// Bytes that a head needs beyond its fields, at most: frame header, table size update, status,
/// date, length.
const HEAD_OVERHEAD_MAX: usize = 96;
/// Bytes of the largest head: one frame that every peer accepts.
const HEAD_MAX: usize = HEADER + PAYLOAD_MAX;
const _: () = assert!(HEAD_OVERHEAD_MAX + encoded_max(FIELDS_MAX) <= HEAD_MAX);
const _: () =
    assert!(crate::h1::HEAD_OVERHEAD_MAX + FIELDS_MAX <= PAYLOAD_MAX, "nor is a record of TLS larger");

impl ResponseHead<'_> {
    /// Returns the bytes that the frame of this head needs, at most.
    #[must_use]
    pub fn room(&self) -> usize {
        let fields = self.fields.iter().map(|piece| piece.len()).sum();
        HEAD_OVERHEAD_MAX + self.block.len() + encoded_max(fields)
    }

    /// Writes the HEADERS frame and returns its length; `None` when `out` is too small. `is_first`:
    /// it is the first one of its connection.
    fn write(&self, out: &mut [u8], stream: u32, end: bool, is_first: bool) -> Option<usize> {
        let mut out = Writer::new(out);
        out.put(&[0; HEADER])?;
        if is_first {
            // RFC 7541 §6.3: the encoder's table is empty, and stays so, whatever the peer would
            // allow.
            out.put(&[0x20])?;
        }
        write_status(&mut out, self.status)?;
        write_literal(&mut out, b"date", self.date)?;
        if let Some(length) = self.content_length {
            write_literal(&mut out, b"content-length", Decimal::new(length).as_bytes())?;
        }
        out.put(self.block)?;
        write_pieces(&mut out, self.fields)?;
        let len = out.len();
        if len > HEAD_MAX {
            return None;
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        let header = Header { len: len - HEADER, kind: Kind::Headers, flags, stream };
        out.written()[..HEADER].copy_from_slice(&header.write());
        Some(len)
    }
}

impl<T: ContentSource> Connection<T> {
    /// Responds with all of the content at once, the fast way for small responses. What waits to be
    /// sent goes first, with them into `out`.
    ///
    /// Returns the number of bytes written. `None`, and nothing has changed, when the windows or
    /// `out` have no room for all of it, when content that came before still waits, or when the
    /// stream is gone.
    pub fn respond_now(
        &mut self,
        shared: &mut SharedBuffers<T>,
        stream: u32,
        head: &ResponseHead<'_>,
        content: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let at = self.streams.find(stream)?;
        let len = content.len();
        let others_wait = self.streams.sending() > 0;
        if others_wait
            || len > self.peer.frame_max as usize
            || len as i64 > self.windows.send.available()
            || (len as i64 > self.streams.at(at).window.available() && len > 0)
            || !matches!(self.streams.at(at).local, Local::Waiting(_))
        {
            return None;
        }
        let queued = self.queue.waiting().len();
        let (before, room) = out.split_at_mut_checked(queued)?;
        let content_room = if len == 0 { 0 } else { HEADER + len };
        if room.len() < head.room() + content_room {
            return None;
        }
        let head_len = head.write(room, stream, len == 0, !self.sent.has_emptied_table)?;
        let mut written = head_len;
        if len > 0 {
            let header = Header { len, kind: Kind::Data, flags: END_STREAM, stream };
            let (frame, _) = room.get_mut(head_len..)?.split_at_mut_checked(HEADER + len)?;
            frame[..HEADER].copy_from_slice(&header.write());
            frame[HEADER..].copy_from_slice(content);
            written += HEADER + len;
            self.windows.send.consume(len);
            // A request whose content still comes keeps its stream, and the peer may open its
            // window again.
            self.streams.at(at).window.consume(len);
            self.sent.unreturned += len as u64;
            self.floods.forgive(Flood::Windows, 2);
        }
        self.queue.send(&mut shared.queues, before);
        self.sent.has_emptied_table = true;
        self.finish_response(shared, at);
        Some(queued + written)
    }

    /// Responds with content that is asked for when there is room for it, as many bytes as the
    /// head's length says. The head waits to be sent. Does nothing when the stream is gone.
    pub fn respond(
        &mut self,
        shared: &mut SharedBuffers<T>,
        stream: u32,
        head: &ResponseHead<'_>,
        content: T,
    ) {
        self.begin(shared, stream, head, Some((content, head.content_length.unwrap_or(0))));
    }

    /// Responds with a head only, for HEAD, 304 and 204. Does nothing when the stream is gone.
    pub fn respond_without_content(
        &mut self,
        shared: &mut SharedBuffers<T>,
        stream: u32,
        head: &ResponseHead<'_>,
    ) {
        self.begin(shared, stream, head, None);
    }

    fn begin(
        &mut self,
        shared: &mut SharedBuffers<T>,
        stream: u32,
        head: &ResponseHead<'_>,
        content: Option<(T, u64)>,
    ) {
        let Some(at) = self.streams.find(stream) else { return };
        if !matches!(self.streams.at(at).local, Local::Waiting(_)) {
            return;
        }
        let content = content.filter(|(_, left)| *left > 0);
        let is_first = !self.sent.has_emptied_table;
        let written = self.queue.push_with(&mut shared.queues, head.room(), |room| {
            head.write(room, stream, content.is_none(), is_first)
        });
        if written.is_none() {
            // Its fields are more than FIELDS_MAX, which is a mistake of ours.
            self.abort(shared, stream);
            return;
        }
        self.sent.has_emptied_table = true;
        match content {
            Some((content, left)) => self.streams.start(at, content, left),
            None => self.finish_response(shared, at),
        }
    }

    /// Leaves something with a stream that cannot be answered yet; it is dropped with the stream.
    /// Returns whether the stream is still there.
    pub fn park(&mut self, stream: u32, what: T) -> bool {
        match self.streams.find(stream).map(|at| &mut self.streams.at(at).local) {
            Some(Local::Waiting(parked)) => {
                *parked = Some(what);
                true
            }
            _ => false,
        }
    }

    /// Returns what was left with streams that cannot be answered yet.
    pub fn parked(&self) -> impl Iterator<Item = &T> {
        self.streams.iter().filter_map(|stream| match &stream.local {
            Local::Waiting(parked) => parked.as_ref(),
            Local::Sending { .. } | Local::Finished => None,
        })
    }

    /// The same, to be changed.
    pub fn parked_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.streams.iter_mut().filter_map(|stream| match &mut stream.local {
            Local::Waiting(parked) => parked.as_mut(),
            Local::Sending { .. } | Local::Finished => None,
        })
    }

    /// Returns what was left with streams, and the content that is being sent.
    pub fn contents(&self) -> impl Iterator<Item = &T> {
        self.streams.iter().filter_map(|stream| match &stream.local {
            Local::Waiting(parked) => parked.as_ref(),
            Local::Sending { content, .. } => Some(content),
            Local::Finished => None,
        })
    }

    /// Takes what was left with the first such stream whose number is above `after` and that is
    /// `wanted`; returns the number and that.
    pub fn take_parked_after(&mut self, after: u32, wanted: impl Fn(&T) -> bool) -> Option<(u32, T)> {
        self.streams.iter_mut().filter(|stream| stream.id > after).find_map(|stream| {
            match &mut stream.local {
                Local::Waiting(parked) => Some((stream.id, parked.take_if(|parked| wanted(parked))?)),
                Local::Sending { .. } | Local::Finished => None,
            }
        })
    }

    /// Follows up on a response whose end has been written.
    pub(super) fn finish_response(&mut self, shared: &mut SharedBuffers<T>, at: usize) {
        self.sent.progress += RESPONSE_PROGRESS;
        self.floods.forgive(Flood::Windows, 1);
        if self.streams.at(at).remote == Remote::Closed {
            self.streams.remove(at, &mut shared.lists);
        } else {
            self.streams.finish(at);
            self.stop_if_answered(shared, at);
        }
    }
}
