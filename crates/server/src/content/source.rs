//! What a stream of HTTP/2 has to send, or waits for.

use std::ops::Range;

use sitar_http::h2::{ContentSource, ParkedRequest};
use sitar_io::{Region, TxBuf};
use sitar_site::{Body, Place, Streamed};

use super::multipart::Parts;

/// The content of an answer, or a request that cannot be answered yet.
pub(crate) enum Piece {
    /// The request is answered when its file has been loaded.
    Waiting(Box<ParkedRequest>),
    Static(&'static [u8]),
    /// Written for this answer.
    Text(Box<[u8]>, usize),
    Region(Region, Range<usize>),
    Parts(Parts),
    File {
        file: Streamed,
        /// What has not been sent.
        range: Range<u64>,
        /// What has been read of that.
        chunk: Option<(TxBuf, Range<usize>)>,
    },
}

impl Piece {
    /// `None`: there is nothing to send.
    pub(crate) fn of(body: &Body<'_>) -> Option<Piece> {
        Some(match body {
            Body::Empty => return None,
            Body::Static(bytes) => Piece::Static(bytes),
            Body::Memory { region, range } => Piece::Region((*region).clone(), range.clone()),
            Body::Multipart(body) => Piece::Parts(Parts::new(body)),
            Body::File { file, range } => {
                Piece::File { file: (*file).clone(), range: range.clone(), chunk: None }
            }
        })
    }

    /// Bytes of memory that a waiting request takes.
    pub(crate) fn parked(&self) -> usize {
        match self {
            Piece::Waiting(parked) => parked.memory(),
            _ => 0,
        }
    }
}

impl ContentSource for Piece {
    fn ready(&self) -> usize {
        match self {
            Piece::Waiting(_) => 0,
            Piece::Static(bytes) => bytes.len(),
            Piece::Text(text, done) => text.len() - done,
            Piece::Region(_, range) => range.len(),
            // All of it is in memory; how much that is stands in the answer's length.
            Piece::Parts(_) => usize::MAX,
            Piece::File { chunk: Some((_, range)), .. } => range.len(),
            Piece::File { file, range, chunk: None } => match file.place(range) {
                Place::File { .. } => 0,
                Place::Hole { len } => usize::try_from(len).unwrap_or(usize::MAX),
            },
        }
    }

    fn fill(&mut self, out: &mut [u8]) {
        match self {
            Piece::Waiting(_) => {}
            Piece::Static(bytes) => {
                let (now, later) = bytes.split_at(out.len());
                out.copy_from_slice(now);
                *bytes = later;
            }
            Piece::Text(text, done) => {
                out.copy_from_slice(&text[*done..*done + out.len()]);
                *done += out.len();
            }
            Piece::Region(region, range) => {
                out.copy_from_slice(&region[range.start..range.start + out.len()]);
                range.start += out.len();
            }
            Piece::Parts(parts) => parts.fill(out),
            Piece::File { range, chunk, .. } => {
                let Some((stage, part)) = chunk else {
                    out.fill(0);
                    range.start += out.len() as u64;
                    return;
                };
                out.copy_from_slice(&stage[part.start..part.start + out.len()]);
                part.start += out.len();
                range.start += out.len() as u64;
                if part.start == part.end {
                    *chunk = None;
                }
            }
        }
    }
}
