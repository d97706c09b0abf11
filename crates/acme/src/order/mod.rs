//! One attempt to get a certificate: an order, its challenges, the certificate (RFC 8555 §7.4).

mod authorize;

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use serde_json::json;
use zeroize::Zeroizing;

use crate::base64::url;
use crate::check::{check, has_issuer};
use crate::client::{Answer, Client, rest};
use crate::csr;
use crate::http::Url;
use crate::identifier::Identifier;
use crate::json::Json;
use crate::outside::Outside;
use crate::plan::{ChallengeKind, Wanted};
use crate::problem::{Document, Failure, Kind, Problem, printable};
use crate::time::rfc3339;

/// How long an attempt may take, from the moment at which its challenges are answered.
const WHOLE: Duration = Duration::from_secs(10 * 60);
/// The most authorizations of an order.
const AUTHORIZATIONS_MAX: usize = 100;
/// The most other chains that are looked at.
const ALTERNATES_MAX: usize = 10;
/// The profile under which Let's Encrypt certifies addresses.
const SHORTLIVED: &str = "shortlived";

/// What is ordered, and what is known from before.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The certificate.
    pub wanted: &'a Wanted,
    /// Challenges that have failed, and that are not taken again if there is another.
    pub avoid: &'a [(Identifier, ChallengeKind)],
    /// The [`certificate_id`](crate::certificate_id) of the one that this one is to replace.
    pub replaces: Option<&'a str>,
    /// What an attempt has left that did not end.
    pub begun: Option<&'a OrderNotes>,
    /// When another order may be placed, where that one comes to nothing; `None`: at once.
    pub not_before: Option<SystemTime>,
}

/// What has to survive a crash: with it, an order is gone on with.
#[derive(Clone, PartialEq, Eq)]
pub struct OrderNotes {
    /// The URL of the order.
    pub url: String,
    /// The key that the certificate is for, in PEM.
    pub key_pem: Zeroizing<Vec<u8>>,
    /// The authority may have been asked for the certificate with this key.
    pub finalized: bool,
}

impl fmt::Debug for OrderNotes {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderNotes")
            .field("url", &self.url)
            .field("finalized", &self.finalized)
            .finish_non_exhaustive()
    }
}

/// Where the notes of an order are kept.
pub trait Notes {
    /// Writes the notes in the place of those before. They are on disk when it returns.
    ///
    /// # Errors
    /// They could not be written; the order does not go on then.
    fn save(&mut self, notes: &OrderNotes) -> io::Result<()>;

    /// The certificate that was asked for has been refused, and none was issued.
    fn refused(&mut self) {}
}

/// A certificate that has been issued and checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate and those that certify it, in PEM.
    pub chain_pem: Vec<u8>,
    /// Its key in PEM.
    pub key_pem: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Issued {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("len", &self.chain_pem.len()).finish_non_exhaustive()
    }
}

/// Orders a certificate, or goes on with an order. The account has to be open.
///
/// The waits are [`Outside::wait`]; a command that this returns is not looked at, so a caller who
/// wants it has to keep it. Whatever happens, no challenge is left pending at the end.
///
/// # Errors
/// Any [`Failure`]. The order may be gone on with, unless it has become invalid: the next attempt
/// with its notes finds out and begins again.
pub fn obtain(
    client: &mut Client,
    attempt: Attempt<'_>,
    notes: &mut dyn Notes,
    outside: &mut dyn Outside,
) -> Result<Issued, Failure> {
    client.set_end(Some(outside.now() + WHOLE));
    let issued = go_on(client, attempt, notes, outside);
    client.set_end(None);
    issued
}

fn go_on(
    client: &mut Client,
    attempt: Attempt<'_>,
    notes: &mut dyn Notes,
    outside: &mut dyn Outside,
) -> Result<Issued, Failure> {
    let resumed = match attempt.begun {
        Some(begun) => Order::resume(client, begun, attempt.wanted, outside)?,
        None => None,
    };
    let is_resumed = resumed.is_some();
    let mut order = match resumed {
        Some(order) => order,
        None => {
            if let Some(until) = attempt.not_before.filter(|until| *until > outside.now()) {
                let what = "the order before has come to nothing, and limits allow no other one yet";
                let mut failure = Failure::new(Kind::Refused(Problem::RateLimited), what);
                failure.until = Some(until);
                return Err(failure);
            }
            Order::begin(client, attempt, notes, outside)?
        }
    };
    let done = order.complete(client, attempt, notes, outside);
    let is_useless = |kind: Kind| match kind {
        // It will give the same certificate again.
        Kind::Wrong => true,
        // It was asked for twice at least, and is not kept any more.
        Kind::Refused(problem) => is_resumed && order.status == Status::Valid && is_for_good(problem),
        _ => false,
    };
    let is_refused = order.is_refused || order.status == Status::Invalid && order.notes.finalized;
    if is_refused || done.as_ref().is_err_and(|failure| is_useless(failure.kind)) {
        // The next attempt begins another one.
        order.notes.finalized = false;
        if is_refused {
            notes.refused();
        }
        order.save(notes)?;
    }
    done
}

/// Whether the same request will be refused again, whatever happens elsewhere.
fn is_for_good(problem: Problem) -> bool {
    !matches!(
        problem,
        Problem::RateLimited
            | Problem::ServerInternal
            | Problem::BadNonce
            | Problem::AccountDoesNotExist
            | Problem::UserActionRequired
    )
}

/// The state of an order (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

/// An order, as the authority last showed it.
struct Order {
    notes: OrderNotes,
    status: Status,
    expires: Option<SystemTime>,
    identifiers: Vec<Identifier>,
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    /// The certificate was asked for, and the authority has refused it.
    is_refused: bool,
    /// Why it is invalid.
    error: Option<Document>,
    answer: Answer,
}

impl Order {
    fn read(notes: OrderNotes, answer: Answer) -> Result<Order, Failure> {
        let json = answer.json();
        let status = match json.text("status") {
            Some("pending") => Status::Pending,
            Some("ready") => Status::Ready,
            Some("processing") => Status::Processing,
            Some("valid") => Status::Valid,
            Some("invalid") => Status::Invalid,
            _ => return Err(Failure::garbage("the authority's order has no status that is known")),
        };
        let listed = json.list("authorizations");
        if listed.len() > AUTHORIZATIONS_MAX {
            return Err(Failure::garbage("the authority's order has more than 100 authorizations"));
        }
        let identifiers = json.list("identifiers").iter().filter_map(|value| Json::new(value).identifier());
        let url = |url: &str| Url::parse(url).map(|_| url.to_owned());
        let authorizations = listed.iter().map(|value| url(value.as_str().unwrap_or_default()));
        Ok(Order {
            status,
            expires: json.text("expires").and_then(rfc3339),
            identifiers: identifiers.take(AUTHORIZATIONS_MAX).collect(),
            authorizations: authorizations.collect::<Result<_, _>>()?,
            finalize: url(json.text("finalize").unwrap_or_default())?,
            certificate: json.text("certificate").map(url).transpose()?,
            is_refused: false,
            error: json.get("error").map(Document::read),
            notes,
            answer,
        })
    }

    /// Places an order, and writes down its URL and the key that it is for.
    fn begin(
        client: &mut Client,
        attempt: Attempt<'_>,
        notes: &mut dyn Notes,
        outside: &mut dyn Outside,
    ) -> Result<Order, Failure> {
        let wanted = attempt.wanted;
        let profile = profile(client, wanted)?;
        // Before the order, so that one which is placed is written down as soon as may be.
        let key_pem = csr::key(wanted.key)?;
        let payload = |replaces: Option<&str>| {
            let identifiers = wanted.identifiers.iter().map(|identifier| match identifier {
                Identifier::Dns(name) => json!({ "type": "dns", "value": name }),
                Identifier::Ip(address) => json!({ "type": "ip", "value": address.to_string() }),
            });
            let mut order = json!({ "identifiers": identifiers.collect::<Vec<_>>() });
            if let Some(profile) = profile {
                order["profile"] = profile.into();
            }
            if let Some(replaces) = replaces {
                order["replaces"] = replaces.into();
            }
            order.to_string()
        };
        let url = client.directory().new_order.clone();
        let replaces = attempt.replaces.filter(|_| client.directory().renewal_info.is_some());
        let answer = match client.post(&url, &payload(replaces), outside) {
            // The predecessor is unknown there, or has been replaced: that is no reason to have
            // none.
            Err(Failure { kind: Kind::Refused(problem), .. })
                if replaces.is_some() && is_about_replaces(problem) =>
            {
                client.post(&url, &payload(None), outside)?
            }
            other => other?,
        };
        let found = OrderNotes { url: answer.location()?, key_pem, finalized: false };
        let order = Order::read(found, answer)?;
        order.save(notes)?;
        Ok(order)
    }

    /// Looks at an order that was begun before. `None`: there is nothing to go on with.
    fn resume(
        client: &mut Client,
        begun: &OrderNotes,
        wanted: &Wanted,
        outside: &mut dyn Outside,
    ) -> Result<Option<Order>, Failure> {
        let answer = match client.fetch(&begun.url, outside) {
            Ok(answer) => answer,
            // Forgotten, or of another account.
            Err(Failure {
                kind: Kind::Refused(Problem::Malformed | Problem::Unauthorized | Problem::Other),
                ..
            }) => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let Ok(order) = Order::read(begun.clone(), answer) else { return Ok(None) };
        let is_expired = order.expires.is_some_and(|expires| expires <= outside.now());
        // Otherwise with another key than the one that was written down.
        let is_of_key = order.notes.finalized;
        let is_over = match order.status {
            Status::Pending | Status::Ready => is_expired,
            Status::Processing => is_expired || !is_of_key,
            Status::Valid => !is_of_key,
            Status::Invalid => true,
        };
        let is_wanted = |identifier: &Identifier| wanted.identifiers.contains(identifier);
        let is_listed = |identifier: &Identifier| order.identifiers.contains(identifier);
        let is_same = order.identifiers.is_empty()
            || order.identifiers.iter().all(is_wanted) && wanted.identifiers.iter().all(is_listed);
        Ok((!is_over && is_same).then_some(order))
    }

    fn save(&self, notes: &mut dyn Notes) -> Result<(), Failure> {
        notes.save(&self.notes).map_err(|error| {
            Failure::new(Kind::Storage, format!("the order cannot be written down: {error}"))
                .with_hint("look at the disk: df -h, df -i, and who may write to the state folder")
        })
    }

    /// Does what is left to do.
    fn complete(
        &mut self,
        client: &mut Client,
        attempt: Attempt<'_>,
        notes: &mut dyn Notes,
        outside: &mut dyn Outside,
    ) -> Result<Issued, Failure> {
        if self.status == Status::Pending {
            let urls = self.authorizations.clone();
            authorize::all(client, attempt, &urls, outside)?;
            self.look(client, outside)?;
        }
        // Having been validated, it becomes ready after a while (RFC 8555 §7.1.6).
        self.wait_while(&[Status::Pending], client, outside)?;
        if self.status == Status::Ready {
            self.finalize(client, attempt.wanted, notes, outside)?;
        }
        self.wait_while(&[Status::Ready, Status::Processing], client, outside)?;
        self.download(client, attempt.wanted, outside)
    }

    /// Looks at the order again.
    fn look(&mut self, client: &mut Client, outside: &mut dyn Outside) -> Result<(), Failure> {
        let answer = client.fetch(&self.notes.url, outside)?;
        *self = Order::read(self.notes.clone(), answer)?;
        Ok(())
    }

    /// Waits as long as the order is in one of these states.
    fn wait_while(
        &mut self,
        states: &[Status],
        client: &mut Client,
        outside: &mut dyn Outside,
    ) -> Result<(), Failure> {
        let mut looks = 0;
        while states.contains(&self.status) {
            rest(&self.answer, looks, outside)?;
            looks += 1;
            self.look(client, outside)?;
        }
        if self.status != Status::Invalid {
            return Ok(());
        }
        Err(match self.error.take() {
            Some(document) => document.failure(None, None),
            None => Failure::new(Kind::Refused(Problem::Other), "the authority has made the order invalid"),
        })
    }

    /// Asks for the certificate. That the key is on disk before is what makes a crash harmless.
    fn finalize(
        &mut self,
        client: &mut Client,
        wanted: &Wanted,
        notes: &mut dyn Notes,
        outside: &mut dyn Outside,
    ) -> Result<(), Failure> {
        let request = csr::request(&wanted.identifiers, &self.notes.key_pem)?;
        if !self.notes.finalized {
            self.notes.finalized = true;
            self.save(notes)?;
        }
        let payload = json!({ "csr": url(&request) }).to_string();
        match client.post(&self.finalize, &payload, outside) {
            Ok(answer) => {
                *self = Order::read(self.notes.clone(), answer)?;
                Ok(())
            }
            // It was asked before the answer was lost, and is at it.
            Err(failure) if failure.is(Problem::OrderNotReady) => self.look(client, outside),
            Err(failure) => {
                // With a fault of its own, it may have issued one.
                self.is_refused = matches!(failure.kind, Kind::Refused(problem) if is_for_good(problem));
                Err(failure)
            }
        }
    }

    fn download(
        &mut self,
        client: &mut Client,
        wanted: &Wanted,
        outside: &mut dyn Outside,
    ) -> Result<Issued, Failure> {
        let Some(url) = self.certificate.take() else {
            return Err(Failure::garbage("the authority's order is valid, but has no certificate"));
        };
        let key_pem = self.notes.key_pem.clone();
        let first = client.post_raw(&url, "", true, outside)?;
        let now = outside.now();
        let mut chain_pem = check(&first.body, &key_pem, &wanted.identifiers, now)?;
        if let Some(name) = &wanted.preferred_chain
            && !has_issuer(&chain_pem, &key_pem, name)
        {
            for url in alternates(first.fields("link")) {
                // The first chain serves as well, so a fault in another one is none of the order.
                let Ok(other) = client.post_raw(&url, "", true, outside) else { continue };
                let checked = check(&other.body, &key_pem, &wanted.identifiers, now);
                if let Some(other) = checked.ok().filter(|chain| has_issuer(chain, &key_pem, name)) {
                    chain_pem = other;
                    break;
                }
            }
        }
        Ok(Issued { chain_pem, key_pem })
    }
}

/// Returns whether a problem may be about the certificate that is to be replaced (RFC 9773 §5).
fn is_about_replaces(problem: Problem) -> bool {
    matches!(
        problem,
        Problem::AlreadyReplaced
            | Problem::Malformed
            | Problem::Unauthorized
            | Problem::ServerInternal
            | Problem::Other
    )
}

/// Returns the profile to order under. An authority is asked for one that it has listed.
fn profile<'a>(client: &Client, wanted: &'a Wanted) -> Result<Option<&'a str>, Failure> {
    let has = |name: &str| client.directory().profiles.iter().any(|profile| profile == name);
    let is_for_address = wanted.identifiers.iter().any(|identifier| matches!(identifier, Identifier::Ip(_)));
    match &wanted.profile {
        Some(name) if has(name) => Ok(Some(name)),
        Some(name) => {
            let listed = client.directory().profiles.join(", ");
            let what = if listed.is_empty() {
                format!("the authority has no profiles, and so none with the name \"{}\"", printable(name))
            } else {
                format!("the authority has no profile \"{}\"; it has {listed}", printable(name))
            };
            Err(Failure::new(Kind::Refused(Problem::InvalidProfile), what).with_hint("correct the profile"))
        }
        None => Ok((is_for_address && has(SHORTLIVED)).then_some(SHORTLIVED)),
    }
}

/// Returns the URLs of `Link: <URL>;rel="alternate"` (RFC 8288), at most ten.
pub(crate) fn alternates<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = Vec::new();
    for field in fields {
        let mut rest = field;
        while let Some((_, after)) = rest.split_once('<') {
            let Some((url, after)) = after.split_once('>') else { break };
            let end = after.find(",").unwrap_or(after.len());
            let (parameters, next) = after.split_at(end);
            let is_alternate = parameters.split(';').any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or_default();
                name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "alternate"
            });
            if is_alternate && Url::parse(url).is_ok() && found.len() < ALTERNATES_MAX {
                found.push(url.to_owned());
            }
            rest = next;
        }
    }
    found
}
