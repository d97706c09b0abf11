//! The chain: its order, its names, and what clients may object to.

use crate::der::{Der, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, UTF8_STRING, context};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::net::IpAddr;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Tag of PrintableString.
const PRINTABLE_STRING: u8 = 0x13;
/// id-at-commonName and id-at-organizationName (RFC 5280, appendix A.1).
const AT_COMMON_NAME: &[u8] = &[0x55, 4, 3];
const AT_ORGANIZATION: &[u8] = &[0x55, 4, 10];
/// id-ce-subjectAltName (RFC 5280 §4.2.1.6).
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
/// id-ce-extKeyUsage, and in it id-kp-serverAuth and anyExtendedKeyUsage (RFC 5280 §4.2.1.12).
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 37, 0];
/// Tags of dNSName and iPAddress in a GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// An objection that clients may have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// A certificate is not valid before this time, in seconds since 1970.
    NotYetValid {
        /// Its place in the chain; 0 is the server's own.
        place: usize,
        /// The time.
        from: u64,
    },
    /// A certificate has not been valid since this time, in seconds since 1970.
    Expired {
        /// Its place in the chain; 0 is the server's own.
        place: usize,
        /// The time.
        since: u64,
    },
    /// The server's own certificate will not be valid after this time, in seconds since 1970.
    Expiring {
        /// The time.
        at: u64,
    },
    /// A certificate is valid at no time: its times cannot be read, or its end is before its
    /// beginning.
    NeverValid {
        /// Its place in the chain; 0 is the server's own.
        place: usize,
    },
    /// The server's own certificate names no host that clients ask for, but this: a name beyond
    /// ASCII, or a wildcard that they do not accept.
    UnusableName {
        /// The first of its names.
        name: String,
    },
    /// The server's own certificate names neither a host nor an address; what its subject is
    /// called.
    NoName {
        /// The common name, which clients do not look at.
        common_name: Option<String>,
    },
    /// The server's own certificate was signed with another one, which is not in the chain.
    NoIssuer {
        /// The name of the other one.
        issuer: Option<String>,
    },
    /// The next certificate bears the name of the issuer, but is not the one that signed.
    WrongIssuer,
    /// It was signed in a way that clients do not accept any more, as with SHA-1.
    WeakSignature,
    /// It may be used for other purposes only.
    NotForServers,
    /// A certificate that cannot be read, and that clients cannot read either.
    Unreadable {
        /// Its place in the chain.
        place: usize,
    },
}

/// A chain in the order in which it is sent.
pub(super) struct Ordered {
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// It stood in another order.
    pub(super) is_moved: bool,
    /// Certificates that stood there twice.
    pub(super) repeated: usize,
}

/// Puts the server's own certificate, which stands at `own`, first, and behind each one the one
/// that certifies it (RFC 8446 §4.4.2). The others follow as they stood.
pub(super) fn order(certificates: &[CertificateDer<'static>], own: usize) -> Ordered {
    let mut rest: Vec<&CertificateDer<'static>> = Vec::new();
    for certificate in certificates {
        if !rest.contains(&certificate) {
            rest.push(certificate);
        }
    }
    let repeated = certificates.len() - rest.len();
    let before = rest.clone();
    let mut chain: Vec<&CertificateDer<'static>> = Vec::with_capacity(rest.len());
    let mut next = certificates.get(own).and_then(|own| rest.iter().position(|other| *other == own));
    while let Some(place) = next {
        let certificate = rest.remove(place);
        chain.push(certificate);
        next = Names::of(certificate).filter(|names| !names.is_own_issuer()).and_then(|names| {
            // Several may bear that name: with a new key, or certified by different authorities.
            let is_issuer = |other: &&CertificateDer<'_>| names.is_issued_by(other);
            rest.iter()
                .position(|other| is_issuer(other) && is_signed_by(certificate, other))
                .or_else(|| rest.iter().position(is_issuer))
        });
    }
    chain.append(&mut rest);
    Ordered { is_moved: chain != before, repeated, chain: chain.into_iter().cloned().collect() }
}

/// Returns what clients may object to at that time.
pub(super) fn flaws(chain: &[CertificateDer<'static>], has_name: bool, now: UnixTime) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let now = now.as_secs();
    for (place, certificate) in chain.iter().enumerate() {
        if place > 0 && anchor_from_trusted_cert(certificate).is_err() {
            flaws.push(Flaw::Unreadable { place });
            continue;
        }
        let Some((from, until)) = validity(certificate) else {
            flaws.push(Flaw::NeverValid { place });
            continue;
        };
        if now < from {
            flaws.push(Flaw::NotYetValid { place, from });
        } else if now > until {
            flaws.push(Flaw::Expired { place, since: until });
        } else if place == 0 && until - now < notice(until - from) {
            flaws.push(Flaw::Expiring { at: until });
        }
    }
    let Some(own) = chain.first() else { return flaws };
    let names = Names::of(own);
    if !has_name {
        let common_name = names.and_then(|names| names.subject_text());
        flaws.push(match general_names(own).find(|(tag, _)| *tag == DNS_NAME) {
            Some((_, name)) => Flaw::UnusableName { name: String::from_utf8_lossy(name).into_owned() },
            None => Flaw::NoName { common_name },
        });
    }
    if !is_for_servers(own) {
        flaws.push(Flaw::NotForServers);
    }
    let is_alone = names.is_some_and(|names| {
        !names.is_own_issuer() && !chain.get(1).is_some_and(|next| names.is_issued_by(next))
    });
    if is_alone {
        flaws.push(Flaw::NoIssuer { issuer: names.and_then(|names| text(names.issuer)) });
    }
    flaws.extend(objection(own, chain.get(1).filter(|_| !is_alone)));
    flaws
}

/// Returns the IP addresses that a certificate names.
pub(super) fn addresses(certificate: &CertificateDer<'_>) -> Vec<IpAddr> {
    let addresses = general_names(certificate).filter(|(tag, _)| *tag == IP_ADDRESS);
    let read = |name: &[u8]| match name.len() {
        4 => <[u8; 4]>::try_from(name).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(name).ok().map(IpAddr::from),
    };
    addresses.filter_map(|(_, name)| read(name)).collect()
}

/// Returns the tags and contents of the names in subjectAltName.
fn general_names<'a>(certificate: &'a CertificateDer<'_>) -> impl Iterator<Item = (u8, &'a [u8])> {
    let mut names = extension(certificate, SUBJECT_ALT_NAME).unwrap_or(Der::new(&[]));
    std::iter::from_fn(move || names.next())
}

/// Returns the seconds before its end by which a certificate should have been renewed: two weeks,
/// or a sixth of a life that is short. ACME clients renew when a third is left, of six days half.
fn notice(life: u64) -> u64 {
    const TWO_WEEKS: u64 = 14 * 24 * 60 * 60;
    TWO_WEEKS.min(life / 6)
}

/// Returns from when to when a certificate is valid, in seconds since 1970; a time before that is
/// 0. `None` if it is valid at no time: it has no times, clients cannot read them, or its end is
/// before its beginning.
pub(super) fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let mut tbs = start(certificate)?;
    // The issuer.
    tbs.expect(SEQUENCE)?;
    let mut times = tbs.enter(SEQUENCE)?;
    let (from, until) = (times.time()?, times.time()?);
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    (from <= until).then(|| (seconds(from), seconds(until)))
}

/// Returns whether the key in `issuer` signed a certificate.
fn is_signed_by(certificate: &[u8], issuer: &CertificateDer<'_>) -> bool {
    let signed = || {
        let mut parts = Der::new(certificate).enter(SEQUENCE)?;
        Some((parts.whole(SEQUENCE)?, parts.expect(SEQUENCE)?, parts.bits()?))
    };
    let (Some((tbs, algorithm, signature)), Ok(issuer)) = (signed(), EndEntityCert::try_from(issuer)) else {
        return false;
    };
    let known = default_provider().signature_verification_algorithms.all;
    known
        .iter()
        .filter(|known| known.signature_alg_id().as_ref() == algorithm)
        .any(|known| issuer.verify_signature(*known, tbs, signature).is_ok())
}

/// Asks the verifier that stands for clients what it thinks of the certificate and of the next one,
/// at a time when the former is valid.
fn objection(own: &CertificateDer<'_>, next: Option<&CertificateDer<'_>>) -> Option<Flaw> {
    use webpki::Error;
    let (from, _) = validity(own)?;
    let own = EndEntityCert::try_from(own).ok()?;
    let anchor = next.and_then(|next| anchor_from_trusted_cert(next).ok());
    let verified = own.verify_for_usage(
        default_provider().signature_verification_algorithms.all,
        anchor.as_slice(),
        &[],
        UnixTime::since_unix_epoch(Duration::from_secs(from)),
        KeyUsage::server_auth(),
        None,
        None,
    );
    match verified.err()? {
        Error::InvalidSignatureForPublicKey | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            Some(Flaw::WrongIssuer)
        }
        Error::UnsupportedSignatureAlgorithmContext(_) => Some(Flaw::WeakSignature),
        _ => None,
    }
}

/// The names of a certificate of any version.
#[derive(Clone, Copy)]
struct Names<'a> {
    /// Contents of the SEQUENCE.
    issuer: &'a [u8],
    /// Contents of the SEQUENCE.
    subject: &'a [u8],
}

impl<'a> Names<'a> {
    fn of(certificate: &'a [u8]) -> Option<Names<'a>> {
        let mut tbs = start(certificate)?;
        let issuer = tbs.expect(SEQUENCE)?;
        tbs.expect(SEQUENCE)?;
        Some(Names { issuer, subject: tbs.expect(SEQUENCE)? })
    }

    fn is_own_issuer(self) -> bool {
        self.issuer == self.subject
    }

    fn is_issued_by(self, other: &[u8]) -> bool {
        Names::of(other).is_some_and(|other| other.subject == self.issuer)
    }

    fn subject_text(self) -> Option<String> {
        attribute(self.subject, AT_COMMON_NAME)
    }
}

/// Returns a reader of a TBSCertificate (RFC 5280 §4.1) that stands at the issuer.
pub(super) fn start(certificate: &[u8]) -> Option<Der<'_>> {
    let mut tbs = Der::new(certificate).enter(SEQUENCE)?.enter(SEQUENCE)?;
    // Version 1 is left out.
    let _ = tbs.expect(context(0));
    tbs.expect(INTEGER)?;
    tbs.expect(SEQUENCE)?;
    Some(tbs)
}

/// Returns the SubjectPublicKeyInfo of a certificate, in DER.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut tbs = start(certificate)?;
    // Issuer, validity, subject.
    for _ in 0..3 {
        tbs.expect(SEQUENCE)?;
    }
    tbs.whole(SEQUENCE)
}

/// Returns a reader of an extension's contents.
fn extension<'a>(certificate: &'a CertificateDer<'_>, id: &[u8]) -> Option<Der<'a>> {
    /// Tag of the mark of a critical one.
    const BOOLEAN: u8 = 0x01;
    let mut tbs = start(certificate)?;
    // Issuer, validity, subject, key.
    for _ in 0..4 {
        tbs.expect(SEQUENCE)?;
    }
    let mut extensions = tbs.enter(context(3))?.enter(SEQUENCE)?;
    while let Some(mut extension) = extensions.enter(SEQUENCE) {
        if extension.expect(OBJECT_IDENTIFIER)? == id {
            let _ = extension.expect(BOOLEAN);
            return Der::new(extension.expect(OCTET_STRING)?).enter(SEQUENCE);
        }
    }
    None
}

/// Returns whether a certificate may be used by a server: without a list of purposes for any.
fn is_for_servers(certificate: &CertificateDer<'_>) -> bool {
    let Some(mut purposes) = extension(certificate, EXTENDED_KEY_USAGE) else { return true };
    std::iter::from_fn(|| purposes.expect(OBJECT_IDENTIFIER))
        .any(|purpose| purpose == SERVER_AUTH || purpose == ANY_PURPOSE)
}

/// Returns what a name is called: the common name, else the organization.
fn text(name: &[u8]) -> Option<String> {
    attribute(name, AT_COMMON_NAME).or_else(|| attribute(name, AT_ORGANIZATION))
}

fn attribute(name: &[u8], kind: &[u8]) -> Option<String> {
    let mut name = Der::new(name);
    while let Some(mut set) = name.enter(SET) {
        let mut attribute = set.enter(SEQUENCE)?;
        if attribute.expect(OBJECT_IDENTIFIER)? == kind {
            let (tag, value) = attribute.next()?;
            let is_text = matches!(tag, UTF8_STRING | PRINTABLE_STRING);
            return std::str::from_utf8(value).ok().filter(|_| is_text).map(str::to_owned);
        }
    }
    None
}
