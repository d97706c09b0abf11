//! The kind of a private key that cannot be used.

use super::chain::start;
use crate::der::{Der, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, context};
use rustls_pki_types::PrivateKeyDer;

/// Bits of an RSA key that aws-lc signs with.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// 1.2.840.113549.1.1.1, rsaEncryption.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// 1.2.840.10045.2.1, id-ecPublicKey.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// The curves whose keys work: P-256, P-384, P-521.
const CURVES: [&[u8]; 3] =
    [&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], &[0x2b, 0x81, 4, 0, 0x22], &[0x2b, 0x81, 4, 0, 0x23]];

const OTHER_CURVES: [(&[u8], &str); 6] = [
    (&[0x2b, 0x81, 4, 0, 0x0a], "secp256k1"),
    (&[0x2b, 0x81, 4, 0, 0x21], "P-224"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1], "P-192"),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7], "brainpoolP256r1"),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 11], "brainpoolP384r1"),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 13], "brainpoolP512r1"),
];

const OTHER_KINDS: [(&[u8], &str); 8] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10], "RSA for PSS signatures only"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], "DSA"),
    (&[0x2b, 0x65, 0x6e], "X25519, which cannot sign"),
    (&[0x2b, 0x65, 0x6f], "X448, which cannot sign"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 0x11], "ML-DSA-44"),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 0x12], "ML-DSA-65"),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 0x13], "ML-DSA-87"),
];

/// Returns the kind of a key if that is why it cannot be used; `None` for a damaged key, and for
/// kinds without a name here.
pub(super) fn unsuitable(key: &PrivateKeyDer<'_>) -> Option<String> {
    match key {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => sec1(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
        _ => None,
    }
}

/// Returns the kind of the key in a certificate that clients would not take.
pub(super) fn unsuitable_in(certificate: &[u8]) -> Option<String> {
    let mut tbs = start(certificate)?;
    // Issuer, validity, subject.
    for _ in 0..3 {
        tbs.expect(SEQUENCE)?;
    }
    let mut algorithm = tbs.enter(SEQUENCE)?.enter(SEQUENCE)?;
    if algorithm.expect(OBJECT_IDENTIFIER)? == EC { curve(algorithm) } else { None }
}

/// PrivateKeyInfo of RFC 5208 §5.
fn pkcs8(key: &[u8]) -> Option<String> {
    let mut info = Der::new(key).enter(SEQUENCE)?;
    info.expect(INTEGER)?;
    let mut algorithm = info.enter(SEQUENCE)?;
    let kind = algorithm.expect(OBJECT_IDENTIFIER)?;
    if kind == RSA {
        return rsa(info.expect(OCTET_STRING)?);
    }
    if kind == EC {
        return curve(algorithm);
    }
    OTHER_KINDS.iter().find(|(other, _)| *other == kind).map(|(_, name)| (*name).to_owned())
}

/// RSAPrivateKey of RFC 8017, appendix A.1.2.
fn rsa(key: &[u8]) -> Option<String> {
    let mut key = Der::new(key).enter(SEQUENCE)?;
    key.expect(INTEGER)?;
    let modulus = key.expect(INTEGER)?;
    let zeros = modulus.iter().take_while(|&&byte| byte == 0).count();
    let first = modulus.get(zeros)?;
    let bits = (modulus.len() - zeros) * 8 - first.leading_zeros() as usize;
    (!RSA_BITS.contains(&bits)).then(|| format!("RSA with {bits} bits"))
}

/// ECPrivateKey of RFC 5915 §3.
fn sec1(key: &[u8]) -> Option<String> {
    let mut key = Der::new(key).enter(SEQUENCE)?;
    key.expect(INTEGER)?;
    key.expect(OCTET_STRING)?;
    curve(key.enter(context(0))?)
}

/// EcpkParameters of RFC 3279 §2.3.5.
fn curve(mut parameters: Der<'_>) -> Option<String> {
    let Some(curve) = parameters.expect(OBJECT_IDENTIFIER) else {
        parameters.expect(SEQUENCE)?;
        return Some("ECDSA on a curve that is written out instead of named".to_owned());
    };
    if CURVES.contains(&curve) {
        return None;
    }
    let name = OTHER_CURVES.iter().find(|(other, _)| *other == curve).map(|(_, name)| *name);
    Some(format!("ECDSA on the curve {}", name.unwrap_or("of an object identifier that is not known here")))
}
