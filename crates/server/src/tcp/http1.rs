//! A reply in HTTP/1, written as far as there is room.

use sitar_http::Version;
use sitar_http::h1::ResponseHead;
use sitar_io::{Engine, Ring};
use sitar_site::{Body, Reply};

use super::transport::output::{Layer, Output};
use crate::content::source::Source;

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
    Part(Source),
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
        Body::Static(bytes) => {
            output.body(layer, bytes).map(|taken| Source::Static(&bytes[taken..]).if_any())
        }
        // Its handle is copied only where something is left.
        Body::Memory { region, range } => output.region(layer, region, range).map(|taken| {
            let range = range.start + taken..range.end;
            (!range.is_empty()).then(|| Source::Region((*region).clone(), range))
        }),
        body @ Body::Multipart(_) => match Source::of(body) {
            Some(source) => output.source(layer, source),
            None => Ok(None),
        },
        body @ Body::File { .. } => Ok(Source::of(body).and_then(Source::if_any)),
    };
    match rest {
        Ok(None) => Written::All,
        Ok(Some(rest)) => Written::Part(rest),
        Err(_) => Written::Failed,
    }
}
