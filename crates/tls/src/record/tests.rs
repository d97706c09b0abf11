//! The record layer alone, with keys that are written out, and records that no well-behaved peer
//! would send.

use super::cipher::AdditionalData;
use super::secret::Secret;
use super::*;
use crate::engine::start;
use crate::tests::client::{Offer, Pem, connect, server};
use std::sync::Arc;

const KEY: [u8; 16] = [0x11; 16];
const IV: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn key(aead: Aead, key: &[u8], iv: &[u8]) -> TrafficKey {
    let mut this = TrafficKey::blank(aead);
    this.set(key, iv).unwrap();
    this
}

/// Makes records whose directions have the same key, so that what was sealed can be opened.
fn records_at(version: Version, aead: Aead, seq: u64) -> Records {
    let bytes = if aead == Aead::Aes128Gcm { KEY.to_vec() } else { [KEY, KEY].concat() };
    let key = key(aead, &bytes, &IV);
    Records::new(version, &key.start(seq), &key.start(seq)).unwrap()
}

fn records(version: Version) -> Records {
    records_at(version, Aead::Aes128Gcm, 0)
}

/// A record with any outer type and, in TLS 1.3, any inner plaintext (content, type, padding),
/// sealed as the peer would.
fn craft(version: Version, seq: u64, outer: u8, inner: &[u8]) -> Vec<u8> {
    craft_with(&mut key(Aead::Aes128Gcm, &KEY, &IV), version, seq, outer, inner)
}

fn craft_with(key: &mut TrafficKey, version: Version, seq: u64, outer: u8, inner: &[u8]) -> Vec<u8> {
    let explicit = key.aead().explicit_nonce(version);
    let len = (explicit + inner.len() + 16) as u16;
    let header = [outer, 3, 3, len.to_be_bytes()[0], len.to_be_bytes()[1]];
    let nonce = key.nonce(seq);
    let mut record = header.to_vec();
    record.extend_from_slice(&nonce[12 - explicit..]);
    let mut sealed = [inner, &[0; 16]].concat();
    let aad = AdditionalData::new(version, seq, header, inner.len() as u16);
    key.seal(nonce, aad, None, &mut sealed, &[]).unwrap();
    record.extend(sealed);
    record
}

fn inner(content: &[u8], content_type: u8) -> Vec<u8> {
    [content, &[content_type]].concat()
}

// RFC 8448 §3, "Simple 1-RTT Handshake": both sides send the bytes 0 to 49.
#[test]
fn rfc_8448_records() {
    let client =
        key(Aead::Aes128Gcm, &hex("17422dda596ed5d9acd890e3c63f5051"), &hex("5b78923dee08579033e523d9"));
    let server =
        key(Aead::Aes128Gcm, &hex("9f02283b6c9c07efc26bb9f2ac92e356"), &hex("cf782b88dd83549aadf1e984"));
    // The server's first record was a NewSessionTicket.
    let mut records = Records::new(Version::Tls13, &client.start(0), &server.start(1)).unwrap();
    let data: Vec<u8> = (0..50).collect();

    let mut from_client = hex("17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe
        82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b
        62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4");
    assert_eq!(records.frame(&from_client), Ok(Frame::Whole(72)));
    assert_eq!(records.open(&mut from_client), Ok(Opened::Data(&mut data.clone())));

    let from_server = hex("17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad
        36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d 90 e6 df fc 60 2d cb 50 1a 59 a8
        fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d");
    let mut record = [0; 72];
    assert_eq!(records.seal_from(&data, &mut record), Ok(72));
    assert_eq!(record.to_vec(), from_server);

    // RFC 8448 §3: then each closes, the client with sequence number 1.
    let mut close = hex("17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3");
    assert_eq!(records.open(&mut close), Ok(Opened::CloseNotify));
    let mut record = [0; 24];
    assert_eq!(records.seal_alert(Alert::CloseNotify, &mut record), Ok(24));
    assert_eq!(
        record.to_vec(),
        hex("17 03 03 00 13 b5 8f d6 71 66 eb f5 99 d2 47 20 cf be 7e fa 7a 88 64 a9")
    );
}

// RFC 8448 §3: application traffic secrets, and what is derived from them.
#[test]
fn rfc_8448_keys() {
    for (secret, key_bytes, iv) in [
        (
            "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
            "17422dda596ed5d9acd890e3c63f5051",
            "5b78923dee08579033e523d9",
        ),
        (
            "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
            "9f02283b6c9c07efc26bb9f2ac92e356",
            "cf782b88dd83549aadf1e984",
        ),
    ] {
        let mut derived = TrafficKey::blank(Aead::Aes128Gcm);
        derived.derive_from(&hex(secret)).unwrap();
        assert_eq!((derived.raw(), &derived.iv()[..]), (&hex(key_bytes)[..], &hex(iv)[..]));
        derived.step().unwrap();
        assert!(derived.raw() != &hex(key_bytes)[..] && derived.iv()[..] != hex(iv)[..]);
    }
    for (aead, len) in [(Aead::Aes128Gcm, 48), (Aead::Aes256Gcm, 32), (Aead::ChaCha20Poly1305, 0)] {
        assert_eq!(Secret::blank(aead).set(&vec![7; len]), Err(RecordError::Crypto));
    }
    for (aead, len) in [(Aead::Aes128Gcm, 32), (Aead::Aes256Gcm, 16), (Aead::ChaCha20Poly1305, 33)] {
        assert_eq!(TrafficKey::blank(aead).set(&vec![7; len], &IV), Err(RecordError::Crypto));
    }
}

#[test]
fn folded_keys_are_the_same_keys() {
    for version in [Version::Tls12, Version::Tls13] {
        for aead in [Aead::Aes128Gcm, Aead::Aes256Gcm, Aead::ChaCha20Poly1305] {
            let (mut folding, mut other) = (records_at(version, aead, 3), records_at(version, aead, 3));
            for round in 0..3 {
                let (mut one, mut two) = ([0; 64], [0; 64]);
                let len = folding.seal_from(b"data", &mut one).unwrap();
                assert_eq!(other.seal_from(b"data", &mut two), Ok(len));
                assert_eq!(one, two, "{version} {aead:?} {round}");
                folding.drop_expanded_keys();
                assert!(folding.0.sending.is_folded() && folding.0.receiving.is_folded());
                let mut data = *b"data";
                assert_eq!(folding.open(&mut one[..len]), Ok(Opened::Data(&mut data)));
                assert!(folding.0.sending.is_folded() && !folding.0.receiving.is_folded());
            }
            folding.seal_alert(Alert::CloseNotify, &mut [0; 64]).unwrap();
            folding.drop_expanded_keys();
            assert_eq!(folding.seal_from(b"data", &mut [0; 64]), Err(RecordError::Closed));
        }
    }
}

#[test]
fn tls12_nonces_never_repeat() {
    // RFC 5288 §3: the explicit part is on the wire; here, the last 8 bytes of the IV, XOR the
    // sequence number.
    let mut records = records_at(Version::Tls12, Aead::Aes128Gcm, 0xff);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut record = [0; 64];
        records.seal_from(b"data", &mut record).unwrap();
        seen.push(record[..13].to_vec());
    }
    assert_eq!(
        seen,
        [
            [23, 3, 3, 0, 28, 4, 5, 6, 7, 8, 9, 10, 0x0b ^ 0xff],
            [23, 3, 3, 0, 28, 4, 5, 6, 7, 8, 9, 10 ^ 1, 11],
            [23, 3, 3, 0, 28, 4, 5, 6, 7, 8, 9, 10 ^ 1, 11 ^ 1],
        ]
    );
}

#[test]
fn tls12_explicit_nonce_of_the_peer_is_used() {
    // Many peers count from zero; nothing ties their nonce to our sequence number.
    let mut key = key(Aead::Aes128Gcm, &KEY, &IV);
    let header = [23, 3, 3, 0, 28];
    let explicit = [0xa, 0xb, 0xc, 0xd, 0, 0, 0, 1];
    let mut sealed = *b"data0123456789abcdef";
    let aad = AdditionalData::new(Version::Tls12, 0, header, 4);
    let nonce = [0, 1, 2, 3, 0xa, 0xb, 0xc, 0xd, 0, 0, 0, 1];
    key.seal(nonce, aad, None, &mut sealed, &[]).unwrap();
    let mut record = [header.as_slice(), &explicit, &sealed].concat();
    let mut expected = *b"data";
    assert_eq!(records(Version::Tls12).open(&mut record), Ok(Opened::Data(&mut expected)));
}

#[test]
fn headers_are_checked() {
    let (tls13, tls12) = (records(Version::Tls13), records(Version::Tls12));
    assert_eq!(tls13.frame(b""), Ok(Frame::Incomplete { need: 5 }));
    assert_eq!(tls13.frame(&[23, 3, 3, 0]), Ok(Frame::Incomplete { need: 5 }));
    assert_eq!(tls13.frame(&[23, 3, 3, 0x41, 0x00]), Ok(Frame::Incomplete { need: 16_645 }));
    assert_eq!(tls12.frame(&[23, 3, 3, 0x41, 0x00]), Ok(Frame::Incomplete { need: 16_645 }));
    // RFC 8446 §5.2: more than 2^14 + 256.
    assert_eq!(tls13.frame(&[23, 3, 3, 0x41, 0x01]), Err(RecordError::TooLong));
    assert_eq!(tls12.frame(&[23, 3, 3, 0x41, 0x01]), Err(RecordError::TooLong));
    assert_eq!(tls13.frame(&[23, 3, 3, 0xff, 0xff]), Err(RecordError::TooLong));
    assert_eq!(tls13.frame(&[23, 3, 1, 0, 1]), Err(RecordError::BadVersion([3, 1])));
    assert_eq!(tls12.frame(&[23, 3, 4, 0, 1]), Err(RecordError::BadVersion([3, 4])));
    for content_type in [0, 20, 24, 71, 255] {
        let header = [content_type, 3, 3, 0, 1];
        assert_eq!(tls13.frame(&header), Err(RecordError::UnexpectedType(content_type)));
        assert_eq!(tls12.frame(&header), Err(RecordError::UnexpectedType(content_type)));
    }
    // Protected, TLS 1.3 knows one outer type.
    for content_type in [21, 22] {
        let header = [content_type, 3, 3, 0, 1];
        assert_eq!(tls13.frame(&header), Err(RecordError::UnexpectedType(content_type)));
        assert_eq!(tls12.frame(&header), Ok(Frame::Incomplete { need: 6 }));
    }
    // Two records: the first is delimited.
    assert_eq!(tls13.frame(&[23, 3, 3, 0, 1, 9, 23, 3]), Ok(Frame::Whole(6)));
}

#[test]
fn records_too_short_for_a_tag() {
    for version in [Version::Tls12, Version::Tls13] {
        for aead in [Aead::Aes128Gcm, Aead::ChaCha20Poly1305] {
            for len in 0..40_u8 {
                let mut record = vec![23, 3, 3, 0, len];
                record.resize(5 + usize::from(len), 0);
                assert_eq!(records_at(version, aead, 0).open(&mut record), Err(RecordError::BadMac));
            }
        }
    }
}

#[test]
fn padding_is_removed_and_checked() {
    let open = |inner: &[u8]| {
        let mut record = craft(Version::Tls13, 0, 23, inner);
        match records(Version::Tls13).open(&mut record) {
            Ok(Opened::Data(data)) => Ok(data.len()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    assert_eq!(open(&[7, 7, 23]), Ok(2));
    assert_eq!(open(&[7, 0, 23, 0, 0, 0]), Ok(2));
    // RFC 8446 §5.4: no content type at all.
    assert_eq!(open(&[]), Err(RecordError::Empty));
    assert_eq!(open(&[0; 100]), Err(RecordError::Empty));
    assert_eq!(RecordError::Empty.alert(), Some(Alert::UnexpectedMessage));
    // The longest: 2^14 of content, or less with padding.
    let mut longest = vec![7; 16_384];
    longest.push(23);
    assert_eq!(open(&longest), Ok(16_384));
    // 2^14 + 2 bytes: too much content, and too much padding.
    assert_eq!(open(&[&longest[..16_384], &[7, 23]].concat()), Err(RecordError::TooLong));
    assert_eq!(open(&[&longest[..16_385], &[0]].concat()), Err(RecordError::TooLong));
    assert_eq!(open(&[&[7, 23][..], &[0; 16_383]].concat()), Ok(1));
    assert_eq!(RecordError::TooLong.alert(), Some(Alert::RecordOverflow));
}

#[test]
fn tls12_plaintext_has_a_limit_too() {
    let mut record = craft(Version::Tls12, 0, 23, &[7; 16_384]);
    assert!(
        matches!(records(Version::Tls12).open(&mut record), Ok(Opened::Data(data)) if data.len() == 16_384)
    );
    let mut record = craft(Version::Tls12, 0, 23, &[7; 16_385]);
    assert_eq!(records(Version::Tls12).open(&mut record), Err(RecordError::TooLong));
}

/// Opens records with these inner plaintexts, one after the other, and returns the last answer.
fn open_in_order(version: Version, plaintexts: &[(u8, &[u8])]) -> Result<Opened<'static>, RecordError> {
    let mut records = records(version);
    let mut last = Ok(Opened::Nothing);
    for (seq, (content_type, content)) in plaintexts.iter().enumerate() {
        assert!(last.is_ok(), "over before record {seq}: {last:?}");
        let mut record = match version {
            Version::Tls13 => craft(version, seq as u64, 23, &inner(content, *content_type)),
            Version::Tls12 => craft(version, seq as u64, *content_type, content),
        };
        last = match records.open(&mut record)? {
            Opened::Data(_) | Opened::Nothing => Ok(Opened::Nothing),
            Opened::KeyUpdateRequested => Ok(Opened::KeyUpdateRequested),
            Opened::CloseNotify => Ok(Opened::CloseNotify),
            Opened::Alert(code) => Ok(Opened::Alert(code)),
        };
    }
    last
}

#[test]
fn alerts_are_understood() {
    use Version::{Tls12, Tls13};
    for version in [Tls12, Tls13] {
        let open = |content: &[u8]| open_in_order(version, &[(21, content)]);
        assert_eq!(open(&[1, 0]), Ok(Opened::CloseNotify));
        assert_eq!(open(&[2, 0]), Ok(Opened::CloseNotify));
        assert_eq!(open(&[1, 90]), Ok(Opened::Nothing));
        assert_eq!(open(&[2, 40]), Ok(Opened::Alert(40)));
        assert_eq!(open(&[2, 251]), Ok(Opened::Alert(251)));
        assert_eq!(open(&[]), Err(RecordError::Empty));
        assert_eq!(open(&[2]), Err(RecordError::Malformed));
        // RFC 8446 §5.1: two in one record.
        assert_eq!(open(&[1, 90, 1, 0]), Err(RecordError::Malformed));
    }
    // RFC 8446 §6: the level means nothing, unknown alerts are errors.
    assert_eq!(open_in_order(Tls13, &[(21, &[1, 48])]), Ok(Opened::Alert(48)));
    assert_eq!(open_in_order(Tls13, &[(21, &[9, 48])]), Ok(Opened::Alert(48)));
    // RFC 5246 §7.2: warnings are no errors; no third level exists.
    assert_eq!(open_in_order(Tls12, &[(21, &[1, 100])]), Ok(Opened::Nothing));
    assert_eq!(open_in_order(Tls12, &[(21, &[9, 48])]), Err(RecordError::IllegalValue));
    assert_eq!(RecordError::IllegalValue.alert(), Some(Alert::IllegalParameter));
    assert_eq!(RecordError::Malformed.alert(), Some(Alert::DecodeError));
}

#[test]
fn records_that_carry_nothing_are_limited_in_a_row() {
    for version in [Version::Tls12, Version::Tls13] {
        let nothing: [(u8, &[u8]); 2] = [(23, &[]), (21, &[1, 90])];
        let mut row: Vec<(u8, &[u8])> = (0..32).map(|n| nothing[n % 2]).collect();
        assert_eq!(open_in_order(version, &row), Ok(Opened::Nothing));
        row.push((23, &[]));
        assert_eq!(open_in_order(version, &row), Err(RecordError::TooManyEmpty));
        row[32] = (21, &[1, 90]);
        assert_eq!(open_in_order(version, &row), Err(RecordError::TooManyEmpty));
        // In a row: one byte of data, and the count begins again.
        row[32] = (23, &[7]);
        row.extend_from_within(..32);
        assert_eq!(open_in_order(version, &row), Ok(Opened::Nothing));
    }
}

#[test]
fn content_that_has_no_place() {
    // RFC 8446 §5: change_cipher_spec after the handshake, encrypted; and types that do not exist.
    for content_type in [20, 24, 255] {
        let error = open_in_order(Version::Tls13, &[(content_type, &[1])]).unwrap_err();
        assert_eq!(error, RecordError::UnexpectedType(content_type));
        assert_eq!(error.alert(), Some(Alert::UnexpectedMessage));
    }
    // In the clear, it does not even frame.
    let mut ccs = [20, 3, 3, 0, 1, 1];
    assert_eq!(records(Version::Tls13).open(&mut ccs), Err(RecordError::UnexpectedType(20)));
    assert_eq!(records(Version::Tls12).open(&mut ccs), Err(RecordError::UnexpectedType(20)));
    // RFC 8446 §4: a server is sent nothing but KeyUpdates: not a ClientHello, not a
    // NewSessionTicket.
    for message in [1, 4, 13] {
        let error = open_in_order(Version::Tls13, &[(22, &[message, 0, 0, 0])]).unwrap_err();
        assert_eq!(error, RecordError::UnexpectedHandshake(message));
        assert_eq!(error.alert(), Some(Alert::UnexpectedMessage));
    }
    // TLS 1.2: a ClientHello is an attempt to renegotiate.
    let error = open_in_order(Version::Tls12, &[(22, &[1, 0, 0, 0])]).unwrap_err();
    assert_eq!(error, RecordError::Renegotiation);
    assert_eq!(error.alert(), Some(Alert::NoRenegotiation));
    // RFC 5246 §7.2.2: a warning; the close comes behind it.
    let (mut records, mut peer) = (records(Version::Tls12), records(Version::Tls12));
    let mut record = [0; 64];
    for alert in [Alert::NoRenegotiation, Alert::CloseNotify] {
        let len = records.seal_alert(alert, &mut record).unwrap();
        let expected = if alert == Alert::CloseNotify { Opened::CloseNotify } else { Opened::Nothing };
        assert_eq!(peer.open(&mut record[..len]), Ok(expected));
    }
    assert_eq!(records.seal_alert(Alert::CloseNotify, &mut record), Err(RecordError::Closed));
}

#[test]
fn key_updates_that_are_wrong() {
    let open = |content: &[u8]| open_in_order(Version::Tls13, &[(22, content)]).unwrap_err();
    assert_eq!(open(&[]), RecordError::Empty);
    assert_eq!(open(&[24, 0, 0, 2, 0, 0]), RecordError::Malformed);
    assert_eq!(open(&[24, 0, 0, 0]), RecordError::Malformed);
    assert_eq!(open(&[24, 1]), RecordError::Malformed);
    assert_eq!(open(&[24, 0, 0, 1, 2]), RecordError::IllegalValue);
    // RFC 8446 §5.1: messages must not span a change of keys.
    assert_eq!(open(&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]), RecordError::KeyUpdateNotLast);
    assert_eq!(open(&[24, 0, 0, 1, 0, 0]), RecordError::KeyUpdateNotLast);
    assert_eq!(RecordError::KeyUpdateNotLast.alert(), Some(Alert::UnexpectedMessage));
    // Cut in pieces, it is the same message; these keys come from no secret, which is as far as
    // they get.
    let cut: [(u8, &[u8]); 3] = [(22, &[24]), (22, &[0, 0]), (22, &[1, 0])];
    assert_eq!(open_in_order(Version::Tls13, &cut[..2]), Ok(Opened::Nothing));
    assert_eq!(open_in_order(Version::Tls13, &cut), Err(RecordError::NotInThisVersion));
    // RFC 8446 §5.1: nothing in between.
    let data: [(u8, &[u8]); 2] = [(22, &[24, 0]), (23, &[7])];
    assert_eq!(open_in_order(Version::Tls13, &data), Err(RecordError::UnexpectedType(23)));
}

#[test]
fn key_updates_step_the_receiving_key() {
    let pem = Pem::ecdsa(&["site.test"]);
    let established = || {
        let mut config = (*Offer::default().trusting(&[&pem])).clone();
        config.enable_secret_extraction = true;
        let (client, established) = connect(&server(&pem), &Arc::new(config), "site.test");
        let (seq, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        assert_eq!(seq, 0);
        let first = start(0, &secrets, None).unwrap();
        (key(first.aead, first.key, first.iv), established.records)
    };
    for (messages, last) in [
        ([[24, 0, 0, 1, 0].as_slice()].as_slice(), Opened::Nothing),
        (&[&[24, 0, 0, 1, 1]], Opened::KeyUpdateRequested),
        // RFC 8446 §5.1: in pieces.
        (&[&[24, 0], &[0, 1], &[1]], Opened::KeyUpdateRequested),
    ] {
        let (mut key, mut records) = established();
        let mut seq = 0;
        for (at, message) in messages.iter().enumerate() {
            let mut record = craft_with(&mut key, Version::Tls13, seq, 23, &inner(message, 22));
            let expected = if at + 1 < messages.len() { &Opened::Nothing } else { &last };
            assert_eq!(records.open(&mut record).as_ref(), Ok(expected));
            seq += 1;
        }
        // The old key is void, with either sequence number.
        let mut record = craft_with(&mut key, Version::Tls13, seq, 23, &[7, 23]);
        assert_eq!(records.open(&mut record), Err(RecordError::BadMac));
    }
    // Data leaves the key alone.
    let (mut key, mut records) = established();
    let mut record = craft_with(&mut key, Version::Tls13, 0, 23, &[7, 23]);
    assert_eq!(records.open(&mut record), Ok(Opened::Data(&mut [7])));
    let mut record = craft_with(&mut key, Version::Tls13, 1, 23, &[8, 23]);
    assert_eq!(records.open(&mut record), Ok(Opened::Data(&mut [8])));
}

#[test]
fn a_failed_seal_changes_nothing() {
    for version in [Version::Tls12, Version::Tls13] {
        for aead in [Aead::Aes256Gcm, Aead::ChaCha20Poly1305] {
            let (mut tried, mut fresh) = (records_at(version, aead, 5), records_at(version, aead, 5));
            let need = tried.prefix() + 10 + tried.suffix();
            let mut small = vec![0; need - 1];
            let too_small = Err(RecordError::BufferTooSmall { need });
            assert_eq!(tried.seal_from(&[7; 10], &mut small), too_small);
            assert_eq!(tried.seal_in_place(&mut small, 10), too_small);
            assert_eq!(tried.seal_from(&[7; 10], &mut []), too_small);
            let mut large = vec![0; 20_000];
            assert_eq!(tried.seal_from(&[7; 16_385], &mut large), Err(RecordError::PlaintextTooLong));
            assert_eq!(tried.seal_in_place(&mut large, usize::MAX), Err(RecordError::PlaintextTooLong));
            let alert = tried.seal_alert(Alert::CloseNotify, &mut small[..20]);
            assert!(matches!(alert, Err(RecordError::BufferTooSmall { .. })));
            assert!(small.iter().chain(&large).all(|byte| *byte == 0), "something was written");

            let (mut one, mut other) = (vec![0; need], vec![0; need]);
            tried.seal_from(&[7; 10], &mut one).unwrap();
            fresh.seal_from(&[7; 10], &mut other).unwrap();
            assert_eq!(one, other, "the sequence number moved");
        }
    }
}

#[test]
fn both_ways_of_sealing_make_the_same_record() {
    for version in [Version::Tls12, Version::Tls13] {
        let (mut one, mut other) = (records(version), records(version));
        let (mut from, mut in_place) = ([0; 64], [0; 64]);
        let prefix = one.prefix();
        in_place[prefix..prefix + 4].copy_from_slice(b"data");
        assert_eq!(one.seal_from(b"data", &mut from), other.seal_in_place(&mut in_place, 4));
        assert_eq!(from, in_place);
    }
}

#[test]
fn keys_are_not_used_past_their_limit() {
    let mut record = [0; 64];
    for version in [Version::Tls12, Version::Tls13] {
        // 2^23 - 3: one more record of data, and two seals that data cannot have.
        let mut records = records_at(version, Aead::Aes128Gcm, 8_388_605);
        assert_eq!(records.seals_left(), 1);
        records.seal_from(b"last", &mut record).unwrap();
        assert_eq!(records.seals_left(), 0);
        assert_eq!(records.seal_from(b"x", &mut record), Err(RecordError::KeyExhausted));
        assert_eq!(records.seal_in_place(&mut record, 1), Err(RecordError::KeyExhausted));
        records.seal_alert(Alert::CloseNotify, &mut record).unwrap();

        let mut records = records_at(version, Aead::Aes128Gcm, 8_388_608);
        assert_eq!(records.seal_alert(Alert::CloseNotify, &mut record), Err(RecordError::KeyExhausted));

        // Sequence numbers do not wrap.
        let mut records = records_at(version, Aead::ChaCha20Poly1305, u64::MAX);
        assert_eq!(records.seals_left(), 0);
        assert_eq!(records.seal_alert(Alert::CloseNotify, &mut record), Err(RecordError::KeyExhausted));
        let mut records = records_at(version, Aead::Aes128Gcm, u64::MAX);
        let mut received = craft(version, u64::MAX, 23, &[7, 23]);
        assert_eq!(records.open(&mut received), Err(RecordError::KeyExhausted));
    }
    assert_eq!(RecordError::KeyExhausted.alert(), None);
}

#[test]
fn records_are_small_at_first() {
    for (version, small) in [(Version::Tls13, 1378), (Version::Tls12, 1371)] {
        let mut records = records(version);
        let mut record = vec![0; SEALED_MAX];
        for _ in 0..2 {
            let mut sent = 0;
            while sent < 65_536 {
                assert_eq!(records.size_hint(), small);
                // 1400 bytes on the wire.
                assert_eq!(records.seal_from(&vec![7; small], &mut record), Ok(1400));
                sent += small;
            }
            assert_eq!(records.size_hint(), 16_384);
            records.seal_from(&[7; 16_384], &mut record).unwrap();
            assert_eq!(records.size_hint(), 16_384);
            records.restart_small_records();
        }
    }
}

#[test]
fn a_lower_limit_holds_for_every_key() {
    let mut key = TrafficKey::blank(Aead::Aes128Gcm);
    key.derive_from(&[7; 32]).unwrap();
    let mut records = Records::new(Version::Tls13, &key.start(0), &key.start(0)).unwrap();
    records.limit_seals(10);
    let mut record = [0; 64];
    for _ in 0..3 {
        for left in (1..=8).rev() {
            assert_eq!(records.seals_left(), left);
            records.seal_from(b"data", &mut record).unwrap();
        }
        assert_eq!(records.seal_from(b"data", &mut record), Err(RecordError::KeyExhausted));
        records.seal_key_update(&mut record).unwrap();
    }
}

#[test]
fn open_wants_exactly_one_record() {
    for version in [Version::Tls12, Version::Tls13] {
        let record = craft(version, 0, 23, &inner(b"data", 23));
        let longer = [record.as_slice(), &[0]].concat();
        for bytes in [&record[..record.len() - 1], &record[..4], &[], &longer] {
            let mut bytes = bytes.to_vec();
            assert_eq!(records(version).open(&mut bytes), Err(RecordError::Misframed));
        }
    }
}

#[test]
fn keys_stay_out_of_logs() {
    let shown = format!("{:?}", records(Version::Tls13));
    assert_eq!(shown, "Records { version: Tls13, .. }");
}
