//! RFC 9110 §12 to §14 as pure functions: content negotiation, preconditions, ranges.
//!
//! A response is found in the order of RFC 9110 §13.2.2: choose the representation with
//! [`AcceptEncoding`] or [`prefers`], evaluate [`preconditions`] on its validators, then, only if
//! they say [`PreconditionResult::Proceed`], ask [`range()`] for the part to send. [`wants_sha256`]
//! says whether the digest of the representation is asked for (RFC 9530). [`forwarded()`] finds the
//! client that proxies name (RFC 7239).

mod accept;
mod coding;
mod digest;
mod forwarded;
mod precondition;
mod range;

pub use accept::prefers;
pub use coding::{AcceptEncoding, Coding};
pub use digest::wants_sha256;
pub use forwarded::forwarded;
pub use precondition::{PreconditionResult, Validators, preconditions};
pub use range::{PARTS_MAX, RangeParts, RangeSelection, range};
