//! The value of the Date field (RFC 9110 §6.6.1), which a shard writes once a second.

use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::clock::Clock;

/// The source of the Date field.
pub(super) struct Dates {
    clock: Clock,
    /// The time until which the field is right.
    until: Instant,
}

impl Dates {
    pub(super) fn new(clock: Clock, now: Instant) -> Dates {
        Dates { clock, until: now }
    }

    /// Whether the field has to be written again.
    #[inline]
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Returns the field, which is right for the rest of the second.
    pub(super) fn next(&mut self, now: Instant) -> [u8; 29] {
        let wall = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.until = now + (Duration::from_secs(1) - Duration::from_nanos(u64::from(wall.subsec_nanos())));
        sitar_http::date::write_imf(wall.as_secs())
    }
}
