//! The content that a stream of HTTP/2 sends, or waits for.

use std::ops::Range;
use std::time::Instant;

use sitar_http::h2::{self, ParkedRequest};
use sitar_io::TxBuf;

use super::source::Source;
use crate::log::Watched;

/// The content of a stream's answer, or a request that cannot be answered yet.
#[expect(clippy::large_enum_variant, reason = "nearly always a body")]
pub(crate) enum StreamContent {
    /// And since when.
    Parked(Box<(ParkedRequest, Instant)>, ParkedFor),
    Body {
        source: Source,
        /// The part of it that has been read ahead, from a file.
        read: Option<(TxBuf, Range<usize>)>,
        /// The answer, if a log waits for its end.
        recorded: Option<Watched>,
    },
}

/// The event that a request waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ParkedFor {
    /// The loader has been asked for its file.
    Load,
    /// The same, and its answer has a place among the files that the connection sends.
    LoadInPlace,
    /// Its answer is sent from a file, and the connection sends as many as it may.
    Place,
    /// Its file could not be opened, for want of descriptors.
    Descriptor,
}

impl StreamContent {
    /// Whether it is a request that waits for the loader.
    pub(crate) fn waits_for_load(&self) -> bool {
        matches!(self, StreamContent::Parked(_, ParkedFor::Load | ParkedFor::LoadInPlace))
    }

    /// Whether it is a request whose answer waits for a place.
    pub(crate) fn waits_for_place(&self) -> bool {
        matches!(self, StreamContent::Parked(_, ParkedFor::Place))
    }

    pub(crate) fn of(source: Source, recorded: Option<Watched>) -> StreamContent {
        StreamContent::Body { source, read: None, recorded }
    }
}

impl h2::ContentSource for StreamContent {
    fn ready(&self) -> usize {
        match self {
            StreamContent::Parked(..) => 0,
            StreamContent::Body { read: Some((_, part)), .. } => part.len(),
            StreamContent::Body { source, read: None, .. } => source.ready(),
        }
    }

    fn fill(&mut self, out: &mut [u8]) {
        let StreamContent::Body { source, read, recorded } = self else { return };
        if let Some(recorded) = recorded {
            recorded.unsent = recorded.unsent.saturating_sub(out.len() as u64);
        }
        let Some((stage, part)) = read else { return source.fill(out) };
        out.copy_from_slice(&stage[part.start..part.start + out.len()]);
        part.start += out.len();
        source.advance(out.len());
        if part.start == part.end {
            *read = None;
        }
    }
}
