//! A kernel that seals TLS 1.3 records, out of what `struct tls12_crypto_info_…` holds and nothing
//! of ours.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sitar_io::TlsTx;
use sitar_io::sim::Seal;

/// Returns a function that seals with this key (linux/tls.h; RFC 8446 §5.2, §5.3).
pub(super) fn seal(told: &TlsTx) -> Seal {
    let bytes = told.as_bytes();
    assert_eq!(bytes[..2], 0x0304_u16.to_ne_bytes(), "TLS 1.3");
    let cipher = u16::from_ne_bytes([bytes[2], bytes[3]]);
    let (algorithm, key, iv) = match cipher {
        51 => (&AES_128_GCM, &bytes[12..28], [&bytes[28..32], &bytes[4..12]].concat()),
        52 => (&AES_256_GCM, &bytes[12..44], [&bytes[44..48], &bytes[4..12]].concat()),
        54 => (&CHACHA20_POLY1305, &bytes[16..48], bytes[4..16].to_vec()),
        other => panic!("cipher {other}"),
    };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
    let mut sequence = u64::from_be_bytes(bytes[bytes.len() - 8..].try_into().unwrap());
    Box::new(move |content_type, plain| {
        let mut nonce: [u8; 12] = iv[..].try_into().unwrap();
        nonce[4..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
        sequence += 1;
        let mut body = [plain, &[content_type]].concat();
        let len = (body.len() + 16) as u16;
        let header = [23, 3, 3, len.to_be_bytes()[0], len.to_be_bytes()[1]];
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut body)
            .unwrap();
        [&header[..], &body].concat()
    })
}
