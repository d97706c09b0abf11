//! Base 64 (RFC 4648 §4), and the alphabets of password hashes.

/// The alphabet of RFC 4648.
pub(super) const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The alphabet of bcrypt, in the same order of bits.
pub(super) const BCRYPT: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// The alphabet of SHA-crypt, which takes the lowest bits first.
pub(super) const CRYPT: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Decodes text without padding, most significant bits first, into `out`. Returns how many bytes
/// it has; `None`: it has another character, a length that no bytes have, bits behind the last
/// byte that are set, or more bytes than `out`.
pub(super) fn decode(alphabet: &[u8; 64], text: &[u8], out: &mut [u8]) -> Option<usize> {
    // One character alone has fewer bits than a byte.
    if text.len() % 4 == 1 || text.len() / 4 * 3 + (text.len() % 4).saturating_sub(1) > out.len() {
        return None;
    }
    let (mut held, mut bits, mut at) = (0_u32, 0, 0);
    for character in text {
        let value = alphabet.iter().position(|other| other == character)?;
        held = (held << 6 | value as u32) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            *out.get_mut(at)? = (held >> bits) as u8;
            at += 1;
        }
    }
    (held & ((1 << bits) - 1) == 0).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut out = [0; 16];
        decode(STANDARD, text.as_bytes(), &mut out).map(|len| out[..len].to_vec())
    }

    /// RFC 4648 §10, without the padding.
    #[test]
    fn text_is_decoded() {
        for (text, expected) in [
            ("", ""),
            ("Zg", "f"),
            ("Zm8", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decoded(text).as_deref(), Some(expected.as_bytes()), "{text}");
        }
        assert_eq!(decoded("+/8"), Some(vec![0xfb, 0xff]));
    }

    #[test]
    fn what_is_no_base_64_is_refused() {
        // One character too many, others, bits that belong to no byte, and too long.
        for text in ["Z", "Zm9vY", "Zg==", "Zm 9", "Zm-_", "Zh", "Zm9", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
