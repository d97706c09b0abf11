//! Signatures, against values that Python computed and against the verifier of aws-lc.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{KEY, THUMBPRINT, URL_SAFE_NO_PAD};
use crate::{AccountKey, Eab};
use ::base64::Engine as _;

/// The coordinates of the key in RFC 7515, appendix A.3.
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn decoded(text: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

fn verified(signed: &str) -> (Value, String) {
    let signed: Value = serde_json::from_str(signed).unwrap();
    let mut point = vec![4];
    point.extend(URL_SAFE_NO_PAD.decode(X).unwrap());
    point.extend(URL_SAFE_NO_PAD.decode(Y).unwrap());
    let input = [signed["protected"].as_str().unwrap(), signed["payload"].as_str().unwrap()].join(".");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(input.as_bytes(), &decoded(&signed["signature"])).unwrap();
    let header = serde_json::from_slice(&decoded(&signed["protected"])).unwrap();
    (header, String::from_utf8(decoded(&signed["payload"])).unwrap())
}

#[test]
fn the_key_of_rfc_7515() {
    let key = AccountKey::from_pem(KEY).unwrap();
    assert_eq!(key.thumbprint(), THUMBPRINT);
    assert_eq!(*key.to_pem(), KEY);
    assert_eq!(key.jwk_value(), json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y }));
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("AccountKey {{ thumbprint: \"{THUMBPRINT}\", .. }}"));
    assert!(AccountKey::from_pem(b"").is_err());
    let other = AccountKey::generate().unwrap();
    assert_ne!(other.thumbprint(), THUMBPRINT);
    assert_eq!(AccountKey::from_pem(&other.to_pem()).unwrap().thumbprint(), other.thumbprint());
}

#[test]
fn what_is_signed() {
    let key = AccountKey::from_pem(KEY).unwrap();
    let (header, payload) =
        verified(&key.sign(Some("https://ca/acct"), Some("n"), "https://ca/x", "{}").unwrap());
    let expected = json!({ "alg": "ES256", "kid": "https://ca/acct", "nonce": "n", "url": "https://ca/x" });
    assert_eq!((header, payload.as_str()), (expected, "{}"));
    let (header, payload) = verified(&key.sign(None, Some("n"), "https://ca/x", "").unwrap());
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y });
    let expected = json!({ "alg": "ES256", "jwk": jwk, "nonce": "n", "url": "https://ca/x" });
    assert_eq!((header, payload.as_str()), (expected, ""));
}

#[test]
fn the_binding_to_another_account() {
    let key = AccountKey::from_pem(KEY).unwrap();
    let eab = Eab { kid: "kid-1".to_owned(), key: Zeroizing::new(b"key".to_vec()) };
    // By hmac of Python, over these two.
    let expected = json!({
        "protected": "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtpZC0xIiwidXJsIjoiaHR0cHM6Ly9jYS5leGFtcGxlL25ldyJ9",
        "payload": "eyJjcnYiOiJQLTI1NiIsImt0eSI6IkVDIiwieCI6ImY4M09KM0QyeEYxQmc4dnViOXRMZTFnSE16Vjc2ZThUdXM5\
                    dVBIdlJWRVUiLCJ5IjoieF9GRXpSdTltMzZITE5fdHVlNjU5TE5wWFc2cEN5U3Rpa1lqS0lXSTVhMCJ9",
        "signature": "neDUHfe3BriaKAmis8E1FCBS2bQesslxNFXxfizH4jk",
    });
    assert_eq!(key.bind(&eab, "https://ca.example/new"), expected);
}

#[test]
fn the_value_in_the_dns() {
    let authorization = format!("DGyRejmCefe7v4NfDGDKfA.{THUMBPRINT}");
    // By hashlib of Python.
    assert_eq!(crate::csr::dns_value(&authorization), "VIhlObU14SszuGiJjYEkSCWza9-X-UFUuzGh1QsiYcU");
}
