//! Keys and requests for certificates, and the certificate that answers TLS-ALPN-01.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    SanType,
};
use zeroize::Zeroizing;

use crate::identifier::Identifier;
use crate::outside::Pending;
use crate::plan::KeyType;
use crate::problem::{Failure, Kind};

/// Makes a key and returns it as PEM (PKCS #8).
pub(crate) fn key(key_type: KeyType) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let algorithm = match key_type {
        KeyType::P256 => &PKCS_ECDSA_P256_SHA256,
        KeyType::Rsa2048 => &PKCS_RSA_SHA256,
    };
    let pair = KeyPair::generate_for(algorithm).map_err(|error| cannot("the key", &error))?;
    Ok(Zeroizing::new(pair.serialize_pem().into_bytes()))
}

/// Returns the request for a certificate, in DER. It has no common name: an address does not belong
/// there, nor does a name of more than 64 characters, and clients do not read it.
pub(crate) fn request(identifiers: &[Identifier], key_pem: &[u8]) -> Result<Vec<u8>, Failure> {
    let pair = read_key(key_pem)?;
    let request = params(identifiers).and_then(|params| params.serialize_request(&pair));
    Ok(request.map_err(|error| cannot("the request", &error))?.der().to_vec())
}

/// Returns the answer to TLS-ALPN-01 (RFC 8737 §3): a certificate for nothing but the identifier,
/// with the digest of the key authorization.
pub(crate) fn tls_alpn(
    identifier: &Identifier,
    server_name: String,
    authorization: &str,
) -> Result<Pending, Failure> {
    let made = || {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(std::slice::from_ref(identifier))?;
        let digest = digest(&SHA256, authorization.as_bytes());
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
        let certificate = params.self_signed(&pair)?;
        Ok((certificate.pem().into_bytes(), Zeroizing::new(pair.serialize_pem().into_bytes())))
    };
    let (chain, key) = made().map_err(|error: rcgen::Error| cannot("the answer to a challenge", &error))?;
    Ok(Pending::TlsAlpn01 { server_name, chain, key })
}

/// Returns the value of the record for DNS-01 (RFC 8555 §8.4).
pub(crate) fn dns_value(authorization: &str) -> String {
    digest_of(authorization.as_bytes())
}

/// Returns the digest of bytes by SHA-256, in base64url.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    crate::base64::url(digest(&SHA256, bytes).as_ref())
}

fn params(identifiers: &[Identifier]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for identifier in identifiers {
        params.subject_alt_names.push(match identifier {
            Identifier::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Identifier::Ip(address) => SanType::IpAddress(IpAddr::to_canonical(address)),
        });
    }
    Ok(params)
}

fn read_key(pem: &[u8]) -> Result<KeyPair, Failure> {
    let text = std::str::from_utf8(pem).unwrap_or_default();
    KeyPair::from_pem(text).map_err(|error| cannot("the key", &error))
}

fn cannot(what: &str, error: &rcgen::Error) -> Failure {
    Failure::new(Kind::Storage, format!("{what} cannot be made: {error}"))
}
