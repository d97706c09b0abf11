//! The content that a stream of HTTP/2 sends, or waits for.

use std::ops::Range;

use sitar_http::h2::{self, ParkedRequest};
use sitar_io::TxBuf;

use super::source::Source;

/// The content of a stream's answer, or a request that cannot be answered yet.
#[expect(clippy::large_enum_variant, reason = "nearly always a body")]
pub(crate) enum StreamContent {
    Parked(Box<ParkedRequest>, ParkedFor),
    Body {
        source: Source,
        /// The part of it that has been read ahead, from a file.
        read: Option<(TxBuf, Range<usize>)>,
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

    pub(crate) fn of(source: Source) -> StreamContent {
        StreamContent::Body { source, read: None }
    }
}

impl h2::ContentSource for StreamContent {
    fn ready(&self) -> usize {
        match self {
            StreamContent::Parked(..) => 0,
            StreamContent::Body { read: Some((_, part)), .. } => part.len(),
            StreamContent::Body { source, read: None } => source.ready(),
        }
    }

    fn fill(&mut self, out: &mut [u8]) {
        let StreamContent::Body { source, read } = self else { return };
        let Some((stage, part)) = read else { return source.fill(out) };
        out.copy_from_slice(&stage[part.start..part.start + out.len()]);
        part.start += out.len();
        source.advance(out.len());
        if part.start == part.end {
            *read = None;
        }
    }
}
