//! Expanded keys, of the library that is faster on this processor.
//!
//! aws-lc is used for ChaCha20-Poly1305, and for AES-GCM on processors with AVX-512, which ring
//! does not use, or without VAES. On processors with VAES and no AVX-512 (AMD Zen 3, Intel's cores
//! for desktops) ring takes 0.4 to 0.9 of the time, although it has to copy a plaintext that does
//! not lie in place (`bench/LOG.md`).

use super::cipher::{AdditionalData, Aead};
use super::{RecordError, TAG};
use aws_lc_rs::aead as aws_lc;
use ring::aead as ring;
use std::hint::black_box;

/// An expanded key.
pub(super) enum Expanded {
    /// aws-lc wipes it when it is dropped.
    AwsLc(aws_lc::LessSafeKey),
    Ring(Wiped),
}

impl Expanded {
    /// Expands a key with the library that suits this processor. Fails when `key` has the wrong
    /// length for `aead`.
    pub(super) fn new(aead: Aead, key: &[u8]) -> Result<Self, RecordError> {
        if has_wide_aes_alone() { Self::of_ring(aead, key) } else { Self::of_aws_lc(aead, key) }
    }

    pub(super) fn of_aws_lc(aead: Aead, key: &[u8]) -> Result<Self, RecordError> {
        let algorithm = match aead {
            Aead::Aes128Gcm => &aws_lc::AES_128_GCM,
            Aead::Aes256Gcm => &aws_lc::AES_256_GCM,
            Aead::ChaCha20Poly1305 => &aws_lc::CHACHA20_POLY1305,
        };
        let key = aws_lc::UnboundKey::new(algorithm, key).map_err(|_| RecordError::Crypto)?;
        Ok(Self::AwsLc(aws_lc::LessSafeKey::new(key)))
    }

    pub(super) fn of_ring(aead: Aead, key: &[u8]) -> Result<Self, RecordError> {
        let algorithm = match aead {
            Aead::Aes128Gcm => &ring::AES_128_GCM,
            Aead::Aes256Gcm => &ring::AES_256_GCM,
            Aead::ChaCha20Poly1305 => return Self::of_aws_lc(aead, key),
        };
        let key = ring::UnboundKey::new(algorithm, key).map_err(|_| RecordError::Crypto)?;
        Ok(Self::Ring(Wiped(Box::new(ring::LessSafeKey::new(key)))))
    }

    /// Opens as [`TrafficKey::open`](super::TrafficKey::open).
    pub(super) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: AdditionalData,
        body: &mut [u8],
    ) -> Result<usize, RecordError> {
        match self {
            Self::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                let plain = key.open_in_place(nonce, aws_lc::Aad::from(aad), body);
                plain.map(|plain| plain.len()).map_err(|_| RecordError::BadMac)
            }
            Self::Ring(Wiped(key)) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                let plain = key.open_in_place(nonce, ring::Aad::from(aad), body);
                plain.map(|plain| plain.len()).map_err(|_| RecordError::BadMac)
            }
        }
    }

    /// Seals as [`TrafficKey::seal`](super::TrafficKey::seal).
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: AdditionalData,
        plain: Option<&[u8]>,
        sealed: &mut [u8],
        extra: &[u8],
    ) -> Result<(), RecordError> {
        let len = sealed.len().checked_sub(extra.len() + TAG).ok_or(RecordError::Crypto)?;
        if plain.is_some_and(|plain| plain.len() != len) {
            return Err(RecordError::Crypto);
        }
        match self {
            Self::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                let aad = aws_lc::Aad::from(aad);
                let (body, tail) = sealed.split_at_mut(len);
                match plain {
                    Some(plain) => key.seal_out_of_place_scatter(nonce, aad, plain, body, extra, tail),
                    None => key.seal_in_place_scatter(nonce, aad, body, extra, tail),
                }
                .map_err(|_| RecordError::Crypto)
            }
            Self::Ring(Wiped(key)) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                let (body, tag) = sealed.split_at_mut(len + extra.len());
                if let Some(plain) = plain {
                    body[..len].copy_from_slice(plain);
                }
                body[len..].copy_from_slice(extra);
                let sealed = key.seal_in_place_separate_tag(nonce, ring::Aad::from(aad), body);
                tag.copy_from_slice(sealed.map_err(|_| RecordError::Crypto)?.as_ref());
                Ok(())
            }
        }
    }
}

/// A key of ring, which does not wipe it.
pub(super) struct Wiped(Box<ring::LessSafeKey>);

impl Drop for Wiped {
    fn drop(&mut self) {
        // It can only be overwritten with another key: its memory is not accessible.
        let blank = [0; 32];
        let algorithm = self.0.algorithm();
        if let Some(Ok(key)) =
            blank.get(..algorithm.key_len()).map(|key| ring::UnboundKey::new(algorithm, key))
        {
            *self.0 = ring::LessSafeKey::new(key);
            // Otherwise nothing would read this value, and the compiler need not write it.
            black_box(&mut *self.0);
        }
    }
}

/// Bytes of a nonce, of every AEAD here.
pub(super) const NONCE_LEN: usize = 12;
const _: () = assert!(NONCE_LEN == aws_lc::NONCE_LEN && NONCE_LEN == ring::NONCE_LEN);

/// Returns whether this processor computes AES-GCM 32 bytes at a time, but not 64.
fn has_wide_aes_alone() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq");
        // What aws-lc asks for (crypto/fipsmodule/modes/internal.h).
        let wider = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        wide && !wider
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;

    fn aad() -> AdditionalData {
        AdditionalData::new(Version::Tls13, 0, [23, 3, 3, 0, 0], 0)
    }

    #[test]
    fn both_libraries_make_the_same_records_and_open_each_others() {
        let lengths = [0, 1, 15, 16, 17, 31, 32, 33, 127, 128, 129, 1023, 4096, 16_383, 16_384];
        for aead in [Aead::Aes128Gcm, Aead::Aes256Gcm, Aead::ChaCha20Poly1305] {
            let key: Vec<u8> = (0..aead.key_len() as u8).collect();
            let (aws_lc, ring) =
                (Expanded::of_aws_lc(aead, &key).unwrap(), Expanded::of_ring(aead, &key).unwrap());
            for len in lengths {
                let plain: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
                let seal = |key: &Expanded, in_place: bool| {
                    let mut sealed = vec![0; len + 1 + TAG];
                    if in_place {
                        sealed[..len].copy_from_slice(&plain);
                    }
                    let from = (!in_place).then_some(&plain[..]);
                    key.seal([7; NONCE_LEN], aad(), from, &mut sealed, &[23]).unwrap();
                    sealed
                };
                let sealed = seal(&aws_lc, false);
                for (key, in_place) in [(&aws_lc, true), (&ring, false), (&ring, true)] {
                    assert_eq!(seal(key, in_place), sealed, "{aead:?}, {len} bytes, in place: {in_place}");
                }
                for key in [&aws_lc, &ring] {
                    let mut opened = sealed.clone();
                    assert_eq!(key.open([7; NONCE_LEN], aad(), &mut opened), Ok(len + 1));
                    assert_eq!((&opened[..len], opened[len]), (&plain[..], 23));
                    let mut other = sealed.clone();
                    *other.last_mut().unwrap() ^= 1;
                    assert_eq!(key.open([7; NONCE_LEN], aad(), &mut other), Err(RecordError::BadMac));
                }
            }
        }
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        for short in [&[1; 15][..], &[1; 17], &[]] {
            assert!(Expanded::of_ring(Aead::Aes128Gcm, short).is_err());
            assert!(Expanded::of_aws_lc(Aead::Aes128Gcm, short).is_err());
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        for key in
            [Expanded::of_aws_lc(Aead::Aes128Gcm, &[1; 16]), Expanded::of_ring(Aead::Aes128Gcm, &[1; 16])]
        {
            let key = key.unwrap();
            let seal = |plain, sealed: &mut [u8]| key.seal([0; NONCE_LEN], aad(), plain, sealed, &[23]);
            assert_eq!(seal(None, &mut [0; TAG]), Err(RecordError::Crypto));
            assert_eq!(seal(Some(b"four"), &mut [0; 4 + TAG]), Err(RecordError::Crypto));
            assert_eq!(key.open([0; NONCE_LEN], aad(), &mut [0; TAG - 1]), Err(RecordError::BadMac));
        }
    }
}
