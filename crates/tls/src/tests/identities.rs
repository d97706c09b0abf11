//! The content and order of chains and keys, and the objections that clients may have.

use super::client::Pem;
use crate::{FileContent, FileKind, Flaw, Identity, IdentityError};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls_pki_types::UnixTime;
use std::sync::OnceLock;
use std::time::Duration;

const DAY: u64 = 86_400;
/// 2030-01-01T00:00:00Z.
const NEW_YEAR: u64 = 1_893_456_000;

/// Made by OpenSSL 3.0 from keys that serve nothing else; the first key is of P-256, and so are the
/// keys of the request, of the certificate of version 1, and those under the passphrase `x`.
const P256: &str = include_str!("identities/p256.pem");
const VERSION_1: &str = include_str!("identities/version-1.pem");
const REQUEST: &str = include_str!("identities/request.pem");
const LEGACY: &str = include_str!("identities/legacy.pem");
const ENCRYPTED: &str = include_str!("identities/encrypted.pem");
const SECP256K1: &str = include_str!("identities/secp256k1.pem");
const SECP256K1_SEC1: &str = include_str!("identities/secp256k1-sec1.pem");
const RSA_1024: &str = include_str!("identities/rsa-1024.pem");
const RSA_1024_PKCS1: &str = include_str!("identities/rsa-1024-pkcs1.pem");
const ED448: &str = include_str!("identities/ed448.pem");

fn load(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Identity, IdentityError> {
    Identity::from_pem(chain.as_ref(), key.as_ref())
}

fn error(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> IdentityError {
    load(chain, key).unwrap_err()
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// A certificate and its key.
struct Made {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
}

impl Made {
    fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    fn identity(&self, chain: &str) -> Identity {
        load(chain, self.key.serialize_pem()).unwrap()
    }
}

/// Valid from 30 days before [`NEW_YEAR`] for 90 days.
fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    span(&mut params, NEW_YEAR - 30 * DAY, NEW_YEAR + 60 * DAY);
    params
}

fn span(params: &mut CertificateParams, from: u64, until: u64) {
    let time = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    (params.not_before, params.not_after) = (time(from), time(until));
}

fn authority(common_name: &str, issuer: Option<&Made>) -> Made {
    let mut params = params(common_name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    made(params, issuer)
}

fn made(params: CertificateParams, issuer: Option<&Made>) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Made { params, key, certificate }
}

/// A root, what it certified, and what that certified.
fn three() -> [Made; 3] {
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    let own = made(params("own", &["own.test"]), Some(&middle));
    [root, middle, own]
}

fn sent(identity: &Identity) -> Vec<&[u8]> {
    identity.key().cert.iter().map(|certificate| &**certificate).collect()
}

#[test]
fn each_kind_of_file_is_told_by_its_content() {
    let pem = Pem::ecdsa(&["own.test"]);
    let found = |kind, is_der| FileContent { kind, is_der };
    let utf16 = |text: &str, first: &[u8], last: &[u8]| {
        let both = |byte: u8| [first, &[byte], last].concat();
        text.bytes().flat_map(both).collect::<Vec<u8>>()
    };
    let der = |text: &str| {
        use rustls_pki_types::pem::{PemObject, SectionKind};
        let (_, der) = <(SectionKind, Vec<u8>)>::from_pem_slice(text.as_bytes()).unwrap();
        der
    };
    let section =
        |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n").into_bytes();
    let cases: Vec<(Vec<u8>, FileContent)> = vec![
        (b"".to_vec(), found(FileKind::Empty, false)),
        (b"\xef\xbb\xbf \r\n".to_vec(), found(FileKind::Empty, false)),
        (b"hello".to_vec(), found(FileKind::Unknown, false)),
        (utf16(&pem.chain, b"", b"\0"), found(FileKind::Utf16 { is_little_endian: true }, false)),
        (utf16(&pem.chain, b"\0", b""), found(FileKind::Utf16 { is_little_endian: false }, false)),
        (b"\xff\xfe-\0-\0".to_vec(), found(FileKind::Utf16 { is_little_endian: true }, false)),
        (b"\xfe\xff\0-\0-".to_vec(), found(FileKind::Utf16 { is_little_endian: false }, false)),
        (pem.chain.replace('\n', "\\n").into_bytes(), found(FileKind::Escaped, false)),
        (pem.chain.replace('\n', "").into_bytes(), found(FileKind::OneLine, false)),
        (pem.chain.replace('\n', " ").into_bytes(), found(FileKind::OneLine, false)),
        (der(&pem.chain), found(FileKind::Certificate, true)),
        (der(VERSION_1), found(FileKind::Certificate, true)),
        (REQUEST.as_bytes().to_vec(), found(FileKind::Request, false)),
        (section("NEW CERTIFICATE REQUEST"), found(FileKind::Request, false)),
        (der(REQUEST), found(FileKind::Request, true)),
        (section("TRUSTED CERTIFICATE"), found(FileKind::TrustedCertificate, false)),
        (section("X509 CERTIFICATE"), found(FileKind::TrustedCertificate, false)),
        (section("PUBLIC KEY"), found(FileKind::PublicKey, false)),
        (section("OPENSSH PRIVATE KEY"), found(FileKind::OpenSshKey, false)),
        (section("DSA PRIVATE KEY"), found(FileKind::DsaKey, false)),
        (section("PKCS7"), found(FileKind::Pkcs7, false)),
        (section("X509 CRL"), found(FileKind::RevocationList, false)),
        (der(P256), found(FileKind::Key, true)),
        (der(SECP256K1_SEC1), found(FileKind::Key, true)),
        (der(RSA_1024_PKCS1), found(FileKind::Key, true)),
        (LEGACY.as_bytes().to_vec(), found(FileKind::EncryptedKey, false)),
        (b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(), found(FileKind::JavaKeyStore, false)),
        // The first elements of what openssl pkcs12 and keytool write, and of encrypted keys,
        // public keys, and messages.
        (b"\x30\x0a\x02\x01\x03\x30\x05\x06\x03\x2a\x03\x04".to_vec(), found(FileKind::Pkcs12, true)),
        (b"\x30\x80\x02\x01\x03\x30\x80".to_vec(), found(FileKind::Pkcs12, true)),
        (b"\x30\x08\x30\x03\x06\x01\x2a\x04\x01\x00".to_vec(), found(FileKind::EncryptedKey, true)),
        (b"\x30\x08\x30\x03\x06\x01\x2a\x03\x01\x00".to_vec(), found(FileKind::PublicKey, true)),
        (
            b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x00".to_vec(),
            found(FileKind::Pkcs7, true),
        ),
    ];
    for (file, expected) in cases {
        let text = String::from_utf8_lossy(&file).into_owned();
        assert_eq!(error(&file, &pem.key), IdentityError::NoCertificate(expected), "{text}");
        let as_key = match expected.kind {
            FileKind::EncryptedKey if !expected.is_der => IdentityError::EncryptedKey,
            _ => IdentityError::NoKey(expected),
        };
        assert_eq!(error(&pem.chain, &file), as_key, "{text}");
    }
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let chain = Pem::ecdsa(&["own.test"]).chain;
    for (key, kind) in [
        (RSA_1024, "RSA with 1024 bits"),
        (RSA_1024_PKCS1, "RSA with 1024 bits"),
        (SECP256K1, "ECDSA on the curve secp256k1"),
        (SECP256K1_SEC1, "ECDSA on the curve secp256k1"),
        (ED448, "Ed448"),
    ] {
        assert_eq!(error(&chain, key), IdentityError::UnsuitableKey(kind.to_owned()));
    }
    assert_eq!(
        IdentityError::UnsuitableKey("RSA with 1024 bits".to_owned()).to_string(),
        "the private key is RSA with 1024 bits; what clients accept is RSA with 2048 to 8192 bits, ECDSA on P-256, \
         P-384 or P-521, and Ed25519"
    );
    // A good kind, damaged.
    let damaged = P256.replacen("MIGH", "MIGA", 1);
    assert_eq!(error(&chain, damaged), IdentityError::UnsupportedKey);
    for key in [ENCRYPTED, LEGACY] {
        assert_eq!(error(&chain, key), IdentityError::EncryptedKey);
    }
}

#[test]
fn a_certificate_of_version_1_is_told_of() {
    assert_eq!(error(VERSION_1, P256), IdentityError::OldVersion);
    // It may stand behind others: some roots are that old.
    let pem = Pem::ecdsa(&["own.test"]);
    assert_eq!(load(pem.chain.clone() + VERSION_1, &pem.key).unwrap().names(), ["own.test"]);
    assert_eq!(load(VERSION_1.to_owned() + &pem.chain, &pem.key).unwrap().names(), ["own.test"]);
}

#[test]
fn a_swapped_pair_is_told_of() {
    let pem = Pem::ecdsa(&["own.test"]);
    assert_eq!(error(&pem.key, &pem.chain), IdentityError::Swapped);
    assert_eq!(error(ENCRYPTED, &pem.chain), IdentityError::Swapped);
    assert_eq!(error(LEGACY, &pem.chain), IdentityError::Swapped);
}

#[test]
fn text_around_the_sections_does_not_matter() {
    let Pem { chain, key } = Pem::ecdsa(&["own.test"]);
    type Form = fn(&str) -> String;
    let forms: [(&str, Form); 7] = [
        ("a byte order mark", |pem| format!("\u{feff}{pem}")),
        ("line ends of Windows", |pem| pem.replace('\n', "\r\n")),
        ("line ends of old Macs", |pem| pem.replace('\n', "\r")),
        ("indented", |pem| pem.replace("\n", "\n  ").replacen("-----", "  -----", 1)),
        ("spaces behind", |pem| pem.replace('\n', " \t\n")),
        ("text before and behind", |pem| format!("Certificate:\n  Data:\n{pem}\nthe end")),
        ("no line end at the end", |pem| pem.trim_end().to_owned()),
    ];
    for (what, form) in forms {
        let identity = load(form(&chain), form(&key)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(identity.names(), ["own.test"], "{what}");
    }
    // As `cat` puts them together.
    let [root, middle, own] = three();
    let chain = [own.pem(), middle.pem(), root.pem()].map(|pem| format!("\u{feff}{pem}")).concat();
    assert_eq!(sent(&own.identity(&chain)).len(), 3);
}

#[test]
fn a_file_may_hold_both_in_any_order() {
    let Pem { chain, key } = Pem::ecdsa(&["own.test"]);
    for both in [format!("{chain}{key}"), format!("{key}{chain}")] {
        assert!(load(&both, &both).is_ok());
    }
    // The key of the file is not the chain's matter, and the other way round.
    for both in [format!("{chain}{LEGACY}"), format!("{LEGACY}{chain}"), format!("{ENCRYPTED}{chain}")] {
        assert!(load(&both, &key).is_ok());
        assert_eq!(error(&both, &both), IdentityError::EncryptedKey);
    }
    // Of several keys the one that belongs to it.
    assert!(load(&chain, format!("{P256}{key}")).is_ok());
    assert_eq!(error(&chain, P256.repeat(2)), IdentityError::KeyMismatch);
}

#[test]
fn chains_are_sent_in_order_and_once() {
    let [root, middle, own] = three();
    let (r, m, o) = (root.pem(), middle.pem(), own.pem());
    let right = [own.der(), middle.der(), root.der()];
    for (chain, is_reordered, repeated) in [
        (format!("{o}{m}{r}"), false, 0),
        (format!("{r}{m}{o}"), true, 0),
        (format!("{o}{r}{m}"), true, 0),
        (format!("{m}{r}{o}"), true, 0),
        (format!("{o}{m}{m}{r}{o}"), false, 2),
        (format!("{r}{r}{o}{m}"), true, 1),
    ] {
        let identity = own.identity(&chain);
        assert_eq!(sent(&identity), right);
        assert_eq!((identity.is_reordered(), identity.repeated()), (is_reordered, repeated));
        assert_eq!(identity.certificate(), own.der());
    }
    // What has no place stays where it is.
    let other = authority("other", None);
    let identity = own.identity(&format!("{o}{}{m}", other.pem()));
    assert_eq!(sent(&identity), [own.der(), middle.der(), other.der()]);
    let identity = own.identity(&format!("{o}{m}{}", other.pem()));
    assert!(!identity.is_reordered());
}

#[test]
fn times_that_clients_object_to() {
    let flaws = |from: u64, until: u64| {
        let mut params = params("own", &["own.test"]);
        span(&mut params, from, until);
        let own = made(params, None);
        own.identity(&own.pem()).flaws(at(NEW_YEAR))
    };
    let (before, after) = (NEW_YEAR - 40 * DAY, NEW_YEAR + 90 * DAY);
    assert_eq!(flaws(before, after), []);
    assert_eq!(flaws(before, NEW_YEAR - 1), [Flaw::Expired { place: 0, since: NEW_YEAR - 1 }]);
    assert_eq!(flaws(before, NEW_YEAR), [Flaw::Expiring { at: NEW_YEAR }]);
    assert_eq!(flaws(NEW_YEAR + 1, after), [Flaw::NotYetValid { place: 0, from: NEW_YEAR + 1 }]);
    assert_eq!(flaws(NEW_YEAR, after), []);
    // Of 90 days the last 14; of six days the last.
    let start = NEW_YEAR - 76 * DAY;
    assert_eq!(flaws(start, NEW_YEAR + 14 * DAY), []);
    assert_eq!(flaws(start + 1, NEW_YEAR + 14 * DAY - 1), [Flaw::Expiring { at: NEW_YEAR + 14 * DAY - 1 }]);
    assert_eq!(flaws(NEW_YEAR - 5 * DAY, NEW_YEAR + DAY), []);
    assert_eq!(
        flaws(NEW_YEAR - 5 * DAY - 6, NEW_YEAR + DAY - 6),
        [Flaw::Expiring { at: NEW_YEAR + DAY - 6 }]
    );
    // Years that a time of two digits does not hold, and the end that RFC 5280 §4.1.2.5 gives to
    // what has none.
    assert_eq!(flaws(before, 253_402_300_799), []);
    assert_eq!(flaws(0, 1), [Flaw::Expired { place: 0, since: 1 }]);
}

#[test]
fn the_times_of_the_others_count_too() {
    let root = authority("root", None);
    let mut old = params("middle", &[]);
    old.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    span(&mut old, NEW_YEAR - 90 * DAY, NEW_YEAR - DAY);
    let middle = made(old, Some(&root));
    let own = made(params("own", &["own.test"]), Some(&middle));
    let identity = own.identity(&(own.pem() + &middle.pem()));
    assert_eq!(identity.flaws(at(NEW_YEAR)), [Flaw::Expired { place: 1, since: NEW_YEAR - DAY }]);
}

#[test]
fn an_issuer_that_is_not_there() {
    let [root, middle, own] = three();
    let missing = |issuer: &str| [Flaw::NoIssuer { issuer: Some(issuer.to_owned()) }];
    assert_eq!(own.identity(&own.pem()).flaws(at(NEW_YEAR)), missing("middle"));
    assert_eq!(own.identity(&(own.pem() + &root.pem())).flaws(at(NEW_YEAR)), missing("middle"));
    assert_eq!(own.identity(&(own.pem() + &middle.pem())).flaws(at(NEW_YEAR)), []);
    let direct = made(params("direct", &["own.test"]), Some(&root));
    assert_eq!(direct.identity(&(direct.pem() + &root.pem())).flaws(at(NEW_YEAR)), []);
    let alone = made(params("alone", &["own.test"]), None);
    assert_eq!(alone.identity(&alone.pem()).flaws(at(NEW_YEAR)), []);
    // Of the same name, with another key.
    let impostor = authority("middle", Some(&root));
    let chain = own.pem() + &impostor.pem();
    assert_eq!(own.identity(&chain).flaws(at(NEW_YEAR)), [Flaw::WrongIssuer]);
    let chain = own.pem() + "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n" + &middle.pem();
    assert_eq!(own.identity(&chain).flaws(at(NEW_YEAR)), [Flaw::Unreadable { place: 2 }]);
}

#[test]
fn of_several_of_one_name_the_one_that_signed_is_the_issuer() {
    let [root, middle, own] = three();
    let other_root = authority("other root", None);
    let impostor = authority("middle", Some(&root));
    // The same name and key, certified by another root.
    let crossed = middle
        .params
        .signed_by(&middle.key, &Issuer::from_params(&other_root.params, &other_root.key))
        .unwrap();
    let (o, m, i, r) = (own.pem(), middle.pem(), impostor.pem(), root.pem());
    for (chain, expected) in [
        (format!("{o}{i}{m}"), vec![own.der(), middle.der(), impostor.der()]),
        (format!("{i}{o}{m}{r}"), vec![own.der(), middle.der(), root.der(), impostor.der()]),
        (format!("{o}{i}{}", crossed.pem()), vec![own.der(), crossed.der(), impostor.der()]),
        (format!("{o}{m}{}", crossed.pem()), vec![own.der(), middle.der(), crossed.der()]),
        (
            format!("{o}{}{i}{m}{}", crossed.pem(), other_root.pem()),
            vec![own.der(), crossed.der(), other_root.der(), impostor.der(), middle.der()],
        ),
    ] {
        let identity = own.identity(&chain);
        assert_eq!(sent(&identity), expected);
        assert_eq!(identity.flaws(at(NEW_YEAR)), []);
    }
    // A root of the same name does not stand in for it, either.
    let namesake = authority("root", None);
    let identity = own.identity(&format!("{o}{m}{}{r}", namesake.pem()));
    assert_eq!(sent(&identity), [own.der(), middle.der(), root.der(), namesake.der()]);
}

/// A chain of one: a certificate with these two times instead of its own, which no key signed.
fn with_times(own: &Made, times: [(u8, &str); 2]) -> Identity {
    let times =
        times.map(|(tag, text)| [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat());
    let wrapped = |tag, contents: &[u8]| {
        let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
        // The shortest form: DER has no other.
        let length = match contents.len() {
            0..0x80 => vec![low],
            0x80..0x100 => vec![0x81, low],
            _ => vec![0x82, high, low],
        };
        [&[tag], &length[..], contents].concat()
    };
    let mut parts = crate::der::Der::new(own.der()).enter(0x30).unwrap();
    let mut tbs = parts.enter(0x30).unwrap();
    let before = [0xa0, 0x02, 0x30, 0x30].map(|tag| tbs.whole(tag).unwrap()).concat();
    tbs.whole(0x30).unwrap();
    let behind = [0x30, 0x30, 0xa3].map(|tag| tbs.whole(tag).unwrap()).concat();
    let tbs = wrapped(0x30, &[before, wrapped(0x30, &times.concat()), behind].concat());
    let signature = [0x30, 0x03].map(|tag| parts.whole(tag).unwrap()).concat();
    let certificate = wrapped(0x30, &[tbs, signature].concat());
    own.identity(&pem(&certificate))
}

/// A certificate in PEM, in one line.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn times_of_every_form() {
    const UTC: u8 = 0x17;
    const GENERAL: u8 = 0x18;
    let own = made(params("own", &["own.test"]), None);
    let never = || vec![Flaw::NeverValid { place: 0 }];
    for (from, until, expected) in [
        ((UTC, "290101000000Z"), (UTC, "491231235959Z"), vec![]),
        ((UTC, "290101000000Z"), (GENERAL, "20500101000000Z"), vec![]),
        ((UTC, "290101000000Z"), (GENERAL, "99991231235959Z"), vec![]),
        ((GENERAL, "20290101000000Z"), (GENERAL, "20400101000000Z"), vec![]),
        // Before 1970.
        ((UTC, "500101000000Z"), (UTC, "400101000000Z"), vec![]),
        (
            (UTC, "500101000000Z"),
            (UTC, "200101000000Z"),
            vec![Flaw::Expired { place: 0, since: 1_577_836_800 }],
        ),
        ((UTC, "500101000000Z"), (UTC, "691231235959Z"), vec![Flaw::Expired { place: 0, since: 0 }]),
        // Clients cannot read them, or there is no time between them.
        ((UTC, "300101000000Z"), (UTC, "200101000000Z"), never()),
        ((UTC, "200101000000Z"), (UTC, "401301000000Z"), never()),
        ((UTC, "200101000000Z"), (UTC, "400101000000+0000"), never()),
        ((UTC, "2001010000Z"), (UTC, "400101000000Z"), never()),
        ((UTC, "200101000000Z"), (GENERAL, "20400101000000.5Z"), never()),
        ((UTC, "200101000000Z"), (0x0c, "400101000000Z"), never()),
    ] {
        assert_eq!(with_times(&own, [from, until]).flaws(at(NEW_YEAR)), expected, "{from:?} {until:?}");
    }
}

#[test]
fn names_that_clients_do_not_accept_are_told() {
    let unusable = |name: &str| {
        let mut params = params("own", &[]);
        // As careless programs write it; rcgen refuses names beyond ASCII.
        params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(
            &[2, 5, 29, 17],
            [
                &[0x30, u8::try_from(name.len() + 2).unwrap(), 0x82, u8::try_from(name.len()).unwrap()],
                name.as_bytes(),
            ]
            .concat(),
        )];
        let own = made(params, None);
        own.identity(&own.pem()).flaws(at(NEW_YEAR))
    };
    for name in ["b\u{fc}cher.example", "*", "*.com", "www*.own.test", "https://own.test/", "own.test:443"] {
        assert_eq!(unusable(name), [Flaw::UnusableName { name: name.to_owned() }]);
    }
    for name in ["xn--bcher-kva.example", "*.own.test", "OWN.test"] {
        assert_eq!(unusable(name), []);
    }
}

#[test]
fn certificates_without_names_or_for_other_purposes() {
    let none = made(params("own.test", &[]), None);
    let identity = none.identity(&none.pem());
    let no_name = |common_name: Option<&str>| [Flaw::NoName { common_name: common_name.map(str::to_owned) }];
    assert_eq!(identity.flaws(at(NEW_YEAR)), no_name(Some("own.test")));
    let mut nameless = params("", &[]);
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    let nameless = made(nameless, None);
    assert_eq!(nameless.identity(&nameless.pem()).flaws(at(NEW_YEAR)), no_name(None));

    let mut client = params("own", &["own.test"]);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = made(client, None);
    assert_eq!(client.identity(&client.pem()).flaws(at(NEW_YEAR)), [Flaw::NotForServers]);
    let mut both = params("own", &["own.test"]);
    both.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let both = made(both, None);
    assert_eq!(both.identity(&both.pem()).flaws(at(NEW_YEAR)), []);
    let mut any = params("own", &["own.test"]);
    any.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    let any = made(any, None);
    assert_eq!(any.identity(&any.pem()).flaws(at(NEW_YEAR)), []);
}

#[test]
fn addresses_are_names_too() {
    let own = made(params("own", &["192.0.2.7", "2001:db8::7"]), None);
    let identity = own.identity(&own.pem());
    let addresses: Vec<String> = identity.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.7", "2001:db8::7"]);
    assert_eq!((identity.names().len(), identity.flaws(at(NEW_YEAR))), (0, vec![]));
    let own = made(params("own", &["own.test", "*.own.test"]), None);
    let identity = own.identity(&own.pem());
    assert!(identity.addresses().is_empty());
}

proptest! {
    /// A byte of a good chain is changed, and bytes are put in or taken out: most of it is still
    /// read.
    #[test]
    fn no_certificate_makes_it_panic(place in 0.0..1.0_f64, new in prop::collection::vec(any::<u8>(), 0..4), old in 0_usize..4, which in 0_usize..3) {
        static MADE: OnceLock<[Made; 3]> = OnceLock::new();
        let [root, middle, own] = MADE.get_or_init(three);
        let mut chain = [own.der().to_vec(), middle.der().to_vec(), root.der().to_vec()];
        let changed = &mut chain[which];
        let start = (place * changed.len() as f64) as usize;
        let end = (start + old).min(changed.len());
        changed.splice(start..end, new);
        let chain = chain.map(|der| pem(&der)).concat();
        if let Ok(identity) = load(chain, own.key.serialize_pem()) {
            let _ = (identity.flaws(at(NEW_YEAR)), identity.addresses().len());
        }
    }

    #[test]
    fn no_chain_makes_it_panic(noise in prop::collection::vec(any::<u8>(), 0..200), place in 0_usize..900) {
        let pem = Pem::ecdsa(&["own.test"]);
        let mut chain = pem.chain.clone().into_bytes();
        let end = (place + noise.len()).min(chain.len());
        chain.splice(place.min(end)..end, noise.iter().copied());
        for file in [&noise, &chain] {
            for (chain, key) in [(&file[..], pem.key.as_bytes()), (pem.chain.as_bytes(), &file[..])] {
                if let Ok(identity) = Identity::from_pem(chain, key) {
                    let _ = identity.flaws(at(NEW_YEAR));
                }
            }
        }
    }
}
