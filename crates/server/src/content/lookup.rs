//! From a request to its answer, in any version of HTTP.

use std::io::ErrorKind;
use std::sync::Arc;

use sitar_http::{Field, Method, Rejection, Request, Status};
use sitar_io::usdt;
use sitar_site::{Reply, Representation, Route, Scratch, Site};

use super::cache::{self, Cache};
use super::hosts::{NO_SUCH_HOST, Routed, is_plain_challenge, redirects, route};
use super::loader::Wanted;
use super::origin::Origin;
use crate::access::gate::{Asker, Decision, Gate};
use crate::snapshot::{FileKey, Host, HostId, Snapshot};

/// The snapshot that a shard serves from, and its files.
pub(crate) struct Served {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The snapshot's site where one answers to every name: nothing has to be looked up then.
    only: Option<(HostId, Arc<Site>)>,
    /// Requests are answered only where the peer is known.
    needs_peers: bool,
    /// Something comes before the host of a request: that the peer is known, or a challenge. One
    /// mark, so that a request asks once where neither is so.
    looks_first: bool,
    /// Files of challenges are pending.
    has_challenges: bool,
    /// Some log records who asks.
    logs_peers: bool,
    pub(crate) cache: Cache,
    pub(crate) gate: Gate,
    /// Lent to one answer after another.
    scratch: Scratch,
}

/// An answer, or why there is none.
pub(crate) enum Outcome<'f> {
    Reply(Reply<'f>),
    Refused(&'static Rejection),
    /// Its file is being loaded, or its password verified; the connection with that key gets an
    /// event when that is done.
    Later,
}

impl Served {
    pub(crate) fn new(snapshot: Arc<Snapshot>, cache: Cache, gate: Gate) -> Served {
        let (only, needs_peers) = (snapshot.hosts.only(), snapshot.needs_peers());
        let logs_peers = snapshot.has_logs();
        let has_challenges = snapshot.challenges.has_files();
        let looks_first = needs_peers || has_challenges;
        let scratch = Scratch::new();
        Served { only, needs_peers, looks_first, has_challenges, logs_peers, snapshot, cache, gate, scratch }
    }

    /// Serves from `next` from now on. Returns the snapshot until now.
    pub(crate) fn replace(&mut self, next: Arc<Snapshot>) -> Arc<Snapshot> {
        (self.only, self.needs_peers) = (next.hosts.only(), next.needs_peers());
        self.has_challenges = next.challenges.has_files();
        self.looks_first = self.needs_peers || self.has_challenges;
        self.logs_peers = next.has_logs();
        std::mem::replace(&mut self.snapshot, next)
    }

    /// Whether the choice of a host depends on what a connection was opened for.
    pub(crate) fn has_names(&self) -> bool {
        self.only.is_none()
    }

    /// Whether nothing is received before the kernel has said who the peer is: requests are
    /// answered only where that is known, or a log says it.
    pub(crate) fn wants_peers(&self) -> bool {
        self.needs_peers || self.logs_peers
    }

    /// Whether requests are answered only where the peer is known.
    pub(crate) fn needs_peers(&self) -> bool {
        self.needs_peers
    }

    #[inline]
    pub(crate) fn look_up<'s>(
        &'s mut self,
        asker: Asker,
        origin: &mut Origin,
        request: &Request<'_>,
    ) -> Outcome<'s> {
        origin.asks(request.method);
        if asker.is_new {
            usdt::request(asker.key.0, || usdt::Request {
                method: match request.method {
                    Method::Unknown => request.method_name,
                    known => known.name().as_bytes(),
                },
                host: request.authority.unwrap_or_default(),
                path: request.target.path,
            });
        }
        if self.looks_first {
            // An authority is answered whatever its host's site is, needs or does.
            if self.has_challenges
                && let Some(file) = self.snapshot.challenges.find(request)
            {
                return Outcome::Reply(file.reply(request, &mut self.scratch));
            }
            // That it is needed may be news of a reload, and the kernel may not have been able to
            // tell.
            if self.needs_peers && origin.peer().is_none() {
                return Outcome::Refused(&UNKNOWN_PEER);
            }
        }
        let (host, site) = match &self.only {
            Some((host, site)) if !redirects(origin.role()) => (*host, site),
            _ => {
                let Snapshot { number, hosts, .. } = &*self.snapshot;
                let host = match origin.routed(*number, hosts, request.authority) {
                    Some(host) => host,
                    None => match route(&self.snapshot, origin, request) {
                        Routed::Site(host) => host,
                        Routed::Refused(rejection) => return Outcome::Refused(rejection),
                        Routed::Redirect(redirect) => {
                            return Outcome::Reply(redirect.reply(request, &mut self.scratch));
                        }
                        Routed::Page(page) if redirects(origin.role()) => {
                            return Outcome::Reply(page.reply_without_hsts(request, &mut self.scratch));
                        }
                        Routed::Page(page) => {
                            return Outcome::Reply(page.reply(request, &mut self.scratch));
                        }
                    },
                };
                match self.snapshot.site(host) {
                    Some(site) => (host, site),
                    None => return Outcome::Refused(&NO_SUCH_HOST),
                }
            }
        };
        origin.leads_to(host);
        // Only where peers have to be known is there a host that not everyone may ask.
        if self.needs_peers
            && let Some(access) = self.snapshot.hosts.get(host).and_then(|host| host.access.as_deref())
        {
            let is_exempt = is_plain_challenge(origin.role(), request);
            let number = self.snapshot.number;
            match self.gate.decide((host, access), asker, is_exempt, (origin, number), request) {
                Decision::Passed => {}
                Decision::Later => return Outcome::Later,
                Decision::Refused(rejection) => return Outcome::Refused(rejection),
                Decision::Answered(refusal) => {
                    let is_plain = redirects(origin.role());
                    return Outcome::Reply(refusal.reply(request, &mut self.scratch, is_plain));
                }
            }
        }
        // Its files are for some, but those of challenges are for everyone.
        let is_for_challenges = is_plain_challenge(origin.role(), request)
            && self.snapshot.hosts.get(host).is_some_and(Host::is_restricted);
        let outcome = match site.route(request, &mut self.scratch) {
            Route::Reply(reply) => Outcome::Reply(reply),
            // A rule, or the page of an error, would show another file.
            Route::File(target) if is_for_challenges && !target.is_at_path() => {
                Outcome::Refused(&NO_CHALLENGE)
            }
            Route::File(target) => {
                let (file, status) = (FileKey { host, file: target.file() }, target.status());
                match self.cache.get(file, asker.key, |known| wanted(request, status, known)) {
                    cache::Lookup::Ready(loaded) => Outcome::Reply(loaded.respond(request, target)),
                    cache::Lookup::Later => Outcome::Later,
                    cache::Lookup::Failed(ErrorKind::NotFound) => Outcome::Refused(&VANISHED),
                    cache::Lookup::Failed(ErrorKind::StorageFull) => Outcome::Refused(&NO_ROOM),
                    cache::Lookup::Failed(_) => {
                        let page = self.snapshot.hosts.get(host).and_then(|host| host.pages.error.as_deref());
                        match page {
                            Some(page) => Outcome::Reply(page.reply(request, target.into_scratch())),
                            None => Outcome::Refused(&UNREADABLE),
                        }
                    }
                }
            }
        };
        match outcome {
            Outcome::Reply(reply) if redirects(origin.role()) => Outcome::Reply(site.without_hsts(reply)),
            outcome => outcome,
        }
    }
}

/// Returns the part of a file that its answer to a request needs, by what is `known` of the file.
/// `status` is that of the answer, if no condition makes it another.
#[cold]
fn wanted(request: &Request<'_>, status: Status, known: Option<&Representation>) -> Wanted {
    match known {
        Some(known) if known.is_sent(request, status) => Wanted::Body,
        Some(_) => Wanted::Head,
        None if request.method == Method::Head => Wanted::Head,
        None if status == Status::OK && CONDITIONS.iter().any(|field| request.fields.has(*field)) => {
            Wanted::Condition
        }
        None => Wanted::Body,
    }
}

/// The fields that may make an answer one without content.
const CONDITIONS: [Field; 4] =
    [Field::IfMatch, Field::IfNoneMatch, Field::IfModifiedSince, Field::IfUnmodifiedSince];

const UNKNOWN_PEER: Rejection = Rejection {
    status: Status::FORBIDDEN,
    reason: "the address that this connection comes from is not known",
};
const NO_CHALLENGE: Rejection =
    Rejection { status: Status::NOT_FOUND, reason: "there is no file for this challenge" };
const VANISHED: Rejection = Rejection { status: Status::NOT_FOUND, reason: "the file is gone" };
const NO_ROOM: Rejection =
    Rejection { status: Status::SERVICE_UNAVAILABLE, reason: "there is no room for the listing now" };
const UNREADABLE: Rejection =
    Rejection { status: Status::INTERNAL_SERVER_ERROR, reason: "the file could not be read" };

#[cfg(test)]
mod tests;
