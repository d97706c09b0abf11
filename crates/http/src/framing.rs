//! Fields about a request's content that all versions of HTTP share.

use crate::chars::trim;
use crate::{Rejection, Status};

/// Returns the number in a Content-Length field (RFC 9110 §8.6); `None` when it is no number.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    let length = value.iter().try_fold(0_u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    });
    length.filter(|_| !value.is_empty())
}

/// The expectation of a request (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    None,
    /// The client waits for a 100 before it sends content.
    Continue,
}

/// Returns the expectation in an Expect field; an empty one has none.
///
/// # Errors
/// 417 for anything but `100-continue`.
pub(crate) fn expectation(value: &[u8]) -> Result<Expectation, Rejection> {
    let mut expectation = Expectation::None;
    for one in value.split(|&byte| byte == b',').map(trim).filter(|one| !one.is_empty()) {
        if !one.eq_ignore_ascii_case(b"100-continue") {
            return Err(Rejection::new(
                Status::EXPECTATION_FAILED,
                "the only expectation known is 100-continue",
            ));
        }
        expectation = Expectation::Continue;
    }
    Ok(expectation)
}
