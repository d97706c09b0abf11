//! What certificates say.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::*;

/// RFC 9773, appendix A.
const EXAMPLE: &[u8] = b"-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
";

#[test]
fn the_example_of_rfc_9773() {
    let certificate = CertificateDer::from_pem_slice(EXAMPLE).unwrap();
    assert_eq!(certificate_id(&certificate).as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
    assert_eq!(serial(&certificate).as_deref(), Some("0087654321"));
    for len in 0..certificate.len() {
        assert_eq!(certificate_id(&certificate[..len]), None);
        assert_eq!(serial(&certificate[..len]), None);
    }
}

#[test]
fn requests_have_no_common_name() {
    use sitar_tls::der::{Der, INTEGER, SEQUENCE};
    for key_type in [KeyType::P256, KeyType::Rsa2048] {
        let key = csr::key(key_type).unwrap();
        let identifiers = wanted(&["a.example", "*.b.example", "192.0.2.7", "2001:db8::1"], &[]).identifiers;
        let request = csr::request(&identifiers, &key).unwrap();
        let mut info = Der::new(&request).enter(SEQUENCE).unwrap().enter(SEQUENCE).unwrap();
        assert_eq!(info.expect(INTEGER), Some(&[0][..]));
        assert_eq!(info.expect(SEQUENCE), Some(&[][..]), "the subject");
        // GeneralNames: [2] for names, [7] for addresses.
        let names: &[u8] = b"\x82\x09a.example\x82\x0b*.b.example\x87\x04\xc0\x00\x02\x07\
            \x87\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";
        assert!(request.windows(names.len()).any(|window| window == names));
    }
}

#[test]
fn the_answer_to_tls_alpn_01() {
    let made = |name: &str, san: &[u8]| {
        let identifier = Identifier::parse(name).unwrap();
        let server_name = identifier.server_name().unwrap();
        let pending = csr::tls_alpn(&identifier, server_name, "token.thumbprint").unwrap();
        let Pending::TlsAlpn01 { chain, .. } = pending else { panic!("another kind") };
        let certificate = CertificateDer::from_pem_slice(&chain).unwrap();
        // id-pe-acmeIdentifier, critical, an OCTET STRING within the value: RFC 8737 §3, and the
        // digest by hashlib of Python.
        let mut extension = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x01\x1f\x01\x01\xff\x04\x22\x04\x20".to_vec();
        extension.extend(DIGEST);
        for part in [&extension[..], san] {
            assert!(certificate.windows(part.len()).any(|window| window == part), "{name}");
        }
    };
    made("a.example", b"\x82\x09a.example");
    made("192.0.2.7", b"\x87\x04\xc0\x00\x02\x07");
}

/// SHA-256 of `token.thumbprint`.
const DIGEST: &[u8; 32] = b"\xeb\x5a\xc1\x67\xfe\x24\x9c\x76\xe5\x3b\x43\x0d\xa3\x11\x6c\x5d\
    \x9f\xde\x4c\x55\x07\xba\x6d\x01\xe8\x85\x51\x6e\x1b\xd4\x9f\x92";
