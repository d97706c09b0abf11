//! Range requests (RFC 9110 §14).

use super::Validators;
use super::precondition::EntityTag;
use crate::chars::trim;
use crate::{Field, Method, Request};

/// The part of a representation to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSelection {
    /// All of it, with 200.
    Whole,
    /// These bytes, with 206 and `Content-Range: bytes first-last/length`; `first <= last <
    /// length`.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// Several parts, with 206 and `multipart/byteranges` (RFC 9110 §15.3.7.2). A server may send
    /// fewer.
    Parts(RangeParts),
    /// Nothing, with 416 and `Content-Range: bytes */length`.
    Unsatisfiable,
}

/// Parts of a representation, in the order in which they were asked for. They neither overlap nor
/// lie close together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeParts {
    parts: [(u64, u64); PARTS_MAX],
    len: usize,
}

impl RangeParts {
    /// Returns the offsets of the first and the last byte of each part.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.parts[..self.len]
    }

    /// Adds a part. It is merged with those that overlap it, or are so near that another part's
    /// head would take more than the gap, in the place of the first of them. Returns whether there
    /// was room.
    fn add(&mut self, mut first: u64, mut last: u64) -> bool {
        let mut at = self.len;
        let mut looked_at = 0;
        while let Some(&(other_first, other_last)) = self.as_slice().get(looked_at) {
            let apart = |before: u64, after: u64| after > before.saturating_add(GAP_MAX + 1);
            if apart(other_last, first) || apart(last, other_first) {
                looked_at += 1;
                continue;
            }
            (first, last) = (first.min(other_first), last.max(other_last));
            self.parts.copy_within(looked_at + 1..self.len, looked_at);
            self.len -= 1;
            at = at.min(looked_at);
            // The part has grown, so others that were apart before may touch it now.
            looked_at = 0;
        }
        if self.len == PARTS_MAX {
            return false;
        }
        self.parts.copy_within(at..self.len, at + 1);
        self.parts[at] = (first, last);
        self.len += 1;
        true
    }
}

/// Parts in one response. A request for more gets all of the representation: RFC 9110 §14.2 allows
/// to ignore Range, and names many small ranges as a reason.
pub const PARTS_MAX: usize = 8;
/// Bytes of a gap between two parts that is sent along, about as long as the head of a part (RFC
/// 9110 §15.3.7.2).
const GAP_MAX: u64 = 80;

/// Evaluates Range and If-Range for a representation of `length` bytes.
///
/// A server may ignore Range (RFC 9110 §14.2). This one does when it is malformed, sent twice, in
/// another unit than bytes, or asks for more than eight ranges. Numbers beyond 64 bits count as the
/// largest.
#[must_use]
pub fn range(request: &Request<'_>, validators: &Validators<'_>, length: u64) -> RangeSelection {
    // RFC 9110 §14.2: Range is defined for GET only.
    if request.method != Method::Get {
        return RangeSelection::Whole;
    }
    let Some(span) = request.fields.get(Field::Range).and_then(|value| set(value, length)) else {
        return RangeSelection::Whole;
    };
    if request.fields.has(Field::IfRange) && !if_range(request, validators) {
        return RangeSelection::Whole;
    }
    span
}

/// Returns whether the client's copy, of which it has a part, is still current (RFC 9110 §13.1.5).
///
/// A weak tag never matches, and a date never does: it is a strong validator only where the server
/// knows that the content did not change without the date changing too (§8.8.2.2). The dates of
/// files can be set, and reproducible builds give all versions of a file one date, so the bytes
/// sent could be those of another version than the part that the client has.
fn if_range(request: &Request<'_>, validators: &Validators<'_>) -> bool {
    let Some(value) = request.fields.get(Field::IfRange) else { return false };
    EntityTag::split(value)
        .is_some_and(|(tag, rest)| rest.is_empty() && !tag.weak && validators.etag == Some(tag.opaque))
}

enum Spec {
    /// `first-last` or `first-` (then the largest number); `first <= last`.
    FromTo(u64, u64),
    /// `-count`
    Suffix(u64),
}

/// Reads a Range field; `None` when it is to be ignored.
fn set(value: &[u8], length: u64) -> Option<RangeSelection> {
    let equals = memchr::memchr(b'=', value)?;
    let (unit, set) = (&value[..equals], &value[equals + 1..]);
    // RFC 9110 §14.1: names of range units are case-insensitive.
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut parts = RangeParts { parts: [(0, 0); PARTS_MAX], len: 0 };
    let (mut any, mut whole) = (false, false);
    // RFC 9110 §5.6.1.2: empty list members are to be accepted.
    for member in set.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty()) {
        any = true;
        match Spec::parse(member)? {
            Spec::FromTo(first, last) if first < length => {
                parts.add(first, last.min(length - 1)).then_some(())?;
            }
            // RFC 9110 §14.1.2: a suffix longer than the representation is all of it, also when
            // that is nothing.
            Spec::Suffix(count) if count > 0 && length == 0 => whole = true,
            Spec::Suffix(count) if count > 0 => {
                parts.add(length.saturating_sub(count), length - 1).then_some(())?;
            }
            // A range that cannot be satisfied does not matter as long as another can (RFC 9110
            // §14.1.2).
            Spec::FromTo(..) | Spec::Suffix(_) => {}
        }
    }
    match (parts.as_slice(), any) {
        (_, false) => None,
        _ if whole => None,
        ([], true) => Some(RangeSelection::Unsatisfiable),
        (&[(first, last)], true) => Some(RangeSelection::Part { first, last }),
        (_, true) => Some(RangeSelection::Parts(parts)),
    }
}

impl Spec {
    fn parse(member: &[u8]) -> Option<Spec> {
        let dash = memchr::memchr(b'-', member)?;
        match (&member[..dash], &member[dash + 1..]) {
            ([], count) => Some(Spec::Suffix(number(count)?)),
            (first, []) => Some(Spec::FromTo(number(first)?, u64::MAX)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                // RFC 9110 §14.1.1: the other way round is invalid, not empty.
                (first <= last).then_some(Spec::FromTo(first, last))
            }
        }
    }
}

/// Reads a run of digits; `None` when there are none or other characters among them.
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
