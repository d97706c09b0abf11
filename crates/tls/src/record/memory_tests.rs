//! Secrets that are used, moved about and dropped are in memory nowhere: neither where they were,
//! nor on the stack.

use super::expanded::Expanded;
use super::*;
use crate::tests::alone::{is_alone, snapshot};
use crate::tests::hkdf::expand_label;
use std::hint::black_box;
use zeroize::Zeroizing;

/// Computes bytes that no other test has, in their place: a copy from elsewhere would be found.
fn fill(place: &mut [u8], seed: u8) {
    let mut state = u32::from(seed) + 0x9E37;
    for byte in place {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
}

/// Moves a value, as its owners do.
#[inline(never)]
fn moved<T>(value: T) -> Box<T> {
    let several = black_box([Some(black_box(value)), None]);
    Box::new(black_box(several.into_iter().flatten().next().unwrap()))
}

/// Works so far down on the stack that nothing that follows writes over what it leaves there.
#[inline(never)]
fn deep<R>(work: impl FnOnce() -> R) -> R {
    let room = black_box([0_u8; 64 << 10]);
    let done = work();
    black_box(room);
    done
}

/// A connection's life: records both ways, key updates both ways, keys folded, and in TLS 1.3 a
/// kernel that refuses the key and one that takes it.
fn live(version: Version, aead: Aead, seed: u8) {
    let mut secret = Box::new(Zeroizing::new([0; 48]));
    let secret_len = if aead == Aead::Aes256Gcm { 48 } else { 32 };
    fill(&mut secret[..secret_len], seed);
    let secret = &secret[..secret_len];

    // rustls hands over a key, and the secret that it comes from.
    let mut key = Box::new(TrafficKey::blank(aead));
    match version {
        Version::Tls13 => key.derive_from(secret).unwrap(),
        Version::Tls12 => key.set(&secret[..aead.key_len()], &[3; 12]).unwrap(),
    }
    let mut records = moved(Records::new(version, &key.start(0), &key.start(0)).unwrap());
    drop(key);
    let mut record = vec![0; SEALED_MAX];
    let mut round = |records: &mut Records| {
        // The libraries have other code for many bytes than for few.
        for len in [PLAINTEXT_MAX, 1000, 100, 4] {
            let mut data = vec![b'x'; len];
            let len = records.seal_from(&data, &mut record).unwrap();
            assert_eq!(records.open(&mut record[..len]), Ok(Opened::Data(&mut data)));
        }
    };
    round(&mut records);
    records.drop_expanded_keys();
    round(&mut records);
    if version == Version::Tls13 {
        let mut update = vec![0; 100];
        let len = records.seal_key_update(&mut update).unwrap();
        assert_eq!(records.open(&mut update[..len]), Ok(Opened::Nothing));
        round(&mut records);
        for taken in [false, true] {
            drop(moved(records.offer_key().unwrap()));
            records.key_taken(taken);
            records = moved(*records);
        }
        let (_, next) = records.kernel_key_update().unwrap();
        drop(moved(next));
    } else {
        records.seal_alert(Alert::CloseNotify, &mut record).unwrap();
    }
    drop(moved(records));
}

#[test]
fn records_leave_nothing_in_memory() {
    if !is_alone() {
        return;
    }
    let cases = [
        (Version::Tls12, Aead::Aes128Gcm, 1),
        (Version::Tls12, Aead::Aes256Gcm, 2),
        (Version::Tls12, Aead::ChaCha20Poly1305, 3),
        (Version::Tls13, Aead::Aes128Gcm, 4),
        (Version::Tls13, Aead::Aes256Gcm, 5),
        (Version::Tls13, Aead::ChaCha20Poly1305, 6),
    ];
    for (version, aead, seed) in cases {
        deep(|| live(version, aead, seed));
        let Some(snapshot) = snapshot() else { return };
        // Only now, since this leaves copies.
        let mut secret = vec![0; if aead == Aead::Aes256Gcm { 48 } else { 32 }];
        fill(&mut secret, seed);
        let mut secrets = vec![("TLS 1.2's key", secret[..aead.key_len()].to_vec())];
        if version == Version::Tls13 {
            secrets.clear();
            // Two more secrets: that of the KeyUpdate, and that of the kernel's.
            for (name, key_name) in [("secret", "key"), ("next", "its key"), ("third", "the third's key")] {
                secrets.push((key_name, expand_label(&secret, "key", aead.key_len())));
                let next = expand_label(&secret, "traffic upd", secret.len());
                secrets.push((name, std::mem::replace(&mut secret, next)));
            }
        }
        assert_eq!(snapshot.find(&secrets), [], "{version}, {aead:?}");
    }
}

#[test]
fn a_connection_that_ends_in_an_error_leaves_nothing_in_memory() {
    if !is_alone() {
        return;
    }
    let mut secret = Box::new(Zeroizing::new([0; 32]));
    fill(&mut secret[..], 7);
    let mut key = Box::new(TrafficKey::blank(Aead::Aes128Gcm));
    key.derive_from(&secret[..]).unwrap();
    // Both halves are over, but what owns them is kept.
    let mut records = deep(|| moved(Records::new(Version::Tls13, &key.start(0), &key.start(0)).unwrap()));
    assert_eq!(
        records.open(&mut [23, 3, 3, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]),
        Err(RecordError::BadMac)
    );
    records.seal_alert(Alert::BadRecordMac, &mut [0; 64]).unwrap();
    // A secret that does not belong to the key.
    let mut other = Box::new(Zeroizing::new([0; 32]));
    fill(&mut other[..], 8);
    let start = Start { secret: Some(&other[..]), ..key.start(0) };
    assert_eq!(Records::new(Version::Tls13, &start, &start).err(), Some(RecordError::Crypto));
    drop((secret, key, other));
    let Some(snapshot) = snapshot() else { return };
    for seed in [7, 8] {
        let mut secret = vec![0; 32];
        fill(&mut secret, seed);
        let key = expand_label(&secret, "key", 16);
        assert_eq!(snapshot.find(&[("secret", secret), ("key", key)]), [], "{seed}");
    }
    assert_eq!(records.seals_left(), 0);
}

#[test]
fn expanded_keys_leave_nothing_in_memory() {
    if !is_alone() {
        return;
    }
    for (of_ring, aead, seed) in [
        (false, Aead::Aes128Gcm, 9),
        (false, Aead::Aes256Gcm, 10),
        (true, Aead::Aes128Gcm, 11),
        (true, Aead::Aes256Gcm, 12),
    ] {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        fill(&mut key[..aead.key_len()], seed);
        let raw = &key[..aead.key_len()];
        deep(|| {
            let expanded =
                if of_ring { Expanded::of_ring(aead, raw) } else { Expanded::of_aws_lc(aead, raw) };
            drop(moved(expanded.unwrap()));
            // As a connection does when it drops its keys.
            stack::overwrite();
        });
        drop(key);
        let Some(snapshot) = snapshot() else { return };
        let mut key = vec![0; aead.key_len()];
        fill(&mut key, seed);
        assert_eq!(snapshot.find(&[("key", key)]), [], "{aead:?}, of ring: {of_ring}");
    }
}
