//! Range requests (RFC 9110 §14).

use super::Validators;
use super::precondition::EntityTag;
use crate::chars::trim;
use crate::{Field, Method, Request, date};

/// What to send of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of it, with 200.
    Whole,
    /// These bytes, with 206 and `Content-Range: bytes first-last/length`; `first <= last < length`.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// Nothing, with 416 and `Content-Range: bytes */length`.
    Unsatisfiable,
}

/// Evaluates Range and If-Range for a representation of `length` bytes.
///
/// A server may ignore Range (RFC 9110 §14.2), and this one does where it is malformed, sent twice, in
/// another unit than bytes, or asks for several ranges at once. Numbers beyond 64 bits count as the largest.
#[must_use]
pub fn range(request: &Request<'_>, validators: &Validators<'_>, length: u64) -> Span {
    // RFC 9110 §14.2: Range is defined for GET only.
    if request.method != Method::Get {
        return Span::Whole;
    }
    let Some(spec) = request.fields.get(Field::Range).and_then(single) else { return Span::Whole };
    if request.fields.has(Field::IfRange) && !if_range(request, validators) {
        return Span::Whole;
    }
    match spec {
        Spec::FromTo(first, last) if first < length => Span::Part { first, last: last.min(length - 1) },
        Spec::FromTo(..) | Spec::Suffix(0) => Span::Unsatisfiable,
        // RFC 9110 §14.1.2: a suffix longer than the representation is all of it, also when that is nothing.
        Spec::Suffix(_) if length == 0 => Span::Whole,
        Spec::Suffix(count) => Span::Part { first: length.saturating_sub(count), last: length - 1 },
    }
}

/// Whether the client's copy, of which it has a part, is still current (RFC 9110 §13.1.5).
///
/// A date is compared for equality, not for order, and a weak tag never matches. That a file may change twice
/// in the second of its Last-Modified is the caller's concern: one who doubts its times has an entity tag or
/// leaves them out.
fn if_range(request: &Request<'_>, validators: &Validators<'_>) -> bool {
    let Some(value) = request.fields.get(Field::IfRange) else { return false };
    match EntityTag::split(value) {
        Some((tag, rest)) => rest.is_empty() && !tag.weak && validators.etag == Some(tag.opaque),
        None => date::parse(value).is_some_and(|date| validators.last_modified == Some(date)),
    }
}

enum Spec {
    /// `first-last` or `first-` (then the largest number); `first <= last`.
    FromTo(u64, u64),
    /// `-count`
    Suffix(u64),
}

/// The one range that a Range field asks for.
fn single(value: &[u8]) -> Option<Spec> {
    let equals = memchr::memchr(b'=', value)?;
    let (unit, set) = (&value[..equals], &value[equals + 1..]);
    // RFC 9110 §14.1: names of range units are case-insensitive.
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    // RFC 9110 §5.6.1.2: empty list members are to be accepted.
    let mut members = set.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty());
    let spec = members.next()?;
    if members.next().is_some() {
        return None;
    }

    let dash = memchr::memchr(b'-', spec)?;
    match (&spec[..dash], &spec[dash + 1..]) {
        ([], count) => Some(Spec::Suffix(number(count)?)),
        (first, []) => Some(Spec::FromTo(number(first)?, u64::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // RFC 9110 §14.1.1: the other way round is invalid, not empty.
            (first <= last).then_some(Spec::FromTo(first, last))
        }
    }
}

/// A run of digits; `None` when there are none or something else is among them.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit().then(|| value.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

#[cfg(test)]
mod tests;
