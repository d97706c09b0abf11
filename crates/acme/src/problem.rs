//! What can fail, in words: the likely cause, and the command that checks it.

use std::fmt;
use std::time::SystemTime;

use crate::identifier::Identifier;
use crate::json::Json;
use crate::plan::ChallengeKind;
use crate::time::utc;

/// The most characters of a text of the authority that are shown.
const TEXT_MAX: usize = 400;
/// The most problems within a problem that are looked at.
const SUBPROBLEMS_MAX: usize = 8;

/// Why something that was asked of an authority has not been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A sentence without a full stop: what has failed, and the likely cause.
    pub what: String,
    /// The command that checks it, or the step that helps.
    pub hint: Option<String>,
    /// The class of the failure.
    pub kind: Kind,
    /// The authority wants to hear nothing of this before that time.
    pub until: Option<SystemTime>,
    /// The challenges that the authority has not found answered.
    pub challenges: Vec<(Identifier, ChallengeKind)>,
}

/// A class of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The authority cannot be reached: DNS, TCP, or the certificate of its own server.
    Unreachable,
    /// What it has answered makes no sense.
    Garbage,
    /// It has refused.
    Refused(Problem),
    /// A challenge could not be answered from here, or the clock here is slow.
    Outside,
    /// The certificate that it gave is not the one that was ordered.
    Wrong,
    /// The process is ending.
    Ending,
    /// What must not be lost could not be written.
    Storage,
}

/// The type of a problem (RFC 8555 §6.7, RFC 9773 §5, draft-ietf-acme-profiles §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the registry")]
pub enum Problem {
    AccountDoesNotExist,
    AlreadyReplaced,
    AlreadyRevoked,
    BadCsr,
    BadNonce,
    BadPublicKey,
    BadRevocationReason,
    Caa,
    Compound,
    Connection,
    Dns,
    ExternalAccountRequired,
    IncorrectResponse,
    InvalidContact,
    InvalidProfile,
    Malformed,
    OrderNotReady,
    RateLimited,
    RejectedIdentifier,
    ServerInternal,
    Tls,
    Unauthorized,
    UnsupportedContact,
    UnsupportedIdentifier,
    UserActionRequired,
    /// A type that is not in the registry, or none.
    Other,
}

/// The names of types, behind `urn:ietf:params:acme:error:`.
const TYPES: &[(&str, Problem)] = &[
    ("accountDoesNotExist", Problem::AccountDoesNotExist),
    ("alreadyReplaced", Problem::AlreadyReplaced),
    ("alreadyRevoked", Problem::AlreadyRevoked),
    ("badCSR", Problem::BadCsr),
    ("badNonce", Problem::BadNonce),
    ("badPublicKey", Problem::BadPublicKey),
    ("badRevocationReason", Problem::BadRevocationReason),
    ("caa", Problem::Caa),
    ("compound", Problem::Compound),
    ("connection", Problem::Connection),
    ("dns", Problem::Dns),
    ("externalAccountRequired", Problem::ExternalAccountRequired),
    ("incorrectResponse", Problem::IncorrectResponse),
    ("invalidContact", Problem::InvalidContact),
    ("invalidProfile", Problem::InvalidProfile),
    ("malformed", Problem::Malformed),
    ("orderNotReady", Problem::OrderNotReady),
    ("rateLimited", Problem::RateLimited),
    ("rejectedIdentifier", Problem::RejectedIdentifier),
    ("serverInternal", Problem::ServerInternal),
    ("tls", Problem::Tls),
    ("unauthorized", Problem::Unauthorized),
    ("unsupportedContact", Problem::UnsupportedContact),
    ("unsupportedIdentifier", Problem::UnsupportedIdentifier),
    ("userActionRequired", Problem::UserActionRequired),
];

impl Failure {
    /// Returns a failure of that class, without a hint.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>) -> Failure {
        Failure { what: what.into(), hint: None, kind, until: None, challenges: Vec::new() }
    }

    /// Adds what helps.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn garbage(what: impl Into<String>) -> Failure {
        Failure::new(Kind::Garbage, what)
    }

    /// Returns whether the authority has refused with a problem of that type.
    #[must_use]
    pub fn is(&self, problem: Problem) -> bool {
        self.kind == Kind::Refused(problem)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

/// A problem document (RFC 7807) as the authority gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) problem: Problem,
    /// Its text, safe to show; may be empty.
    detail: String,
    /// Where the operator has to do something (RFC 8555 §7.3.3).
    instance: Option<String>,
    /// The name that the first subproblem is about.
    identifier: Option<Identifier>,
}

impl Document {
    /// Reads a problem document. What it lacks is left out, so that anything is one.
    pub(crate) fn read(json: Json<'_>) -> Document {
        let problem = kind_of(json);
        let mut document = Document {
            problem,
            detail: json.text("detail").map(printable).unwrap_or_default(),
            instance: json.text("instance").map(printable),
            identifier: json.get("identifier").and_then(Json::identifier),
        };
        let parts = json.list("subproblems").iter().take(SUBPROBLEMS_MAX);
        if let Some(part) = parts.map(Json::new).find(|part| part.get("identifier").is_some()) {
            document.identifier = document.identifier.or(part.get("identifier").and_then(Json::identifier));
            if matches!(problem, Problem::Compound | Problem::Other) {
                document.problem = kind_of(part);
            }
            if let Some(detail) = part.text("detail").map(printable)
                && !document.detail.contains(&detail)
            {
                document.detail = printable(&format!("{} {detail}", document.detail));
            }
        }
        document
    }

    /// Returns it as a failure. `about` is what was being validated, and by which challenge.
    pub(crate) fn failure(
        self,
        about: Option<(&Identifier, Option<ChallengeKind>)>,
        until: Option<SystemTime>,
    ) -> Failure {
        let identifier = about.map(|(identifier, _)| identifier).or(self.identifier.as_ref());
        let by = about.and_then(|(_, by)| by);
        let (mut what, hint) = words(self.problem, identifier, by, until);
        if !self.detail.is_empty() {
            what.push_str(" (the authority: ");
            what.push_str(self.detail.trim());
            what.push(')');
        }
        let hint = match self.instance {
            Some(url) if self.problem == Problem::UserActionRequired => Some(format!("open {url}")),
            _ => hint,
        };
        let challenges = Vec::new();
        Failure { what, hint, kind: Kind::Refused(self.problem), until, challenges }
    }
}

fn kind_of(json: Json<'_>) -> Problem {
    let name = json.text("type").and_then(|text| text.strip_prefix("urn:ietf:params:acme:error:"));
    let found = TYPES.iter().find(|(known, _)| Some(*known) == name);
    found.map_or(Problem::Other, |&(_, problem)| problem)
}

/// Returns the likely cause in words, and what checks it.
fn words(
    problem: Problem,
    identifier: Option<&Identifier>,
    by: Option<ChallengeKind>,
    until: Option<SystemTime>,
) -> (String, Option<String>) {
    let name = match identifier {
        Some(Identifier::Dns(name)) => name.strip_prefix("*.").unwrap_or(name).to_owned(),
        Some(Identifier::Ip(address)) => address.to_string(),
        None => "NAME".to_owned(),
    };
    let the_name = if identifier.is_some() { name.as_str() } else { "a name" };
    let check = || Some(format!("sitar cert check {name}"));
    let (what, hint) = match problem {
        Problem::Dns => (
            format!("{the_name} does not resolve, or its DNS servers do not answer"),
            Some(format!("dig +trace {name} A")),
        ),
        Problem::Connection => (
            {
                let port = match by {
                    Some(ChallengeKind::Http01) => "80",
                    Some(ChallengeKind::TlsAlpn01) => "443",
                    _ => "80 or 443",
                };
                format!("the authority cannot connect to {the_name}: port {port} is closed from outside")
            },
            check(),
        ),
        Problem::Tls => (
            format!("the authority connects to port 443 of {the_name}, but its handshake fails there"),
            check(),
        ),
        Problem::Unauthorized | Problem::IncorrectResponse if by == Some(ChallengeKind::Dns01) => (
            format!("the record _acme-challenge.{name} has not the value that was set"),
            Some(format!("dig _acme-challenge.{name} TXT")),
        ),
        Problem::Unauthorized | Problem::IncorrectResponse => (
            match identifier {
                Some(_) => format!("another server than this one answers for {the_name}"),
                None => "the authority says that this account may not do this".to_owned(),
            },
            identifier.and_then(|_| check()),
        ),
        Problem::Caa => {
            (format!("a CAA record of {the_name} forbids this authority"), Some(format!("dig {name} CAA")))
        }
        Problem::RateLimited => (
            match until {
                Some(until) => format!("the authority allows no more of this until {}", utc(until)),
                None => "the authority allows no more of this for now".to_owned(),
            },
            None,
        ),
        Problem::RejectedIdentifier | Problem::UnsupportedIdentifier => (
            format!("the authority gives no certificates for {the_name}"),
            Some("take the name out of the site's hosts, or ask another authority".to_owned()),
        ),
        Problem::ExternalAccountRequired => (
            "the authority wants its accounts bound to one of its customers'".to_owned(),
            Some("set the key identifier and the key that it gives out (EAB)".to_owned()),
        ),
        Problem::UserActionRequired => (
            "the authority wants something of the operator first: its terms may have changed".to_owned(),
            Some("read its terms".to_owned()),
        ),
        Problem::AccountDoesNotExist => ("the authority does not know this account".to_owned(), None),
        Problem::BadCsr => ("the authority does not like the request's names or its key".to_owned(), None),
        Problem::BadPublicKey => ("the authority does not accept the key".to_owned(), None),
        Problem::BadRevocationReason => {
            ("the authority does not accept the reason of the revocation".to_owned(), None)
        }
        Problem::AlreadyRevoked => ("the certificate has been revoked before".to_owned(), None),
        Problem::AlreadyReplaced => ("the certificate has been replaced before".to_owned(), None),
        Problem::InvalidContact | Problem::UnsupportedContact => (
            "the authority does not accept the address to write to".to_owned(),
            Some("correct the contact".to_owned()),
        ),
        Problem::InvalidProfile => (
            "the authority gives out no certificate of this profile".to_owned(),
            Some("correct the profile".to_owned()),
        ),
        Problem::ServerInternal => ("the authority has a fault of its own".to_owned(), None),
        Problem::BadNonce => ("the authority has refused every number that it gave itself".to_owned(), None),
        Problem::OrderNotReady => ("the order is not ready, says the authority".to_owned(), None),
        Problem::Malformed | Problem::Compound | Problem::Other => {
            ("the authority has refused".to_owned(), None)
        }
    };
    (what, hint)
}

/// Returns a text of the authority as it may be shown: at most 400 characters on one line, without
/// control characters and without those that change the direction of the text.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (place, c) in text.chars().enumerate() {
        if place == TEXT_MAX {
            shown.push('…');
            break;
        }
        match c {
            '\n' | '\r' | '\t' => shown.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => shown.push('?'),
            c if c.is_control() => shown.push('?'),
            c => shown.push(c),
        }
    }
    shown
}
