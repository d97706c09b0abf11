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

/// Whether an Expect field (RFC 9110 §10.1.1) waits for a 100.
///
/// # Errors
/// 417 for any other expectation.
pub(crate) fn expectation(value: &[u8]) -> Result<bool, Rejection> {
    let mut waits = false;
    for expectation in value.split(|&byte| byte == b',').map(trim).filter(|one| !one.is_empty()) {
        if !expectation.eq_ignore_ascii_case(b"100-continue") {
            return Err(Rejection::new(
                Status::EXPECTATION_FAILED,
                "the only expectation known is 100-continue",
            ));
        }
        waits = true;
    }
    Ok(waits)
}
