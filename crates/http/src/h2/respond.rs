//! Answers: heads written, content written with them or kept until there is room.

use super::ContentSource;
use super::connection::{ANSWER_PROGRESS, Connection, SharedBuffers};
use super::flood::Flood;
use super::frame::{END_HEADERS, END_STREAM, HEADER, Header, Kind, PAYLOAD_MAX};
use super::hpack::{Writer, encoded_max, write_literal, write_pieces, write_status};
use super::stream::{Local, Remote};
use crate::{Decimal, FIELDS_MAX, Status};

/// An answer's head.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: Status,
    /// An IMF-fixdate; see [`crate::date::write_imf`].
    pub date: &'a [u8; 29],
    /// Fields, made by [`field_block`](super::field_block); neither Date nor Content-Length.
    pub block: &'a [u8],
    /// More field lines in pieces, each line ended by CR LF, as in HTTP/1. They are trusted. A
    /// piece is whole lines, or a part of one line that ends with the first piece behind it that
    /// ends in LF.
    pub fields: &'a [&'a [u8]],
    /// Bytes of the content, also where it is not sent (HEAD). `None` for 204, and for 304 (RFC 9110 §8.6).
    pub content_length: Option<u64>,
}

/// Bytes that a head needs beyond its fields, at most: frame header, table size update, status, date, length.
const HEAD_OVERHEAD_MAX: usize = 96;
/// The largest head: one frame that every peer accepts.
const HEAD_MAX: usize = HEADER + PAYLOAD_MAX;
const _: () = assert!(HEAD_OVERHEAD_MAX + encoded_max(FIELDS_MAX) <= HEAD_MAX);
const _: () =
    assert!(crate::h1::HEAD_OVERHEAD_MAX + FIELDS_MAX <= PAYLOAD_MAX, "nor is a record of TLS larger");

impl ResponseHead<'_> {
    /// Bytes that the frame of this head needs, at most.
    #[must_use]
    pub fn room(&self) -> usize {
        let fields = self.fields.iter().map(|piece| piece.len()).sum();
        HEAD_OVERHEAD_MAX + self.block.len() + encoded_max(fields)
    }

    /// Writes the HEADERS frame; `None` when `out` is too small.
    fn write(&self, out: &mut [u8], stream: u32, end: bool, declared: bool) -> Option<usize> {
        let mut out = Writer::new(out);
        out.put(&[0; HEADER])?;
        if !declared {
            // RFC 7541 §6.3: the encoder's table is empty, and stays so, whatever the peer would allow.
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
    /// Answers a stream with all of its content at once, if windows and `out` have room for that, and nothing that came before is
    /// still waiting; the fast way for small answers. What waits to be sent goes first, with them into `out`.
    /// `None`: nothing was done, see [`respond`](Connection::respond).
    #[must_use]
    pub fn respond_now(
        &mut self,
        shared: &mut SharedBuffers<T>,
        stream: u32,
        answer: &ResponseHead<'_>,
        content: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let at = self.streams.find(stream)?;
        let len = content.len();
        let others_wait = self.streams.sending() > 0;
        if others_wait
            || len > self.peer_frame
            || len as i64 > self.send_window
            || (len as i64 > self.streams.at(at).window && len > 0)
            || !matches!(self.streams.at(at).local, Local::Asked(_))
        {
            return None;
        }
        let queued = self.queued();
        let (before, room) = out.split_at_mut_checked(queued)?;
        let content_room = if len == 0 { 0 } else { HEADER + len };
        if room.len() < answer.room() + content_room {
            return None;
        }
        let head = answer.write(room, stream, len == 0, self.declared)?;
        let mut written = head;
        if len > 0 {
            let header = Header { len, kind: Kind::Data, flags: END_STREAM, stream };
            let (frame, _) = room.get_mut(head..)?.split_at_mut_checked(HEADER + len)?;
            frame[..HEADER].copy_from_slice(&header.write());
            frame[HEADER..].copy_from_slice(content);
            written += HEADER + len;
            self.send_window -= len as i64;
            // A request whose content still comes keeps its stream, and the peer may open its
            // window again.
            self.streams.at(at).window -= len as i64;
            self.unreturned += len as u64;
            self.floods.forgive(Flood::Windows, 2);
        }
        before.copy_from_slice(&self.queue[self.queue_sent..]);
        self.drop_queue(shared);
        self.declared = true;
        self.answered(shared, at);
        Some(queued + written)
    }

    /// Answers a stream. Its head waits to be sent; its content, as long as the answer's length says (empty where it has none), is asked for
    /// when there is room. Nothing happens when the stream is gone.
    pub fn respond(
        &mut self,
        shared: &mut SharedBuffers<T>,
        stream: u32,
        answer: &ResponseHead<'_>,
        content: T,
    ) {
        self.begin(shared, stream, answer, Some((content, answer.content_length.unwrap_or(0))));
    }

    /// Answers a stream with a head only: HEAD, 304, 204.
    pub fn respond_without_content(
        &mut self,
        shared: &mut SharedBuffers<T>,
        stream: u32,
        answer: &ResponseHead<'_>,
    ) {
        self.begin(shared, stream, answer, None);
    }

    fn begin(
        &mut self,
        shared: &mut SharedBuffers<T>,
        stream: u32,
        answer: &ResponseHead<'_>,
        content: Option<(T, u64)>,
    ) {
        let Some(at) = self.streams.find(stream) else { return };
        if !matches!(self.streams.at(at).local, Local::Asked(_)) {
            return;
        }
        let content = content.filter(|(_, left)| *left > 0);
        let declared = self.declared;
        let queue = self.queue(shared);
        let start = queue.len();
        queue.resize(start + answer.room(), 0);
        let written = answer.write(&mut queue[start..], stream, content.is_none(), declared);
        queue.truncate(start + written.unwrap_or(0));
        if written.is_none() {
            // Its fields are more than FIELDS_MAX, which is a mistake of ours.
            self.abort(shared, stream);
            return;
        }
        self.declared = true;
        match content {
            Some((content, left)) => {
                self.streams.start(at, content, left);
            }
            None => self.answered(shared, at),
        }
    }

    /// Leaves something with a stream that cannot be answered yet: when it is gone, so is that. `false`: it is gone already.
    pub fn park(&mut self, stream: u32, what: T) -> bool {
        match self.streams.find(stream).map(|at| &mut self.streams.at(at).local) {
            Some(Local::Asked(parked)) => {
                *parked = Some(what);
                true
            }
            _ => false,
        }
    }

    /// What was left with streams that cannot be answered yet.
    pub fn parked(&self) -> impl Iterator<Item = &T> {
        self.streams.iter().filter_map(|stream| match &stream.local {
            Local::Asked(parked) => parked.as_ref(),
            Local::Sending { .. } | Local::Finished => None,
        })
    }

    /// The first stream behind number `after` that something was left with, and that. It is taken.
    pub fn take_parked_after(&mut self, after: u32) -> Option<(u32, T)> {
        self.streams.iter_mut().filter(|stream| stream.id > after).find_map(|stream| {
            match &mut stream.local {
                Local::Asked(parked) => Some((stream.id, parked.take()?)),
                Local::Sending { .. } | Local::Finished => None,
            }
        })
    }

    /// The end of an answer has been written.
    pub(super) fn answered(&mut self, shared: &mut SharedBuffers<T>, at: usize) {
        self.progress += ANSWER_PROGRESS;
        self.floods.forgive(Flood::Windows, 1);
        if self.streams.at(at).remote == Remote::Closed {
            self.streams.remove(at, &mut shared.lists);
        } else {
            self.streams.finish(at);
            self.stop_if_answered(shared, at);
        }
    }
}
