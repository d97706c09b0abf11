//! Conditional requests (RFC 9110 §13).

use crate::chars::trim;
use crate::{Field, Fields, Method, Request, date};

/// The validators of a representation, which tell one state of it from another (RFC 9110 §8.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validators<'a> {
    /// A strong entity tag with its quotes; `None` while it is unknown.
    pub etag: Option<&'a [u8]>,
    /// The time, in seconds since 1970, since which no other content has been served: the date that
    /// the client was sent, or a later one where only that is certain. `None` when the time says
    /// nothing.
    pub last_modified: Option<u64>,
}

/// The effect of preconditions on a request that would succeed without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreconditionResult {
    /// Respond as if there were none.
    Proceed,
    /// 304: the client has this representation.
    NotModified,
    /// 412: the request was meant for another state only.
    Failed,
}

/// Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in the order of
/// RFC 9110 §13.2.2, for a representation that exists. Call it only where the answer would be a
/// success (§13.2.1).
///
/// Dates that are invalid or sent twice are ignored, as are dates while `last_modified` is `None`.
/// A malformed entity tag ends the list on its line: what came before it counts.
#[must_use]
pub fn preconditions(request: &Request<'_>, validators: &Validators<'_>) -> PreconditionResult {
    let fields = &request.fields;
    // §13.2.1: methods that do not select a representation ignore all of them.
    if matches!(request.method, Method::Connect | Method::Options | Method::Trace) {
        return PreconditionResult::Proceed;
    }

    // Steps 1 and 2. §13.1.1: If-Match compares strongly.
    if fields.has(Field::IfMatch) {
        if !matches_any(fields, Field::IfMatch, validators, |tag, etag| !tag.weak && tag.opaque == etag) {
            return PreconditionResult::Failed;
        }
    } else if let (Some(limit), Some(modified)) =
        (date_of(fields, Field::IfUnmodifiedSince), validators.last_modified)
        && modified > limit
    {
        return PreconditionResult::Failed;
    }

    // Steps 3 and 4. §13.1.2: If-None-Match compares weakly, and its presence turns
    // If-Modified-Since off.
    let reads = matches!(request.method, Method::Get | Method::Head);
    if fields.has(Field::IfNoneMatch) {
        if matches_any(fields, Field::IfNoneMatch, validators, |tag, etag| tag.opaque == etag) {
            return if reads { PreconditionResult::NotModified } else { PreconditionResult::Failed };
        }
    } else if reads
        && let (Some(known), Some(modified)) =
            (date_of(fields, Field::IfModifiedSince), validators.last_modified)
        && modified <= known
    {
        return PreconditionResult::NotModified;
    }
    PreconditionResult::Proceed
}

/// Returns whether a list of entity tags, or `*`, names the representation.
fn matches_any(
    fields: &Fields<'_>,
    field: Field,
    validators: &Validators<'_>,
    same: impl Fn(EntityTag<'_>, &[u8]) -> bool,
) -> bool {
    fields.all(field).any(|line| {
        if trim(line) == b"*" {
            return true;
        }
        validators.etag.is_some_and(|etag| EntityTags { rest: line }.any(|tag| same(tag, etag)))
    })
}

fn date_of(fields: &Fields<'_>, field: Field) -> Option<u64> {
    date::parse(fields.get(field)?)
}

/// An entity tag, `W/"x"` or `"x"` (RFC 9110 §8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntityTag<'b> {
    pub(super) weak: bool,
    /// With its quotes.
    pub(super) opaque: &'b [u8],
}

impl<'b> EntityTag<'b> {
    /// Splits off the tag at the beginning of `bytes`; returns it and the rest.
    pub(super) fn split(bytes: &'b [u8]) -> Option<(EntityTag<'b>, &'b [u8])> {
        let (weak, quoted) = match bytes {
            [b'W', b'/', quoted @ ..] => (true, quoted),
            _ => (false, bytes),
        };
        let [b'"', inner @ ..] = quoted else { return None };
        let end = memchr::memchr(b'"', inner)?;
        // etagc: no controls, no space. Tags with spaces exist, but are never ours.
        if inner[..end].iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return None;
        }
        let (opaque, rest) = quoted.split_at(end + 2);
        Some((EntityTag { weak, opaque }, rest))
    }
}

/// An iterator over the members of one line. Commas may stand inside the quotes, so a plain split
/// would be wrong.
struct EntityTags<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for EntityTags<'b> {
    type Item = EntityTag<'b>;

    fn next(&mut self) -> Option<EntityTag<'b>> {
        // RFC 9110 §5.6.1.2: empty members are to be accepted.
        while let [b' ' | b'\t' | b',', rest @ ..] = self.rest {
            self.rest = rest;
        }
        let (tag, rest) = EntityTag::split(self.rest)?;
        let rest = trim(rest);
        self.rest = rest;
        // Two tags without a comma between them are one malformed member.
        (rest.is_empty() || rest[0] == b',').then_some(tag)
    }
}

#[cfg(test)]
mod tests;
