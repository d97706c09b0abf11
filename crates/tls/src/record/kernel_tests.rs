//! The hand-over to a kernel: the key that it gets, and that no nonce is ever used on both sides.

use super::*;
use crate::tests::client::{Offer, Pem, connect, give, received, server};

const KEY: [u8; 32] = [0x22; 32];
const IV: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

fn records(version: Version, aead: Aead) -> Records {
    let mut key = TrafficKey::blank(aead);
    key.set(&KEY[..aead.key_len()], &IV).unwrap();
    Records::new(version, &key.start(0), &key.start(5)).unwrap()
}

#[test]
fn the_kernel_gets_the_key_and_the_next_sequence_number() {
    for (aead, len) in [(Aead::Aes128Gcm, 16), (Aead::Aes256Gcm, 32), (Aead::ChaCha20Poly1305, 32)] {
        let mut records = records(Version::Tls13, aead);
        let mut room = [0; 64];
        assert_eq!(records.seal_from(b"one", &mut room), Ok(5 + 3 + 1 + 16));
        let key = records.offer_key().unwrap();
        assert_eq!((key.aead(), key.sequence(), key.iv()), (aead, 6, &IV));
        assert_eq!(key.key(), &KEY[..len]);
        assert_eq!(format!("{key:?}"), format!("SealingKey {{ aead: {aead:?}, .. }}"));
    }
}

#[test]
fn nothing_is_sealed_while_the_key_is_offered_and_a_refusal_gives_it_back() {
    let mut records = records(Version::Tls13, Aead::Aes128Gcm);
    let mut room = [0; 64];
    let key = records.offer_key().unwrap();
    assert_eq!(key.sequence(), 5);
    assert_eq!(records.seal_from(b"x", &mut room), Err(RecordError::Closed));
    assert_eq!(records.seal_in_place(&mut room, 1), Err(RecordError::Closed));
    assert_eq!(records.seal_alert(Alert::CloseNotify, &mut room), Err(RecordError::Closed));
    assert_eq!(records.offer_key().err(), Some(RecordError::Closed), "one offer at a time");
    assert!(!records.is_sealed_by_kernel());
    records.key_taken(false);
    assert_eq!((records.prefix(), records.suffix()), (5, 17));
    assert_eq!(records.seal_from(b"x", &mut room), Ok(23), "with the number that was offered");
    assert_eq!(records.offer_key().unwrap().sequence(), 6);
}

#[test]
fn what_the_kernel_has_taken_is_never_sealed_here_again() {
    let mut records = records(Version::Tls13, Aead::Aes256Gcm);
    let mut room = [0; 64];
    assert_eq!(records.kernel_alert(Alert::CloseNotify), Err(RecordError::Closed), "not before");
    records.offer_key().unwrap();
    records.key_taken(true);
    assert!(records.is_sealed_by_kernel());
    assert_eq!((records.prefix(), records.suffix()), (0, 0), "plain text goes out");
    assert_eq!(records.seal_from(b"x", &mut room), Err(RecordError::Closed));
    assert_eq!(records.seal_alert(Alert::CloseNotify, &mut room), Err(RecordError::Closed));
    records.key_taken(false);
    assert!(records.is_sealed_by_kernel(), "a late word changes nothing");
    // RFC 8446 §6.1: level warning, description 0.
    assert_eq!(records.kernel_alert(Alert::CloseNotify), Ok([1, 0]));
    assert!(!records.is_sealed_by_kernel());
    assert_eq!(records.seals_left(), 0);
    assert_eq!(
        records.kernel_alert(Alert::CloseNotify),
        Err(RecordError::Closed),
        "nothing follows an alert"
    );
    records.key_taken(true);
    assert_eq!(records.seal_from(b"x", &mut room), Err(RecordError::Closed));
}

#[test]
fn tls_1_2_is_not_for_the_kernel() {
    let mut records = records(Version::Tls12, Aead::Aes128Gcm);
    assert_eq!(records.offer_key().err(), Some(RecordError::NotInThisVersion));
    assert!(records.seal_from(b"x", &mut [0; 64]).is_ok());
}

#[test]
fn the_kernels_records_count_against_the_limit_of_the_key() {
    let mut records = records(Version::Tls13, Aead::Aes128Gcm);
    // RFC 8446 §5.5: at most 2^23 here, of which two are kept back and five have been used.
    assert_eq!(records.seals_left(), (1 << 23) - 2 - 5);
    records.count_kernel_send(100);
    assert_eq!(records.seals_left(), (1 << 23) - 2 - 5, "the kernel does not seal yet");
    records.offer_key().unwrap();
    records.key_taken(true);
    for (len, at_most) in [(1, 2), (16384, 2), (16385, 3), (65536, 5)] {
        let before = records.seals_left();
        records.count_kernel_send(len);
        assert_eq!(before - records.seals_left(), at_most, "{len} bytes");
    }
    records.count_kernel_send(usize::MAX);
    assert_eq!(records.seals_left(), 0);
}

/// Seals as a kernel does: with what it was given, and nothing else.
fn kernel_seals(key: &SealingKey, index: u64, content_type: u8, content: &[u8]) -> Vec<u8> {
    let (aead, seq) = (key.aead(), key.sequence() + index);
    let mut sending = Sending::blank(Version::Tls13);
    sending.begin(&Start { seq, aead, key: key.key(), iv: key.iv(), secret: None }).unwrap();
    let mut record = vec![0; content.len() + 64];
    let len = sending.seal_as(content_type, content, &mut record).unwrap();
    record.truncate(len);
    record
}

/// RFC 8446 §4.6.3 and §7.2: a client goes on reading over the hand-over and over a KeyUpdate,
/// which leaves under the old key.
#[test]
fn a_client_reads_on_over_the_hand_over_and_a_key_update() {
    let pem = Pem::ecdsa(&["site.test"]);
    let (mut client, mut established) =
        connect(&server(&pem), &Offer::default().trusting(&[&pem]), "site.test");
    let records = &mut established.records;
    let mut room = [0; 64];
    let len = records.seal_from(b"ours, ", &mut room).unwrap();
    give(&mut client, &room[..len]).unwrap();
    let key = records.offer_key().unwrap();
    records.key_taken(true);
    give(&mut client, &kernel_seals(&key, 0, content_type::APPLICATION_DATA, b"the kernel's, ")).unwrap();
    let (message, next) = records.kernel_key_update().unwrap();
    assert_eq!(message, [24, 0, 0, 1, 0]);
    give(&mut client, &kernel_seals(&key, 1, content_type::HANDSHAKE, &message)).unwrap();
    assert_eq!(next.sequence(), 0);
    assert_eq!(records.seals_left(), (1 << 23) - 2, "a new key, a new count");
    give(&mut client, &kernel_seals(&next, 0, content_type::APPLICATION_DATA, b"with its next key")).unwrap();
    let farewell = records.kernel_alert(Alert::CloseNotify).unwrap();
    give(&mut client, &kernel_seals(&next, 1, content_type::ALERT, &farewell)).unwrap();
    assert_eq!(received(&mut client), b"ours, the kernel's, with its next key");
}
