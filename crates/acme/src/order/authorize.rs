//! The proofs that names belong to the server: authorizations and their challenges (RFC 8555 §7.5).

use super::{Attempt, Json, WHOLE};
use crate::client::{Answer, Client, rest};
use crate::csr;
use crate::http::Url;
use crate::identifier::Identifier;
use crate::outside::{DnsChange, Outside, Pending};
use crate::plan::ChallengeKind;
use crate::problem::{Document, Failure, Kind, Problem, printable};

/// The most bytes of a token; those of RFC 8555 §8.1 have 22 or more.
const TOKEN_MAX: usize = 256;

/// An authorization, and the challenge of it that is taken.
struct Chosen {
    /// The URL of the authorization.
    url: String,
    /// As it was ordered.
    identifier: Identifier,
    kind: ChallengeKind,
    /// The URL of the challenge.
    challenge: String,
    token: String,
}

/// Proves everything that is not proven yet.
pub(super) fn all(
    client: &mut Client,
    attempt: Attempt<'_>,
    urls: &[String],
    outside: &mut dyn Outside,
) -> Result<(), Failure> {
    let mut chosen = Vec::new();
    for url in urls {
        let answer = client.fetch(url, outside)?;
        chosen.extend(choose(url, answer.json(), attempt)?);
    }
    if chosen.is_empty() {
        return Ok(());
    }
    let mut records = Vec::new();
    let proven = prepare(client, &chosen, &mut records, outside).and_then(|()| {
        // Changing the DNS may have taken its time.
        client.set_end(Some(outside.now() + WHOLE));
        prove(client, &chosen, outside)
    });
    // Also when it has failed. What cannot be taken away does no harm: its token is used up.
    if chosen.iter().any(|chosen| chosen.kind != ChallengeKind::Dns01) {
        let _ = outside.answer(&[]);
    }
    for (name, value) in &records {
        let _ = outside.change_dns(DnsChange::Remove, name, value);
    }
    proven
}

/// Chooses a challenge. `None`: the authorization is valid already.
fn choose(url: &str, json: Json<'_>, attempt: Attempt<'_>) -> Result<Option<Chosen>, Failure> {
    let found = json.get("identifier").and_then(Json::identifier);
    let is_wildcard = json.is_true("wildcard");
    let identifier = attempt.wanted.identifiers.iter().find(|wanted| match (wanted, &found) {
        (Identifier::Dns(name), Some(Identifier::Dns(found))) => match name.strip_prefix("*.") {
            // Some authorities leave the mark out, or the asterisk in (pebble does neither).
            Some(base) => name == found || base == found && is_wildcard,
            None => name == found && !is_wildcard,
        },
        (wanted, found) => Some(*wanted) == found.as_ref(),
    });
    let Some(identifier) = identifier else {
        let what = match found {
            Some(found) => format!("the authority wants a proof for {found}, which was not ordered"),
            None => "the authority wants a proof for nothing that is known".to_owned(),
        };
        return Err(Failure::garbage(what));
    };
    match json.text("status") {
        Some("valid") => return Ok(None),
        Some("pending") => {}
        _ => return Err(refused(json, identifier, None)),
    }
    let offers: Vec<Json<'_>> = json.list("challenges").iter().take(64).map(Json::new).collect();
    let offered = |kind: ChallengeKind| offers.iter().find(|offer| offer.text("type") == Some(kind.name()));
    let can =
        |kind: &&ChallengeKind| **kind != ChallengeKind::TlsAlpn01 || identifier.server_name().is_some();
    let usable = attempt.wanted.challenges.iter().filter(can).filter(|kind| offered(**kind).is_some());
    let usable: Vec<ChallengeKind> = usable.copied().collect();
    let has_failed =
        |kind: &ChallengeKind| attempt.avoid.iter().any(|(of, avoid)| of == identifier && avoid == kind);
    let first = usable.iter().find(|kind| !has_failed(kind)).or(usable.first());
    let Some((&kind, offer)) = first.and_then(|kind| Some((kind, offered(*kind)?))) else {
        return Err(no_challenge(identifier, &offers, &attempt.wanted.challenges));
    };
    let token = offer.text("token").unwrap_or_default();
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !(1..=TOKEN_MAX).contains(&token.len()) || !token.bytes().all(is_base64) {
        return Err(Failure::garbage(format!("the authority's challenge for {identifier} has no token")));
    }
    let challenge = offer.text("url").unwrap_or_default();
    Url::parse(challenge)?;
    Ok(Some(Chosen {
        url: url.to_owned(),
        identifier: identifier.clone(),
        kind,
        challenge: challenge.to_owned(),
        token: token.to_owned(),
    }))
}

fn no_challenge(identifier: &Identifier, offers: &[Json<'_>], can: &[ChallengeKind]) -> Failure {
    let names: Vec<&str> = offers.iter().take(8).filter_map(|offer| offer.text("type")).collect();
    let offered = if names.is_empty() { "nothing".to_owned() } else { printable(&names.join(", ")) };
    let can: Vec<&str> = can.iter().map(|kind| kind.name()).collect();
    let can = if can.is_empty() { "nothing".to_owned() } else { can.join(", ") };
    let what = format!("the authority offers {offered} for {identifier}; sitar can answer {can}");
    let failure = Failure::new(Kind::Outside, what);
    if identifier.is_wildcard() {
        return failure.with_hint("a wildcard is proven in the DNS: give a command that changes it");
    }
    failure
}

/// Makes everything ready for the authority's looks. Records that have been added are noted.
fn prepare(
    client: &Client,
    chosen: &[Chosen],
    records: &mut Vec<(String, String)>,
    outside: &mut dyn Outside,
) -> Result<(), Failure> {
    let thumbprint = client.key().thumbprint();
    let mut pending = Vec::new();
    for chosen in chosen {
        let authorization = [&*chosen.token, ".", &thumbprint].concat();
        let identifier = &chosen.identifier;
        match chosen.kind {
            ChallengeKind::Http01 => pending.push(Pending::Http01 {
                identifier: identifier.clone(),
                token: chosen.token.clone(),
                authorization,
            }),
            ChallengeKind::TlsAlpn01 => {
                let name = identifier.server_name().unwrap_or_default();
                pending.push(csr::tls_alpn(identifier, name, &authorization)?);
            }
            ChallengeKind::Dns01 => {
                let name = ["_acme-challenge.", identifier.domain().unwrap_or_default()].concat();
                let value = csr::dns_value(&authorization);
                // Before it is added: a command that fails may have added it.
                records.push((name, value));
                let Some((name, value)) = records.last() else { continue };
                outside.change_dns(DnsChange::Add, name, value).map_err(|error| {
                    let what = format!("the record {name} could not be added: {}", printable(&error));
                    unanswered(chosen, what).with_hint("run the command for the DNS by hand")
                })?;
            }
        }
    }
    if pending.is_empty() {
        return Ok(());
    }
    outside.answer(&pending).map_err(|error| {
        let what = format!("the challenges cannot be answered: {}", printable(&error));
        Failure::new(Kind::Outside, what)
    })
}

fn unanswered(chosen: &Chosen, what: String) -> Failure {
    let mut failure = Failure::new(Kind::Outside, what);
    failure.challenges.push((chosen.identifier.clone(), chosen.kind));
    failure
}

/// Tells the authority to look, and waits for what it finds.
fn prove(client: &mut Client, chosen: &[Chosen], outside: &mut dyn Outside) -> Result<(), Failure> {
    for chosen in chosen {
        client
            .post(&chosen.challenge, "{}", outside)
            .map(|_| ())
            .map_err(|failure| blame(failure, chosen))?;
    }
    for chosen in chosen {
        let mut looks = 0;
        loop {
            let answer: Answer = client.fetch(&chosen.url, outside)?;
            match answer.json().text("status") {
                Some("valid") => break,
                Some("pending") => rest(&answer, looks, outside)?,
                _ => return Err(refused(answer.json(), &chosen.identifier, Some(chosen))),
            }
            looks += 1;
        }
    }
    Ok(())
}

/// A refusal at the start of a validation belongs to its challenge; others do not.
fn blame(mut failure: Failure, chosen: &Chosen) -> Failure {
    if matches!(failure.kind, Kind::Refused(problem) if problem != Problem::RateLimited) {
        failure.challenges.push((chosen.identifier.clone(), chosen.kind));
    }
    failure
}

/// Returns why an authorization is not valid: what a challenge of it says.
fn refused(json: Json<'_>, identifier: &Identifier, chosen: Option<&Chosen>) -> Failure {
    let said =
        json.list("challenges").iter().take(64).map(Json::new).find_map(|challenge| challenge.get("error"));
    let mut failure = match said {
        Some(error) => {
            let by = chosen.map(|chosen| chosen.kind);
            Document::read(error).failure(Some((identifier, by)), None)
        }
        None => {
            let status = printable(json.text("status").unwrap_or("unknown"));
            let what = format!("the authority's authorization for {identifier} is {status}");
            Failure::new(Kind::Refused(Problem::Other), what)
        }
    };
    if let Some(chosen) = chosen {
        failure.what.push_str(", by ");
        failure.what.push_str(chosen.kind.name());
        failure.challenges.push((identifier.clone(), chosen.kind));
    }
    failure
}
