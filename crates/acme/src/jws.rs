//! The key of an account, and what is signed with it: JWS (RFC 7515) in its flattened form.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::base64::{pem, url};
use crate::plan::Eab;
use crate::problem::{Failure, Kind};

/// The key of an account: ECDSA on P-256.
pub struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl AccountKey {
    /// Makes a key.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate() -> Result<AccountKey, Failure> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(|_| no_key())?;
        AccountKey::from_pkcs8(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// Reads a key from PEM (PKCS #8).
    ///
    /// # Errors
    /// It is none, or of another type.
    pub fn from_pem(pem: &[u8]) -> Result<AccountKey, Failure> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| no_key())?;
        AccountKey::from_pkcs8(Zeroizing::new(der.secret_pkcs8_der().to_vec()))
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<AccountKey, Failure> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map_err(|_| no_key())?;
        Ok(AccountKey { pair, pkcs8 })
    }

    /// Returns the key as PEM (PKCS #8).
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::new());
        pem("PRIVATE KEY", &self.pkcs8, &mut out);
        out
    }

    /// The public key as a JWK (RFC 7517), its members in the order that its thumbprint wants.
    fn jwk(&self) -> String {
        // Behind the mark of an uncompressed point (SEC 1 §2.3.3).
        let point = self.pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at_checked(32).unwrap_or_default();
        ["{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"", &url(x), "\",\"y\":\"", &url(y), "\"}"].concat()
    }

    /// Returns the thumbprint of the key (RFC 7638), in base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        url(digest(&SHA256, self.jwk().as_bytes()).as_ref())
    }

    /// Signs a request. It names the key by the account's URL, or contains it where there is none
    /// yet. Without a nonce it is the inner part of a change of keys.
    pub(crate) fn sign(
        &self,
        kid: Option<&str>,
        nonce: Option<&str>,
        to: &str,
        payload: &str,
    ) -> Result<String, Failure> {
        let mut header = json!({ "alg": "ES256", "url": to });
        match kid {
            Some(kid) => set(&mut header, "kid", kid.into()),
            None => set(&mut header, "jwk", self.jwk_value()),
        }
        if let Some(nonce) = nonce {
            set(&mut header, "nonce", nonce.into());
        }
        let (header, payload) = (url(header.to_string().as_bytes()), url(payload.as_bytes()));
        let input = [&*header, ".", &payload].concat();
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).map_err(|_| no_key())?;
        Ok(flattened(&header, &payload, signature.as_ref()))
    }

    pub(crate) fn jwk_value(&self) -> Value {
        serde_json::from_str(&self.jwk()).unwrap_or_default()
    }

    /// Binds the key to an account that the operator has with the authority (RFC 8555 §7.3.4).
    pub(crate) fn bind(&self, eab: &Eab, to: &str) -> Value {
        let header = url(json!({ "alg": "HS256", "kid": eab.kid, "url": to }).to_string().as_bytes());
        let payload = url(self.jwk().as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &eab.key);
        let tag = hmac::sign(&key, [&*header, ".", &payload].concat().as_bytes());
        json!({ "protected": header, "payload": payload, "signature": url(tag.as_ref()) })
    }
}

impl std::fmt::Debug for AccountKey {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountKey").field("thumbprint", &self.thumbprint()).finish_non_exhaustive()
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

fn flattened(header: &str, payload: &str, signature: &[u8]) -> String {
    let parts = [
        "{\"protected\":\"",
        header,
        "\",\"payload\":\"",
        payload,
        "\",\"signature\":\"",
        &url(signature),
        "\"}",
    ];
    parts.concat()
}

fn no_key() -> Failure {
    Failure::new(Kind::Storage, "the key of the account cannot be made or used")
}
