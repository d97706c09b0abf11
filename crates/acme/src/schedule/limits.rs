//! Limits that are kept without being asked to: those of Let's Encrypt, which are the narrowest of
//! the large authorities (<https://letsencrypt.org/docs/rate-limits/>), with room to spare.

use super::{DAY, Event, EventKind, HOUR, MINUTE, WEEK};

/// Certificates for the same set of names with one authority in a week: all that it permits.
const SAME_SET: usize = 5;
/// Those of them that a certificate with time left may use, so that one is left for when its end
/// is near.
const SAME_SET_IN_TIME: usize = 4;
/// Certificates for the same set of names in one lifetime of them, where that is more: a renewal at
/// its half, and as many again for what goes wrong.
const PER_LIFETIME: u64 = 4;
/// Orders whose validation fails, in an hour. Five are permitted for a name.
const INVALID: usize = 4;
/// Orders of an account in three hours. 300 are permitted.
const ORDERS: usize = 250;
/// New accounts in three hours. Ten are permitted for an address, which others may share.
const ACCOUNTS: usize = 5;
/// Certificates for a registered domain in a week, before further ones are spaced out. 50 are
/// permitted; which part of a name is registered is not known here.
const SAME_DOMAIN: usize = 40;
/// Between two of the further ones: a 50th of a week.
const SAME_DOMAIN_PAUSE: u64 = 202 * MINUTE;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    /// The directory of the authority.
    pub(crate) authority: &'a str,
    /// The hash of the set of names.
    pub(crate) set: u64,
    /// No certificate is there, or its end is near.
    pub(crate) is_urgent: bool,
    /// For how long the one that is there is valid, from its first second to its last.
    pub(crate) lifetime: Option<u64>,
}

/// What has happened so far, with all certificates.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    events: Vec<Event>,
}

impl Limits {
    /// Counts something.
    pub(crate) fn add(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Takes back what has not happened after all.
    pub(crate) fn take_back(&mut self, event: &Event) {
        if let Some(place) = self.events.iter().rposition(|one| one == event) {
            self.events.remove(place);
        }
    }

    /// Forgets what no limit counts any more.
    pub(crate) fn forget(&mut self, now: u64) {
        self.events.retain(|event| is_counted(event, now));
    }

    /// Puts what lies in the future, as the clock was wrong, at this moment: it is counted once
    /// more, and not for ever.
    pub(crate) fn bound(&mut self, now: u64) {
        bound(&mut self.events, now);
    }

    /// Returns the first time, `now` or later, at which an order keeps to the limits.
    pub(crate) fn earliest(&self, now: u64, ask: Ask<'_>) -> u64 {
        // An authority whose certificates last a day or two has other limits than Let's Encrypt.
        let needed = ask.lifetime.map_or(0, |lifetime| PER_LIFETIME * WEEK / lifetime.max(HOUR));
        let needed = usize::try_from(needed).unwrap_or(0);
        let same_set = if ask.is_urgent { SAME_SET } else { SAME_SET_IN_TIME }.max(needed);
        let rows = [
            (EventKind::Issued, true, same_set, WEEK),
            (EventKind::Invalid, true, INVALID, HOUR),
            (EventKind::Ordered, false, ORDERS, 3 * HOUR),
        ];
        let free = rows.map(|(kind, is_of_set, most, period)| {
            let counted = |event: &&Event| {
                event.kind == kind && event.authority == ask.authority && (!is_of_set || event.set == ask.set)
            };
            free_at(self.events.iter().filter(counted).map(|event| event.at), most, period)
        });
        free.into_iter().fold(now, u64::max)
    }
}

/// Returns the first time, `now` or later, at which another certificate for names below a domain
/// may be ordered: these are the times of the ones before.
pub(crate) fn domain_earliest(now: u64, issued: &mut Vec<u64>) -> u64 {
    issued.retain(|at| at.saturating_add(WEEK) > now);
    let newest = issued.iter().copied().max().unwrap_or(0);
    if issued.len() < SAME_DOMAIN { now } else { now.max(newest.saturating_add(SAME_DOMAIN_PAUSE)) }
}

/// Returns the first time, `now` or later, at which another account may be asked for: these are the
/// times of the attempts before.
pub(crate) fn account_earliest(now: u64, attempts: &[u64]) -> u64 {
    free_at(attempts.iter().map(|at| (*at).min(now)), ACCOUNTS, 3 * HOUR).max(now)
}

/// Returns whether a limit counts it still. A day more than the longest period is kept, as clocks
/// differ.
pub(crate) fn is_counted(event: &Event, now: u64) -> bool {
    let period = match event.kind {
        EventKind::Ordered => 3 * HOUR,
        EventKind::Issued => WEEK,
        EventKind::Invalid => HOUR,
    };
    event.at.saturating_add(period + MINUTE) > now
}

/// Puts events of the future at this moment. Returns whether there were some.
pub(crate) fn bound(events: &mut [Event], now: u64) -> bool {
    let mut is_changed = false;
    for event in events.iter_mut().filter(|event| event.at > now.saturating_add(DAY)) {
        event.at = now;
        is_changed = true;
    }
    is_changed
}

/// Returns when there are fewer than `most` times within the period before.
fn free_at(times: impl Iterator<Item = u64>, most: usize, period: u64) -> u64 {
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    let place = times.len().checked_sub(most);
    // A second more, as the authority's clock and ours do not tick together.
    place.and_then(|place| times.get(place)).map_or(0, |at| at.saturating_add(period + 1))
}
