//! The one form that a stored identity may have.
//!
//! An authority that is installed must be limited exactly as ours is, not merely somehow. So a
//! certificate is not inspected field by field: its key, its start and its signature are read, the
//! certificate is made again from them, and the two must be the same bytes. That covers every
//! field, also those that no check thought of.
//!
//! A later version of sitar that issues another form renews identities of the older one.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{Issuer, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sitar_tls::der::{Der, INTEGER, OBJECT_IDENTIFIER, SEQUENCE, SET, UTF8_STRING, context};
use time::OffsetDateTime;

use super::NAMES;
use super::authority::{self, ALGORITHM, COMMON_NAME, ORGANIZATION, Validity};

/// The attributes of a name (RFC 5280, appendix A.1): id-at-organizationName, id-at-commonName.
const AT_ORGANIZATION: &[u8] = &[0x55, 4, 10];
const AT_COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// Hexadecimal digits of the key's identifier at the end of an authority's name.
const ID_DIGITS: usize = 8;

/// Returns whether both files are, byte for byte, what [`authority::issue`] writes: the authority's
/// certificate and the one that it signed, and nothing before, between or behind.
pub(super) fn is_issued(ca: &[u8], chain: &[u8]) -> bool {
    remake(ca, chain)
        .is_some_and(|(our_ca, our_chain)| ca == our_ca.as_bytes() && chain == our_chain.as_bytes())
}

/// Returns whether `pem` holds certificates that bear the name of sitar's authorities, of this or
/// any other version, and none but those: what `sitar trust` may replace and `sitar untrust` may
/// remove.
pub(crate) fn is_named_as_ours(pem: &[u8]) -> bool {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let Ok(certificate) = certificate else { return false };
        if Parts::read(&certificate).and_then(|parts| is_our_name(parts.subject)).is_none() {
            return false;
        }
        found = true;
    }
    found
}

/// Makes both certificates again from what differs between two of ours.
fn remake(ca: &[u8], chain: &[u8]) -> Option<(String, String)> {
    let ca = CertificateDer::from_pem_slice(ca).ok()?;
    let server = CertificateDer::from_pem_slice(chain).ok()?;
    let (ca, server) = (Parts::read(&ca)?, Parts::read(&server)?);
    let validity = Validity::starting(ca.start)?;
    let ca_key = Replay { public: ca.public, signature: ca.signature };
    let ca_params = authority::authority_params(&ca_key, validity);
    let server_key = Replay { public: server.public, signature: server.signature };
    let signer = Replay { public: ca.public, signature: server.signature };
    let server_params = authority::server_params(&NAMES, validity).ok()?;
    let chain = server_params.signed_by(&server_key, &Issuer::from_params(&ca_params, signer)).ok()?;
    Some((ca_params.self_signed(&ca_key).ok()?.pem(), chain.pem()))
}

/// A key of which the public half and one signature are known, and which signs nothing else.
struct Replay<'a> {
    public: &'a [u8],
    signature: &'a [u8],
}

impl PublicKeyData for Replay<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        ALGORITHM
    }
}

impl SigningKey for Replay<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.public)
            .verify(message, self.signature)
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(self.signature.to_vec())
    }
}

/// The parts that differ between two certificates of ours, and the subject.
struct Parts<'a> {
    start: OffsetDateTime,
    /// Contents of the SEQUENCE.
    subject: &'a [u8],
    public: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Reads a Certificate of RFC 5280 §4.1 as far as it is needed. Whatever is passed over here is
    /// compared later.
    fn read(certificate: &'a [u8]) -> Option<Parts<'a>> {
        let mut outer = Der::new(certificate).enter(SEQUENCE)?;
        let mut tbs = outer.enter(SEQUENCE)?;
        outer.expect(SEQUENCE)?;
        let signature = outer.bits()?;
        tbs.expect(context(0))?;
        tbs.expect(INTEGER)?;
        let (_algorithm, _issuer) = (tbs.expect(SEQUENCE)?, tbs.expect(SEQUENCE)?);
        let start = time(&mut tbs.enter(SEQUENCE)?)?;
        let subject = tbs.expect(SEQUENCE)?;
        let mut key = tbs.enter(SEQUENCE)?;
        key.expect(SEQUENCE)?;
        Some(Parts { start, subject, public: key.bits()?, signature })
    }
}

/// `O = sitar, CN = sitar local authority 01234567`; `None` for any other name.
fn is_our_name(subject: &[u8]) -> Option<()> {
    let mut subject = Der::new(subject);
    let organization = attribute(&mut subject, AT_ORGANIZATION)?;
    let id =
        attribute(&mut subject, AT_COMMON_NAME)?.strip_prefix(COMMON_NAME.as_bytes())?.strip_prefix(b" ")?;
    let is_ours = organization == ORGANIZATION.as_bytes()
        && id.len() == ID_DIGITS
        && id.iter().all(u8::is_ascii_hexdigit)
        && subject.is_empty();
    is_ours.then_some(())
}

/// Takes one attribute of a name.
fn attribute<'a>(name: &mut Der<'a>, kind: &[u8]) -> Option<&'a [u8]> {
    let mut attribute = name.enter(SET)?.enter(SEQUENCE)?;
    (attribute.expect(OBJECT_IDENTIFIER)? == kind).then_some(())?;
    attribute.expect(UTF8_STRING)
}

/// Takes a time of a certificate.
fn time(der: &mut Der<'_>) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(der.time()?).ok()
}

#[cfg(test)]
mod tests;
