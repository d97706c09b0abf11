//! A reply of the site's, written as far as there is room, and the rest of its body kept for later.

use std::ops::Range;

use sitar_http::Version;
use sitar_http::h1::ResponseHead;
use sitar_io::{Engine, Region, Ring};
use sitar_site::{Body, Place, Reply, Streamed};
use sitar_tls::RecordError;

use crate::content::multipart::Parts;
use crate::tcp::transport::output::{Layer, Output};

/// The rest of a body that did not fit into the last send.
pub(super) enum Rest {
    Static(&'static [u8]),
    Region(Region, Range<usize>),
    File(Streamed, Range<u64>),
    Parts(Parts),
}

/// The output being filled; begun if need be, and if more than `keep` send buffers are free.
pub(super) fn take_output<'o, E: Engine>(
    output: &'o mut Option<Output>,
    ring: &mut Ring<E>,
    keep: usize,
) -> Option<&'o mut Output> {
    if output.is_none() && ring.tx_free() > keep {
        *output = ring.take_tx().map(Output::new);
    }
    output.as_mut()
}

/// How far a reply has been written.
#[expect(clippy::large_enum_variant, reason = "a box would allocate on the path of a request")]
pub(super) enum Written {
    All,
    /// The head and some of the body.
    Part(Rest),
    /// Nothing: no room.
    Full,
    Failed,
}

/// Writes a reply, as much of it as there is room for.
pub(super) fn write(
    output: &mut Output,
    layer: &mut Layer,
    date: &[u8; 29],
    version: Version,
    close: bool,
    reply: &Reply<'_>,
) -> Written {
    let (status, content_length) = (reply.status, reply.content_length);
    let head = reply.pieces(|fields| {
        output.head(layer, &ResponseHead { version, status, date, fields, content_length, close })
    });
    match head {
        Ok(true) => {}
        Ok(false) => return Written::Full,
        Err(_) => return Written::Failed,
    }
    let rest = match &reply.body {
        Body::Empty => return Written::All,
        Body::Static(bytes) => output.body(layer, bytes).map(|taken| {
            let rest = &bytes[taken..];
            (!rest.is_empty()).then_some(Rest::Static(rest))
        }),
        Body::Memory { region, range } => output.region(layer, region, range).map(|taken| {
            let range = range.start + taken..range.end;
            (!range.is_empty()).then(|| Rest::Region((*region).clone(), range))
        }),
        Body::Multipart(body) => Parts::new(body).write(output, layer).map(|left| left.map(Rest::Parts)),
        Body::File { file, range } => {
            Ok((!range.is_empty()).then(|| Rest::File((*file).clone(), range.clone())))
        }
    };
    match rest {
        Ok(None) => Written::All,
        Ok(Some(rest)) => Written::Part(rest),
        Err(_) => Written::Failed,
    }
}

/// Puts as much of the rest of a body into `output` as fits, and returns what is left of it.
pub(super) fn continue_body(
    output: &mut Output,
    layer: &mut Layer,
    rest: Rest,
) -> Result<Option<Rest>, RecordError> {
    Ok(match rest {
        Rest::Static(bytes) => {
            let bytes = &bytes[output.body(layer, bytes)?..];
            (!bytes.is_empty()).then_some(Rest::Static(bytes))
        }
        Rest::Region(region, range) => {
            let range = range.start + output.region(layer, &region, &range)?..range.end;
            (!range.is_empty()).then_some(Rest::Region(region, range))
        }
        Rest::Parts(parts) => parts.write(output, layer)?.map(Rest::Parts),
        Rest::File(file, range) => {
            let range = range.start + continue_hole(output, layer, &file, &range)?..range.end;
            (!range.is_empty()).then_some(Rest::File(file, range))
        }
    })
}

/// Puts as much of the hole that a part of a file begins with into `output` as fits. Returns how
/// much that is.
fn continue_hole(
    output: &mut Output,
    layer: &mut Layer,
    file: &Streamed,
    range: &Range<u64>,
) -> Result<u64, RecordError> {
    let mut done = 0;
    while let Place::Hole { len } = file.place(&(range.start + done..range.end)) {
        let zeros = ZEROS.get(..usize::try_from(len).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
        let taken = output.body(layer, zeros)?;
        done += taken as u64;
        if taken < zeros.len() || range.start + done == range.end {
            break;
        }
    }
    Ok(done)
}

/// What holes are made of.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];
