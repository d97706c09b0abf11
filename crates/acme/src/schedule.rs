//! When something is due: pure functions of plain values. All times are seconds since 1970.

mod limits;
#[cfg(test)]
mod tests;

pub(crate) use limits::{Ask, Limits, account_earliest, bound, domain_earliest, is_counted};

use crate::hash;

pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const WEEK: u64 = 7 * DAY;

/// No clock that is right shows an earlier time: 2026-11-01. A machine without a battery begins in
/// 1970, and with it every certificate would seem to be of the future.
pub(crate) const EARLIEST: u64 = 1_793_491_200;

/// A lifetime below this is renewed at its half, and not at two thirds of it.
const SHORT_LIFETIME: u64 = 10 * DAY;
/// Orders that fail one after the other before the next authority is asked.
pub(crate) const TRIES: u32 = 3;
/// The longest time for which an authority's "not before" is believed.
const BAN_MAX: u64 = WEEK;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The first second.
    pub(crate) start: u64,
    /// The last second.
    pub(crate) end: u64,
}

/// The time in which an authority wants a certificate to be renewed (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first second.
    pub(crate) start: u64,
    /// The last second.
    pub(crate) end: u64,
}

/// Something that has happened, which limits count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// When.
    pub(crate) at: u64,
    /// What.
    pub(crate) kind: EventKind,
    /// The directory of the authority.
    pub(crate) authority: String,
    /// A hash of the set of names.
    pub(crate) set: u64,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// An order was placed.
    Ordered,
    /// A certificate was asked for, and may have been issued.
    Issued,
    /// The validation of a name has failed.
    Invalid,
}

impl EventKind {
    /// Returns what it is called on disk.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            EventKind::Ordered => "ordered",
            EventKind::Issued => "issued",
            EventKind::Invalid => "invalid",
        }
    }

    /// Returns the kind of that name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<EventKind> {
        let all = [EventKind::Ordered, EventKind::Issued, EventKind::Invalid];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

impl Validity {
    /// Returns the seconds from the first to the last.
    pub(crate) fn lifetime(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns the last moment at which renewal begins, whatever the authority says: a sixth of the
    /// lifetime before its end.
    pub(crate) fn latest(self) -> u64 {
        self.end.saturating_sub(self.lifetime() / 6)
    }

    /// Returns whether the end is so near that no time can be lost.
    pub(crate) fn is_ending(self, now: u64) -> bool {
        now >= self.latest()
    }
}

/// Returns when a certificate is renewed. `seed` is the certificate's own, so that the moment stays
/// the same however often it is asked for, and differs between servers.
///
/// By the authority's window: a random moment in it (RFC 9773 §4.2), which may be past. Without
/// one, or with one that makes no sense: at two thirds of the lifetime, or at the half of a short
/// one, give or take a fiftieth of it. Never later than a sixth of the lifetime before the end.
pub(crate) fn renewal(validity: Validity, window: Option<Window>, seed: u64) -> u64 {
    let lifetime = validity.lifetime();
    let at = match window.filter(|window| makes_sense(*window, validity)) {
        Some(window) => {
            let seed =
                hash::of(&[&seed.to_be_bytes(), &window.start.to_be_bytes(), &window.end.to_be_bytes()]);
            window.start + seed % (window.end - window.start).max(1)
        }
        None => {
            let part = if lifetime < SHORT_LIFETIME { lifetime / 2 } else { lifetime / 3 * 2 };
            let jitter = seed % (lifetime / 25 + 1);
            (validity.start + part).saturating_add(jitter).saturating_sub(lifetime / 50)
        }
    };
    at.min(validity.latest())
}

/// Whether a window does not end before it begins, and neither begins nor ends when the certificate
/// is no longer valid. One that is past says that renewal is due at once, as after a revocation.
fn makes_sense(window: Window, validity: Validity) -> bool {
    window.start <= window.end && window.end <= validity.end && window.end > validity.start
}

/// Returns when the window is asked for again: after what the authority says, between a minute and
/// a day; after six hours if it says nothing (RFC 9773 §4.3.2). After `errors` unexpected answers,
/// one after the other, sooner: a minute, doubled each time.
pub(crate) fn ask_again(now: u64, retry_after: Option<u64>, errors: u32, seed: u64) -> u64 {
    let wait = match (errors, retry_after) {
        (0, None) => 6 * HOUR,
        (0, Some(after)) => after.clamp(MINUTE, DAY),
        (errors, _) => doubled(MINUTE, errors - 1, 6 * HOUR),
    };
    now.saturating_add(spread(wait, seed))
}

/// Whose fault a failed order was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The authority was not reached, or was not itself.
    Authority,
    /// The authority has refused.
    Refused,
}

/// Returns when the next attempt follows after `failures` of them, one after the other.
///
/// After a refusal five minutes, doubled up to twelve hours; for an authority that is not reached a
/// minute, doubled up to an hour; give or take a tenth. Near the end of the certificate at most an
/// hour and a quarter of it. What the authority forbids comes on top, up to a week.
pub(crate) fn retry(now: u64, fault: Fault, failures: u32, is_ending: bool, seed: u64) -> u64 {
    let (first, most) = match (fault, is_ending) {
        (Fault::Refused, false) => (5 * MINUTE, 12 * HOUR),
        (Fault::Refused, true) => (5 * MINUTE, HOUR),
        (Fault::Authority, false) => (MINUTE, HOUR),
        (Fault::Authority, true) => (MINUTE, 15 * MINUTE),
    };
    now.saturating_add(spread(doubled(first, failures.saturating_sub(1), most), seed))
}

/// Returns when a certificate is offered again that could not be put into service `times` times,
/// one after the other: after a minute, doubled up to an hour.
pub(crate) fn offer(now: u64, times: u32) -> u64 {
    now.saturating_add(doubled(MINUTE, times.saturating_sub(1), HOUR))
}

/// Bounds a time until which an authority forbids something. Anything later is nonsense, or was
/// written while the clock was wrong.
pub(crate) fn ban(now: u64, until: u64) -> u64 {
    until.min(now.saturating_add(BAN_MAX))
}

/// Returns which of the authorities is asked after these failures: the next one after three of
/// them. A renewal begins with the first, as it begins without failures.
pub(crate) fn authority(failures: u32, authorities: usize) -> usize {
    usize::try_from(failures / TRIES).unwrap_or(0).checked_rem(authorities).unwrap_or(0)
}

fn doubled(first: u64, times: u32, most: u64) -> u64 {
    first
        .checked_shl(times)
        .filter(|wait| *wait >> times.min(63) == first)
        .map_or(most, |wait| wait.min(most))
}

/// Gives or takes a tenth.
fn spread(wait: u64, seed: u64) -> u64 {
    (wait - wait / 10).saturating_add(seed % (wait / 5 + 1))
}
