//! A certificate that is wanted, and when something is due with it.

use std::time::SystemTime;

use sitar_tls::Identity;

use super::Manager;
use crate::check::{certificate_id, serial};
use crate::identifier::Identifier;
use crate::outside::{Progress, Stage};
use crate::plan::{Authority, Plan, Wanted};
use crate::schedule::{self, Ask, DAY, EventKind, HOUR, Validity};
use crate::store::{Asked, Order, Record, Store, StoreError};
use crate::{csr, hash};

pub(super) struct Held {
    pub(super) name: String,
    pub(super) wanted: Wanted,
    pub(super) record: Record,
    /// The order in flight.
    pub(super) order: Option<Order>,
    /// The one on disk.
    pub(super) known: Option<Known>,
    /// Whether its files have been read. If not, when they are.
    pub(super) is_loaded: bool,
    pub(super) load_at: u64,
    /// How often it could not be put into service, one time after the other, and when that is tried
    /// again.
    pub(super) unserved: Option<(u32, u64)>,
    /// It was asked for by a command.
    pub(super) is_forced: bool,
    pub(super) is_ordering: bool,
    /// Unexpected answers about the window, one after the other.
    pub(super) window_errors: u32,
    /// What was told last.
    pub(super) told: Option<Progress>,
}

/// A certificate on disk.
pub(super) struct Known {
    pub(super) validity: Validity,
    pub(super) serial: String,
    /// What it is called in ARI; `None`: it does not say by which key it was issued.
    pub(super) id: Option<String>,
    /// The certificate in DER.
    pub(super) der: Vec<u8>,
    /// Makes moments of its own out of those of its kind.
    pub(super) seed: u64,
}

impl Known {
    pub(super) fn new(identity: &Identity) -> Known {
        let der = identity.certificate();
        // One that is valid at no time is renewed at once.
        let (start, end) = identity.validity().unwrap_or_default();
        Known {
            validity: Validity { start, end },
            serial: serial(der).unwrap_or_default(),
            id: certificate_id(der),
            der: der.to_vec(),
            seed: hash::of(&[der]),
        }
    }
}

impl Held {
    pub(super) fn new(wanted: &Wanted) -> Held {
        Held {
            name: wanted.name(),
            wanted: wanted.clone(),
            record: Record::default(),
            order: None,
            known: None,
            is_loaded: false,
            load_at: 0,
            unserved: None,
            is_forced: false,
            is_ordering: false,
            window_errors: 0,
            told: None,
        }
    }

    /// Ends the back-off of what is not wanted in that way any more: what has failed may succeed
    /// now.
    pub(super) fn end_other_back_off(&mut self, plan: &Plan) {
        if self.record.failures > 0 && self.record.tried != Some(self.wish(plan)) {
            self.end_back_off();
        }
    }

    /// Returns a hash of what the configuration says about whether an order can succeed.
    pub(super) fn wish(&self, plan: &Plan) -> u64 {
        let Wanted { key, profile, challenges, .. } = &self.wanted;
        let mut parts = vec![self.set().to_string(), format!("{key:?} {profile:?} {challenges:?}")];
        for one in &plan.authorities {
            let eab = one.eab.as_ref().map(|eab| (&eab.kid, csr::digest_of(&eab.key)));
            parts.push(format!("{} {} {:?} {eab:?}", one.directory, one.agrees, one.contact));
            parts.push(format!("{:?}", one.roots.as_deref().map(csr::digest_of)));
        }
        hash::of(&parts.iter().map(String::as_bytes).collect::<Vec<_>>())
    }

    /// Lets the next order begin at once, unless an authority forbids it.
    pub(super) fn force(&mut self) {
        self.is_forced = true;
        self.load_at = 0;
        self.end_back_off();
    }

    fn end_back_off(&mut self) {
        self.record.failures = 0;
        self.record.retry_at = None;
        self.record.avoid.clear();
    }

    /// Reads its files. Returns whether a certificate is there.
    pub(super) fn read(&mut self, store: &mut Store, now: u64) -> bool {
        match self.try_read(store, now) {
            Ok(()) => self.is_loaded = true,
            Err(error) => {
                self.record.failed = Some(error.to_string());
                self.load_at = now + HOUR;
            }
        }
        self.known.is_some()
    }

    fn try_read(&mut self, store: &mut Store, now: u64) -> Result<(), StoreError> {
        // First, so that it is served whatever is wrong with the rest.
        let pair = store.pair(&self.name, now)?;
        self.known = pair.as_ref().map(|pair| Known::new(&pair.identity));
        self.record = store.record(&self.name, now)?.unwrap_or_default();
        self.order = store.order(&self.name, now)?;
        let Some(pair) = pair else { return Ok(()) };
        let is_stored = |order: &mut Order| pair.content.starts_with(order.key.as_bytes());
        let Some(order) = self.order.take_if(is_stored) else { return Ok(()) };
        // Its certificate was stored, and then the process ended.
        self.record.complete(order.authority, order.asked, now);
        store.save_record(&self.name, &self.record)?;
        store.remove_order(&self.name)
    }

    /// A hash of the set of names.
    pub(super) fn set(&self) -> u64 {
        let mut names: Vec<_> = self.wanted.identifiers.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        let names: Vec<_> = names.iter().map(String::as_bytes).collect();
        hash::of(&names)
    }

    pub(super) fn progress(&self, next: Option<SystemTime>) -> Progress {
        let record = &self.record;
        Progress {
            name: self.name.clone(),
            stage: match (self.is_ordering, &record.failed) {
                (true, _) => Stage::Ordering,
                (false, Some(_)) if record.failures > 0 || !self.is_loaded => Stage::Failing,
                // A command may have failed.
                (false, _) => Stage::Resting,
            },
            serial: self.known.as_ref().map(|known| known.serial.clone()),
            validity: self.known.as_ref().map(|known| (known.validity.start, known.validity.end)),
            authority: record.authority.clone(),
            next,
            failed: record.failed.clone(),
            hint: record.hint.clone(),
            failures: record.failures,
        }
    }
}

impl Record {
    /// Bounds times that were written while the clock was wrong.
    pub(super) fn bound(&mut self, now: u64) {
        self.retry_at = self.retry_at.map(|at| at.min(now + DAY));
        self.ask_at = self.ask_at.map(|at| at.min(now + DAY + DAY / 8));
        for (_, until) in &mut self.bans {
            *until = schedule::ban(now, *until);
        }
    }

    /// A certificate was issued.
    pub(super) fn complete(&mut self, authority: String, asked: Asked, now: u64) {
        self.authority = Some(authority);
        self.asked = Some(asked);
        self.window = None;
        self.ask_at = Some(now);
        self.failures = 0;
        self.retry_at = None;
        self.failed = None;
        self.hint = None;
        self.avoid.clear();
    }
}

impl Manager<'_> {
    /// Returns when a certificate is ordered, and from which authority. `None`: there is none.
    pub(super) fn due(&self, held: &Held, now: u64) -> Option<(u64, usize)> {
        let wanted_at = self.wanted_at(held, now);
        let retry_at = held.record.retry_at.unwrap_or(0);
        let at = wanted_at.max(retry_at).max(now);
        let count = self.plan.authorities.len();
        let first = schedule::authority(held.record.failures, count);
        let all = (0..count).map(|turn| (first + turn) % count.max(1));
        let all = all.filter_map(|place| {
            let authority = self.plan.authorities.get(place)?;
            let directory = authority.directory.as_str();
            let ban = held.record.bans.iter().filter(|ban| ban.0 == directory);
            let ban = ban.map(|ban| ban.1).max().unwrap_or(0);
            let (missed, rest) = self.resting.get(directory).copied().unwrap_or_default();
            let is_finished =
                held.order.as_ref().is_some_and(|order| order.is_finalized && order.authority == directory);
            let limit = if is_finished {
                // It is counted already.
                at
            } else {
                self.limit(held, authority, now, at)
            };
            let at = at.max(ban).max(limit);
            // One that was not reached once or twice is waited for.
            let compared = if missed < schedule::TRIES { at } else { at.max(rest) };
            Some((compared, at.max(rest), place))
        });
        // The first of those that can be asked soonest.
        all.min_by_key(|(compared, ..)| *compared).map(|(_, at, place)| (at, place))
    }

    /// Returns the first time, `at` or later, at which another order keeps to the limits.
    pub(super) fn limit(&self, held: &Held, authority: &Authority, now: u64, at: u64) -> u64 {
        let lifetime = held.known.as_ref().map(|known| known.validity.lifetime());
        // One that was revoked is as none.
        let known = held.known.as_ref().filter(|_| held.record.asked.is_some());
        let is_urgent = known.is_none_or(|known| known.validity.is_ending(now));
        let ask = Ask { authority: &authority.directory, set: held.set(), is_urgent, lifetime };
        // An authority of one's own has no limit for a domain.
        let is_own = authority.roots.is_some();
        let domain = if is_own { at } else { self.domain_limit(held, at) };
        self.limits.earliest(at, ask).max(domain)
    }

    /// Returns when a certificate is to be ordered, if nothing forbids it.
    fn wanted_at(&self, held: &Held, now: u64) -> u64 {
        let Some(known) = &held.known else { return now };
        let record = &held.record;
        let is_of_plan = record
            .authority
            .as_ref()
            .is_some_and(|name| self.plan.authorities.iter().any(|authority| authority.directory == *name));
        let is_asked = record.asked.as_ref().is_some_and(|asked| asked.is_for(&held.wanted));
        if held.is_forced || held.order.is_some() || !is_of_plan || !is_asked {
            return now;
        }
        let window = record.window.as_ref().filter(|(serial, _)| *serial == known.serial);
        schedule::renewal(known.validity, window.map(|(_, window)| *window), known.seed)
    }

    /// Returns when another certificate for names below the same domain may be ordered. One that
    /// replaces another for the same names is free of that limit.
    fn domain_limit(&self, held: &Held, at: u64) -> u64 {
        if held.record.asked.as_ref().is_some_and(|asked| asked.is_for(&held.wanted)) {
            return at;
        }
        let domains: Vec<_> = held.wanted.identifiers.iter().filter_map(domain).collect();
        let others = self.held.iter().filter(|other| {
            other.wanted.identifiers.iter().filter_map(domain).any(|one| domains.contains(&one))
        });
        let events = others.flat_map(|other| &other.record.events);
        let issued = events.filter(|event| event.kind == EventKind::Issued).map(|event| event.at);
        schedule::domain_earliest(at, &mut issued.collect())
    }

    /// Returns when the window of a certificate is asked for. `None`: never.
    pub(super) fn ask_due(&self, held: &Held, now: u64) -> Option<u64> {
        held.known.as_ref()?.id.as_ref()?;
        let directory = held.record.authority.as_ref()?;
        self.plan.authorities.iter().find(|authority| authority.directory == *directory)?;
        let rest = self.resting.get(directory).map_or(0, |rest| rest.1);
        let at = held.record.ask_at.unwrap_or(now);
        Some(at.max(rest))
    }
}

/// Returns the last two labels of a name, which most registered domains have.
fn domain(identifier: &Identifier) -> Option<&str> {
    let name = identifier.domain()?;
    let last = name.rfind('.')?;
    let start = name.get(..last)?.rfind('.').map_or(0, |dot| dot + 1);
    name.get(start..)
}
