use std::time::Duration;

use proptest::prelude::*;
use sitar_tls::der::{GENERALIZED_TIME, UTC_TIME};

use super::*;

/// Issued on 2026-01-01 by the version that defined this form. If these are no longer accepted,
/// every identity that is in use is renewed, and must be trusted again.
const CA: &[u8] = include_bytes!("ca.pem");
const CHAIN: &[u8] = include_bytes!("cert.pem");

fn der(pem: &[u8]) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

/// Returns it as `openssl x509` writes it: 64 characters a line.
fn pem(der: &[u8]) -> Vec<u8> {
    use std::fmt::Write as _;
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let bits =
                three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for place in 0..4 {
                let sextet = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap();
                let pads = place > u32::try_from(three.len()).unwrap();
                write!(text, "{}", if pads { '=' } else { char::from(ALPHABET[sextet]) }).unwrap();
            }
        }
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text.into_bytes()
}

#[test]
fn the_form_of_the_first_version_is_accepted() {
    assert!(is_issued(CA, CHAIN));
    assert_eq!((pem(&der(CA)), pem(&der(CHAIN))), (CA.to_vec(), CHAIN.to_vec()));
}

#[test]
fn whatever_is_issued_is_accepted() {
    // Numbers whose encoding has another length: serial numbers, signatures; and years of both
    // forms of a time.
    for year in 0..64 {
        let files = authority::issue(Duration::from_secs(year * 86_400 * 365 * 2)).unwrap();
        assert!(is_issued(&files.ca, &files.chain), "year {}", 1970 + 2 * year);
    }
}

#[test]
fn one_that_signed_another_is_refused() {
    let (one, two) = (authority::issue(Duration::ZERO).unwrap(), authority::issue(Duration::ZERO).unwrap());
    assert!(!is_issued(&one.ca, &two.chain));
    assert!(!is_issued(CA, CA));
    assert!(!is_issued(CHAIN, CHAIN));
}

#[test]
fn every_changed_byte_is_refused() {
    let (ca, chain) = (der(CA), der(CHAIN));
    for place in 0..ca.len() {
        let mut changed = ca.clone();
        changed[place] ^= 1 << (place % 8);
        assert!(!is_issued(&pem(&changed), CHAIN), "the authority's byte {place}");
    }
    for place in 0..chain.len() {
        let mut changed = chain.clone();
        changed[place] ^= 1 << (place % 8);
        assert!(!is_issued(CA, &pem(&changed)), "the certificate's byte {place}");
    }
}

#[test]
fn every_cut_is_refused() {
    let ca = der(CA);
    for length in 0..ca.len() {
        assert!(!is_issued(&pem(&ca[..length]), CHAIN), "{length}");
        assert!(!is_named_as_ours(&pem(&ca[..length])) || length > 400, "{length}");
    }
}

#[test]
fn a_file_holds_nothing_else() {
    let files: [(&str, Vec<u8>); 5] = [
        ("a second one", [CA, CA].concat()),
        ("a line before", [b"sitar\n", CA].concat()),
        ("a line behind", [CA, b"\n"].concat()),
        ("other line ends", String::from_utf8(CA.to_vec()).unwrap().replace('\n', "\r\n").into_bytes()),
        ("nothing", Vec::new()),
    ];
    for (what, ca) in files {
        assert!(!is_issued(&ca, CHAIN), "{what}");
    }
}

#[test]
fn what_bears_our_name() {
    let stranger: &[u8] = include_bytes!("../../trust/tests/stranger.pem");
    let two: &[u8] = include_bytes!("../../trust/tests/two.pem");
    for (is_ours, pem) in [
        (true, CA.to_vec()),
        (true, two.to_vec()),
        (true, [CA, two].concat()),
        (true, String::from_utf8(CA.to_vec()).unwrap().replace('\n', "\r\n").into_bytes()),
        (false, CHAIN.to_vec()),
        (false, stranger.to_vec()),
        (false, [CA, stranger].concat()),
        (false, [stranger, CA].concat()),
        (false, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()),
        (false, b"-----BEGIN CERTIFICATE-----\n".to_vec()),
        (false, Vec::new()),
    ] {
        assert_eq!(is_named_as_ours(&pem), is_ours, "{}", String::from_utf8_lossy(&pem));
    }
}

#[test]
fn names_that_are_nearly_ours() {
    let named = |organization: &str, common: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        params.distinguished_name.push(rcgen::DnType::CommonName, common);
        is_named_as_ours(params.self_signed(&key).unwrap().pem().as_bytes())
    };
    assert!(named("sitar", "sitar local authority 0123abcd"));
    for (organization, common) in [
        ("Sitar", "sitar local authority 0123abcd"),
        ("sitar", "sitar local authority 0123abc"),
        ("sitar", "sitar local authority 0123abcd0"),
        ("sitar", "sitar local authority 0123abcg"),
        ("sitar", "sitar local authority0123abcd"),
        ("sitar", "sitar on localhost"),
        ("sitar", ""),
    ] {
        assert!(!named(organization, common), "{organization}, {common}");
    }
}

#[test]
fn times() {
    let read = |tag: u8, text: &str| {
        let encoded = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        time(&mut Der::new(&encoded)).map(OffsetDateTime::unix_timestamp)
    };
    assert_eq!(read(UTC_TIME, "251231230000Z"), Some(1_767_222_000));
    assert_eq!(read(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
    assert_eq!(read(UTC_TIME, "700101000000Z"), Some(0));
    assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
    for text in ["", "Z", "251331230000Z", "251231240000Z", "2512312300Z", "25123123000xZ", "251231230000"] {
        assert_eq!(read(UTC_TIME, text), None, "{text}");
    }
    assert_eq!(read(SEQUENCE, "251231230000Z"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..400), place in 0_usize..500) {
        let mut changed = der(CA);
        let end = (place + noise.len()).min(changed.len());
        changed.splice(place..end.max(place), noise.iter().copied());
        for bytes in [&noise, &changed] {
            let text = pem(bytes);
            prop_assert!(!is_issued(&text, CHAIN) || changed == der(CA));
            is_named_as_ours(&text);
        }
    }
}
