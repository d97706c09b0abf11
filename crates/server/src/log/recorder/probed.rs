//! Answers that a tracer follows, which looks at the probes.

use std::num::NonZeroU64;

use sitar_io::usdt;

use super::super::answer::Cut;

/// Answers whose ends a tracer waits for, which looks at the probes.
#[derive(Default)]
pub(super) struct Probed {
    /// The number that was given last.
    last: u64,
    /// Of the answer that was noted last, if a tracer looks, and the bytes of its content.
    noted: Option<(NonZeroU64, u64)>,
    /// Answers that have not ended.
    open: usize,
    /// A tracer has looked in this turn.
    is_seen: bool,
}

impl Probed {
    /// Notes that a tracer looks at the answer that is about to begin, with this many bytes of
    /// content. Returns its number.
    pub(super) fn note(&mut self, length: u64) -> u64 {
        self.is_seen = true;
        self.last = self.last.wrapping_add(1).max(1);
        self.noted = NonZeroU64::new(self.last).map(|number| (number, length));
        self.last
    }

    /// Returns the bytes of content of the answer that was noted last, if it has not begun.
    #[inline]
    pub(super) fn length(&self) -> Option<u64> {
        self.noted.map(|(_, length)| length)
    }

    /// A turn ends. Returns whether a tracer has looked in it.
    #[inline]
    pub(super) fn end_turn(&mut self) -> bool {
        std::mem::take(&mut self.is_seen)
    }

    /// The answer that was noted has begun. If it goes on, its end is due.
    #[inline]
    pub(super) fn begin(&mut self, goes_on: bool) -> Option<NonZeroU64> {
        let (number, _) = self.noted.take()?;
        if !goes_on {
            usdt::response_end(number.get(), 0, None);
            return None;
        }
        self.open += 1;
        Some(number)
    }

    /// Whether a tracer waits for ends.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_seen || self.open > 0
    }

    #[cold]
    pub(super) fn end(&mut self, number: NonZeroU64, unsent: u64, cut: Option<Cut>) {
        self.open = self.open.saturating_sub(1);
        usdt::response_end(number.get(), unsent, cut.and_then(|cut| Cut::name(cut.number())));
    }
}
