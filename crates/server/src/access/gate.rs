//! One shard's decision about a request for a host that not everybody may ask.
//!
//! A verdict about credentials is kept under a keyed hash of them, so that a warm request costs a
//! hash and a lookup. Right and wrong ones are kept apart: no number of wrong ones makes a right
//! one be forgotten. What is not known is verified on another thread, and the request waits for
//! that as it would for a file.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitar_http::{Field, Rejection, Request, Status, semantics};
use sitar_io::Key;
use sitar_site::{Page, Reply, Scratch};

use super::credentials::{Credentials, Fingerprint};
use super::throttle::{Rate, Throttle};
use super::verify::{Job, Verifier};
use super::{Access, Limit, Networks, Realm};
use crate::content::origin::Origin;
use crate::peer::Peer;
use crate::shard::addresses::Address;
use crate::snapshot::HostId;

/// Wrong passwords of one address: ten at once, then one in six seconds.
pub(super) const FAILURES: Rate = Rate::often(10, Duration::from_secs(60), 10);
/// Right and wrong credentials that a shard keeps, and the time for which it does.
const RIGHT_MAX: usize = 1024;
const WRONG_MAX: usize = 256;
const KEPT: Duration = Duration::from_secs(10 * 60);
/// Places in which one verdict may be.
const WAYS: usize = 4;

/// The peer may not ask.
const FORBIDDEN: Rejection =
    Rejection { status: Status::FORBIDDEN, reason: "this site does not answer your address" };

/// The part of a shard that decides who may ask.
pub(crate) struct Gate {
    /// The key of fingerprints.
    key: [u8; 32],
    throttle: Arc<Throttle>,
    verifier: Verifier,
    shard: usize,
    right: Verdicts,
    wrong: Verdicts,
    /// Connections that wait for a verdict.
    waiting: Vec<(Fingerprint, Key)>,
}

/// The connection that a request came on, and the time.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) key: Key,
    pub(crate) now: Instant,
    /// This request is looked up for the first time.
    pub(crate) is_new: bool,
}

/// A decision about a request.
pub(crate) enum Decision<'a> {
    Passed,
    /// A verdict about its credentials is awaited; the connection gets an event then.
    Later,
    Refused(&'static Rejection),
    Answered(Refusal<'a>),
}

/// An answer of a realm's.
pub(crate) struct Refusal<'a> {
    page: &'a Page,
    retry_after: Option<Duration>,
}

/// Fingerprints, each with the time until which it is kept. No memory before the first.
struct Verdicts {
    slots: Box<[Option<(Fingerprint, Instant)>]>,
    most: usize,
}

impl Gate {
    /// The gate of shard number `shard`.
    pub(crate) fn new(throttle: Arc<Throttle>, verifier: Verifier, shard: usize) -> Gate {
        // The key of a hash map comes from the kernel's random numbers (getrandom).
        let random = RandomState::new();
        let mut key = [0; 32];
        for (part, number) in key.chunks_exact_mut(8).zip(0_u64..) {
            part.copy_from_slice(&random.hash_one(number).to_ne_bytes());
        }
        let (right, wrong) = (Verdicts::new(RIGHT_MAX), Verdicts::new(WRONG_MAX));
        Gate { key, throttle, verifier, shard, right, wrong, waiting: Vec::new() }
    }

    /// A gate without a thread, for sites that need no credentials.
    #[cfg(test)]
    pub(crate) fn without_users() -> Gate {
        let throttle = Arc::<Throttle>::default();
        let (verifier, _) = Verifier::new(Vec::new(), Arc::clone(&throttle));
        Gate::new(throttle, verifier, 0)
    }

    /// Decides about a request to `host`, in this order: by network, by rate, by credentials. One
    /// that `is_exempt` is held to its rate only.
    pub(crate) fn decide<'a>(
        &mut self,
        (host, access): (HostId, &'a Access),
        asker: Asker,
        is_exempt: bool,
        (origin, snapshot): (&mut Origin, u64),
        request: &Request<'_>,
    ) -> Decision<'a> {
        let peer = origin.peer();
        if !is_exempt && !origin.is_admitted(snapshot, host, || access.admits(peer)) {
            return Decision::Refused(&FORBIDDEN);
        }
        let client = || client(peer?, request, &access.trusted_proxies);
        // A proxy on a Unix socket that names no client asks for all of them, without a limit.
        if asker.is_new
            && let Some(Limit { rate, page }) = &access.limit
            && let Some(client) = client()
        {
            // Of each rate by itself: what was too much at another one, before a reload or of the
            // host that had this number, says nothing.
            let client = self.throttle.client(("requests", host, rate, client));
            if let Err(wait) = self.throttle.take(client, rate, asker.now) {
                return Decision::Answered(Refusal { page, retry_after: Some(wait) });
            }
        }
        match &access.realm {
            Some(realm) if !is_exempt => self.authenticate(realm, asker, client, request),
            _ => Decision::Passed,
        }
    }

    fn authenticate<'a>(
        &mut self,
        realm: &'a Realm,
        Asker { key, now, .. }: Asker,
        client: impl FnOnce() -> Option<Address>,
        request: &Request<'_>,
    ) -> Decision<'a> {
        let answer = |page, retry_after| Decision::Answered(Refusal { page, retry_after });
        let unauthorized = || answer(&realm.pages.unauthorized, None);
        let Some(token) = request.fields.get(Field::Authorization).and_then(Credentials::token) else {
            return unauthorized();
        };
        let fingerprint = Fingerprint::of(&self.key, &realm.version, token);
        if self.right.have(fingerprint, now) {
            return Decision::Passed;
        }
        if self.wrong.have(fingerprint, now) {
            return unauthorized();
        }
        let is_asked = self.waiting.iter().any(|(other, _)| *other == fingerprint);
        if !is_asked {
            let Some(credentials) = Credentials::decode(token) else { return unauthorized() };
            let client = self.throttle.client(("failures", client()));
            // Before it is known whether it is wrong, or many could be tried at the same time.
            if let Err(wait) = self.throttle.take(client, &FAILURES, now) {
                return answer(&realm.pages.too_many, Some(wait));
            }
            let users = Arc::clone(&realm.users);
            let job = Job { users, credentials, fingerprint, shard: self.shard, charged: (client, now) };
            if !self.verifier.ask(job) {
                self.throttle.give_back(client, &FAILURES, now);
                return answer(&realm.pages.busy, None);
            }
        }
        if !self.waiting.contains(&(fingerprint, key)) {
            self.waiting.push((fingerprint, key));
        }
        Decision::Later
    }

    /// Takes a verdict. Connections that wait for it ([`next_waiting`](Gate::next_waiting)) are to
    /// be resumed.
    pub(crate) fn verified(&mut self, fingerprint: Fingerprint, is_right: bool, now: Instant) {
        let verdicts = if is_right { &mut self.right } else { &mut self.wrong };
        verdicts.keep(fingerprint, now);
    }

    /// The next connection that waits for a verdict about these credentials.
    pub(crate) fn next_waiting(&mut self, fingerprint: Fingerprint) -> Option<Key> {
        let at = self.waiting.iter().position(|(wanted, _)| *wanted == fingerprint)?;
        Some(self.waiting.swap_remove(at).1)
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, key: Key) {
        self.waiting.retain(|(_, waiting)| *waiting != key);
    }
}

/// Returns the part of an address that stands for one client: the peer's, or the one that trusted
/// proxies name. `None`: it has none.
fn client(peer: Peer, request: &Request<'_>, trusted: &Networks) -> Option<Address> {
    let is_trusted = trusted.contain(peer);
    let named = if is_trusted {
        semantics::forwarded(request, |address| trusted.contain_address(address))
    } else {
        None
    };
    match (named, peer) {
        (Some(address), _) | (None, Peer::Ip(address)) => Some(Address::of_ip(address)),
        // Where the proxy writes one field, its client may have added the other one, and would have
        // no limit by it: all that do are one client.
        (None, Peer::Unix) if is_trusted && has_both(request) => Some(Address::UNCOUNTED),
        (None, Peer::Unix) => None,
    }
}

fn has_both(request: &Request<'_>) -> bool {
    request.fields.has(Field::Forwarded) && request.fields.has(Field::XForwardedFor)
}

impl Access {
    /// Returns whether a peer may ask. One that is not known may not.
    pub(crate) fn admits(&self, peer: Option<Peer>) -> bool {
        let Some(peer) = peer else { return false };
        !self.deny.contain(peer) && self.allow.as_ref().is_none_or(|allow| allow.contain(peer))
    }

    /// Whether there is someone who may not ask, however seldom.
    pub(crate) fn is_restricted(&self) -> bool {
        self.realm.is_some() || self.allow.is_some() || !self.deny.is_empty()
    }
}

impl<'a> Refusal<'a> {
    /// Returns the answer to a request; over plain HTTP without HSTS (RFC 6797 §7.2).
    pub(crate) fn reply<'r>(
        self,
        request: &Request<'_>,
        scratch: &'r mut Scratch,
        is_plain: bool,
    ) -> Reply<'r>
    where
        'a: 'r,
    {
        let reply = if is_plain {
            self.page.reply_without_hsts(request, scratch)
        } else {
            self.page.reply(request, scratch)
        };
        match self.retry_after {
            Some(wait) => reply.with_retry_after(wait),
            None => reply,
        }
    }
}

impl Verdicts {
    fn new(most: usize) -> Verdicts {
        Verdicts { slots: Box::default(), most }
    }

    /// The places of a fingerprint.
    fn ways(&mut self, fingerprint: Fingerprint) -> &mut [Option<(Fingerprint, Instant)>] {
        let set = fingerprint.number() % (self.most / WAYS) * WAYS;
        self.slots.get_mut(set..set + WAYS).unwrap_or_default()
    }

    fn have(&mut self, fingerprint: Fingerprint, now: Instant) -> bool {
        let mut kept = self.ways(fingerprint).iter().flatten();
        kept.any(|(other, until)| *other == fingerprint && *until > now)
    }

    /// Keeps a fingerprint, in the place of the oldest where all are taken.
    fn keep(&mut self, fingerprint: Fingerprint, now: Instant) {
        if self.slots.is_empty() {
            self.slots = vec![None; self.most].into();
        }
        // An empty place is older than any other.
        let oldest = self.ways(fingerprint).iter_mut().min_by_key(|slot| slot.map(|(_, until)| until));
        if let Some(slot) = oldest {
            *slot = Some((fingerprint, now + KEPT));
        }
    }
}
