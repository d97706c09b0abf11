//! An attempt to get a certificate, from its place in the plan to the disk.

use std::io;

use zeroize::Zeroizing;

use super::account::storage;
use super::held::Known;
use super::{Manager, seconds, time};
use crate::client::Client;
use crate::order::{Attempt, Issued, Notes, OrderNotes, obtain};
use crate::outside::Level;
use crate::plan::Authority;
use crate::problem::{Failure, Kind, Problem};
use crate::schedule::{self, Event, EventKind, Fault, HOUR, Limits};
use crate::store::{Asked, Order, Record, Store};

impl Manager<'_> {
    /// Orders a certificate, or goes on with its order.
    pub(super) fn attempt(&mut self, place: usize, authority: usize) {
        let Some(authority) = self.plan.authorities.get(authority).cloned() else { return };
        if let Some(held) = self.held.get_mut(place) {
            held.is_ordering = true;
        }
        self.tell(place);
        let result = self.connected(&authority, true);
        let result = result.and_then(|client| {
            self.resting.remove(&authority.directory);
            self.order(place, &authority, client)
        });
        if let Some(held) = self.held.get_mut(place) {
            held.is_ordering = false;
        }
        match result {
            Ok(name) => self.hand_over(&name),
            Err(failure) if failure.kind == Kind::Ending => {}
            Err(failure) => self.fail(place, &authority, failure),
        }
    }

    /// Orders a certificate and stores it. Returns its name.
    fn order(&mut self, place: usize, authority: &Authority, mut client: Client) -> Result<String, Failure> {
        let now = self.now();
        // For an order that is gone on with, nothing was asked of the limits.
        let not_before = self.held.get(place).map(|held| time(self.limit(held, authority, now, now)));
        let missing = || Failure::new(Kind::Storage, "the certificate is not in the plan");
        let kid = authority.eab.as_ref().map(|eab| eab.kid.clone());
        let held = self.held.get_mut(place).ok_or_else(missing)?;
        let asked = Asked::of(&held.wanted);
        let is_of_this = |order: &&Order| {
            order.authority == authority.directory && order.kid == kid && order.asked.is_for(&held.wanted)
        };
        let begun = held.order.as_ref().filter(is_of_this).map(|order| OrderNotes {
            url: order.url.clone(),
            key_pem: Zeroizing::new(order.key.as_bytes().to_vec()),
            finalized: order.is_finalized,
        });
        let set = held.set();
        let event = |kind| Event { at: now, kind, authority: authority.directory.clone(), set };
        // Counted before it is placed: an end of the process must not make it be forgotten.
        note(&mut held.record, &mut self.limits, event(EventKind::Ordered), now);
        self.store.save_record(&held.name, &held.record).map_err(storage)?;
        let is_of_authority = held.record.authority.as_deref() == Some(&authority.directory);
        let replaces = held.known.as_ref().filter(|_| is_of_authority).and_then(|known| known.id.clone());
        let (wanted, avoid) = (held.wanted.clone(), held.record.avoid.clone());
        let is_finalized = begun.as_ref().is_some_and(|begun| begun.finalized);
        let mut book = Book {
            store: &self.store,
            name: &held.name,
            record: &mut held.record,
            limits: &mut self.limits,
            issued: event(EventKind::Issued),
            order: Order {
                authority: authority.directory.clone(),
                kid,
                url: String::new(),
                key: Zeroizing::default(),
                is_finalized,
                asked: asked.clone(),
            },
        };
        let mut outside = super::patient::Patient { outside: self.outside, kept: &mut self.kept };
        let attempt = Attempt {
            wanted: &wanted,
            avoid: &avoid,
            replaces: replaces.as_deref(),
            begun: begun.as_ref(),
            not_before,
        };
        let result = obtain(&mut client, attempt, &mut book, &mut outside);
        let order = book.order;
        if !order.url.is_empty() {
            held.order = Some(order);
        }
        let issued = result?;
        self.store_issued(place, authority, asked, &issued)
    }

    fn store_issued(
        &mut self,
        place: usize,
        authority: &Authority,
        asked: Asked,
        issued: &Issued,
    ) -> Result<String, Failure> {
        let now = self.now();
        let wrong = |error: &dyn std::fmt::Display| Failure::new(Kind::Wrong, error.to_string());
        let identity = sitar_tls::Identity::from_pem(&issued.chain_pem, &issued.key_pem);
        let identity = identity.map_err(|error| wrong(&error))?;
        let text = |pem| std::str::from_utf8(pem).map_err(|error| wrong(&error));
        let (key, chain) = (text(&issued.key_pem)?, text(&issued.chain_pem)?);
        let held = self.held.get_mut(place).ok_or_else(|| wrong(&"it is not in the plan"))?;
        // The pair first: with its key, the order says what is missing after a crash.
        self.store.save_pair(&held.name, key, chain).map_err(storage)?;
        held.record.complete(authority.directory.clone(), asked, now);
        held.known = Some(Known::new(&identity));
        held.is_forced = false;
        held.window_errors = 0;
        self.store.save_record(&held.name, &held.record).map_err(storage)?;
        self.store.remove_order(&held.name).map_err(storage)?;
        held.order = None;
        Ok(held.name.clone())
    }

    /// Remembers a failure, and when the next attempt follows.
    fn fail(&mut self, place: usize, authority: &Authority, failure: Failure) {
        let now = self.now();
        if failure.kind == Kind::Refused(Problem::AccountDoesNotExist) {
            self.forget_account(authority);
        }
        let fault = match failure.kind {
            Kind::Unreachable | Kind::Garbage | Kind::Storage | Kind::Refused(Problem::ServerInternal) => {
                Fault::Authority
            }
            _ => Fault::Refused,
        };
        if failure.kind == Kind::Unreachable {
            let rest = self.resting.entry(authority.directory.clone()).or_default();
            rest.0 = rest.0.saturating_add(1);
            rest.1 = schedule::retry(now, Fault::Authority, rest.0, true, now);
        }
        let authorities = u32::try_from(self.plan.authorities.len()).unwrap_or(1).max(1);
        let Some(held) = self.held.get_mut(place) else { return };
        held.record.tried = Some(held.wish(&self.plan));
        let (set, known) = (held.set(), held.known.as_ref());
        let is_ending = known.is_some_and(|known| known.validity.is_ending(now));
        let seed = known.map_or(now, |known| known.seed ^ now);
        let record = &mut held.record;
        if !failure.challenges.is_empty() {
            let event =
                Event { at: now, kind: EventKind::Invalid, authority: authority.directory.clone(), set };
            note(record, &mut self.limits, event, now);
            record.avoid = failure.challenges;
        }
        record.failures = record.failures.saturating_add(1);
        let tries = (record.failures - 1) / authorities + 1;
        let mut retry_at = schedule::retry(now, fault, tries, is_ending, seed);
        if failure.kind == Kind::Refused(Problem::RateLimited) {
            retry_at = retry_at.max(now + HOUR);
        }
        record.retry_at = Some(retry_at);
        record.bans.retain(|ban| ban.0 != authority.directory && ban.1 > now);
        // A second more, as the authority's clock and ours do not tick together.
        let until = failure.until.map(|until| seconds(until).saturating_add(1));
        if let Some(until) = until.filter(|until| *until > now) {
            record.bans.push((authority.directory.clone(), schedule::ban(now, until)));
        }
        record.failed = Some(failure.what);
        record.hint = failure.hint;
        if let Err(error) = self.store.save_record(&held.name, &held.record) {
            self.say(Level::Warning, &error.to_string());
        }
    }
}

/// Adds an event to what is stored and to what is counted.
fn note(record: &mut Record, limits: &mut Limits, event: Event, now: u64) {
    record.events.retain(|event| schedule::is_counted(event, now));
    limits.forget(now);
    record.events.push(event.clone());
    limits.add(event);
}

/// The notes of an order on disk.
struct Book<'a> {
    store: &'a Store,
    name: &'a str,
    record: &'a mut Record,
    limits: &'a mut Limits,
    /// What happens when the certificate is asked for.
    issued: Event,
    order: Order,
}

impl Notes for Book<'_> {
    fn save(&mut self, notes: &OrderNotes) -> io::Result<()> {
        let failed = |error| io::Error::other(error);
        if notes.finalized && !self.order.is_finalized {
            let at = self.issued.at;
            note(self.record, self.limits, self.issued.clone(), at);
            self.store.save_record(self.name, self.record).map_err(failed)?;
        }
        self.order.url.clone_from(&notes.url);
        self.order.key = Zeroizing::new(String::from_utf8_lossy(&notes.key_pem).into_owned());
        self.order.is_finalized = notes.finalized;
        self.store.save_order(self.name, &self.order).map_err(failed)
    }

    fn refused(&mut self) {
        // It may have been asked for by an attempt before. On disk with the failure, which follows.
        let Event { authority, set, .. } = &self.issued;
        let is_it = |event: &Event| {
            event.kind == EventKind::Issued && event.authority == *authority && event.set == *set
        };
        if let Some(place) = self.record.events.iter().rposition(is_it) {
            let event = self.record.events.remove(place);
            self.limits.take_back(&event);
        }
    }
}
