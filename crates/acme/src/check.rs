//! A certificate as an authority gives it: whether it is what was ordered, and what it says.

use std::time::{Duration, SystemTime};

use sitar_tls::Identity;
use sitar_tls::der::{Der, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, context};

use crate::base64::{pem, url};
use crate::identifier::Identifier;
use crate::problem::{Failure, Kind, printable};
use crate::time::seconds;

/// A certificate has to be valid for this long at least when it is issued.
const LEAST: Duration = Duration::from_secs(60 * 60);
/// id-ce-authorityKeyIdentifier (RFC 5280 §4.2.1.1), and in it the tag of keyIdentifier.
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 35];
const KEY_IDENTIFIER: u8 = 0x80;
/// id-at-commonName.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// Checks a chain: it can be read, belongs to the key, is for these names, and is valid now and for
/// an hour at least. Returns its certificates in PEM and nothing else of what the authority sent.
pub(crate) fn check(
    chain: &[u8],
    key_pem: &[u8],
    identifiers: &[Identifier],
    now: SystemTime,
) -> Result<Vec<u8>, Failure> {
    let wrong = |what: String| Failure::new(Kind::Wrong, what);
    let identity = Identity::from_pem(chain, key_pem)
        .map_err(|error| wrong(format!("the authority's certificate cannot be used: {error}")))?;
    let is_named = |identifier: &&Identifier| match identifier {
        Identifier::Dns(name) => identity.names().iter().any(|found| found == name),
        Identifier::Ip(address) => identity.addresses().contains(address),
    };
    if let Some(missing) = identifiers.iter().find(|identifier| !is_named(identifier)) {
        return Err(wrong(format!("the authority's certificate is not for {missing}, which was ordered")));
    }
    let now = seconds(now);
    match identity.validity() {
        Some((from, _)) if from > now => {
            // Not `Wrong`: the order is kept, and gives it again when the clock has been set.
            return Err(Failure::new(Kind::Outside, "the authority's certificate is not valid yet")
                .with_hint("look at this machine's clock: timedatectl"));
        }
        Some((_, to)) if to >= now.saturating_add(LEAST.as_secs()) => {}
        _ => {
            return Err(wrong("the authority's certificate is valid for less than an hour".to_owned())
                .with_hint("look at this machine's clock: timedatectl"));
        }
    }
    let mut out = Vec::new();
    for certificate in identity.chain() {
        pem("CERTIFICATE", certificate, &mut out);
    }
    Ok(out)
}

/// Returns whether a certificate of the chain has been issued under that common name.
pub(crate) fn has_issuer(chain: &[u8], key_pem: &[u8], name: &str) -> bool {
    let Ok(identity) = Identity::from_pem(chain, key_pem) else { return false };
    identity.chain().any(|certificate| issuer(certificate).is_some_and(|issuer| issuer == name))
}

/// Returns the serial number of a certificate in DER, in hexadecimal.
#[must_use]
pub fn serial(certificate: &[u8]) -> Option<String> {
    let (mut body, _) = body(certificate)?;
    let serial = body.expect(INTEGER)?;
    Some(serial.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the identifier of a certificate in DER for ARI (RFC 9773 §4.1): the key identifier of
/// its authority and its serial. `None`: it has none.
#[must_use]
pub fn certificate_id(certificate: &[u8]) -> Option<String> {
    let (mut body, _) = body(certificate)?;
    let serial = body.expect(INTEGER)?;
    let mut extensions = loop {
        // Behind issuer, validity, subject and key: `[3] EXPLICIT`.
        match body.next()? {
            (tag, contents) if tag == context(3) => break Der::new(contents).enter(SEQUENCE)?,
            _ => {}
        }
    };
    while let Some(mut extension) = extensions.enter(SEQUENCE) {
        if extension.expect(OBJECT_IDENTIFIER)? != AUTHORITY_KEY {
            continue;
        }
        let value = loop {
            match extension.next()? {
                (OCTET_STRING, value) => break value,
                _critical => {}
            }
        };
        let key = Der::new(value).enter(SEQUENCE)?.expect(KEY_IDENTIFIER)?;
        return Some([&*url(key), ".", &url(serial)].concat());
    }
    None
}

/// Returns the common name of the issuer of a certificate in DER.
fn issuer(certificate: &[u8]) -> Option<String> {
    let (mut body, _) = body(certificate)?;
    body.expect(INTEGER)?;
    body.expect(SEQUENCE)?;
    let mut names = body.enter(SEQUENCE)?;
    while let Some(mut set) = names.enter(SET) {
        let mut pair = set.enter(SEQUENCE)?;
        if pair.expect(OBJECT_IDENTIFIER)? == COMMON_NAME {
            let (_, text) = pair.next()?;
            return Some(printable(&String::from_utf8_lossy(text)));
        }
    }
    None
}

/// Enters a certificate, up to its serial number. Returns what follows, and the version.
fn body(certificate: &[u8]) -> Option<(Der<'_>, &[u8])> {
    let mut body = Der::new(certificate).enter(SEQUENCE)?.enter(SEQUENCE)?;
    let version = body.expect(context(0)).unwrap_or_default();
    Some((body, version))
}
